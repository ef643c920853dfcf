//! One manager at a time opens the store for the first time or brings it forward, and one at a time leads.
//!
//! ```text
//! lock "start":  open ─▶ head, keys, first administrator ─▶ Starting::done
//! lock "leader": Candidate::lead ─▶ Lead ─(not renewed for most of its time)─▶ lost: stop, before another begins
//! ```

use std::time::Duration;

use corten_base::{Backoff, Rng, chain};
use corten_etcd::{Client, Error, Lock};
use tokio::time::{Instant, timeout_at};

use super::keys::Keys;

/// How long a lock lives on after its holder was cut off or killed.
const TTL: Duration = Duration::from_secs(15);
/// How long before that a leader knows that it is none any more, to stop.
pub const NOTICE: Duration = Duration::from_secs(5);
/// How long etcd may be out of reach when a manager starts.
const REACH_MAX: Duration = Duration::from_secs(30);
/// How long another manager may take to start first.
const TURN_MAX: Duration = Duration::from_secs(120);
/// Between the first two attempts to get a lock.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Between attempts that have failed often.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// The right to make what every store has once. It ends by itself when its holder does.
#[derive(Debug)]
#[must_use = "others wait until it is done"]
pub struct Starting(Lock);

impl Starting {
    /// Waits for the turn of this manager.
    ///
    /// # Errors
    /// When etcd stays out of reach, or another manager does not come to an end.
    pub(super) async fn wait(client: &Client, keys: &Keys, rng: &Rng) -> Result<Self, Error> {
        let (name, began) = (keys.lock("start"), Instant::now());
        let mut waits = Backoff::new(RETRY_FIRST, RETRY_MAX);
        loop {
            match timeout_at(began + TURN_MAX, client.lock(&name, TTL)).await {
                Ok(Ok(lock)) => return Ok(Self(lock)),
                Ok(Err(error)) if began.elapsed() < REACH_MAX => {
                    tracing::info!(error = chain(&error), "waiting for etcd");
                    tokio::time::sleep(waits.next_delay(rng)).await;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let text = format!("another manager has been starting for {} s", TURN_MAX.as_secs());
                    return Err(Error::Answer(text));
                }
            }
        }
    }

    /// Lets the next manager start.
    pub async fn done(self) {
        if let Err(error) = self.0.release().await {
            tracing::debug!(error = chain(&error), "the next manager starts a little later");
        }
    }
}

/// A manager that would lead.
#[derive(Clone, Debug)]
pub struct Candidate {
    client: Client,
    name: String,
    rng: Rng,
}

impl Candidate {
    pub(super) fn new(client: Client, keys: &Keys, rng: &Rng) -> Self {
        Self { client, name: keys.lock("leader"), rng: rng.clone() }
    }

    /// Waits until this manager leads, however long that takes.
    pub async fn lead(&self) -> Lead {
        let mut client = self.client.clone();
        let mut waits = Backoff::new(RETRY_FIRST, RETRY_MAX);
        loop {
            match client.lock_with_notice(&self.name, TTL, NOTICE).await {
                Ok(lock) => return Lead(lock),
                Err(error) => tracing::info!(error = chain(&error), "no candidate for the lead now"),
            }
            tokio::time::sleep(waits.next_delay(&self.rng)).await;
            // The member that was asked may be cut off from the others.
            client = client.redialled().unwrap_or(client);
        }
    }
}

/// The lead. It ends by itself when its holder does.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Lead(Lock);

impl Lead {
    /// Returns when this manager must not lead any more; another one begins no earlier than [`NOTICE`] after that.
    pub async fn lost(&self) {
        self.0.lost().await;
    }

    /// Lets another manager lead at once.
    pub async fn release(self) {
        if let Err(error) = self.0.release().await {
            tracing::debug!(error = chain(&error), "the next manager leads a little later");
        }
    }
}
