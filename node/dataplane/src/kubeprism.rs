//! KubePrism: a TCP load balancer on this machine for the Kubernetes API.
//!
//! ```text
//! kubelet, kube-proxy … ──▶ 127.0.0.1:7445 ──▶ a healthy API server
//! ```
//! Invariants: TLS is end to end, bytes are not looked at; whether an endpoint is well is asked in a connection of our own,
//! since the kernel accepts connections for a server that stands still as well; a client is refused only after every endpoint was
//! tried; machined's death changes nothing, since endpoints are kept in memory and in the file. While no endpoint
//! answers there is no listener: a refused connection is final at once, whereas one that is accepted and closed makes
//! clients of Kubernetes try for ten seconds, and the kubelet mounts no volume meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, Rng, Task, spawn};
use futures::future::{join_all, join3, select_ok};
use rustix::net::sockopt;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::dns::Resolver;
use crate::files::{Endpoint, KubePrism, KubePrismStatus, write_atomic};
use crate::net::listen_tcp;

/// Pause between two checks of all endpoints.
const CHECK_EVERY: Duration = Duration::from_secs(20);
/// How long a check may take.
const CHECK_PATIENCE: Duration = Duration::from_secs(15);
/// How long a client's connection attempt waits for one endpoint.
const DIAL_PATIENCE: Duration = Duration::from_secs(5);
/// Pause between two looks for an endpoint that answers, while there is none.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Connections at one time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// Unacknowledged data older than this closes a connection: its peer is gone (milliseconds).
const UNACKNOWLEDGED_MAX: u32 = 30_000;

/// The first message of TLS 1.2, which any server of TLS has an answer to: its own first message, or an alert.
const HELLO: [u8; 82] = hello();

const fn hello() -> [u8; 82] {
    /// Record and handshake with their lengths, version, random number (never used), no session.
    const HEAD: [u8; 11] = [0x16, 3, 1, 0, 77, 1, 0, 0, 73, 3, 3];
    /// Six suites, no compression, the curve P-256, three kinds of signatures.
    const TAIL: [u8; 38] = [
        0, 12, 0xc0, 0x2b, 0xc0, 0x2c, 0xc0, 0x2f, 0xc0, 0x30, 0xcc, 0xa9, 0xcc, 0xa8, 1, 0, 0, 20, 0, 10, 0,
        4, 0, 2, 0, 23, 0, 13, 0, 8, 0, 6, 4, 3, 8, 4, 4, 1,
    ];
    let mut hello = [0; 82];
    let (mut at, mut end) = (0, HEAD.len());
    while at < end {
        hello[at] = HEAD[at];
        at += 1;
    }
    at = hello.len() - TAIL.len();
    end = hello.len();
    while at < end {
        hello[at] = TAIL[at + TAIL.len() - end];
        at += 1;
    }
    hello
}

type Health = BTreeMap<Endpoint, bool>;

/// Shared by the listener and the checks.
struct Balancer {
    wanted: watch::Receiver<KubePrism>,
    resolver: Arc<Resolver>,
    health: watch::Sender<Health>,
    next: watch::Sender<usize>,
}

/// Serves for as long as it is polled and writes the status.
pub async fn serve(wanted: watch::Receiver<KubePrism>, resolver: Arc<Resolver>, folder: &Path) {
    let health = watch::channel(Health::new()).0;
    let balancer = Arc::new(Balancer { wanted, resolver, health, next: watch::channel(0).0 });
    let (listening, listens) = watch::channel(None);
    let listener = listener(&balancer, &listening);
    let checks = checks(&balancer);
    let status = status(&balancer, listens, folder);
    join3(listener, checks, status).await;
}

/// Endpoints in the order in which to try them: healthy ones first, then unknown, then failed,
/// each group rotated by `turn` so that load spreads.
fn order(endpoints: &[Endpoint], health: &Health, turn: usize) -> Vec<Endpoint> {
    let mut ordered: Vec<Endpoint> = endpoints.to_vec();
    if !ordered.is_empty() {
        let turn = turn % ordered.len();
        ordered.rotate_left(turn);
    }
    ordered.sort_by_key(|endpoint| match health.get(endpoint) {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    });
    ordered
}

impl Balancer {
    async fn dial(&self, endpoint: &Endpoint) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::HostUnreachable);
        for address in self.resolver.addresses(&endpoint.host).await {
            match TcpStream::connect((address, endpoint.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whether there is somebody who says anything, which is noted.
    async fn check(&self, endpoint: &Endpoint, patience: Duration) -> io::Result<()> {
        let asked = async {
            let mut stream = self.dial(endpoint).await?;
            stream.write_all(&HELLO).await?;
            stream.read_exact(&mut [0]).await.map(drop)
        };
        let answered = timeout(patience, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        self.note(endpoint, answered.is_ok());
        answered
    }

    fn note(&self, endpoint: &Endpoint, healthy: bool) {
        if !self.wanted.borrow().endpoints.contains(endpoint) {
            return;
        }
        self.health.send_if_modified(|health| health.insert(endpoint.clone(), healthy) != Some(healthy));
    }

    /// Connects a client with the first endpoint that answers.
    async fn connect(&self) -> Option<TcpStream> {
        let turn = *self.next.borrow();
        self.next.send_replace(turn.wrapping_add(1));
        let endpoints = order(&self.wanted.borrow().endpoints, &self.health.borrow(), turn);
        for endpoint in endpoints {
            if let Ok(Ok(stream)) = timeout(DIAL_PATIENCE, self.dial(&endpoint)).await {
                return Some(stream);
            }
            self.note(&endpoint, false);
        }
        None
    }

    /// Returns when some endpoint answers.
    async fn reachable(&self) {
        loop {
            let endpoints = self.wanted.borrow().endpoints.clone();
            let checks = endpoints.iter().map(|endpoint| Box::pin(self.check(endpoint, DIAL_PATIENCE)));
            if !endpoints.is_empty() && select_ok(checks).await.is_ok() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Serves a client. False if no endpoint answered.
    async fn carry(&self, mut client: TcpStream) -> bool {
        let Some(mut server) = self.connect().await else { return false };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
            let _ = sockopt::set_socket_keepalive(stream, true);
            let _ = sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX);
        }
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        true
    }
}

async fn listener(balancer: &Arc<Balancer>, listening: &watch::Sender<Option<SocketAddr>>) {
    let mut wanted = balancer.wanted.clone();
    let rng = Rng::kernel();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    let mut connections = Vec::new();
    loop {
        let address = wanted.borrow_and_update().listen;
        let moved = async { wanted.wait_for(|wanted| wanted.listen != address).await.is_ok() };
        // Cancel-safe: a connection is either accepted and carried or left in the socket's queue.
        tokio::select! {
            alive = moved => if !alive { return },
            error = accept(address, balancer, listening, &mut connections) => {
                tracing::warn!(error = corten_base::chain(&error), "KubePrism does not listen");
                tokio::time::sleep(backoff.next_delay(&rng)).await;
            }
        }
        listening.send_replace(None);
    }
}

/// Accepts at `address` until that fails, whenever some endpoint answers; without an address there is nothing to do.
async fn accept(
    address: Option<SocketAddr>,
    balancer: &Arc<Balancer>,
    listening: &watch::Sender<Option<SocketAddr>>,
    connections: &mut Vec<Task>,
) -> io::Error {
    let Some(address) = address else { return std::future::pending().await };
    loop {
        balancer.reachable().await;
        if let Err(error) = accept_while_reachable(address, balancer, listening, connections).await {
            return error;
        }
        listening.send_replace(None);
    }
}

/// Accepts until a client finds no endpoint that answers.
async fn accept_while_reachable(
    address: SocketAddr,
    balancer: &Arc<Balancer>,
    listening: &watch::Sender<Option<SocketAddr>>,
    connections: &mut Vec<Task>,
) -> io::Result<()> {
    let socket = listen_tcp(address).and_then(TcpListener::from_std)?;
    listening.send_replace(socket.local_addr().ok());
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (lost, mut all_lost) = watch::channel(false);
    loop {
        let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
        // Cancel-safe: a connection that is not accepted stays in the socket's queue.
        let client = tokio::select! {
            accepted = socket.accept() => accepted?.0,
            _ = all_lost.wait_for(|lost| *lost) => return Ok(()),
        };
        connections.retain(|task| !task.is_finished());
        let (balancer, lost) = (balancer.clone(), lost.clone());
        connections.push(spawn("kubeprism", async move {
            if !balancer.carry(client).await {
                lost.send_replace(true);
            }
            drop(permit);
        }));
    }
}

/// Checks all endpoints at once, then rests; without endpoints it only waits for some.
async fn checks(balancer: &Arc<Balancer>) {
    let mut wanted = balancer.wanted.clone();
    loop {
        let endpoints = wanted.borrow_and_update().endpoints.clone();
        balancer.health.send_if_modified(|health| {
            let before = health.len();
            health.retain(|endpoint, _| endpoints.contains(endpoint));
            health.len() != before
        });
        join_all(endpoints.iter().map(|endpoint| balancer.check(endpoint, CHECK_PATIENCE))).await;
        let rest = async {
            if endpoints.is_empty() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(CHECK_EVERY).await;
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = rest => {}
        }
    }
}

async fn status(balancer: &Arc<Balancer>, mut listens: watch::Receiver<Option<SocketAddr>>, folder: &Path) {
    let mut health = balancer.health.subscribe();
    loop {
        let healthy =
            health.borrow_and_update().iter().map(|(endpoint, ok)| (endpoint.to_string(), *ok)).collect();
        let status = KubePrismStatus { listening: *listens.borrow_and_update(), healthy };
        if let Err(error) = write_atomic(folder, &status) {
            tracing::warn!(error = corten_base::chain(&error), "KubePrism status not written");
        }
        tokio::select! {
            changed = health.changed() => if changed.is_err() { return },
            changed = listens.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Dns, read};

    fn endpoint(port: u16) -> Endpoint {
        Endpoint { host: "127.0.0.1".into(), port }
    }

    #[test]
    fn healthy_endpoints_come_first_and_take_turns() {
        let endpoints = [endpoint(1), endpoint(2), endpoint(3), endpoint(4)];
        let health = Health::from([(endpoint(1), false), (endpoint(2), true), (endpoint(4), true)]);
        let ports =
            |turn| order(&endpoints, &health, turn).iter().map(|endpoint| endpoint.port).collect::<Vec<_>>();
        assert_eq!(ports(0), [2, 4, 3, 1]);
        assert_eq!(ports(2), [4, 2, 3, 1]);
        assert_eq!(order(&[], &health, 5), []);
    }

    /// A server that greets with `word` and echoes.
    async fn greeter(word: &'static str) -> (u16, Task) {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = socket.local_addr().expect("an address").port();
        let task = spawn("greeter", async move {
            while let Ok((mut client, _)) = socket.accept().await {
                let _ = client.write_all(word.as_bytes()).await;
            }
        });
        (port, task)
    }

    #[tokio::test]
    async fn clients_reach_a_living_server_and_the_status_says_who_lives() {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, _server) = greeter("hello").await;
        let listen = Some("127.0.0.1:0".parse().expect("an address"));
        let (_wanted, wanted) =
            watch::channel(KubePrism { listen, endpoints: vec![endpoint(1), endpoint(port)] });
        let (_dns, dns) = watch::channel(Dns::default());
        let resolver = Arc::new(Resolver::new(dns, Rng::seeded(1)));
        let path = folder.path().to_owned();
        let _balancer = spawn("balancer", async move { serve(wanted, resolver, &path).await });
        let status = loop {
            let status = read::<KubePrismStatus>(folder.path()).expect("read").unwrap_or_default();
            if status.listening.is_some() && status.healthy.len() == 2 {
                break status;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(status.healthy.get(&endpoint(port).to_string()), Some(&true));
        assert_eq!(status.healthy.get("127.0.0.1:1"), Some(&false));
        for _ in 0..3 {
            let mut client = TcpStream::connect(status.listening.expect("listening")).await.expect("connect");
            let mut text = String::new();
            client.read_to_string(&mut text).await.expect("read");
            assert_eq!(text, "hello");
        }
    }

    #[tokio::test]
    async fn a_server_that_stands_still_is_not_well_although_it_can_be_dialled() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let still = endpoint(silent.local_addr().expect("an address").port());
        let (port, _server) = greeter("hello").await;
        let living = endpoint(port);
        let endpoints = vec![still.clone(), living.clone()];
        let (_wanted, wanted) = watch::channel(KubePrism { listen: None, endpoints });
        let (_dns, dns) = watch::channel(Dns::default());
        let resolver = Arc::new(Resolver::new(dns, Rng::seeded(1)));
        let health = watch::channel(Health::new()).0;
        let balancer = Balancer { wanted, resolver, health, next: watch::channel(0).0 };
        balancer.dial(&still).await.expect("the kernel answers for it");
        let checked = balancer.check(&still, Duration::from_millis(200)).await;
        assert_eq!(checked.expect_err("silent").kind(), io::ErrorKind::TimedOut);
        balancer.check(&living, CHECK_PATIENCE).await.expect("living");
        let expected = Health::from([(still, false), (living, true)]);
        assert_eq!(*balancer.health.borrow(), expected);
        balancer.connect().await.expect("a connection");
        assert_eq!(*balancer.health.borrow(), expected, "a connection alone proves nothing");
    }

    #[tokio::test]
    async fn clients_are_refused_while_no_endpoint_answers() {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, server) = greeter("hello").await;
        let place =
            std::net::TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("an address");
        let (wanted, watched) =
            watch::channel(KubePrism { listen: Some(place), endpoints: vec![endpoint(1)] });
        let (_dns, dns) = watch::channel(Dns::default());
        let resolver = Arc::new(Resolver::new(dns, Rng::seeded(1)));
        let path = folder.path().to_owned();
        let _balancer = spawn("balancer", async move { serve(watched, resolver, &path).await });
        loop {
            let status = read::<KubePrismStatus>(folder.path()).expect("read").unwrap_or_default();
            if status.healthy.get("127.0.0.1:1") == Some(&false) {
                break;
            }
            tokio::task::yield_now().await;
        }
        let refused = TcpStream::connect(place).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        wanted.send_replace(KubePrism { listen: Some(place), endpoints: vec![endpoint(port)] });
        while TcpStream::connect(place).await.is_err() {
            tokio::task::yield_now().await;
        }
        drop(server);
        while TcpStream::connect(place).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
}
