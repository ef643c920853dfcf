//! The daemon's events. A stream that ends tells nothing but that it ended: list again, then subscribe again.

use std::time::SystemTime;

use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::client::{MESSAGE, Namespace};
use crate::error::Error;
use crate::stream::unpack;
use crate::tasks::{Exit, time};
use crate::wire::containerd::events as payload;
use crate::wire::containerd::services::events::v1::{SubscribeRequest, events_client::EventsClient};
use crate::wire::containerd::types::Envelope;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Namespace that it happened in.
    pub namespace: String,
    /// `/tasks/exit`, `/images/create`, …
    pub topic: String,
    /// When.
    pub at: Option<SystemTime>,
    /// What.
    pub kind: EventKind,
}

/// What happened, as far as machines act on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A task has started.
    Started {
        /// Container.
        id: String,
        /// Process id on the host.
        pid: u32,
    },
    /// A process of a container has ended.
    Exited {
        /// Container.
        id: String,
        /// Process within it; the same as `id` for the first one.
        process: String,
        /// How.
        exit: Exit,
    },
    /// The kernel has killed in a container for want of memory.
    OutOfMemory {
        /// Container.
        id: String,
    },
    /// A task was removed.
    TaskDeleted {
        /// Container.
        id: String,
    },
    /// A container was made.
    Created {
        /// Container.
        id: String,
        /// Its image.
        image: String,
    },
    /// A container was removed.
    Deleted {
        /// Container.
        id: String,
    },
    /// Anything else; the topic tells.
    Other,
}

impl Namespace {
    /// The events of this namespace, from the first poll on.
    ///
    /// The daemon answers a subscription only with its first event, so nothing tells when it stands: who acts
    /// on events also looks at the state from time to time.
    pub fn events(&self) -> impl Stream<Item = Result<Event, Error>> + Send + Unpin + use<> {
        let name = self.name().to_owned();
        let request = self.open(SubscribeRequest { filters: vec![format!("namespace=={name}")] });
        let mut client = EventsClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE);
        let subscribe = async move { client.subscribe(request).await };
        let items = stream::once(subscribe).map_ok(tonic::Response::into_inner).try_flatten();
        items.map(move |item| item.map(Event::from).map_err(Error::call("send events of", &name))).boxed()
    }
}

impl From<Envelope> for Event {
    fn from(envelope: Envelope) -> Self {
        let kind = envelope.event.as_ref().map_or(EventKind::Other, kind_of);
        Self { namespace: envelope.namespace, topic: envelope.topic, at: time(envelope.timestamp), kind }
    }
}

fn kind_of(any: &prost_types::Any) -> EventKind {
    if let Some(it) = unpack::<payload::TaskExit>(any) {
        let exit = Exit { status: it.exit_status, at: time(it.exited_at) };
        return EventKind::Exited { id: it.container_id, process: it.id, exit };
    }
    if let Some(it) = unpack::<payload::TaskStart>(any) {
        return EventKind::Started { id: it.container_id, pid: it.pid };
    }
    if let Some(it) = unpack::<payload::TaskOom>(any) {
        return EventKind::OutOfMemory { id: it.container_id };
    }
    if let Some(it) = unpack::<payload::TaskDelete>(any) {
        return EventKind::TaskDeleted { id: it.container_id };
    }
    if let Some(it) = unpack::<payload::ContainerCreate>(any) {
        return EventKind::Created { id: it.id, image: it.image };
    }
    if let Some(it) = unpack::<payload::ContainerDelete>(any) {
        return EventKind::Deleted { id: it.id };
    }
    EventKind::Other
}
