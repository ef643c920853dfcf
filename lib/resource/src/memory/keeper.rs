//! The one writer: takes what was decided, has it kept, makes it visible, tells whoever waits.

use std::sync::Arc;
use std::time::Duration;

use super::pending::{Entry, Pending};
use super::{Inner, MemoryStore, StateOptions};
use crate::backing::Backing;
use crate::registry::Registry;
use crate::store::{Change, StateError};

/// Between two attempts while the backing refuses; whoever decided tries again by himself.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the decisions of a store for as long as [`Keeper::run`] runs.
pub struct Keeper {
    store: MemoryStore,
    backing: Arc<dyn Backing>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// A store with everything that `backing` has. Changes in namespaces of which `is_kept` is true become visible when
    /// the keeper has had them kept; the other namespaces are empty and stay in memory.
    ///
    /// # Errors
    /// When the backing cannot be read.
    ///
    /// # Panics
    /// When a registered type has an invalid name, which is an error of the program.
    pub async fn backed(
        registry: Registry,
        options: StateOptions,
        backing: Arc<dyn Backing>,
        is_kept: fn(&str) -> bool,
    ) -> Result<(Self, Keeper), StateError> {
        let mut inner = Inner { pending: Some(Pending::new(is_kept)), ..Inner::default() };
        for resource in backing.load().await? {
            let pointer = resource.pointer();
            inner.collection_mut(&pointer).items.insert(pointer.id, resource);
        }
        let store = Self::with(inner, registry, options.clock, &options.rng)?;
        Ok((store.clone(), Keeper { store, backing }))
    }
}

impl Keeper {
    /// Keeps what is decided, in batches: while one is being kept the next one gathers.
    pub async fn run(self) {
        let wake = match &self.store.0.inner.lock().pending {
            Some(pending) => pending.wake(),
            None => return,
        };
        loop {
            let batch = self.take();
            if batch.is_empty() {
                wake.notified().await;
                continue;
            }
            let changes: Vec<Change> = batch.iter().map(|entry| entry.change.clone()).collect();
            let mut results = self.backing.commit(changes).await;
            let missing = || Err(StateError::Unavailable("the store did not answer".to_owned()));
            results.resize_with(batch.len(), missing);
            if self.settle(batch, results) {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn take(&self) -> Vec<Entry> {
        self.store.0.inner.lock().pending.as_mut().map(Pending::take).unwrap_or_default()
    }

    /// Makes kept changes visible; true when the backing is out of order.
    fn settle(&self, batch: Vec<Entry>, results: Vec<Result<(), StateError>>) -> bool {
        let mut is_broken = false;
        let mut done = Vec::with_capacity(batch.len());
        let mut inner = self.store.0.inner.lock();
        for (entry, result) in batch.into_iter().zip(results) {
            let Some(pending) = inner.pending.as_mut() else { break };
            let settled = pending.settle(entry, result);
            match &settled.result {
                Ok(()) => inner.carry_out(settled.change.clone()),
                Err(error) => {
                    is_broken |= matches!(error, StateError::Unavailable(_));
                    let text = corten_base::chain(error);
                    tracing::error!(error = text, "a change could not be kept");
                    if let Some(resource) = settled.change.resource() {
                        inner.collection_mut(&resource.pointer()).tell_refused(&text);
                    }
                }
            }
            done.push(settled);
        }
        if let Some(pending) = &inner.pending {
            pending.batch_settled();
        }
        drop(inner);
        for settled in done {
            settled.tell();
        }
        is_broken
    }
}
