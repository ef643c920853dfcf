//! Resources as YAML documents, one after another, up to a number of bytes.

use std::collections::BTreeMap;

use corten_api::cosi::resource::{Metadata as WireMetadata, Resource as WireResource};
use corten_config::yaml;
use corten_resource::AnyResource;
use corten_resource::yaml::time;
use serde_json::{Value, json};

/// What stands in the place of a specification that is not told, in YAML.
const HIDDEN: &str = "<REDACTED>";
/// What stands between two documents.
const BETWEEN: &str = "---\n";

/// A file of documents.
#[derive(Debug)]
pub struct Documents {
    text: String,
    bytes_max: usize,
    /// Documents for which there was no room.
    left: usize,
}

impl Documents {
    /// No document yet, and room for so many bytes.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { text: String::new(), bytes_max, left: 0 }
    }

    /// Adds a document, if there is room for it.
    pub fn push(&mut self, document: &str) {
        if self.text.len() + BETWEEN.len() + document.len() > self.bytes_max {
            self.left += 1;
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str(BETWEEN);
        }
        self.text.push_str(document);
    }

    /// The file, unless it has nothing to say.
    #[must_use]
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if self.left > 0 {
            self.text.push_str(&format!("# {} more are left out: there was no room\n", self.left));
        }
        (!self.text.is_empty()).then(|| self.text.into_bytes())
    }
}

/// A resource that is held here, as a document.
#[must_use]
pub fn own(resource: &AnyResource) -> String {
    let metadata = resource.metadata();
    let head = json!({
        "namespace": metadata.namespace,
        "type": metadata.kind,
        "id": metadata.id,
        "version": metadata.version,
        "owner": metadata.owner,
        "phase": metadata.phase.text(),
        "created": time(metadata.created),
        "updated": time(metadata.updated),
        "labels": metadata.labels,
        "annotations": metadata.annotations,
        "finalizers": metadata.finalizers,
    });
    document(head, &resource.to_yaml())
}

/// A resource of a machine, as a document.
#[must_use]
pub fn wire(resource: &WireResource) -> String {
    let none = WireMetadata::default();
    let metadata = resource.metadata.as_ref().unwrap_or(&none);
    let when = |stamp: Option<String>| stamp.unwrap_or_default();
    let sorted = |map: &std::collections::HashMap<String, String>| -> BTreeMap<String, String> {
        map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let head = json!({
        "namespace": metadata.namespace,
        "type": metadata.r#type,
        "id": metadata.id,
        "version": metadata.version,
        "owner": metadata.owner,
        "phase": metadata.phase,
        "created": when(metadata.created.as_ref().map(ToString::to_string)),
        "updated": when(metadata.updated.as_ref().map(ToString::to_string)),
        "labels": sorted(&metadata.labels),
        "annotations": sorted(&metadata.annotations),
        "finalizers": metadata.finalizers,
    });
    document(head, resource.spec.as_ref().map(|spec| spec.yaml_spec.as_str()).unwrap_or_default())
}

/// The metadata of a resource of a machine, whose specification is not told.
#[must_use]
pub fn hidden(resource: &WireResource) -> String {
    let spec = corten_api::cosi::resource::Spec { yaml_spec: HIDDEN.to_owned(), ..Default::default() };
    wire(&WireResource { spec: Some(spec), ..resource.clone() })
}

/// Metadata, without what is empty, and a specification in the words of whoever has it.
fn document(mut head: Value, spec: &str) -> String {
    if let Some(fields) = head.as_object_mut() {
        fields.retain(|_, value| !is_empty(value));
    }
    let mut text = yaml::render(&json!({ "metadata": head }));
    let spec = spec.trim_end();
    let first = spec.lines().next().unwrap_or_default();
    let is_text = first.starts_with(['"', '\'', '|', '{', '[']);
    let is_tree = !is_text && (first.contains(": ") || first.ends_with(':') || first.starts_with("- "));
    let mut lines = spec.lines();
    match (spec.is_empty(), is_tree) {
        (true, _) => text.push_str("spec: {}"),
        (false, true) => text.push_str("spec:"),
        (false, false) => {
            text.push_str("spec: ");
            text.push_str(lines.next().unwrap_or_default());
        }
    }
    text.push('\n');
    for line in lines {
        if !line.is_empty() {
            text.push_str("    ");
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => value.is_null(),
    }
}

#[cfg(test)]
mod tests {
    use corten_api::cosi::resource::Spec;
    use corten_resource::Resource;
    use corten_resources::network::HostnameStatus;

    use super::*;

    fn of_machine(spec: &str) -> Value {
        let metadata = WireMetadata { id: "m".to_owned(), ..WireMetadata::default() };
        let spec = Spec { yaml_spec: spec.to_owned(), ..Spec::default() };
        let text = wire(&WireResource { metadata: Some(metadata), spec: Some(spec) });
        let mut all = yaml::parse(&text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    #[test]
    fn a_specification_of_any_form_makes_one_document() {
        assert_eq!(of_machine("up: true\nlist:\n    - a\n")["spec"]["list"][0], "a");
        assert_eq!(of_machine("worker\n")["spec"], "worker");
        assert_eq!(of_machine("|\n    a: 1\n    b: 2\n")["spec"], "a: 1\nb: 2\n");
        assert_eq!(of_machine("\"a: b\"\n")["spec"], "a: b");
        assert_eq!(of_machine("- a\n- b\n")["spec"][1], "b");
        assert_eq!(of_machine("")["spec"], json!({}));
        assert_eq!(of_machine("{}\n")["metadata"]["id"], "m");
        let hostname = HostnameStatus { hostname: "cp-1".to_owned(), ..HostnameStatus::default() };
        let text = own(&Resource::new("hostname", hostname).into());
        let found = yaml::parse(&text).expect("YAML").remove(0);
        assert_eq!(found["spec"]["hostname"], "cp-1");
        assert_eq!(found["metadata"]["id"], "hostname");
    }

    #[test]
    fn documents_end_where_there_is_no_more_room() {
        let mut documents = Documents::new(20);
        for _ in 0..3 {
            documents.push("a: 1\n");
        }
        let text = String::from_utf8(documents.finish().expect("a file")).expect("text");
        assert_eq!(text, "a: 1\n---\na: 1\n# 1 more are left out: there was no room\n");
        assert_eq!(Documents::new(20).finish(), None);
    }
}
