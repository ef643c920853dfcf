//! Empties clusters that are removed, in order (fleet.md 4.7).
//!
//! ```text
//! Cluster torn down (held) ─order─▶ MachineSets of workers ─▶ of the control plane ─▶ nodes, patches, manifests, …
//!                             └──▶ ClusterDestroyStatus: what is still there
//! machines are gone ─▶ the other controllers let go of what they made for the cluster ─▶ Cluster let go
//! ```
//!
//! Machines are never removed here: their set has them reset first. Nothing is removed of a cluster that is not seen:
//! only one that is torn down before our eyes is emptied.

use corten_fleet_cluster::Role;
use corten_fleet_cluster::status::remains;
use corten_fleet_cluster::teardown::{ClusterRemains, SetRemains, order};
use corten_fleet_controllers_machine::view::{self, remove};
use corten_fleet_resources::backup::{EtcdAuditResult, EtcdManualBackup};
use corten_fleet_resources::cluster::{
    Cluster, ClusterBootstrapStatus, ClusterConfigVersion, ClusterDestroyStatus, ClusterDiagnostics,
    ClusterEndpoint, ClusterKubernetesNodes, ClusterMachine, ClusterStatus, ClusterTaint, ClusterUuid,
    MachineSet, MachineSetNode,
};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::kubernetes::{
    KubernetesHealthCheck, KubernetesManifestGroup, KubernetesNodeAuditResult, KubernetesStatus,
    LoadBalancerConfig, LoadBalancerStatus,
};
use corten_fleet_resources::labels::{MACHINE_SET, PatchLayer};
use corten_fleet_resources::machine::ExtensionsConfiguration;
use corten_fleet_resources::secrets::{
    ClusterSecrets, ImportedClusterSecrets, Kubeconfig, RotateKubernetesCa, RotateTalosCa, TalosConfig,
};
use corten_resource::{
    AnyResource, Concern, ItemDriver, Metadata, Plan, Pointer, Reads, Spec, State, View, controller,
};

use crate::scope;

/// Empties clusters.
#[derive(Debug)]
pub(crate) struct ClusterDestroyStatusController {
    state: State,
}

impl ClusterDestroyStatusController {
    /// A controller that removes from `state`.
    pub(crate) const fn new(state: State) -> Self {
        Self { state }
    }
}

controller!(ClusterDestroyStatusController, "ClusterDestroyStatusController",
    inputs: [strong Cluster, weak MachineSet, weak ClusterMachine,
        weak MachineSetNode, weak ConfigPatch, weak ExtensionsConfiguration, weak KubernetesManifestGroup,
        weak KubernetesHealthCheck, weak ImportedClusterSecrets, weak RotateTalosCa, weak RotateKubernetesCa,
        weak EtcdManualBackup, weak ClusterTaint,
        weak ClusterUuid, weak ClusterConfigVersion, weak ClusterEndpoint, weak LoadBalancerConfig,
        weak LoadBalancerStatus, weak ClusterSecrets, weak TalosConfig, weak Kubeconfig,
        weak ClusterBootstrapStatus, weak ClusterStatus, weak KubernetesStatus, weak ClusterKubernetesNodes,
        weak ClusterDiagnostics, weak EtcdAuditResult, weak KubernetesNodeAuditResult],
    outputs: [exclusive ClusterDestroyStatus]);

/// A resource that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remove(Pointer);

impl ItemDriver for ClusterDestroyStatusController {
    type Observed = ();
    type Op = Remove;

    fn concern(resource: &AnyResource) -> Concern {
        let labels = &resource.metadata().labels;
        let is_patch = resource.metadata().kind == ConfigPatch::DEFINITION.kind;
        // A patch of a machine follows the machine from cluster to cluster.
        if is_patch && PatchLayer::of(labels) == Some(PatchLayer::Machine) {
            return Concern::Nobody;
        }
        scope::cluster(resource)
    }

    async fn observe(&self, _: &str, _: &View<Self>) -> anyhow::Result<()> {
        Ok(())
    }

    fn plan(&self, item: &str, view: &View<Self>, _: &()) -> Plan<Self, Remove> {
        let mut plan = Plan::new();
        if view.tearing_down::<Cluster>().is_empty() {
            return plan;
        }
        let machines = all::<ClusterMachine>(view);
        let sets = all::<MachineSet>(view);
        let belongings = belongings(view);
        let step = order(&ClusterRemains {
            sets: sets.iter().map(|set| set_remains(set, &machines)).collect(),
            belongings: belongings.iter().map(|one| (one.pointer(), one.is_tearing_down())).collect(),
        });
        let are_machines_gone = sets.is_empty() && machines.is_empty();
        let phase = remains(sets.len(), machines.len());
        // What belongs to machines stays until the last of them is gone, also when its set went first.
        let now = if are_machines_gone || !sets.is_empty() { step.tear_down } else { Vec::new() };
        // What nobody holds any more is gone only when it is removed once more.
        let ready = sets.iter().chain(&belongings).filter(|one| one.is_destroy_ready());
        for pointer in now.into_iter().chain(ready.map(|one| one.pointer())) {
            plan.op(Remove(pointer));
        }
        let made = made(view);
        if are_machines_gone && step.is_done && made.is_empty() {
            return plan;
        }
        plan.put(item, ClusterDestroyStatus { phase: phase.clone() });
        let left = made.first().filter(|_| are_machines_gone && step.is_done);
        plan.holding(match (left, sets.is_empty()) {
            (Some(left), _) => format!("{phase}: {} is left; its owner says why", left.pointer()),
            (None, false) => format!("{phase}; the MachineSetDestroyStatus of each set says what holds it"),
            (None, true) => phase,
        })
    }

    async fn apply(&self, _: &str, Remove(pointer): Remove) -> anyhow::Result<()> {
        Ok(remove(&self.state, &pointer)?)
    }
}

type Seen = View<ClusterDestroyStatusController>;

/// All resources of a type that concern the cluster, also those that go away.
fn all<S: Spec>(view: &Seen) -> Vec<&Metadata>
where
    ClusterDestroyStatusController: Reads<S>,
{
    view::all::<S, _>(view).into_iter().map(|resource| &resource.metadata).collect()
}

/// What remains of a set. One without a role goes with the workers.
fn set_remains<'v>(set: &&'v Metadata, machines: &[&Metadata]) -> SetRemains<'v> {
    let is_own = |machine: &&&Metadata| machine.labels.get(MACHINE_SET) == Some(&set.id);
    SetRemains {
        id: &set.id,
        role: Role::of(&set.labels).unwrap_or(Role::Worker),
        is_tearing_down: set.is_tearing_down(),
        machines: machines.iter().filter(is_own).count(),
    }
}

/// What people made for the cluster. What controllers made goes with what they made it of, except for the places of
/// machines, which must not outlive the cluster.
fn belongings(view: &Seen) -> Vec<&Metadata> {
    let of_people = [
        all::<ConfigPatch>(view),
        all::<ExtensionsConfiguration>(view),
        all::<KubernetesManifestGroup>(view),
        all::<KubernetesHealthCheck>(view),
        all::<ImportedClusterSecrets>(view),
        all::<RotateTalosCa>(view),
        all::<RotateKubernetesCa>(view),
        all::<EtcdManualBackup>(view),
        all::<ClusterTaint>(view),
    ];
    let of_people = of_people.into_iter().flatten().filter(|one| one.owner.is_empty());
    all::<MachineSetNode>(view).into_iter().chain(of_people).collect()
}

/// What the controllers of this crate made for the cluster.
fn made(view: &Seen) -> Vec<&Metadata> {
    let made = [
        all::<ClusterUuid>(view),
        all::<ClusterConfigVersion>(view),
        all::<ClusterEndpoint>(view),
        all::<LoadBalancerConfig>(view),
        all::<LoadBalancerStatus>(view),
        all::<ClusterSecrets>(view),
        all::<TalosConfig>(view),
        all::<Kubeconfig>(view),
        all::<ClusterBootstrapStatus>(view),
        all::<ClusterStatus>(view),
        all::<KubernetesStatus>(view),
        all::<ClusterKubernetesNodes>(view),
        all::<ClusterDiagnostics>(view),
        all::<EtcdAuditResult>(view),
        all::<KubernetesNodeAuditResult>(view),
    ];
    made.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
