//! The machine's events: a bounded ring that any number of readers follow at their own pace.
//!
//! A reader that falls behind the ring gets an error, it never holds anybody back. Ids are xids
//! (twelve sortable bytes in base32hex), because clients compare them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::UNIX_EPOCH;

use corten_base::{Clock, Rng};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Events kept; the ring of node.md 1.3.
const CAPACITY: usize = 1000;
/// Events skipped by a reader of a full ring, so that the writer does not overtake it at once.
const OVERRUN_GAP: usize = 10;

/// One event: who caused it and the message that describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Sortable id.
    pub id: String,
    /// Actor of the request that caused it; empty when none did.
    pub actor: String,
    /// Full protobuf name of the message, such as `machine.SequenceEvent`.
    pub message: &'static str,
    /// The encoded message.
    pub payload: Vec<u8>,
    /// Unix milliseconds.
    pub at_ms: u64,
}

/// Where a subscription starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Tail {
    /// With what comes from now on.
    Nothing,
    /// With this many of the last events.
    Last(usize),
    /// With everything in the ring.
    Everything,
    /// After the event with this id.
    AfterId(String),
    /// With events of the last seconds.
    Seconds(u64),
}

/// The reader was too slow and events were lost.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("buffer overrun, events were dropped")]
pub struct Overrun;

/// The event log of this machine.
#[derive(Clone, Debug)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ring: Mutex<Ring>,
    published: watch::Sender<u64>,
    ids: Ids,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Event>,
    /// Number of the first event in the ring.
    first: u64,
}

impl Events {
    /// An empty log.
    #[must_use]
    pub fn new(clock: Clock, rng: &Rng) -> Self {
        let (published, _) = watch::channel(0);
        Self(Arc::new(Inner { ring: Mutex::default(), published, ids: Ids::new(rng), clock }))
    }

    /// Appends an event; never waits.
    pub fn publish<M: EventMessage>(&self, actor: &str, message: &M) {
        let now = self.0.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let event = Event {
            id: self.0.ids.next(u32::try_from(now.as_secs()).unwrap_or(u32::MAX)),
            actor: actor.to_owned(),
            message: M::NAME,
            payload: message.encode_to_vec(),
            at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        };
        let end = {
            let mut ring = self.0.ring.lock();
            ring.events.push_back(event);
            if ring.events.len() > CAPACITY {
                ring.events.pop_front();
                ring.first += 1;
            }
            ring.first + ring.events.len() as u64
        };
        self.0.published.send_replace(end);
    }

    /// Starts reading; `actor` limits the stream to one actor's events.
    #[must_use]
    pub fn subscribe(&self, tail: &Tail, actor: Option<String>) -> Subscription {
        let now_ms = self.0.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let ring = self.0.ring.lock();
        let position = ring.first + ring.start(tail, u64::try_from(now_ms).unwrap_or(u64::MAX)) as u64;
        Subscription { events: self.clone(), wake: self.0.published.subscribe(), position, actor }
    }
}

impl Ring {
    fn start(&self, tail: &Tail, now_ms: u64) -> usize {
        let length = self.events.len();
        match tail {
            Tail::Nothing => length,
            Tail::Last(count) => length.saturating_sub(*count),
            Tail::Everything if length == CAPACITY => OVERRUN_GAP,
            Tail::Everything => 0,
            Tail::AfterId(id) => self.events.partition_point(|event| event.id <= *id),
            Tail::Seconds(seconds) => {
                let since = now_ms.saturating_sub(seconds.saturating_mul(1000));
                self.events.partition_point(|event| event.at_ms < since)
            }
        }
    }
}

/// A reader of the event log.
#[derive(Debug)]
pub struct Subscription {
    events: Events,
    wake: watch::Receiver<u64>,
    position: u64,
    actor: Option<String>,
}

impl Subscription {
    /// The next event, waiting for it. Cancel safe.
    ///
    /// # Errors
    /// [`Overrun`] when the ring has passed this reader.
    pub async fn next(&mut self) -> Result<Event, Overrun> {
        loop {
            self.wake.borrow_and_update();
            if let Some(event) = self.ready()? {
                return Ok(event);
            }
            if self.wake.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next event if there is one already.
    ///
    /// # Errors
    /// [`Overrun`] when the ring has passed this reader.
    pub fn ready(&mut self) -> Result<Option<Event>, Overrun> {
        let ring = self.events.0.ring.lock();
        if self.position < ring.first {
            return Err(Overrun);
        }
        loop {
            let index = usize::try_from(self.position - ring.first).unwrap_or(usize::MAX);
            let Some(event) = ring.events.get(index) else { return Ok(None) };
            self.position += 1;
            if self.actor.as_ref().is_none_or(|actor| *actor == event.actor) {
                return Ok(Some(event.clone()));
            }
        }
    }
}

/// A message that travels as an event.
pub trait EventMessage: prost::Message {
    /// Full protobuf name.
    const NAME: &'static str;
}

/// Maker of xids: seconds, five random bytes of this process, a counter (github.com/rs/xid's layout).
#[derive(Debug)]
struct Ids {
    process: [u8; 5],
    counter: AtomicU32,
}

impl Ids {
    fn new(rng: &Rng) -> Self {
        Self { process: rng.bytes(), counter: AtomicU32::new(0) }
    }

    fn next(&self, seconds: u32) -> String {
        let count = self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut raw = [0; 12];
        raw[..4].copy_from_slice(&seconds.to_be_bytes());
        raw[4..9].copy_from_slice(&self.process);
        raw[9..].copy_from_slice(&count[1..]);
        base32hex(&raw)
    }
}

/// Base32 with the extended hex alphabet, lower case, no padding (RFC 4648 section 7).
fn base32hex(raw: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let mut text = String::with_capacity(raw.len().div_ceil(5) * 8);
    let (mut buffer, mut bits) = (0u32, 0u32);
    for byte in raw {
        buffer = (buffer << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(buffer >> bits) as usize & 31]));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(buffer << (5 - bits)) as usize & 31]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Note {
        #[prost(uint32, tag = "1")]
        number: u32,
    }

    impl EventMessage for Note {
        const NAME: &'static str = "test.Note";
    }

    fn log() -> Events {
        Events::new(Clock::fixed(1_700_000_000), &Rng::seeded(3))
    }

    fn number(event: &Event) -> u32 {
        <Note as prost::Message>::decode(event.payload.as_slice()).expect("a note").number
    }

    #[tokio::test]
    async fn readers_start_where_they_ask() {
        let events = log();
        for number in 0..5 {
            events.publish("", &Note { number });
        }
        let mut last = events.subscribe(&Tail::Last(2), None);
        assert_eq!(number(&last.next().await.expect("event")), 3);
        let mut all = events.subscribe(&Tail::Everything, None);
        let first = all.next().await.expect("event");
        assert_eq!(number(&first), 0);
        let mut after = events.subscribe(&Tail::AfterId(first.id), None);
        assert_eq!(number(&after.next().await.expect("event")), 1);
        let mut none = events.subscribe(&Tail::Nothing, None);
        assert_eq!(none.ready(), Ok(None));
    }

    #[tokio::test]
    async fn an_actor_filter_hides_the_others() {
        let events = log();
        events.publish("a", &Note { number: 1 });
        events.publish("b", &Note { number: 2 });
        let mut only = events.subscribe(&Tail::Everything, Some("b".into()));
        assert_eq!(number(&only.next().await.expect("event")), 2);
        assert_eq!(only.ready(), Ok(None));
    }

    #[test]
    fn a_slow_reader_is_told_and_the_ring_stays_bounded() {
        let events = log();
        let mut slow = events.subscribe(&Tail::Everything, None);
        for number in 0..1500 {
            events.publish("", &Note { number });
        }
        assert_eq!(slow.ready(), Err(Overrun));
        assert_eq!(events.0.ring.lock().events.len(), CAPACITY);
    }

    #[test]
    fn ids_sort_in_order_and_have_twenty_letters() {
        let ids = Ids::new(&Rng::seeded(1));
        let made: Vec<String> = (0..300).map(|_| ids.next(5)).collect();
        assert!(made.is_sorted());
        assert!(made.iter().all(|id| id.len() == 20));
    }
}
