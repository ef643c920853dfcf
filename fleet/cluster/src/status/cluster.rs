//! How a cluster is.

use corten_fleet_resources::cluster::{
    Cluster, ClusterPhase, ClusterStatus, ConditionSeverity, ConditionStatus, ControlPlaneStatus,
    MachineSetPhase, MachineSetStatus, Machines,
};

use super::control_plane::ControlPlaneMember;
use crate::Role;

/// What is known of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterView<'a> {
    /// What a person wants.
    pub cluster: &'a Cluster,
    /// Its machine sets.
    pub sets: Vec<(Role, &'a MachineSetStatus)>,
    /// Machines of the control plane; connected are those that answer.
    pub control_planes: &'a [ControlPlaneMember<'a>],
    /// How its control plane is; `None` while that was not looked at.
    pub control_plane: Option<&'a ControlPlaneStatus>,
    /// The load balancer has a healthy API server.
    pub is_api_healthy: bool,
    /// It is going away.
    pub is_tearing_down: bool,
    /// Its machines use the manager's discovery service: it is wanted, served, and their version can.
    pub uses_embedded_discovery: bool,
    /// Version that it was created with.
    pub initial_version: &'a str,
}

/// The status of a cluster. Its labels are the caller's.
#[must_use]
pub fn cluster(view: &ClusterView<'_>) -> ClusterStatus {
    let answers = view.control_planes.iter().any(|member| member.is_connected);
    let is_running = |set: &MachineSetStatus| set.phase == MachineSetPhase::Running && set.ready;
    let has_control_plane = view.sets.iter().any(|(role, _)| *role == Role::ControlPlane);
    let features = view.cluster.features.clone().unwrap_or_default();
    ClusterStatus {
        available: answers,
        machines: Some(machines(view)),
        phase: phase(view),
        ready: has_control_plane && !view.is_tearing_down && view.sets.iter().all(|(_, set)| is_running(set)),
        kubernetes_api_ready: view.is_api_healthy,
        controlplane_ready: view.control_plane.is_some_and(is_without_error),
        has_connected_control_planes: answers,
        use_embedded_discovery_service: view.uses_embedded_discovery,
        talos_version: view.cluster.talos_version.clone(),
        kubernetes_version: view.cluster.kubernetes_version.clone(),
        disable_public_discovery_service: features.disable_public_discovery_service,
        initial_talos_version: view.initial_version.to_owned(),
    }
}

fn is_without_error(status: &ControlPlaneStatus) -> bool {
    !status.conditions.iter().any(|condition| {
        condition.status == ConditionStatus::NotReady && condition.severity == ConditionSeverity::Error
    })
}

fn machines(view: &ClusterView<'_>) -> Machines {
    let sets = view.sets.iter().filter_map(|(_, set)| set.machines.as_ref());
    sets.fold(Machines::default(), |sum, set| Machines {
        total: sum.total.saturating_add(set.total),
        healthy: sum.healthy.saturating_add(set.healthy),
        connected: sum.connected.saturating_add(set.connected),
        requested: sum.requested.saturating_add(set.requested),
    })
}

/// What happens to the cluster: removal goes before growth, growth before shrinking.
fn phase(view: &ClusterView<'_>) -> ClusterPhase {
    let any = |phases: &[MachineSetPhase]| view.sets.iter().any(|(_, set)| phases.contains(&set.phase));
    if view.is_tearing_down {
        ClusterPhase::Destroying
    } else if view.sets.is_empty() || any(&[MachineSetPhase::Unknown]) {
        ClusterPhase::Unknown
    } else if any(&[MachineSetPhase::ScalingUp]) {
        ClusterPhase::ScalingUp
    } else if any(&[MachineSetPhase::ScalingDown, MachineSetPhase::Destroying]) {
        ClusterPhase::ScalingDown
    } else {
        ClusterPhase::Running
    }
}

/// What is still there of something that goes away, for its destroy status.
#[must_use]
pub fn remains(sets: usize, machines: usize) -> String {
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    match (sets, machines) {
        (0, 0) => "removing what belonged to it".to_owned(),
        (0, machines) => format!("waiting for {}", count(machines, "machine")),
        (sets, machines) => {
            format!("waiting for {} with {}", count(sets, "machine set"), count(machines, "machine"))
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::{ConditionKind, ControlPlaneCondition};

    use super::*;

    fn set(phase: MachineSetPhase, ready: bool) -> MachineSetStatus {
        let machines = Some(Machines { total: 3, healthy: 2, connected: 3, requested: 3 });
        MachineSetStatus { phase, ready, machines, ..MachineSetStatus::default() }
    }

    const UP: &[ControlPlaneMember<'_>] = &[ControlPlaneMember { id: "a", is_connected: true }];
    const DOWN: &[ControlPlaneMember<'_>] = &[ControlPlaneMember { id: "a", is_connected: false }];

    fn view<'a>(cluster: &'a Cluster, sets: &[(Role, &'a MachineSetStatus)]) -> ClusterView<'a> {
        ClusterView {
            cluster,
            sets: sets.to_vec(),
            control_planes: UP,
            control_plane: None,
            is_api_healthy: true,
            is_tearing_down: false,
            uses_embedded_discovery: false,
            initial_version: "1.12.0",
        }
    }

    #[test]
    fn a_cluster_is_ready_when_all_its_sets_run_and_are_ready() {
        let wanted = Cluster::default();
        let well = set(MachineSetPhase::Running, true);
        let ill = set(MachineSetPhase::Running, false);
        let ready = |sets: &[(Role, &MachineSetStatus)]| cluster(&view(&wanted, sets)).ready;
        assert!(ready(&[(Role::ControlPlane, &well), (Role::Worker, &well)]));
        assert!(!ready(&[(Role::ControlPlane, &well), (Role::Worker, &ill)]));
        assert!(!ready(&[(Role::Worker, &well)]) && !ready(&[]));
    }

    #[test]
    fn growing_goes_before_shrinking_and_removal_before_both() {
        let wanted = Cluster::default();
        let phase = |phases: &[MachineSetPhase]| {
            let sets: Vec<MachineSetStatus> = phases.iter().map(|phase| set(*phase, true)).collect();
            let sets: Vec<(Role, &MachineSetStatus)> = sets.iter().map(|set| (Role::Worker, set)).collect();
            cluster(&view(&wanted, &sets)).phase
        };
        use MachineSetPhase::{
            Destroying, Reconfiguring, Running, ScalingDown, ScalingUp, Unknown, Upgrading,
        };
        assert_eq!(phase(&[Running, ScalingDown, ScalingUp]), ClusterPhase::ScalingUp);
        assert_eq!(phase(&[Running, ScalingDown]), ClusterPhase::ScalingDown);
        assert_eq!(phase(&[Running, Destroying]), ClusterPhase::ScalingDown);
        assert_eq!(phase(&[Running, Upgrading, Reconfiguring]), ClusterPhase::Running);
        assert_eq!(phase(&[Running, Unknown]), ClusterPhase::Unknown);
        assert_eq!(phase(&[]), ClusterPhase::Unknown);
        let gone = ClusterView { is_tearing_down: true, ..view(&wanted, &[]) };
        assert_eq!(cluster(&gone).phase, ClusterPhase::Destroying);
    }

    #[test]
    fn a_cluster_is_available_while_a_control_plane_answers() {
        let wanted = Cluster::default();
        assert!(cluster(&view(&wanted, &[])).available);
        let silent = ClusterView { control_planes: DOWN, ..view(&wanted, &[]) };
        let status = cluster(&silent);
        assert!(!status.available && !status.has_connected_control_planes);
    }

    #[test]
    fn the_control_plane_is_ready_without_errors() {
        let wanted = Cluster::default();
        let condition = |status, severity| ControlPlaneStatus {
            conditions: vec![ControlPlaneCondition {
                kind: ConditionKind::Etcd,
                reason: String::new(),
                status,
                severity,
            }],
        };
        let ready = |control_plane: Option<&ControlPlaneStatus>| {
            let view = ClusterView { control_plane, ..view(&wanted, &[]) };
            cluster(&view).controlplane_ready
        };
        assert!(!ready(None));
        assert!(ready(Some(&condition(ConditionStatus::NotReady, ConditionSeverity::Warning))));
        assert!(ready(Some(&condition(ConditionStatus::Unknown, ConditionSeverity::Warning))));
        assert!(!ready(Some(&condition(ConditionStatus::NotReady, ConditionSeverity::Error))));
    }

    #[test]
    fn machines_of_all_sets_are_counted_together() {
        let (wanted, one) = (Cluster::default(), set(MachineSetPhase::Running, true));
        let status = cluster(&view(&wanted, &[(Role::ControlPlane, &one), (Role::Worker, &one)]));
        assert_eq!(status.machines, Some(Machines { total: 6, healthy: 4, connected: 6, requested: 6 }));
    }

    #[test]
    fn what_remains_is_told_in_words() {
        assert_eq!(remains(2, 5), "waiting for 2 machine sets with 5 machines");
        assert_eq!(remains(0, 1), "waiting for 1 machine");
        assert_eq!(remains(0, 0), "removing what belonged to it");
    }
}
