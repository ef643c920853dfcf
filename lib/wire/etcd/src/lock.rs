//! A lock that one program in the cluster holds, for as long as its lease is renewed.
//!
//! Every candidate puts a key below the lock's name; the one made first holds the lock, the next waits for the
//! key just before its own to go. This is the order that etcd's own clients keep, so both respect each other.

use std::time::Duration;

use corten_base::Task;
use futures::stream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::{Client, request};
use crate::error::Error;
use crate::keys::Txn;
use crate::watch::Change;
use crate::wire::etcdserverpb as wire;
use wire::lease_client::LeaseClient;

/// More waiting candidates than a cluster has machines.
const CANDIDATES: u32 = 10_000;

/// A held lock. Dropping it stops the renewal, so that it ends within its time to live; [`Lock::release`] is
/// faster.
#[derive(Debug)]
pub struct Lock {
    client: Client,
    name: String,
    key: Vec<u8>,
    lease: i64,
    lost: watch::Receiver<bool>,
    _renewal: Task,
}

impl Client {
    /// Waits until this program holds the lock `name`. Should this machine die, it ends after `ttl`.
    ///
    /// # Errors
    /// When no quorum answers, or the lease ends while waiting.
    pub async fn lock(&self, name: &str, ttl: Duration) -> Result<Lock, Error> {
        self.lock_with_notice(name, ttl, Duration::ZERO).await
    }

    /// As [`Client::lock`], and the lock counts as lost here `notice` before anybody else can have it: what it protects
    /// has this long to stop. At least half of `ttl` remains.
    ///
    /// # Errors
    /// When no quorum answers, or the lease ends while waiting.
    pub async fn lock_with_notice(&self, name: &str, ttl: Duration, notice: Duration) -> Result<Lock, Error> {
        let ttl = Duration::from_secs(ttl.as_secs().clamp(2, 86_400));
        let life = ttl - notice.min(ttl / 2);
        let lease = self.grant(ttl).await?;
        let (sender, lost) = watch::channel(false);
        let renewal = corten_base::spawn("etcd lease", renew(self.clone(), lease, life, sender));
        let key = format!("{name}/{lease:x}").into_bytes();
        let lock = Lock {
            client: self.clone(),
            name: name.to_owned(),
            key,
            lease,
            lost: lost.clone(),
            _renewal: renewal,
        };
        let waited = tokio::select! {
            waited = lock.wait_for_turn() => waited,
            () = lock.lost() => Err(Error::LockLost(name.to_owned())),
        };
        match waited {
            Ok(()) => Ok(lock),
            Err(error) => {
                // The lease ends by itself when it cannot be taken back now.
                let _ = self.revoke(lease).await;
                Err(error)
            }
        }
    }

    async fn grant(&self, ttl: Duration) -> Result<i64, Error> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let message = wire::LeaseGrantRequest { ttl: seconds, id: 0 };
        let answer = LeaseClient::new(self.channel.clone()).lease_grant(request(message)).await;
        let answer = answer.map_err(Error::call("grant a lease"))?.into_inner();
        if answer.error.is_empty() { Ok(answer.id) } else { Err(Error::Answer(answer.error)) }
    }

    /// Whether the lease still lived and has been renewed.
    async fn renew_once(&self, lease: i64) -> Result<bool, Error> {
        let message = stream::iter([wire::LeaseKeepAliveRequest { id: lease }]);
        let failed = || Error::call("renew a lease");
        let answer =
            LeaseClient::new(self.channel.clone()).lease_keep_alive(message).await.map_err(failed())?;
        Ok(answer.into_inner().message().await.map_err(failed())?.is_some_and(|it| it.ttl > 0))
    }

    async fn revoke(&self, lease: i64) -> Result<(), Error> {
        let message = wire::LeaseRevokeRequest { id: lease };
        let answer = LeaseClient::new(self.channel.clone()).lease_revoke(request(message)).await;
        match answer.map(drop).map_err(Error::call("revoke a lease")) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }
}

impl Lock {
    /// Returns when the lock is no longer held. What it protected must stop then.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // An error means that the renewal has ended, which is the same.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Whether it is still held, as far as is known here.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !*self.lost.borrow() && self.lost.has_changed().is_ok()
    }

    /// A condition for transactions that must not happen after the lock was lost.
    ///
    /// # Errors
    /// When it is lost already, or no quorum answers.
    pub async fn guard(&self, txn: Txn) -> Result<Txn, Error> {
        match self.client.get(self.key.clone()).await? {
            Some(pair) => Ok(txn.if_created_at(self.key.clone(), pair.created)),
            None => Err(Error::LockLost(self.name.clone())),
        }
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// When no quorum answers; it ends by itself then.
    pub async fn release(self) -> Result<(), Error> {
        self.client.revoke(self.lease).await
    }

    async fn wait_for_turn(&self) -> Result<(), Error> {
        let put = Txn::new().if_absent(self.key.clone()).put(self.key.clone(), "", self.lease);
        self.client.commit(put).await?;
        let prefix = format!("{}/", self.name).into_bytes();
        loop {
            let (mut candidates, revision) = self.client.list(&prefix, CANDIDATES).await?;
            candidates.sort_by_key(|it| it.created);
            let place = candidates.iter().position(|it| it.key == self.key);
            match place {
                None => return Err(Error::LockLost(self.name.clone())),
                Some(0) => return Ok(()),
                Some(place) => self.wait_for_end(&candidates[place - 1].key, revision + 1).await?,
            }
        }
    }

    async fn wait_for_end(&self, key: &[u8], revision: i64) -> Result<(), Error> {
        let mut watch = self.client.watch(key, revision).await?;
        while let Some(changes) = watch.next().await? {
            if changes.iter().any(|it| matches!(it, Change::Deleted(pair) if pair.key == key)) {
                break;
            }
        }
        Ok(())
    }
}

/// Renews three times within a life of the lease; ends, and says so, when the lease is gone or has not been renewed for
/// a whole one.
async fn renew(client: Client, lease: i64, life: Duration, lost: watch::Sender<bool>) {
    let mut alive_until = Instant::now() + life;
    let mut pause = life / 3;
    loop {
        tokio::time::sleep_until(alive_until.min(Instant::now() + pause)).await;
        let asked = Instant::now();
        match tokio::time::timeout_at(alive_until, client.renew_once(lease)).await {
            Ok(Ok(true)) => (alive_until, pause) = (asked + life, life / 3),
            Ok(Err(error)) if Instant::now() < alive_until => {
                tracing::debug!(error = %corten_base::chain(&error), "the lease was not renewed this time");
                pause = life / 10;
            }
            Ok(_) | Err(_) => break,
        }
    }
    lost.send_replace(true);
}
