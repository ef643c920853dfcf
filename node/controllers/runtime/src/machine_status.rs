//! Stage and readiness of the machine.
//!
//!     SequencerPosition ─▶ stage
//!     TimeStatus, NetworkStatus, Services, StaticPodStatuses, NodeStatus ─▶ unmet conditions
//!                                                                 └──▶ MachineStatus

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::{MachineType, Role};
use corten_resources::kubernetes::{NodeStatus, StaticPodStatus};
use corten_resources::network::NetworkStatus;
use corten_resources::runtime::{
    MachineStage, MachineStatus, MachineStatusStatus, MaintenanceServiceRequest, SequencerPosition,
    UnmetCondition,
};
use corten_resources::service::{Service, ServiceSpec};
use corten_resources::time::TimeStatus;

/// Says how far the machine is and what is missing.
pub struct MachineReadiness;

controller!(MachineReadiness, "runtime.MachineStatus",
    inputs: [
        weak SequencerPosition, weak MaintenanceServiceRequest, weak MachineType, weak Service, weak ServiceSpec,
        weak TimeStatus, weak NetworkStatus, weak StaticPodStatus, weak NodeStatus
    ],
    outputs: [exclusive MachineStatus]);

impl Transform for MachineReadiness {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let stage = stage(view);
        let unmet_conditions = match stage {
            MachineStage::Booting | MachineStage::Running => unmet(view),
            _ => Vec::new(),
        };
        let status = MachineStatusStatus { ready: unmet_conditions.is_empty(), unmet_conditions };
        let mut plan = Plan::new();
        plan.put("machine", MachineStatus { stage, status });
        plan
    }
}

fn stage(view: &View<MachineReadiness>) -> MachineStage {
    let stage = view.get::<SequencerPosition>("sequencer").map(|position| position.spec.stage);
    match stage {
        Some(MachineStage::Booting) if !view.list::<MaintenanceServiceRequest>().is_empty() => {
            MachineStage::Maintenance
        }
        Some(stage) => stage,
        None => MachineStage::Booting,
    }
}

fn unmet(view: &View<MachineReadiness>) -> Vec<UnmetCondition> {
    let checks = [
        ("time", time(view)),
        ("network", network(view)),
        ("services", services(view)),
        ("staticPods", static_pods(view)),
        ("nodeReady", node_ready(view)),
    ];
    checks
        .into_iter()
        .filter_map(|(name, reason)| Some(UnmetCondition { name: name.to_owned(), reason: reason? }))
        .collect()
}

fn time(view: &View<MachineReadiness>) -> Option<String> {
    let synced = view.get::<TimeStatus>("node").is_some_and(|time| time.spec.synced);
    (!synced).then(|| "time is not synced".to_owned())
}

fn network(view: &View<MachineReadiness>) -> Option<String> {
    let Some(status) = view.get::<NetworkStatus>("status") else {
        return Some("network is not configured yet".to_owned());
    };
    let parts = [
        (status.spec.address_ready, "addresses"),
        (status.spec.connectivity_ready, "connectivity"),
        (status.spec.hostname_ready, "hostname"),
        (status.spec.etc_files_ready, "/etc files"),
    ];
    let missing: Vec<&str> = parts.iter().filter(|(ready, _)| !ready).map(|(_, name)| *name).collect();
    (!missing.is_empty()).then(|| format!("waiting on: {}", missing.join(", ")))
}

/// Services that must be up: those every machine has and those that its configuration brings.
fn services(view: &View<MachineReadiness>) -> Option<String> {
    let mut required = vec!["apid".to_owned(), "machined".to_owned()];
    let brought = ["kubelet", "etcd", "trustd"];
    let specified = view.list::<ServiceSpec>();
    let is_specified = |id: &&str| specified.iter().any(|spec| spec.metadata.id == *id);
    required.extend(brought.into_iter().filter(is_specified).map(str::to_owned));
    let problems: Vec<String> = required
        .iter()
        .filter_map(|id| match view.get::<Service>(id) {
            None => Some(format!("{id} not registered")),
            Some(service) if !service.spec.running => Some(format!("{id} not running")),
            Some(service) if !service.spec.unknown && !service.spec.healthy => {
                Some(format!("{id} not healthy"))
            }
            Some(_) => None,
        })
        .collect();
    (!problems.is_empty()).then(|| problems.join(", "))
}

fn has_kubernetes(view: &View<MachineReadiness>) -> bool {
    view.list::<ServiceSpec>().iter().any(|spec| spec.metadata.id == "kubelet")
}

fn static_pods(view: &View<MachineReadiness>) -> Option<String> {
    let control_plane =
        view.get::<MachineType>(MachineType::ID).is_some_and(|kind| kind.spec.role.is_control_plane());
    if !control_plane || !has_kubernetes(view) {
        return None;
    }
    let statuses = view.list::<StaticPodStatus>();
    if statuses.is_empty() {
        return Some("static pods are not reported yet".to_owned());
    }
    let waiting: Vec<&str> =
        statuses.iter().filter(|pod| !is_ready(&pod.spec)).map(|pod| pod.metadata.id.as_str()).collect();
    (!waiting.is_empty()).then(|| format!("{} not ready", waiting.join(", ")))
}

/// Whether the pod's `Ready` condition is true.
fn is_ready(status: &StaticPodStatus) -> bool {
    let conditions = status.pod_status.get("conditions").and_then(|list| list.as_array());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn node_ready(view: &View<MachineReadiness>) -> Option<String> {
    let role = view.get::<MachineType>(MachineType::ID).map_or(Role::Unknown, |kind| kind.spec.role);
    if role == Role::Unknown || !has_kubernetes(view) {
        return None;
    }
    match view.list::<NodeStatus>().first() {
        None => Some("node is not registered".to_owned()),
        Some(node) if !node.spec.node_ready => {
            Some(format!("node \"{}\" status is not available yet", node.spec.nodename))
        }
        Some(_) => None,
    }
}
