//! Following keys. A watch ends with its connection; its owner starts a new one after the last revision seen.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Streaming};

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

/// What a watch brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Changes in order, those of one revision together.
    Changes(Vec<Change>),
    /// History before this revision is gone, and the watch was to begin there: it has ended, and what happened between
    /// is found by reading everything.
    Compacted(i64),
}

/// Has a watch end when its member knows no leader, and so nothing new (etcd's name for it).
const NEEDS_LEADER: &str = "hasleader";

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
        self.start(watched(prefix, revision)).await
    }

    /// As [`Client::watch`], but it ends when its member is cut off from the cluster: whoever follows knows then that it
    /// may be missing something.
    ///
    /// # Errors
    /// When no member answers, or the one that does knows no leader.
    pub async fn follow(&self, prefix: &[u8], revision: i64) -> Result<Watch, Error> {
        let mut request = watched(prefix, revision);
        request.needs_leader = true;
        self.start(request).await
    }

    async fn start(&self, Watched { create, needs_leader }: Watched) -> Result<Watch, Error> {
        let request = wire::watch_request::RequestUnion::CreateRequest(create);
        let (requests, receiver) = mpsc::channel(1);
        // The queue is empty and its other end is held, so the only message fits.
        let _ = requests.try_send(wire::WatchRequest { request_union: Some(request) });
        let mut request = Request::new(ReceiverStream::new(receiver));
        if needs_leader {
            request.metadata_mut().insert(NEEDS_LEADER, MetadataValue::from_static("true"));
        }
        let stream = WatchClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE)
            .watch(request)
            .await
            .map_err(Error::call("watch"))?
            .into_inner();
        Ok(Watch { _requests: requests, stream })
    }
}

/// What is to be watched, and how.
struct Watched {
    create: wire::WatchCreateRequest,
    needs_leader: bool,
}

fn watched(prefix: &[u8], revision: i64) -> Watched {
    let create = wire::WatchCreateRequest {
        key: if prefix.is_empty() { vec![0] } else { prefix.to_vec() },
        range_end: end_of(prefix),
        start_revision: revision,
        progress_notify: true,
    };
    Watched { create, needs_leader: false }
}

impl Watch {
    /// The next changes, in order; `None` after the stream has ended.
    ///
    /// # Errors
    /// When the connection breaks, or the revision to start from is no longer kept.
    pub async fn next(&mut self) -> Result<Option<Vec<Change>>, Error> {
        match self.news().await? {
            Some(News::Changes(changes)) => Ok(Some(changes)),
            Some(News::Compacted(revision)) => {
                let reason = format!("history before revision {revision} is gone");
                Err(Error::Answer(format!("the watch was ended: {reason}")))
            }
            None => Ok(None),
        }
    }

    /// As [`Watch::next`], for whoever knows what to do when the history is gone.
    ///
    /// # Errors
    /// When the connection breaks, or etcd ends the watch.
    pub async fn news(&mut self) -> Result<Option<News>, Error> {
        loop {
            let Some(answer) = self.stream.message().await.map_err(Error::call("send changes"))? else {
                return Ok(None);
            };
            if answer.compact_revision != 0 {
                return Ok(Some(News::Compacted(answer.compact_revision)));
            }
            if answer.canceled {
                return Err(Error::Answer(format!("the watch was ended: {}", answer.cancel_reason)));
            }
            // Confirmations and progress notes carry no events.
            if !answer.events.is_empty() {
                return Ok(Some(News::Changes(answer.events.into_iter().filter_map(change).collect())));
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
