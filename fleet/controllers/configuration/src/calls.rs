//! What machines are asked and told on their way into a cluster and out of it, each call with a deadline.
//!
//! ```text
//! At (machine, address, cluster) ─Pool, Keyring─▶ Client ─▶ probe, boot id, configuration      (questions)
//!                                                       └▶ apply, META, etcd, reset            (changes)
//! ```
//!
//! With a cluster a machine is called as its member, without one in maintenance.

use std::future::Future;
use std::net::Ipv6Addr;
use std::sync::Arc;

use corten_api::cosi::resource::GetRequest;
use corten_api::machine::{
    EtcdForfeitLeadershipRequest, EtcdLeaveClusterRequest, MetaDeleteRequest, ResetPartitionSpec,
    ResetRequest,
};
use corten_base::{Secret, chain};
use corten_client::Client;
use corten_fleet_cluster::apply::Answer;
use corten_fleet_controllers_machine::calls::{self, CHANGE, CallError, QUESTION, accepting, within};
use corten_fleet_controllers_machine::connect::{Connection, Dial, Keyring, is_maintenance_worth_a_try};
use corten_fleet_controllers_machine::{Pool, Target};
use corten_fleet_resources::machine::Machine;
use corten_resource::{Spec, proto};
use corten_resources::config::MachineConfig;
use tonic::Code;

use crate::texts::is_whole;

/// A machine, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// Its UUID.
    pub machine: String,
    /// Where it is; with a cluster it is called as a member.
    pub target: Target,
}

impl At {
    /// Where a machine is; `None` when it has no address that can be called.
    #[must_use]
    pub fn of(id: &str, machine: &Machine, public_key: &str, cluster: Option<&str>) -> Option<Self> {
        let address: Ipv6Addr = machine.management_address.parse().ok()?;
        let (public_key, cluster) = (public_key.to_owned(), cluster.map(ToOwned::to_owned));
        Some(Self { machine: id.to_owned(), target: Target { address, public_key, cluster } })
    }

    /// The same machine, called in maintenance.
    #[must_use]
    pub fn in_maintenance(&self) -> Self {
        Self { target: Target { cluster: None, ..self.target.clone() }, ..self.clone() }
    }
}

/// What a machine is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It answers as a member of its cluster.
    Member,
    /// It answers without credentials and has no configuration of a cluster.
    Maintenance,
    /// It still answers without credentials, and has taken the configuration of a cluster.
    Configuring,
    /// It does not answer, for this reason.
    Silent(String),
}

/// What may be asked of machines and done to them. Implemented over the network and by a recording fake.
pub trait Machines: Send + Sync + 'static {
    /// What a machine is at this moment: first as the member that it should be, then in maintenance.
    fn probe(&self, at: &At) -> impl Future<Output = Probe> + Send;

    /// UUID of the boot that the machine is in.
    ///
    /// # Errors
    /// When it does not answer.
    fn boot_id(&self, at: &At) -> impl Future<Output = Result<String, CallError>> + Send;

    /// The configuration in effect, YAML; `None` when it has none.
    ///
    /// # Errors
    /// When it does not answer.
    fn configuration(
        &self,
        at: &At,
    ) -> impl Future<Output = Result<Option<Secret<String>>, CallError>> + Send;

    /// Gives the machine a configuration, in whichever way it can take it.
    ///
    /// # Errors
    /// When the machine does not take it.
    fn apply(
        &self,
        at: &At,
        documents: &Secret<String>,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send;

    /// Deletes a tag of META; that there is none is as good.
    ///
    /// # Errors
    /// When the machine does not do it.
    fn delete_meta(&self, at: &At, tag: u32) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Has the machine hand the leadership of etcd to another member.
    ///
    /// # Errors
    /// When the machine does not do it.
    fn forfeit_leadership(&self, at: &At) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Has the machine leave etcd.
    ///
    /// # Errors
    /// When the machine does not do it.
    fn leave_etcd(&self, at: &At) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Has the machine wipe these volumes and restart; `graceful` is whether it drains its pods and leaves etcd first.
    ///
    /// # Errors
    /// When the machine does not do it.
    fn reset(
        &self,
        at: &At,
        graceful: bool,
        volumes: &[&str],
    ) -> impl Future<Output = Result<(), CallError>> + Send;
}

/// Machines behind the tunnel.
pub struct Network<D, K> {
    pool: Arc<Pool<D>>,
    keyring: K,
}

impl<D, K> std::fmt::Debug for Network<D, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").finish_non_exhaustive()
    }
}

impl<D, K: Clone> Clone for Network<D, K> {
    fn clone(&self) -> Self {
        Self { pool: Arc::clone(&self.pool), keyring: self.keyring.clone() }
    }
}

impl<D: Dial, K: Keyring> Network<D, K> {
    /// Machines that are reached with connections of a pool and credentials of a keyring.
    pub const fn new(pool: Arc<Pool<D>>, keyring: K) -> Self {
        Self { pool, keyring }
    }

    async fn connection(&self, at: &At) -> Result<Connection, CallError> {
        let access = match &at.target.cluster {
            None => None,
            Some(cluster) => match self.keyring.access(cluster) {
                Some(access) => Some(access),
                None => return Err(CallError::NoAccess { cluster: cluster.clone() }),
            },
        };
        Ok(self.pool.get(&at.machine, &at.target, access.as_ref()).await?)
    }

    async fn greet(&self, at: &At) -> Result<(), CallError> {
        let connection = self.connection(at).await?;
        let greeted = calls::version(connection.client()).await.map(drop);
        if greeted.is_err() {
            self.pool.forget(&at.machine);
        }
        greeted
    }
}

impl<D: Dial, K: Keyring> Machines for Network<D, K> {
    async fn probe(&self, at: &At) -> Probe {
        if at.target.cluster.is_some() {
            match self.greet(at).await {
                Ok(()) => return Probe::Member,
                Err(error) if !is_maintenance_worth_a_try(error.outcome()) => {
                    return Probe::Silent(chain(&error));
                }
                Err(_) => {}
            }
        }
        let open = at.in_maintenance();
        match self.configuration(&open).await {
            Ok(Some(text)) if is_whole(text.reveal()) => Probe::Configuring,
            Ok(_) => Probe::Maintenance,
            // Old versions do not show it; that it answers at all is what there is to know then.
            Err(error) if error.has_code(Code::PermissionDenied) => match self.greet(&open).await {
                Ok(()) => Probe::Maintenance,
                Err(error) => Probe::Silent(chain(&error)),
            },
            Err(error) => Probe::Silent(chain(&error)),
        }
    }

    async fn boot_id(&self, at: &At) -> Result<String, CallError> {
        let connection = self.connection(at).await?;
        calls::boot_id(connection.client()).await
    }

    async fn configuration(&self, at: &At) -> Result<Option<Secret<String>>, CallError> {
        let connection = self.connection(at).await?;
        configuration(connection.client()).await
    }

    async fn apply(&self, at: &At, documents: &Secret<String>) -> Result<Answer, CallError> {
        let connection = self.connection(at).await?;
        calls::apply(connection.client(), documents.reveal()).await
    }

    async fn delete_meta(&self, at: &At, tag: u32) -> Result<(), CallError> {
        let connection = self.connection(at).await?;
        let mut machine = connection.client().machine();
        let call = machine.meta_delete(MetaDeleteRequest { key: tag });
        accepting(Code::NotFound, within(CHANGE, "delete a tag of its META", call).await.map(drop))
    }

    async fn forfeit_leadership(&self, at: &At) -> Result<(), CallError> {
        let connection = self.connection(at).await?;
        let mut machine = connection.client().machine();
        let call = machine.etcd_forfeit_leadership(EtcdForfeitLeadershipRequest {});
        within(CHANGE, "give up the leadership of etcd", call).await.map(drop)
    }

    async fn leave_etcd(&self, at: &At) -> Result<(), CallError> {
        let connection = self.connection(at).await?;
        let mut machine = connection.client().machine();
        let call = machine.etcd_leave_cluster(EtcdLeaveClusterRequest {});
        within(CHANGE, "leave etcd", call).await.map(drop)
    }

    async fn reset(&self, at: &At, graceful: bool, volumes: &[&str]) -> Result<(), CallError> {
        let connection = self.connection(at).await?;
        let wiped = volumes.iter().map(|label| ResetPartitionSpec { label: (*label).to_owned(), wipe: true });
        let request = ResetRequest {
            graceful,
            reboot: true,
            system_partitions_to_wipe: wiped.collect(),
            ..ResetRequest::default()
        };
        let mut machine = connection.client().machine();
        within(CHANGE, "reset itself", machine.reset(request)).await.map(drop)
    }
}

/// The configuration in effect. A machine that does not know the type has none either.
async fn configuration(client: &Client) -> Result<Option<Secret<String>>, CallError> {
    let what = "show its configuration";
    let definition = MachineConfig::DEFINITION;
    let request = GetRequest {
        namespace: definition.namespace.to_owned(),
        r#type: definition.kind.to_owned(),
        id: MachineConfig::ACTIVE.to_owned(),
        options: None,
    };
    let mut state = client.state();
    let answer = match within(QUESTION, what, state.get(request)).await {
        Err(error) if error.has_code(Code::NotFound) => return Ok(None),
        other => other?.into_inner(),
    };
    let Some(spec) = answer.resource.and_then(|resource| resource.spec) else { return Ok(None) };
    let mut config = MachineConfig::default();
    proto::decode(&spec.proto_spec, &mut config).map_err(|_| CallError::Nonsense { what })?;
    let text = String::from_utf8(config.yaml).map_err(|_| CallError::Nonsense { what })?;
    Ok((!text.trim().is_empty()).then(|| Secret::new(text)))
}
