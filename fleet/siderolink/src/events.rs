//! `events.EventSinkService`: machines tell what happens to them.
//!
//! ```text
//! Publish, from the machine's address in the tunnel ─▶ type of the event ─▶ Report ─▶ Snapshots
//!                                                 └▶ of no interest: taken, and forgotten
//! ```
//!
//! Every machine keeps a connection for its events open for as long as it runs, and says little on it.
//!
//! A machine sends one event after another and repeats the one that is not taken, so an error here holds all of its
//! events back. Only a sender that is not known and a receiver that has no room are errors.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use corten_api::common;
use corten_api::events::{EventRequest, EventResponse};
use corten_api::machine::{self, machine_status_event::MachineStage as WireStage, sequence_event};
use corten_base::chain;
use corten_fleet_grpc::{Request, serve};
use corten_fleet_resources::machine::{MachineReadiness, MachineStage, MachineStatusEvent, UnmetCondition};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tonic::Status;

use crate::places::{Place, Places};
use crate::senders::Senders;

/// The only method.
const PUBLISH: &str = "/events.EventSinkService/Publish";
/// Largest event, in bytes.
const EVENT_BYTES_MAX: usize = 256 * 1024;
/// Reports that wait in a [`channel`].
const REPORTS_MAX: usize = 1024;
/// Unmet conditions of one event that are kept.
const CONDITIONS_MAX: usize = 64;
/// Characters of a text of an event that are kept.
const TEXT_CHARS_MAX: usize = 1024;
/// The sequence that installs the system.
const INSTALL: &str = "install";
/// The sequence that starts a system that is installed.
const BOOT: &str = "boot";
/// What the error of a sequence contains that ended with a reboot.
const REBOOT: &str = "unix.Reboot";

/// Something that a machine told.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// UUID of the machine.
    pub machine: String,
    /// What it told.
    pub news: News,
}

/// What a machine told.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// What it is doing, and whether it is ready.
    Stage(MachineStatusEvent),
    /// A sequence of steps began or ended.
    Sequence(Sequence),
}

/// Begin or end of a sequence of steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Name, such as `boot`, `install` or `upgrade`.
    pub name: String,
    /// What happened to it.
    pub action: SequenceAction,
    /// Why it failed; empty when it did not.
    pub error: String,
    /// The error ended it for good: nobody asked for the end, and no other sequence was in the way.
    pub is_fatal: bool,
}

/// What happened to a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceAction {
    /// Nothing but the error.
    Noop,
    /// It began.
    Start,
    /// It ended.
    Stop,
}

impl Sequence {
    /// Whether it shows that the system is on the disk: it was installed and the machine restarts into it, or it starts
    /// from the disk (fleet.md 1.9).
    #[must_use]
    pub fn shows_installation(&self) -> bool {
        let restarts = self.action == SequenceAction::Noop && self.is_fatal && self.error.contains(REBOOT);
        let starts = self.action == SequenceAction::Start;
        (self.name == INSTALL && restarts) || (self.name == BOOT && starts)
    }
}

/// Takes reports of machines. Whoever owns the snapshots of machines implements it, or takes them from a [`channel`].
pub trait Snapshots: Send + Sync + 'static {
    /// Takes a report, or refuses it at once; it must not wait.
    ///
    /// # Errors
    /// [`NoRoom`] when it cannot be taken now: the machine tells it again.
    fn report(&self, report: Report) -> Result<(), NoRoom>;
}

/// Reports come faster than they are worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manager has too many events of machines to work on; tell it again")]
pub struct NoRoom;

/// The sender's end of a [`channel`].
#[derive(Clone, Debug)]
pub struct Reports(mpsc::Sender<Report>);

/// A channel for reports; when 1024 wait in it, further ones are refused.
#[must_use]
pub fn channel() -> (Reports, mpsc::Receiver<Report>) {
    let (sender, receiver) = mpsc::channel(REPORTS_MAX);
    (Reports(sender), receiver)
}

impl Snapshots for Reports {
    fn report(&self, report: Report) -> Result<(), NoRoom> {
        self.0.try_send(report).map_err(|_| NoRoom)
    }
}

/// The service.
pub(crate) struct EventSink {
    senders: Senders,
    snapshots: Arc<dyn Snapshots>,
    places: Places,
}

impl EventSink {
    /// A service that hands reports on; what a machine may send is counted in `places`, one unit an event.
    pub fn new(senders: Senders, snapshots: Arc<dyn Snapshots>, places: Places) -> Self {
        Self { senders, snapshots, places }
    }

    /// Serves a connection until it ends or its place is needed.
    pub async fn connection<IO>(&self, io: IO, source: IpAddr, mut place: Place) -> io::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let serving = serve(io, EVENT_BYTES_MAX, async |request| {
            // Whatever it is.
            self.places.spend(source, 1).await;
            self.answer(source, request)
        });
        tokio::select! {
            // Dropped, an event may have been taken and the machine not been told: it sends it again.
            served = serving => served,
            () = place.evicted() => Ok(()),
        }
    }

    fn answer(&self, source: IpAddr, request: Request) -> Result<EventResponse, Status> {
        if request.path != PUBLISH {
            return Err(Status::unimplemented("there is no such method here"));
        }
        let unreadable = |error| Status::invalid_argument(format!("the event cannot be read: {error}"));
        self.publish(source, EventRequest::decode(request.message).map_err(unreadable)?)
    }

    fn publish(&self, source: IpAddr, event: EventRequest) -> Result<EventResponse, Status> {
        let machine = self.senders.machine(source);
        let machine = machine.ok_or_else(|| Status::permission_denied("no machine has this address"))?;
        let event = event.data.unwrap_or_default();
        match news(&event.type_url, &event.value) {
            Ok(Some(news)) => {
                let report = Report { machine: machine.to_string(), news };
                let taken = self.snapshots.report(report);
                taken.map_err(|error| Status::unavailable(chain(&error)))?;
            }
            Ok(None) => {}
            // The machine would repeat it for ever.
            Err(error) => {
                tracing::warn!(machine = &*machine, error = chain(&error), "dropped an unreadable event");
            }
        }
        Ok(EventResponse {})
    }
}

/// What an event tells; nothing when its type is of no interest.
fn news(type_url: &str, value: &[u8]) -> Result<Option<News>, prost::DecodeError> {
    let name = type_url.rsplit('/').next().unwrap_or_default();
    Ok(match name {
        "machine.MachineStatusEvent" => Some(News::Stage(stage(machine::MachineStatusEvent::decode(value)?))),
        "machine.SequenceEvent" => Some(News::Sequence(sequence(machine::SequenceEvent::decode(value)?))),
        _ => None,
    })
}

fn stage(event: machine::MachineStatusEvent) -> MachineStatusEvent {
    let stage = match event.stage() {
        WireStage::Unknown => MachineStage::Unknown,
        WireStage::Booting => MachineStage::Booting,
        WireStage::Installing => MachineStage::Installing,
        WireStage::Maintenance => MachineStage::Maintenance,
        WireStage::Running => MachineStage::Running,
        WireStage::Rebooting => MachineStage::Rebooting,
        WireStage::ShuttingDown => MachineStage::ShuttingDown,
        WireStage::Resetting => MachineStage::Resetting,
        WireStage::Upgrading => MachineStage::Upgrading,
    };
    let status = event.status.map(|status| {
        let unmet = status.unmet_conditions.iter().take(CONDITIONS_MAX).map(|condition| UnmetCondition {
            name: short(&condition.name),
            reason: short(&condition.reason),
        });
        MachineReadiness { ready: status.ready, unmet_conditions: unmet.collect() }
    });
    MachineStatusEvent { stage, status }
}

fn sequence(event: machine::SequenceEvent) -> Sequence {
    let action = match event.action() {
        sequence_event::Action::Noop => SequenceAction::Noop,
        sequence_event::Action::Start => SequenceAction::Start,
        sequence_event::Action::Stop => SequenceAction::Stop,
    };
    let is_fatal = event.error.as_ref().is_some_and(|error| error.code() == common::Code::Fatal);
    let error = event.error.map(|error| short(&error.message)).unwrap_or_default();
    Sequence { name: short(&event.sequence), action, error, is_fatal }
}

/// A text without what is too long to keep.
fn short(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use corten_api::machine::machine_status_event::{MachineStatus, machine_status};
    use prost_types::Any;

    use super::*;
    use crate::places::{Bounds, Overflow};
    use crate::senders::tests::{machine, state};

    const ADDRESS: &str = "fdae::7";

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn service() -> (EventSink, mpsc::Receiver<Report>) {
        let state = state();
        machine(&state, "uuid", ADDRESS);
        let bounds = Bounds { total: 1, per_source: 1, overflow: Overflow::Refuse, rate: None };
        let (reports, receiver) = channel();
        (EventSink::new(Senders::new(state), Arc::new(reports), Places::new(bounds)), receiver)
    }

    fn event(name: &str, value: Vec<u8>) -> EventRequest {
        let data = Some(Any { type_url: format!("talos/runtime/{name}"), value });
        EventRequest { data, id: "1".to_owned(), actor_id: String::new() }
    }

    fn running() -> EventRequest {
        let (name, reason) = ("services".to_owned(), "kubelet".to_owned());
        let unmet_conditions = vec![machine_status::UnmetCondition { name, reason }];
        let status = MachineStatus { ready: false, unmet_conditions };
        let running = machine::MachineStatusEvent { stage: WireStage::Running.into(), status: Some(status) };
        event("machine.MachineStatusEvent", running.encode_to_vec())
    }

    #[tokio::test]
    async fn a_status_is_reported_for_the_machine_that_has_the_address() {
        let (service, mut reports) = service();
        service.publish(address(ADDRESS), running()).unwrap();
        let unmet = UnmetCondition { name: "services".to_owned(), reason: "kubelet".to_owned() };
        let status = MachineReadiness { ready: false, unmet_conditions: vec![unmet] };
        let stage = MachineStatusEvent { stage: MachineStage::Running, status: Some(status) };
        let expected = Report { machine: "uuid".to_owned(), news: News::Stage(stage) };
        assert_eq!(reports.try_recv().unwrap(), expected);
    }

    #[tokio::test]
    async fn what_nobody_needs_or_can_read_is_taken_and_forgotten() {
        let (service, mut reports) = service();
        let unknown = event("machine.PhaseEvent", vec![1]);
        let damaged = event("machine.SequenceEvent", vec![0xff]);
        for message in [unknown, damaged, EventRequest::default()] {
            service.publish(address(ADDRESS), message).unwrap();
        }
        assert!(reports.try_recv().is_err());
    }

    #[tokio::test]
    async fn unknown_senders_and_a_full_channel_are_errors() {
        let (service, _reports) = service();
        let stranger = service.publish(address("fdae::8"), running()).unwrap_err();
        assert_eq!(stranger.code(), tonic::Code::PermissionDenied);
        for _ in 0..REPORTS_MAX {
            service.publish(address(ADDRESS), running()).unwrap();
        }
        let full = service.publish(address(ADDRESS), running()).unwrap_err();
        assert_eq!(full.code(), tonic::Code::Unavailable);
    }

    #[test]
    fn a_reboot_after_the_installation_or_a_start_from_the_disk_shows_an_installation() {
        let shows = |name: &str, action, error: &str| {
            let (name, error) = (name.to_owned(), error.to_owned());
            Sequence { name, action, error, is_fatal: true }.shows_installation()
        };
        assert!(shows("install", SequenceAction::Noop, "sequence failed: unix.Reboot"));
        assert!(shows("boot", SequenceAction::Start, ""));
        assert!(!shows("install", SequenceAction::Noop, "no space left"));
        assert!(!shows("install", SequenceAction::Stop, "unix.Reboot"));
        assert!(!shows("boot", SequenceAction::Stop, ""));
        let unknown = machine::SequenceEvent { action: 99, ..machine::SequenceEvent::default() };
        assert_eq!(sequence(unknown).action, SequenceAction::Noop);
    }

    #[test]
    fn arbitrary_bytes_lead_to_a_report_or_an_error() {
        bolero::check!().for_each(|bytes: &[u8]| {
            for name in ["machine.MachineStatusEvent", "machine.SequenceEvent"] {
                let _ = news(name, bytes);
            }
        });
    }
}
