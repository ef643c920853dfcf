//! In which order the parts of a cluster go: workers, control plane, then what belonged to it.

use corten_fleet_resources::cluster::MachineSet;
use corten_resource::{Pointer, Spec as _};

use crate::Role;
use crate::status::remains;

/// A machine set that is still there.
#[derive(Clone, Copy, Debug)]
pub struct SetRemains<'a> {
    /// Its id.
    pub id: &'a str,
    /// What its machines are.
    pub role: Role,
    /// It is going away.
    pub is_tearing_down: bool,
    /// Machines that are still in it.
    pub machines: usize,
}

/// What is still there of a cluster that goes away.
#[derive(Clone, Debug, Default)]
pub struct ClusterRemains<'a> {
    /// Its machine sets.
    pub sets: Vec<SetRemains<'a>>,
    /// MachineSetNodes, patches, manifests, health checks and the like, and whether each is going away.
    pub belongings: Vec<(Pointer, bool)>,
}

/// What to do next with a cluster that goes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStep {
    /// What to tear down now, in order.
    pub tear_down: Vec<Pointer>,
    /// What is still there, for the destroy status.
    pub phase: String,
    /// Nothing is left, and the cluster can go.
    pub is_done: bool,
}

/// Decides what goes next. The control plane stays until no worker needs it.
#[must_use]
pub fn order(remains_of: &ClusterRemains<'_>) -> ClusterStep {
    for role in [Role::Worker, Role::ControlPlane] {
        let sets: Vec<&SetRemains<'_>> = remains_of.sets.iter().filter(|set| set.role == role).collect();
        if !sets.is_empty() {
            return sets_step(remains_of, &sets);
        }
    }
    let left = remains_of.belongings.iter().filter(|(_, is_tearing_down)| !is_tearing_down);
    let mut tear_down: Vec<Pointer> = left.map(|(pointer, _)| pointer.clone()).collect();
    tear_down.sort();
    ClusterStep { tear_down, phase: remains(0, 0), is_done: remains_of.belongings.is_empty() }
}

fn sets_step(remains_of: &ClusterRemains<'_>, sets: &[&SetRemains<'_>]) -> ClusterStep {
    let pointer = |id: &str| Pointer::new(MachineSet::DEFINITION.namespace, MachineSet::DEFINITION.kind, id);
    let left = sets.iter().filter(|set| !set.is_tearing_down);
    let mut tear_down: Vec<Pointer> = left.map(|set| pointer(set.id)).collect();
    tear_down.sort();
    let machines: usize = remains_of.sets.iter().map(|set| set.machines).sum();
    ClusterStep { tear_down, phase: remains(remains_of.sets.len(), machines), is_done: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(id: &str, role: Role) -> SetRemains<'_> {
        SetRemains { id, role, is_tearing_down: false, machines: 2 }
    }

    fn ids(step: &ClusterStep) -> Vec<&str> {
        step.tear_down.iter().map(|pointer| pointer.id.as_str()).collect()
    }

    #[test]
    fn workers_go_before_the_control_plane_and_both_before_the_rest() {
        let control_planes = set("c-control-planes", Role::ControlPlane);
        let workers = [set("c-workers", Role::Worker), set("c-gpu", Role::Worker)];
        let belongings = vec![(Pointer::new("default", "ConfigPatches.omni.sidero.dev", "500-a"), false)];
        let mut remains = ClusterRemains { sets: vec![control_planes, workers[0], workers[1]], belongings };
        let step = order(&remains);
        assert_eq!(ids(&step), ["c-gpu", "c-workers"]);
        assert_eq!(step.phase, "waiting for 3 machine sets with 6 machines");
        remains.sets = vec![control_planes, SetRemains { is_tearing_down: true, ..workers[0] }];
        assert!(order(&remains).tear_down.is_empty());
        remains.sets = vec![control_planes];
        assert_eq!(ids(&order(&remains)), ["c-control-planes"]);
        remains.sets.clear();
        let step = order(&remains);
        assert_eq!((ids(&step), step.is_done), (vec!["500-a"], false));
    }

    #[test]
    fn a_cluster_is_gone_when_nothing_is_left() {
        assert!(order(&ClusterRemains::default()).is_done);
        let going = (Pointer::new("default", "MachineSetNodes.omni.sidero.dev", "m"), true);
        let step = order(&ClusterRemains { sets: Vec::new(), belongings: vec![going] });
        assert!(step.tear_down.is_empty() && !step.is_done);
    }
}
