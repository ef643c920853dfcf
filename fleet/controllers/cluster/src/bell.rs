//! Wakes controllers for a cluster when something outside of the store changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use corten_resource::{Registry, Resource, State};

/// Owner of the observations.
const OWNER: &str = "ClusterWatches";

/// Something new was seen of a cluster, by its name. It carries no content: it wakes the controllers that look.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ClusterObservations.corten.dev", namespace = "ephemeral", internal)]
pub struct ClusterObservation {
    /// Differs each time.
    #[field(1, "revision")]
    pub revision: u64,
}

/// Registers the type by which watches wake controllers; the state of the manager must know it.
pub fn types(registry: &mut Registry) {
    registry.register::<ClusterObservation>();
}

/// Wakes controllers. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Bell {
    state: State,
    rung: Arc<AtomicU64>,
}

impl Bell {
    /// A bell of a state that knows the type of [`types`].
    pub(crate) fn new(state: State) -> Self {
        Self { state, rung: Arc::default() }
    }

    /// Has the controllers look at a cluster.
    pub(crate) fn ring(&self, cluster: &str) {
        let revision = self.rung.fetch_add(1, Ordering::Relaxed) + 1;
        if let Err(error) = self.state.put(OWNER, cluster, ClusterObservation { revision }) {
            tracing::warn!(cluster, error = corten_base::chain(&error), "the controllers cannot be woken");
        }
    }

    /// Forgets a cluster.
    pub(crate) fn forget(&self, cluster: &str) {
        // Nobody holds it; what is left of it in spite of that is put again with the next sight of the cluster.
        let _ = self.state.remove::<ClusterObservation>(OWNER, cluster);
    }
}
