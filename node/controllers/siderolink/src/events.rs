//! Sends the machine's events to its manager.
//!
//! ```text
//! event log ──next event──▶ Publish ──taken──▶ the next one
//!                              ╰──not taken──▶ connect again, the same one
//! ```
//! A new destination gets every event that is kept; one that was away gets those after the last one that it took.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use corten_api::events::EventRequest;
use corten_api::events::event_sink_service_client::EventSinkServiceClient;
use corten_base::{Backoff, Rng, Task, spawn};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::siderolink::EventSinkConfig;
use prost_types::Any;
use tokio::time::timeout;
use tonic::transport::Channel;

use crate::address::HostPort;
use crate::api;
use crate::url::ApiAddress;

/// Time for one event, the connection included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after the first failure, and the longest one.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// An event of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id. Ids sort in the order of the events.
    pub id: String,
    /// Ties together the events that one call caused; may be empty.
    pub actor_id: String,
    /// Type of the message, as `talos/runtime/machine.SequenceEvent`.
    pub type_url: String,
    /// The encoded message.
    pub payload: Vec<u8>,
}

/// Where the machine's events are: the ring of the program that has them, which implements this.
pub trait EventLog: Send + Sync + 'static {
    /// The first event after the one with this id, waiting for it; without an id, or when it is not kept any more, the
    /// oldest one that is.
    fn after(&self, id: Option<&str>) -> impl Future<Output = Event> + Send;
}

/// Who takes events. Implemented by a gRPC client and by a fake for tests.
trait Sink: Send {
    /// Hands over an event.
    fn publish(&mut self, event: &Event) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Runs the sender.
pub struct EventSink<E> {
    events: Arc<E>,
    rng: Rng,
    sender: Option<(HostPort, Task)>,
}

controller!(impl<E: EventLog> EventSink<E>, "siderolink.EventSink",
    inputs: [weak EventSinkConfig],
    outputs: []);

impl<E> EventSink<E> {
    /// A controller that sends nothing yet.
    #[must_use]
    pub fn new(events: E, rng: Rng) -> Self {
        Self { events: Arc::new(events), rng, sender: None }
    }
}

/// Begin or end of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Send there, and nowhere else.
    Start(HostPort),
    /// Send nothing.
    Stop,
}

impl<E: EventLog> Driver for EventSink<E> {
    type Observed = Option<HostPort>;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Option<HostPort>> {
        Ok(self.sender.as_ref().map(|(host, _)| host.clone()))
    }

    fn plan(&self, view: &View<Self>, running: &Option<HostPort>) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let config = view.get::<EventSinkConfig>(EventSinkConfig::ID);
        let wanted = config.and_then(|config| HostPort::parse(&config.spec.endpoint, None));
        match wanted {
            Some(wanted) if running.as_ref() != Some(&wanted) => {
                plan.op(Op::Start(wanted));
            }
            None if running.is_some() => {
                plan.op(Op::Stop);
            }
            _ => {}
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        self.sender = match op {
            Op::Stop => None,
            Op::Start(host) => {
                let sink = GrpcSink { host: host.clone(), client: None };
                let task = spawn("event sink", send_all(Arc::clone(&self.events), sink, self.rng.clone()));
                Some((host, task))
            }
        };
        Ok(())
    }
}

/// Sends one event after the other until the task is dropped.
async fn send_all<E: EventLog, S: Sink>(events: Arc<E>, mut sink: S, rng: Rng) {
    let mut last: Option<String> = None;
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let event = events.after(last.as_deref()).await;
        while let Err(error) = sink.publish(&event).await {
            // Told once for each event: the log may go the same way, and must not grow with every attempt.
            if backoff.attempts() == 0 {
                tracing::warn!(error = %format_args!("{error:#}"), "an event is not taken");
            }
            tokio::time::sleep(backoff.next_delay(&rng)).await;
        }
        backoff.reset();
        last = Some(event.id);
    }
}

/// The manager's service. A connection over which a call failed is not used again.
struct GrpcSink {
    host: HostPort,
    client: Option<EventSinkServiceClient<Channel>>,
}

impl Sink for GrpcSink {
    async fn publish(&mut self, event: &Event) -> anyhow::Result<()> {
        let request = EventRequest {
            data: Some(Any { type_url: event.type_url.clone(), value: event.payload.clone() }),
            id: event.id.clone(),
            actor_id: event.actor_id.clone(),
        };
        let known = self.client.take();
        let api = ApiAddress { host: self.host.clone(), is_tls: false };
        let call = async {
            let mut client = match known {
                Some(client) => client,
                None => EventSinkServiceClient::new(api::connect(&api).await?),
            };
            client.publish(request).await?;
            Ok::<_, anyhow::Error>(client)
        };
        let answer = timeout(TIMEOUT, call).await;
        let answer = answer.with_context(|| format!("{} did not answer within {TIMEOUT:?}", self.host))?;
        self.client = Some(answer.with_context(|| format!("{} does not take the event", self.host))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;
    use parking_lot::Mutex;

    use super::*;

    /// A log with these ids, that is silent afterwards.
    #[derive(Clone)]
    struct FakeLog(Vec<&'static str>);

    impl EventLog for FakeLog {
        async fn after(&self, id: Option<&str>) -> Event {
            let Some(next) = self.0.iter().find(|known| id.is_none_or(|id| **known > id)) else {
                return std::future::pending().await;
            };
            let (id, actor_id) = ((*next).to_owned(), String::new());
            Event { id, actor_id, type_url: "talos/runtime/machine.SequenceEvent".into(), payload: vec![1] }
        }
    }

    /// A sink that refuses the event `b` twice and notes what it was offered.
    #[derive(Clone, Default)]
    struct FakeSink(Arc<Mutex<Vec<String>>>);

    impl Sink for FakeSink {
        async fn publish(&mut self, event: &Event) -> anyhow::Result<()> {
            let mut offered = self.0.lock();
            offered.push(event.id.clone());
            let times = offered.iter().filter(|id| **id == event.id).count();
            anyhow::ensure!(event.id != "b" || times > 2, "unknown sender");
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_event_is_sent_in_order_and_one_that_is_not_taken_again() {
        let (log, sink) = (FakeLog(vec!["a", "b", "c"]), FakeSink::default());
        let sending = send_all(Arc::new(log), sink.clone(), Rng::seeded(1));
        let ended = timeout(Duration::from_secs(60), sending).await;
        assert!(ended.is_err(), "it waits for more");
        assert_eq!(*sink.0.lock(), ["a", "b", "b", "b", "c"]);
    }

    #[test]
    fn there_is_one_sender_for_the_destination() {
        let sender = EventSink::new(FakeLog(Vec::new()), Rng::seeded(1));
        let host = |port| HostPort { host: "fdae::1".into(), port };
        let plan = |port: Option<u16>, running: Option<u16>| {
            let rows = port.map(|port| {
                resource(EventSinkConfig::ID, EventSinkConfig { endpoint: host(port).to_string() })
            });
            sender.plan(&View::of(rows, UNIX_EPOCH), &running.map(host)).ops().to_vec()
        };
        assert_eq!(plan(Some(1), None), [Op::Start(host(1))]);
        assert_eq!(plan(Some(1), Some(1)), []);
        assert_eq!(plan(Some(2), Some(1)), [Op::Start(host(2))]);
        assert_eq!(plan(None, Some(1)), [Op::Stop]);
    }
}
