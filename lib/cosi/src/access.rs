//! Who may see what: the policy of a machine's API.
//!
//! Nobody writes over the API. Types and namespaces that are not registered, and internal types, do not exist for
//! callers, but the answer is a refusal and not "not found"; clients and their tests depend on both texts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corten_api::roles::Roles;
use corten_resource::{
    Answer, AnyResource, Pointer, Query, Registry, Start, StateError, Store, UpdateOptions, Watch,
    WatchOptions,
};

/// Texts that clients of Talos match.
const NO_WRITES: &str = "write access is not allowed";
const NOT_AUTHORIZED: &str = "not authorized";

/// What there is to see: types, whether they are sensitive, and namespaces.
#[derive(Clone, Debug)]
pub struct Policy {
    types: BTreeMap<&'static str, bool>,
    namespaces: BTreeSet<String>,
}

impl Policy {
    /// The policy for the types and namespaces of a registry.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let public = registry
            .types()
            .map(|registered| registered.definition)
            .filter(|definition| !definition.internal);
        Self {
            types: public.map(|definition| (definition.kind, definition.sensitive)).collect(),
            namespaces: registry.namespaces().map(str::to_owned).collect(),
        }
    }

    fn permit(&self, pointer: &Pointer, roles: Roles) -> Result<(), StateError> {
        let Some(is_sensitive) = self.types.get(pointer.kind.as_str()) else {
            return Err(StateError::Denied(format!("resource type {:?} is not supported", pointer.kind)));
        };
        if !self.namespaces.contains(&pointer.namespace) {
            return Err(StateError::Denied(format!("namespace {:?} is not supported", pointer.namespace)));
        }
        if *is_sensitive && !roles.intersects(Roles::ADMIN) {
            return Err(StateError::Denied(NOT_AUTHORIZED.to_owned()));
        }
        Ok(())
    }
}

/// A store as a caller with certain roles may use it: to read what the policy permits.
#[derive(Clone)]
pub struct Restricted {
    store: Arc<dyn Store>,
    policy: Arc<Policy>,
    roles: Roles,
}

impl Restricted {
    /// The store for a caller.
    pub fn new(store: Arc<dyn Store>, policy: Arc<Policy>, roles: Roles) -> Self {
        Self { store, policy, roles }
    }

    fn refuse<'a, T: Send + 'a>() -> Answer<'a, T> {
        Box::pin(std::future::ready(Err(StateError::Denied(NO_WRITES.to_owned()))))
    }
}

impl std::fmt::Debug for Restricted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restricted").field("roles", &self.roles).finish_non_exhaustive()
    }
}

impl Store for Restricted {
    fn get<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        Box::pin(async move {
            self.policy.permit(pointer, self.roles)?;
            self.store.get(pointer).await
        })
    }
    fn list<'a>(&'a self, kind: &'a Pointer, query: &'a Query) -> Answer<'a, Vec<AnyResource>> {
        Box::pin(async move {
            self.policy.permit(kind, self.roles)?;
            self.store.list(kind, query).await
        })
    }
    fn create<'a>(&'a self, _: AnyResource, _: &'a str) -> Answer<'a, AnyResource> {
        Self::refuse()
    }
    fn update<'a>(&'a self, _: AnyResource, _: &'a UpdateOptions) -> Answer<'a, AnyResource> {
        Self::refuse()
    }
    fn destroy<'a>(&'a self, _: &'a Pointer, _: &'a str) -> Answer<'a, ()> {
        Self::refuse()
    }
    fn teardown<'a>(&'a self, _: &'a Pointer, _: &'a str) -> Answer<'a, bool> {
        Self::refuse()
    }
    fn teardown_and_destroy<'a>(&'a self, _: &'a Pointer, _: &'a str) -> Answer<'a, ()> {
        Self::refuse()
    }
    fn add_finalizer<'a>(&'a self, _: &'a Pointer, _: &'a str) -> Answer<'a, ()> {
        Self::refuse()
    }
    fn remove_finalizer<'a>(&'a self, _: &'a Pointer, _: &'a str) -> Answer<'a, ()> {
        Self::refuse()
    }
    fn watch<'a>(&'a self, pointer: &'a Pointer, start: Start) -> Answer<'a, Watch> {
        Box::pin(async move {
            self.policy.permit(pointer, self.roles)?;
            self.store.watch(pointer, start).await
        })
    }
    fn watch_all<'a>(&'a self, kind: &'a Pointer, options: WatchOptions) -> Answer<'a, Watch> {
        Box::pin(async move {
            self.policy.permit(kind, self.roles)?;
            self.store.watch_all(kind, options).await
        })
    }
}
