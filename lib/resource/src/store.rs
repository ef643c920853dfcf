//! The contract of every store of resources, local or remote.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use futures::Stream;
use futures::StreamExt as _;

use crate::metadata::{Metadata, Phase, Pointer};
use crate::query::Query;
use crate::resource::AnyResource;

/// Why a store refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// There is no such resource.
    #[error("resource {0} doesn't exist")]
    NotFound(Pointer),
    /// There is one already.
    #[error("resource {0} already exists")]
    AlreadyExists(Pointer),
    /// It belongs to somebody else.
    #[error("resource {pointer} is owned by {owner:?}")]
    Owner {
        /// Which.
        pointer: Pointer,
        /// To whom.
        owner: String,
    },
    /// It was changed in between.
    #[error("resource {pointer} update conflict: expected version {expected}, actual version {actual}")]
    Version {
        /// Which.
        pointer: Pointer,
        /// Version that the caller has seen.
        expected: u64,
        /// Version that it has.
        actual: u64,
    },
    /// It is in another phase.
    #[error("resource {pointer} is not in phase {expected}")]
    Phase {
        /// Which.
        pointer: Pointer,
        /// The phase that was expected.
        expected: Phase,
    },
    /// Somebody holds it.
    #[error("resource {pointer} has pending finalizers {finalizers:?}")]
    Finalizers {
        /// Which.
        pointer: Pointer,
        /// Who.
        finalizers: Vec<String>,
    },
    /// A bookmark that is too old, or of another store.
    #[error("invalid watch bookmark")]
    Bookmark,
    /// Options that exclude each other, or a malformed request.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The caller may not do that.
    #[error("{0}")]
    Denied(String),
    /// The store does not offer it.
    #[error("{0}")]
    Unsupported(String),
    /// The store is out of reach or cannot persist.
    #[error("store failed: {0}")]
    Unavailable(String),
}

/// What kind of refusal it is: one gRPC code each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such resource.
    NotFound,
    /// There is one already.
    AlreadyExists,
    /// It belongs to somebody else, or the caller may not.
    PermissionDenied,
    /// It was changed in between, is held, or the bookmark is too old.
    FailedPrecondition,
    /// It is in another phase, or the request makes no sense.
    InvalidArgument,
    /// The store does not offer it.
    Unimplemented,
    /// The store is out of reach.
    Unavailable,
}

impl StateError {
    /// What kind of refusal it is.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::AlreadyExists(_) => ErrorKind::AlreadyExists,
            Self::Owner { .. } | Self::Denied(_) => ErrorKind::PermissionDenied,
            Self::Version { .. } | Self::Finalizers { .. } | Self::Bookmark => ErrorKind::FailedPrecondition,
            Self::Phase { .. } | Self::Invalid(_) => ErrorKind::InvalidArgument,
            Self::Unsupported(_) => ErrorKind::Unimplemented,
            Self::Unavailable(_) => ErrorKind::Unavailable,
        }
    }
}

/// How to update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateOptions {
    /// Who updates.
    pub owner: String,
    /// In which phase the resource must be before; `None` for any.
    pub expected_phase: Option<Phase>,
}

impl UpdateOptions {
    /// An update of a running resource.
    pub fn running(owner: impl Into<String>) -> Self {
        Self { owner: owner.into(), expected_phase: Some(Phase::Running) }
    }

    /// An update in any phase.
    pub fn any_phase(owner: impl Into<String>) -> Self {
        Self { owner: owner.into(), expected_phase: None }
    }
}

/// Position in the history of a type; opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bookmark(pub Vec<u8>);

/// Where a watch starts. By id, [`Start::Contents`] sends one event with what is there now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the next change.
    #[default]
    Now,
    /// With everything that is there, then a `Bootstrapped` event.
    Contents,
    /// With the last events, at most so many.
    Tail(usize),
    /// After the event that had this bookmark.
    Bookmark(Bookmark),
}

/// How to watch a type.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// Where to start.
    pub start: Start,
    /// Which resources.
    pub query: Query,
    /// Whether events that are ready together come together.
    pub aggregated: bool,
    /// Whether a `Noop` event with a bookmark is sent first.
    pub initial_bookmark: bool,
}

impl WatchOptions {
    /// Everything that is there, then changes.
    #[must_use]
    pub fn contents() -> Self {
        Self { start: Start::Contents, ..Self::default() }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It exists now, or it existed when the watch began.
    Created(AnyResource),
    /// It changed.
    Updated {
        /// Now.
        new: AnyResource,
        /// Before.
        old: AnyResource,
    },
    /// It is gone, or did not exist when the watch by id began (then it is a tombstone).
    Destroyed(AnyResource),
    /// All initial contents were sent.
    Bootstrapped,
    /// The watch ends here: the watcher was too slow, or the store is out of reach.
    Errored(String),
    /// Nothing; carries a bookmark.
    Noop,
}

/// One event of a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// Where a later watch may continue.
    pub bookmark: Option<Bookmark>,
}

impl Change {
    /// The resource that it is about.
    #[must_use]
    pub const fn resource(&self) -> Option<&AnyResource> {
        match self {
            Self::Created(resource) | Self::Updated { new: resource, .. } | Self::Destroyed(resource) => {
                Some(resource)
            }
            Self::Bootstrapped | Self::Errored(_) | Self::Noop => None,
        }
    }
}

impl Event {
    /// The resource that it is about.
    #[must_use]
    pub const fn resource(&self) -> Option<&AnyResource> {
        self.change.resource()
    }
}

/// A running watch; dropping it ends it.
pub struct Watch {
    batches: Pin<Box<dyn Stream<Item = Vec<Event>> + Send>>,
    ready: VecDeque<Event>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

impl Watch {
    /// A watch over batches of events.
    pub fn new(batches: impl Stream<Item = Vec<Event>> + Send + 'static) -> Self {
        Self { batches: Box::pin(batches), ready: VecDeque::new() }
    }

    /// The next event; `None` after an `Errored` event.
    pub async fn next(&mut self) -> Option<Event> {
        while self.ready.is_empty() {
            self.ready.extend(self.batches.next().await?);
        }
        self.ready.pop_front()
    }

    /// All events that are ready, at least one; `None` after an `Errored` event.
    pub async fn next_batch(&mut self) -> Option<Vec<Event>> {
        if self.ready.is_empty() {
            return self.batches.next().await;
        }
        Some(std::mem::take(&mut self.ready).into())
    }
}

/// A result that is on its way.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StateError>> + Send + 'a>>;

/// Full access to resources, as the COSI protocol defines it.
///
/// Versions count up by one with each update; an update names the version it is based on. Only the owner
/// changes a resource, but anybody may hold a running one with a finalizer and let go of it later.
pub trait Store: Send + Sync + 'static {
    /// One resource.
    fn get<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource>;

    /// Resources of a type, sorted by id; the id of `kind` is ignored.
    fn list<'a>(&'a self, kind: &'a Pointer, query: &'a Query) -> Answer<'a, Vec<AnyResource>>;

    /// Stores a new resource with version 1 under an owner.
    fn create<'a>(&'a self, resource: AnyResource, owner: &'a str) -> Answer<'a, AnyResource>;

    /// Replaces a resource whose version is still that of `resource`.
    fn update<'a>(&'a self, resource: AnyResource, options: &'a UpdateOptions) -> Answer<'a, AnyResource>;

    /// Removes a resource that nobody holds.
    fn destroy<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, ()>;

    /// Watches one resource; `start` is `Contents` for an initial event with what is there.
    fn watch<'a>(&'a self, pointer: &'a Pointer, start: Start) -> Answer<'a, Watch>;

    /// Watches all resources of a type; the id of `kind` is ignored.
    fn watch_all<'a>(&'a self, kind: &'a Pointer, options: WatchOptions) -> Answer<'a, Watch>;

    /// One resource as the next change of it is based on; what [`Store::get`] gives may be older by changes that are
    /// not kept yet.
    fn newest<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        self.get(pointer)
    }

    /// Applies `change` to the metadata, again when somebody else was faster.
    fn modify<'a>(
        &'a self,
        pointer: &'a Pointer,
        options: &'a UpdateOptions,
        change: &'a (dyn Fn(&mut Metadata) + Sync),
    ) -> Answer<'a, AnyResource> {
        Box::pin(async move {
            loop {
                let current = self.newest(pointer).await?;
                let changed = current.clone().edit(change);
                if changed.metadata() == current.metadata() {
                    return Ok(current);
                }
                match self.update(changed, options).await {
                    Err(StateError::Version { .. }) => {}
                    other => return other,
                }
            }
        })
    }

    /// Moves a resource to teardown; true when nobody holds it and it may be destroyed.
    fn teardown<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let current = self.newest(pointer).await?;
            if current.metadata().owner != owner {
                let owner = current.metadata().owner.clone();
                return Err(StateError::Owner { pointer: pointer.clone(), owner });
            }
            let options = UpdateOptions::any_phase(owner);
            let torn =
                self.modify(pointer, &options, &|metadata| metadata.phase = Phase::TearingDown).await?;
            Ok(torn.metadata().finalizers.is_empty())
        })
    }

    /// Holds a running resource, whoever owns it.
    fn add_finalizer<'a>(&'a self, pointer: &'a Pointer, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let owner = self.newest(pointer).await?.metadata().owner.clone();
            let change = |metadata: &mut Metadata| {
                metadata.add_finalizer(name);
            };
            self.modify(pointer, &UpdateOptions::running(owner), &change).await.map(drop)
        })
    }

    /// Lets go of a resource, in whatever phase it is; nothing happens when it is gone.
    fn remove_finalizer<'a>(&'a self, pointer: &'a Pointer, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let owner = match self.newest(pointer).await {
                Ok(current) => current.metadata().owner.clone(),
                Err(StateError::NotFound(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            let change = |metadata: &mut Metadata| {
                metadata.remove_finalizer(name);
            };
            self.modify(pointer, &UpdateOptions::any_phase(owner), &change).await.map(drop)
        })
    }

    /// Tears down, waits until nobody holds the resource, destroys it.
    fn teardown_and_destroy<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            if !self.teardown(pointer, owner).await? {
                let mut watch = self.watch(pointer, Start::Contents).await?;
                loop {
                    match watch.next().await.map(|event| event.change) {
                        Some(Change::Destroyed(_)) => return Ok(()),
                        Some(Change::Created(now) | Change::Updated { new: now, .. })
                            if now.metadata().finalizers.is_empty() =>
                        {
                            break;
                        }
                        Some(Change::Errored(text)) => return Err(StateError::Unavailable(text)),
                        None => return Err(StateError::Unavailable("the watch ended".to_owned())),
                        Some(_) => {}
                    }
                }
            }
            self.destroy(pointer, owner).await
        })
    }
}
