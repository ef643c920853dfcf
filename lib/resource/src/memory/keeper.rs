//! The one writer: takes what was decided, has it kept, makes it visible, tells whoever waits.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use super::mirror::Mirror;
use super::pending::{CLOSED, Entry, Pending};
use super::{Inner, MemoryStore, StateOptions};
use crate::backing::Backing;
use crate::metadata::Pointer;
use crate::registry::Registry;
use crate::store::{Change, ErrorKind, StateError};

/// Between two attempts while the backing refuses; whoever decided tries again by himself.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps the decisions of a store for as long as [`Keeper::run`] runs. Without its keeper a store decides nothing more.
pub struct Keeper {
    store: MemoryStore,
    backing: Arc<dyn Backing>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut inner = self.store.0.inner.lock();
        let Some(pending) = &mut inner.pending else { return };
        let left = pending.close();
        pending.batch_settled();
        drop(inner);
        for entry in left {
            entry.tell(Err(StateError::Unavailable(CLOSED.to_owned())));
        }
    }
}

impl MemoryStore {
    /// A store with everything that `backing` has. Changes in namespaces of which `is_kept` is true become visible when
    /// the keeper has had them kept; the other namespaces are empty and stay in memory. The journal of the options is not
    /// used.
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
        let pending = Some(Pending::new(is_kept));
        let mut inner = Inner { pending, backing: Some(Arc::clone(&backing)), ..Inner::default() };
        for resource in backing.load().await? {
            let pointer = resource.pointer();
            inner.collection_mut(&pointer).items.insert(pointer.id, resource);
        }
        let store = Self::with(inner, registry, options.clock, &options.rng)?;
        Ok((store.clone(), Keeper { store, backing }))
    }
}

impl Keeper {
    /// Keeps what is decided, in batches: while one is being kept the next one gathers. Stop whoever decides first, wait
    /// for [`MemoryStore::settled`], then drop this. Ends when the backing is of no use any more.
    pub async fn run(self) {
        let tending = self.backing.tend(Mirror::of(&self.store));
        tokio::select! {
            () = self.keep() => {}
            () = tending => tracing::error!("what keeps the resources has ended; the store closes"),
        }
    }

    async fn keep(&self) {
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
            let broken = || Err(StateError::Unavailable("the store did not answer".to_owned()));
            let kept = AssertUnwindSafe(self.backing.commit(changes)).catch_unwind().await;
            let mut results = kept.unwrap_or_default();
            results.resize_with(batch.len(), broken);
            if self.settle(batch, results) {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    fn take(&self) -> Vec<Entry> {
        self.store.0.inner.lock().pending.as_mut().map(Pending::take).unwrap_or_default()
    }

    /// Makes kept changes visible and forgets the others; true when the backing is out of order.
    fn settle(&self, batch: Vec<Entry>, results: Vec<Result<(), StateError>>) -> bool {
        let mut refused = BTreeSet::new();
        let mut done = Vec::with_capacity(batch.len());
        let mut inner = self.store.0.inner.lock();
        for (entry, result) in batch.into_iter().zip(results) {
            match (&result, entry.change.resource().map(crate::AnyResource::pointer)) {
                (Ok(()), _) => {
                    if let Some(pending) = inner.pending.as_mut() {
                        pending.kept(&entry);
                    }
                    // What is at a shared place was shown already, in its turn.
                    if !self.backing.is_shared() {
                        inner.carry_out(entry.change.clone());
                    }
                }
                (Err(_), Some(pointer)) => drop(refused.insert(pointer)),
                (Err(_), None) => {}
            }
            done.push((entry, result));
        }
        let error = done.iter().find_map(|(_, result)| result.as_ref().err().cloned());
        if let Some(error) = &error {
            let later = inner.pending.as_mut().map(|pending| pending.refuse(&refused)).unwrap_or_default();
            done.extend(later.into_iter().map(|entry| (entry, Err(error.clone()))));
            tell_refused(&mut inner, &refused, &done, error);
        }
        if let Some(pending) = &inner.pending {
            pending.batch_settled();
        }
        drop(inner);
        for (entry, result) in done {
            entry.tell(result);
        }
        matches!(error, Some(StateError::Unavailable(_)))
    }
}

/// Has those look again who decided what was refused, or relied on it.
fn tell_refused(
    inner: &mut Inner,
    refused: &BTreeSet<Pointer>,
    done: &[(Entry, Result<(), StateError>)],
    error: &StateError,
) {
    let (count, first) = (refused.len(), refused.first().map(|pointer| pointer.kind.as_str()));
    let error_text = corten_base::chain(error);
    if error.kind() == ErrorKind::Unavailable {
        tracing::error!(count, first, error = error_text, "changes could not be kept");
    } else {
        // Another program was faster, or one change alone cannot be written.
        tracing::info!(count, first, error = error_text, "changes were refused where resources are kept");
    }
    for (entry, _) in done.iter().filter(|(_, result)| result.is_err()) {
        if let Some(resource) = entry.change.resource() {
            inner.collection_mut(&resource.pointer()).tell_refused(&entry.change);
        }
    }
}
