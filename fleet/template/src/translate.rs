//! From a template to the resources that it wants.
//!
//! ```text
//! Cluster      ─▶ Cluster, KubernetesManifestGroup, KubernetesHealthCheck ─┐
//! MachineSet   ─▶ MachineSet, a MachineSetNode for each machine ───────────┼─▶ in the order in which they are created
//! Machine      ─▶ MachineInstallDiskConfig, KernelArgs ────────────────────┤
//! each Scope   ─▶ ConfigPatch, ExtensionsConfiguration ────────────────────┘
//! ```
//!
//! Everything carries the label of the cluster, except the cluster itself and what belongs to a machine wherever it is.

mod cluster;
mod members;

use std::collections::BTreeMap;

use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::labels::annotation;
use corten_fleet_resources::machine::ExtensionsConfiguration;
use corten_resource::{AnyResource, Resource, Spec};

use crate::model::{Descriptors, Scope, Spanned, Tags, Template};
use crate::names::{self, Numbering};
use crate::plan::rank;

/// The annotation by which a sync knows what it may take back.
const MANAGED: (&str, &str) = (annotation::MANAGED_BY_CLUSTER_TEMPLATES, "");

/// The resources that a template wants, in the order in which they are created.
#[must_use]
pub fn translate(template: &Template) -> Vec<AnyResource> {
    let mut translator = Translator { template, resources: Vec::new() };
    translator.cluster(&template.cluster);
    for set in template.sets() {
        translator.set(set);
    }
    translator.resources.sort_by_key(|resource| rank(&resource.metadata().kind));
    translator.resources
}

/// Labels or annotations that the translation gives a resource itself.
type Own<'a> = &'a [(&'a str, &'a str)];

/// Collects resources.
struct Translator<'a> {
    template: &'a Template,
    resources: Vec<AnyResource>,
}

impl Translator<'_> {
    fn put<S: Spec>(
        &mut self,
        id: String,
        spec: S,
        labels: Own<'_>,
        annotations: Own<'_>,
        chosen: &Descriptors,
    ) {
        let mut resource = Resource::new(id, spec);
        add(&mut resource.metadata.labels, labels, &chosen.labels);
        add(&mut resource.metadata.annotations, annotations, &chosen.annotations);
        self.resources.push(resource.into());
    }

    /// What a scope says for its machines; `name` is what its extensions are called by.
    fn scope(&mut self, scope: &Scope, numbering: &Numbering, name: &str, labels: Own<'_>) {
        for (index, patch) in scope.patches.iter().enumerate() {
            let (Some(id), Some(text)) = (numbering.patch(index, patch), patch.text()) else { continue };
            let spec = ConfigPatch { data: text.to_owned(), ..ConfigPatch::default() };
            let title: Vec<(&str, &str)> =
                patch.title().map(|title| (annotation::NAME, title)).into_iter().collect();
            self.put(id, spec, labels, &title, &patch.descriptors);
        }
        if let Some(extensions) = &scope.system_extensions {
            let spec = ExtensionsConfiguration { extensions: texts(extensions) };
            self.put(names::extensions(name), spec, labels, &[], &Descriptors::default());
        }
    }
}

/// Adds tags; those that a person chose win.
fn add(tags: &mut BTreeMap<String, String>, own: Own<'_>, chosen: &Tags) {
    tags.extend(own.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    tags.extend(chosen.iter().map(|(key, value)| (key.clone(), value.value.clone())));
}

fn texts(list: &[Spanned<String>]) -> Vec<String> {
    list.iter().map(|text| text.value.clone()).collect()
}

#[cfg(test)]
mod tests;
