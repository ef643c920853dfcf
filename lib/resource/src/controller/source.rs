//! What listens to the world for a controller: it wakes, it decides nothing.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, Rng};
use futures::FutureExt as _;

use super::wake::Wake;

/// Wakes the controller that a source belongs to.
#[derive(Clone, Debug)]
pub struct Trigger(pub(super) Arc<Wake>);

impl Trigger {
    /// Has the controller observe and plan again. Calls before it does so count as one.
    pub fn fire(&self) {
        self.0.fire();
    }
}

fn error(end: &dyn Any) -> Option<String> {
    let result = end.downcast_ref::<anyhow::Result<()>>()?;
    result.as_ref().err().map(|error| format!("{error:#}"))
}

type Run = Pin<Box<dyn Future<Output = Option<String>> + Send>>;

/// A long listener of a controller. The runtime starts it again, later and later, when it ends or panics.
pub struct Source {
    name: &'static str,
    start: Box<dyn FnMut(Trigger) -> Run + Send>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Source").field(&self.name).finish()
    }
}

impl Source {
    /// A source that runs the future which `start` makes. It may run for ever or end with anything; the error of
    /// an `anyhow::Result<()>` is logged.
    pub fn new<F>(name: &'static str, mut start: impl FnMut(Trigger) -> F + Send + 'static) -> Self
    where
        F: Future + Send + 'static,
        F::Output: 'static,
    {
        Self { name, start: Box::new(move |trigger| Box::pin(start(trigger).map(|end| error(&end)))) }
    }

    /// A source that wakes the controller at a fixed interval; for what has no event to listen to.
    #[must_use]
    pub fn interval(name: &'static str, every: Duration) -> Self {
        Self::new(name, move |trigger| async move {
            loop {
                tokio::time::sleep(every).await;
                trigger.fire();
            }
        })
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it for ever.
    pub(super) async fn run(mut self, trigger: Trigger, rng: Rng) {
        const LONG: Duration = Duration::from_secs(60);
        let mut backoff = Backoff::new(Duration::from_millis(250), LONG);
        loop {
            let started = tokio::time::Instant::now();
            let ended = AssertUnwindSafe((self.start)(trigger.clone())).catch_unwind().await;
            if started.elapsed() > LONG {
                backoff.reset();
            }
            let error = ended.unwrap_or_else(|_| Some("panicked".to_owned()));
            if let Some(error) = error {
                tracing::warn!(source = self.name, error, "a source ended");
            }
            trigger.fire();
            tokio::time::sleep(backoff.next_delay(&rng)).await;
        }
    }
}
