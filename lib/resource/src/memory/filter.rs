//! Which events a watcher wants, and how it sees them.

use crate::query::Query;
use crate::resource::AnyResource;
use crate::store::Change;

/// Which events a watcher wants.
pub enum Filter {
    Id(String),
    Query(Query),
}

impl Filter {
    /// Whether the watcher wants a resource.
    fn matches(&self, resource: &AnyResource) -> bool {
        match self {
            Self::Id(id) => resource.id() == id,
            Self::Query(query) => query.matches(resource.metadata()),
        }
    }

    /// Whether the watcher sees anything of an event.
    pub fn concerns(&self, change: &Change) -> bool {
        match change {
            Change::Updated { new, old } => self.matches(new) || self.matches(old),
            Change::Created(resource) | Change::Destroyed(resource) => self.matches(resource),
            _ => false,
        }
    }

    /// The event as the watcher sees it: a resource that begins or ceases to match appears or disappears.
    pub fn apply(&self, change: &Change) -> Option<Change> {
        match change {
            Change::Updated { new, old } => match (self.matches(new), self.matches(old)) {
                (true, true) => Some(change.clone()),
                (true, false) => Some(Change::Created(new.clone())),
                (false, true) => Some(Change::Destroyed(new.clone())),
                (false, false) => None,
            },
            Change::Created(resource) | Change::Destroyed(resource) => {
                self.matches(resource).then(|| change.clone())
            }
            _ => None,
        }
    }
}
