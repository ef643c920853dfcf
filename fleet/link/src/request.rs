//! What a machine says when it calls, read once.
//!
//! ```text
//! ProvisionRequest ─▶ Call (as it came) ─▶ Request (parsed) | Refusal
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::Secret;
use semver::Version;
use uuid::Uuid;

use crate::refusal::{Code, Refusal};
use crate::token::JoinToken;
use crate::unique::UniqueToken;

/// Bytes of a WireGuard key.
const KEY_LENGTH: usize = 32;
/// First release of Talos that reports its unique token.
const KNOWS_UNIQUE_TOKENS: Version = Version::new(1, 6, 0);
/// What a machine runs that does not say it.
const UNTOLD: Version = Version::new(1, 5, 0);

/// The fields of a `ProvisionRequest`, as they came.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// UUID of the machine: that of its firmware, or the one in its META.
    pub node_uuid: String,
    /// WireGuard key of the machine, base64; another one after each of its boots.
    pub node_public_key: String,
    /// Join token; absent when the machine has none.
    pub join_token: Option<Secret<String>>,
    /// Unique token, JSON; empty when the machine was never given one.
    pub node_unique_token: Option<Secret<String>>,
    /// Tag of its Talos, such as `v1.10.0`; absent before 1.6.
    pub talos_version: Option<String>,
    /// Whether it wants to tunnel through gRPC.
    pub wireguard_over_grpc: Option<bool>,
}

/// What a machine says, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// UUID of the machine, lower case with hyphens.
    pub uuid: String,
    /// WireGuard key of the machine, base64 of 32 bytes.
    pub public_key: String,
    /// Join token.
    pub join_token: Option<JoinToken>,
    /// Unique token; `None` when the machine was never given one.
    pub unique_token: Option<UniqueToken>,
    /// What the machine runs.
    pub version: TalosVersion,
    /// Whether it wants to tunnel through gRPC.
    pub wants_tunnel: bool,
}

impl Request {
    /// Reads a call; the first step of the procedure.
    ///
    /// # Errors
    /// `PermissionDenied` when a token cannot be read, `InvalidArgument` when the UUID or the key cannot.
    pub fn parse(call: &Call) -> Result<Self, Refusal> {
        Ok(Self {
            join_token: join_token(call.join_token.as_ref())?,
            unique_token: unique_token(call.node_unique_token.as_ref())?,
            uuid: machine_uuid(&call.node_uuid)?,
            public_key: public_key(&call.node_public_key)?,
            version: TalosVersion::parse(call.talos_version.as_deref()),
            wants_tunnel: call.wireguard_over_grpc.unwrap_or(false),
        })
    }
}

/// An empty join token is none.
fn join_token(text: Option<&Secret<String>>) -> Result<Option<JoinToken>, Refusal> {
    let given = text.filter(|text| !text.reveal().is_empty());
    given.map(JoinToken::decode).transpose().map_err(|error| Refusal::unreadable(&error))
}

fn unique_token(text: Option<&Secret<String>>) -> Result<Option<UniqueToken>, Refusal> {
    let parsed = text.map(UniqueToken::parse).transpose().map_err(|error| Refusal::unreadable(&error))?;
    Ok(parsed.flatten())
}

/// All zeros are allowed: hardware says so, and the collisions are solved by other means.
fn machine_uuid(text: &str) -> Result<String, Refusal> {
    Uuid::try_parse(text).map(|uuid| uuid.to_string()).map_err(|_| {
        Refusal::new(
            Code::InvalidArgument,
            "the machine has no valid UUID; write one to its META key 0x0f and let it call again",
        )
    })
}

fn public_key(text: &str) -> Result<String, Refusal> {
    let is_key = STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == KEY_LENGTH);
    is_key.then(|| text.to_owned()).ok_or_else(|| {
        Refusal::new(
            Code::InvalidArgument,
            "the WireGuard key of the machine is not base64 of 32 bytes; restart it, which makes a new one",
        )
    })
}

/// Version of the Talos of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TalosVersion(Version);

impl TalosVersion {
    /// Reads a tag, with or without its `v`. What is absent or not a version counts as 1.5.0.
    #[must_use]
    pub fn parse(tag: Option<&str>) -> Self {
        let version = tag.map(|tag| tag.strip_prefix('v').unwrap_or(tag)).map(Version::parse);
        Self(version.and_then(Result::ok).unwrap_or(UNTOLD))
    }

    /// Whether it reports its unique token. A release before 1.6.0, also a candidate for it, does not.
    #[must_use]
    pub fn knows_unique_tokens(&self) -> bool {
        self.0 >= KNOWS_UNIQUE_TOKENS
    }
}

impl fmt::Display for TalosVersion {
    /// The three numbers only: the rest is text of the caller.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0.major, self.0.minor, self.0.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            node_uuid: "00000000-0000-0000-0000-00000000000A".to_owned(),
            node_public_key: STANDARD.encode([7_u8; KEY_LENGTH]),
            ..Call::default()
        }
    }

    fn code(call: &Call) -> Code {
        let refusal = Request::parse(call).unwrap_err();
        assert!(!refusal.message.contains("secret"), "{refusal}");
        refusal.code
    }

    #[test]
    fn a_call_without_tokens_is_one_of_an_old_machine() {
        let request = Request::parse(&call()).unwrap();
        assert_eq!(request.uuid, "00000000-0000-0000-0000-00000000000a");
        assert_eq!((&request.join_token, &request.unique_token), (&None, &None));
        assert_eq!(request.version.to_string(), "1.5.0");
        assert!(!request.wants_tunnel);
    }

    #[test]
    fn empty_tokens_are_none() {
        let empty = Some(Secret::new(String::new()));
        let call = Call { join_token: empty.clone(), node_unique_token: empty, ..call() };
        let request = Request::parse(&call).unwrap();
        assert_eq!((request.join_token, request.unique_token), (None, None));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_telling_tokens() {
        let secret = |text: &str| Some(Secret::new(text.to_owned()));
        assert_eq!(code(&Call { join_token: secret("v1:secret"), ..call() }), Code::PermissionDenied);
        assert_eq!(code(&Call { node_unique_token: secret("secret"), ..call() }), Code::PermissionDenied);
        assert_eq!(code(&Call { node_uuid: "../secret".to_owned(), ..call() }), Code::InvalidArgument);
        assert_eq!(code(&Call { node_public_key: "secret".to_owned(), ..call() }), Code::InvalidArgument);
    }

    #[test]
    fn unique_tokens_begin_with_talos_1_6() {
        let knows = |tag: &str| TalosVersion::parse(Some(tag)).knows_unique_tokens();
        for tag in ["v1.6.0", "1.6.0", "v1.14.1", "v1.11.0-beta.1", "v2.0.0"] {
            assert!(knows(tag), "{tag}");
        }
        for tag in ["v1.5.5", "v1.6.0-alpha.0", "", "v", "latest", "v1.6"] {
            assert!(!knows(tag), "{tag}");
        }
        assert!(!TalosVersion::parse(None).knows_unique_tokens());
    }
}
