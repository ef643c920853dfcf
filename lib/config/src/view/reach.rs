//! What the schema calls effective reaches the view, and what the view offers is read by somebody.
//!
//! A field that is accepted without effect misleads: it must be refused, or warn. Both halves of the way from a text to
//! its effect are walked here for every field there is.

use std::path::Path;

use super::MachineView;
use crate::document::{Document, DocumentId};
use crate::node::{Node, Value};
use crate::schema::{DOCUMENTS, DocumentKind, Field, Record, Support, Type};

/// Fields that say what is so in any case, each with its reason.
const WITHOUT_CHOICE: &[(&str, &str)] = &[
    ("v1alpha1.version", "there is one"),
    ("v1alpha1.persist", "a configuration is always kept, and every generated one says so"),
    ("v1alpha1.machine.install.image", "the image that runs is the one that is installed"),
    ("v1alpha1.machine.install.grubUseUKICmdline", "kernel arguments always come from the image"),
    ("v1alpha1.machine.features.rbac", "always on"),
    ("v1alpha1.machine.features.apidCheckExtKeyUsage", "always on"),
    ("v1alpha1.cluster.apiServer.disablePodSecurityPolicy", "Kubernetes has none any more"),
    ("ResolverConfig.nameservers.protocol", "only one is not refused"),
    ("HTTPProbeConfig.name", "it only tells the documents apart"),
    ("TCPProbeConfig.name", "it only tells the documents apart"),
    ("NetworkRuleConfig.name", "it only tells the documents apart"),
    ("KmsgLogConfig.name", "it only tells the documents apart"),
    ("RAIDArrayConfig.level", "there is one"),
    ("KubeStaticPodConfig.name", "it only tells the documents apart"),
];

/// A field and the fields that hold it.
struct Way {
    kind: &'static DocumentKind,
    holders: Vec<&'static Field>,
    leaf: &'static Field,
}

impl Way {
    fn path(&self) -> String {
        let keys = self.holders.iter().chain([&self.leaf]).map(|field| field.key);
        [self.kind.kind].into_iter().chain(keys).collect::<Vec<_>>().join(".")
    }
}

/// The record inside lists and maps.
fn record_of(kind: Type) -> Option<&'static Record> {
    match kind {
        Type::Record(record) => Some(record),
        Type::List(inner) | Type::Map(inner) => record_of(*inner),
        _ => None,
    }
}

/// Every effective field that holds no others.
fn ways() -> Vec<Way> {
    fn walk(
        kind: &'static DocumentKind,
        record: &'static Record,
        holders: &[&'static Field],
        all: &mut Vec<Way>,
    ) {
        for field in record.fields.iter().filter(|field| field.support == Support::Effective) {
            match record_of(field.kind) {
                Some(inner) => walk(kind, inner, &[holders, &[field]].concat(), all),
                None => all.push(Way { kind, holders: holders.to_vec(), leaf: field }),
            }
        }
    }
    let mut all = Vec::new();
    for kind in DOCUMENTS {
        walk(kind, kind.record, &[], &mut all);
    }
    all
}

/// A value inside the lists and maps of its type.
fn wrap(kind: Type, value: Node) -> Node {
    match kind {
        Type::List(inner) => Node::list([wrap(*inner, value)]),
        Type::Map(inner) => Node::map([("sample", wrap(*inner, value))]),
        _ => value,
    }
}

/// The value inside the lists and maps of its type.
fn unwrap(kind: Type, node: &mut Node) -> &mut Node {
    let (Type::List(inner) | Type::Map(inner)) = kind else { return node };
    match &mut node.value {
        Value::List(items) => unwrap(*inner, &mut items[0]),
        Value::Map(map) => unwrap(*inner, map.get_mut("sample").unwrap()),
        Value::Scalar(_) => panic!("a list or a map is no scalar"),
    }
}

/// Values of a scalar that are not the default of every field.
fn scalars(kind: Type, later: &[&str]) -> Vec<Node> {
    match kind {
        Type::List(inner) | Type::Map(inner) => scalars(*inner, later),
        Type::Bool => vec![Node::bool(true), Node::bool(false)],
        Type::Integer(_, max) => vec![Node::integer(max.min(77))],
        Type::Mode => vec![Node::integer(0o600)],
        Type::Object => vec![Node::map([("key", Node::string("value"))])],
        Type::OneOf(words) => {
            words.iter().filter(|word| !later.contains(word)).map(|word| Node::string(*word)).collect()
        }
        Type::Duration => vec![Node::string("77s")],
        Type::Size => vec![Node::string("77GiB")],
        Type::Ip => vec![Node::string("192.0.2.77")],
        Type::Cidr | Type::Address => vec![Node::string("192.0.2.77/27")],
        Type::Ports => vec![Node::string("77-78")],
        Type::Url => vec![Node::string("https://sample.test:77")],
        Type::Pem => vec![Node::string("c2FtcGxl")],
        _ => vec![Node::string("sample")],
    }
}

fn sample(field: &Field) -> Node {
    // What is switched off shows nothing else of itself.
    let value = match (field.key, record_of(field.kind)) {
        ("disabled", _) => Node::bool(false),
        (_, Some(record)) => whole(record),
        (_, None) => scalars(field.kind, field.later).remove(0),
    };
    wrap(field.kind, value)
}

/// A record with every field that is effective.
fn whole(record: &'static Record) -> Node {
    let effective = record.fields.iter().filter(|field| field.support == Support::Effective);
    Node::map(effective.map(|field| (field.key, sample(field))))
}

/// A record with nothing but what must be there, and the holders.
fn least(record: &'static Record, holders: &[&'static Field]) -> Node {
    let mut fields: Vec<(&str, Node)> = Vec::new();
    for field in record.fields.iter().filter(|field| field.required) {
        fields.push((field.key, sample(field)));
    }
    // What a machine is must be known for much of what a cluster is.
    if let Some(machine) = record.field("machine") {
        fields.push((machine.key, least(record_of(machine.kind).unwrap(), &[])));
    }
    if let [holder, rest @ ..] = holders {
        fields.push((holder.key, wrap(holder.kind, least(record_of(holder.kind).unwrap(), rest))));
    }
    Node::map(fields)
}

fn view(kind: &'static DocumentKind, node: Node) -> MachineView {
    let mut id = DocumentId::of(kind.kind);
    if kind.named {
        node.get("name").and_then(Node::as_text).unwrap_or_default().clone_into(&mut id.name);
    }
    MachineView::new(&[Document { id, kind, node }])
}

/// Whether some value of the field makes another view than its absence does.
fn reaches(way: &Way) -> bool {
    let shapes = [whole(way.kind.record), least(way.kind.record, &way.holders)];
    shapes.into_iter().any(|mut without| {
        let with = |value: Option<Node>, document: &mut Node| {
            let mut node = document;
            for holder in &way.holders {
                let Value::Map(map) = &mut node.value else { panic!("{} is a mapping", way.path()) };
                node = unwrap(holder.kind, map.get_mut(holder.key).unwrap());
            }
            let Value::Map(map) = &mut node.value else { panic!("{} is a mapping", way.path()) };
            match value {
                Some(value) => map.set(way.leaf.key, wrap(way.leaf.kind, value)),
                None => drop(map.remove(way.leaf.key)),
            }
        };
        with(None, &mut without);
        let absent = view(way.kind, without.clone());
        scalars(way.leaf.kind, way.leaf.later).into_iter().any(|value| {
            let mut document = without.clone();
            with(Some(value), &mut document);
            view(way.kind, document) != absent
        })
    })
}

#[test]
fn every_effective_field_reaches_the_view() {
    let ways = ways();
    assert!(ways.len() > 150, "{}", ways.len());
    let lost: Vec<String> = ways.iter().filter(|way| !reaches(way)).map(Way::path).collect();
    let expected: Vec<&str> = WITHOUT_CHOICE.iter().map(|(path, _)| *path).collect();
    assert_eq!(lost, expected, "fields without effect must be refused or inert");
}

/// Names of the public fields of a source.
fn fields(source: &str) -> Vec<&str> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("    pub "));
    lines.filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect()
}

/// Sources of a folder and those below, one text.
fn sources(folder: &Path, text: &mut String) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &std::fs::read_to_string(&path).unwrap();
        }
    }
}

/// Whether a text reads a field of this name.
fn reads(text: &str, field: &str) -> bool {
    let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '(');
    let dotted = format!(".{field}");
    text.match_indices(&dotted).any(|(at, _)| is_end(&text[at + dotted.len()..]))
}

#[test]
fn every_field_of_the_view_is_read_by_the_node() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut node = String::new();
    sources(&crate_root.join("../../node"), &mut node);
    let mut view = String::new();
    sources(&crate_root.join("src/view"), &mut view);
    let all = fields(&view);
    assert!(all.len() > 100, "{}", all.len());
    let unread: Vec<&str> = all.into_iter().filter(|field| !reads(&node, field)).collect();
    assert_eq!(
        unread,
        Vec::<&str>::new(),
        "refuse these fields, or make them inert, or give them their effect"
    );
}
