//! One discovery service, followed for as long as the task lives.
//!
//! ```text
//! Hello, Watch ─▶ all members ─▶ changes …          what is told ─▶ Seen ─▶ the controller
//!       │         ours: at once, when it changes, and before it is forgotten ─▶ AffiliateUpdate
//!       └──────── broken off: again, later and later; members that are known stay
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use corten_api::sidero::discovery::server::{AffiliateUpdateRequest, WatchResponse};
use corten_base::{Backoff, Rng};
use corten_resources::cluster::Affiliate;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::affiliate;
use crate::connect::Place;
use crate::seal::Key;
use crate::service::{Service, Session};

/// How long a service keeps what it was told (node.md 7.6).
pub const TTL: Duration = Duration::from_secs(30 * 60);
/// Members that are kept of a service; services keep as many.
pub const MEMBERS_MAX: usize = 1024;
/// Time to connect, greet and begin to watch.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for an update.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after the first failure, and the longest one.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// A session that lasted so long was a good one: the next failure is a first one.
const SETTLED: Duration = Duration::from_secs(60);
/// Characters of a failure that are shown; much of it may be a stranger's text.
const TROUBLE_CHARS_MAX: usize = 256;

/// Which service is followed, for which cluster, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub place: Place,
    /// The cluster.
    pub cluster_id: String,
    /// Its secret.
    pub key: Key,
    /// This machine.
    pub node_id: String,
}

/// What a service has told.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The other members, by id.
    pub members: BTreeMap<String, Affiliate>,
    /// Why nothing new is told now; nothing while the service is followed.
    pub trouble: Option<String>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { members: BTreeMap::new(), trouble: Some("it has not answered yet".to_owned()) }
    }
}

/// What a session has seen, for whoever is to look.
#[derive(Clone, Debug, Default)]
pub struct Report {
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

impl Report {
    /// Nothing is seen yet; `changed` is told of news.
    pub fn new(changed: Arc<Notify>) -> Self {
        Self { seen: Arc::default(), changed }
    }

    /// What is seen now.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    fn change(&self, act: impl FnOnce(&mut Seen)) {
        let mut seen = self.seen.lock();
        let before = seen.clone();
        act(&mut seen);
        let is_news = *seen != before;
        drop(seen);
        if is_news {
            self.changed.notify_one();
        }
    }
}

/// Follows a service until the task is dropped; `own` is what this machine tells.
pub async fn run<S: Service>(
    service: S,
    target: Target,
    mut own: watch::Receiver<Option<Affiliate>>,
    report: Report,
    rng: Rng,
) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let begun = Instant::now();
        let Err(error) = follow(&service, &target, &mut own, &report, &rng).await;
        if begun.elapsed() >= SETTLED {
            backoff.reset();
        }
        let trouble: String = format!("{error:#}").chars().take(TROUBLE_CHARS_MAX).collect();
        // Told once for each time that it is away, not with every attempt.
        if backoff.attempts() == 0 {
            let service = &target.place;
            tracing::warn!(%service, trouble, "a discovery service is away; known members stay");
        }
        report.change(|seen| seen.trouble = Some(trouble));
        sleep(backoff.next_delay(&rng)).await;
    }
}

/// Follows a service over one connection; it ends with why it could not go on.
async fn follow<S: Service>(
    service: &S,
    target: &Target,
    own: &mut watch::Receiver<Option<Affiliate>>,
    report: &Report,
    rng: &Rng,
) -> anyhow::Result<Infallible> {
    let opening = timeout(OPEN_TIMEOUT, service.open(&target.place, &target.cluster_id)).await;
    let mut session = opening.with_context(|| format!("it did not answer within {OPEN_TIMEOUT:?}"))??;
    let mut refresh = interval(TTL / 2);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_first = true;
    loop {
        tokio::select! {
            // A message is taken whole or not at all.
            told = session.next() => {
                let told = told?;
                report.change(|seen| {
                    if is_first {
                        seen.members.clear();
                        seen.trouble = None;
                    }
                    take(target, &mut seen.members, told);
                });
                is_first = false;
            }
            // Ticks at once, and then before the service forgets.
            _ = refresh.tick() => tell(&mut session, target, own, rng).await?,
            // Stays marked until it is told.
            changed = own.changed() => {
                changed.context("the machine does not want it any more")?;
                tell(&mut session, target, own, rng).await?;
                refresh.reset();
            }
        }
    }
}

/// Tells about this machine, as soon as there is something to tell.
async fn tell<S: Session>(
    session: &mut S,
    target: &Target,
    own: &mut watch::Receiver<Option<Affiliate>>,
    rng: &Rng,
) -> anyhow::Result<()> {
    let Some(own) = own.borrow_and_update().clone() else { return Ok(()) };
    let data = target.key.seal(affiliate::describe(&own), rng).context("this machine cannot be sealed")?;
    let seconds = i64::try_from(TTL.as_secs()).unwrap_or(i64::MAX);
    let request = AffiliateUpdateRequest {
        cluster_id: target.cluster_id.clone(),
        affiliate_id: target.node_id.clone(),
        affiliate_data: Some(data),
        affiliate_endpoints: Vec::new(),
        ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    let told = timeout(UPDATE_TIMEOUT, session.update(request)).await;
    told.with_context(|| format!("it did not take what we tell within {UPDATE_TIMEOUT:?}"))?
}

/// Takes in what a service tells of the other members. Whoever knows the id of the cluster can write there: what cannot
/// be read changes nothing.
fn take(target: &Target, members: &mut BTreeMap<String, Affiliate>, told: WatchResponse) {
    for held in told.affiliates {
        if held.id == target.node_id {
            continue;
        }
        if told.deleted {
            members.remove(&held.id);
            continue;
        }
        match affiliate::read(&target.key, &held) {
            Ok(member) if members.len() < MEMBERS_MAX || members.contains_key(&held.id) => {
                members.insert(held.id, member);
            }
            Ok(_) => tracing::debug!(id = held.id, "a member is one too many"),
            Err(error) => tracing::debug!(id = held.id, %error, "a member cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests;
