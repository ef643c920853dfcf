//! What the values mean together: rules that no single field can state.
//!
//! Every rule runs even when others failed and even when the types are wrong, so that one attempt shows all
//! that must be fixed. Rules read the same trees that the schema was checked on, hence the places.

mod cluster;
mod connectivity;
mod cri;
mod documents;
mod hardware;
mod kubernetes;
mod links;
mod machine;
mod network;
mod pools;
mod runtime;
mod volumes;

#[cfg(test)]
mod tests;

use crate::document::Document;
use crate::node::{Node, Position};
use crate::problem::{Path, Problem, Problems};
use crate::scalar;
use crate::schema::ROOT_KIND;

/// The machine that a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A machine with disks of its own, which must be told where to install.
    Metal,
    /// A machine that runs from an image, or is installed already.
    Installed,
    /// A machine in namespaces of a host.
    Container,
}

/// What validation found.
#[derive(Debug, Default)]
pub(crate) struct Validation {
    pub problems: Problems,
    pub warnings: Problems,
}

/// Runs every rule.
pub(crate) fn validate(documents: &[Document], target: Target) -> Validation {
    let mut validation = Validation::default();
    if let Some(root) = documents.iter().find(|document| document.id.kind == ROOT_KIND) {
        let mut rules = Rules { document: root, out: &mut validation };
        rules.root();
        machine::check(&mut rules, target);
        network::check(&mut rules);
        cluster::check(&mut rules, documents);
    }
    documents::check(documents, &mut validation);
    validation
}

/// One document under examination.
pub(crate) struct Rules<'a> {
    document: &'a Document,
    out: &'a mut Validation,
}

impl<'a> Rules<'a> {
    fn new(document: &'a Document, out: &'a mut Validation) -> Self {
        Self { document, out }
    }

    const fn node(&self) -> &'a Node {
        &self.document.node
    }

    /// The value under these keys.
    fn get(&self, keys: &[&str]) -> Option<&'a Node> {
        self.document.node.at_path(keys)
    }

    /// The text under these keys, if it is not empty.
    fn text(&self, keys: &[&str]) -> Option<&'a str> {
        self.get(keys).and_then(Node::as_text).filter(|text| !text.is_empty())
    }

    /// Whether the value under these keys is true.
    fn is(&self, keys: &[&str]) -> bool {
        let scalar = self.get(keys).and_then(Node::as_scalar);
        scalar.and_then(|scalar| scalar::typed_bool(&scalar.text, scalar.kind)) == Some(true)
    }

    /// Whether `enabled` is false.
    fn is_off(&self) -> bool {
        let scalar = self.get(&["enabled"]).and_then(Node::as_scalar);
        scalar.and_then(|scalar| scalar::typed_bool(&scalar.text, scalar.kind)) == Some(false)
    }

    /// Elements of the list under these keys.
    fn items(&self, keys: &[&str]) -> &'a [Node] {
        self.get(keys).and_then(Node::as_list).unwrap_or_default()
    }

    /// A problem of the value under these keys, or of the place where it should be.
    fn refuse(&mut self, keys: &[&str], message: impl Into<String>) {
        let problem = self.problem(keys.join("."), self.place(keys), message.into());
        self.out.problems.push(problem);
    }

    /// A warning about the value under these keys.
    fn warn(&mut self, keys: &[&str], message: impl Into<String>) {
        let problem = self.problem(keys.join("."), self.place(keys), message.into());
        self.out.warnings.push(problem);
    }

    /// A problem of a value that was reached on the way.
    fn refuse_at(&mut self, path: &Path<'_>, at: Position, message: impl Into<String>) {
        let problem = self.problem(path.to_string(), at, message.into());
        self.out.problems.push(problem);
    }

    fn problem(&self, path: String, at: Position, message: String) -> Problem {
        Problem { document: self.document.id.label(), path, message, at }
    }

    /// Where the deepest existing value on the way is.
    fn place(&self, keys: &[&str]) -> Position {
        let mut node = &self.document.node;
        for key in keys {
            match node.get(key) {
                Some(next) => node = next,
                None => break,
            }
        }
        node.at
    }

    fn root(&mut self) {
        for key in ["machine", "cluster"] {
            if self.get(&[key]).is_none() {
                self.refuse(&[key], "missing");
            }
        }
    }

    fn is_control_plane(&self) -> bool {
        matches!(self.text(&["machine", "type"]), Some("controlplane" | "init"))
    }
}

/// Lower case labels of letters, digits and dashes, joined by dots (RFC 1123); capitals are allowed too.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}
