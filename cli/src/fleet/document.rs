//! Resources as people write them: YAML documents with metadata and a specification.
//!
//! ```text
//! text ─▶ documents ─▶ metadata: namespace, type, id, labels, annotations ─┐
//!                  └▶ spec ─▶ the type's own reader ─▶ unknown keys? ──────┴─▶ AnyResource
//! wire resource ─▶ text, for the editor
//! ```
//!
//! What only the manager writes (version, owner, phase, times, finalizers) may stand in a document and does not count, so
//! that what `get -o yaml` prints can be applied.

use std::collections::BTreeMap;

use corten_api::cosi::resource as wire;
use corten_config::node::{Node, Position};
use corten_config::problem::unknown_key;
use corten_config::{Problem, read, write, yaml};
use corten_resource::{AnyResource, Metadata, Pointer, Registry};
use serde_json::Value;

use crate::failure::Cause;
use crate::resources;

/// Keys of a document.
const KEYS: [&str; 2] = ["metadata", "spec"];
/// Keys of metadata that people give.
const GIVEN: [&str; 5] = ["namespace", "type", "id", "labels", "annotations"];
/// Keys of metadata that the manager gives.
const KEPT: [&str; 6] = ["version", "owner", "phase", "created", "updated", "finalizers"];
/// Most causes that are told at once.
const CAUSES_MAX: usize = 50;

/// The resources in a text, or everything that is wrong with it. `file` is its name in messages.
pub fn parse(file: &str, text: &str, registry: &Registry) -> Result<Vec<AnyResource>, Cause> {
    let documents = read::documents(text).map_err(|problem| Cause::new(problem.in_file(file)))?;
    let mut reader = Reader { file, registry, causes: Vec::new() };
    let resources: Vec<AnyResource> =
        documents.iter().filter_map(|document| reader.document(document)).collect();
    if reader.causes.is_empty() {
        return Ok(resources);
    }
    reader.causes.truncate(CAUSES_MAX);
    Err(Cause { lines: reader.causes, way_out: None })
}

/// Reads one document after the other.
struct Reader<'a> {
    file: &'a str,
    registry: &'a Registry,
    causes: Vec<String>,
}

impl Reader<'_> {
    fn refuse(&mut self, path: &str, at: Position, message: impl Into<String>) {
        let problem = Problem { path: path.to_owned(), ..Problem::at(at, message.into()) };
        self.causes.push(problem.in_file(self.file));
    }

    /// The resource of a document, as far as it can be read.
    fn document(&mut self, document: &Node) -> Option<AnyResource> {
        self.keys(document, "", &KEYS, &[]);
        let Some(metadata) = document.get("metadata") else {
            self.refuse("metadata", document.at, "missing; it names at least type and id");
            return None;
        };
        self.keys(metadata, "metadata", &GIVEN, &KEPT);
        let metadata = self.metadata(metadata)?;
        let spec = document.get("spec").map(write::document).unwrap_or_else(|| "{}\n".to_owned());
        let at = document.get("spec").map_or(document.at, |spec| spec.at);
        match self.registry.decode_yaml(metadata, &spec) {
            Ok(resource) => {
                self.unknown(&spec, &resource, at);
                Some(resource)
            }
            Err(error) => {
                self.refuse("spec", at, corten_base::chain(&error));
                None
            }
        }
    }

    fn metadata(&mut self, node: &Node) -> Option<Metadata> {
        let text = |key: &str| node.get(key).and_then(Node::as_text).map(str::to_owned);
        let (kind, id) = (text("type"), text("id"));
        for (key, value) in [("type", &kind), ("id", &id)] {
            if value.is_none() {
                self.refuse(&format!("metadata.{key}"), node.at, "missing");
            }
        }
        let (kind, id) = (kind?, id?);
        let Some(definition) = self.registry.definition(&kind) else {
            let all = self.registry.types().map(|known| known.definition.kind);
            let near = corten_config::problem::nearest(&kind, all);
            let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            self.refuse("metadata.type", node.at, format!("{kind:?} is no type that is known here{near}"));
            return None;
        };
        let namespace = text("namespace").unwrap_or_else(|| definition.namespace.to_owned());
        let mut metadata = Metadata::new(namespace, kind, id);
        metadata.labels = self.tags(node, "labels");
        metadata.annotations = self.tags(node, "annotations");
        Some(metadata)
    }

    fn tags(&mut self, metadata: &Node, key: &str) -> BTreeMap<String, String> {
        let Some(node) = metadata.get(key) else { return BTreeMap::new() };
        let Some(map) = node.as_map() else {
            self.refuse(&format!("metadata.{key}"), node.at, "expected a mapping");
            return BTreeMap::new();
        };
        let mut tags = BTreeMap::new();
        for entry in map {
            // A label that only has to be there has no value.
            let text = if entry.value.is_null() { Some("") } else { entry.value.as_text() };
            match text {
                Some(text) => drop(tags.insert(entry.key.clone(), text.to_owned())),
                None => self.refuse(&format!("metadata.{key}"), entry.at, "expected texts"),
            }
        }
        tags
    }

    /// Refuses keys that are neither of these.
    fn keys(&mut self, node: &Node, path: &str, known: &[&str], ignored: &[&str]) {
        let Some(map) = node.as_map() else {
            return self.refuse(path, node.at, format!("expected a mapping, found a {}", node.describe()));
        };
        for entry in map {
            let key = entry.key.as_str();
            if !known.contains(&key) && !ignored.contains(&key) {
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                self.refuse(&path, entry.at, unknown_key(key, known.iter().copied()));
            }
        }
    }

    /// Refuses keys of the specification that its type does not have, since the type's own reader passes them over.
    fn unknown(&mut self, given: &str, resource: &AnyResource, at: Position) {
        let one = |text: &str| yaml::parse(text).ok().and_then(|documents| documents.into_iter().next());
        let (Some(given), Some(known)) = (one(given), one(&resource.to_yaml())) else { return };
        let mut found = Vec::new();
        compare(&given, &known, "spec", &mut found);
        for (path, message) in found {
            self.refuse(&path, at, message);
        }
    }
}

/// Finds keys with a value that the known form of the same value does not have.
fn compare(given: &Value, known: &Value, path: &str, found: &mut Vec<(String, String)>) {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => {
            for (key, value) in given {
                let path = format!("{path}.{key}");
                match known.get(key) {
                    Some(known) => compare(value, known, &path, found),
                    None if is_zero(value) => {}
                    None => found.push((path, unknown_key(key, known.keys().map(String::as_str)))),
                }
            }
        }
        (Value::Array(given), Value::Array(known)) => {
            for (index, (given, known)) in given.iter().zip(known).enumerate() {
                compare(given, known, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// A resource for the editor: what people may change, its specification in the words of the manager.
pub fn render(resource: &wire::Resource) -> Result<String, Cause> {
    let metadata = resources::metadata(resource);
    let text = |text: &str| Node::string(text);
    let mut entries = vec![
        ("namespace", text(&metadata.namespace)),
        ("type", text(&metadata.r#type)),
        ("id", text(&metadata.id)),
    ];
    for (key, tags) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        let sorted: BTreeMap<&String, &String> = tags.iter().collect();
        if !sorted.is_empty() {
            entries
                .push((key, Node::map(sorted.into_iter().map(|(key, value)| (key.as_str(), text(value))))));
        }
    }
    let head = Node::map([("metadata", Node::map(entries))]);
    Ok(write::document(&head) + &resources::spec_yaml(resource)?)
}

/// Where a resource is.
pub fn pointer(resource: &wire::Resource) -> Pointer {
    let metadata = resources::metadata(resource);
    Pointer::new(&metadata.namespace, &metadata.r#type, &metadata.id)
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::Cluster;

    use super::*;

    const TEXT: &str = "metadata:
    namespace: default
    type: Clusters.omni.sidero.dev
    id: prod
    version: 12
    labels: {tier: gold, empty: }
spec:
    kubernetesversion: 1.34.2
    talosversion: 1.11.5
    installimage: \"\"
    features:
        diskencryption: true
";

    fn causes(text: &str) -> Vec<String> {
        parse("a.yaml", text, &corten_fleet_resources::registry()).expect_err("refused").lines
    }

    #[test]
    fn what_get_prints_is_read() {
        let resources = parse("a.yaml", TEXT, &corten_fleet_resources::registry()).expect("read");
        let [resource] = resources.as_slice() else { panic!("{resources:?}") };
        let cluster = resource.spec::<Cluster>().expect("a cluster");
        assert_eq!((cluster.talos_version.as_str(), resource.id()), ("1.11.5", "prod"));
        assert!(cluster.features.as_ref().expect("features").disk_encryption);
        let labels: Vec<(&str, &str)> =
            resource.metadata().labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(labels, [("empty", ""), ("tier", "gold")]);
        assert_eq!(resource.metadata().version, 0, "the version is the manager's");
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_place() {
        let text = "metadata: {type: Clusters.omni.sidero.dev, id: a, label: {}}\nspec:\n  talosversoin: 1.11.5\n---\nmetadata: {type: Cluster.omni.sidero.dev}\n---\nspecs: {}\n";
        let causes = causes(text);
        let has = |text: &str| causes.iter().any(|cause| cause.contains(text));
        assert!(has("metadata.label: unknown key; did you mean \"labels\"? (a.yaml:1:"), "{causes:#?}");
        assert!(has("spec.talosversoin: unknown key; did you mean \"talosversion\"?"), "{causes:#?}");
        assert!(has("metadata.id: missing (a.yaml:5:"), "{causes:#?}");
        assert!(has("specs: unknown key"), "{causes:#?}");
        assert!(has("metadata: missing"), "{causes:#?}");
    }

    #[test]
    fn a_type_that_is_nearly_right_is_suggested() {
        let causes = causes("metadata: {type: Cluster.omni.sidero.dev, id: a}\n");
        assert!(causes[0].contains("did you mean Clusters.omni.sidero.dev?"), "{causes:?}");
    }

    #[test]
    fn the_editor_shows_what_people_may_change() {
        let resource =
            resources::tests::resource("Clusters.omni.sidero.dev", "prod", "talosversion: 1.11.5\n");
        let text = render(&resource).expect("rendered");
        let expected = "metadata:\n    namespace: network\n    type: Clusters.omni.sidero.dev\n    id: prod\nspec:\n    talosversion: 1.11.5\n";
        assert_eq!(text, expected);
        let back = parse("a.yaml", &text, &corten_fleet_resources::registry()).expect("read");
        assert_eq!(back.first().map(AnyResource::pointer), Some(pointer(&resource)));
    }

    #[test]
    fn never_panics_on_any_text() {
        let registry = corten_fleet_resources::registry();
        bolero::check!().for_each(|input: &[u8]| {
            let _ = parse("a.yaml", &String::from_utf8_lossy(input), &registry);
        });
    }
}
