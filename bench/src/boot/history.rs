//! What our machine remembers of its boot, asked for when it is over: the services' history and, on a kernel of its
//! own, when that kernel started by the machine's clock.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use corten_api::machine::{BootstrapRequest, DmesgRequest, ServiceInfo};
use corten_base::Clock;
use corten_client::{Client, Context as Credentials};
use tonic::Code;

use super::timeline::{Phase, Timeline};

/// How long the machine may take to tell its whole kernel log.
const TELL_MAX: Duration = Duration::from_secs(60);
/// Pause between two calls of a client that bootstraps.
const BOOTSTRAP_PAUSE: Duration = Duration::from_millis(100);
/// A call that takes longer went to a machine that is not there yet.
const CALL_MAX: Duration = Duration::from_secs(5);
/// What etcd waits for when nothing but a client is missing.
const WAITS_FOR_CLIENT: &str = "Waiting for bootstrap";

/// A change of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Seconds since the kernel's start.
    pub at: f64,
    /// Which service.
    pub service: String,
    /// What happened.
    pub message: String,
}

/// The history of one boot.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Changes in their order.
    pub changes: Vec<Change>,
    /// When the root was there, on a kernel of its own.
    pub userspace: Option<f64>,
}

/// Bootstraps over one connection that is kept as soon as it stands; asks every 100 ms until the machine accepts.
pub async fn bootstrap(credentials: &Credentials) -> Result<()> {
    let mut client = connect(credentials)?;
    loop {
        let call = async { client.machine().bootstrap(BootstrapRequest::default()).await };
        match tokio::time::timeout(CALL_MAX, call).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(status)) if status.code() == Code::AlreadyExists => return Ok(()),
            Ok(Err(status)) if status.code() != Code::Unavailable => {}
            Ok(Err(_)) | Err(_) => client = connect(credentials)?,
        }
        tokio::time::sleep(BOOTSTRAP_PAUSE).await;
    }
}

fn connect(credentials: &Credentials) -> Result<Client> {
    Client::from_context(credentials, &[], &Clock::system()).context("cannot use the talosconfig")
}

/// Asks the machine. `started` is when process 1 of a container machine started; a kernel knows that itself.
pub async fn ask(credentials: &Credentials, started: Option<SystemTime>) -> Result<History> {
    let client = connect(credentials)?;
    let told = tokio::time::timeout(TELL_MAX, tell(&client, started));
    told.await.with_context(|| format!("the machine did not tell its history within {TELL_MAX:?}"))?
}

async fn tell(client: &Client, started: Option<SystemTime>) -> Result<History> {
    let services = client.machine().service_list(()).await.context("cannot list the services")?.into_inner();
    let services: Vec<ServiceInfo> = services.messages.into_iter().flat_map(|list| list.services).collect();
    if let Some(started) = started {
        return Ok(History { changes: changes(&services, started), userspace: None });
    }
    let mut log = String::new();
    let mut stream = client.machine().dmesg(DmesgRequest::default()).await?.into_inner();
    while let Some(data) = stream.message().await.context("cannot read the kernel log")? {
        log.push_str(&String::from_utf8_lossy(&data.bytes));
    }
    let started = dated(&log, "Linux version").context("the kernel log has lost its first line")?;
    let userspace = dated(&log, "init: ").and_then(|at| at.duration_since(started).ok());
    Ok(History {
        changes: changes(&services, started),
        userspace: userspace.map(|since| since.as_secs_f64()),
    })
}

/// The time of the first line of a kernel log whose message begins like that.
fn dated(log: &str, message: &str) -> Option<SystemTime> {
    let line = log.lines().find_map(|line| {
        let (stamp, text) = line.split_once(": [")?.1.split_once("]: ")?;
        text.starts_with(message).then_some(stamp)
    })?;
    line.parse::<jiff::Timestamp>().ok().map(SystemTime::from)
}

/// All changes of all services in their order; health counts as one.
fn changes(services: &[ServiceInfo], started: SystemTime) -> Vec<Change> {
    let seconds = |stamp: &prost_types::Timestamp| {
        let at = SystemTime::try_from(*stamp).ok()?;
        Some(at.duration_since(started).unwrap_or_default().as_secs_f64())
    };
    let mut all = Vec::new();
    for service in services {
        let change = |stamp: &prost_types::Timestamp, message: &str| {
            Some(Change { at: seconds(stamp)?, service: service.id.clone(), message: message.to_owned() })
        };
        let events = service.events.iter().flat_map(|events| &events.events);
        all.extend(events.filter_map(|event| change(event.ts.as_ref()?, &event.msg)));
        let health = service.health.iter().filter(|health| health.healthy);
        all.extend(health.filter_map(|health| change(health.last_change.as_ref()?, "healthy")));
    }
    all.sort_by(|a, b| a.at.total_cmp(&b.at));
    all
}

impl History {
    /// Adds what is known to a timeline.
    pub fn fill(&self, timeline: &mut Timeline) {
        if let Some(userspace) = self.userspace {
            timeline.reach(Phase::Userspace, userspace);
        }
        for (service, phase) in [("cri", Phase::Containerd), ("etcd", Phase::Etcd)] {
            let mut own = self.changes.iter().filter(|change| change.service == service);
            if let Some(change) = own.find(|change| change.message == "healthy") {
                timeline.reach(phase, change.at);
            }
        }
        timeline.client = self.client_wait();
    }

    /// Seconds for which etcd waited for nothing but the call of a client.
    fn client_wait(&self) -> f64 {
        let etcd: Vec<&Change> = self.changes.iter().filter(|change| change.service == "etcd").collect();
        let waits = etcd.windows(2).filter(|pair| pair[0].message == WAITS_FOR_CLIENT);
        // Not `sum`, which gives minus zero for nothing.
        waits.map(|pair| pair[1].at - pair[0].at).fold(0.0, |all, one| all + one)
    }

    /// One line for each change.
    #[must_use]
    pub fn table(&self) -> String {
        let line =
            |change: &Change| format!("  {:8.2}  {:<12}{}\n", change.at, change.service, change.message);
        self.changes.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use corten_api::machine::{ServiceEvent, ServiceEvents, ServiceHealth};

    use super::*;

    fn service(id: &str, events: &[(i64, &str)], healthy_at: Option<i64>) -> ServiceInfo {
        let stamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let event = |(at, message): &(i64, &str)| ServiceEvent {
            msg: (*message).to_owned(),
            ts: stamp(*at),
            ..ServiceEvent::default()
        };
        ServiceInfo {
            id: id.to_owned(),
            events: Some(ServiceEvents { events: events.iter().map(event).collect() }),
            health: healthy_at.map(|at| ServiceHealth {
                healthy: true,
                last_change: stamp(at),
                ..ServiceHealth::default()
            }),
            ..ServiceInfo::default()
        }
    }

    #[test]
    fn a_history_fills_a_timeline_and_tells_how_long_a_client_was_waited_for() {
        let started = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let etcd =
            [(104, "Waiting for bootstrap, time sync"), (105, WAITS_FOR_CLIENT), (107, "Pulling image")];
        let services = [service("etcd", &etcd, Some(109)), service("cri", &[(101, "Started")], Some(103))];
        let history = History { changes: changes(&services, started), userspace: None };
        let mut timeline = Timeline::default();
        history.fill(&mut timeline);
        assert_eq!(timeline.at(Phase::Containerd), Some(3.0));
        assert_eq!(timeline.at(Phase::Etcd), Some(9.0));
        assert_eq!((timeline.at(Phase::Userspace), timeline.client), (None, 2.0));
        let order: Vec<&str> = history.changes.iter().map(|change| change.service.as_str()).collect();
        assert_eq!(order, ["cri", "cri", "etcd", "etcd", "etcd", "etcd"]);
    }

    #[test]
    fn lines_of_the_kernel_log_are_dated() {
        let log = "kern:  notice: [2026-01-01T00:00:01.5Z]: Linux version 6.12\n\
                   user:    info: [2026-01-01T00:00:04Z]: init: root is /rootfs.sqsh\n";
        let (first, second) =
            (dated(log, "Linux version").expect("there"), dated(log, "init: ").expect("there"));
        assert_eq!(second.duration_since(first).expect("later"), Duration::from_millis(2500));
        assert!(dated(log, "machined").is_none());
    }
}
