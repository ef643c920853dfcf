//! The typed handle over the store in memory.

use std::io;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::memory::{Listener, MemoryStore, StateOptions};
use crate::metadata::{Metadata, Phase, Pointer};
use crate::query::Query;
use crate::registry::Registry;
use crate::resource::{AnyResource, Resource, Spec};
use crate::store::{Change, StateError, UpdateOptions, Watch, WatchOptions};

/// Resources by type. Clones share them; no method but [`State::wait_for`] waits.
///
/// ```
/// use corten_resource::{Registry, Resource, State};
///
/// /// Hostname in effect.
/// #[derive(Clone, Debug, Default, PartialEq, Resource)]
/// #[resource(kind = "HostnameStatuses.net.talos.dev", namespace = "network")]
/// pub struct HostnameStatus {
///     /// Short name.
///     #[field(1, "hostname")] pub hostname: String,
/// }
///
/// let mut registry = Registry::new();
/// registry.namespace("network", "Networking.").register::<HostnameStatus>();
/// let state = State::new(registry);
/// state.put("me", "hostname", HostnameStatus { hostname: "steel".into() })?;
/// assert_eq!(state.get::<HostnameStatus>("hostname").map(|status| status.hostname.clone()), Some("steel".into()));
/// # Ok::<(), corten_resource::StateError>(())
/// ```
#[derive(Clone, Debug)]
pub struct State(MemoryStore);

impl State {
    /// An empty state without journal, on the machine's clock.
    ///
    /// # Panics
    /// When a registered type has an invalid name, which is an error of the program.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self::open(registry, StateOptions::default()).expect("a state without journal opens nothing")
    }

    /// A state that continues with what its journal holds.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    pub fn open(registry: Registry, options: StateOptions) -> io::Result<Self> {
        MemoryStore::open(registry, options).map(Self)
    }

    /// The typed handle over a store.
    #[must_use]
    pub const fn over(store: MemoryStore) -> Self {
        Self(store)
    }

    /// The store below, with the whole of the COSI operations.
    #[must_use]
    pub const fn store(&self) -> &MemoryStore {
        &self.0
    }

    /// The types that it knows.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        self.0.registry()
    }

    /// A resource in the namespace of its type, in any phase.
    #[must_use]
    pub fn get<S: Spec>(&self, id: &str) -> Option<Resource<S>> {
        self.get_in(S::DEFINITION.namespace, id)
    }

    /// A resource in a namespace, in any phase.
    #[must_use]
    pub fn get_in<S: Spec>(&self, namespace: &str, id: &str) -> Option<Resource<S>> {
        self.get_any(&Pointer::new(namespace, S::DEFINITION.kind, id))?.resource().cloned()
    }

    /// A resource of any type.
    #[must_use]
    pub fn get_any(&self, pointer: &Pointer) -> Option<AnyResource> {
        self.0.get_now(pointer).ok()
    }

    /// All resources in the namespace of their type, in any phase, sorted by id.
    #[must_use]
    pub fn list<S: Spec>(&self) -> Vec<Resource<S>> {
        self.list_in(S::DEFINITION.namespace)
    }

    /// All resources in a namespace, in any phase, sorted by id.
    #[must_use]
    pub fn list_in<S: Spec>(&self, namespace: &str) -> Vec<Resource<S>> {
        let all = self.list_any(namespace, S::DEFINITION.kind);
        all.iter().filter_map(|resource| resource.resource().cloned()).collect()
    }

    /// All resources of a type given by name, sorted by id.
    #[must_use]
    pub fn list_any(&self, namespace: &str, kind: &str) -> Vec<AnyResource> {
        self.0.list_now(&Pointer::to_kind(namespace, kind), &Query::default())
    }

    /// Creates a resource or updates it if its specification differs, in the namespace of its type.
    ///
    /// # Errors
    /// When it has another owner or is being torn down.
    pub fn put<S: Spec>(&self, owner: &str, id: &str, spec: S) -> Result<Resource<S>, StateError> {
        self.put_in(owner, S::DEFINITION.namespace, id, spec)
    }

    /// Creates a resource or updates it if its specification differs.
    ///
    /// # Errors
    /// When it has another owner or is being torn down.
    pub fn put_in<S: Spec>(
        &self,
        owner: &str,
        namespace: &str,
        id: &str,
        spec: S,
    ) -> Result<Resource<S>, StateError> {
        let mut wanted = Resource::new_in(namespace, id, spec);
        if let Ok(current) = self.0.head_now(&wanted.metadata.pointer()) {
            wanted.metadata.labels.clone_from(&current.metadata().labels);
            wanted.metadata.annotations.clone_from(&current.metadata().annotations);
        }
        let stored = self.put_any(owner, wanted.clone().into())?;
        wanted.metadata = stored.metadata().clone();
        Ok(wanted)
    }

    /// Creates a resource or updates it if specification, labels or annotations differ.
    ///
    /// # Errors
    /// When it has another owner or is being torn down.
    pub fn put_any(&self, owner: &str, wanted: AnyResource) -> Result<AnyResource, StateError> {
        loop {
            match self.put_once(owner, wanted.clone()) {
                // Somebody was faster.
                Err(StateError::Version { .. } | StateError::AlreadyExists(_)) => {}
                other => return other,
            }
        }
    }

    fn put_once(&self, owner: &str, wanted: AnyResource) -> Result<AnyResource, StateError> {
        let pointer = wanted.pointer();
        let Ok(current) = self.0.head_now(&pointer) else {
            return self.0.create_now(wanted, owner);
        };
        let metadata = current.metadata();
        if metadata.owner != owner {
            return Err(StateError::Owner { pointer, owner: metadata.owner.clone() });
        }
        if metadata.is_tearing_down() {
            return Err(StateError::Phase { pointer, expected: Phase::Running });
        }
        let same_tags = metadata.labels == wanted.metadata().labels
            && metadata.annotations == wanted.metadata().annotations;
        if same_tags && current.same_spec(&wanted) {
            return Ok(current);
        }
        let next = wanted.edit(|next| {
            next.version = metadata.version;
            next.finalizers.clone_from(&metadata.finalizers);
        });
        self.0.update_now(next, &UpdateOptions::running(owner))
    }

    /// Tears a resource down and destroys it if nobody holds it; otherwise it stays in teardown, to be
    /// removed again when it was released. Nothing happens when there is none.
    ///
    /// # Errors
    /// When it has another owner.
    pub fn remove<S: Spec>(&self, owner: &str, id: &str) -> Result<(), StateError> {
        self.remove_any(owner, &Pointer::new(S::DEFINITION.namespace, S::DEFINITION.kind, id)).map(drop)
    }

    /// As [`State::remove`], for any type; true when it is gone.
    ///
    /// # Errors
    /// When it has another owner.
    pub fn remove_any(&self, owner: &str, pointer: &Pointer) -> Result<bool, StateError> {
        let Ok(current) = self.0.head_now(pointer) else { return Ok(true) };
        if !current.metadata().finalizers.is_empty() {
            if !current.metadata().is_tearing_down() {
                let torn = current.edit(|metadata| metadata.phase = Phase::TearingDown);
                self.0.update_now(torn, &UpdateOptions::any_phase(owner))?;
            }
            return Ok(false);
        }
        self.0.destroy_now(pointer, owner).map(|()| true)
    }

    /// Holds a running resource under `name`, whoever owns it.
    ///
    /// # Errors
    /// When there is none or it is being torn down.
    pub fn add_finalizer(&self, pointer: &Pointer, name: &str) -> Result<(), StateError> {
        self.edit(pointer, Some(Phase::Running), |metadata| metadata.add_finalizer(name))
    }

    /// Lets go of a resource; nothing happens when it is gone.
    ///
    /// # Errors
    /// When the store fails.
    pub fn remove_finalizer(&self, pointer: &Pointer, name: &str) -> Result<(), StateError> {
        match self.edit(pointer, None, |metadata| metadata.remove_finalizer(name)) {
            Err(StateError::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    fn edit(
        &self,
        pointer: &Pointer,
        expected_phase: Option<Phase>,
        change: impl Fn(&mut Metadata) -> bool,
    ) -> Result<(), StateError> {
        loop {
            let current = self.0.head_now(pointer)?;
            let options = UpdateOptions { owner: current.metadata().owner.clone(), expected_phase };
            let mut is_changed = false;
            let next = current.edit(|metadata| is_changed = change(metadata));
            if !is_changed {
                return Ok(());
            }
            match self.0.update_now(next, &options) {
                Err(StateError::Version { .. }) => {}
                other => return other.map(drop),
            }
        }
    }

    /// Everything of a type in its namespace, then changes.
    ///
    /// # Panics
    /// Never: starting with the contents cannot be refused.
    #[must_use]
    pub fn watch<S: Spec>(&self) -> Watch {
        self.watch_any(S::DEFINITION.namespace, S::DEFINITION.kind)
    }

    /// Everything of a type given by name, then changes.
    ///
    /// # Panics
    /// Never: starting with the contents cannot be refused.
    #[must_use]
    pub fn watch_any(&self, namespace: &str, kind: &str) -> Watch {
        let watch = self.0.watch_all_now(&Pointer::to_kind(namespace, kind), WatchOptions::contents());
        watch.expect("starting with the contents needs no bookmark")
    }

    /// Waits until the resource satisfies `wanted`, which is asked again after each change of the
    /// resource; then returns it. An absent resource is `None` for the predicate and never returned.
    pub async fn wait_for<S: Spec>(
        &self,
        id: &str,
        mut wanted: impl FnMut(Option<&S>) -> bool,
    ) -> Resource<S> {
        let listener = Arc::new(Changed { id: id.to_owned(), wake: Notify::new() });
        let weak = Arc::downgrade(&listener);
        self.0.listen(&Pointer::to_kind(S::DEFINITION.namespace, S::DEFINITION.kind), weak);
        loop {
            let current = self.get::<S>(id);
            if wanted(current.as_ref().map(|resource| &resource.spec))
                && let Some(current) = current
            {
                return current;
            }
            listener.wake.notified().await;
        }
    }
}

/// Wakes whoever waits for one resource.
struct Changed {
    id: String,
    wake: Notify,
}

impl Listener for Changed {
    fn changed(&self, change: &Change) {
        if change.resource().is_some_and(|now| now.id() == self.id) {
            self.wake.notify_one();
        }
    }
    fn refused(&self, _: &Change) {}
}
