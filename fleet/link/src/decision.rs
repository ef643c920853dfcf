//! The procedure: what becomes of a machine that calls.
//!
//! ```text
//! Request ─▶ path ─▶ legacy: a join token                          ─▶ link
//!                 └▶ secure: a join token or a known unique token
//!                            no unique token, or a UUID collision  ─▶ pending machine
//!                            else                                  ─▶ link
//!            then nobody whose link goes away, nobody beyond the limit, nobody of a provider that is not registered
//! ```
//! A caller without a good token is refused first, and so learns nothing about the machine that it names.

use std::net::SocketAddrV6;

use corten_base::Secret;
use ipnet::Ipv6Net;

use crate::address::Choice;
use crate::known::{JoinMode, Known, KnownLink, Phase, Policy};
use crate::refusal::{Code, Refusal};
use crate::request::Request;
use crate::response::TunnelWish;
use crate::token::{Authority, ExtraData, INFRA_PROVIDER_ID, JoinToken, MACHINE_REQUEST};
use crate::unique::{Comparison, UniqueToken, compare};

/// What becomes of a machine that calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is let in.
    Link(LinkPlan),
    /// It becomes reachable, so that it can be given a unique token or another UUID.
    Pending(PendingPlan),
    /// It is refused.
    Refuse(Refusal),
}

/// Whether a resource is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Create,
    /// It is brought up to date.
    Refresh,
}

/// A `Link` to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPlan {
    /// Whether it is there already.
    pub action: Action,
    /// Its id: the UUID of the machine.
    pub uuid: String,
    /// WireGuard key of the machine, base64.
    pub public_key: String,
    /// Address of the machine in the tunnel; it stays for the life of the link.
    pub address: Choice<Ipv6Net>,
    /// Address and port that stand for the machine; `None` when it does not tunnel through gRPC.
    pub virtual_peer: Option<Choice<SocketAddrV6>>,
    /// Unique token to keep, in the link and as the `NodeUniqueToken`; `None` for a machine without.
    pub unique_token: Option<UniqueToken>,
    /// Whether the link carries the annotation `siderolink.omni.sidero.dev/force-valid-node-unique-token`.
    pub force_valid: bool,
    /// Labels to set; others are left alone.
    pub labels: ExtraData,
    /// Text for the `JoinTokenUsage` of the machine; `None` when its unique token alone let it in: what is there stays.
    pub usage: Option<Secret<String>>,
    /// The pending machine with this WireGuard key is done, and its peer becomes that of the link in one step.
    pub ends_pending: bool,
}

/// A `PendingMachine` to write. It goes away when it is not refreshed for 30 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingPlan {
    /// Whether it is there already.
    pub action: Action,
    /// Its id: the WireGuard key of the machine, base64.
    pub public_key: String,
    /// Its label `omni.sidero.dev/machine-uuid`.
    pub machine_uuid: String,
    /// Whether it carries the annotation `siderolink.omni.sidero.dev/uuid-conflict`: another machine has the UUID.
    pub uuid_conflict: bool,
    /// Address of the machine in the tunnel.
    pub address: Choice<Ipv6Net>,
    /// Address and port that stand for the machine; `None` when it does not tunnel through gRPC.
    pub virtual_peer: Option<Choice<SocketAddrV6>>,
    /// The unique token that it sent.
    pub unique_token: Option<UniqueToken>,
}

/// Decides about a call. Nothing is written and nothing is asked: the same data lead to the same decision.
#[must_use]
pub fn decide(request: &Request, known: &Known, policy: &Policy) -> Decision {
    procedure(request, known, policy).unwrap_or_else(Decision::Refuse)
}

/// Which tokens count.
enum Path {
    /// Join tokens only.
    Legacy,
    /// Unique tokens too.
    Secure,
}

/// What a machine with good tokens becomes.
enum Admission {
    /// A link, with this unique token.
    Link(Option<UniqueToken>),
    /// A pending machine, which is to be given a unique token.
    Untold,
    /// A pending machine, which is to be given another UUID.
    Collision,
}

/// A join token that was made with an active key.
#[derive(Clone, Copy)]
struct Proof<'a> {
    token: &'a JoinToken,
    key: &'a Secret<String>,
}

fn procedure(request: &Request, known: &Known, policy: &Policy) -> Result<Decision, Refusal> {
    let proof = proof(request, known);
    let admission = match path(request, policy)? {
        Path::Legacy => legacy(request, proof, known.link.as_ref())?,
        Path::Secure => secure(request, proof, known.link.as_ref())?,
    };
    refuse_while_removed(known)?;
    refuse_beyond_limit(known)?;
    // A pending machine is not the one that the link is about.
    let owner = known.link.as_ref().filter(|_| matches!(admission, Admission::Link(_)));
    let labels = labels(proof, owner);
    refuse_unregistered(&labels, known)?;
    Ok(match admission {
        Admission::Link(unique_token) => Decision::Link(LinkPlan {
            action: if known.link.is_some() { Action::Refresh } else { Action::Create },
            uuid: request.uuid.clone(),
            public_key: request.public_key.clone(),
            address: link_address(known),
            virtual_peer: virtual_peer(request, known, policy),
            force_valid: unique_token.is_some() && stays_forced(known),
            unique_token,
            labels,
            usage: proof.map(Proof::usage),
            ends_pending: known.pending.is_some(),
        }),
        Admission::Untold => Decision::Pending(pending(request, known, policy, false)),
        Admission::Collision => Decision::Pending(pending(request, known, policy, true)),
    })
}

/// The join token of the call, if it is worth something.
fn proof<'a>(request: &'a Request, known: &'a Known) -> Option<Proof<'a>> {
    let (token, key) = (request.join_token.as_ref()?, known.key.as_ref()?);
    let is_valid = key.is_active && token.is_made_with(&key.token);
    is_valid.then_some(Proof { token, key: &key.token })
}

/// Step 2: the path follows from the policy and from what the machine can do.
fn path(request: &Request, policy: &Policy) -> Result<Path, Refusal> {
    match (policy.mode, request.version.knows_unique_tokens()) {
        (JoinMode::Legacy, _) | (JoinMode::LegacyAllowed, false) => Ok(Path::Legacy),
        (JoinMode::Strict | JoinMode::LegacyAllowed, true) => Ok(Path::Secure),
        (JoinMode::Strict, false) => Err(Refusal::new(
            Code::FailedPrecondition,
            format!(
                "the machine runs Talos {}, and only 1.6.0 and later may join; start a newer image, \
                 or set joinTokensMode of the manager to legacyAllowed",
                request.version
            ),
        )),
    }
}

/// Step 2: a join token is enough, but not to take the place of a machine that has a unique token.
fn legacy(
    request: &Request,
    proof: Option<Proof<'_>>,
    link: Option<&KnownLink>,
) -> Result<Admission, Refusal> {
    if proof.is_none() {
        return Err(without_token(request));
    }
    if link.is_some_and(|link| link.unique_token.is_some()) {
        return Err(Refusal::new(
            Code::PermissionDenied,
            "the machine is known by its unique token, which does not count in joinTokensMode legacy and \
             before Talos 1.6.0; choose legacyAllowed and start a newer image, or reset its unique token",
        ));
    }
    Ok(Admission::Link(None))
}

/// Steps 3 and 4: a join token, or the unique token of the link.
fn secure(
    request: &Request,
    proof: Option<Proof<'_>>,
    link: Option<&KnownLink>,
) -> Result<Admission, Refusal> {
    let stored = link.and_then(|link| Some((link.unique_token.as_ref()?, is_forced(link))));
    let sent = request.unique_token.as_ref();
    let comparison = stored.zip(sent).map(|((stored, forced), sent)| compare(stored, sent, forced));
    match (comparison, proof) {
        (Some(Comparison::Same), _) => Ok(Admission::Link(sent.cloned())),
        (_, None) => Err(without_token(request)),
        (Some(Comparison::Refused), Some(_)) => Err(Refusal::new(
            Code::PermissionDenied,
            "the machine sent another unique token than that of its link, which was on its disk; if the disk \
             was replaced or wiped, reset it: omnictl configure machine --reset-node-unique-token",
        )),
        (Some(Comparison::Collision), Some(_)) => Ok(Admission::Collision),
        (None, Some(_)) if sent.is_none() => Ok(Admission::Untold),
        (Some(Comparison::Reimaged) | None, Some(_)) => Ok(Admission::Link(sent.cloned())),
    }
}

/// Steps 2 and 3: nothing that the machine sent is worth anything.
fn without_token(request: &Request) -> Refusal {
    let message = if request.join_token.is_none() {
        "the machine sent no token that lets it in; start it with kernel arguments or an image of the manager"
    } else {
        "the join token of the machine is unknown, revoked or expired; start it with new kernel arguments \
         or a new image of the manager"
    };
    Refusal::new(Code::PermissionDenied, message)
}

/// Step 6.
fn refuse_while_removed(known: &Known) -> Result<(), Refusal> {
    match &known.link {
        Some(KnownLink { phase: Phase::TearingDown, .. }) => Err(Refusal::new(
            Code::AlreadyExists,
            "the machine is being removed from the manager; it joins again when that is done",
        )),
        _ => Ok(()),
    }
}

/// Step 6: a machine that is known counts already.
fn refuse_beyond_limit(known: &Known) -> Result<(), Refusal> {
    match known.machines.limit {
        Some(limit) if known.link.is_none() && known.machines.registered >= limit => Err(Refusal::new(
            Code::ResourceExhausted,
            format!("all {limit} machines that may join did; remove one, or raise maxRegisteredMachines"),
        )),
        _ => Ok(()),
    }
}

/// Step 6.
fn refuse_unregistered(labels: &ExtraData, known: &Known) -> Result<(), Refusal> {
    match labels.get(INFRA_PROVIDER_ID) {
        Some(provider) if !known.providers.contains(provider) => Err(Refusal::new(
            Code::NotFound,
            format!("infrastructure provider {provider:?} of the machine is not registered; create it first"),
        )),
        _ => Ok(()),
    }
}

/// Labels of a link: those that it has, and over them those of the join token.
fn labels(proof: Option<Proof<'_>>, link: Option<&KnownLink>) -> ExtraData {
    let kept = link.map(|link| &link.labels);
    let told = proof.and_then(|proof| proof.token.extra_data());
    let entries = kept.into_iter().chain(told).flatten().filter(|(key, _)| is_label(key));
    entries.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Of what a token may say, only this becomes labels: its signer must not set those that the manager sets.
fn is_label(key: &str) -> bool {
    [INFRA_PROVIDER_ID, MACHINE_REQUEST].contains(&key)
}

/// Whether the unique token of a link is on the disk of the machine for sure: its provider has not wiped it since.
fn is_forced(link: &KnownLink) -> bool {
    let wiped = link.wiped_token.as_ref().zip(link.unique_token.as_ref());
    link.force_valid && !wiped.is_some_and(|(wiped, stored)| wiped.has_token_of(stored))
}

/// Whether the unique token that the link is to have is on the disk of the machine for sure.
fn stays_forced(known: &Known) -> bool {
    known.link.as_ref().is_some_and(is_forced)
        || known.pending.as_ref().is_some_and(|pending| pending.talos_installed)
}

/// That of the link for its life; that of the pending machine before, because a peer has one address.
fn link_address(known: &Known) -> Choice<Ipv6Net> {
    let link = known.link.as_ref().map(|link| link.node_subnet);
    let pending = known.pending.as_ref().map(|pending| pending.node_subnet);
    link.or(pending).map_or(Choice::Fresh, Choice::Keep)
}

/// That of the pending machine, or that of the link if it is the same peer, because a peer has one address.
fn pending_address(request: &Request, known: &Known) -> Choice<Ipv6Net> {
    let pending = known.pending.as_ref().map(|pending| pending.node_subnet);
    let link = same_peer(request, known).map(|link| link.node_subnet);
    pending.or(link).map_or(Choice::Fresh, Choice::Keep)
}

/// The link, if the machine has not booted since.
fn same_peer<'a>(request: &Request, known: &'a Known) -> Option<&'a KnownLink> {
    known.link.as_ref().filter(|link| link.public_key == request.public_key)
}

/// A virtual peer stays as long as the WireGuard key does.
fn virtual_peer(request: &Request, known: &Known, policy: &Policy) -> Option<Choice<SocketAddrV6>> {
    let wish = TunnelWish {
        machine: request.wants_tunnel,
        manager: policy.enforce_tunnel,
        person: known.wants_tunnel,
    };
    let link = same_peer(request, known).and_then(|link| link.virtual_peer);
    let pending = known.pending.as_ref().and_then(|pending| pending.virtual_peer);
    wish.is_on().then(|| link.or(pending).map_or(Choice::Fresh, Choice::Keep))
}

/// Step 4.
fn pending(request: &Request, known: &Known, policy: &Policy, uuid_conflict: bool) -> PendingPlan {
    PendingPlan {
        action: if known.pending.is_some() { Action::Refresh } else { Action::Create },
        public_key: request.public_key.clone(),
        machine_uuid: request.uuid.clone(),
        uuid_conflict,
        address: pending_address(request, known),
        virtual_peer: virtual_peer(request, known, policy),
        unique_token: request.unique_token.clone(),
    }
}

impl Proof<'_> {
    /// Step 8: the name of the join token that let the machine in. That of a provider is no `JoinToken`, so the token
    /// is kept as it came, for the machine to be told it again.
    fn usage(self) -> Secret<String> {
        match self.token.authority() {
            Authority::Token(_) | Authority::Default => self.key.clone(),
            Authority::Provider(_) => self.token.encode(),
        }
    }
}

#[cfg(test)]
mod tests;
