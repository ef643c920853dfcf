//! How a cluster is, as a tree.
//!
//! ```text
//! ClusterStatus ─▶ cluster ─┬ upgrade of Kubernetes    ◀─ KubernetesUpgradeStatus
//!                           ├ upgrade of the system    ◀─ TalosUpgradeStatus
//!                           └ machine set              ◀─ MachineSetStatus
//!                             ├ load balancer          ◀─ LoadBalancerStatus    (control plane only)
//!                             ├ condition              ◀─ ControlPlaneStatus    (control plane only)
//!                             └ machine                ◀─ ClusterMachineStatus
//! ```
//!
//! The cluster is healthy when everything in the tree is ready. What is not there yet is not ready; only upgrades have a
//! place in the tree when a manager tells of them, as in `omnictl`: one that upgrades nothing has nothing to wait for.

mod render;

use corten_fleet_resources::cluster::{
    ClusterMachineStage, ClusterMachineStatus, ClusterPhase, ClusterStatus, ConditionKind, ConditionSeverity,
    ConditionStatus, ControlPlaneCondition, ControlPlaneStatus, MachineSetPhase, MachineSetStatus, Machines,
};
use corten_fleet_resources::kubernetes::LoadBalancerStatus;
use corten_fleet_resources::labels;
use corten_fleet_resources::upgrade::{
    KubernetesUpgradePhase, KubernetesUpgradeStatus, TalosUpgradePhase, TalosUpgradeStatus,
};
use corten_resource::{AnyResource, Enumeration as _, Resource, Spec};

/// Types that the tree is made of: those with the label of the cluster, the others by the id of the cluster or of its
/// control plane. More does no harm.
pub const TYPES: [&str; 7] = [
    ClusterStatus::DEFINITION.kind,
    MachineSetStatus::DEFINITION.kind,
    ControlPlaneStatus::DEFINITION.kind,
    LoadBalancerStatus::DEFINITION.kind,
    KubernetesUpgradeStatus::DEFINITION.kind,
    TalosUpgradeStatus::DEFINITION.kind,
    ClusterMachineStatus::DEFINITION.kind,
];

/// Whether something is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Ready,
    /// It is not, or not known to be.
    NotReady,
}

impl Verdict {
    const fn of(is_ready: bool) -> Self {
        if is_ready { Self::Ready } else { Self::NotReady }
    }
}

/// A part of the cluster, and what it is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is, such as `Cluster "prod"`.
    pub title: String,
    /// What happens to it, in the words of the resource, with the number of its machines.
    pub state: String,
    /// Whether it is as it should be, apart from its parts.
    pub verdict: Verdict,
    /// What one should know about it.
    pub notes: Vec<String>,
    /// Its parts.
    pub children: Vec<Self>,
}

impl Status {
    fn new(title: impl Into<String>, state: impl Into<String>, is_ready: bool) -> Self {
        Self {
            title: title.into(),
            state: state.into(),
            verdict: Verdict::of(is_ready),
            notes: Vec::new(),
            children: Vec::new(),
        }
    }

    /// What is not there yet.
    fn missing(title: impl Into<String>) -> Self {
        Self::new(title, "not there yet", false)
    }

    /// Adds a note, unless it is empty.
    fn note(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        if !note.is_empty() {
            self.notes.push(note);
        }
        self
    }

    /// Whether it and all its parts are ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.verdict == Verdict::Ready && self.children.iter().all(Self::is_ready)
    }

    /// The tree as text, one line for each part.
    #[must_use]
    pub fn render(&self) -> String {
        render::render(self)
    }
}

/// The tree of a cluster, from resources of [`TYPES`].
#[must_use]
pub fn status(cluster: &str, resources: &[AnyResource]) -> Status {
    Observed { cluster, resources }.cluster()
}

struct Observed<'a> {
    cluster: &'a str,
    resources: &'a [AnyResource],
}

impl<'a> Observed<'a> {
    fn all<S: Spec>(&self) -> impl Iterator<Item = &'a Resource<S>> + use<'a, S> {
        self.resources.iter().filter_map(AnyResource::resource::<S>)
    }

    fn get<S: Spec>(&self, id: &str) -> Option<&'a Resource<S>> {
        self.all::<S>().find(|resource| resource.id() == id)
    }

    /// Resources of a type with this label, by id.
    fn labeled<S: Spec>(&self, key: &str, value: &str) -> Vec<&'a Resource<S>> {
        let mut found: Vec<&Resource<S>> = self
            .all::<S>()
            .filter(|resource| resource.metadata.labels.get(key).is_some_and(|label| label == value))
            .collect();
        found.sort_by(|a, b| a.id().cmp(b.id()));
        found
    }

    fn cluster(&self) -> Status {
        let title = format!("Cluster {:?}", self.cluster);
        let mut cluster = match self.get::<ClusterStatus>(self.cluster) {
            None => Status::missing(title),
            Some(status) => {
                let is_ready = status.ready && status.available && status.phase == ClusterPhase::Running;
                let state = with_machines(status.phase.text(), status.machines.as_ref());
                let unavailable = "no machine of its control plane answers";
                Status::new(title, state, is_ready).note(if status.available { "" } else { unavailable })
            }
        };
        let mut sets = self.labeled::<MachineSetStatus>(labels::CLUSTER, self.cluster);
        sets.sort_by_key(|set| !is_control_plane(set));
        cluster.children.extend(self.kubernetes_upgrade());
        cluster.children.extend(self.talos_upgrade());
        cluster.children.extend(sets.into_iter().map(|set| self.set(set)));
        cluster
    }

    fn kubernetes_upgrade(&self) -> Option<Status> {
        let status = self.get::<KubernetesUpgradeStatus>(self.cluster)?;
        let state = with_version(status.phase.text(), &status.current_upgrade_version);
        let upgrade = Status::new("Kubernetes upgrade", state, status.phase == KubernetesUpgradePhase::Done);
        Some(upgrade.note(&status.error).note(&status.step).note(&status.status))
    }

    fn talos_upgrade(&self) -> Option<Status> {
        let status = self.get::<TalosUpgradeStatus>(self.cluster)?;
        let state = with_version(status.phase.text(), &status.current_upgrade_version);
        let upgrade = Status::new("Talos upgrade", state, status.phase == TalosUpgradePhase::Done);
        Some(upgrade.note(&status.error).note(&status.step).note(&status.status))
    }

    fn set(&self, set: &Resource<MachineSetStatus>) -> Status {
        let role = if is_control_plane(set) { "Control plane" } else { "Workers" };
        let is_ready = set.ready && set.phase == MachineSetPhase::Running && set.error.is_empty();
        let state = with_machines(set.phase.text(), set.machines.as_ref());
        let locked = match set.locked_updates {
            0 => String::new(),
            1 => "1 update waits for a locked machine".to_owned(),
            count => format!("{count} updates wait for locked machines"),
        };
        let title = format!("{role} {:?}", set.id());
        let mut status = Status::new(title, state, is_ready).note(&set.error).note(locked);
        if is_control_plane(set) {
            status.children.push(self.load_balancer());
            status.children.extend(self.conditions(set.id()));
        }
        let machines = self.labeled::<ClusterMachineStatus>(labels::MACHINE_SET, set.id());
        status.children.extend(machines.into_iter().map(machine));
        status
    }

    fn load_balancer(&self) -> Status {
        let title = "Load balancer";
        let Some(status) = self.get::<LoadBalancerStatus>(self.cluster) else {
            return Status::missing(title);
        };
        let state = match (status.stopped, status.healthy) {
            (true, _) => "stopped",
            (false, true) => "healthy",
            (false, false) => "unhealthy",
        };
        Status::new(title, state, status.healthy && !status.stopped)
    }

    fn conditions(&self, set: &str) -> Vec<Status> {
        match self.get::<ControlPlaneStatus>(set) {
            Some(status) => status.conditions.iter().map(condition).collect(),
            None => vec![Status::missing("Status checks")],
        }
    }
}

fn is_control_plane(set: &Resource<MachineSetStatus>) -> bool {
    set.metadata.labels.contains_key(labels::ROLE_CONTROL_PLANE)
}

/// A condition that does not hold is a failure only if it is an error; else it is told.
fn condition(condition: &ControlPlaneCondition) -> Status {
    let title = match condition.kind {
        ConditionKind::Etcd => "etcd",
        ConditionKind::WireguardConnection => "Connection",
        ConditionKind::Unknown => "Condition",
    };
    let holds = condition.status == ConditionStatus::Ready;
    let is_ready = holds || condition.severity != ConditionSeverity::Error;
    let status = Status::new(title, condition.status.text(), is_ready);
    if holds { status } else { status.note(&condition.reason) }
}

fn machine(machine: &Resource<ClusterMachineStatus>) -> Status {
    let hostname = machine.metadata.labels.get(labels::HOSTNAME).map(|name| format!(" ({name})"));
    let title = format!("Machine {:?}{}", machine.id(), hostname.unwrap_or_default());
    let runs = machine.ready && machine.stage == ClusterMachineStage::Running;
    let is_locked = machine.metadata.labels.contains_key(labels::LOCKED_UPDATE);
    let outdated = match (machine.config_up_to_date, is_locked) {
        (true, _) => "",
        (false, true) => "an update waits, it is locked",
        (false, false) => "its configuration is outdated",
    };
    let is_ready = runs && machine.last_config_error.is_empty();
    Status::new(title, machine.stage.text(), is_ready).note(&machine.last_config_error).note(outdated)
}

fn with_machines(state: &str, machines: Option<&Machines>) -> String {
    match machines {
        Some(machines) => format!("{state} {}/{}", machines.healthy, machines.requested.max(machines.total)),
        None => state.to_owned(),
    }
}

fn with_version(state: &str, version: &str) -> String {
    if version.is_empty() { state.to_owned() } else { format!("{state} to v{version}") }
}

#[cfg(test)]
mod tests;
