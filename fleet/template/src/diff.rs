//! Resources as YAML, and what changes in them as a unified diff.
//!
//! The YAML is what `apply` of the manager's clients reads: metadata that a person gives, and the specification. Texts
//! of several lines stand as blocks, so that a diff shows the line that changes.

use corten_config::node::Node;
use corten_config::{read, write};
use corten_resource::{AnyResource, Metadata};
use similar::TextDiff;

/// What stands for a resource that does not exist.
const NOTHING: &str = "/dev/null";
/// Unchanged lines around a change.
const CONTEXT_LINES: usize = 3;

/// A resource as one YAML document.
#[must_use]
pub fn yaml(resource: &AnyResource) -> String {
    let text = resource.to_yaml();
    let spec = match read::documents(&text) {
        Ok(documents) => documents.into_iter().next().unwrap_or_default(),
        Err(_) => Node::string(text),
    };
    write::document(&Node::map([("metadata", metadata(resource.metadata())), ("spec", spec)]))
}

/// Resources as YAML documents one after the other.
#[must_use]
pub fn render(resources: &[AnyResource]) -> String {
    let texts: Vec<String> = resources.iter().map(yaml).collect();
    texts.join("---\n")
}

/// What changes from one to the other; nothing on either side stands for a resource that does not exist there. Empty
/// when nothing changes.
#[must_use]
pub fn unified(old: Option<&AnyResource>, new: Option<&AnyResource>) -> String {
    let name = |side: Option<&AnyResource>| {
        side.map_or_else(|| NOTHING.to_owned(), |resource| resource.pointer().to_string())
    };
    let (before, after) = (old.map(yaml).unwrap_or_default(), new.map(yaml).unwrap_or_default());
    TextDiff::from_lines(before.as_str(), after.as_str())
        .unified_diff()
        .context_radius(CONTEXT_LINES)
        .header(&name(old), &name(new))
        .to_string()
}

fn metadata(metadata: &Metadata) -> Node {
    let mut entries = vec![
        ("namespace", Node::string(metadata.namespace.as_str())),
        ("type", Node::string(metadata.kind.as_str())),
        ("id", Node::string(metadata.id.as_str())),
    ];
    for (key, tags) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        if !tags.is_empty() {
            let tags = tags.iter().map(|(key, value)| (key.as_str(), Node::string(value.as_str())));
            entries.push((key, Node::map(tags)));
        }
    }
    Node::map(entries)
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::config::ConfigPatch;
    use corten_fleet_resources::labels;

    use super::*;

    fn patch(data: &str) -> AnyResource {
        let spec = ConfigPatch { data: data.to_owned(), ..ConfigPatch::default() };
        AnyResource::new("default", "200-cluster-a-x", spec).edit(|metadata| {
            metadata.labels.insert(labels::CLUSTER.to_owned(), "a".to_owned());
        })
    }

    #[test]
    fn texts_of_several_lines_stand_as_blocks() {
        let expected = "metadata:
    namespace: default
    type: ConfigPatches.omni.sidero.dev
    id: 200-cluster-a-x
    labels:
        omni.sidero.dev/cluster: a
spec:
    data: |
        machine:
          type: worker
";
        assert_eq!(yaml(&patch("machine:\n  type: worker\n")), expected);
    }

    #[test]
    fn a_diff_shows_the_line_that_changes() {
        let (old, new) = (patch("machine:\n  type: worker\n"), patch("machine:\n  type: controlplane\n"));
        let diff = unified(Some(&old), Some(&new));
        let name = "ConfigPatches.omni.sidero.dev(default/200-cluster-a-x)";
        assert!(diff.starts_with(&format!("--- {name}\n+++ {name}\n")), "{diff}");
        assert!(diff.contains("-          type: worker\n+          type: controlplane\n"), "{diff}");
        assert!(unified(None, Some(&new)).starts_with("--- /dev/null\n"));
        assert!(unified(Some(&old), None).contains("\n+++ /dev/null\n"));
        assert_eq!(unified(Some(&old), Some(&old)), "");
    }
}
