//! Tasks that end with their owner: a dropped [`Task`] is aborted, nothing runs detached.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument;

/// A running task; dropping it aborts it.
#[derive(Debug)]
#[must_use = "a dropped task is aborted"]
pub struct Task<T = ()>(JoinHandle<T>);

impl<T> Task<T> {
    /// Waits for the result; `None` when the task panicked or was aborted.
    pub async fn join(mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Ends it at its next await.
    pub fn abort(&self) {
        self.0.abort();
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a task under `name`, which stands in its log lines.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task(tokio::spawn(future.instrument(tracing::info_span!("task", name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn joins_with_the_result_and_aborts_on_drop() {
        assert_eq!(spawn("four", async { 4 }).join().await, Some(4));
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        drop(spawn("forever", async move {
            let _held = sender;
            std::future::pending::<()>().await;
        }));
        assert!(receiver.await.is_err(), "the dropped task let go of its end");
    }
}
