//! When a cluster is healthy, and how it looks.

use corten_resource::Metadata;

use super::*;
use crate::testing::{A, B};

fn labeled<S: Spec>(id: &str, tags: &[(&str, &str)], spec: S) -> AnyResource {
    AnyResource::new("default", id, spec).edit(|metadata: &mut Metadata| {
        metadata.labels.extend(tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    })
}

fn machines(healthy: u32) -> Option<Machines> {
    Some(Machines { total: 1, healthy, connected: 1, requested: 1 })
}

fn set(id: &str, role: &str) -> AnyResource {
    let spec = MachineSetStatus {
        phase: MachineSetPhase::Running,
        ready: true,
        machines: machines(1),
        ..MachineSetStatus::default()
    };
    labeled(id, &[(labels::CLUSTER, "prod"), (role, "")], spec)
}

fn member(uuid: &str, set: &str, hostname: &str) -> AnyResource {
    let spec = ClusterMachineStatus {
        ready: true,
        stage: ClusterMachineStage::Running,
        config_up_to_date: true,
        ..ClusterMachineStatus::default()
    };
    labeled(uuid, &[(labels::MACHINE_SET, set), (labels::HOSTNAME, hostname)], spec)
}

fn condition(status: ConditionStatus, severity: ConditionSeverity) -> AnyResource {
    let reason = if status == ConditionStatus::Ready { "" } else { "a member is missing" };
    let kind = ConditionKind::Etcd;
    let conditions = vec![ControlPlaneCondition { kind, reason: reason.to_owned(), status, severity }];
    AnyResource::new("default", "prod-control-planes", ControlPlaneStatus { conditions })
}

fn healthy() -> Vec<AnyResource> {
    let cluster = ClusterStatus {
        available: true,
        ready: true,
        phase: ClusterPhase::Running,
        machines: machines(1),
        ..ClusterStatus::default()
    };
    let kubernetes =
        KubernetesUpgradeStatus { phase: KubernetesUpgradePhase::Done, ..KubernetesUpgradeStatus::default() };
    let talos = TalosUpgradeStatus { phase: TalosUpgradePhase::Done, ..TalosUpgradeStatus::default() };
    vec![
        AnyResource::new("default", "prod", cluster),
        AnyResource::new("default", "prod", kubernetes),
        AnyResource::new("default", "prod", talos),
        AnyResource::new("default", "prod", LoadBalancerStatus { healthy: true, stopped: false }),
        condition(ConditionStatus::Ready, ConditionSeverity::Info),
        set("prod-a", labels::ROLE_WORKER),
        set("prod-control-planes", labels::ROLE_CONTROL_PLANE),
        member(A, "prod-control-planes", "cp-1"),
        member(B, "prod-a", "node-1"),
    ]
}

/// The tree after a resource took the place of the one of its type and id.
fn with(resource: AnyResource) -> Status {
    let mut resources = healthy();
    resources.retain(|other| other.pointer() != resource.pointer());
    resources.push(resource);
    status("prod", &resources)
}

#[test]
fn a_healthy_cluster_is_a_tree_of_what_is_ready() {
    let tree = status("prod", &healthy());
    let expected = format!(
        "Cluster \"prod\" running 1/1 ready
├── Kubernetes upgrade done ready
├── Talos upgrade done ready
├── Control plane \"prod-control-planes\" running 1/1 ready
│   ├── Load balancer healthy ready
│   ├── etcd ready ready
│   └── Machine {A:?} (cp-1) running ready
└── Workers \"prod-a\" running 1/1 ready
    └── Machine {B:?} (node-1) running ready
"
    );
    assert_eq!(tree.render(), expected);
    assert!(tree.is_ready());
}

#[test]
fn anything_that_is_missing_makes_the_cluster_unhealthy() {
    for kind in [
        ClusterStatus::DEFINITION.kind,
        LoadBalancerStatus::DEFINITION.kind,
        ControlPlaneStatus::DEFINITION.kind,
    ] {
        let mut resources = healthy();
        resources.retain(|resource| resource.pointer().kind != kind);
        assert_eq!(resources.len(), healthy().len() - 1, "{kind}");
        assert!(!status("prod", &resources).is_ready(), "without {kind}");
    }
    assert_eq!(
        status("other", &healthy()).render().lines().next(),
        Some("Cluster \"other\" not there yet not ready")
    );
}

#[test]
fn a_manager_that_upgrades_nothing_is_not_waited_for() {
    let mut resources = healthy();
    let is_upgrade = |resource: &AnyResource| {
        let upgrades = [KubernetesUpgradeStatus::DEFINITION.kind, TalosUpgradeStatus::DEFINITION.kind];
        upgrades.contains(&resource.pointer().kind.as_str())
    };
    resources.retain(|resource| !is_upgrade(resource));
    let tree = status("prod", &resources);
    assert!(tree.is_ready());
    assert!(!tree.render().contains("upgrade"), "{}", tree.render());
}

#[test]
fn a_condition_of_the_control_plane_fails_only_as_an_error() {
    let warning = with(condition(ConditionStatus::NotReady, ConditionSeverity::Warning));
    assert!(warning.is_ready());
    assert!(warning.render().contains("etcd not-ready ready: a member is missing"));
    assert!(!with(condition(ConditionStatus::NotReady, ConditionSeverity::Error)).is_ready());
}

#[test]
fn an_upgrade_says_where_it_goes_and_what_it_does() {
    let tree = with(AnyResource::new(
        "default",
        "prod",
        TalosUpgradeStatus {
            phase: TalosUpgradePhase::Upgrading,
            step: "updating machine a".to_owned(),
            status: "1/3".to_owned(),
            current_upgrade_version: "1.11.3".to_owned(),
            ..TalosUpgradeStatus::default()
        },
    ));
    let line = "Talos upgrade upgrading to v1.11.3 not ready: updating machine a; 1/3\n";
    assert!(tree.render().contains(line), "{}", tree.render());
    assert!(!tree.is_ready());
}

#[test]
fn a_machine_that_waits_for_its_lock_is_told_and_does_not_block() {
    let waiting = ClusterMachineStatus {
        ready: true,
        stage: ClusterMachineStage::Running,
        ..ClusterMachineStatus::default()
    };
    let tags = [(labels::MACHINE_SET, "prod-a"), (labels::LOCKED_UPDATE, "")];
    let tree = with(labeled(B, &tags, waiting.clone()));
    assert!(tree.is_ready());
    assert!(tree.render().contains("running ready: an update waits, it is locked"));
    let failed = ClusterMachineStatus { last_config_error: "refused".to_owned(), ..waiting };
    assert!(!with(labeled(B, &tags, failed)).is_ready());
}
