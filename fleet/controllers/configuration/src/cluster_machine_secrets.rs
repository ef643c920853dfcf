//! The secrets of a cluster, for each of its machines.
//!
//! ```text
//! ClusterSecrets ──(item: the cluster)──▶ ClusterMachineSecrets of each ClusterMachine
//! ```
//!
//! They are those of the cluster, with the authorities that it trusts beside its own. They stay until the machine is
//! out of the cluster: it asks trustd to the last.

use corten_fleet_resources::cluster::ClusterMachine;
use corten_fleet_resources::labels::CLUSTER;
use corten_fleet_resources::secrets::{ClusterMachineSecrets, ClusterSecrets, MachineRotation};
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, Spec, View, controller};

use crate::tags::{all, any, copy_place};

/// Gives each machine of a cluster its secrets.
#[derive(Debug)]
pub struct ClusterMachineSecretsController;

controller!(ClusterMachineSecretsController, "ClusterMachineSecretsController",
    inputs: [weak ClusterMachine, weak ClusterSecrets],
    outputs: [exclusive ClusterMachineSecrets]);

impl ItemTransform for ClusterMachineSecretsController {
    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == ClusterSecrets::DEFINITION.kind {
            true => Concern::by_id(resource),
            false => Concern::by_label(resource, CLUSTER),
        }
    }

    fn plan(&self, cluster: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let members = all::<ClusterMachine, _>(view);
        if members.is_empty() {
            return plan;
        }
        let Some(secrets) = any::<ClusterSecrets, _>(view, cluster) else {
            plan.keep::<ClusterMachineSecrets>();
            return plan.waiting("the secrets of the cluster; they are made once it has a control plane");
        };
        let rotation = secrets.extra_certs.as_ref().map(|extra_certs| MachineRotation {
            extra_certs: Some(extra_certs.clone()),
            ..MachineRotation::default()
        });
        for member in members {
            let spec = ClusterMachineSecrets { data: secrets.data.clone(), rotation: rotation.clone() };
            plan.put_with(member.id(), spec, |metadata| copy_place(&member.metadata, metadata));
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::ControllerState;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_machine_of_a_cluster_has_its_secrets_until_it_is_gone() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(ClusterMachineSecretsController);
        });
        for id in ["m1", "m2"] {
            let member = resource(id, ClusterMachine::default());
            runtime.put(member.edit(|metadata| drop(metadata.labels.insert(CLUSTER.into(), "prod".into()))));
        }
        runtime.quiet().await;
        let status = runtime.status("ClusterMachineSecretsController/prod").expect("it waits");
        assert_eq!(status.state, ControllerState::Waiting);
        runtime.put(resource("prod", ClusterSecrets { data: vec![1], ..ClusterSecrets::default() }));
        runtime.quiet().await;
        let found = |id: &str| runtime.state().get::<ClusterMachineSecrets>(id).map(|it| it.spec.data);
        assert_eq!((found("m1"), found("m2")), (Some(vec![1]), Some(vec![1])));
        let pointer = resource("m1", ClusterMachine::default()).pointer();
        runtime.state().add_finalizer(&pointer, "reset").expect("held");
        runtime.state().remove::<ClusterMachine>("", "m1").expect("torn down");
        runtime.quiet().await;
        assert!(found("m1").is_some(), "it is still being reset");
        runtime.state().remove_finalizer(&pointer, "reset").expect("released");
        runtime.state().remove::<ClusterMachine>("", "m1").expect("gone");
        runtime.quiet().await;
        assert_eq!((found("m1"), found("m2")), (None, Some(vec![1])));
    }
}
