//! Which machines of a set are members of the cluster, and how the set is (fleet.md 4.5).
//!
//! ```text
//! MachineSet (held), what it knows of its cluster ─┐            etcd, only when a control plane machine could go
//! MachineSetNodes ─────────────────────────────────┼─▶ Scene ◀──────┘
//! ClusterMachines, their statuses ─────────────────┤     │
//! LoadBalancerStatus ──────────────────────────────┘     └─plan─▶ ClusterMachine: made, kept, torn down, destroyed
//!                                                              ├▶ MachineSetStatus, MachineSetConfigStatus
//!                                                              └▶ why a machine has to wait
//! ```
//!
//! A ClusterMachine that is not put again leaves. So whatever is not known keeps all that there is: without its cluster
//! the set changes nothing, and without an answer of etcd no control plane machine goes.

mod scene;

use std::collections::BTreeMap;
use std::time::Duration;

use corten_fleet_cluster::quorum::Etcd;
use corten_fleet_cluster::scale::{self, Operation};
use corten_fleet_cluster::status;
use corten_fleet_resources::cluster::{
    ClusterMachine, ClusterMachineStatus, MachineSet, MachineSetConfigStatus, MachineSetNode,
    MachineSetStatus,
};
use corten_fleet_resources::config::ClusterMachineConfigStatus;
use corten_fleet_resources::kubernetes::LoadBalancerStatus;
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET};
use corten_resource::{
    AnyResource, Concern, Declared, ItemDriver, Never, Plan, Spec, State, View, Writes, controller,
};

use crate::etcd::Members;
use crate::machine_set_cluster::MachineSetCluster;
use crate::view::{label, member_labels, pointer};
use scene::{Scene, Unready};

/// When etcd is asked again that stood against a removal.
const ETCD_AGAIN: Duration = Duration::from_secs(15);
/// When it is looked again whether a machine has left another set.
const ELSEWHERE_AGAIN: Duration = Duration::from_secs(5);

/// Makes machines members of clusters and has them leave.
#[derive(Debug)]
pub struct MachineSetStatusController<M> {
    members: M,
    state: State,
}

impl<M: Members> MachineSetStatusController<M> {
    /// A controller that asks etcd with `members`; `state` tells where machines are that come into a set.
    pub const fn new(members: M, state: State) -> Self {
        Self { members, state }
    }

    /// Machines that are to come into the set and have not left another one yet, each with that set.
    fn elsewhere(&self, scene: &Scene<'_>) -> BTreeMap<String, String> {
        let own = scene.set.id();
        let place = |machine: &str| {
            let member = self.state.get_any(&pointer::<ClusterMachine>(machine))?;
            let set = label(member.metadata(), MACHINE_SET);
            (set != own).then(|| (machine.to_owned(), set.to_owned()))
        };
        scene.newcomers().filter_map(place).collect()
    }
}

controller!(impl<M: Members> MachineSetStatusController<M>, "MachineSetStatusController",
    inputs: [strong MachineSet, weak MachineSetCluster, weak MachineSetNode, weak ClusterMachine,
        weak ClusterMachineStatus, weak ClusterMachineConfigStatus, weak LoadBalancerStatus],
    outputs: [exclusive ClusterMachine, exclusive MachineSetStatus, exclusive MachineSetConfigStatus]);

/// What is seen around a set.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Machines that are still in another set, with that set.
    elsewhere: BTreeMap<String, String>,
    /// What etcd says, or why it says nothing; `None` when it was not asked, since no machine could go.
    etcd: Option<Result<Etcd, String>>,
}

impl<M: Members> ItemDriver for MachineSetStatusController<M> {
    type Observed = Observed;
    type Op = Never;
    const PARALLEL: usize = 32;

    fn concern(resource: &AnyResource) -> Concern {
        let kind = resource.metadata().kind.as_str();
        let of_sets = [
            MachineSet::DEFINITION.kind,
            MachineSetCluster::DEFINITION.kind,
            MachineSetStatus::DEFINITION.kind,
            MachineSetConfigStatus::DEFINITION.kind,
        ];
        if of_sets.contains(&kind) {
            Concern::by_id(resource)
        } else if kind == LoadBalancerStatus::DEFINITION.kind {
            Concern::Item(MachineSet::control_planes_of(resource.id()))
        } else {
            Concern::by_label(resource, MACHINE_SET)
        }
    }

    async fn observe(&self, _: &str, view: &View<Self>) -> anyhow::Result<Observed> {
        let Ok(scene) = Scene::of(view) else { return Ok(Observed::default()) };
        let elsewhere = self.elsewhere(&scene);
        if !scene.needs_etcd(&elsewhere) {
            return Ok(Observed { elsewhere, etcd: None });
        }
        let machines: Vec<String> = scene.machines.iter().map(|machine| machine.id().to_owned()).collect();
        let cluster = label(&scene.set.metadata, CLUSTER);
        let etcd = self.members.ask(cluster, &machines).await;
        Ok(Observed { elsewhere, etcd: Some(etcd) })
    }

    fn plan(&self, _: &str, view: &View<Self>, observed: &Observed) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        let scene = match Scene::of(view) {
            Ok(scene) => scene,
            Err(Unready::Gone) => return plan,
            Err(Unready::Waits(what)) => {
                plan.keep::<ClusterMachine>().keep::<MachineSetStatus>().keep::<MachineSetConfigStatus>();
                return plan.waiting(what);
            }
        };
        let etcd = observed.etcd.as_ref().and_then(|etcd| etcd.as_ref().ok());
        let decided = scale::plan(&scene.scale_set(etcd, &observed.elsewhere));
        put_machines(&mut plan, &scene, &decided);
        if !scene.is_over() {
            put_statuses(&mut plan, &scene, &decided);
        }
        tell(&mut plan, &scene, &decided, observed);
        let plan = if observed.elsewhere.is_empty() { plan } else { plan.again_in(ELSEWHERE_AGAIN) };
        let is_asked_in_vain = observed.etcd.is_some() && !decided.held.is_empty();
        if is_asked_in_vain { plan.again_in(ETCD_AGAIN) } else { plan }
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

/// Wants the members that stay and those that come; all others leave.
fn put_machines<C: Writes<ClusterMachine>>(
    plan: &mut Plan<C, Never>,
    scene: &Scene<'_>,
    decided: &scale::Plan,
) {
    let operations = || decided.operations.iter();
    for machine in scene.machines.iter().filter(|machine| !machine.metadata.is_tearing_down()) {
        if operations().any(|operation| matches!(operation, Operation::TearDown(id) if id == machine.id())) {
            continue;
        }
        plan.put_with(machine.id(), machine.spec.clone(), |metadata| {
            metadata.labels.clone_from(&machine.metadata.labels);
            metadata.annotations.clone_from(&machine.metadata.annotations);
        });
    }
    let created = operations().filter_map(|operation| match operation {
        Operation::Create(id) => Some(id),
        Operation::TearDown(_) | Operation::Destroy(_) => None,
    });
    for id in created {
        let member = ClusterMachine { kubernetes_version: scene.kubernetes_version() };
        let labels = member_labels(&scene.set.metadata);
        plan.put_with(id, member, |metadata| metadata.labels = labels);
    }
}

/// Says how the set is, and what others may do with its machines.
fn put_statuses<C: Writes<MachineSetStatus> + Writes<MachineSetConfigStatus>>(
    plan: &mut Plan<C, Never>,
    scene: &Scene<'_>,
    decided: &scale::Plan,
) {
    let blank = ClusterMachineStatus::default();
    let error = scene.error();
    let known = status::set(&scene.status_view(decided, &blank, &error));
    let (strategy, config) = scene.update_strategy();
    let permitted = decided.config_status(strategy, config);
    let (id, labels) = (scene.set.id(), &scene.set.metadata.labels);
    plan.put_with(id, known, |metadata| metadata.labels.clone_from(labels));
    plan.put_with(id, permitted, |metadata| metadata.labels.clone_from(labels));
}

/// Says what the set waits for, machine by machine.
fn tell<C: Declared>(
    plan: &mut Plan<C, Never>,
    scene: &Scene<'_>,
    decided: &scale::Plan,
    observed: &Observed,
) {
    for held in &decided.held {
        plan.missing(format!("machine {}: {}", held.machine, held.reason));
    }
    if let Some(Err(why)) = &observed.etcd {
        plan.missing(why.clone());
    }
    for (machine, set) in &observed.elsewhere {
        plan.missing(format!("machine {machine} to leave machine set {set}, where it still is"));
    }
    if let Some(shortage) = scene.shortage() {
        plan.missing(shortage);
    }
}

#[cfg(test)]
mod tests;
