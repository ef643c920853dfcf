//! The types that a version has, and a machine's resources as its API shows them.
//!
//! ```text
//! namespace meta ─▶ definitions of the version, one store for all machines ─┐
//! everything else ─▶ the machine's own store, which knows no types ─────────┴─▶ View ─▶ Restricted ─▶ caller
//! ```
//!
//! Definitions of all types take some hundred kilobytes; a thousand machines share them.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_api::roles::Roles;
use corten_base::{Clock, Rng};
use corten_cosi::{Policy, Restricted};
use corten_resource::meta::{NAMESPACE, ResourceDefinitionSpec};
use corten_resource::{
    Answer, AnyResource, MemoryStore, Pointer, Query, Registry, Spec as _, Start, State, StateError,
    StateOptions, Store, UpdateOptions, Watch, WatchOptions,
};

use crate::profile::Profile;
use crate::resources::ExtensionStatus;

/// What machines of one version have in common.
#[derive(Debug)]
pub struct Schema {
    registry: Registry,
    policy: Arc<Policy>,
    meta: MemoryStore,
    profile: Profile,
}

/// The schemas of all versions.
#[derive(Debug)]
pub struct Schemas(BTreeMap<Profile, Arc<Schema>>);

impl Schemas {
    /// Makes them.
    #[must_use]
    pub fn new() -> Self {
        Self(Profile::ALL.into_iter().map(|profile| (profile, Arc::new(Schema::new(profile)))).collect())
    }

    /// The schema of a version.
    #[must_use]
    pub fn get(&self, profile: Profile) -> Option<&Arc<Schema>> {
        self.0.get(&profile)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Profile, &Arc<Schema>)> {
        self.0.iter().map(|(profile, schema)| (*profile, schema))
    }
}

impl Default for Schemas {
    fn default() -> Self {
        Self::new()
    }
}

impl Schema {
    fn new(profile: Profile) -> Self {
        let mut registry = corten_resources::registry();
        registry.register::<ExtensionStatus>();
        let meta = State::new(registry.clone());
        for kind in profile.hidden_types() {
            let definitions = ResourceDefinitionSpec::DEFINITION.kind;
            let definition = Pointer::new(NAMESPACE, definitions, kind.to_lowercase());
            if let Err(error) = meta.remove_any("", &definition) {
                tracing::warn!(error = %error, kind, "the type stays visible");
            }
        }
        let policy = Arc::new(Policy::new(&registry));
        Self { registry, policy, meta: meta.store().clone(), profile }
    }

    /// Every type, to decode what callers send.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A machine's resources for a caller with these roles.
    #[must_use]
    pub fn view(&self, machine: &State, roles: Roles) -> Arc<dyn Store> {
        let view = View { machine: machine.store().clone(), meta: self.meta.clone(), profile: self.profile };
        Arc::new(Restricted::new(Arc::new(view), Arc::clone(&self.policy), roles))
    }
}

/// An empty store for the resources of one machine.
#[must_use]
pub fn machine_state(clock: &Clock, rng: &Rng) -> State {
    let options = StateOptions { journal: None, clock: clock.clone(), rng: rng.clone() };
    // Without a journal there is nothing to open that could fail.
    State::open(Registry::new(), options).unwrap_or_else(|_| State::new(Registry::new()))
}

/// A machine's resources with the definitions that it shares with others.
struct View {
    machine: MemoryStore,
    meta: MemoryStore,
    profile: Profile,
}

impl View {
    /// Where resources of a type are; nowhere when the version does not have it.
    fn store(&self, pointer: &Pointer) -> Result<&MemoryStore, StateError> {
        if !self.profile.has_type(&pointer.kind) {
            return Err(StateError::Denied(format!("resource type {:?} is not supported", pointer.kind)));
        }
        Ok(if pointer.namespace == NAMESPACE { &self.meta } else { &self.machine })
    }
}

fn refuse<'a, T: Send + 'a>(error: StateError) -> Answer<'a, T> {
    Box::pin(std::future::ready(Err(error)))
}

impl Store for View {
    fn get<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        match self.store(pointer) {
            Ok(store) => store.get(pointer),
            Err(error) => refuse(error),
        }
    }
    fn list<'a>(&'a self, kind: &'a Pointer, query: &'a Query) -> Answer<'a, Vec<AnyResource>> {
        match self.store(kind) {
            Ok(store) => store.list(kind, query),
            Err(error) => refuse(error),
        }
    }
    fn create<'a>(&'a self, resource: AnyResource, owner: &'a str) -> Answer<'a, AnyResource> {
        self.machine.create(resource, owner)
    }
    fn update<'a>(&'a self, resource: AnyResource, options: &'a UpdateOptions) -> Answer<'a, AnyResource> {
        self.machine.update(resource, options)
    }
    fn destroy<'a>(&'a self, pointer: &'a Pointer, owner: &'a str) -> Answer<'a, ()> {
        self.machine.destroy(pointer, owner)
    }
    fn watch<'a>(&'a self, pointer: &'a Pointer, start: Start) -> Answer<'a, Watch> {
        match self.store(pointer) {
            Ok(store) => store.watch(pointer, start),
            Err(error) => refuse(error),
        }
    }
    fn watch_all<'a>(&'a self, kind: &'a Pointer, options: WatchOptions) -> Answer<'a, Watch> {
        match self.store(kind) {
            Ok(store) => store.watch_all(kind, options),
            Err(error) => refuse(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_resources::runtime::{BootId, Version};

    use super::*;

    fn definitions(store: &Arc<dyn Store>) -> impl Future<Output = Vec<AnyResource>> {
        let store = Arc::clone(store);
        async move {
            let kind = Pointer::to_kind(NAMESPACE, ResourceDefinitionSpec::DEFINITION.kind);
            store.list(&kind, &Query::default()).await.expect("a list")
        }
    }

    #[tokio::test]
    async fn definitions_are_shared_and_resources_are_not() {
        let schemas = Schemas::new();
        let schema = schemas.get(Profile::V14).expect("a schema");
        let state = machine_state(&Clock::fixed(0), &Rng::seeded(1));
        state.put("", "version", Version::default()).expect("put");
        let view = schema.view(&state, Roles::READER);
        assert!(definitions(&view).await.len() > 100);
        let pointer = Pointer::new("runtime", Version::DEFINITION.kind, "version");
        view.get(&pointer).await.expect("readable");
        let other = machine_state(&Clock::fixed(0), &Rng::seeded(2));
        assert!(schema.view(&other, Roles::READER).get(&pointer).await.is_err());
    }

    #[tokio::test]
    async fn a_type_of_a_later_version_neither_is_listed_nor_answers() {
        let schemas = Schemas::new();
        let state = machine_state(&Clock::fixed(0), &Rng::seeded(1));
        state.put("", "boot-id", BootId::default()).expect("put");
        let pointer = Pointer::new("runtime", BootId::DEFINITION.kind, "boot-id");
        for (profile, schema) in schemas.iter() {
            let view = schema.view(&state, Roles::READER);
            let id = BootId::DEFINITION.id();
            let is_listed = definitions(&view).await.iter().any(|definition| definition.id() == id);
            assert_eq!(is_listed, profile == Profile::V14);
            assert_eq!(view.get(&pointer).await.is_ok(), profile == Profile::V14);
        }
    }
}
