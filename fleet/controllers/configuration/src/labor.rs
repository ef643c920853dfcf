//! Work that takes a processor for milliseconds, away from the threads that wait for machines.
//!
//! A configuration of a control plane has 30 KB, since 1.14 in about 25 documents. To make one is to write and read it
//! about nine times, and once more for each patch; to hide its secrets is to read it once and to compare it with the
//! former one. A change of a cluster asks for both for each of its machines.

use std::time::Duration;

use corten_base::Lane;

/// How many pieces of work are done side by side. The manager has other things to do on the rest of its processors.
const WIDTH: usize = 2;
/// How long a piece may wait for its turn and be done; it is below what the runtime gives to an item.
const TIME_MAX: Duration = Duration::from_secs(240);

/// Who does the work of one controller.
#[derive(Clone, Debug)]
pub struct Labor(Lane);

impl Default for Labor {
    fn default() -> Self {
        Self(Lane::new(WIDTH))
    }
}

impl Labor {
    /// Does a piece of work when it is its turn.
    ///
    /// # Errors
    /// When it is not done in time, or it panics.
    pub async fn of<T, F>(&self, work: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        Ok(self.0.run(TIME_MAX, work).await?)
    }
}
