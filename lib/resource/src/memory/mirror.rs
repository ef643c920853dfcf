//! What is at a shared place becomes visible, whoever wrote it there.

use std::sync::{Arc, Weak};

use super::{MemoryStore, Shared};
use crate::metadata::Pointer;
use crate::resource::AnyResource;
use crate::store::Change;

/// Something that is at the place now.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// This resource, new or in the place of an older one.
    Put(AnyResource),
    /// The resource is gone.
    Gone(Pointer),
}

/// Shows a store what its place has. It does not keep the store alive.
#[derive(Clone)]
pub struct Mirror(Weak<Shared>);

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").finish_non_exhaustive()
    }
}

impl Mirror {
    pub(super) fn of(store: &MemoryStore) -> Self {
        Self(Arc::downgrade(&store.0))
    }

    /// Makes what is at the place visible, all of it at one moment and in this order; watchers are told. What is there
    /// already, or is gone already, is no event.
    pub fn show(&self, shown: impl IntoIterator<Item = Shown>) {
        let Some(store) = self.0.upgrade() else { return };
        let mut inner = store.inner.lock();
        for shown in shown {
            let change = match shown {
                Shown::Put(new) => match inner.existing(&new.pointer()) {
                    Ok(old) if *old == new => continue,
                    Ok(old) => Change::Updated { old: old.clone(), new },
                    Err(_) => Change::Created(new),
                },
                Shown::Gone(pointer) => match inner.existing(&pointer) {
                    Ok(old) => Change::Destroyed(old.clone()),
                    Err(_) => continue,
                },
            };
            inner.carry_out(change);
        }
    }
}
