//! A member of a cluster with all that is around it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use corten_fleet_cluster::Role;
use corten_fleet_cluster::apply::Provider;
use corten_fleet_controllers_machine::is_installed;
use corten_fleet_resources::cluster::{ClusterMachine, MachineSetNode};
use corten_fleet_resources::config::{ClusterMachineConfig, ClusterMachineConfigStatus};
use corten_fleet_resources::labels::annotation::LOCKED;
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, machine_status};
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::{
    InstallImage, Machine, MachineConfigGenOptions, MachineStage, MachineStatus, MachineStatusSnapshot,
    NodeForceDestroyRequest,
};
use corten_fleet_resources::provider::InfraMachineStatus;
use corten_resource::{Resource, View, version_text};

use super::ClusterMachineConfigStatusController;
use super::slots::UPGRADE_SLOT;
use crate::calls::{At, Machines};
use crate::member_scope::MemberScope;
use crate::tags::{any, label};
use crate::texts::{sha256, unpacked};

/// The configuration that a machine is to have. It cannot be printed, for there are secrets in it.
pub struct Wanted<'a> {
    /// The documents, YAML.
    pub text: Cow<'a, str>,
    /// Hash of them.
    pub sha256: String,
    /// Version of the resource.
    pub version: String,
}

impl<'a> Wanted<'a> {
    fn of(config: &'a Resource<ClusterMachineConfig>) -> Option<Self> {
        let text = unpacked(&config.spec.data, &config.spec.compressed_data).ok()?;
        let sha256 = sha256(text.as_bytes());
        let version = version_text(config.metadata.version);
        (!text.is_empty()).then_some(Self { text, sha256, version })
    }
}

/// A member of a cluster with all that is around it.
pub struct Scene<'a> {
    /// The member.
    pub member: &'a Resource<ClusterMachine>,
    /// What its cluster and its set say.
    pub scope: Option<&'a MemberScope>,
    /// The machine; `None` when it is gone from the manager, or goes: nobody calls it any more then, for its peer left
    /// the tunnel with its link.
    pub machine: Option<&'a Machine>,
    /// What is known of it.
    pub status: Option<&'a Resource<MachineStatus>>,
    /// What it is doing.
    pub stage: MachineStage,
    /// Id of its boot; empty when it is not known.
    pub boot_id: &'a str,
    /// Its key, which lasts as long as its boot.
    pub public_key: &'a str,
    /// The configuration that it is to have.
    pub wanted: Option<Wanted<'a>>,
    /// What was said of it last.
    pub last: Option<&'a ClusterMachineConfigStatus>,
    /// The image that it is to run.
    pub image: Option<&'a InstallImage>,
    /// What its bare metal provider says.
    pub provider: Option<Provider>,
    /// A person wants it neither updated nor removed.
    pub is_locked: bool,
    /// A person asked to take it out without asking it.
    pub is_forced: bool,
    /// How long it leaves already, by the time stamps of the store, of which a start of the manager changes none. Where
    /// its tunnel is down it counts only since it is.
    pub away_for: Duration,
}

impl<'a> Scene<'a> {
    /// All around a machine, if it is a member of a cluster.
    #[must_use]
    pub fn of<M: Machines>(
        item: &str,
        view: &'a View<ClusterMachineConfigStatusController<M>>,
    ) -> Option<Self> {
        let member = any::<ClusterMachine, _>(view, item)?;
        let status = view.get::<MachineStatus>(item);
        let snapshot = view.get::<MachineStatusSnapshot>(item).map(|snapshot| &snapshot.spec);
        let options = view.get::<MachineConfigGenOptions>(item);
        let provider = view.get::<InfraMachineStatus>(item).map(|provider| Provider {
            is_ready_to_use: provider.ready_to_use,
            is_installed: provider.installed,
        });
        let node = view.get::<MachineSetNode>(item);
        let machine = view.get::<Machine>(item);
        let told = snapshot.and_then(|snapshot| snapshot.machine_status.as_ref());
        let told = told.map(|event| event.stage).unwrap_or_default();
        Some(Self {
            member,
            scope: view.get::<MemberScope>(item).map(|scope| &scope.spec),
            machine: machine.map(|machine| &machine.spec),
            status,
            stage: stage(told, status.map(|status| &status.spec)),
            boot_id: snapshot.map_or("", |snapshot| snapshot.boot_id.as_str()),
            public_key: view.get::<Link>(item).map_or("", |link| link.spec.node_public_key.as_str()),
            wanted: view.get::<ClusterMachineConfig>(item).and_then(Wanted::of),
            last: view.get::<ClusterMachineConfigStatus>(item).map(|last| &last.spec),
            image: options.and_then(|options| options.spec.install_image.as_ref()),
            provider,
            is_locked: node.is_some_and(|node| node.metadata.annotations.contains_key(LOCKED)),
            is_forced: view.get::<NodeForceDestroyRequest>(item).is_some(),
            away_for: away_for(member, machine, view.now()),
        })
    }

    /// Its machine set; empty when its labels name none.
    #[must_use]
    pub fn set(&self) -> &'a str {
        label(&self.member.metadata, MACHINE_SET)
    }

    /// What it is in its cluster; a worker when its labels do not say.
    #[must_use]
    pub fn role(&self) -> Role {
        Role::of(&self.member.metadata.labels).unwrap_or(Role::Worker)
    }

    /// Whether it leaves its cluster.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.member.metadata.is_tearing_down()
    }

    /// Whether its tunnel is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.machine.is_some_and(|machine| machine.connected)
    }

    /// Whether it is reached without credentials.
    #[must_use]
    pub fn is_maintenance(&self) -> bool {
        self.status.is_some_and(|status| status.maintenance)
    }

    /// Whether it belongs to a cluster that is not known here.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.status.is_some_and(|status| status.metadata.labels.contains_key(machine_status::INVALID_STATE))
    }

    /// Whether an agent of a provider runs on it instead of its own system.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        let schematic = self.status.and_then(|status| status.spec.schematic.as_ref());
        schematic.is_some_and(|schematic| schematic.in_agent_mode)
    }

    /// Whether it runs with a configuration of its cluster and can be asked.
    #[must_use]
    pub fn is_member(&self) -> bool {
        let is_up = matches!(self.stage, MachineStage::Booting | MachineStage::Running);
        let is_known = self.status.is_some_and(|status| status.connected && !status.talos_version.is_empty());
        self.is_connected() && is_known && is_up && !self.is_maintenance() && !self.is_foreign()
    }

    /// Whether it sees an operating system on one of its disks.
    #[must_use]
    pub fn has_system_disk(&self) -> bool {
        self.status.is_some_and(|status| is_installed(status))
    }

    /// Whether it is upgraded now.
    #[must_use]
    pub fn is_upgraded(&self) -> bool {
        self.member.metadata.finalizers.iter().any(|holder| holder == UPGRADE_SLOT)
    }

    /// How it is called as a member of its cluster; `None` when it has no address.
    #[must_use]
    pub fn at(&self) -> Option<At> {
        let cluster = label(&self.member.metadata, CLUSTER);
        let cluster = Some(cluster).filter(|cluster| !cluster.is_empty());
        At::of(self.member.id(), self.machine?, self.public_key, cluster)
    }
}

/// How long a member leaves and is away. Both time stamps are of the last change, so this is at most as long as it is.
fn away_for(
    member: &Resource<ClusterMachine>,
    machine: Option<&Resource<Machine>>,
    now: SystemTime,
) -> Duration {
    if !member.metadata.is_tearing_down() {
        return Duration::ZERO;
    }
    let lost = machine.filter(|machine| !machine.spec.connected).map(|machine| machine.metadata.updated);
    let since = lost.map_or(member.metadata.updated, |lost| lost.max(member.metadata.updated));
    now.duration_since(since).unwrap_or_default()
}

/// What a machine is doing. One in maintenance may not have told it.
fn stage(told: MachineStage, status: Option<&MachineStatus>) -> MachineStage {
    match told {
        MachineStage::Unknown if status.is_some_and(|status| status.maintenance) => MachineStage::Maintenance,
        told => told,
    }
}
