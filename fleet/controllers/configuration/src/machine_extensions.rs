//! Which extensions people want on the members of a cluster.
//!
//! ```text
//! ExtensionsConfiguration of cluster, set, member ──narrowest──▶ MachineExtensions of each ClusterMachine
//! ```
//!
//! The narrowest configuration holds alone, the greater id among equals. Without one a machine keeps the extensions
//! that it joined with.

use corten_fleet_resources::cluster::ClusterMachine;
use corten_fleet_resources::labels::{CLUSTER, CLUSTER_MACHINE, MACHINE_SET, PatchLayer, ROOT_CONFIGURATION};
use corten_fleet_resources::machine::{ExtensionsConfiguration, MachineExtensions};
use corten_fleet_schematic::merge_extensions;
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, Resource, View, controller};

use crate::tags::{all, copy_place, label};

/// Tells which extensions the machines of a cluster are to have.
#[derive(Debug)]
pub struct MachineExtensionsController;

controller!(MachineExtensionsController, "MachineExtensionsController",
    inputs: [weak ClusterMachine, weak ExtensionsConfiguration],
    outputs: [exclusive MachineExtensions]);

impl ItemTransform for MachineExtensionsController {
    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_label(resource, CLUSTER)
    }

    fn plan(&self, _: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let wishes = view.list::<ExtensionsConfiguration>();
        for member in all::<ClusterMachine, _>(view) {
            let Some(wish) = narrowest(&wishes, member) else { continue };
            let extensions = merge_extensions([wish.extensions.as_slice()]);
            plan.put_with(member.id(), MachineExtensions { extensions }, |metadata| {
                copy_place(&member.metadata, metadata);
                metadata.labels.insert(ROOT_CONFIGURATION.to_owned(), wish.id().to_owned());
            });
        }
        plan
    }
}

/// The configuration that holds for a member.
fn narrowest<'a>(
    wishes: &[&'a Resource<ExtensionsConfiguration>],
    member: &Resource<ClusterMachine>,
) -> Option<&'a Resource<ExtensionsConfiguration>> {
    let mine = wishes.iter().copied().filter_map(|wish| Some((layer(wish, member)?, wish)));
    let best = mine.max_by(|(a_layer, a), (b_layer, b)| (a_layer, a.id()).cmp(&(b_layer, b.id())));
    best.map(|(_, wish)| wish)
}

/// What a configuration is for, if the member is in it.
fn layer(wish: &Resource<ExtensionsConfiguration>, member: &Resource<ClusterMachine>) -> Option<PatchLayer> {
    let layer = PatchLayer::of(&wish.metadata.labels)?;
    let is_mine = match layer {
        PatchLayer::Cluster => true,
        PatchLayer::MachineSet => label(&wish.metadata, MACHINE_SET) == label(&member.metadata, MACHINE_SET),
        PatchLayer::ClusterMachine => label(&wish.metadata, CLUSTER_MACHINE) == member.id(),
        // Extensions are not wished for a machine outside of its cluster.
        PatchLayer::Machine => false,
    };
    is_mine.then_some(layer)
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    fn labelled(resource: AnyResource, labels: &[(&str, &str)]) -> AnyResource {
        resource.edit(|metadata| {
            for (key, value) in labels {
                metadata.labels.insert((*key).to_owned(), (*value).to_owned());
            }
        })
    }

    fn wish(id: &str, extension: &str, labels: &[(&str, &str)]) -> AnyResource {
        let spec = ExtensionsConfiguration { extensions: vec![extension.to_owned()] };
        labelled(resource(id, spec), labels)
    }

    #[tokio::test(start_paused = true)]
    async fn the_narrowest_wish_holds_alone() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(MachineExtensionsController);
        });
        for (id, set) in [("m1", "prod-workers"), ("m2", "prod-workers"), ("m3", "prod-control-planes")] {
            let place = [(CLUSTER, "prod"), (MACHINE_SET, set)];
            runtime.put(labelled(resource(id, ClusterMachine::default()), &place));
        }
        runtime.put(wish("z-set", "a/set", &[(CLUSTER, "prod"), (MACHINE_SET, "prod-workers")]));
        runtime.put(wish("a-one", "a/one", &[(CLUSTER, "prod"), (CLUSTER_MACHINE, "m2")]));
        runtime.quiet().await;
        let found = |id: &str| runtime.state().get::<MachineExtensions>(id).map(|it| it.spec.extensions);
        assert_eq!(found("m1"), Some(vec!["a/set".to_owned()]));
        assert_eq!(found("m2"), Some(vec!["a/one".to_owned()]));
        assert_eq!(found("m3"), None, "it keeps what it joined with");
    }
}
