//! What resources carry beside their specification, and how views are asked for resources in any phase.

use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, ROLE_CONTROL_PLANE, ROLE_WORKER};
use corten_resource::{Metadata, Reads, Resource, Spec, View};

/// Annotation: hash of what a resource was made of, hex of a SHA-256. It is made anew when that differs.
pub const MADE_OF: &str = "corten.dev/made-of";

/// Labels of a member of a cluster that everything made for it has too.
const PLACE: [&str; 4] = [CLUSTER, MACHINE_SET, ROLE_CONTROL_PLANE, ROLE_WORKER];

/// Gives a resource the labels that say where a member of a cluster is.
pub fn copy_place(member: &Metadata, to: &mut Metadata) {
    for key in PLACE {
        if let Some(value) = member.labels.get(key) {
            to.labels.insert(key.to_owned(), value.clone());
        }
    }
}

/// The value of a label; empty without it.
pub fn label<'a>(metadata: &'a Metadata, key: &str) -> &'a str {
    metadata.labels.get(key).map(String::as_str).unwrap_or_default()
}

/// Whether a resource was made of what has this hash.
pub fn is_made_of(metadata: &Metadata, hash: &str) -> bool {
    metadata.annotations.get(MADE_OF).is_some_and(|made_of| made_of == hash)
}

/// A resource, also one that goes away.
pub fn any<'a, S: Spec, C: Reads<S>>(view: &'a View<C>, id: &str) -> Option<&'a Resource<S>> {
    view.get::<S>(id).or_else(|| view.tearing_down::<S>().into_iter().find(|resource| resource.id() == id))
}

/// All resources of a type that concern the item, also those that go away.
pub fn all<S: Spec, C: Reads<S>>(view: &View<C>) -> Vec<&Resource<S>> {
    view.list::<S>().into_iter().chain(view.tearing_down::<S>()).collect()
}
