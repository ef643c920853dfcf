//! From the resources of a cluster back to a template.
//!
//! ```text
//! actual ─▶ those that a sync would manage ─▶ documents ─▶ text ─▶ read back and validated
//!                                         └▶ what the language cannot say: left out, and named
//! ```
//!
//! Patches keep their ids and their texts, so that a sync of the exported template changes as little as possible.

mod cluster;
mod members;

use std::collections::{BTreeMap, BTreeSet};

use corten_config::node::Node;
use corten_config::write;
use corten_fleet_resources::cluster::Cluster;
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::labels::{self, PatchLayer};
use corten_fleet_resources::machine::ExtensionsConfiguration;
use corten_resource::{AnyResource, Metadata, Pointer, Resource, Spec};

use crate::finding::Findings;
use crate::loader::NoFiles;
use crate::plain::{PlainError, plain};
use crate::plan::is_of;
use crate::read::load;

/// Name of the exported template in messages.
const FILE: &str = "exported template";

/// What to write beside what a cluster consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Kernel arguments of machines; from then on a sync manages them.
    pub include_kernel_args: bool,
}

/// A template made of resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The template, YAML documents. It keeps all rules.
    pub text: String,
    /// Resources of the cluster that the language of templates cannot express. A sync of the template deletes them.
    pub left_out: Vec<Pointer>,
}

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// There is no such cluster.
    #[error("there is no cluster {0:?}; look at the list of clusters")]
    NoCluster(String),
    /// A resource cannot be read.
    #[error(transparent)]
    Unreadable(#[from] PlainError),
    /// What was written breaks a rule, since a resource was not made by a template.
    #[error("failed to make a template of cluster {cluster:?}; mend its resources and export again")]
    Invalid {
        /// The cluster.
        cluster: String,
        /// The rules.
        source: Findings,
    },
}

/// Writes the template of a cluster. `resources` are those that [`plan`](crate::plan()) wants as the actual ones.
///
/// # Errors
/// When there is no such cluster, or its resources break the rules of templates.
pub fn export(
    cluster: &str,
    resources: &[AnyResource],
    options: ExportOptions,
) -> Result<Export, ExportError> {
    let resources: Vec<AnyResource> = resources.iter().map(plain).collect::<Result<_, _>>()?;
    let mut exporter = Exporter { cluster, resources: &resources, options, used: BTreeSet::new() };
    let documents = exporter.documents().ok_or_else(|| ExportError::NoCluster(cluster.to_owned()))?;
    let texts: Vec<String> = documents.iter().map(write::document).collect();
    let text = texts.join("---\n");
    load(FILE, &text, &NoFiles)
        .map_err(|source| ExportError::Invalid { cluster: cluster.to_owned(), source })?;
    let used = exporter.used;
    let is_left_out =
        |resource: &&AnyResource| is_exported(cluster, resource) && !used.contains(&resource.pointer());
    let left_out = resources.iter().filter(is_left_out).map(AnyResource::pointer).collect();
    Ok(Export { text, left_out })
}

/// Whether a resource is to be in the template of a cluster: one that a sync would manage, and that is there to stay.
fn is_exported(cluster: &str, resource: &AnyResource) -> bool {
    is_of(cluster, resource) && !resource.metadata().is_tearing_down()
}

/// What something is said for.
#[derive(Clone, Copy)]
enum Target<'a> {
    Cluster,
    Set(&'a str),
    Machine(&'a str),
}

impl Target<'_> {
    /// Whether the labels of a resource name this target.
    fn has(self, metadata: &Metadata) -> bool {
        let label = |key: &str| metadata.labels.get(key).map(String::as_str);
        match (self, PatchLayer::of(&metadata.labels)) {
            (Self::Cluster, Some(PatchLayer::Cluster)) => true,
            (Self::Set(id), Some(PatchLayer::MachineSet)) => label(labels::MACHINE_SET) == Some(id),
            (Self::Machine(id), Some(PatchLayer::ClusterMachine)) => {
                label(labels::CLUSTER_MACHINE) == Some(id)
            }
            _ => false,
        }
    }
}

/// An entry of a mapping, written if it has a value.
type Entry = (&'static str, Option<Node>);

/// Writes documents, and remembers which resources they are made of.
struct Exporter<'a> {
    cluster: &'a str,
    resources: &'a [AnyResource],
    options: ExportOptions,
    used: BTreeSet<Pointer>,
}

impl<'a> Exporter<'a> {
    /// Every document; nothing when there is no such cluster.
    fn documents(&mut self) -> Option<Vec<Node>> {
        let cluster = self.ours::<Cluster>().into_iter().next()?;
        let mut documents = vec![self.cluster(cluster)];
        documents.extend(self.members());
        Some(documents)
    }

    /// Resources of a type that are to be in the template, by id.
    fn ours<S: Spec>(&self) -> Vec<&'a Resource<S>> {
        let exported = self.resources.iter().filter(|resource| is_exported(self.cluster, resource));
        let mut found: Vec<&Resource<S>> = exported.filter_map(AnyResource::resource::<S>).collect();
        found.sort_by(|a, b| a.id().cmp(b.id()));
        found
    }

    /// Remembers that a resource is in the template.
    fn take(&mut self, metadata: &Metadata) {
        self.used.insert(metadata.pointer());
    }

    /// Patches and extensions of a target.
    fn scope(&mut self, target: Target<'_>) -> [Entry; 2] {
        let is_said = |patch: &&Resource<ConfigPatch>| {
            let is_disabled = patch.metadata.labels.contains_key(labels::DISABLED);
            target.has(&patch.metadata) && !is_disabled && !patch.data.is_empty()
        };
        let mut patches = Vec::new();
        for patch in self.ours::<ConfigPatch>().into_iter().filter(is_said) {
            self.take(&patch.metadata);
            patches.push(mapping([
                ("idOverride", Some(Node::string(patch.id()))),
                ("labels", tags(&patch.metadata.labels)),
                ("annotations", tags(&patch.metadata.annotations)),
                ("inline", Some(Node::string(patch.data.as_str()))),
            ]));
        }
        let mut extensions: Option<Vec<String>> = None;
        for configuration in self.ours::<ExtensionsConfiguration>() {
            if target.has(&configuration.metadata) {
                self.take(&configuration.metadata);
                let names = extensions.get_or_insert_default();
                let new = configuration.extensions.iter().filter(|name| !names.contains(name));
                let new: Vec<String> = new.cloned().collect();
                names.extend(new);
            }
        }
        [("patches", list(patches)), ("systemExtensions", extensions.as_deref().map(texts))]
    }
}

fn mapping(entries: impl IntoIterator<Item = Entry>) -> Node {
    Node::map(entries.into_iter().filter_map(|(key, value)| Some((key, value?))))
}

/// The node, unless there is nothing in it.
fn unless_empty(node: Node) -> Option<Node> {
    (!node.is_zero()).then_some(node)
}

fn list(items: Vec<Node>) -> Option<Node> {
    unless_empty(Node::list(items))
}

fn texts(texts: &[String]) -> Node {
    Node::list(texts.iter().map(|text| Node::string(text.as_str())))
}

/// Labels or annotations that a person chose.
fn tags(tags: &BTreeMap<String, String>) -> Option<Node> {
    let chosen = tags.iter().filter(|(key, _)| !labels::is_reserved(key));
    unless_empty(Node::map(chosen.map(|(key, value)| (key.as_str(), Node::string(value.as_str())))))
}

#[cfg(test)]
mod tests;
