//! A machine set and all that concerns it, as decisions and statuses want to see it.

use std::collections::{BTreeMap, BTreeSet};

use corten_fleet_cluster::Role;
use corten_fleet_cluster::quorum::Etcd;
use corten_fleet_cluster::scale::{self, ControlPlane, Operation};
use corten_fleet_cluster::status::{Member, SetView};
use corten_fleet_resources::cluster::{
    AllocationKind, ClusterMachine, ClusterMachineStatus, ConfigApplyStatus, MachineSet, MachineSetNode,
    UpdateStrategy, UpdateStrategyConfig,
};
use corten_fleet_resources::config::ClusterMachineConfigStatus;
use corten_fleet_resources::kubernetes::LoadBalancerStatus;
use corten_fleet_resources::labels::{
    LOCKED_UPDATE, ROLE_CONTROL_PLANE, ROLE_WORKER, annotation, machine_status,
};
use corten_resource::{Resource, View};

use super::MachineSetStatusController;
use crate::cluster_machine_status::FORCED;
use crate::etcd::Members;
use crate::machine_set_cluster::MachineSetCluster;
use crate::view::{all, allocation, any};

/// Why nothing can be decided about a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// There is no such set.
    Gone,
    /// Something is missing.
    Waits(String),
}

/// A machine set and what concerns it.
pub struct Scene<'a> {
    /// The set.
    pub set: &'a Resource<MachineSet>,
    /// Its members, those that leave last.
    pub machines: Vec<&'a Resource<ClusterMachine>>,
    role: Role,
    cluster: Option<&'a MachineSetCluster>,
    nodes: Vec<&'a Resource<MachineSetNode>>,
    /// UUIDs of its members.
    ids: BTreeSet<&'a str>,
    statuses: BTreeMap<&'a str, &'a Resource<ClusterMachineStatus>>,
    taken: BTreeMap<&'a str, &'a Resource<ClusterMachineConfigStatus>>,
    is_api_healthy: bool,
}

impl<'a> Scene<'a> {
    /// The set of a view. One that goes away needs neither a cluster nor a role.
    ///
    /// # Errors
    /// When there is no set, or nothing can be decided about it.
    pub fn of<M: Members>(view: &'a View<MachineSetStatusController<M>>) -> Result<Self, Unready> {
        let set = any::<MachineSet, _>(view).ok_or(Unready::Gone)?;
        let is_going = set.metadata.is_tearing_down();
        let role = match Role::of(&set.metadata.labels) {
            Some(role) => role,
            None if is_going => Role::Worker,
            None => {
                let what = format!("one of the labels {ROLE_CONTROL_PLANE} and {ROLE_WORKER} on the set");
                return Err(Unready::Waits(what));
            }
        };
        let cluster = any::<MachineSetCluster, _>(view).map(|cluster| &cluster.spec);
        if cluster.is_none() && !is_going {
            return Err(Unready::Waits("its cluster; create it, or remove the set".to_owned()));
        }
        let machines = all::<ClusterMachine, _>(view);
        let statuses = all::<ClusterMachineStatus, _>(view).into_iter();
        let taken = all::<ClusterMachineConfigStatus, _>(view).into_iter();
        let balancers = view.list::<LoadBalancerStatus>();
        Ok(Self {
            set,
            role,
            cluster,
            nodes: all::<MachineSetNode, _>(view),
            ids: machines.iter().map(|machine| machine.id()).collect(),
            machines,
            statuses: statuses.map(|status| (status.id(), status)).collect(),
            taken: taken.map(|status| (status.id(), status)).collect(),
            is_api_healthy: balancers.iter().any(|balancer| balancer.healthy),
        })
    }

    /// Whether the set itself goes away.
    fn is_going(&self) -> bool {
        self.set.metadata.is_tearing_down()
    }

    fn is_cluster_going(&self) -> bool {
        self.cluster.is_some_and(|cluster| cluster.going)
    }

    /// Whether nothing is left of the set.
    pub fn is_over(&self) -> bool {
        self.is_going() && self.machines.is_empty()
    }

    /// Machines that are to be in the set and stay.
    fn wanted(&self) -> impl Iterator<Item = &'a str> {
        self.nodes.iter().filter(|node| !node.metadata.is_tearing_down()).map(|node| node.id())
    }

    /// Machines that are to be in the set and are not yet.
    pub fn newcomers(&self) -> impl Iterator<Item = &'a str> {
        self.wanted().filter(move |machine| !self.ids.contains(machine))
    }

    /// Version of Kubernetes that new members begin with.
    pub fn kubernetes_version(&self) -> String {
        self.cluster.map(|cluster| cluster.kubernetes_version.clone()).unwrap_or_default()
    }

    fn is_forced(&self, machine: &str) -> bool {
        let status = self.statuses.get(machine);
        status.is_some_and(|status| status.metadata.annotations.contains_key(FORCED))
    }

    /// The set as it is scaled. Machines that are still elsewhere do not come in, and nobody comes into a cluster that
    /// goes away.
    pub fn scale_set<'s>(
        &'s self,
        etcd: Option<&'s Etcd>,
        elsewhere: &BTreeMap<String, String>,
    ) -> scale::Set<'s> {
        let may_come =
            |id: &str| self.ids.contains(id) || !(self.is_cluster_going() || elsewhere.contains_key(id));
        let node = |node: &&'a Resource<MachineSetNode>| scale::Node {
            id: node.id(),
            is_locked: node.metadata.annotations.contains_key(annotation::LOCKED),
            is_tearing_down: node.metadata.is_tearing_down(),
        };
        let machine = |machine: &&'a Resource<ClusterMachine>| scale::Machine {
            id: machine.id(),
            is_tearing_down: machine.metadata.is_tearing_down(),
            is_released: machine.metadata.is_destroy_ready(),
            is_forced: self.is_forced(machine.id()),
        };
        let deletions_max = match self.role {
            Role::ControlPlane => None,
            Role::Worker => {
                let config = self.set.delete_strategy_config.as_ref();
                scale::parallelism(self.set.delete_strategy, config, None)
            }
        };
        scale::Set {
            role: self.role,
            control_plane: ControlPlane { is_reachable: self.is_api_healthy, etcd },
            nodes: self.nodes.iter().filter(|node| may_come(node.id())).map(node).collect(),
            machines: self.machines.iter().map(machine).collect(),
            is_tearing_down: self.is_going(),
            is_locked: self.cluster.is_some_and(|cluster| cluster.locked),
            deletions_max,
        }
    }

    /// Whether only etcd can say if a machine may go: one would, if nothing in etcd stood against it.
    pub fn needs_etcd(&self, elsewhere: &BTreeMap<String, String>) -> bool {
        if self.role != Role::ControlPlane || self.is_going() {
            return false;
        }
        let nobody = Etcd::default();
        let plan = scale::plan(&self.scale_set(Some(&nobody), elsewhere));
        let asks =
            |operation: &Operation| matches!(operation, Operation::TearDown(id) if !self.is_forced(id));
        plan.operations.iter().any(asks)
    }

    /// How changed configurations go to the machines: one at a time in a control plane, whatever its set says.
    pub fn update_strategy(&self) -> (UpdateStrategy, Option<UpdateStrategyConfig>) {
        match self.role {
            Role::ControlPlane => (UpdateStrategy::Unset, None),
            Role::Worker => (self.set.update_strategy, self.set.update_strategy_config.clone()),
        }
    }

    /// The set as its status is made; `blank` stands for the status of a machine that has none yet.
    pub fn status_view<'s>(
        &'s self,
        decided: &'s scale::Plan,
        blank: &'s ClusterMachineStatus,
        error: &'s str,
    ) -> SetView<'s> {
        let member = |machine: &&'a Resource<ClusterMachine>| {
            let status = self.statuses.get(machine.id());
            let has = |key: &str| status.is_some_and(|status| status.metadata.labels.contains_key(key));
            let taken = self.taken.get(machine.id());
            Member {
                id: machine.id(),
                status: status.map_or(blank, |status| &status.spec),
                is_connected: has(machine_status::CONNECTED),
                is_tearing_down: machine.metadata.is_tearing_down(),
                taken_sha256: taken.map_or("", |taken| taken.cluster_machine_config_sha256.as_str()),
                is_locked_update: has(LOCKED_UPDATE),
            }
        };
        SetView {
            members: self.machines.iter().map(member).collect(),
            nodes: self.wanted().count(),
            allocation: allocation(self.set),
            plan: decided,
            is_tearing_down: self.is_going() || self.is_cluster_going(),
            error,
        }
    }

    /// Why the set cannot go on: the first machine whose configuration cannot be made or is refused. Empty when it can.
    pub fn error(&self) -> String {
        let mut members = self.machines.iter().filter_map(|machine| self.statuses.get(machine.id()));
        let failed = members.find(|status| status.config_apply_status == ConfigApplyStatus::Failed);
        let text = failed.map(|status| format!("machine {}: {}", status.id(), status.last_config_error));
        text.unwrap_or_default()
    }

    /// How many machines a class has yet to give the set; `None` when it has them.
    pub fn shortage(&self) -> Option<String> {
        let allocation = allocation(self.set)?;
        let is_counted = allocation.allocation_kind == AllocationKind::Static;
        if !is_counted || self.is_going() || self.is_cluster_going() {
            return None;
        }
        let wanted = usize::try_from(allocation.machine_count).unwrap_or(usize::MAX);
        let short = wanted.saturating_sub(self.wanted().count());
        (short > 0).then(|| format!("{short} more machines of {}; free or add some", allocation.name))
    }
}
