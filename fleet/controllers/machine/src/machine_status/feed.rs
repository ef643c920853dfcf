//! What machines tell over the network: two calls, then one watch for each type (fleet.md 4.2).
//!
//! ```text
//! Target ─▶ as a member, else in maintenance: version, types ─▶ verdict
//!                └▶ a watch for each type of interest that the machine has, one after the other ─▶ Event …
//!                └▶ id of its boot, every 30 s where it has no such type   ─▶ Event …
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use corten_api::cosi::resource::{Event as WireEvent, EventType, WatchOptions, WatchRequest, WatchResponse};
use corten_client::Client;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, SelectAll, StreamExt as _};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tonic::client::Grpc;
use tonic::codec::{BufferSettings, Codec};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming};
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::kinds::Kind;
use super::observed::Event;
use super::watch::{Feed, Listen};
use crate::board::Reach;
use crate::calls::{self, CallError, Told};
use crate::connect::{
    Connection, Dial, Keyring, MemberAccess, Outcome, Verdict, is_maintenance_worth_a_try, verdict,
};
use crate::pool::{Pool, Target};
use crate::version::is_at_least;

/// The version of the watch protocol that tells when everything has been sent.
const API_VERSION: i32 = 1;
/// First and further sizes of the buffer of a watch, bytes. The usual 8 KiB of each would be most of what a machine
/// costs.
const BUFFER: usize = 512;
/// Bytes that are sent together.
const YIELD: usize = 4096;
/// Largest message of a watch, bytes.
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Largest resource that is looked at, bytes on the wire. Only a schematic with a configuration inside comes near.
const RESOURCE_BYTES_MAX: usize = 512 * 1024;
/// How long a machine may take to begin a watch.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// Between two questions for the id of the boot.
const BOOT_ID_INTERVAL: Duration = Duration::from_secs(30);
/// First version that may be asked for it.
const TELLS_BOOT_ID: (u32, u32) = (1, 13);

/// Watches over the network, with buffers for a few small messages.
#[derive(Clone, Copy, Debug)]
struct SmallBuffers;

impl Codec for SmallBuffers {
    type Encode = WatchRequest;
    type Decode = WatchResponse;
    type Encoder = ProstEncoder<WatchRequest>;
    type Decoder = ProstDecoder<WatchResponse>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BUFFER, YIELD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(BUFFER, YIELD))
    }
}

/// A machine that answered the first calls.
struct Greeting {
    connection: Connection,
    told: Told,
    kinds: Vec<Kind>,
}

/// Machines behind the tunnel.
pub struct Network<D, K> {
    pool: Arc<Pool<D>>,
    keyring: K,
}

impl<D: Dial, K: Keyring> Network<D, K> {
    /// Machines that are reached with connections of a pool and credentials of a keyring.
    pub const fn new(pool: Arc<Pool<D>>, keyring: K) -> Self {
        Self { pool, keyring }
    }

    /// Connects in one way and makes the first calls.
    async fn greet(
        &self,
        machine: &str,
        target: &Target,
        access: Option<&MemberAccess>,
    ) -> Result<Greeting, CallError> {
        let connection = self.pool.get(machine, target, access).await?;
        let told = calls::version(connection.client()).await?;
        let kinds = calls::kinds(connection.client()).await?;
        Ok(Greeting { connection, told, kinds })
    }

    /// Connects in whichever way the machine answers.
    async fn reach(&self, machine: &str, target: &Target) -> Result<(Reach, Greeting), Reach> {
        let access = target.cluster.as_deref().and_then(|cluster| self.keyring.access(cluster));
        let mut why = String::new();
        let mut outcome = None;
        if let Some(access) = &access {
            match self.greet(machine, target, Some(access)).await {
                Ok(greeting) => return Ok((Reach::Member, greeting)),
                Err(error) => {
                    outcome = error.outcome();
                    why = corten_base::chain(&error);
                    self.pool.forget(machine);
                }
            }
        }
        let mut maintenance = None;
        if is_maintenance_worth_a_try(outcome) {
            match self.greet(machine, target, None).await {
                Ok(greeting) => return Ok((Reach::Maintenance, greeting)),
                Err(error) => {
                    maintenance = error.outcome();
                    why = corten_base::chain(&error);
                    self.pool.forget(machine);
                }
            }
        }
        Err(missed(outcome, maintenance, why))
    }
}

/// How a machine that did not answer is reached.
fn missed(member: Option<Outcome>, maintenance: Option<Outcome>, why: String) -> Reach {
    match verdict(member, maintenance) {
        Verdict::Foreign => Reach::Foreign,
        Verdict::Member | Verdict::Maintenance | Verdict::Unreachable => Reach::Unreachable(why.into()),
    }
}

impl<D: Dial, K: Keyring> Feed for Network<D, K> {
    type Listen = Ears;

    async fn open(&self, machine: &str, target: &Target) -> Result<(Reach, Ears), Reach> {
        let (reach, greeting) = self.reach(machine, target).await?;
        let opened = Ears::open(greeting).await;
        opened.map(|ears| (reach, ears)).map_err(|status| {
            self.pool.forget(machine);
            Reach::Unreachable(corten_base::chain(&status).into())
        })
    }

    async fn way(&self, target: &Target) {
        self.pool.way(target.address).await;
    }

    async fn heard(&self, target: &Target) {
        self.pool.heard(target.address).await;
    }
}

/// A message of the watch of a type.
type Message = (Kind, Result<WatchResponse, Status>);

type Messages = BoxStream<'static, Message>;

/// All watches of one machine. Each begins when the one before has told all that there is: what a connection once needed
/// for many streams at the same time it keeps for ever.
pub struct Ears {
    connection: Connection,
    /// Types whose watch has not begun.
    left: VecDeque<Kind>,
    /// The watch that begins.
    begun: Option<BoxFuture<'static, Result<Messages, Status>>>,
    watches: SelectAll<Messages>,
    queue: VecDeque<Event>,
    client: Client,
    /// When the machine is asked for the id of its boot; `None` when it tells by itself, or cannot.
    timer: Option<Interval>,
    /// The question that waits for its answer.
    asked: Option<BoxFuture<'static, Result<String, CallError>>>,
}

impl Ears {
    async fn open(greeting: Greeting) -> Result<Self, Status> {
        let Greeting { connection, told, kinds } = greeting;
        let mut left: VecDeque<Kind> = kinds.iter().copied().collect();
        let mut watches = SelectAll::new();
        if let Some(first) = left.pop_front() {
            watches.push(watch(connection.clone(), first).await?);
        }
        let must_ask = !kinds.contains(&Kind::BootId) && is_at_least(&told.tag, TELLS_BOOT_ID);
        let timer = must_ask.then(|| {
            let mut timer = interval(BOOT_ID_INTERVAL);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            timer
        });
        let queue = [Event::Has(kinds), Event::Runs { tag: told.tag, arch: told.arch }].into();
        let client = connection.client().clone();
        Ok(Self { connection, left, begun: None, watches, queue, client, timer, asked: None })
    }

    /// Takes what the watch of a type says; when it has told all, the next one begins.
    fn take(&mut self, kind: Kind, response: WatchResponse) -> Result<(), Status> {
        for event in response.event {
            let event = read(kind, event)?;
            if matches!(event, Some(Event::Complete(_)))
                && let Some(next) = self.left.pop_front()
            {
                self.begun = Some(Box::pin(watch(self.connection.clone(), next)));
            }
            self.queue.extend(event);
        }
        Ok(())
    }

    fn ask(&mut self) {
        let client = self.client.clone();
        self.asked = Some(Box::pin(async move { calls::boot_id(&client).await }));
    }
}

/// Begins the watch of a type; it ends with an error, never without.
async fn watch(connection: Connection, kind: Kind) -> Result<Messages, Status> {
    let definition = kind.definition();
    let request = WatchRequest {
        namespace: definition.namespace.to_owned(),
        r#type: definition.kind.to_owned(),
        id: None,
        options: Some(WatchOptions { bootstrap_contents: true, ..WatchOptions::default() }),
        api_version: API_VERSION,
    };
    let mut grpc = Grpc::new(connection.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready().await.map_err(|error| Status::unavailable(corten_base::chain(&error)))?;
    let path = PathAndQuery::from_static("/cosi.resource.State/Watch");
    let answer = timeout(OPEN_LIMIT, grpc.server_streaming(Request::new(request), path, SmallBuffers)).await;
    let late = |_| Status::deadline_exceeded("the machine does not begin a watch in time");
    let answer = answer.map_err(late)??;
    let messages: Streaming<WatchResponse> = answer.into_inner();
    let end = stream::once(std::future::ready(Err(Status::unavailable("the machine ended a watch"))));
    Ok(messages.chain(end).map(move |message| (kind, message)).boxed())
}

impl Listen for Ears {
    async fn next(&mut self) -> anyhow::Result<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            tokio::select! {
                // A message is taken or is not; nothing is lost when this is dropped.
                message = self.watches.next() => match message {
                    Some((kind, Ok(response))) => self.take(kind, response)?,
                    Some((_, Err(status))) => return Err(status.into()),
                    None => anyhow::bail!("the machine has none of the types that are watched"),
                },
                begun = answered(&mut self.begun) => {
                    self.begun = None;
                    self.watches.push(begun?);
                }
                // The question stays asked.
                answer = answered(&mut self.asked) => {
                    self.asked = None;
                    match answer {
                        Ok(id) => self.queue.push_back(Event::BootId(id)),
                        Err(error) => tracing::debug!(error = corten_base::chain(&error), "no boot id"),
                    }
                }
                // A tick that is not waited for any more comes again.
                () = tick(&mut self.timer), if self.asked.is_none() => self.ask(),
            }
        }
    }
}

async fn answered<T>(asked: &mut Option<BoxFuture<'static, T>>) -> T {
    match asked {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

async fn tick(timer: &mut Option<Interval>) {
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

    #[test]
    fn a_machine_that_refuses_both_ways_belongs_to_somebody_else() {
        let why = || "no".to_owned();
        assert_eq!(missed(None, Some(Outcome::Refused), why()), Reach::Foreign);
        assert_eq!(missed(Some(Outcome::Missed), None, why()), Reach::Unreachable("no".into()));
    }
}
