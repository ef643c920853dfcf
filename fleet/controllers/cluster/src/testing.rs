//! What several tests need.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use corten_base::{Clock, Rng};
use corten_fleet_cluster::quorum::Member;
use corten_fleet_controllers_machine::calls::CallError;
use corten_fleet_resources::cluster::{ClusterMachine, ClusterMachineIdentity};
use corten_fleet_resources::labels::{CLUSTER, ROLE_CONTROL_PLANE, ROLE_WORKER};
use corten_fleet_resources::machine::MachineStatus;
use corten_fleet_resources::secrets::ClusterSecrets;
use corten_resource::testing::resource;
use corten_resource::{AnyResource, Registry};
use parking_lot::Mutex;

use crate::machine_calls::{MachineCalls, MemberError};

/// All types.
pub(crate) fn registry() -> Registry {
    let mut registry = corten_fleet_resources::registry();
    crate::types(&mut registry);
    registry
}

/// The resource as one of the cluster `prod`.
pub(crate) fn in_cluster(resource: AnyResource) -> AnyResource {
    resource.edit(|metadata| drop(metadata.labels.insert(CLUSTER.to_owned(), "prod".to_owned())))
}

fn member(id: &str, role: &str) -> AnyResource {
    let machine = in_cluster(resource(id, ClusterMachine::default()));
    machine.edit(|metadata| drop(metadata.labels.insert(role.to_owned(), String::new())))
}

/// A machine of the control plane of `prod`.
pub(crate) fn control_plane(id: &str) -> AnyResource {
    member(id, ROLE_CONTROL_PLANE)
}

/// A worker of `prod`.
pub(crate) fn worker(id: &str) -> AnyResource {
    member(id, ROLE_WORKER)
}

/// The status of a machine in `prod`.
pub(crate) fn machine_status(id: &str, address: &str, connected: bool) -> AnyResource {
    let management_address = address.to_owned();
    in_cluster(resource(id, MachineStatus { management_address, connected, ..MachineStatus::default() }))
}

/// The identity of a machine in `prod`.
pub(crate) fn identity(id: &str, etcd_member_id: u64, nodename: &str) -> AnyResource {
    let nodename = nodename.to_owned();
    let spec = ClusterMachineIdentity { etcd_member_id, nodename, ..ClusterMachineIdentity::default() };
    in_cluster(resource(id, spec))
}

/// Secrets of a cluster. Making them takes a moment, so the tests of a process share them.
pub(crate) fn secrets() -> ClusterSecrets {
    static SECRETS: OnceLock<ClusterSecrets> = OnceLock::new();
    let now = Clock::fixed(1_700_000_000).now();
    let made = SECRETS.get_or_init(|| {
        corten_fleet_cluster::secrets::generate(now, &Rng::seeded(1)).expect("the library makes keys")
    });
    made.clone()
}

/// Machines that do as they are told, and remember it.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Told>>);

/// What machines were told, and what they answer.
#[derive(Default)]
pub(crate) struct Told {
    /// Calls that change something, in order.
    pub(crate) calls: Vec<String>,
    /// Machines that do not answer.
    pub(crate) silent: Vec<String>,
    /// Members of etcd.
    pub(crate) members: Vec<Member>,
    /// Identities by machine.
    pub(crate) identities: BTreeMap<String, ClusterMachineIdentity>,
    /// How often somebody was asked for an identity.
    pub(crate) asked: usize,
}

impl Recorder {
    /// What machines were told since the last look.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().calls)
    }

    /// Changes what machines answer.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.0.lock());
    }

    /// How often somebody was asked for an identity.
    pub(crate) fn asked(&self) -> usize {
        self.0.lock().asked
    }

    fn answer<T>(&self, machine: &str, answer: impl FnOnce(&mut Told) -> T) -> Result<T, MemberError> {
        let mut told = self.0.lock();
        if told.silent.iter().any(|silent| silent == machine) {
            return Err(MemberError::Call { machine: machine.to_owned(), source: CallError::Away });
        }
        Ok(answer(&mut told))
    }
}

impl MachineCalls for Recorder {
    async fn bootstrap(&self, cluster: &str, machine: &str) -> Result<(), MemberError> {
        self.answer(machine, |told| told.calls.push(format!("bootstrap {cluster} on {machine}")))
    }

    async fn identity(&self, _: &str, machine: &str) -> Result<ClusterMachineIdentity, MemberError> {
        self.answer(machine, |told| {
            told.asked += 1;
            told.identities.get(machine).cloned().unwrap_or_default()
        })
    }

    async fn etcd_members(&self, cluster: &str, machines: &[String]) -> Result<Vec<Member>, MemberError> {
        let nobody = || MemberError::Nobody { cluster: cluster.to_owned() };
        let first = machines.first().ok_or_else(nobody)?;
        self.answer(first, |told| told.members.clone())
    }

    async fn remove_etcd_member(&self, _: &str, machines: &[String], member: u64) -> Result<(), MemberError> {
        let first = machines.first().cloned().unwrap_or_default();
        self.answer(&first, |told| {
            told.members.retain(|one| one.id != member);
            told.calls.push(format!("remove {member}"));
        })
    }
}
