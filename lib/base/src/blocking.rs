//! Kernel calls that may block run here, on the runtime's bounded pool, with a deadline.

use std::time::Duration;

/// A blocking call that failed to finish.
#[derive(Debug, thiserror::Error)]
pub enum BlockingError {
    /// The call is still running; its thread stays occupied until the kernel returns.
    #[error("the kernel did not answer within {0:?}")]
    Deadline(Duration),
    /// The call panicked.
    #[error("the call panicked")]
    Panicked,
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
