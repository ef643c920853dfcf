//! A machine's events: a small ring that the API and the event sink read, each at its own pace.
//!
//! A reader that falls behind goes on with the oldest event that is left. The ring of a real machine is larger; that of
//! one among thousands is not.

use std::collections::VecDeque;

use corten_api::machine;
use parking_lot::Mutex;
use prost::Message;
use prost_types::Any;
use tokio::sync::watch;

/// Events that are kept.
const CAPACITY: usize = 128;
/// Prefix of the types of events (node.md 1.3).
const TYPE_PREFIX: &str = "talos/runtime/";

/// A message that travels as an event.
pub trait EventMessage: Message {
    /// Full protobuf name.
    const NAME: &'static str;
}

macro_rules! messages {
    ($($message:ty => $name:literal),* $(,)?) => {
        $(impl EventMessage for $message {
            const NAME: &'static str = $name;
        })*
    };
}

messages! {
    machine::SequenceEvent => "machine.SequenceEvent",
    machine::ServiceStateEvent => "machine.ServiceStateEvent",
    machine::RestartEvent => "machine.RestartEvent",
    machine::MachineStatusEvent => "machine.MachineStatusEvent",
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Sortable id.
    pub id: String,
    /// Who caused it; empty when nobody did.
    pub actor: String,
    /// Full protobuf name of the message.
    name: &'static str,
    payload: Vec<u8>,
}

impl Event {
    /// The message in its envelope.
    #[must_use]
    pub fn to_any(&self) -> Any {
        Any { type_url: format!("{TYPE_PREFIX}{}", self.name), value: self.payload.clone() }
    }
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    /// Number of the first event in the ring.
    first: u64,
}

/// The events of a machine.
#[derive(Debug, Default)]
pub struct Events {
    ring: Mutex<Ring>,
    published: watch::Sender<u64>,
}

impl Events {
    /// Appends an event.
    pub fn publish<M: EventMessage>(&self, actor: &str, message: &M) {
        let end = {
            let mut ring = self.ring.lock();
            let number = ring.first + ring.events.len() as u64;
            let event = Event {
                id: format!("{number:020x}"),
                actor: actor.to_owned(),
                name: M::NAME,
                payload: message.encode_to_vec(),
            };
            ring.events.push_back(event);
            if ring.events.len() > CAPACITY {
                ring.events.pop_front();
                ring.first += 1;
            }
            number + 1
        };
        self.published.send_replace(end);
    }

    /// Forgets everything, as a reboot does.
    pub fn clear(&self) {
        let mut ring = self.ring.lock();
        ring.first += ring.events.len() as u64;
        ring.events.clear();
    }

    /// Number of the next event, for a reader that wants no old ones; `tail` of them before it, all when negative.
    #[must_use]
    pub fn position(&self, tail: i32) -> u64 {
        let ring = self.ring.lock();
        let length = ring.events.len();
        let wanted = usize::try_from(tail).unwrap_or(length).min(length);
        ring.first + (length - wanted) as u64
    }

    /// The event at a position, waiting for it; the position moves behind it. Cancel safe.
    pub async fn next(&self, position: &mut u64) -> Event {
        let mut published = self.published.subscribe();
        loop {
            published.borrow_and_update();
            if let Some(event) = self.ready(position) {
                return event;
            }
            // The sender lives as long as the ring.
            let _ = published.changed().await;
        }
    }

    fn ready(&self, position: &mut u64) -> Option<Event> {
        let ring = self.ring.lock();
        *position = (*position).max(ring.first);
        let index = usize::try_from(*position - ring.first).ok()?;
        let event = ring.events.get(index)?.clone();
        *position += 1;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use corten_api::machine::RestartEvent;

    use super::*;

    #[tokio::test]
    async fn a_reader_sees_every_event_once_and_goes_on_after_a_gap() {
        let events = Events::default();
        let mut position = 0;
        for cmd in 0..3 {
            events.publish("", &RestartEvent { cmd });
        }
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(events.next(&mut position).await.id);
        }
        assert!(ids.is_sorted() && ids.len() == 3);
        for cmd in 0..200 {
            events.publish("me", &RestartEvent { cmd });
        }
        assert_eq!(events.next(&mut position).await.id, format!("{:020x}", 203 - CAPACITY));
        let any = events.next(&mut position).await.to_any();
        assert_eq!(any.type_url, "talos/runtime/machine.RestartEvent");
    }

    #[test]
    fn a_reader_begins_where_it_wants() {
        let events = Events::default();
        for cmd in 0..5 {
            events.publish("", &RestartEvent { cmd });
        }
        assert_eq!((events.position(0), events.position(2), events.position(-1)), (5, 3, 0));
        events.clear();
        assert_eq!((events.position(-1), events.position(9)), (5, 5));
    }
}
