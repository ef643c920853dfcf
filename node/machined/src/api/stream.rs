//! Streams of the API: bounded channels between a producer that may block and a client that may be slow.
//!
//! A slow client holds back its own producer only; a client that leaves ends it at the next message.

use std::io::Read;
use std::pin::Pin;

use bytes::Bytes;
use corten_api::common::Data;
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Messages in flight per stream.
const IN_FLIGHT_MAX: usize = 16;
/// Size of the blocks that `Read` and `Logs` send (clients do not depend on line ends).
pub const BLOCK_BYTES: usize = 1024;

/// What every streaming method returns.
pub type Reply<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Sending end of a reply.
pub type Sender<T> = mpsc::Sender<Result<T, Status>>;

/// Runs `produce` on the blocking pool and returns what it sends as a reply.
pub fn from_blocking<T, F>(produce: F) -> Reply<T>
where
    T: Send + 'static,
    F: FnOnce(&Sender<T>) -> Result<(), Status> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(IN_FLIGHT_MAX);
    tokio::task::spawn_blocking(move || {
        if let Err(status) = produce(&sender) {
            let _ = sender.blocking_send(Err(status));
        }
    });
    Box::pin(ReceiverStream::new(receiver))
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

/// Sends everything `reader` yields in blocks; ends quietly when the client leaves.
///
/// # Errors
/// When reading fails.
pub fn send_reader(sender: &Sender<Data>, mut reader: impl Read) -> Result<(), Status> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = match reader.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Status::unknown(error.to_string())),
        };
        let bytes = Bytes::copy_from_slice(block.get(..read).unwrap_or_default());
        if sender.blocking_send(Ok(data(bytes))).is_err() {
            return Ok(());
        }
    }
}
