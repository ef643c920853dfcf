//! Where resources are kept beyond the life of the program.
//!
//! ```text
//! a place of our own:   decided ─▶ commit ─▶ kept ─▶ visible
//! a place of several:   decided ─▶ commit ─▶ kept ─▶ tend sees it at the place ─▶ Mirror ─▶ visible
//!                       decided by another program ────────▲
//! ```

use std::future::Future;
use std::pin::Pin;

use crate::memory::Mirror;
use crate::resource::AnyResource;
use crate::store::{Answer, Change, StateError};

/// One result for each change that was to be kept.
pub type Kept<'a> = Pin<Box<dyn Future<Output = Vec<Result<(), StateError>>> + Send + 'a>>;

/// Work for as long as the place can be used.
pub type Tending<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A place that keeps resources: a file, a database.
///
/// A store in memory decides, this keeps; nobody sees a change before it is kept.
pub trait Backing: Send + Sync + 'static {
    /// Everything that is kept.
    fn load(&self) -> Answer<'_, Vec<AnyResource>>;

    /// Keeps changes in this order. `Ok` means that a loss of power does not undo the change. After a refusal later
    /// changes of the same resource in the list are refused too. At a place that is shared, a change of something that
    /// another program has changed since it was decided is refused as the store would have refused it, and what is kept
    /// has been shown before this answers.
    fn commit(&self, changes: Vec<Change>) -> Kept<'_>;

    /// Whether other programs write to the place too. What is kept becomes visible by [`Mirror::show`] alone then.
    fn is_shared(&self) -> bool {
        false
    }

    /// What the place does by itself for as long as its store is kept: it follows what others write there, or mends
    /// itself. When this ends the place is of no use any more, and the store closes.
    fn tend(&self, mirror: Mirror) -> Tending<'_> {
        drop(mirror);
        Box::pin(std::future::pending())
    }

    /// What is wrong with the place now, with what would help; nothing when it keeps what it is given.
    fn trouble(&self) -> Option<String> {
        None
    }
}
