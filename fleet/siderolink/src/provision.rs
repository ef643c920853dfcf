//! `sidero.link.ProvisionService`: a machine calls, and is let in, made reachable, or refused.
//!
//! ```text
//! call ─▶ Request ─▶ lock of the UUID ─▶ Seen, Known ─▶ decide ─▶ writes ─▶ store, kept
//!                          ▲                                         │ somebody was faster: look again
//!                          └─────────────────────────────────────────┘
//!                    then wait for LinkStatus (5 s) ─▶ the pending machine ends ─▶ Response
//! ```
//!
//! Invariants:
//! - Two calls of one machine never run at a time, so that it gets one address.
//! - A machine is answered only when what was decided is kept.
//! - Neither answers nor logs contain a token. What fails inside is told to the log alone.

mod known;
mod writes;

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use corten_api::sidero::link::provision_service_server::{ProvisionService, ProvisionServiceServer};
use corten_api::sidero::link::{ProvisionRequest, ProvisionResponse};
use corten_base::{Clock, Rng, Secret, chain};
use corten_fleet_link::address::AddressError;
use corten_fleet_link::{
    Call, Choice, Code, Decision, LinkPlan, Machines, PendingPlan, Refusal, Request as Asked,
    Response as Answer, decide,
};
use corten_fleet_resources::link::{LinkStatus, PendingMachine};
use corten_fleet_tunnel::Tunnel;
use corten_resource::{Pointer, Spec as _, State, StateError, Store as _};
use corten_wireguard::PublicKey;
use ipnet::Ipv6Net;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{sleep, timeout};
use tonic::{Request, Response, Status};

use crate::locks::Locks;
use crate::pending::Refreshed;
use crate::senders::source;
use crate::{OWNER, Settings};

use known::{LookUpError, Seen};
use writes::{Whereabouts, Write};

/// Largest request, in bytes: both tokens at their longest, and the rest.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// How long a call may take; machines give up after 30 s.
const CALL_MAX: Duration = Duration::from_secs(20);
/// How long an answer waits for its peer (fleet.md 1.8). The first handshake would be lost without it.
const PEER_WAIT: Duration = Duration::from_secs(5);
/// How long an answer waits for the pending machine to be gone. Nothing depends on it.
const END_WAIT: Duration = Duration::from_secs(1);
/// How often a call looks again when somebody else was faster, or a pending machine is on its way out.
const ATTEMPTS_MAX: usize = 20;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// What the tunnel does about machines that ask again. Implemented for the tunnel and by a recording fake.
pub(crate) trait Peers: std::fmt::Debug + Send + Sync + 'static {
    /// Takes handshakes of a machine that has proved who it is and whose session is over, also older ones than before.
    fn renew(&self, key: &PublicKey);
}

impl Peers for Tunnel {
    fn renew(&self, key: &PublicKey) {
        Self::renew(self, key);
    }
}

/// The service.
#[derive(Debug)]
pub struct Provision {
    state: State,
    peers: Box<dyn Peers>,
    clock: Clock,
    rng: Rng,
    settings: Arc<Settings>,
    refreshed: Refreshed,
    locks: Locks,
    /// Held while a machine is counted and added, so that two cannot take the last place.
    admission: AsyncMutex<()>,
}

/// A call that is not answered as it wishes. Only a refusal is told to the machine.
#[derive(Debug, thiserror::Error)]
enum ProvisionError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("too many calls of machines wait for an answer; this one has to call again")]
    Busy,
    #[error("failed to look up the machine")]
    LookUp(#[from] LookUpError),
    #[error("failed to place the machine")]
    Address(#[from] AddressError),
    #[error("failed to write what the machine becomes")]
    Write(#[source] StateError),
    #[error("the pending machine {0} is on its way out and does not go; see who holds it")]
    Leaving(String),
    #[error("the store did not answer within {:?}", CALL_MAX)]
    Deadline,
}

/// What a machine became.
#[derive(Debug)]
struct Admitted {
    /// Id of the link or of the pending machine, and of its `LinkStatus`.
    id: String,
    public_key: String,
    address: Ipv6Net,
    virtual_peer: Option<SocketAddrV6>,
    /// There is a pending machine with this key that is not needed any more.
    ends_pending: bool,
}

impl Provision {
    /// A service over a state.
    #[must_use]
    pub(crate) fn new(
        state: State,
        peers: impl Peers,
        clock: Clock,
        rng: Rng,
        settings: Arc<Settings>,
        refreshed: Refreshed,
    ) -> Self {
        let (peers, locks, admission) = (Box::new(peers), Locks::default(), AsyncMutex::default());
        Self { state, peers, clock, rng, settings, refreshed, locks, admission }
    }

    /// The service for a router.
    #[must_use]
    pub fn into_service(self) -> ProvisionServiceServer<Self> {
        ProvisionServiceServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    async fn answer(&self, asked: &Asked, remote: &str) -> Result<Answer, ProvisionError> {
        let admitted = self.admit(asked, remote).await?;
        self.settle(&admitted).await;
        Ok(Answer::new(&self.settings.server, admitted.address, admitted.virtual_peer))
    }

    /// Decides about a machine and keeps the decision, one call of a machine at a time.
    async fn admit(&self, asked: &Asked, remote: &str) -> Result<Admitted, ProvisionError> {
        let _held = self.locks.lock(&asked.uuid).await.ok_or(ProvisionError::Busy)?;
        let mut attempts = 1;
        loop {
            match self.attempt(asked, remote).await {
                Err(error) if error.is_passing() && attempts < ATTEMPTS_MAX => {}
                result => return result,
            }
            attempts += 1;
            sleep(PAUSE).await;
        }
    }

    async fn attempt(&self, asked: &Asked, remote: &str) -> Result<Admitted, ProvisionError> {
        let seen = Seen::read(&self.state, asked);
        let mut known = known::known(&self.state, asked, &seen, self.clock.now())?;
        let policy = &self.settings.policy;
        let mut decision = decide(asked, &known, policy);
        // Counted only for machines that would come in: whoever has no token causes no work.
        let is_new = seen.link.is_none() && !matches!(decision, Decision::Refuse(_));
        let limit = self.settings.machines_max.filter(|_| is_new);
        let _admission = match limit {
            Some(_) => Some(self.admission.lock().await),
            None => None,
        };
        if limit.is_some() {
            known.machines = Machines { registered: known::registered(&self.state), limit };
            decision = decide(asked, &known, policy);
        }
        match decision {
            Decision::Refuse(refusal) => Err(refusal.into()),
            Decision::Link(plan) => self.link(&plan, remote, &seen).await,
            Decision::Pending(plan) => self.pending(&plan, remote, &seen).await,
        }
    }

    async fn link(&self, plan: &LinkPlan, remote: &str, seen: &Seen) -> Result<Admitted, ProvisionError> {
        let at = self.place(plan.address, plan.virtual_peer, remote)?;
        for write in writes::link(plan, &at, seen) {
            self.carry_out(write).await?;
        }
        if let Ok(key) = plan.public_key.parse::<PublicKey>() {
            // A machine that has lost the manager asks again with the same key. If its clock was set back meanwhile,
            // the tunnel would refuse its handshakes until the clock has caught up.
            self.peers.renew(&key);
        }
        let address = at.address.addr();
        tracing::info!(machine = plan.uuid, %address, action = ?plan.action, "let a machine in");
        Ok(Admitted {
            id: plan.uuid.clone(),
            public_key: plan.public_key.clone(),
            address: at.address,
            virtual_peer: at.virtual_peer,
            ends_pending: plan.ends_pending,
        })
    }

    async fn pending(
        &self,
        plan: &PendingPlan,
        remote: &str,
        seen: &Seen,
    ) -> Result<Admitted, ProvisionError> {
        if seen.pending_leaves() {
            return Err(ProvisionError::Leaving(plan.public_key.clone()));
        }
        let at = self.place(plan.address, plan.virtual_peer, remote)?;
        // Before it is written: from then on it counts as refreshed.
        self.refreshed.note(&plan.public_key);
        self.carry_out(writes::pending(plan, &at, seen)).await?;
        tracing::info!(
            machine = plan.machine_uuid,
            address = %at.address.addr(),
            action = ?plan.action,
            uuid_conflict = plan.uuid_conflict,
            "made a machine reachable that is to be told its token"
        );
        Ok(Admitted {
            id: plan.public_key.clone(),
            public_key: plan.public_key.clone(),
            address: at.address,
            virtual_peer: at.virtual_peer,
            ends_pending: false,
        })
    }

    /// The addresses that were decided on, drawn where they are new.
    fn place(
        &self,
        address: Choice<Ipv6Net>,
        virtual_peer: Option<Choice<SocketAddrV6>>,
        remote: &str,
    ) -> Result<Whereabouts, AddressError> {
        let (plan, rng) = (&self.settings.addresses, &self.rng);
        let is_taken = |candidate: Ipv6Addr| known::is_taken(&self.state, candidate);
        let address = plan.machine(address, rng, is_taken)?;
        let virtual_peer = virtual_peer.map(|choice| plan.virtual_peer(choice, rng, is_taken)).transpose()?;
        Ok(Whereabouts { address, virtual_peer, remote: remote.to_owned() })
    }

    /// Done when it is kept.
    async fn carry_out(&self, write: Write) -> Result<(), ProvisionError> {
        let store = self.state.store();
        let done = match write {
            Write::Create(resource) => store.create(resource, OWNER).await.map(drop),
            Write::Update(resource) => store.update(resource, &writes::running()).await.map(drop),
            Write::Remove(pointer) => match store.destroy(&pointer, OWNER).await {
                Err(StateError::NotFound(_)) => Ok(()),
                other => other,
            },
        };
        done.map_err(ProvisionError::Write)
    }

    /// Waits until the tunnel takes the machine's packets, so that its first handshake is not lost.
    async fn settle(&self, admitted: &Admitted) {
        let virtual_peer = admitted.virtual_peer.map(|peer| peer.to_string()).unwrap_or_default();
        let taken = self.state.wait_for::<LinkStatus>(&admitted.id, |status| {
            status.is_some_and(|status| {
                status.node_public_key == admitted.public_key && status.virtual_addr_port == virtual_peer
            })
        });
        if timeout(PEER_WAIT, taken).await.is_err() {
            tracing::warn!(peer = admitted.id, "the tunnel does not take packets of the machine yet");
        }
        if admitted.ends_pending {
            // Only now: the peer stays without a gap because the link has it already.
            self.end_pending(&admitted.public_key).await;
        }
    }

    async fn end_pending(&self, public_key: &str) {
        let definition = PendingMachine::DEFINITION;
        let pointer = Pointer::new(definition.namespace, definition.kind, public_key);
        let ending = self.state.store().teardown_and_destroy(&pointer, OWNER);
        match timeout(END_WAIT, ending).await {
            Ok(Ok(()) | Err(StateError::NotFound(_))) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), "a pending machine does not end yet");
            }
            Err(_) => tracing::debug!(pending = public_key, "a pending machine is held and collected later"),
        }
    }
}

impl ProvisionError {
    /// Whether another look may help.
    const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Leaving(_)
                | Self::Write(
                    StateError::Version { .. }
                        | StateError::AlreadyExists(_)
                        | StateError::NotFound(_)
                        | StateError::Phase { .. }
                )
        )
    }

    /// What the machine is told; everything else goes to the log.
    fn status(&self, machine: &str) -> Status {
        match self {
            Self::Refused(refusal) => {
                tracing::info!(machine, reason = refusal.message, "refused a machine");
                told(refusal)
            }
            Self::Busy => {
                tracing::warn!(machine, "turned a machine away: too many wait");
                Status::unavailable(self.to_string())
            }
            other => {
                tracing::error!(machine, error = chain(other), "failed to answer a machine");
                told(&Refusal::internal())
            }
        }
    }
}

/// A refusal as it goes.
fn told(refusal: &Refusal) -> Status {
    let code = match refusal.code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::NotFound => tonic::Code::NotFound,
        Code::Internal => tonic::Code::Internal,
    };
    Status::new(code, refusal.message.clone())
}

fn call(request: ProvisionRequest) -> Call {
    Call {
        node_uuid: request.node_uuid,
        node_public_key: request.node_public_key,
        join_token: request.join_token.map(Secret::new),
        node_unique_token: request.node_unique_token.map(Secret::new),
        talos_version: request.talos_version,
        wireguard_over_grpc: request.wireguard_over_grpc,
    }
}

fn sent(answer: Answer) -> ProvisionResponse {
    ProvisionResponse {
        server_endpoint: answer.server_endpoint,
        server_public_key: answer.server_public_key,
        node_address_prefix: answer.node_address_prefix,
        server_address: answer.server_address,
        grpc_peer_addr_port: answer.grpc_peer_addr_port,
    }
}

#[tonic::async_trait]
impl ProvisionService for Provision {
    async fn provision(
        &self,
        request: Request<ProvisionRequest>,
    ) -> Result<Response<ProvisionResponse>, Status> {
        let remote = source(&request).map(|address| address.to_string()).unwrap_or_default();
        let asked = Asked::parse(&call(request.into_inner())).map_err(|refusal| {
            tracing::info!(remote, reason = refusal.message, "refused a machine");
            told(&refusal)
        })?;
        let answer = timeout(CALL_MAX, self.answer(&asked, &remote)).await;
        let answer = answer.unwrap_or(Err(ProvisionError::Deadline));
        answer.map(|answer| Response::new(sent(answer))).map_err(|error| error.status(&asked.uuid))
    }
}

#[cfg(test)]
mod tests;
