//! Streams of the API.

use std::pin::Pin;

use bytes::Bytes;
use corten_api::common::Data;
use futures::{Stream, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Messages in flight per stream of a task.
const IN_FLIGHT_MAX: usize = 16;

/// What every streaming method returns.
pub type Reply<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Sending end of a task's reply.
pub type Sender<T> = mpsc::Sender<Result<T, Status>>;

/// A reply that is there already.
pub fn ready<T: Send + 'static>(messages: Vec<T>) -> Reply<T> {
    Box::pin(stream::iter(messages.into_iter().map(Ok)))
}

/// A reply that a task makes; both end together.
pub fn from_task<T, F, Fut>(produce: F) -> Reply<T>
where
    T: Send + 'static,
    F: FnOnce(Sender<T>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
    let gone = sender.clone();
    let work = produce(sender);
    let task = corten_base::spawn("reply", async move {
        tokio::select! {
            () = work => {}
            () = gone.closed() => {}
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
pub fn data(text: impl Into<Bytes>) -> Data {
    Data { metadata: None, bytes: text.into() }
}
