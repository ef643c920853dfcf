//! What a controller sees: its inputs at one moment.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::SystemTime;

use super::declare::{Declared, Input, Reads};
use crate::memory::is_running;
use crate::metadata::Pointer;
use crate::resource::{AnyResource, Resource, Spec};
use crate::state::State;

/// Inputs of a controller at one moment, without its type.
#[derive(Debug)]
pub struct Snapshot {
    rows: Vec<(Pointer, Vec<AnyResource>)>,
    now: SystemTime,
}

impl Snapshot {
    pub fn of(inputs: &[Input], state: &State, now: SystemTime) -> Self {
        let kinds: Vec<Pointer> =
            inputs.iter().map(|input| Pointer::to_kind(input.namespace, input.definition.kind)).collect();
        let contents = state.store().snapshot(&kinds);
        Self { rows: kinds.into_iter().zip(contents).collect(), now }
    }

    /// What is there of some resources at one moment: those of each type with the ids that `rows` names.
    pub fn of_item(
        rows: impl FnOnce() -> Vec<(Pointer, Vec<String>)>,
        state: &State,
        now: SystemTime,
    ) -> Self {
        Self { rows: state.store().snapshot_of(rows), now }
    }

    /// The resources of a type, sorted by id.
    pub fn all(&self, namespace: &str, kind: &str) -> Option<&[AnyResource]> {
        let row = self.rows.iter().find(|(row, _)| row.namespace == namespace && row.kind == kind);
        row.map(|(_, resources)| resources.as_slice())
    }
}

/// The declared inputs of `C` at one moment. Resources in teardown stand apart.
pub struct View<C> {
    snapshot: Arc<Snapshot>,
    controller: PhantomData<fn() -> C>,
}

impl<C> std::fmt::Debug for View<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.snapshot.fmt(f)
    }
}

impl<C: Declared> View<C> {
    pub(super) const fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, controller: PhantomData }
    }

    /// A view of these resources, for tests of plans.
    #[must_use]
    pub fn of(resources: impl IntoIterator<Item = AnyResource>, now: SystemTime) -> Self {
        let mut rows: Vec<(Pointer, Vec<AnyResource>)> = C::INPUTS
            .iter()
            .map(|input| (Pointer::to_kind(input.namespace, input.definition.kind), Vec::new()))
            .collect();
        for resource in resources {
            let metadata = resource.metadata();
            let is_home = |row: &Pointer| row.namespace == metadata.namespace && row.kind == metadata.kind;
            if let Some((_, all)) = rows.iter_mut().find(|(row, _)| is_home(row)) {
                all.push(resource);
            }
        }
        for (_, all) in &mut rows {
            all.sort_by(|a, b| a.id().cmp(b.id()));
        }
        Self::new(Arc::new(Snapshot { rows, now }))
    }

    /// Wall-clock time of the view.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.snapshot.now
    }

    /// A running resource.
    #[must_use]
    pub fn get<R: Spec>(&self, id: &str) -> Option<&Resource<R>>
    where
        C: Reads<R>,
    {
        self.get_in(<C as Reads<R>>::NAMESPACE, id)
    }

    /// A running resource in a declared namespace.
    ///
    /// # Panics
    /// When the namespace is not declared; the runtime reports that as the controller's failure.
    #[must_use]
    pub fn get_in<R: Spec>(&self, namespace: &str, id: &str) -> Option<&Resource<R>>
    where
        C: Reads<R>,
    {
        let all = self.all::<R>(namespace);
        let index = all.binary_search_by(|resource| resource.id().cmp(id)).ok()?;
        all.get(index).filter(|resource| is_running(resource))?.resource()
    }

    /// The running resources, sorted by id.
    #[must_use]
    pub fn list<R: Spec>(&self) -> Vec<&Resource<R>>
    where
        C: Reads<R>,
    {
        self.list_in(<C as Reads<R>>::NAMESPACE)
    }

    /// The running resources in a declared namespace, sorted by id.
    ///
    /// # Panics
    /// When the namespace is not declared; the runtime reports that as the controller's failure.
    #[must_use]
    pub fn list_in<R: Spec>(&self, namespace: &str) -> Vec<&Resource<R>>
    where
        C: Reads<R>,
    {
        self.all::<R>(namespace)
            .iter()
            .filter(|resource| is_running(resource))
            .filter_map(AnyResource::resource)
            .collect()
    }

    /// The resources in teardown, sorted by id.
    #[must_use]
    pub fn tearing_down<R: Spec>(&self) -> Vec<&Resource<R>>
    where
        C: Reads<R>,
    {
        self.tearing_down_in(<C as Reads<R>>::NAMESPACE)
    }

    /// The resources in teardown in a declared namespace, sorted by id.
    ///
    /// # Panics
    /// When the namespace is not declared; the runtime reports that as the controller's failure.
    #[must_use]
    pub fn tearing_down_in<R: Spec>(&self, namespace: &str) -> Vec<&Resource<R>>
    where
        C: Reads<R>,
    {
        self.all::<R>(namespace)
            .iter()
            .filter(|resource| !is_running(resource))
            .filter_map(AnyResource::resource)
            .collect()
    }

    fn all<R: Spec>(&self, namespace: &str) -> &[AnyResource] {
        let kind = R::DEFINITION.kind;
        self.snapshot
            .all(namespace, kind)
            .unwrap_or_else(|| panic!("{} reads {kind} in {namespace:?} without declaring it", C::NAME))
    }
}
