//! What one machine tells: a watch for each type of interest, and the id of its boot (fleet.md 4.2).
//!
//! ```text
//! Greeting ─▶ a watch for each type that the machine has, one after the other ─▶ Event …
//!          └▶ id of its boot, every 30 s where it has no such type            ─▶ Event …
//! ```
//!
//! All calls of a machine share one connection and one task, and what stands still costs next to nothing: there are as
//! many of these as there are machines.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use corten_api::common::Data;
use corten_api::cosi::resource::{Event as WireEvent, EventType, WatchOptions, WatchRequest, WatchResponse};
use corten_api::machine::ReadRequest;
use corten_fleet_grpc::{Answer, Client, StreamId};
use prost::encoding::{DecodeContext, decode_key, skip_field};
use prost::{DecodeError, Message as _};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tonic::Status;

use super::feed::Greeting;
use super::kinds::Kind;
use super::observed::Event;
use super::watch::Listen;
use crate::calls;
use crate::connect::Stream;
use crate::version::is_at_least;

/// The version of the watch protocol that tells when everything has been sent.
const API_VERSION: i32 = 1;
/// Largest resource that is looked at, bytes on the wire. Only a schematic with a configuration inside comes near.
const RESOURCE_BYTES_MAX: usize = 512 * 1024;
/// Most changes in one message: machines send one, or what happened at once.
const EVENTS_MAX: usize = 1024;
/// Between two questions for the id of the boot, and how long one waits for its answer.
const BOOT_ID_INTERVAL: Duration = Duration::from_secs(30);
/// First version that may be asked for it.
const TELLS_BOOT_ID: (u32, u32) = (1, 13);

/// A question for the id of the boot.
struct Asked {
    stream: StreamId,
    content: Vec<u8>,
}

/// All that one machine tells. Each watch begins when the one before has told all that there is.
pub struct Ears {
    client: Client<Stream>,
    /// Types whose watch has not begun, the last one first.
    left: Vec<Kind>,
    watches: Vec<(StreamId, Kind)>,
    queue: VecDeque<Event>,
    /// When the machine is asked for the id of its boot; `None` when it tells by itself, or cannot.
    timer: Option<Box<Interval>>,
    /// The question that waits for its answer.
    asked: Option<Asked>,
}

impl Ears {
    /// Begins to hear a machine that was greeted.
    pub(super) fn new(greeting: Greeting) -> Result<Self, Status> {
        let Greeting { client, told, kinds } = greeting;
        let must_ask = !kinds.contains(&Kind::BootId) && is_at_least(&told.tag, TELLS_BOOT_ID);
        let timer = must_ask.then(|| {
            let mut timer = interval(BOOT_ID_INTERVAL);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Box::new(timer)
        });
        let left = kinds.iter().rev().copied().collect();
        let watches = Vec::with_capacity(kinds.len());
        let queue = [Event::Has(kinds), Event::Runs { tag: told.tag, arch: told.arch }].into();
        let mut ears = Self { client, left, watches, queue, timer, asked: None };
        ears.watch_next()?;
        Ok(ears)
    }

    /// Begins the next watch.
    fn watch_next(&mut self) -> Result<(), Status> {
        let Some(kind) = self.left.pop() else {
            self.left = Vec::new();
            return Ok(());
        };
        let definition = kind.definition();
        let request = WatchRequest {
            namespace: definition.namespace.to_owned(),
            r#type: definition.kind.to_owned(),
            id: None,
            options: Some(WatchOptions { bootstrap_contents: true, ..WatchOptions::default() }),
            api_version: API_VERSION,
        };
        let stream = begin(&mut self.client, "/cosi.resource.State/Watch", &request)?;
        self.watches.push((stream, kind));
        Ok(())
    }

    /// Asks for the id of the boot; a question that was not answered is given up.
    fn ask(&mut self) {
        if let Some(asked) = self.asked.take() {
            tracing::debug!("the machine does not tell the id of its boot");
            self.client.cancel(asked.stream);
        }
        let request = ReadRequest { path: calls::BOOT_ID_PATH.to_owned() };
        // A machine that has no room for the question is asked again later.
        let begun = self.client.call("/machine.MachineService/Read", &request);
        self.asked = begun.ok().flatten().map(|stream| Asked { stream, content: Vec::new() });
    }

    /// Takes what came of a call.
    fn take(&mut self, stream: StreamId, answer: Answer) -> Result<(), Status> {
        if self.asked.as_ref().is_some_and(|asked| asked.stream == stream) {
            self.told(answer);
            return Ok(());
        }
        let watch = self.watches.iter().find(|(watch, _)| *watch == stream);
        let Some(kind) = watch.map(|(_, kind)| *kind) else { return Ok(()) };
        match answer {
            Answer::Message(message) => self.changed(kind, message),
            Answer::End(status) if status.code() == tonic::Code::Ok => {
                Err(Status::unavailable("the machine ended a watch"))
            }
            Answer::End(status) => Err(status),
        }
    }

    /// Takes what the watch of a type says; when it has told all, the next one begins.
    fn changed(&mut self, kind: Kind, message: Bytes) -> Result<(), Status> {
        let unreadable = |error| Status::internal(format!("a change of the machine cannot be read: {error}"));
        if count(message.clone()).map_err(unreadable)? > EVENTS_MAX {
            return Err(Status::resource_exhausted("the machine tells more changes at once than are taken"));
        }
        let response = WatchResponse::decode(message).map_err(unreadable)?;
        for event in response.event {
            let event = read(kind, event)?;
            if matches!(event, Some(Event::Complete(_))) {
                self.watch_next()?;
            }
            self.queue.extend(event);
        }
        Ok(())
    }

    /// Takes what the machine says of its boot.
    fn told(&mut self, answer: Answer) {
        match (answer, &mut self.asked) {
            (Answer::Message(message), Some(asked)) => {
                let bytes = Data::decode(message).unwrap_or_default().bytes;
                // One byte too many tells that the content is none.
                let room = (calls::BOOT_ID_BYTES_MAX + 1).saturating_sub(asked.content.len());
                asked.content.extend(bytes.iter().take(room));
            }
            (Answer::End(status), asked) => {
                let content = asked.take().map(|asked| asked.content).unwrap_or_default();
                match calls::uuid_of_boot(&content) {
                    Some(id) => self.queue.push_back(Event::BootId(id)),
                    None => tracing::debug!(error = corten_base::chain(&status), "no boot id"),
                }
            }
            (Answer::Message(_), None) => {}
        }
    }
}

/// How many fields a message has, before it is decoded: two bytes of a message may be hundreds in memory.
fn count(mut message: Bytes) -> Result<usize, DecodeError> {
    let mut count = 0;
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
        count += 1;
    }
    Ok(count)
}

/// Begins a call.
pub(super) fn begin(
    client: &mut Client<Stream>,
    path: &str,
    request: &impl prost::Message,
) -> Result<StreamId, Status> {
    let begun = client.call(path, request).map_err(|error| Status::internal(error.to_string()))?;
    begun.ok_or_else(|| Status::unavailable("the machine takes no further calls on a connection"))
}

/// What a broken connection means for its calls.
pub(super) fn broken(error: std::io::Error) -> Status {
    Status::unavailable(corten_base::chain(&error))
}

impl Listen for Ears {
    async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            self.queue = VecDeque::new();
            if self.watches.is_empty() {
                anyhow::bail!("the machine has none of the types that are watched");
            }
            tokio::select! {
                // An answer is taken or is not; nothing is lost when this is dropped.
                answer = self.client.next() => {
                    let (stream, answer) = answer?;
                    self.take(stream, answer)?;
                }
                // A tick that is not waited for any more comes again.
                () = tick(&mut self.timer) => self.ask(),
            }
        }
    }
}

async fn tick(timer: &mut Option<Box<Interval>>) {
    match timer {
        Some(timer) => drop(timer.tick().await),
        None => std::future::pending().await,
    }
}

/// What an event of a watch says; nothing when it does not matter, or the resource cannot be read.
fn read(kind: Kind, event: WireEvent) -> Result<Option<Event>, Status> {
    let event_type = event.event_type();
    let resource = event.resource.unwrap_or_default();
    let id = resource.metadata.unwrap_or_default().id;
    Ok(match event_type {
        EventType::Created | EventType::Updated => {
            let bytes = resource.spec.unwrap_or_default().proto_spec;
            let item = if bytes.len() <= RESOURCE_BYTES_MAX { kind.decode(&bytes).ok() } else { None };
            if item.is_none() {
                tracing::debug!(?kind, id, bytes = bytes.len(), "a resource of a machine cannot be read");
            }
            item.map(|item| Event::Put { id, item, size: bytes.len() })
        }
        EventType::Destroyed => Some(Event::Gone { kind, id }),
        EventType::Bootstrapped => Some(Event::Complete(kind)),
        EventType::Errored => return Err(Status::internal(event.error.unwrap_or_default())),
        EventType::Noop => None,
    })
}

#[cfg(test)]
mod tests {
    use corten_api::cosi::resource::{Metadata, Resource, Spec};

    use super::*;

    fn event(event_type: EventType, id: &str, bytes: Vec<u8>) -> WireEvent {
        let metadata = Metadata { id: id.to_owned(), ..Metadata::default() };
        let spec = Spec { proto_spec: bytes.into(), yaml_spec: String::new() };
        let resource = Some(Resource { metadata: Some(metadata), spec: Some(spec) });
        WireEvent { resource, event_type: event_type.into(), ..WireEvent::default() }
    }

    #[test]
    fn changes_are_counted_before_they_take_memory() {
        let events = vec![WireEvent::default(); 3];
        let message = Bytes::from(WatchResponse { event: events }.encode_to_vec());
        assert_eq!(message.len(), 6);
        assert_eq!(count(message), Ok(3));
        bolero::check!().for_each(|bytes: &[u8]| {
            let message = Bytes::copy_from_slice(bytes);
            let decoded = WatchResponse::decode(message.clone()).map(|response| response.event.len());
            if let (Ok(events), Ok(count)) = (decoded, count(message)) {
                assert!(events <= count);
            }
        });
    }

    #[test]
    fn a_resource_that_cannot_be_read_is_left_out_and_an_error_ends_the_watch() {
        let read = |event| read(Kind::Hostname, event);
        let put = read(event(EventType::Created, "hostname", Vec::new())).expect("an event");
        assert!(matches!(put, Some(Event::Put { size: 0, .. })));
        assert_eq!(read(event(EventType::Updated, "hostname", vec![0xff])).expect("an event"), None);
        let large = vec![0; RESOURCE_BYTES_MAX + 1];
        assert_eq!(read(event(EventType::Created, "hostname", large)).expect("an event"), None);
        let complete = read(event(EventType::Bootstrapped, "", Vec::new())).expect("an event");
        assert_eq!(complete, Some(Event::Complete(Kind::Hostname)));
        assert!(read(event(EventType::Errored, "", Vec::new())).is_err());
    }
}
