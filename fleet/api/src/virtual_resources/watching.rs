//! Watches of what is computed: again and again, and what differs is told.
//!
//! ```text
//! every few seconds: Directory: the caller now ─▶ decide ─┬▶ compute ─▶ differences ─▶ events
//!                                                         └▶ Errored, the end
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corten_fleet_auth::{Decision, Operation, Verb};
use corten_resource::{AnyResource, Change, Event, Pointer, Query, Start, StateError, Watch};
use futures::stream;
use tokio::time::sleep;

use super::Views;
use crate::caller::{Caller, Directory};

/// How often a watch computes again.
const REFRESH: Duration = Duration::from_secs(10);

/// What is watched.
pub(super) enum What {
    /// One resource.
    One(Pointer),
    /// Those of a type that the query means.
    All(Pointer, Query),
}

/// Resources that are computed again and again.
pub(super) struct Repeated {
    views: Views,
    directory: Arc<Directory>,
    caller: Arc<Caller>,
    what: What,
    last: Vec<AnyResource>,
}

impl Repeated {
    /// Computed once. What cannot be had at present counts as absent.
    pub(super) async fn new(
        views: &Views,
        directory: &Arc<Directory>,
        caller: &Arc<Caller>,
        what: What,
    ) -> Result<Self, StateError> {
        let last = match compute(views, caller, &what).await {
            Err(StateError::Unavailable(_)) => Vec::new(),
            computed => computed?,
        };
        let (directory, caller) = (Arc::clone(directory), Arc::clone(caller));
        Ok(Self { views: views.clone(), directory, caller, what, last })
    }

    /// A watch of the one resource, which begins with what there is of it.
    pub(super) fn watch_one(self, at: &Pointer) -> Watch {
        let there = self.last.first().cloned();
        let first = there.map_or_else(|| Change::Destroyed(AnyResource::tombstone(at)), Change::Created);
        self.watch(vec![first])
    }

    /// A watch of the type.
    pub(super) fn watch_all(self, start: &Start) -> Result<Watch, StateError> {
        let first = match start {
            Start::Now => Vec::new(),
            Start::Contents => {
                let there = self.last.iter().cloned().map(Change::Created);
                there.chain([Change::Bootstrapped]).collect()
            }
            Start::Tail(_) | Start::Bookmark(_) => {
                let text = "what is computed has no history; watch it from now on, or with its contents";
                return Err(StateError::Unsupported(text.to_owned()));
            }
        };
        Ok(self.watch(first))
    }

    fn watch(self, first: Vec<Change>) -> Watch {
        let state = (Some(first).filter(|first| !first.is_empty()), Some(self));
        Watch::new(stream::unfold(state, |(first, repeated)| async move {
            if let Some(changes) = first {
                return Some((events(changes), (None, repeated)));
            }
            let (changes, repeated) = repeated?.next().await;
            Some((events(changes), (None, repeated)))
        }))
    }

    /// The next changes, and what computes those after them; nothing does after an error.
    async fn next(mut self) -> (Vec<Change>, Option<Self>) {
        loop {
            sleep(REFRESH).await;
            let now = self.views.state.store().clock().now();
            let Some(caller) = self.directory.again(&self.caller, now) else {
                return (vec![Change::Errored("the key of the caller has ended".to_owned())], None);
            };
            if !is_allowed(&caller, &self.what) {
                let text = "the caller's rights were withdrawn; log in and watch again";
                return (vec![Change::Errored(text.to_owned())], None);
            }
            let found = match compute(&self.views, &caller, &self.what).await {
                Ok(found) => found,
                // It is computed again, and nothing has changed until that succeeds.
                Err(StateError::Unavailable(_)) => continue,
                Err(error) => return (vec![Change::Errored(error.to_string())], None),
            };
            let changes = differences(&self.last, &found);
            self.last = found;
            if !changes.is_empty() {
                return (changes, Some(self));
            }
        }
    }
}

fn events(changes: Vec<Change>) -> Vec<Event> {
    changes.into_iter().map(|change| Event { change, bookmark: None }).collect()
}

fn is_allowed(caller: &Caller, what: &What) -> bool {
    let (verb, at, id) = match what {
        What::One(at) => (Verb::WatchOne, at, at.id.as_str()),
        What::All(kind, query) => (Verb::List(&query.labels), kind, ""),
    };
    let operation = Operation { verb, namespace: &at.namespace, kind: &at.kind, id };
    !matches!(caller.decide(&operation), Decision::Deny(_))
}

async fn compute(views: &Views, caller: &Caller, what: &What) -> Result<Vec<AnyResource>, StateError> {
    match what {
        What::One(at) => match views.get(caller, at).await {
            Ok(found) => Ok(vec![found]),
            Err(StateError::NotFound(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        },
        What::All(kind, query) => views.list(caller, kind, query).await,
    }
}

/// What has happened between two lists.
fn differences(old: &[AnyResource], new: &[AnyResource]) -> Vec<Change> {
    let mut gone: BTreeMap<&str, &AnyResource> = old.iter().map(|it| (it.id(), it)).collect();
    let mut changes = Vec::new();
    for resource in new {
        match gone.remove(resource.id()) {
            None => changes.push(Change::Created(resource.clone())),
            Some(old) if !old.same_spec(resource) => {
                changes.push(Change::Updated { new: resource.clone(), old: old.clone() });
            }
            Some(_) => {}
        }
    }
    changes.extend(gone.into_values().cloned().map(Change::Destroyed));
    changes
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::system::InstallationMedia;
    use corten_resource::Resource;

    use super::*;

    #[test]
    fn differences_are_what_came_what_changed_and_what_went() {
        let of = |id: &str, name: &str| -> AnyResource {
            let medium = InstallationMedia { name: name.to_owned(), ..InstallationMedia::default() };
            Resource::new(id, medium).into()
        };
        let old = [of("a", "1"), of("b", "1"), of("c", "1")];
        let new = [of("a", "1"), of("b", "2"), of("d", "1")];
        let told = |change: &Change| {
            let id = change.resource().map(|resource| resource.id().to_owned()).unwrap_or_default();
            match change {
                Change::Created(_) => format!("+{id}"),
                Change::Updated { .. } => format!("~{id}"),
                Change::Destroyed(_) => format!("-{id}"),
                _ => id,
            }
        };
        assert_eq!(differences(&old, &new).iter().map(told).collect::<Vec<_>>(), ["~b", "+d", "-c"]);
        assert!(differences(&new, &new).is_empty());
    }
}
