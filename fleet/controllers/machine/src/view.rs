//! What controllers of several domains read and write alike.

use corten_resource::{Metadata, Pointer, Reads, Resource, Spec, State, StateError, View};

/// All resources of a type that concern the item, those that go away last.
#[must_use]
pub fn all<R: Spec, C: Reads<R>>(view: &View<C>) -> Vec<&Resource<R>> {
    view.list::<R>().into_iter().chain(view.tearing_down::<R>()).collect()
}

/// Whether anything can be done with a resource: it is in use, or only waits to be destroyed.
#[must_use]
pub fn is_removable(metadata: &Metadata) -> bool {
    !metadata.is_tearing_down() || metadata.is_destroy_ready()
}

/// Has a resource go, whoever owns it: at once, or when nobody holds it any more.
///
/// # Errors
/// When the store does not do it.
pub fn remove(state: &State, pointer: &Pointer) -> Result<(), StateError> {
    let Some(resource) = state.get_any(pointer) else { return Ok(()) };
    state.remove_any(&resource.metadata().owner, pointer).map(drop)
}
