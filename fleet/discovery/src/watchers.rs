//! Who watches which cluster: a bounded buffer for each, filled without waiting.
//!
//! ```text
//! Notice ─▶ notify ─▶ buffer of each watcher of the cluster ─▶ Subscription: snapshot, change, change, …
//!                          │ full                                                         │
//!                          └─▶ the watcher is dropped ──────────▶ what is buffered, then LostUpdate
//! ```
//!
//! Invariant: a slow reader never holds anybody back. A dropped subscription ends by itself: its place is free with the
//! next notice or subscription of its cluster, or the next [`Watchers::prune`].

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::registry::{AFFILIATES_MAX, Affiliate, CLUSTER_AFFILIATES_MAX, Change, Notice};

/// Changes that a watcher may be behind (fleet.md 12).
pub const BUFFER: usize = 32;
/// Most watchers of a cluster: every member may come again before its lost connection is noticed.
pub const CLUSTER_WATCHERS_MAX: usize = 2 * CLUSTER_AFFILIATES_MAX;
/// Most watchers of all clusters.
pub const WATCHERS_MAX: usize = 2 * AFFILIATES_MAX;

/// The watcher was too slow, and changes were not kept for it; it must watch again. The text is the public service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lost update")]
pub struct LostUpdate;

/// There is no room for another watcher.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cluster `{cluster}` cannot be watched: there are {count} watches already; end one first")]
pub struct TooManyWatchers {
    /// Id of the cluster.
    pub cluster: String,
    /// How many there are, of this cluster or of all.
    pub count: usize,
}

/// The watchers of all clusters.
#[derive(Debug, Default)]
pub struct Watchers {
    clusters: BTreeMap<String, Vec<Watcher>>,
}

type Watcher = mpsc::Sender<Arc<Change>>;

/// What one watcher reads.
#[derive(Debug)]
pub struct Subscription {
    /// Until it was read.
    snapshot: Option<Vec<Affiliate>>,
    changes: mpsc::Receiver<Arc<Change>>,
}

impl Watchers {
    /// Adds a watcher of a cluster, which begins with `snapshot`. No change of the cluster may come between the
    /// snapshot and this call.
    ///
    /// # Errors
    /// [`TooManyWatchers`] when the cluster, or all of them together, have as many as they may.
    pub fn subscribe(
        &mut self,
        cluster: &str,
        snapshot: Vec<Affiliate>,
    ) -> Result<Subscription, TooManyWatchers> {
        let too_many = |count| TooManyWatchers { cluster: cluster.to_owned(), count };
        if self.count() >= WATCHERS_MAX {
            self.prune();
        }
        let count = self.count();
        if count >= WATCHERS_MAX {
            return Err(too_many(count));
        }
        let watchers = self.clusters.entry(cluster.to_owned()).or_default();
        watchers.retain(|watcher| !watcher.is_closed());
        if watchers.len() >= CLUSTER_WATCHERS_MAX {
            return Err(too_many(watchers.len()));
        }
        let (watcher, changes) = mpsc::channel(BUFFER);
        watchers.push(watcher);
        Ok(Subscription { snapshot: Some(snapshot), changes })
    }

    /// Tells the watchers of a cluster; those that are gone or too slow are dropped.
    pub fn notify(&mut self, notice: Notice) {
        let Some(watchers) = self.clusters.get_mut(&notice.cluster) else { return };
        let change = Arc::new(notice.change);
        watchers.retain(|watcher| watcher.try_send(Arc::clone(&change)).is_ok());
        if watchers.is_empty() {
            self.clusters.remove(&notice.cluster);
        }
    }

    /// Forgets the watchers that are gone.
    pub fn prune(&mut self) {
        self.clusters.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.is_closed());
            !watchers.is_empty()
        });
    }

    /// How many there are, with those that are gone and not yet forgotten.
    fn count(&self) -> usize {
        self.clusters.values().map(Vec::len).sum()
    }
}

impl Subscription {
    /// The next change, waiting for it; the first one is the snapshot, as an update. Cancel safe.
    ///
    /// # Errors
    /// [`LostUpdate`] when changes were lost; it is the end.
    pub async fn next(&mut self) -> Result<Arc<Change>, LostUpdate> {
        if let Some(snapshot) = self.snapshot.take() {
            return Ok(Arc::new(Change::Updated(snapshot)));
        }
        self.changes.recv().await.ok_or(LostUpdate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(cluster: &str, id: &str) -> Notice {
        Notice { cluster: cluster.to_owned(), change: Change::Deleted(vec![id.to_owned()]) }
    }

    #[tokio::test]
    async fn a_watcher_reads_the_snapshot_and_then_the_changes_of_its_cluster() {
        let mut watchers = Watchers::default();
        let member = Affiliate { id: "m".to_owned(), data: vec![1], endpoints: Vec::new() };
        let mut subscription = watchers.subscribe("a", vec![member.clone()]).unwrap();
        watchers.notify(deleted("b", "other"));
        watchers.notify(deleted("a", "m"));
        assert_eq!(*subscription.next().await.unwrap(), Change::Updated(vec![member]));
        assert_eq!(*subscription.next().await.unwrap(), Change::Deleted(vec!["m".to_owned()]));
        assert_eq!(subscription.changes.len(), 0);
    }

    #[tokio::test]
    async fn a_slow_watcher_loses_updates_and_is_told_while_others_read_on() {
        let mut watchers = Watchers::default();
        let mut slow = watchers.subscribe("a", Vec::new()).unwrap();
        let mut quick = watchers.subscribe("a", Vec::new()).unwrap();
        assert_eq!(*quick.next().await.unwrap(), Change::Updated(Vec::new()));
        for number in 0..=BUFFER {
            watchers.notify(deleted("a", &number.to_string()));
            assert_eq!(*quick.next().await.unwrap(), Change::Deleted(vec![number.to_string()]));
        }
        assert_eq!(watchers.count(), 1);
        for _ in 0..=BUFFER {
            slow.next().await.expect("the snapshot and what was buffered");
        }
        assert_eq!(slow.next().await, Err(LostUpdate));
        assert_eq!(LostUpdate.to_string(), "lost update");
    }

    #[test]
    fn a_dropped_subscription_ends_with_the_next_notice_subscription_or_pruning() {
        let mut watchers = Watchers::default();
        let kept = watchers.subscribe("a", Vec::new()).unwrap();
        drop(watchers.subscribe("a", Vec::new()));
        watchers.notify(deleted("a", "m"));
        assert_eq!(watchers.count(), 1);
        drop(kept);
        let kept = watchers.subscribe("a", Vec::new()).unwrap();
        assert_eq!(watchers.count(), 1);
        drop(kept);
        watchers.prune();
        assert!(watchers.clusters.is_empty());
    }

    #[test]
    fn a_cluster_has_a_bounded_number_of_watchers() {
        let mut watchers = Watchers::default();
        let mut kept: Vec<_> =
            (0..CLUSTER_WATCHERS_MAX).map(|_| watchers.subscribe("a", Vec::new()).unwrap()).collect();
        let refused = watchers.subscribe("a", Vec::new()).expect_err("one too many");
        assert_eq!(refused, TooManyWatchers { cluster: "a".to_owned(), count: CLUSTER_WATCHERS_MAX });
        kept.pop();
        watchers.subscribe("a", Vec::new()).expect("there is a place again");
        watchers.subscribe("b", Vec::new()).expect("another cluster has its own places");
    }
}
