//! Gives machines that called for the first time what they need to be known by.
//!
//! ```text
//! PendingMachine (held), LinkStatus (its peer is there) ─▶ dial ─▶ Found ─▶ plan
//!   first                        ─▶ PendingMachineStatus: whether a system is on its disk
//!   another machine has its UUID ─▶ META 0x0f: a random UUID, once
//!   it has no token              ─▶ META 0x10: fingerprint and a random part, once
//!   then                         ─▶ PendingMachineStatus: its token ─(the machine calls again)─▶ Link
//! ```
//!
//! Invariants:
//! - A machine calls again as soon as META changes, and its link is made from what the status says then. So nothing is
//!   written to a machine before the status says whether a system is on its disk: a link that does not know of it could
//!   be taken over by a machine with the same UUID and network card.
//! - A UUID or token that is written twice makes the machine call for ever (fleet.md 13, 39). What was written is
//!   remembered by the key of the machine, which lasts as long as its boot, and what the machine has in META is not
//!   written again after a restart of the manager either.

mod calls;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv6Addr;
use std::time::Duration;

use corten_base::{Rng, Secret};
use corten_fleet_link::UniqueToken;
use corten_fleet_resources::labels::{MACHINE_UUID, annotation};
use corten_fleet_resources::link::{LinkStatus, PendingMachine, PendingMachineStatus};
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, Resource, View, controller};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

pub use calls::Calls;

use crate::pool::Target;

/// Pending machines of which something is remembered.
const KNOWN_MAX: usize = 16_384;
/// What a machine that belongs to somebody else waits for.
const FOREIGN: &str = "a reset of the machine: it is configured for a cluster that is not known here";
/// When a machine is called again that did not answer.
const AGAIN: Duration = Duration::from_secs(5);

/// A pending machine as it was reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// An operating system is on its disk.
    pub is_installed: bool,
    /// The token in its META; empty when there is none.
    pub token: Secret<String>,
    /// The UUID in its META; empty when there is none.
    pub uuid: String,
    /// Hardware addresses of its physical network cards: the permanent one where there is one.
    pub hardware_addresses: Vec<String>,
}

/// Why nothing is known of a pending machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It does not answer.
    Silent(String),
    /// It belongs to a cluster that is not known here.
    Foreign,
}

/// What may be asked of pending machines and written to them. Implemented over the network and by a recording fake.
pub trait Reception: Send + Sync + 'static {
    /// Looks at a machine. `machine` is its UUID, by which a cluster that it is a member of is found.
    ///
    /// # Errors
    /// When the machine does not answer, or refuses.
    fn look(&self, machine: &str, target: &Target) -> impl Future<Output = Result<Found, Missed>> + Send;

    /// Gives a machine another UUID.
    ///
    /// # Errors
    /// When the machine does not take it.
    fn write_uuid(
        &self,
        machine: &str,
        target: &Target,
        uuid: &str,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Gives a machine a token.
    ///
    /// # Errors
    /// When the machine does not take it.
    fn write_token(
        &self,
        machine: &str,
        target: &Target,
        token: &Secret<String>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Lets go of the connection to a machine.
    fn part(&self, machine: &str);
}

/// What was written to a machine in this boot of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The token.
    token: Option<Secret<String>>,
    /// A UUID.
    has_uuid: bool,
}

/// What is remembered of a machine in this boot of it.
#[derive(Clone, Debug, Default)]
struct Known {
    /// As it was reached; nothing while it may be another by now.
    found: Option<Found>,
    written: Written,
}

/// What is seen of a pending machine.
#[derive(Clone, PartialEq)]
pub enum Seen {
    /// It was not looked at, since it is gone or going, or has no peer yet.
    Nothing {
        /// Something is remembered of it.
        is_remembered: bool,
    },
    /// It was not looked at again, since all is done.
    Done(PendingMachineStatus),
    /// It was looked at in vain.
    Missed(Missed),
    /// It was looked at now.
    Looked(Found),
    /// It was looked at before.
    Found(Found, Written),
}

/// Makes pending machines machines that can be known again.
#[derive(Debug)]
pub struct PendingMachineStatusController<R> {
    reception: R,
    rng: Rng,
    known: Mutex<BTreeMap<String, Known>>,
}

impl<R: Reception> PendingMachineStatusController<R> {
    /// A controller that has written nothing yet; tokens and UUIDs come from `rng`.
    pub const fn new(reception: R, rng: Rng) -> Self {
        Self { reception, rng, known: Mutex::new(BTreeMap::new()) }
    }

    fn remember<T>(&self, item: &str, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX && !known.contains_key(item) {
            // Any of them: whoever it belongs to has the same in its META.
            known.pop_first();
        }
        change(known.entry(item.to_owned()).or_default())
    }

    /// Writes to a machine. If that fails nobody knows what the machine has now, and it is looked at again.
    async fn write(
        &self,
        item: &str,
        writing: impl Future<Output = anyhow::Result<()>> + Send,
        note: impl FnOnce(&mut Written) + Send,
    ) -> anyhow::Result<()> {
        let found = self.remember(item, |known| known.found.take());
        writing.await?;
        self.remember(item, |known| {
            known.found = found;
            note(&mut known.written);
        });
        Ok(())
    }
}

controller!(impl<R: Reception> PendingMachineStatusController<R>, "PendingMachineStatusController",
    inputs: [strong PendingMachine, weak LinkStatus, weak PendingMachineStatus],
    outputs: [exclusive PendingMachineStatus]);

/// What is done to a pending machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// What was found is remembered.
    Note(Found),
    /// It is given a random UUID.
    WriteUuid(Address),
    /// It is given a token with this fingerprint.
    WriteToken(Address, String),
    /// It is gone; nothing is remembered of it.
    Forget,
}

/// Where a pending machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its UUID.
    pub machine: String,
    /// How it is reached.
    pub target: Target,
}

impl<R: Reception> ItemDriver for PendingMachineStatusController<R> {
    type Observed = Seen;
    type Op = Op;
    const PARALLEL: usize = 64;
    const LIMIT: Duration = Duration::from_secs(180);

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Seen> {
        let known = self.known.lock().get(item).cloned();
        let nothing = Seen::Nothing { is_remembered: known.is_some() };
        let Some(pending) = view.get::<PendingMachine>(item) else { return Ok(nothing) };
        if view.get::<LinkStatus>(item).is_none() {
            return Ok(nothing);
        }
        let has_conflict = has_conflict(pending);
        let Known { found, written } = known.unwrap_or_default();
        if let Some(done) = view.get::<PendingMachineStatus>(item)
            && !done.token.is_empty()
            && (written.has_uuid || !has_conflict)
        {
            return Ok(Seen::Done(done.spec.clone()));
        }
        if let Some(found) = found {
            return Ok(Seen::Found(found, written));
        }
        let Ok(address) = address(pending) else { return Ok(nothing) };
        let looked = self.reception.look(&address.machine, &address.target).await;
        Ok(looked.map_or_else(Seen::Missed, Seen::Looked))
    }

    fn plan(&self, item: &str, view: &View<Self>, seen: &Seen) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let Some(pending) = view.get::<PendingMachine>(item) else {
            if matches!(seen, Seen::Nothing { is_remembered: true }) {
                plan.op(Op::Forget);
            }
            return plan;
        };
        let address = match address(pending) {
            Ok(address) => address,
            Err(error) => return plan.waiting(error),
        };
        if matches!(seen, Seen::Nothing { .. } | Seen::Missed(_) | Seen::Looked(_)) {
            // What was found out before stays true.
            plan.keep::<PendingMachineStatus>();
        }
        match seen {
            Seen::Nothing { .. } => plan.waiting("its peer in the tunnel"),
            Seen::Done(status) => {
                plan.put(item, status.clone());
                plan
            }
            Seen::Missed(Missed::Foreign) => plan.waiting(FOREIGN),
            Seen::Missed(Missed::Silent(why)) => {
                plan.waiting(format!("an answer of the machine: {why}")).again_in(AGAIN)
            }
            Seen::Looked(found) => {
                plan.op(Op::Note(found.clone()));
                plan
            }
            Seen::Found(found, written) => {
                let told = view.get::<PendingMachineStatus>(item).map(|status| status.talos_installed);
                let status = status(found, written);
                if told == Some(found.is_installed) {
                    for op in todo(&address, has_conflict(pending), found, written) {
                        plan.op(op);
                    }
                }
                plan.put(item, status);
                plan
            }
        }
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Note(found) => self.remember(item, |known| known.found = Some(found)),
            Op::WriteUuid(Address { machine, target }) => {
                let uuid = self.rng.uuid();
                let writing = self.reception.write_uuid(&machine, &target, &uuid);
                self.write(item, writing, |written| written.has_uuid = true).await?;
            }
            Op::WriteToken(Address { machine, target }, fingerprint) => {
                let token = UniqueToken::new(fingerprint, Secret::new(self.rng.uuid()))?.encode();
                let writing = self.reception.write_token(&machine, &target, &token);
                self.write(item, writing, |written| written.token = Some(token.clone())).await?;
            }
            Op::Forget => {
                self.known.lock().remove(item);
                self.reception.part(item);
            }
        }
        Ok(())
    }
}

/// The token of a machine: the one that was written, or that it had.
fn token<'a>(found: &'a Found, written: &'a Written) -> &'a Secret<String> {
    written.token.as_ref().unwrap_or(&found.token)
}

/// What is known of a machine; without a token as long as it has none.
fn status(found: &Found, written: &Written) -> PendingMachineStatus {
    let token = token(found, written).reveal().clone();
    PendingMachineStatus { token, talos_installed: found.is_installed }
}

/// What is to be done about a machine that answered: first its UUID, then its token.
fn todo(address: &Address, has_conflict: bool, found: &Found, written: &Written) -> Vec<Op> {
    let wants_uuid = has_conflict && !written.has_uuid && !is_solved(found, &address.machine);
    let wants_token = token(found, written).reveal().is_empty();
    let uuid = wants_uuid.then(|| Op::WriteUuid(address.clone()));
    let token = wants_token.then(|| Op::WriteToken(address.clone(), fingerprint(&found.hardware_addresses)));
    uuid.into_iter().chain(token).collect()
}

/// Whether a machine has got another UUID than the one that it called with, and will call again.
fn is_solved(found: &Found, machine: &str) -> bool {
    !found.uuid.is_empty() && !found.uuid.eq_ignore_ascii_case(machine)
}

fn has_conflict(pending: &Resource<PendingMachine>) -> bool {
    pending.metadata.annotations.contains_key(annotation::UUID_CONFLICT)
}

fn address(pending: &Resource<PendingMachine>) -> Result<Address, String> {
    let address: Ipv6Addr = pending.address().map_err(|error| error.to_string())?;
    let machine = pending.metadata.labels.get(MACHINE_UUID);
    let machine = machine.ok_or("its UUID, which whoever answers its calls writes as a label")?.clone();
    let public_key = pending.node_public_key.clone();
    Ok(Address { machine, target: Target { address, public_key, cluster: None } })
}

/// Hash of the hardware addresses of a machine, hexadecimal (fleet.md 1.7); empty when it has none.
#[must_use]
pub fn fingerprint(hardware_addresses: &[String]) -> String {
    let mut sorted: Vec<String> = hardware_addresses.iter().map(|address| address.to_lowercase()).collect();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.is_empty() { String::new() } else { hex::encode(Sha256::digest(sorted.join(","))) }
}

#[cfg(test)]
mod tests;
