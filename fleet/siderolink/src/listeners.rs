//! The ports on the manager's address in the tunnel, and whatever else runs for ever.
//!
//! ```text
//! supervise ─▶ Tunnel::listen ─▶ accept: events, logs, trustd, discovery
//!     ▲                             │ broken
//!     └────────── back-off ◀────────┘
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, Rate, Rng, Task, chain, spawn};
use corten_fleet_discovery::Discovery;
use corten_fleet_tunnel::{Tunnel, TunnelListener, TunnelStream};
use tokio::time::{Instant, sleep};

use crate::connections::{accept, canonical, http2};
use crate::events::{EventSink, Snapshots};
use crate::logs::{LogReceiver, LogSink};
use crate::places::{Bounds, Overflow, Place, Places};
use crate::trustd::Trustd;
use crate::{Services, Settings};

/// Before the first new attempt.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
/// Between later ones at most.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// What ran so long has worked: the next failure is a new one.
const WORKED_AFTER: Duration = Duration::from_secs(60);
/// Connections of all machines to one port.
const CONNECTIONS_MAX: usize = 16 * 1024;
/// Connections of one machine to one port: its services each have a few.
const CONNECTIONS_PER_MACHINE: usize = 4;
/// Events of one machine: it tells its whole history, up to a thousand, when it connects first.
const EVENTS: Rate = Rate { per_second: 20, burst: 2000 };

/// Where what machines tell goes.
pub struct Outlets {
    /// Takes what machines tell about themselves.
    pub snapshots: Arc<dyn Snapshots>,
    /// Takes the logs of machines.
    pub logs: Arc<dyn LogSink>,
    /// The discovery service for members of clusters; `None` when it is switched off.
    pub discovery: Option<Discovery>,
}

/// Ports on the manager's address in the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Events, gRPC without TLS: the setting `services.siderolink.eventSinkPort`.
    pub events: u16,
    /// Logs, lines of JSON: the setting `services.siderolink.logServerPort`.
    pub logs: u16,
    /// Certificates, gRPC with TLS. Machines know the port.
    pub trustd: u16,
    /// Discovery, gRPC without TLS: the setting `services.embeddedDiscoveryService.port`.
    pub discovery: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { events: 8090, logs: 8092, trustd: corten_client::TRUSTD_PORT, discovery: 8093 }
    }
}

/// Starts everything that listens in the tunnel; it ends with the tasks.
pub(crate) fn start(services: &Services, outlets: &Outlets) -> Vec<Task<Infallible>> {
    let ports = services.settings.ports;
    let listening = |name: &'static str, port: u16, places: Places| Port {
        name,
        port,
        tunnel: services.tunnel.clone(),
        places,
        rng: services.rng.clone(),
    };
    let event_places = places(Some(EVENTS));
    let events =
        EventSink::new(services.senders.clone(), Arc::clone(&outlets.snapshots), event_places.clone());
    let events = Arc::new(events);
    let logs = LogReceiver::new(services.senders.clone(), Arc::clone(&outlets.logs));
    let trustd = trustd(services, &services.settings);
    let mut tasks = vec![
        listening("events of machines", ports.events, event_places).serve(move |stream, peer, place| {
            let events = Arc::clone(&events);
            async move { note(events.connection(stream, canonical(peer), place).await) }
        }),
        listening("logs of machines", ports.logs, places(services.settings.log_rate)).serve(
            move |stream, peer, place| {
                let logs = logs.clone();
                async move { note(logs.receive(stream, canonical(peer), place).await) }
            },
        ),
        listening("certificates of machines", ports.trustd, places(None))
            .serve(move |stream, peer, place| trustd.clone().connection(stream, peer, place)),
    ];
    if let Some(discovery) = outlets.discovery.clone() {
        let discovery = corten_fleet_discovery::service(discovery);
        let port = listening("discovery", ports.discovery, places(None));
        tasks.push(port.serve(move |stream, peer, place| {
            let serving = http2(stream, peer, place, discovery.clone());
            async move { note(serving.await) }
        }));
    }
    tasks
}

fn trustd(services: &Services, settings: &Settings) -> Trustd {
    Trustd::new(
        services.state.clone(),
        services.clock.clone(),
        services.rng.clone(),
        services.senders.clone(),
        settings.server.address,
        settings.addresses.machines(),
    )
}

fn places(rate: Option<Rate>) -> Places {
    Places::new(Bounds {
        total: CONNECTIONS_MAX,
        per_source: CONNECTIONS_PER_MACHINE,
        overflow: Overflow::EndOldest,
        rate,
    })
}

/// Connections of machines end as machines do.
fn note(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(error = chain(&error), "the connection of a machine broke");
    }
}

/// A port to listen on.
struct Port {
    name: &'static str,
    port: u16,
    tunnel: Tunnel,
    places: Places,
    rng: Rng,
}

impl Port {
    /// Listens and serves for ever.
    fn serve<H, F>(self, handle: H) -> Task<Infallible>
    where
        H: Fn(TunnelStream, SocketAddr, Place) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { name, port, tunnel, places, rng } = self;
        let attempt = move || {
            let (tunnel, places, handle) = (tunnel.clone(), places.clone(), handle.clone());
            async move {
                let listener: TunnelListener = match tunnel.listen(port).await {
                    Ok(listener) => listener,
                    Err(error) => return error,
                };
                tracing::info!(name, port, "listening in the tunnel");
                accept(listener, places, handle).await
            }
        };
        spawn(name, supervise(name, rng, attempt))
    }
}

/// Runs `attempt` again and again, later and later. Of failures in a row the first is told, the others to those who
/// debug.
pub(crate) async fn supervise<A, F, E>(name: &'static str, rng: Rng, attempt: A) -> Infallible
where
    A: Fn() -> F + Send,
    F: Future<Output = E> + Send + 'static,
    E: Error + Send + 'static,
{
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    loop {
        let start = Instant::now();
        // On its own, so that a panic is a failure like others.
        let error = spawn(name, attempt()).join().await;
        let error = error.map_or_else(|| "it panicked".to_owned(), |error| chain(&error));
        if start.elapsed() >= WORKED_AFTER {
            backoff.reset();
        }
        if backoff.attempts() == 0 {
            tracing::error!(name, error, "it ended and is started again, also if that fails at first");
        } else {
            tracing::debug!(name, error, "it ended again");
        }
        sleep(backoff.next_delay(&rng)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_ends_is_started_again_later_and_later_also_after_a_panic() {
        let attempts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&attempts);
        let attempt = move || {
            let number = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(number != 1, "on purpose");
                io::Error::other("broken")
            }
        };
        let _task = spawn("supervised", supervise("supervised", Rng::seeded(1), attempt));
        sleep(Duration::from_secs(8)).await;
        let early = attempts.load(Ordering::Relaxed);
        assert!((3..=5).contains(&early), "{early}");
        sleep(Duration::from_secs(300)).await;
        let late = attempts.load(Ordering::Relaxed) - early;
        assert!((8..=16).contains(&late), "{late}");
    }
}
