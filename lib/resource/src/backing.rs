//! Where resources are kept beyond the life of the program.

use std::future::Future;
use std::pin::Pin;

use crate::resource::AnyResource;
use crate::store::{Answer, Change, StateError};

/// One result for each change that was to be kept.
pub type Kept<'a> = Pin<Box<dyn Future<Output = Vec<Result<(), StateError>>> + Send + 'a>>;

/// A place that keeps resources: a file, a database.
///
/// A store in memory decides, this keeps; nobody sees a change before it is kept.
pub trait Backing: Send + Sync + 'static {
    /// Everything that is kept.
    fn load(&self) -> Answer<'_, Vec<AnyResource>>;

    /// Keeps changes in this order. `Ok` means that a loss of power does not undo the change. After a refusal later
    /// changes of the same resource in the list are refused too. Nobody else writes to the place.
    fn commit(&self, changes: Vec<Change>) -> Kept<'_>;
}
