//! Load balancers at work: a port for each cluster, connections that are led on, and checks.
//!
//! ```text
//! machine ─▶ Ports::listen ─▶ accept ─▶ place ─▶ relay ─▶ Ports::connect ─▶ control plane
//!                                                  │ answered or not            ▲
//!                                                  ▼                            │
//!                                               Backends ◀── checks ────────────┘   ─▶ Bell when the health changes
//! ```
//!
//! Bounds: so many connections to one cluster and to all. A connection whose other end is gone ends by TCP's
//! signs of life. Everything of a cluster ends with its entry.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV6;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use corten_base::{Task, Tasks, chain, spawn};
use corten_fleet_controllers_machine::connect::Streams;
use corten_fleet_settings::LoadBalancer;
use corten_fleet_tunnel::{Tunnel, TunnelListener, TunnelStream};
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::backends::Backends;
use crate::bell::Bell;

/// Connections to all clusters. Each has two buffers of 8 KiB.
const CONNECTIONS_MAX: usize = 16 * 1024;
/// Connections to one cluster.
const CONNECTIONS_PER_CLUSTER: usize = 2048;
/// How long a machine is tried while others are left to try.
const QUICK: Duration = Duration::from_secs(3);
/// Between two checks at most, while somebody does not answer.
const SOON: Duration = Duration::from_secs(5);
/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens ports on the manager's address in the tunnel. Implemented for the tunnel, and for the host in tests.
pub trait Ports: Streams {
    /// Listens on a port.
    ///
    /// # Errors
    /// When it is taken.
    fn listen(&self, port: u16) -> impl Future<Output = io::Result<TunnelListener>> + Send;
}

impl Ports for Tunnel {
    async fn listen(&self, port: u16) -> io::Result<TunnelListener> {
        Self::listen(self, port).await
    }
}

/// A load balancer at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its port on the manager's address in the tunnel.
    pub port: u16,
    /// Whom it leads to.
    pub backends: Vec<SocketAddrV6>,
    /// One of them answered last.
    pub is_healthy: bool,
}

/// Load balancers by cluster. Implemented by [`Balancers`] and by a recording fake.
pub trait Balancing: Send + Sync + 'static {
    /// That of a cluster; `None` while it has none.
    fn running(&self, cluster: &str) -> Option<Running>;

    /// Opens one, in the place of the one that there is.
    ///
    /// # Errors
    /// When the port cannot be opened.
    fn open(
        &self,
        cluster: &str,
        port: u16,
        backends: &[SocketAddrV6],
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Has it lead to these machines from now on. Connections that there are stay.
    fn follow(&self, cluster: &str, backends: &[SocketAddrV6]);

    /// Closes it, and all its connections.
    fn close(&self, cluster: &str) -> impl Future<Output = ()> + Send;
}

/// What all load balancers share.
struct Means<N> {
    ports: N,
    settings: LoadBalancer,
    bell: Bell,
    places: Arc<Semaphore>,
}

/// The load balancer of one cluster.
struct Balancer<N> {
    cluster: String,
    port: u16,
    means: Arc<Means<N>>,
    backends: Backends,
    places: Arc<Semaphore>,
    /// The machines are others.
    changed: Notify,
}

struct Entry<N> {
    balancer: Arc<Balancer<N>>,
    tasks: [Task; 2],
}

/// The load balancers of all clusters; they end with it.
pub struct Balancers<N> {
    means: Arc<Means<N>>,
    entries: Mutex<BTreeMap<String, Entry<N>>>,
}

impl<N> std::fmt::Debug for Balancers<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Balancers").field("clusters", &self.entries.lock().len()).finish_non_exhaustive()
    }
}

impl<N: Ports> Balancers<N> {
    /// Load balancers of no cluster yet.
    pub(crate) fn new(ports: N, settings: LoadBalancer, bell: Bell) -> Self {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { means: Arc::new(Means { ports, settings, bell, places }), entries: Mutex::default() }
    }

    /// Ends the load balancer of a cluster; its port is free afterwards.
    async fn end(&self, cluster: &str) {
        let ended = self.entries.lock().remove(cluster);
        for task in ended.into_iter().flat_map(|entry| entry.tasks) {
            task.abort();
            task.join().await;
        }
    }

    /// Connects to the Kubernetes API of a cluster, as a connection to its port would be led on.
    ///
    /// # Errors
    /// When its load balancer is closed, or no machine of its control plane answers.
    pub async fn connect(&self, cluster: &str) -> io::Result<TunnelStream> {
        let balancer = self.entries.lock().get(cluster).map(|entry| Arc::clone(&entry.balancer));
        match balancer {
            Some(balancer) => balancer.connect().await,
            None => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                format!("no machine of the control plane of cluster {cluster} is connected"),
            )),
        }
    }
}

impl<N: Ports> Balancing for Arc<Balancers<N>> {
    fn running(&self, cluster: &str) -> Option<Running> {
        let entries = self.entries.lock();
        let balancer = &entries.get(cluster)?.balancer;
        let (port, backends) = (balancer.port, balancer.backends.addresses());
        Some(Running { port, backends, is_healthy: balancer.backends.is_healthy() })
    }

    async fn open(&self, cluster: &str, port: u16, backends: &[SocketAddrV6]) -> anyhow::Result<()> {
        self.end(cluster).await;
        let listener = self.means.ports.listen(port).await;
        let listener = listener.with_context(|| format!("port {port} in the tunnel cannot be opened"))?;
        let balancer = Arc::new(Balancer {
            cluster: cluster.to_owned(),
            port,
            means: Arc::clone(&self.means),
            backends: Backends::new(backends),
            places: Arc::new(Semaphore::new(CONNECTIONS_PER_CLUSTER)),
            changed: Notify::new(),
        });
        let tasks = [
            spawn("load balancer", serve(Arc::clone(&balancer), listener)),
            spawn("load balancer checks", check(Arc::clone(&balancer))),
        ];
        self.entries.lock().insert(cluster.to_owned(), Entry { balancer, tasks });
        Ok(())
    }

    fn follow(&self, cluster: &str, backends: &[SocketAddrV6]) {
        if let Some(entry) = self.entries.lock().get(cluster) {
            entry.balancer.backends.set(backends);
            entry.balancer.changed.notify_one();
        }
    }

    async fn close(&self, cluster: &str) {
        self.end(cluster).await;
        self.means.bell.forget(cluster);
    }
}

impl<N: Ports> Balancer<N> {
    fn note(&self, address: SocketAddrV6, answered: bool) {
        if self.backends.note(address, answered) {
            self.means.bell.ring(&self.cluster);
        }
    }

    async fn dial(&self, address: SocketAddrV6, limit: Duration) -> io::Result<TunnelStream> {
        let dialed = timeout(limit, self.means.ports.connect(address)).await;
        let stream = dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        self.note(address, stream.is_ok());
        stream
    }

    /// Connects to the first machine that answers.
    async fn connect(&self) -> io::Result<TunnelStream> {
        let mut order = self.backends.order().into_iter().peekable();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the control plane has no machines");
        while let Some(address) = order.next() {
            let limit = self.means.settings.dial_timeout;
            let limit = if order.peek().is_some() { limit.min(QUICK) } else { limit };
            match self.dial(address, limit).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Places for one connection; `None` when there are too many.
    fn take_places(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let shared = Arc::clone(&self.means.places).try_acquire_owned().ok()?;
        Some([own, shared])
    }

    /// Has TCP end a connection whose other end is gone.
    fn tune(&self, stream: &TunnelStream) {
        let settings = &self.means.settings;
        let (period, limit) = (settings.keep_alive_period, settings.tcp_user_timeout);
        let tuned = stream.set_nodelay(true).and_then(|()| stream.set_signs_of_life(period, limit));
        if let Err(error) = tuned {
            let cluster = self.cluster.as_str();
            tracing::debug!(cluster, error = chain(&error), "a connection has no signs of life");
        }
    }
}

/// Leads connections on, for ever.
async fn serve<N: Ports>(balancer: Arc<Balancer<N>>, mut listener: TunnelListener) {
    let mut connections = Tasks::new();
    loop {
        tokio::select! {
            // Either may be dropped at any time: a connection that is not accepted stays queued.
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match balancer.take_places() {
                    Some(places) => {
                        connections.start(relay(Arc::clone(&balancer), stream, places));
                    }
                    None => tracing::debug!(%peer, "closed a connection: there are too many"),
                },
                Err(error) => {
                    tracing::debug!(error = chain(&error), "failed to accept a connection");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = connections.ended() => {}
        }
    }
}

/// Leads one connection on, until both sides have closed it.
async fn relay<N: Ports>(
    balancer: Arc<Balancer<N>>,
    mut client: TunnelStream,
    _places: [OwnedSemaphorePermit; 2],
) {
    let mut server = match balancer.connect().await {
        Ok(server) => server,
        Err(error) => {
            let cluster = balancer.cluster.as_str();
            tracing::debug!(cluster, error = chain(&error), "nobody takes a connection to the control plane");
            return;
        }
    };
    balancer.tune(&client);
    balancer.tune(&server);
    // However it ends, there is nobody left to tell.
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// Checks all machines again and again: sooner while one does not answer, and at once when they are others.
async fn check<N: Ports>(balancer: Arc<Balancer<N>>) {
    let (interval, limit) = {
        let settings = &balancer.means.settings;
        (settings.health_check_interval, settings.health_check_timeout)
    };
    loop {
        let addresses = balancer.backends.addresses();
        join_all(addresses.into_iter().map(|address| balancer.dial(address, limit))).await;
        let pause = if balancer.backends.are_all_well() { interval } else { interval.min(SOON) };
        // Its end is one reason to go on, the change is another.
        let _ = timeout(pause, balancer.changed.notified()).await;
    }
}

#[cfg(test)]
mod tests;
