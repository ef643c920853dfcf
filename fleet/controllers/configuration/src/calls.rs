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
use std::time::Duration;

use corten_api::cosi::resource::GetRequest;
use corten_api::machine::apply_configuration_request::Mode;
use corten_api::machine::{
    ApplyConfigurationRequest, EtcdForfeitLeadershipRequest, EtcdLeaveClusterRequest, MetaDeleteRequest,
    ReadRequest, ResetPartitionSpec, ResetRequest,
};
use corten_base::{Secret, chain};
use corten_client::Client;
use corten_fleet_cluster::apply::Answer;
use corten_fleet_controllers_machine::connect::{
    Connection, Dial, DialError, Keyring, Outcome, is_maintenance_worth_a_try,
};
use corten_fleet_controllers_machine::{Pool, Target};
use corten_fleet_resources::machine::Machine;
use corten_resource::{Spec, proto};
use corten_resources::config::MachineConfig;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::texts::is_whole;

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Where the kernel shows the UUID of a boot.
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";
/// Longest content of that file, bytes.
const BOOT_ID_BYTES_MAX: usize = 64;
/// Longest words of a machine that are repeated, characters.
const WORDS_MAX: usize = 2048;

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

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The cluster has no credentials for its members.
    #[error("there are no credentials for cluster {cluster}; its TalosConfig is made from its secrets")]
    NoAccess {
        /// The cluster.
        cluster: String,
    },
    /// The machine answered with an error.
    #[error("the machine does not {what}; it is tried again")]
    Status {
        /// What it was asked to do.
        what: &'static str,
        /// Its answer.
        #[source]
        source: Status,
    },
    /// The machine did not answer in time.
    #[error("the machine did not {what} within {limit} s; it is tried again", limit = LIMIT.as_secs())]
    Deadline {
        /// What it was asked to do.
        what: &'static str,
    },
    /// The answer makes no sense.
    #[error("the machine was to {what} and its answer makes no sense; restart it")]
    Nonsense {
        /// What it was asked to do.
        what: &'static str,
    },
}

impl CallError {
    /// How this way to call the machine went; `None` when it was not tried.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Dial(error) => Some(Outcome::of_dial(error)),
            Self::NoAccess { .. } => None,
            Self::Status { source, .. } => Some(Outcome::of_status(source)),
            Self::Deadline { .. } | Self::Nonsense { .. } => Some(Outcome::Missed),
        }
    }

    /// The words of a machine that understood what it was told and will not do it; trying again changes nothing.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        let Self::Status { source, .. } = self else { return None };
        let is_final = matches!(
            source.code(),
            Code::InvalidArgument | Code::FailedPrecondition | Code::PermissionDenied | Code::Unimplemented
        );
        is_final.then(|| source.message().chars().take(WORDS_MAX).collect())
    }

    fn has_code(&self, code: Code) -> bool {
        matches!(self, Self::Status { source, .. } if source.code() == code)
    }
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
        let mut machine = connection.client().machine();
        let greeted = within("tell its version", machine.version(())).await.map(drop);
        if greeted.is_err() {
            self.pool.forget(&at.machine);
        }
        greeted
    }
}

async fn within<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, Status>> + Send,
) -> Result<T, CallError> {
    match timeout(LIMIT, call).await {
        Ok(result) => result.map_err(|source| CallError::Status { what, source }),
        Err(_) => Err(CallError::Deadline { what }),
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
        boot_id(connection.client()).await
    }

    async fn configuration(&self, at: &At) -> Result<Option<Secret<String>>, CallError> {
        let connection = self.connection(at).await?;
        configuration(connection.client()).await
    }

    async fn apply(&self, at: &At, documents: &Secret<String>) -> Result<Answer, CallError> {
        let connection = self.connection(at).await?;
        let request = ApplyConfigurationRequest {
            data: documents.reveal().as_bytes().to_vec().into(),
            mode: Mode::Auto.into(),
            dry_run: false,
            try_mode_timeout: None,
        };
        let mut machine = connection.client().machine();
        let answer = within("take the configuration", machine.apply_configuration(request)).await?;
        let messages = answer.into_inner().messages;
        let is_live = messages.first().is_some_and(|message| message.mode() == Mode::NoReboot);
        Ok(if is_live { Answer::NoReboot } else { Answer::Reboot })
    }

    async fn delete_meta(&self, at: &At, tag: u32) -> Result<(), CallError> {
        let connection = self.connection(at).await?;
        let mut machine = connection.client().machine();
        let request = MetaDeleteRequest { key: tag };
        match within("delete a tag of its META", machine.meta_delete(request)).await {
            Err(error) if error.has_code(Code::NotFound) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn forfeit_leadership(&self, at: &At) -> Result<(), CallError> {
        let connection = self.connection(at).await?;
        let mut machine = connection.client().machine();
        let call = machine.etcd_forfeit_leadership(EtcdForfeitLeadershipRequest {});
        within("give up the leadership of etcd", call).await.map(drop)
    }

    async fn leave_etcd(&self, at: &At) -> Result<(), CallError> {
        let connection = self.connection(at).await?;
        let mut machine = connection.client().machine();
        let call = machine.etcd_leave_cluster(EtcdLeaveClusterRequest {});
        within("leave etcd", call).await.map(drop)
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
        within("reset itself", machine.reset(request)).await.map(drop)
    }
}

async fn boot_id(client: &Client) -> Result<String, CallError> {
    let what = "tell the id of its boot";
    let mut machine = client.machine();
    let bytes = within(what, async move {
        let mut answers = machine.read(ReadRequest { path: BOOT_ID_PATH.to_owned() }).await?.into_inner();
        let mut bytes = Vec::new();
        while let Some(answer) = answers.message().await? {
            bytes.extend_from_slice(&answer.bytes);
            if bytes.len() > BOOT_ID_BYTES_MAX {
                break;
            }
        }
        Ok(bytes)
    });
    let id = String::from_utf8_lossy(&bytes.await?).trim().to_owned();
    if id.is_empty() || id.len() > BOOT_ID_BYTES_MAX { Err(CallError::Nonsense { what }) } else { Ok(id) }
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
    let answer = match within(what, state.get(request)).await {
        Err(error) if error.has_code(Code::NotFound) => return Ok(None),
        other => other?.into_inner(),
    };
    let Some(spec) = answer.resource.and_then(|resource| resource.spec) else { return Ok(None) };
    let mut config = MachineConfig::default();
    proto::decode(&spec.proto_spec, &mut config).map_err(|_| CallError::Nonsense { what })?;
    let text = String::from_utf8(config.yaml).map_err(|_| CallError::Nonsense { what })?;
    Ok((!text.trim().is_empty()).then(|| Secret::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: Code) -> CallError {
        CallError::Status { what: "take the configuration", source: Status::new(code, "no such disk") }
    }

    #[test]
    fn a_machine_that_understood_and_will_not_is_told_apart_from_one_that_did_not_answer() {
        assert_eq!(answered(Code::InvalidArgument).refusal().as_deref(), Some("no such disk"));
        for code in [Code::Unavailable, Code::Unknown, Code::DeadlineExceeded] {
            assert_eq!(answered(code).refusal(), None, "{code:?}");
        }
        assert_eq!(CallError::Deadline { what: "x" }.refusal(), None);
    }

    #[test]
    fn a_way_that_was_not_tried_has_no_outcome() {
        assert_eq!(CallError::NoAccess { cluster: "prod".to_owned() }.outcome(), None);
        assert_eq!(answered(Code::PermissionDenied).outcome(), Some(Outcome::Refused));
    }
}
