//! Streams of the API.
//!
//! Two kinds: what is awaited ([`from_task`]: a bounded channel between a task and its client) and what may block
//! ([`from_steps`]: a little work at a time, when the client wants more). Either way a client that reads slowly, or not
//! at all, holds back its own stream only; no thread waits for it.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use corten_api::common::Data;
use corten_base::Lane;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::status;

/// Messages in flight per stream of a task.
const IN_FLIGHT_MAX: usize = 16;
/// Steps of work that are done on a thread before others have their turn, and the time after which no other is begun.
const STEPS_MAX: usize = 16;
const TURN: Duration = Duration::from_millis(1);
/// What these steps may take; a kernel that does not answer has ended the stream by then.
const DEADLINE: Duration = Duration::from_secs(10);

/// What every streaming method returns.
pub type Reply<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Sending end of a task's reply.
pub type Sender<T> = mpsc::Sender<Result<T, Status>>;

/// Work that may block, cut into small steps.
pub trait Work: Send + 'static {
    /// What it produces.
    type Item: Send + 'static;

    /// Does a little; what comes of it goes to `out`, at most a few kilobytes of it.
    ///
    /// # Errors
    /// When the stream ends here and the client must know why. What is in `out` comes before.
    fn step(&mut self, out: &mut Vec<Self::Item>) -> Result<Step, Status>;
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is.
    More,
    /// That was all.
    Done,
}

/// Begins work with `open` and does it step by step in a lane, as fast as the client takes what comes of it.
pub fn from_steps<W, F>(lane: &Lane, open: F) -> Reply<W::Item>
where
    W: Work,
    F: FnOnce() -> Result<W, Status> + Send + 'static,
{
    let lane = lane.clone();
    let begin = async move {
        let work = lane.run(DEADLINE, open).await.map_err(|error| status::blocking(&error))??;
        Ok::<_, Status>(batches(lane, work).flat_map(stream::iter))
    };
    Box::pin(stream::once(begin).try_flatten())
}

/// What some steps produced.
type Batch<W> = Vec<Result<<W as Work>::Item, Status>>;

fn batches<W: Work>(lane: Lane, work: W) -> impl Stream<Item = Batch<W>> {
    stream::unfold(Some(work), move |work| {
        let lane = lane.clone();
        async move {
            let work = work?;
            let advanced = lane.run(DEADLINE, move || advance(work)).await;
            Some(advanced.unwrap_or_else(|error| (vec![Err(status::blocking(&error))], None)))
        }
    })
}

/// Some steps; the work comes back unless it has ended.
fn advance<W: Work>(mut work: W) -> (Batch<W>, Option<W>) {
    let (mut items, began) = (Vec::new(), Instant::now());
    for _ in 0..STEPS_MAX {
        if began.elapsed() >= TURN {
            break;
        }
        match work.step(&mut items) {
            Ok(Step::More) => {}
            Ok(Step::Done) => return (items.into_iter().map(Ok).collect(), None),
            Err(status) => return (items.into_iter().map(Ok).chain([Err(status)]).collect(), None),
        }
    }
    (items.into_iter().map(Ok).collect(), Some(work))
}

/// Polls `produce` inside the reply: it ends with the client.
pub fn from_task<T, F, Fut>(produce: F) -> Reply<T>
where
    T: Send + 'static,
    F: FnOnce(Sender<T>) -> Fut,
    Fut: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
    let last = sender.clone();
    let work = produce(sender);
    let task = corten_base::spawn("reply", async move {
        tokio::select! {
            result = work => if let Err(status) = result { let _ = last.send(Err(status)).await; },
            () = last.closed() => {}
        }
    });
    Box::pin(Owned { inner: ReceiverStream::new(receiver), _task: task })
}

/// A stream that owns the task that feeds it.
struct Owned<T> {
    inner: ReceiverStream<Result<T, Status>>,
    _task: corten_base::Task,
}

impl<T> Stream for Owned<T> {
    type Item = Result<T, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        Pin::new(&mut self.inner).poll_next(context)
    }
}

/// One `Data` message.
#[must_use]
pub fn data(bytes: Bytes) -> Data {
    Data { bytes, ..Data::default() }
}

#[cfg(test)]
mod tests {
    use corten_base::blocking;

    use super::*;

    /// Counts up to a limit, if it has one.
    struct Count {
        next: u32,
        end: Option<u32>,
        broken_at: Option<u32>,
    }

    const ENDLESS: Count = Count { next: 0, end: None, broken_at: None };

    impl Work for Count {
        type Item = u32;

        fn step(&mut self, out: &mut Vec<u32>) -> Result<Step, Status> {
            if self.broken_at == Some(self.next) {
                return Err(Status::unknown("broken"));
            }
            if self.end == Some(self.next) {
                return Ok(Step::Done);
            }
            out.push(self.next);
            self.next += 1;
            Ok(Step::More)
        }
    }

    #[tokio::test]
    async fn every_item_comes_once_and_the_reason_of_an_end_comes_last() {
        let lane = Lane::new(1);
        let whole = Count { end: Some(100), ..ENDLESS };
        let items: Vec<u32> = from_steps(&lane, move || Ok(whole)).try_collect().await.expect("items");
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        let broken = Count { broken_at: Some(50), ..ENDLESS };
        let items: Vec<_> = from_steps(&lane, move || Ok(broken)).collect().await;
        assert_eq!(items.len(), 51);
        assert_eq!(items[50].as_ref().expect_err("the reason").message(), "broken");
        let refused: Vec<_> =
            from_steps(&lane, || Err::<Count, _>(Status::not_found("nothing"))).collect().await;
        assert_eq!(refused.len(), 1);
    }

    #[test]
    fn clients_that_stop_reading_take_no_thread() {
        const PATIENCE: Duration = Duration::from_secs(10);
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().max_blocking_threads(2).build().expect("a runtime");
        runtime.block_on(async {
            let lane = Lane::new(1);
            let mut stalled = Vec::new();
            for _ in 0..20 {
                let mut reply = from_steps(&lane, || Ok(ENDLESS));
                assert_eq!(reply.next().await.expect("one").expect("item"), 0);
                stalled.push(reply);
            }
            blocking(PATIENCE, || ()).await.expect("the machine's own call");
            lane.run(PATIENCE, || ()).await.expect("a call of another client");
            for reply in &mut stalled {
                assert_eq!(reply.next().await.expect("next").expect("item"), 1);
            }
        });
    }
}
