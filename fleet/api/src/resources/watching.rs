//! A watch as its caller may see it: decided anew with each batch of events, because rights may have gone meanwhile.
//!
//! ```text
//! events of the store ─▶ Directory: the caller now ─▶ decide ─┬─▶ events that are in reach
//!                                                             └─▶ Errored, the end
//! ```

use std::sync::Arc;

use corten_fleet_auth::{Decision, Operation, Verb};
use corten_resource::{AnyResource, Change, Event, LabelTerm, Pointer, Watch};
use futures::stream;

use super::{Access, Reach, Resources};
use crate::caller::Caller;

/// What ends a watch.
const WITHDRAWN: &str = "the caller's rights were withdrawn, or its key has ended; log in and watch again";

/// A watch with what decides about it.
pub(super) struct Watching {
    watch: Watch,
    shared: Arc<Resources>,
    caller: Arc<Caller>,
    at: Pointer,
    /// Label queries of a watch of a type; none for a watch of one resource.
    queries: Option<Vec<Vec<LabelTerm>>>,
    reach: Reach,
}

impl Watching {
    /// A watch of one resource.
    pub(super) fn one(access: &Access, watch: Watch, at: &Pointer, reach: Reach) -> Self {
        Self::new(access, watch, at, None, reach)
    }

    /// A watch of a type, in which nothing comes that is out of reach; `asked` are the label queries of the caller.
    pub(super) fn all(access: &Access, watch: Watch, kind: &Pointer, asked: Vec<Vec<LabelTerm>>) -> Self {
        Self::new(access, watch, kind, Some(asked), Reach::All)
    }

    fn new(
        access: &Access,
        watch: Watch,
        at: &Pointer,
        queries: Option<Vec<Vec<LabelTerm>>>,
        reach: Reach,
    ) -> Self {
        let (shared, caller) = (Arc::clone(&access.shared), Arc::clone(&access.caller));
        Self { watch, shared, caller, at: at.clone(), queries, reach }
    }

    /// The watch for the caller.
    pub(super) fn into_watch(self) -> Watch {
        Watch::new(stream::unfold(Some(self), |watching| async move {
            let mut watching = watching?;
            loop {
                let batch = watching.watch.next_batch().await?;
                if !watching.is_allowed() {
                    let end = Event { change: Change::Errored(WITHDRAWN.to_owned()), bookmark: None };
                    return Some((vec![end], None));
                }
                let seen: Vec<Event> = batch.into_iter().filter_map(|event| watching.seen(event)).collect();
                if !seen.is_empty() {
                    return Some((seen, Some(watching)));
                }
            }
        }))
    }

    /// Whether the caller may still see this.
    fn is_allowed(&self) -> bool {
        let now = self.shared.state.store().clock().now();
        let Some(caller) = self.shared.directory.again(&self.caller, now) else { return false };
        let (verb, id) = match &self.queries {
            Some(queries) => (Verb::List(queries), ""),
            None => (Verb::WatchOne, self.at.id.as_str()),
        };
        let operation = Operation { verb, namespace: &self.at.namespace, kind: &self.at.kind, id };
        !matches!(caller.decide(&operation), Decision::Deny(_))
    }

    /// The event as the caller sees it: what is out of reach does not exist.
    fn seen(&self, event: Event) -> Option<Event> {
        let holds = |resource: &AnyResource| self.reach.holds(resource);
        let gone = || Change::Destroyed(AnyResource::tombstone(&self.at));
        let change = match event.change {
            Change::Created(resource) if !holds(&resource) => gone(),
            Change::Updated { new, old } => match (holds(&new), holds(&old)) {
                (true, true) => Change::Updated { new, old },
                (true, false) => Change::Created(new),
                (false, true) => gone(),
                (false, false) => return None,
            },
            Change::Destroyed(resource) if !resource.is_tombstone() && !holds(&resource) => return None,
            other => other,
        };
        Some(Event { change, bookmark: event.bookmark })
    }
}
