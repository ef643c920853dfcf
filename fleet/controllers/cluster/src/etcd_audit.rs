//! Removes members of etcd that no machine stands behind (fleet.md 4.5).
//!
//! ```text
//! ClusterBootstrapStatus ─▶ once a minute: members, as a control plane tells ─┐
//! ClusterMachineIdentity: members that are known ─────────────────────────────┼─audit─▶ seen twice ─▶ etcd: remove
//! control planes whose member is not known yet ───────────────────────────────┘        └─▶ EtcdAuditResult
//! ```
//!
//! Nothing of a cluster that is locked, or still being taken over, is touched.

use std::collections::BTreeSet;

use corten_base::chain;
use corten_fleet_cluster::quorum::{Etcd, Member, audit};
use corten_fleet_resources::backup::EtcdAuditResult;
use corten_fleet_resources::cluster::{
    Cluster, ClusterBootstrapStatus, ClusterDestroyStatus, ClusterMachine, ClusterMachineIdentity,
};
use corten_fleet_resources::machine::MachineStatus;
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, View, controller};

use crate::audit::{Audits, Turn, may_touch, told};
use crate::machine_calls::MachineCalls;
use crate::{roll, scope};

/// What the last audit of a cluster saw and did; members are named by their ids.
type Round = crate::audit::Round<u64>;
/// What an audit begins with: the members, or why etcd does not tell them.
type Seen = crate::audit::Seen<u64, Result<Vec<Member>, String>>;

/// Removes members that nobody stands behind.
#[derive(Debug)]
pub(crate) struct EtcdAuditController<M> {
    calls: M,
    audits: Audits<u64>,
}

impl<M: MachineCalls> EtcdAuditController<M> {
    /// A controller that has seen nothing yet.
    pub(crate) const fn new(calls: M) -> Self {
        Self { calls, audits: Audits::new() }
    }
}

controller!(impl<M: MachineCalls> EtcdAuditController<M>, "EtcdAuditController",
    inputs: [strong Cluster, weak ClusterDestroyStatus, weak ClusterBootstrapStatus, weak ClusterMachine,
        weak MachineStatus, weak ClusterMachineIdentity],
    outputs: [exclusive EtcdAuditResult]);

/// What an audit does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    /// Machines through which members are removed.
    through: Vec<String>,
    /// What is noted when those that it names are removed.
    round: Round,
}

impl<M: MachineCalls> ItemDriver for EtcdAuditController<M> {
    type Observed = Seen;
    type Op = Op;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Seen> {
        let is_founded = view.get::<ClusterBootstrapStatus>(item).is_some_and(|status| status.bootstrapped);
        if let Err(why) = may_touch(item, view).and_then(|()| is_founded.then_some(()).ok_or(None)) {
            self.audits.forget(item);
            return Ok(Seen::Nothing(why));
        }
        let before = match self.audits.turn(item) {
            Turn::Early(left, round) => return Ok(Seen::Early(left, round)),
            Turn::Due(before) => before,
        };
        let members = self.calls.etcd_members(item, &connected(view)).await;
        Ok(Seen::Due(members.map_err(|error| chain(&error)), before))
    }

    fn plan(&self, item: &str, view: &View<Self>, seen: &Seen) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        if scope::living(view).is_none() {
            return plan;
        }
        plan.keep::<EtcdAuditResult>();
        match seen {
            Seen::Nothing(None) => plan,
            Seen::Nothing(Some(why)) => plan.waiting(*why),
            Seen::Early(left, round) => {
                told(plan, item, *left, round, |etcd_member_ids| EtcdAuditResult { etcd_member_ids })
            }
            Seen::Due(members, before) => {
                let round = match members {
                    Ok(members) => audited(members, &before.orphans, view),
                    Err(why) => Round {
                        orphans: before.orphans.clone(),
                        removed: Vec::new(),
                        reason: format!("the members of etcd: {why}"),
                    },
                };
                plan.op(Op { through: connected(view), round });
                plan
            }
        }
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        for member in &op.round.removed {
            self.calls.remove_etcd_member(item, &op.through, *member).await?;
            tracing::info!(cluster = item, member, "removed a member of etcd that no machine stands behind");
        }
        self.audits.note(item, op.round);
        Ok(())
    }
}

/// What an audit of these members comes to.
fn audited<M: MachineCalls>(
    members: &[Member],
    before: &BTreeSet<u64>,
    view: &View<EtcdAuditController<M>>,
) -> Round {
    let etcd = Etcd { members: members.to_vec(), identities: roll::etcd_ids(view) };
    let machines = roll::control_planes(view);
    let awaited = roll::unidentified(view, &machines, |identity| identity.etcd_member_id != 0);
    let audit = audit(&etcd, before, awaited);
    Round { orphans: audit.remember, removed: audit.remove, reason: audit.reason.unwrap_or_default() }
}

/// Machines of the control plane that can be asked.
fn connected<M: MachineCalls>(view: &View<EtcdAuditController<M>>) -> Vec<String> {
    let there = roll::control_planes(view).into_iter().filter(|member| member.is_connected);
    there.map(|member| member.id.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_fleet_resources::labels::annotation::CLUSTER_LOCKED;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::{Recorder, control_plane, identity, machine_status, registry};

    /// From one audit to the next, and a little more.
    const STEP: Duration = Duration::from_secs(61);

    fn started(recorder: &Recorder) -> TestRuntime {
        let member = |id| Member { id, is_learner: false, is_healthy: true };
        recorder.set(|told| told.members = [1, 2, 7].map(member).to_vec());
        let runtime = TestRuntime::new(registry(), |runtime| {
            runtime.register_items(EtcdAuditController::new(recorder.clone()));
        });
        runtime.put(resource("prod", Cluster::default()));
        for (machine, id) in [("a", 1), ("b", 2)] {
            runtime.put(control_plane(machine));
            runtime.put(machine_status(machine, "fdae::1", true));
            runtime.put(identity(machine, id, machine));
        }
        runtime
    }

    #[tokio::test(start_paused = true)]
    async fn an_orphan_is_removed_when_it_is_seen_again_and_not_before_etcd_runs() {
        let recorder = Recorder::default();
        let runtime = started(&recorder);
        runtime.advance(STEP).await;
        assert!(recorder.take().is_empty(), "nobody started etcd");
        runtime.put(resource("prod", ClusterBootstrapStatus { bootstrapped: true }));
        runtime.quiet().await;
        assert!(recorder.take().is_empty(), "it was seen once");
        runtime.advance(STEP).await;
        assert_eq!(recorder.take(), ["remove 7"]);
        let result = runtime.state().get::<EtcdAuditResult>("prod").expect("a result");
        assert_eq!(result.etcd_member_ids, [7]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_may_be_a_machine_is_not_removed() {
        let recorder = Recorder::default();
        let runtime = started(&recorder);
        runtime.put(control_plane("c"));
        runtime.put(machine_status("c", "fdae::3", true));
        runtime.put(resource("prod", ClusterBootstrapStatus { bootstrapped: true }));
        for _ in 0..4 {
            runtime.advance(STEP).await;
        }
        assert!(recorder.take().is_empty());
        let status = runtime.status("EtcdAuditController/prod").expect("it waits");
        assert!(status.reason.contains("machine c"), "{}", status.reason);
    }

    #[tokio::test(start_paused = true)]
    async fn a_locked_cluster_says_that_nothing_is_removed_and_is_seen_twice_after_it_was_unlocked() {
        let recorder = Recorder::default();
        let runtime = started(&recorder);
        runtime.put(resource("prod", ClusterBootstrapStatus { bootstrapped: true }));
        runtime.quiet().await;
        let locked = resource("prod", Cluster::default())
            .edit(|metadata| drop(metadata.annotations.insert(CLUSTER_LOCKED.to_owned(), String::new())));
        runtime.put(locked);
        runtime.advance(STEP).await;
        let status = runtime.status("EtcdAuditController/prod").expect("it waits");
        assert!(status.reason.contains("to be unlocked"), "{}", status.reason);
        runtime.put(resource("prod", Cluster::default()));
        runtime.quiet().await;
        assert!(recorder.take().is_empty(), "it was forgotten while the cluster was locked");
        runtime.advance(STEP).await;
        assert_eq!(recorder.take(), ["remove 7"]);
    }
}
