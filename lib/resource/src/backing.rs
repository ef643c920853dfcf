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

    /// Keeps changes in this order. `Ok` means that a loss of power does not undo the change.
    ///
    /// Each change was decided on the version before it (that of `old`, or none); a place that others write to as well
    /// refuses one that is based on another version with [`StateError::Version`]. After a refusal later changes of the
    /// same resource in the list are refused too.
    fn commit(&self, changes: Vec<Change>) -> Kept<'_>;
}
