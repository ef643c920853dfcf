//! What those who are asked for help need to know of a cluster, in one archive without secrets, and how full clusters
//! are.
//!
//! ```text
//! management.GetSupportBundle ─▶ Support ─▶ Fleet's resources │ each machine │ Kubernetes   (so many at a time)
//!                                                └──────────────────┴─events──────┴▶ redacted, compressed ─▶ archive
//!                                                                             └▶ progress, manifest
//! KubernetesUsage ─▶ Usages ─▶ nodes and pods
//! ```
//!
//! Invariants:
//! 1. Nothing gets into an archive that did not pass [`corten_bundle::Known::redact`], and types that hold secrets are not read.
//! 2. Every part, the whole, the time for it, the machines that are asked at a time and the bundles that are collected
//!    at a time are bounded.
//! 3. What cannot be had costs a line in the manifest, and not the bundle. A bundle ends with its client.

mod collect;
mod kubernetes;
mod machine;
mod reach;
mod report;
mod resources;
mod secrets;
mod usage;

use std::sync::Arc;

use corten_api::management::GetSupportBundleResponse;
use corten_base::{Clock, Lane, spawn};
use corten_fleet_api::management::{Answering, MachineLogs, Messages, SupportBundles};
use corten_resource::State;
use futures::stream;
use tokio::sync::{Semaphore, mpsc};
use tonic::Status;

pub use reach::{Connections, Reach};
pub use usage::Usages;

use collect::Collection;

/// Bundles that are collected at a time; each has all of its bytes in memory.
const BUNDLES_MAX: usize = 2;
/// Threads that search, redact and compress at a time.
const LANE_WIDTH: usize = 2;
/// Messages that wait for the client.
const MESSAGES_MAX: usize = 16;

/// Collects bundles.
pub struct Support {
    /// What they are about.
    state: State,
    /// What machines have sent.
    logs: Arc<dyn MachineLogs>,
    /// Ways to machines and clusters.
    reach: Arc<dyn Reach>,
    /// Says when a bundle was collected.
    clock: Clock,
    lane: Lane,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Support {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Support").field("free", &self.places.available_permits()).finish_non_exhaustive()
    }
}

impl Support {
    /// Over a store, logs and ways to machines.
    #[must_use]
    pub fn new(state: State, logs: Arc<dyn MachineLogs>, reach: Arc<dyn Reach>, clock: Clock) -> Self {
        let places = Arc::new(Semaphore::new(BUNDLES_MAX));
        Self { state, logs, reach, clock, lane: Lane::new(LANE_WIDTH), places }
    }

    /// Begins to collect; it ends when the messages are dropped.
    fn begin(&self, cluster: &str) -> Result<Messages<GetSupportBundleResponse>, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let text = format!("{BUNDLES_MAX} support bundles are collected already; try again later");
            Status::resource_exhausted(text)
        })?;
        let (messages, received) = mpsc::channel(MESSAGES_MAX);
        let collection = Collection {
            cluster: cluster.to_owned(),
            state: self.state.clone(),
            logs: Arc::clone(&self.logs),
            reach: Arc::clone(&self.reach),
            clock: self.clock.clone(),
            lane: self.lane.clone(),
        };
        let task = spawn("support bundle", async move {
            collection.run(messages).await;
            drop(place);
        });
        Ok(Box::pin(stream::unfold((received, task), |(mut received, task)| async move {
            let message = received.recv().await?;
            Some((message, (received, task)))
        })))
    }
}

impl SupportBundles for Support {
    fn collect<'a>(&'a self, cluster: &'a str) -> Answering<'a, Messages<GetSupportBundleResponse>> {
        Box::pin(std::future::ready(self.begin(cluster)))
    }
}

#[cfg(test)]
mod tests;
