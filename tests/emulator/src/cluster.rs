//! The clusters that the machines of a process form: an etcd and a Kubernetes each, in memory, shared by all members.
//!
//! ```text
//! cluster.id of a configuration ─▶ Cluster ─┬─ Etcd: members, leader, quorum
//!      the same for all its machines        └─ Nodes: what the Kubernetes API shows
//! ```
//!
//! What machines of other processes would contribute is not there: a cluster lives in one process.

pub mod etcd;
pub mod nodes;

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use etcd::Etcd;
use nodes::Nodes;

/// Every cluster by its id.
#[derive(Debug, Default)]
pub struct Clusters(Mutex<HashMap<String, Arc<Cluster>>>);

impl Clusters {
    /// The cluster with this id; it begins with the first machine that asks.
    #[must_use]
    pub fn get(&self, id: &str) -> Arc<Cluster> {
        Arc::clone(self.0.lock().entry(id.to_owned()).or_default())
    }
}

/// What is in a cluster.
#[derive(Debug, Default)]
pub struct Members {
    /// etcd.
    pub etcd: Etcd,
    /// Kubernetes.
    pub nodes: Nodes,
}

/// A cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    members: Mutex<Members>,
    changes: watch::Sender<u64>,
}

impl Cluster {
    /// Looks at what is in it.
    pub fn read<T>(&self, look: impl FnOnce(&Members) -> T) -> T {
        look(&self.members.lock())
    }

    /// Changes what is in it, and tells those who wait for changes.
    pub fn change<T>(&self, act: impl FnOnce(&mut Members) -> T) -> T {
        let result = act(&mut self.members.lock());
        self.changes.send_modify(|count| *count += 1);
        result
    }

    /// Tells of each change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether the Kubernetes API answers on its control planes.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.read(|members| members.etcd.has_quorum())
    }
}
