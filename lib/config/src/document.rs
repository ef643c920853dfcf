//! One document of a configuration: which kind it is, and its tree.

use std::fmt;

use crate::decode::{self, Findings, Whole};
use crate::node::{Map, Node};
use crate::problem::{Problem, nearest};
use crate::schema::{self, Audience, DOCUMENTS, DocumentKind, LATER_KINDS, ROOT_KIND};

/// What tells documents apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// `kind`, or `v1alpha1`.
    pub kind: String,
    /// `name`; empty when the kind has none.
    pub name: String,
}

impl DocumentId {
    /// The id of a kind that has no names.
    #[must_use]
    pub fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), name: String::new() }
    }

    /// As messages call it; nothing for the `v1alpha1` document, whose paths speak for themselves.
    pub(crate) fn label(&self) -> String {
        if self.kind == ROOT_KIND { String::new() } else { self.to_string() }
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.name.is_empty() {
            write!(f, "/{}", self.name)?;
        }
        Ok(())
    }
}

/// A document whose kind is known.
#[derive(Clone)]
pub struct Document {
    /// Which one it is.
    pub id: DocumentId,
    /// Its schema.
    pub kind: &'static DocumentKind,
    /// Its tree, `apiVersion` and `kind` included.
    pub node: Node,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Document").field(&self.id.to_string()).finish()
    }
}

/// Keys that name the kind.
pub(crate) const HEADER: &[&str] = &["apiVersion", "kind"];

const ROOT_KEYS: &[&str] = &["version", "machine", "cluster", "debug", "persist"];

impl Document {
    /// Finds out what a tree is and checks it.
    pub(crate) fn read(node: Node, whole: Whole, audience: Audience) -> Result<(Self, Findings), Problem> {
        let (id, kind) = identify(&node, whole, audience)?;
        let skip = if kind.kind == ROOT_KIND { &[] } else { HEADER };
        let findings = decode::check_for(audience, &node, kind.record, &id.label(), whole, skip);
        Ok((Self { id, kind, node }, findings))
    }

    /// Whether the patch asks for the whole document to go.
    pub(crate) fn is_deletion(&self) -> bool {
        self.node.get(decode::DIRECTIVE).is_some()
    }
}

fn identify(
    node: &Node,
    whole: Whole,
    audience: Audience,
) -> Result<(DocumentId, &'static DocumentKind), Problem> {
    let wrong = |message: String| Problem::at(node.at, message);
    let map = node
        .as_map()
        .ok_or_else(|| wrong(format!("a document must be a mapping, this is a {}", node.describe())))?;
    let Some(kind_node) = node.get("kind") else {
        return identify_root(node, map, whole);
    };
    let name = kind_node.as_text().unwrap_or_default();
    let at_kind = |message: String| Problem { path: "kind".to_owned(), ..Problem::at(kind_node.at, message) };
    let kind = schema::kind_for(name, audience)
        .filter(|kind| kind.kind != ROOT_KIND)
        .ok_or_else(|| at_kind(unknown_kind(name)))?;
    let version = node.get("apiVersion").and_then(Node::as_text).unwrap_or_default();
    if version != "v1alpha1" {
        return Err(wrong(format!(
            "document {name}: apiVersion: {version:?} is not known; expected v1alpha1"
        )));
    }
    let mut id = DocumentId::of(kind.kind);
    if kind.named {
        id.name = node.get("name").and_then(Node::as_text).unwrap_or_default().to_owned();
    }
    Ok((id, kind))
}

fn identify_root(
    node: &Node,
    map: &Map,
    whole: Whole,
) -> Result<(DocumentId, &'static DocumentKind), Problem> {
    let is_root = map.iter().any(|entry| ROOT_KEYS.contains(&entry.key.as_str()));
    let only_unknown = whole == Whole::Patch && map.iter().all(|entry| !HEADER.contains(&entry.key.as_str()));
    if !is_root && !only_unknown {
        return Err(Problem::at(
            node.at,
            "a document needs kind, or version, machine and cluster".to_owned(),
        ));
    }
    let kind = schema::kind(ROOT_KIND).expect("the root kind is in the table");
    Ok((DocumentId::of(ROOT_KIND), kind))
}

fn unknown_kind(name: &str) -> String {
    if LATER_KINDS.contains(&name) {
        return format!("{name} is not yet supported");
    }
    let known = DOCUMENTS.iter().map(|document| document.kind).filter(|kind| *kind != ROOT_KIND);
    match nearest(name, known.chain(LATER_KINDS.iter().copied())) {
        Some(near) => format!("{name:?} is not registered; did you mean {near:?}?"),
        None => format!("{name:?} is not registered"),
    }
}

/// Reads every tree, collecting what is wrong with all of them.
pub(crate) fn read_all(nodes: Vec<Node>, whole: Whole, audience: Audience) -> (Vec<Document>, Findings) {
    let mut all = Findings::default();
    let mut documents: Vec<Document> = Vec::new();
    for node in nodes {
        match Document::read(node, whole, audience) {
            Err(problem) => all.problems.push(problem),
            Ok((document, findings)) => {
                all.problems.extend(findings.problems);
                all.warnings.extend(findings.warnings);
                match documents.iter().find(|other| other.id == document.id) {
                    Some(other) if whole == Whole::Document => all.problems.push(repeated(&document, other)),
                    _ => documents.push(document),
                }
            }
        }
    }
    (documents, all)
}

fn repeated(document: &Document, first: &Document) -> Problem {
    let line = first.node.at.line;
    Problem::at(document.node.at, format!("document {} is already given in line {line}", document.id))
}
