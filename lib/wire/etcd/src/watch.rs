//! Following keys. A watch ends with its connection; its owner starts a new one after the last revision seen.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::client::{Client, MESSAGE};
use crate::error::Error;
use crate::keys::{KeyValue, end_of};
use crate::wire::etcdserverpb as wire;
use crate::wire::mvccpb::event::EventType;
use wire::watch_client::WatchClient;

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was set.
    Put(KeyValue),
    /// The key is gone; only key and revision are known.
    Deleted(KeyValue),
}

/// A running watch.
#[derive(Debug)]
pub struct Watch {
    /// Held open: the watch ends with its requests.
    _requests: mpsc::Sender<wire::WatchRequest>,
    stream: Streaming<wire::WatchResponse>,
}

impl Client {
    /// Follows the keys that begin with `prefix`, from `revision` on (0: from now on).
    ///
    /// # Errors
    /// When no member answers.
    pub async fn watch(&self, prefix: &[u8], revision: i64) -> Result<Watch, Error> {
        let create = wire::WatchCreateRequest {
            key: if prefix.is_empty() { vec![0] } else { prefix.to_vec() },
            range_end: end_of(prefix),
            start_revision: revision,
            progress_notify: true,
        };
        let request = wire::watch_request::RequestUnion::CreateRequest(create);
        let (requests, receiver) = mpsc::channel(1);
        // The queue is empty and its other end is held, so the only message fits.
        let _ = requests.try_send(wire::WatchRequest { request_union: Some(request) });
        let stream = WatchClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE)
            .watch(ReceiverStream::new(receiver))
            .await
            .map_err(Error::call("watch"))?
            .into_inner();
        Ok(Watch { _requests: requests, stream })
    }
}

impl Watch {
    /// The next changes, in order; `None` after the stream has ended.
    ///
    /// # Errors
    /// When the connection breaks, or the revision to start from is no longer kept.
    pub async fn next(&mut self) -> Result<Option<Vec<Change>>, Error> {
        loop {
            let Some(answer) = self.stream.message().await.map_err(Error::call("send changes"))? else {
                return Ok(None);
            };
            if answer.canceled {
                let reason = match answer.compact_revision {
                    0 => answer.cancel_reason,
                    revision => format!("history before revision {revision} is gone"),
                };
                return Err(Error::Answer(format!("the watch was ended: {reason}")));
            }
            // Confirmations and progress notes carry no events.
            if !answer.events.is_empty() {
                return Ok(Some(answer.events.into_iter().filter_map(change).collect()));
            }
        }
    }
}

fn change(event: crate::wire::mvccpb::Event) -> Option<Change> {
    let kind = event.r#type();
    let pair = KeyValue::from(event.kv?);
    Some(match kind {
        EventType::Put => Change::Put(pair),
        EventType::Delete => Change::Deleted(pair),
    })
}
