//! Short calls to machines, each with a deadline.
//!
//! ```text
//! cluster ─Keyring─▶ MemberAccess ─┐
//! machine ─▶ Machine, Link ────────┴─Pool─▶ Client ─▶ version, kinds, resources, boot id, etcd   (questions)
//!                                                  ─▶ META, configuration                        (changes)
//! ```

use std::future::Future;
use std::net::Ipv6Addr;
use std::time::Duration;

use corten_api::cosi::resource::{ListRequest, Resource as WireResource};
use corten_api::machine::apply_configuration_request::Mode;
use corten_api::machine::{
    ApplyConfigurationRequest, EtcdMemberListRequest, EtcdMemberStatus, MetaWriteRequest, ReadRequest,
    VersionResponse,
};
use corten_client::Client;
use corten_fleet_cluster::apply::Answer;
use corten_fleet_cluster::quorum::{self, Listed};
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::Machine;
use corten_resource::{Spec, State, proto};
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::connect::{Connection, Dial, DialError, Keyring as _, Outcome};
use crate::pool::{Pool, Target};

/// How long an answer may take.
pub const QUESTION: Duration = Duration::from_secs(30);
/// How long a change may take.
pub const CHANGE: Duration = Duration::from_secs(60);
/// Most resources of an answer.
const RESOURCES_MAX: usize = 4096;
/// Where the kernel shows the UUID of a boot.
pub(crate) const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";
/// Longest content of that file, bytes.
pub(crate) const BOOT_ID_BYTES_MAX: usize = 64;
/// Longest words of a machine that are repeated, characters.
const WORDS_MAX: usize = 2048;

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
    /// The machine is not connected.
    #[error("the machine is away; look at its power and its network")]
    Away,
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
    #[error("the machine did not {what} within {} s; it is tried again", .limit.as_secs())]
    Deadline {
        /// What it was asked to do.
        what: &'static str,
        /// How long it had for that.
        limit: Duration,
    },
    /// The answer makes no sense, or has no end.
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
            Self::NoAccess { .. } | Self::Away => None,
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

    /// Whether the machine answered with this code.
    #[must_use]
    pub fn has_code(&self, code: Code) -> bool {
        matches!(self, Self::Status { source, .. } if source.code() == code)
    }
}

/// What a machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Version, with `v`.
    pub tag: String,
    /// `amd64` or `arm64`.
    pub arch: String,
}

/// A connection to a member of a cluster. Credentials and address are those of this moment.
///
/// # Errors
/// When there are no credentials, or the machine is not connected or does not answer.
pub async fn member<D: Dial>(
    pool: &Pool<D>,
    state: &State,
    cluster: &str,
    machine: &str,
) -> Result<Connection, CallError> {
    let missing = || CallError::NoAccess { cluster: cluster.to_owned() };
    let access = state.access(cluster).ok_or_else(missing)?;
    let found = state.get::<Machine>(machine).filter(|found| found.connected).ok_or(CallError::Away)?;
    let address: Ipv6Addr = found.management_address.parse().map_err(|_| CallError::Away)?;
    let link = state.get::<Link>(machine);
    let public_key = link.map(|link| link.spec.node_public_key).unwrap_or_default();
    let target = Target { address, public_key, cluster: Some(cluster.to_owned()) };
    Ok(pool.get(machine, &target, Some(&access)).await?)
}

/// What comes of a call that may take so long: [`QUESTION`] or [`CHANGE`].
///
/// # Errors
/// When the machine answers with an error, or not in time.
pub async fn within<T>(
    limit: Duration,
    what: &'static str,
    call: impl Future<Output = Result<T, Status>> + Send,
) -> Result<T, CallError> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(|source| CallError::Status { what, source }),
        Err(_) => Err(CallError::Deadline { what, limit }),
    }
}

/// Takes an answer with this code for a success.
///
/// # Errors
/// When the answer is another error.
pub fn accepting(code: Code, answer: Result<(), CallError>) -> Result<(), CallError> {
    match answer {
        Err(error) if error.has_code(code) => Ok(()),
        other => other,
    }
}

/// What the machine runs.
///
/// # Errors
/// When it does not answer.
pub async fn version(client: &Client) -> Result<Told, CallError> {
    let mut machine = client.machine();
    let answer = within(QUESTION, "tell its version", machine.version(())).await?;
    Ok(told(answer.into_inner()))
}

/// What the answer says that a machine runs.
pub(crate) fn told(answer: VersionResponse) -> Told {
    let version = answer.messages.into_iter().next().and_then(|message| message.version);
    version.map(|version| Told { tag: version.tag, arch: version.arch }).unwrap_or_default()
}

/// All resources of a type, with their ids. One that cannot be read is left out.
///
/// # Errors
/// When the machine does not answer.
pub async fn resources<S: Spec>(client: &Client) -> Result<Vec<(String, S)>, CallError> {
    let definition = S::DEFINITION;
    let listed = list(client, "list its resources", definition.namespace, definition.kind).await?;
    let read = |resource: WireResource| {
        let mut spec = S::default();
        proto::decode(&resource.spec?.proto_spec, &mut spec).ok()?;
        Some((resource.metadata?.id, spec))
    };
    Ok(listed.into_iter().filter_map(read).collect())
}

async fn list(
    client: &Client,
    what: &'static str,
    namespace: &str,
    kind: &str,
) -> Result<Vec<WireResource>, CallError> {
    let request = ListRequest { namespace: namespace.to_owned(), r#type: kind.to_owned(), options: None };
    let mut state = client.state();
    let all = within(QUESTION, what, async move {
        let mut answers = state.list(request).await?.into_inner();
        let mut all = Vec::new();
        while let Some(answer) = answers.message().await? {
            all.extend(answer.resource);
            if all.len() > RESOURCES_MAX {
                break;
            }
        }
        Ok(all)
    });
    let all = all.await?;
    if all.len() > RESOURCES_MAX { Err(CallError::Nonsense { what }) } else { Ok(all) }
}

/// The UUID of the boot that the machine is in.
///
/// # Errors
/// When it does not answer.
pub async fn boot_id(client: &Client) -> Result<String, CallError> {
    let what = "tell the id of its boot";
    let mut machine = client.machine();
    let bytes = within(QUESTION, what, async move {
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
    uuid_of_boot(&bytes.await?).ok_or(CallError::Nonsense { what })
}

/// The UUID of a boot in the content of its file; nothing when there is none.
pub(crate) fn uuid_of_boot(content: &[u8]) -> Option<String> {
    let id = String::from_utf8_lossy(content).trim().to_owned();
    (!id.is_empty() && id.len() <= BOOT_ID_BYTES_MAX).then_some(id)
}

/// Writes a tag of META.
///
/// # Errors
/// When the machine does not do it.
pub async fn write_meta(client: &Client, key: u32, value: &str) -> Result<(), CallError> {
    let request = MetaWriteRequest { key, value: value.as_bytes().to_vec() };
    let mut machine = client.machine();
    within(CHANGE, "write its META", machine.meta_write(request)).await.map(drop)
}

/// Gives the machine a configuration, in whichever way it can take it.
///
/// # Errors
/// When the machine does not take it.
pub async fn apply(client: &Client, documents: &str) -> Result<Answer, CallError> {
    let request = ApplyConfigurationRequest {
        data: documents.as_bytes().to_vec().into(),
        mode: Mode::Auto.into(),
        dry_run: false,
        try_mode_timeout: None,
    };
    let mut machine = client.machine();
    let answer = within(CHANGE, "take the configuration", machine.apply_configuration(request)).await?;
    let messages = answer.into_inner().messages;
    let is_live = messages.first().is_some_and(|message| message.mode() == Mode::NoReboot);
    Ok(if is_live { Answer::NoReboot } else { Answer::Reboot })
}

/// What the member of etcd on the machine tells about itself, if there is one.
///
/// # Errors
/// When the machine does not answer.
pub async fn etcd_status(client: &Client) -> Result<Option<quorum::Told>, CallError> {
    let mut machine = client.machine();
    let answer = within(QUESTION, "tell the state of etcd", machine.etcd_status(())).await?.into_inner();
    Ok(answer.messages.into_iter().find_map(|message| message.member_status.as_ref().map(own_word)))
}

/// The members of etcd, as the machine lists them. That needs a quorum.
///
/// # Errors
/// When the machine does not answer.
pub async fn etcd_members(client: &Client) -> Result<Vec<Listed>, CallError> {
    let mut machine = client.machine();
    let call = machine.etcd_member_list(EtcdMemberListRequest { query_local: false });
    let answer = within(QUESTION, "list the members of etcd", call).await?.into_inner();
    let members = answer.messages.into_iter().flat_map(|message| message.members);
    Ok(members.map(|member| Listed { id: member.id, is_learner: member.is_learner }).collect())
}

const fn own_word(status: &EtcdMemberStatus) -> quorum::Told {
    quorum::Told {
        id: status.member_id,
        leader: status.leader,
        term: status.raft_term,
        index: status.raft_index,
        applied: status.raft_applied_index,
        has_errors: !status.errors.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late() -> CallError {
        CallError::Deadline { what: "start etcd", limit: CHANGE }
    }

    fn answered(code: Code) -> CallError {
        CallError::Status { what: "take the configuration", source: Status::new(code, "no such disk") }
    }

    #[test]
    fn a_machine_that_understood_and_will_not_is_told_apart_from_one_that_did_not_answer() {
        assert_eq!(answered(Code::InvalidArgument).refusal().as_deref(), Some("no such disk"));
        for code in [Code::Unavailable, Code::Unknown, Code::DeadlineExceeded] {
            assert_eq!(answered(code).refusal(), None, "{code:?}");
        }
        assert_eq!(late().refusal(), None);
    }

    #[test]
    fn a_way_that_was_not_tried_has_no_outcome() {
        assert_eq!(CallError::NoAccess { cluster: "prod".to_owned() }.outcome(), None);
        assert_eq!(answered(Code::PermissionDenied).outcome(), Some(Outcome::Refused));
    }

    #[test]
    fn what_was_done_before_is_a_success_and_nothing_else_is() {
        assert!(accepting(Code::AlreadyExists, Err(answered(Code::AlreadyExists))).is_ok());
        assert!(accepting(Code::AlreadyExists, Err(answered(Code::Unavailable))).is_err());
        assert!(accepting(Code::AlreadyExists, Err(late())).is_err());
    }
}
