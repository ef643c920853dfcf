//! How a machine set is.

use corten_fleet_resources::cluster::{
    AllocationKind, ClusterMachineStage, ClusterMachineStatus, MachineAllocation, MachineSetPhase,
    MachineSetStatus, Machines,
};
use sha2::{Digest as _, Sha256};

use crate::scale::{Operation, Plan};

/// A machine of a set.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Its UUID.
    pub id: &'a str,
    /// How it is.
    pub status: &'a ClusterMachineStatus,
    /// Its tunnel is up.
    pub is_connected: bool,
    /// It leaves.
    pub is_tearing_down: bool,
    /// Hash of the configuration that it took last.
    pub taken_sha256: &'a str,
    /// Its configuration waits because it is locked.
    pub is_locked_update: bool,
}

/// What is known of a machine set.
#[derive(Clone, Debug)]
pub struct SetView<'a> {
    /// Its machines.
    pub members: Vec<Member<'a>>,
    /// How many machines are to be in it: MachineSetNodes that stay.
    pub nodes: usize,
    /// From where it takes machines; `None` when a person puts them in.
    pub allocation: Option<&'a MachineAllocation>,
    /// What is to be done with its machines.
    pub plan: &'a Plan,
    /// The set or its cluster is going away.
    pub is_tearing_down: bool,
    /// Why it cannot go on; empty when it can.
    pub error: &'a str,
}

/// The status of a machine set.
#[must_use]
pub fn set(view: &SetView<'_>) -> MachineSetStatus {
    let machines = machines(view);
    let phase = phase(view, &machines);
    let is_whole = machines.total > 0 && machines.healthy == machines.total;
    let is_empty = machines.total == 0 && machines.requested == 0;
    let locked = view.members.iter().filter(|member| member.is_locked_update).count();
    MachineSetStatus {
        ready: phase == MachineSetPhase::Running && (is_whole || is_empty),
        phase,
        error: view.error.to_owned(),
        config_hash: config_hash(view.members.iter().map(|member| (member.id, member.taken_sha256))),
        machine_allocation: view.allocation.cloned(),
        locked_updates: number(locked),
        machines: Some(machines),
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Counts the machines. A class with a fixed number may ask for more than there are.
fn machines(view: &SetView<'_>) -> Machines {
    let count = |holds: &dyn Fn(&Member<'_>) -> bool| {
        number(view.members.iter().filter(|member| holds(member)).count())
    };
    let asked = match view.allocation {
        Some(allocation) if allocation.allocation_kind == AllocationKind::Static => allocation.machine_count,
        _ => number(view.nodes),
    };
    Machines {
        total: number(view.members.len()),
        healthy: count(&|member| member.status.ready),
        connected: count(&|member| member.is_connected),
        requested: asked,
    }
}

/// What happens to the set: removal goes before failure, failure before growth, growth before change.
fn phase(view: &SetView<'_>, machines: &Machines) -> MachineSetPhase {
    let plans = |what: fn(&Operation) -> bool| view.plan.operations.iter().any(what);
    let is_leaving = view.members.iter().any(|member| member.is_tearing_down);
    let any = |is: fn(&ClusterMachineStatus) -> bool| view.members.iter().any(|member| is(member.status));
    let is_growing = plans(|operation| matches!(operation, Operation::Create(_)));
    if view.is_tearing_down {
        MachineSetPhase::Destroying
    } else if !view.error.is_empty() {
        MachineSetPhase::Failed
    } else if is_growing || machines.total < machines.requested {
        MachineSetPhase::ScalingUp
    } else if !view.plan.is_settled() || is_leaving || machines.total > machines.requested {
        MachineSetPhase::ScalingDown
    } else if any(|status| status.stage == ClusterMachineStage::Upgrading) {
        MachineSetPhase::Upgrading
    } else if any(|status| !status.config_up_to_date) {
        MachineSetPhase::Reconfiguring
    } else {
        MachineSetPhase::Running
    }
}

/// Hash of the configurations of machines in any order, hex of a SHA-256.
pub fn config_hash<'a>(machines: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut machines: Vec<(&str, &str)> = machines.into_iter().collect();
    machines.sort_unstable();
    let mut hash = Sha256::new();
    for (id, sha256) in machines {
        hash.update(id.as_bytes());
        hash.update([0]);
        hash.update(sha256.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::Held;

    fn status(ready: bool, config_up_to_date: bool, stage: ClusterMachineStage) -> ClusterMachineStatus {
        ClusterMachineStatus { ready, config_up_to_date, stage, ..ClusterMachineStatus::default() }
    }

    fn well() -> ClusterMachineStatus {
        status(true, true, ClusterMachineStage::Running)
    }

    fn member<'a>(id: &'a str, status: &'a ClusterMachineStatus) -> Member<'a> {
        Member {
            id,
            status,
            is_connected: true,
            is_tearing_down: false,
            taken_sha256: "aa",
            is_locked_update: false,
        }
    }

    fn view<'a>(members: Vec<Member<'a>>, plan: &'a Plan) -> SetView<'a> {
        SetView { nodes: members.len(), members, allocation: None, plan, is_tearing_down: false, error: "" }
    }

    #[test]
    fn a_set_runs_when_its_machines_are_those_that_are_wanted() {
        let (well, plan) = (well(), Plan::default());
        let status = set(&view(vec![member("a", &well), member("b", &well)], &plan));
        assert!(status.ready);
        assert_eq!(status.phase, MachineSetPhase::Running);
        assert_eq!(status.machines, Some(Machines { total: 2, healthy: 2, connected: 2, requested: 2 }));
        assert!(set(&view(Vec::new(), &plan)).ready, "a set without machines misses none");
    }

    #[test]
    fn each_phase_has_its_cause() {
        let settled = Plan::default();
        let creates = Plan { operations: vec![Operation::Create("c".to_owned())], ..Plan::default() };
        let leaves = Plan { operations: vec![Operation::TearDown("a".to_owned())], ..Plan::default() };
        let held = Held { machine: "a".to_owned(), reason: "etcd".to_owned() };
        let waits = Plan { held: vec![held], ..Plan::default() };
        let well = well();
        let upgrading = status(false, true, ClusterMachineStage::Upgrading);
        let outdated = status(true, false, ClusterMachineStage::Running);
        let phase = |plan: &Plan, one: &ClusterMachineStatus| set(&view(vec![member("a", one)], plan)).phase;
        assert_eq!(phase(&creates, &well), MachineSetPhase::ScalingUp);
        assert_eq!(phase(&leaves, &well), MachineSetPhase::ScalingDown);
        assert_eq!(phase(&waits, &well), MachineSetPhase::ScalingDown);
        assert_eq!(phase(&settled, &upgrading), MachineSetPhase::Upgrading);
        assert_eq!(phase(&settled, &outdated), MachineSetPhase::Reconfiguring);
        let base = view(vec![member("a", &well)], &settled);
        assert_eq!(set(&SetView { error: "x", ..base.clone() }).phase, MachineSetPhase::Failed);
        let gone = SetView { error: "x", is_tearing_down: true, ..base };
        assert_eq!(set(&gone).phase, MachineSetPhase::Destroying);
    }

    #[test]
    fn a_set_is_not_stuck_in_reconfiguring_once_its_machines_have_what_is_wanted() {
        let (plan, before) = (Plan::default(), status(true, false, ClusterMachineStage::Running));
        assert_eq!(set(&view(vec![member("a", &before)], &plan)).phase, MachineSetPhase::Reconfiguring);
        let after = well();
        assert_eq!(set(&view(vec![member("a", &after)], &plan)).phase, MachineSetPhase::Running);
    }

    #[test]
    fn a_class_asks_for_more_than_there_are() {
        let (well, plan) = (well(), Plan::default());
        let allocation = MachineAllocation { machine_count: 3, ..MachineAllocation::default() };
        let status = set(&SetView { allocation: Some(&allocation), ..view(vec![member("a", &well)], &plan) });
        assert_eq!((status.phase, status.ready), (MachineSetPhase::ScalingUp, false));
        assert_eq!(status.machines.unwrap().requested, 3);
        let unlimited = MachineAllocation { allocation_kind: AllocationKind::Unlimited, ..allocation };
        let status = set(&SetView { allocation: Some(&unlimited), ..view(vec![member("a", &well)], &plan) });
        assert!(status.ready);
    }

    #[test]
    fn locked_updates_are_counted() {
        let (outdated, plan) = (status(true, false, ClusterMachineStage::Running), Plan::default());
        let locked = Member { is_locked_update: true, ..member("a", &outdated) };
        assert_eq!(set(&view(vec![locked, member("b", &outdated)], &plan)).locked_updates, 1);
    }

    #[test]
    fn the_hash_of_configurations_does_not_depend_on_order() {
        assert_eq!(config_hash([("a", "1"), ("b", "2")]), config_hash([("b", "2"), ("a", "1")]));
        assert_ne!(config_hash([("a", "1")]), config_hash([("a", "2")]));
        assert_ne!(config_hash([("a", "1")]), config_hash([("a1", "")]));
    }
}
