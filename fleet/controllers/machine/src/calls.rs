//! Short calls to machines, each with a deadline.
//!
//! ```text
//! Client ─▶ version, kinds, resources, boot id   (questions)
//!        ─▶ META, configuration                  (changes)
//! ```
//!
//! What a member of etcd answers is read here too, for all who ask it.

use std::future::Future;
use std::time::Duration;

use corten_api::cosi::resource::{ListRequest, Resource as WireResource};
use corten_api::machine::apply_configuration_request::Mode;
use corten_api::machine::{ApplyConfigurationRequest, EtcdMemberStatus, MetaWriteRequest, ReadRequest};
use corten_client::Client;
use corten_fleet_cluster::quorum;
use corten_resource::meta::ResourceDefinitionSpec;
use corten_resource::{Spec, proto};
use tokio::time::timeout;
use tonic::Status;

use crate::connect::{DialError, Outcome};
use crate::machine_status::Kind;

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Most resources of an answer.
const RESOURCES_MAX: usize = 4096;
/// Where the kernel shows the UUID of a boot.
const BOOT_ID_PATH: &str = "/proc/sys/kernel/random/boot_id";
/// Longest content of that file, bytes.
const BOOT_ID_BYTES_MAX: usize = 64;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
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
    /// The answer is larger than any that makes sense.
    #[error("the machine was to {what} and answers without an end; restart it")]
    TooMuch {
        /// What it was asked to do.
        what: &'static str,
    },
}

impl CallError {
    /// How this way to call the machine went.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Dial(error) => Outcome::of_dial(error),
            Self::Status { source, .. } => Outcome::of_status(source),
            Self::Deadline { .. } | Self::TooMuch { .. } => Outcome::Missed,
        }
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

async fn within<T>(
    what: &'static str,
    call: impl Future<Output = Result<T, Status>> + Send,
) -> Result<T, CallError> {
    match timeout(LIMIT, call).await {
        Ok(result) => result.map_err(|source| CallError::Status { what, source }),
        Err(_) => Err(CallError::Deadline { what }),
    }
}

/// What the machine runs.
///
/// # Errors
/// When it does not answer.
pub async fn version(client: &Client) -> Result<Told, CallError> {
    let mut machine = client.machine();
    let answer = within("tell its version", machine.version(())).await?.into_inner();
    let version = answer.messages.into_iter().next().and_then(|message| message.version);
    Ok(version.map(|version| Told { tag: version.tag, arch: version.arch }).unwrap_or_default())
}

/// Which of the types that are of interest the machine has.
///
/// # Errors
/// When it does not answer.
pub async fn kinds(client: &Client) -> Result<Vec<Kind>, CallError> {
    let what = "list the types of its resources";
    let definition = ResourceDefinitionSpec::DEFINITION;
    let listed = list(client, what, definition.namespace, definition.kind).await?;
    let found = listed.into_iter().filter_map(|found| found.metadata);
    let ids: Vec<String> = found.map(|metadata| metadata.id).collect();
    let is_there = |kind: &Kind| ids.contains(&kind.definition().id());
    Ok(Kind::ALL.iter().copied().filter(is_there).collect())
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
    let all = within(what, async move {
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
    if all.len() > RESOURCES_MAX { Err(CallError::TooMuch { what }) } else { Ok(all) }
}

/// The UUID of the boot that the machine is in.
///
/// # Errors
/// When it does not answer.
pub async fn boot_id(client: &Client) -> Result<String, CallError> {
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
    let bytes = bytes.await?;
    if bytes.len() > BOOT_ID_BYTES_MAX {
        return Err(CallError::TooMuch { what });
    }
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Writes a tag of META.
///
/// # Errors
/// When the machine does not do it.
pub async fn write_meta(client: &Client, key: u32, value: &str) -> Result<(), CallError> {
    let request = MetaWriteRequest { key, value: value.as_bytes().to_vec() };
    let mut machine = client.machine();
    within("write its META", machine.meta_write(request)).await.map(drop)
}

/// Gives the machine a configuration, in whichever way it can take it.
///
/// # Errors
/// When the machine does not take it.
pub async fn apply(client: &Client, documents: &str) -> Result<(), CallError> {
    let request = ApplyConfigurationRequest {
        data: documents.as_bytes().to_vec().into(),
        mode: Mode::Auto.into(),
        dry_run: false,
        try_mode_timeout: None,
    };
    let mut machine = client.machine();
    within("take the configuration", machine.apply_configuration(request)).await.map(drop)
}

/// What a member of etcd tells about itself.
#[must_use]
pub const fn own_word(status: &EtcdMemberStatus) -> quorum::Told {
    quorum::Told {
        id: status.member_id,
        leader: status.leader,
        term: status.raft_term,
        index: status.raft_index,
        applied: status.raft_applied_index,
        has_errors: !status.errors.is_empty(),
    }
}
