//! One candidate in the election of who has a shared address.
//!
//! ```text
//! waiting ──▶ elected ──▶ lost, or given up ──▶ waiting …
//! ```
//! The order of candidates in etcd is the one that machines with Talos keep, so that both can share an address.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, Rng};
use corten_etcd::{Client, Config, Identity, Lock};
use tokio::sync::{Notify, watch};

/// Port of etcd's clients.
const ETCD_PORT: u16 = 2379;
/// An election that is not renewed ends after this long.
const LIFE: Duration = Duration::from_secs(15);
/// It counts as lost here this long before others can win it: the address must be gone by then.
const NOTICE: Duration = Duration::from_secs(5);
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// How a candidate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Another one has the address.
    Waiting,
    /// It is ours.
    Elected,
    /// The election cannot be held, for this reason; it is tried again.
    Failed(String),
}

/// Elections. Held by etcd, and by a fake for tests.
pub trait Elections: Clone + Send + Sync + 'static {
    /// What the winner has.
    type Office: Office;

    /// Waits until this machine wins the election.
    ///
    /// # Errors
    /// When it cannot be held.
    fn win(
        &self,
        election: &str,
        identity: &Identity,
    ) -> impl Future<Output = anyhow::Result<Self::Office>> + Send;
}

/// An election that was won.
pub trait Office: Send + Sync {
    /// Returns when it is no longer ours.
    fn lost(&self) -> impl Future<Output = ()> + Send;

    /// Lets the next one have it.
    fn give_up(self) -> impl Future<Output = ()> + Send;
}

/// The etcd member on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Etcd;

impl Elections for Etcd {
    type Office = Lock;

    async fn win(&self, election: &str, identity: &Identity) -> anyhow::Result<Lock> {
        let endpoints = vec![format!("https://{}:{ETCD_PORT}", Ipv4Addr::LOCALHOST)];
        let client = Client::new(&Config { endpoints, identity: identity.clone() })?;
        Ok(client.lock_with_notice(election, LIFE, NOTICE).await?)
    }
}

impl Office for Lock {
    async fn lost(&self) {
        Self::lost(self).await;
    }

    async fn give_up(self) {
        // Who does not hear of it waits until the election ends by itself.
        if let Err(error) = self.release().await {
            tracing::debug!(error = %corten_base::chain(&error), "the election was not given up");
        }
    }
}

/// A machine that stands for an address.
pub struct Candidacy {
    /// The address.
    pub ip: IpAddr,
    /// Who this machine is to etcd.
    pub identity: Identity,
    /// Told of every turn.
    pub standing: watch::Sender<Standing>,
    /// Notified of every turn.
    pub changed: Arc<Notify>,
    /// Randomness.
    pub rng: Rng,
}

impl Candidacy {
    fn tell(&self, standing: Standing) {
        if self.standing.send_if_modified(|known| std::mem::replace(known, standing.clone()) != standing) {
            self.changed.notify_one();
        }
    }
}

/// Stands for an address until the sender of `leave` is gone, and gives the election up then.
pub async fn stand<E: Elections>(elections: E, candidacy: Candidacy, mut leave: watch::Receiver<()>) {
    let election = format!("talos:v1:vip:election:{}", candidacy.ip);
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let left = async move { while leave.changed().await.is_ok() {} };
    tokio::pin!(left);
    loop {
        let won = tokio::select! {
            () = &mut left => return,
            won = elections.win(&election, &candidacy.identity) => won,
        };
        match won {
            Ok(office) => {
                backoff.reset();
                candidacy.tell(Standing::Elected);
                let is_left = tokio::select! { () = &mut left => true, () = office.lost() => false };
                candidacy.tell(Standing::Waiting);
                if is_left {
                    return office.give_up().await;
                }
            }
            Err(error) => {
                candidacy.tell(Standing::Failed(format!("{error:#}")));
                let pause = tokio::time::sleep(backoff.next_delay(&candidacy.rng));
                tokio::select! { () = &mut left => return, () = pause => {} }
            }
        }
    }
}
