//! Calls that occupy a thread run here, on the runtime's bounded pool, with a deadline: they block in the kernel, or
//! compute for long.
//!
//! What clients cause goes through a [`Lane`]: it can fill the lane, never the pool, so that the machine's own calls
//! always find a thread.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

/// A call that failed to finish.
#[derive(Debug, thiserror::Error)]
pub enum BlockingError {
    /// The call is still running; its thread stays occupied until it returns.
    #[error("the call was not done within {0:?}")]
    Deadline(Duration),
    /// The call panicked.
    #[error("the call panicked")]
    Panicked,
    /// Every place of the lane stayed taken.
    #[error("the call was not begun: {0} like it are not done yet; try again later")]
    Busy(usize),
}

/// Runs `call` off the event loop and waits at most `deadline` for its result.
///
/// # Errors
/// When the deadline passes or the call panics.
pub async fn blocking<T, F>(deadline: Duration, call: F) -> Result<T, BlockingError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    match tokio::time::timeout(deadline, tokio::task::spawn_blocking(call)).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(BlockingError::Panicked),
        Err(_) => Err(BlockingError::Deadline(deadline)),
    }
}

/// A few threads of the pool for calls of one sort; whoever comes first is served first.
#[derive(Clone, Debug)]
pub struct Lane {
    places: Arc<Semaphore>,
    width: usize,
}

impl Lane {
    /// A lane for so many calls at a time.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(width)), width }
    }

    /// Runs `call` like [`blocking`], when a place is free. The call keeps its place for as long as it occupies a
    /// thread, also when nobody waits for it any more.
    ///
    /// # Errors
    /// When no place becomes free within `deadline`, when the call takes longer than that, and when it panics.
    pub async fn run<T, F>(&self, deadline: Duration, call: F) -> Result<T, BlockingError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let place = tokio::time::timeout(deadline, Arc::clone(&self.places).acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(BlockingError::Busy(self.width)) };
        let occupying = move || {
            let result = call();
            drop(place);
            result
        };
        blocking(deadline, occupying).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(10);

    fn with_threads(count: usize) -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().max_blocking_threads(count).build().expect("a runtime")
    }

    #[test]
    fn calls_that_never_return_fill_their_lane_and_not_the_pool() {
        with_threads(3).block_on(async {
            let lane = Lane::new(2);
            let (release, held) = mpsc::channel::<()>();
            let held = Arc::new(std::sync::Mutex::new(held));
            for _ in 0..2 {
                let held = Arc::clone(&held);
                let stuck = lane.run(SHORT, move || held.lock().map(|held| held.recv().is_ok()).is_ok());
                assert!(matches!(stuck.await, Err(BlockingError::Deadline(_))));
            }
            assert!(matches!(lane.run(SHORT, || ()).await, Err(BlockingError::Busy(2))));
            blocking(LONG, || ()).await.expect("the machine's own call");
            drop(release);
            lane.run(LONG, || ()).await.expect("a place, now that the others have returned");
        });
    }

    #[test]
    fn a_call_that_panics_gives_its_place_back() {
        with_threads(1).block_on(async {
            let lane = Lane::new(1);
            let panics: fn() = || panic!("on purpose");
            assert!(matches!(lane.run(LONG, panics).await, Err(BlockingError::Panicked)));
            lane.run(LONG, || ()).await.expect("the place");
        });
    }
}
