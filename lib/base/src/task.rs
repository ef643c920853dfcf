//! Tasks that end with their owner: a dropped [`Task`] is aborted, nothing runs detached.

use std::future::Future;

use tokio::task::{JoinHandle, JoinSet};
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

/// Starts a task under `name`, which stands in its log lines; the names of those that started it do not.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn spawn<F>(name: &'static str, future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task(tokio::spawn(future.instrument(tracing::info_span!(parent: None, "task", name))))
}

/// Tasks of one owner that nobody waits for, as those of a listener's connections. They end with it; whoever has ended
/// keeps no memory, however fast others begin.
#[derive(Debug, Default)]
pub struct Tasks(JoinSet<()>);

impl Tasks {
    /// There are none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts one.
    pub fn start(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        while self.0.try_join_next().is_some() {}
        self.0.spawn(future);
    }

    /// Returns when one has ended, `None` when there is none. May be dropped at any time.
    pub async fn ended(&mut self) -> Option<()> {
        self.0.join_next().await.map(drop)
    }

    /// How many there are, with those that have ended since the last look.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing::{Event, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
    use tracing_subscriber::registry::LookupSpan;

    use super::*;

    /// Remembers how many tasks the last line named.
    struct Named(Arc<AtomicUsize>);

    impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Named {
        fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
            self.0.store(context.event_scope(event).into_iter().flatten().count(), Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_line_names_the_task_that_it_comes_from_and_no_other() {
        let named = Arc::new(AtomicUsize::new(0));
        let subscriber = tracing_subscriber::registry().with(Named(Arc::clone(&named)));
        let _guard = tracing::subscriber::set_default(subscriber);
        let inner = async { tracing::info!("a line") };
        spawn("outer", async { spawn("inner", inner).join().await }).join().await.expect("it ends");
        assert_eq!(named.load(Ordering::Relaxed), 1);
    }

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

    #[tokio::test]
    async fn who_has_ended_is_not_kept_also_when_nobody_looks() {
        let mut tasks = Tasks::new();
        for _ in 0..100 {
            tasks.start(std::future::ready(()));
            tokio::task::yield_now().await;
        }
        assert!(tasks.len() <= 1, "{} are kept", tasks.len());
        tasks.start(std::future::pending());
        assert_eq!(tasks.len(), 1);
        tasks.start(std::future::ready(()));
        assert_eq!(tasks.ended().await, Some(()));
        assert_eq!(tasks.len(), 1, "one is under way");
    }
}
