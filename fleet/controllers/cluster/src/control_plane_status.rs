//! How a control plane is: its tunnels and its etcd.
//!
//! ```text
//! ClusterMachine, MachineStatus ─▶ tunnels ────────────────────┐
//! ClusterBootstrapStatus ─▶ members of etcd, asked now and then ┴▶ ControlPlaneStatus of the MachineSet (held)
//! ```

use std::time::Duration;

use corten_base::chain;
use corten_fleet_cluster::Role;
use corten_fleet_cluster::quorum::{Etcd, Member};
use corten_fleet_cluster::status::control_plane;
use corten_fleet_resources::cluster::{
    ClusterBootstrapStatus, ClusterMachine, ClusterMachineIdentity, ConditionStatus, ControlPlaneStatus,
    MachineSet,
};
use corten_fleet_resources::labels::{CLUSTER, ROLE_CONTROL_PLANE};
use corten_fleet_resources::machine::MachineStatus;
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, Resource, View, controller};

use crate::machine_calls::MachineCalls;
use crate::rounds::Rounds;
use crate::{roll, scope};

/// Shortest time between two questions: many changes come together.
const SETTLE: Duration = Duration::from_secs(10);
/// Between two questions while something is not as it should be.
const SOON: Duration = Duration::from_secs(30);
/// Between two questions while all is well.
const LATER: Duration = Duration::from_secs(300);

/// The members of etcd, or why they are not known.
type Asked = Result<Vec<Member>, String>;

/// Publishes how control planes are.
#[derive(Debug)]
pub(crate) struct ControlPlaneStatusController<M> {
    calls: M,
    rounds: Rounds<Asked>,
}

impl<M: MachineCalls> ControlPlaneStatusController<M> {
    /// A controller that has asked nobody yet.
    pub(crate) const fn new(calls: M) -> Self {
        Self { calls, rounds: Rounds::new() }
    }
}

controller!(impl<M: MachineCalls> ControlPlaneStatusController<M>, "ControlPlaneStatusController",
    inputs: [strong MachineSet, weak ClusterBootstrapStatus, weak ClusterMachine, weak MachineStatus,
        weak ClusterMachineIdentity],
    outputs: [exclusive ControlPlaneStatus]);

impl<M: MachineCalls> ItemDriver for ControlPlaneStatusController<M> {
    type Observed = Asked;
    type Op = Never;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Asked> {
        if set(view).is_none() {
            self.rounds.forget(item);
            return Ok(Err("there is no control plane".to_owned()));
        }
        if !view.get::<ClusterBootstrapStatus>(item).is_some_and(|status| status.bootstrapped) {
            return Ok(Err("it was not started yet; see the ClusterBootstrapStatus".to_owned()));
        }
        if let Some((age, asked)) = self.rounds.last(item)
            && age < SETTLE
        {
            return Ok(asked);
        }
        let there = roll::control_planes(view).into_iter().filter(|member| member.is_connected);
        let machines: Vec<String> = there.map(|member| member.id.to_owned()).collect();
        let asked = self.calls.etcd_members(item, &machines).await.map_err(|error| chain(&error));
        self.rounds.note(item, asked.clone());
        Ok(asked)
    }

    fn plan(&self, item: &str, view: &View<Self>, asked: &Asked) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        let Some(set) = set(view) else { return plan };
        let members = roll::judged(&roll::control_planes(view));
        let known = asked.as_ref().map_err(String::as_str);
        let identities = roll::etcd_ids(view);
        let etcd = known.map(|members| Etcd { members: members.clone(), identities });
        let status = control_plane(&members, etcd.as_ref().map_err(|why| *why));
        let is_well = status.conditions.iter().all(|condition| condition.status == ConditionStatus::Ready);
        plan.put_with(set.id(), status, |metadata| {
            metadata.labels.insert(CLUSTER.to_owned(), item.to_owned());
            metadata.labels.insert(ROLE_CONTROL_PLANE.to_owned(), String::new());
        });
        plan.again_in(if is_well { LATER } else { SOON })
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

/// The set that runs the control plane.
fn set<M: MachineCalls>(view: &View<ControlPlaneStatusController<M>>) -> Option<&Resource<MachineSet>> {
    let mut sets = view.list::<MachineSet>().into_iter();
    sets.find(|set| Role::of(&set.metadata.labels) == Some(Role::ControlPlane))
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::{ConditionKind, ConditionSeverity};
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{Recorder, identity, in_cluster, machine_status, registry};

    #[tokio::test(start_paused = true)]
    async fn a_control_plane_is_looked_at_again_and_says_what_is_wrong() {
        let recorder = Recorder::default();
        let healthy = |id, is_healthy| Member { id, is_learner: false, is_healthy };
        recorder.set(|told| told.members = vec![healthy(1, true)]);
        let runtime = TestRuntime::new(registry(), |runtime| {
            runtime.register_items(ControlPlaneStatusController::new(recorder.clone()));
        });
        let set = in_cluster(resource("prod-control-planes", MachineSet::default()));
        let role = ROLE_CONTROL_PLANE.to_owned();
        runtime.put(set.edit(|metadata| drop(metadata.labels.insert(role, String::new()))));
        runtime.put(crate::testing::control_plane("a"));
        runtime.put(machine_status("a", "fdae::1", true));
        runtime.put(identity("a", 1, "a"));
        runtime.quiet().await;
        let etcd = || {
            let status = runtime.state().get::<ControlPlaneStatus>("prod-control-planes")?;
            let etcd = status.spec.conditions.into_iter().find(|one| one.kind == ConditionKind::Etcd)?;
            Some((etcd.status, etcd.severity))
        };
        assert_eq!(etcd(), Some((ConditionStatus::Unknown, ConditionSeverity::Warning)), "it does not run");
        runtime.put(resource("prod", ClusterBootstrapStatus { bootstrapped: true }));
        runtime.quiet().await;
        assert_eq!(etcd(), Some((ConditionStatus::Ready, ConditionSeverity::Info)));
        recorder.set(|told| told.members = vec![healthy(1, false)]);
        runtime.put(machine_status("a", "fdae::7", true));
        runtime.quiet().await;
        assert_eq!(etcd().map(|(status, _)| status), Some(ConditionStatus::Ready), "it was asked just now");
        runtime.advance(LATER + SETTLE).await;
        assert_eq!(etcd(), Some((ConditionStatus::NotReady, ConditionSeverity::Error)));
    }
}
