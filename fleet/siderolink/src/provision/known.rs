//! What the store says about a call.
//!
//! ```text
//! Link, PendingMachine, NodeUniqueToken, JoinTokenUsage ──▶ Seen, which the writes are based on
//! Seen, JoinToken, ProviderJoinConfig, InfraProvider, … ──▶ Known, which the decision is based on
//! ```
//!
//! The `NodeUniqueToken` is what a machine is known by; the link has a copy. Whoever removes it resets the machine.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::SystemTime;

use corten_base::Secret;
use corten_fleet_link::address::PREFIX_LENGTH;
use corten_fleet_link::token::Authority;
use corten_fleet_link::unique::UniqueTokenError;
use corten_fleet_link::{Known, KnownLink, KnownPending, Machines, Phase, Request, TokenKey, UniqueToken};
use corten_fleet_resources::labels::annotation::FORCE_VALID_NODE_UNIQUE_TOKEN;
use corten_fleet_resources::link::{
    DefaultJoinToken, GrpcTunnelConfig, InvalidLink, JoinToken, JoinTokenUsage, Link, NodeUniqueToken,
    PendingMachine, PendingMachineStatus, ProviderJoinConfig,
};
use corten_fleet_resources::provider::{InfraMachineStatus, InfraProvider};
use corten_resource::{AnyResource, Resource, Spec, State};
use ipnet::Ipv6Net;

/// Id of the default join token.
const DEFAULT: &str = "default";

/// Something in the store that a decision cannot be based on.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookUpError {
    /// A link or a pending machine.
    #[error(transparent)]
    Link(#[from] InvalidLink),
    /// A unique token.
    #[error(
        "the unique token of machine {0} in the store is none; \
         reset it: omnictl configure machine --reset-node-unique-token"
    )]
    UniqueToken(String, #[source] UniqueTokenError),
}

/// The resources that a call changes, as they were when it was looked at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub link: Option<Resource<Link>>,
    pub pending: Option<Resource<PendingMachine>>,
    pub token: Option<Resource<NodeUniqueToken>>,
    pub usage: Option<Resource<JoinTokenUsage>>,
}

impl Seen {
    /// Those of a machine.
    pub fn read(state: &State, asked: &Request) -> Self {
        Self {
            link: state.get(&asked.uuid),
            pending: state.get(&asked.public_key),
            token: state.get(&asked.uuid),
            usage: state.get(&asked.uuid),
        }
    }

    /// Whether the pending machine is on its way out; it cannot be written until it is gone.
    pub fn pending_leaves(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.metadata.is_tearing_down())
    }
}

/// Everything that decides about a call, but how many machines there are.
pub(super) fn known(
    state: &State,
    asked: &Request,
    seen: &Seen,
    now: SystemTime,
) -> Result<Known, LookUpError> {
    let pending = seen.pending.as_ref().filter(|pending| !pending.metadata.is_tearing_down());
    Ok(Known {
        key: key(state, asked, now),
        link: seen.link.as_ref().map(|link| known_link(state, link, seen.token.as_ref())).transpose()?,
        pending: pending.map(|pending| known_pending(state, pending)).transpose()?,
        providers: all::<InfraProvider>(state).iter().map(|provider| provider.id().to_owned()).collect(),
        machines: Machines::default(),
        wants_tunnel: state.get::<GrpcTunnelConfig>(&asked.uuid).is_some_and(|config| config.enabled),
    })
}

/// How many machines have a link.
pub(super) fn registered(state: &State) -> u32 {
    u32::try_from(all::<Link>(state).len()).unwrap_or(u32::MAX)
}

/// Whether a machine has this address, or is stood for by it.
pub(super) fn is_taken(state: &State, candidate: Ipv6Addr) -> bool {
    let by_link = |resource: &AnyResource| {
        resource.spec::<Link>().is_some_and(|link| has(&link.node_subnet, &link.virtual_addr_port, candidate))
    };
    let by_pending = |resource: &AnyResource| {
        let pending = resource.spec::<PendingMachine>();
        pending.is_some_and(|pending| has(&pending.node_subnet, &pending.virtual_addr_port, candidate))
    };
    all::<Link>(state).iter().any(by_link) || all::<PendingMachine>(state).iter().any(by_pending)
}

fn has(subnet: &str, virtual_peer: &str, candidate: Ipv6Addr) -> bool {
    let address = subnet.split_once('/').map_or(subnet, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok_and(|address| address == candidate)
        || virtual_peer.parse::<SocketAddrV6>().is_ok_and(|peer| *peer.ip() == candidate)
}

/// All resources of a type, in any phase.
fn all<S: Spec>(state: &State) -> Vec<AnyResource> {
    state.list_any(S::DEFINITION.namespace, S::DEFINITION.kind)
}

/// What the join token of the call is judged by.
fn key(state: &State, asked: &Request, now: SystemTime) -> Option<TokenKey> {
    match asked.join_token.as_ref()?.authority() {
        Authority::Token(token) => by_name(state, token.reveal(), now),
        Authority::Default => by_name(state, &state.get::<DefaultJoinToken>(DEFAULT)?.token_id, now),
        Authority::Provider(provider) => {
            let token = state.get::<ProviderJoinConfig>(provider)?.join_token.clone();
            Some(TokenKey { token: Secret::new(token), is_active: true })
        }
    }
}

/// A join token that people made. It counts from the moment it is there, and no longer once it is withdrawn or over:
/// its `JoinTokenStatus`, which says the same, comes a moment later.
fn by_name(state: &State, token: &str, now: SystemTime) -> Option<TokenKey> {
    let made = state.get::<JoinToken>(token)?;
    let is_over = made.revoked || made.expiration_time.is_some_and(|end| end <= now);
    let is_active = !is_over && !made.metadata.is_tearing_down();
    Some(TokenKey { token: Secret::new(token.to_owned()), is_active })
}

fn known_link(
    state: &State,
    link: &Resource<Link>,
    token: Option<&Resource<NodeUniqueToken>>,
) -> Result<KnownLink, LookUpError> {
    let stored = token.map(|token| UniqueToken::parse(&Secret::new(token.token.clone()))).transpose();
    let stored = stored.map_err(|error| LookUpError::UniqueToken(link.id().to_owned(), error))?;
    let wiped = state.get::<InfraMachineStatus>(link.id());
    // What cannot be read was not wiped.
    let wiped = wiped.and_then(|status| {
        UniqueToken::parse(&Secret::new(status.wiped_node_unique_token.clone())).ok().flatten()
    });
    Ok(KnownLink {
        phase: if link.metadata.is_tearing_down() { Phase::TearingDown } else { Phase::Running },
        node_subnet: net(link.address()?),
        public_key: link.node_public_key.clone(),
        virtual_peer: link.virtual_peer()?,
        unique_token: stored.flatten(),
        force_valid: link.metadata.annotations.contains_key(FORCE_VALID_NODE_UNIQUE_TOKEN),
        wiped_token: wiped,
        labels: link.metadata.labels.clone(),
    })
}

fn known_pending(state: &State, pending: &Resource<PendingMachine>) -> Result<KnownPending, LookUpError> {
    let status = state.get::<PendingMachineStatus>(pending.id());
    Ok(KnownPending {
        node_subnet: net(pending.address()?),
        virtual_peer: pending.virtual_peer()?,
        talos_installed: status.is_some_and(|status| status.talos_installed),
    })
}

const fn net(address: Ipv6Addr) -> Ipv6Net {
    Ipv6Net::new_assert(address, PREFIX_LENGTH)
}
