//! What is behind the tunnel and was called lately, so that callers of the same thing share its connections.
//!
//! ```text
//! name, way ─▶ the kept upstream, if the way to it is the same ─▶ Upstream
//!           └▶ a new one, kept
//! ```
//!
//! Bounds (fleet.md 1.10): so many at most, and none that nobody asked for lately. What is given up here goes on for
//! calls that are under way.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use corten_base::{Task, spawn};
use corten_fleet_controllers_machine::connect::Streams;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::way::{Upstream, Way};

/// How many are kept at most.
const KEPT_MAX: usize = 1024;
/// How long one is kept that nobody asks for.
const IDLE: Duration = Duration::from_secs(600);
/// Between two looks for those.
const SWEEP: Duration = Duration::from_secs(60);

struct Entry<S> {
    upstream: Arc<Upstream<S>>,
    used: Instant,
}

type Entries<S> = Mutex<HashMap<String, Entry<S>>>;

/// Kept upstreams.
pub(crate) struct Pool<S> {
    entries: Arc<Entries<S>>,
    _sweeper: Task,
}

impl<S: Streams> Pool<S> {
    /// Nothing is kept yet. Must be called inside a runtime.
    pub(crate) fn new() -> Self {
        let entries = Arc::new(Mutex::new(HashMap::new()));
        let sweeper = spawn("idle proxied connections", sweep(Arc::downgrade(&entries)));
        Self { entries, _sweeper: sweeper }
    }

    /// What has this name and is reached this way.
    pub(crate) fn get(&self, name: &str, way: Way<S>) -> Arc<Upstream<S>> {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get_mut(name)
            && entry.upstream.dial().is_same(&way)
        {
            entry.used = Instant::now();
            return Arc::clone(&entry.upstream);
        }
        if entries.len() >= KEPT_MAX && !entries.contains_key(name) {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
            }
        }
        let upstream = Arc::new(Upstream::new(way));
        let entry = Entry { upstream: Arc::clone(&upstream), used: Instant::now() };
        entries.insert(name.to_owned(), entry);
        upstream
    }
}

async fn sweep<S: Streams>(entries: Weak<Entries<S>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(entries) = entries.upgrade() else { return };
        entries.lock().retain(|_, entry| entry.used.elapsed() < IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Nowhere, way};

    #[tokio::test(start_paused = true)]
    async fn an_upstream_is_shared_until_the_machine_boots_or_the_credentials_change() {
        let pool = Pool::<Nowhere>::new();
        let first = way("boot 1");
        let one = pool.get("m1", first.clone());
        assert!(Arc::ptr_eq(&one, &pool.get("m1", first.clone())));
        let rebooted = Way { boot: "boot 2".to_owned(), ..first.clone() };
        assert!(!Arc::ptr_eq(&one, &pool.get("m1", rebooted)));
        let one = pool.get("m1", first.clone());
        let other = Way { tls: way("boot 1").tls, ..first };
        assert!(!Arc::ptr_eq(&one, &pool.get("m1", other)), "other credentials");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_given_up_and_so_is_the_oldest_of_too_many() {
        let pool = Pool::<Nowhere>::new();
        let way = way("boot 1");
        for index in 0..=KEPT_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
            pool.get(&format!("m{index}"), way.clone());
        }
        assert_eq!(pool.entries.lock().len(), KEPT_MAX);
        assert!(!pool.entries.lock().contains_key("m0"), "it was the oldest");
        tokio::time::sleep(IDLE + SWEEP).await;
        assert!(pool.entries.lock().is_empty());
    }
}
