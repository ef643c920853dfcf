//! Ids of resources, as every client makes them from a template.
//!
//! ```text
//! patches     <weight>-cluster-<cluster>-<name>   <weight>-<set>-<name>   <weight>-cm-<machine>-<name>
//! manifests   <weight>-cluster-<cluster>-<name>
//! checks      cluster-<cluster>-<name>
//! extensions  schematic-<cluster, set or machine>
//! sets        <cluster>-control-planes            <cluster>-<name>
//! ```
//!
//! A weight is that of the scope and the place in the list, in three digits: within a layer patches apply by id.

use crate::model::{HealthCheck, Manifest, Patch};

/// Weight of the first patch of a cluster, and of its first manifest.
const CLUSTER_WEIGHT: usize = 200;
/// Weight of the first patch of a machine set.
const SET_WEIGHT: usize = 400;
/// Weight of the first patch of a machine.
const MACHINE_WEIGHT: usize = 400;

/// How the ids of the patches of a scope begin.
#[derive(Clone, Debug)]
pub struct Numbering {
    weight: usize,
    prefix: String,
}

impl Numbering {
    /// For what a cluster gives.
    pub fn of_cluster(cluster: &str) -> Self {
        Self { weight: CLUSTER_WEIGHT, prefix: format!("cluster-{cluster}") }
    }

    /// For what a machine set gives, by its id.
    pub fn of_set(set: &str) -> Self {
        Self { weight: SET_WEIGHT, prefix: set.to_owned() }
    }

    /// For what a machine gives.
    pub fn of_machine(uuid: &str) -> Self {
        Self { weight: MACHINE_WEIGHT, prefix: format!("cm-{uuid}") }
    }

    fn id(&self, index: usize, name: &str) -> String {
        format!("{:03}-{}-{name}", self.weight + index, self.prefix)
    }

    /// Id of the patch in this place of the list; `None` when it has no name.
    pub fn patch(&self, index: usize, patch: &Patch) -> Option<String> {
        match &patch.id_override {
            Some(id) => Some(id.value.clone()),
            None => patch.title().map(|title| self.id(index, title)),
        }
    }

    /// Id of the manifest in this place of the list; `None` when it has no name.
    pub fn manifest(&self, index: usize, manifest: &Manifest) -> Option<String> {
        manifest.name.as_ref().map(|name| self.id(index, name))
    }
}

/// Id of a check; `None` when it has no name.
pub fn health_check(cluster: &str, check: &HealthCheck) -> Option<String> {
    match (&check.id_override, &check.name) {
        (Some(id), _) => Some(id.value.clone()),
        (None, Some(name)) => Some(format!("{}{}", health_check_prefix(cluster), name.value)),
        (None, None) => None,
    }
}

/// How ids of checks begin that are made from their name.
pub fn health_check_prefix(cluster: &str) -> String {
    format!("cluster-{cluster}-")
}

/// Id of a machine set by its name in the template.
pub fn set(cluster: &str, name: &str) -> String {
    format!("{cluster}-{name}")
}

/// Id of the extensions of a cluster, a machine set or a machine.
pub fn extensions(scope: &str) -> String {
    format!("schematic-{scope}")
}

#[cfg(test)]
mod tests {
    use corten_config::node::Position;

    use super::*;
    use crate::model::Spanned;

    #[test]
    fn ids_of_patches_begin_with_the_weight_of_their_scope_and_place() {
        let name = |name: &str| Some(Spanned::new(name.to_owned(), Position::default()));
        let patch = Patch { name: name("mtu"), ..Patch::default() };
        let id = |numbering: Numbering, index| numbering.patch(index, &patch).unwrap();
        assert_eq!(id(Numbering::of_cluster("prod"), 0), "200-cluster-prod-mtu");
        assert_eq!(id(Numbering::of_set("prod-workers"), 3), "403-prod-workers-mtu");
        assert_eq!(id(Numbering::of_machine("uuid"), 12), "412-cm-uuid-mtu");

        let chosen = Patch { id_override: name("950-x"), ..patch };
        assert_eq!(Numbering::of_cluster("prod").patch(0, &chosen).unwrap(), "950-x");
        assert_eq!(Numbering::of_cluster("prod").patch(0, &Patch::default()), None);
    }
}
