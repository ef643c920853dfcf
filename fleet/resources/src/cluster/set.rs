//! Machine sets: groups of machines of a cluster that are treated alike, and how machines come into them.

use corten_resource::{Enumeration, Record, Resource};

use super::Machines;
use crate::machine::{GrpcTunnelMode, MetaValue};

/// In which order the machines of a set are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum UpdateStrategy {
    /// As it is usual: updates and upgrades one at a time, removals all at once.
    #[default]
    #[variant(0, "unset")]
    Unset,
    /// As many at a time as the configuration says.
    #[variant(1, "rolling")]
    Rolling,
}

/// How many machines are treated at a time.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct RollingUpdateConfig {
    /// The most; 0 means 1.
    #[field(1, "maxparallelism")]
    pub max_parallelism: u32,
}

/// What a strategy needs to know.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct UpdateStrategyConfig {
    /// For the rolling one.
    #[field(1, "rolling")]
    pub rolling: Option<RollingUpdateConfig>,
}

/// How many machines a set takes from a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum AllocationKind {
    /// As many as are asked for.
    #[default]
    #[variant(0, "static")]
    Static,
    /// All that match; not possible with a class that makes machines.
    #[variant(1, "unlimited")]
    Unlimited,
}

/// From where a set takes its machines.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MachineAllocation {
    /// Id of the machine class, or of the machine request set.
    #[field(1, "name")]
    pub name: String,
    /// How many it takes.
    #[field(2, "machinecount")]
    pub machine_count: u32,
    /// Whether that number counts.
    #[field(3, "allocationtype")]
    pub allocation_kind: AllocationKind,
}

/// The backup that a new control plane starts from instead of an empty etcd.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct BootstrapSpec {
    /// UUID of the cluster that was backed up.
    #[field(1, "clusteruuid")]
    pub cluster_uuid: String,
    /// Name of the backup, such as `FFFFFFFF9A2B3C4D.snapshot`.
    #[field(2, "snapshot")]
    pub snapshot: String,
}

/// A group of machines of a cluster; its labels name the cluster and one role.
///
/// Its id begins with the cluster: `<cluster>-control-planes` for the one that runs the control plane, and
/// `<cluster>-<name>` for workers. It has machines that a person puts in, or takes them from a class, never both.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineSets.omni.sidero.dev", namespace = "default", message)]
pub struct MachineSet {
    /// How changed configurations go to its machines. Not for control planes.
    #[field(1, "updatestrategy")]
    pub update_strategy: UpdateStrategy,
    /// From where it takes its machines, as older clients write it; [`Self::machine_allocation`] goes first.
    #[field(2, "machineclass")]
    pub machine_class: Option<MachineAllocation>,
    /// The backup that the control plane starts from. It counts once, at the creation, and cannot be changed.
    #[field(3, "bootstrapspec")]
    pub bootstrap_spec: Option<BootstrapSpec>,
    /// How its machines are removed. Not for control planes.
    #[field(4, "deletestrategy")]
    pub delete_strategy: UpdateStrategy,
    /// What the strategy of configurations needs to know.
    #[field(5, "updatestrategyconfig")]
    pub update_strategy_config: Option<UpdateStrategyConfig>,
    /// What the strategy of removals needs to know.
    #[field(6, "deletestrategyconfig")]
    pub delete_strategy_config: Option<UpdateStrategyConfig>,
    /// From where it takes its machines; absent when a person puts them in.
    #[field(7, "machineallocation")]
    pub machine_allocation: Option<MachineAllocation>,
    /// How its machines are upgraded.
    #[field(8, "upgradestrategy")]
    pub upgrade_strategy: UpdateStrategy,
    /// What the strategy of upgrades needs to know.
    #[field(9, "upgradestrategyconfig")]
    pub upgrade_strategy_config: Option<UpdateStrategyConfig>,
}

impl MachineSet {
    /// Id of the set that runs the control plane of a cluster.
    #[must_use]
    pub fn control_planes_of(cluster: &str) -> String {
        format!("{cluster}-control-planes")
    }

    /// Id of the set of workers that a cluster has unless a person names others.
    #[must_use]
    pub fn workers_of(cluster: &str) -> String {
        format!("{cluster}-workers")
    }
}

/// What happens to a machine set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum MachineSetPhase {
    /// Not known yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// Machines are added.
    #[variant(1, "scaling-up")]
    ScalingUp,
    /// Machines are removed.
    #[variant(2, "scaling-down")]
    ScalingDown,
    /// Its machines are those that are wanted, configured as wanted.
    #[variant(3, "running")]
    Running,
    /// It is removed.
    #[variant(4, "destroying")]
    Destroying,
    /// It cannot go on; the error says why.
    #[variant(5, "failed")]
    Failed,
    /// Changed configurations go to its machines.
    #[variant(6, "reconfiguring")]
    Reconfiguring,
    /// Its machines are upgraded.
    #[variant(7, "upgrading")]
    Upgrading,
}

/// How a machine set is, by the set.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineSetStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct MachineSetStatus {
    /// What happens to it.
    #[field(1, "phase")]
    pub phase: MachineSetPhase,
    /// All its machines are ready.
    #[field(2, "ready")]
    pub ready: bool,
    /// Why it cannot go on.
    #[field(3, "error")]
    pub error: String,
    /// How many machines it has.
    #[field(4, "machines")]
    pub machines: Option<Machines>,
    /// Hash of the configurations of all its machines.
    #[field(5, "confighash")]
    pub config_hash: String,
    /// From where it takes its machines, as in the set.
    #[field(6, "machineallocation")]
    pub machine_allocation: Option<MachineAllocation>,
    /// Machines whose configuration waits because they are locked.
    #[field(7, "lockedupdates")]
    pub locked_updates: u32,
}

/// What may be done to the machines of a set now, by the set.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineSetConfigStatuses.omni.sidero.dev", namespace = "default", message)]
pub struct MachineSetConfigStatus {
    /// They may get changed configurations; control planes may not while the set grows or shrinks.
    #[field(1, "configupdatesallowed")]
    pub config_updates_allowed: bool,
    /// A machine that leaves is to leave etcd and Kubernetes in order; not when all of the cluster goes.
    #[field(2, "shouldresetgraceful")]
    pub should_reset_graceful: bool,
    /// How changed configurations go to them.
    #[field(3, "updatestrategy")]
    pub update_strategy: UpdateStrategy,
    /// What that strategy needs to know.
    #[field(4, "updatestrategyconfig")]
    pub update_strategy_config: Option<UpdateStrategyConfig>,
}

/// How far the removal of a machine set is, by the set.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineSetDestroyStatuses.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct MachineSetDestroyStatus {
    /// What is still there, plain text.
    #[field(1, "phase")]
    pub phase: String,
}

/// A machine is in a machine set, by its UUID; its labels name the set and the cluster and cannot be changed.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineSetNodes.omni.sidero.dev", namespace = "default", message)]
pub struct MachineSetNode {}

/// How a class has its machines made by an infrastructure provider.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct MachineProvision {
    /// Id of the provider; not one that manages machines that exist already.
    #[field(1, "providerid")]
    pub provider_id: String,
    /// Kernel arguments of the new machines.
    #[field(2, "kernelargs")]
    pub kernel_args: Vec<String>,
    /// Values for their META partition.
    #[field(3, "metavalues")]
    pub meta_values: Vec<MetaValue>,
    /// What the provider is to know, YAML after the schema that it publishes.
    #[field(4, "providerdata")]
    pub provider_data: String,
    /// Whether they tunnel through gRPC.
    #[field(5, "grpctunnel")]
    pub grpc_tunnel: GrpcTunnelMode,
}

/// A name for machines that are alike: those with certain labels, or those that a provider makes. Never both.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MachineClasses.omni.sidero.dev", namespace = "default", message)]
pub struct MachineClass {
    /// Label selectors such as `omni.sidero.dev/arch = amd64, !busy`; a machine that matches one of them is in.
    #[field(1, "matchlabels")]
    pub match_labels: Vec<String>,
    /// How the machines are made.
    #[field(2, "autoprovision")]
    pub auto_provision: Option<MachineProvision>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_sets_begin_with_their_cluster() {
        assert_eq!(MachineSet::control_planes_of("prod"), "prod-control-planes");
        assert_eq!(MachineSet::workers_of("prod"), "prod-workers");
    }
}
