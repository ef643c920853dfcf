//! Listeners of the resolver. Each address gets UDP and TCP; an address that cannot be bound yet is tried again.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, Rng, Task, spawn};
use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::Resolver;
use super::forward::{Transport, read_message, write_message};
use super::wire::UDP_MAX;
use crate::files::{Dns, DnsStatus, write_atomic};
use crate::net::{listen_tcp, listen_udp};

/// UDP questions in work per listener; further ones wait in the socket.
const UDP_TASKS_MAX: usize = 256;
/// TCP clients per listener.
const TCP_CLIENTS_MAX: usize = 64;
/// A TCP client that is silent this long is closed.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// What a listener reports: its name (`udp-127.0.0.53:53`) and `running` or why not.
type Report = (String, String);

/// Serves every wanted address and writes the status, for as long as it is polled.
pub async fn serve(mut wanted: watch::Receiver<Dns>, resolver: Arc<Resolver>, folder: &Path) {
    let (reports, mut reported) = mpsc::channel::<Report>(16);
    let mut listeners: BTreeMap<SocketAddr, Task> = BTreeMap::new();
    let mut health = resolver.health();
    let mut status = DnsStatus::default();
    loop {
        let addresses = wanted.borrow_and_update().listen.clone();
        listeners.retain(|address, _| addresses.contains(address));
        status
            .listeners
            .retain(|name, _| addresses.iter().any(|address| name.ends_with(&format!("-{address}"))));
        for address in addresses {
            listeners.entry(address).or_insert_with(|| {
                spawn("dns-listener", listener(address, resolver.clone(), reports.clone()))
            });
        }
        status.upstreams.clone_from(&health.borrow_and_update());
        if let Err(error) = write_atomic(folder, &status) {
            tracing::warn!(error = corten_base::chain(&error), "resolver status not written");
        }
        // Every arm is cancel-safe: nothing is taken out of a channel unless the arm wins.
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            changed = health.changed() => if changed.is_err() { return },
            Some((name, state)) = reported.recv() => { status.listeners.insert(name, state); }
        }
    }
}

async fn listener(address: SocketAddr, resolver: Arc<Resolver>, reports: mpsc::Sender<Report>) {
    let udp = keep_up("udp", address, &reports, || serve_udp(address, &resolver, &reports));
    let tcp = keep_up("tcp", address, &reports, || serve_tcp(address, &resolver, &reports));
    futures::future::join(udp, tcp).await;
}

async fn keep_up<F>(
    protocol: &str,
    address: SocketAddr,
    reports: &mpsc::Sender<Report>,
    serve: impl Fn() -> F,
) where
    F: Future<Output = io::Result<()>>,
{
    let rng = Rng::kernel();
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
    loop {
        if let Err(error) = serve().await {
            let _ = reports.send((format!("{protocol}-{address}"), corten_base::chain(&error))).await;
        }
        tokio::time::sleep(backoff.next_delay(&rng)).await;
    }
}

async fn running(protocol: &str, address: SocketAddr, reports: &mpsc::Sender<Report>) {
    let _ = reports.send((format!("{protocol}-{address}"), "running".into())).await;
}

async fn serve_udp(
    address: SocketAddr,
    resolver: &Arc<Resolver>,
    reports: &mpsc::Sender<Report>,
) -> io::Result<()> {
    let socket = Arc::new(UdpSocket::from_std(listen_udp(address)?)?);
    running("udp", address, reports).await;
    let permits = Arc::new(Semaphore::new(UDP_TASKS_MAX));
    let mut tasks: Vec<Task> = Vec::new();
    let mut buffer = vec![0; UDP_MAX];
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return Ok(()) };
        let (length, client) = socket.recv_from(&mut buffer).await?;
        tasks.retain(|task| !task.is_finished());
        let (message, socket, resolver) = (buffer[..length].to_vec(), socket.clone(), resolver.clone());
        let work = async move {
            if let Some(answer) = resolver.answer(&message, Transport::Udp).await {
                let _ = socket.send_to(&answer, client).await;
            }
            drop(permit);
        };
        // What the cache or our own names answer needs no task.
        let mut work = Box::pin(work);
        if work.as_mut().now_or_never().is_none() {
            tasks.push(spawn("dns-udp", work));
        }
    }
}

async fn serve_tcp(
    address: SocketAddr,
    resolver: &Arc<Resolver>,
    reports: &mpsc::Sender<Report>,
) -> io::Result<()> {
    let socket = TcpListener::from_std(listen_tcp(address)?)?;
    running("tcp", address, reports).await;
    let permits = Arc::new(Semaphore::new(TCP_CLIENTS_MAX));
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return Ok(()) };
        let (stream, _) = socket.accept().await?;
        tasks.retain(|task| !task.is_finished());
        let resolver = resolver.clone();
        tasks.push(spawn("dns-tcp", async move {
            let _ = tcp_client(stream, &resolver).await;
            drop(permit);
        }));
    }
}

async fn tcp_client(mut stream: TcpStream, resolver: &Resolver) -> io::Result<()> {
    loop {
        let message = timeout(TCP_IDLE, read_message(&mut stream)).await??;
        let Some(answer) = resolver.answer(&message, Transport::Tcp).await else { return Ok(()) };
        timeout(TCP_IDLE, write_message(&mut stream, &answer)).await??;
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::dns::wire;

    /// An upstream that answers every question with 192.0.2.1 and counts.
    async fn upstream() -> (SocketAddr, watch::Receiver<usize>, Task) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("an address");
        let (count, counted) = watch::channel(0);
        let task = spawn("upstream", async move {
            let mut buffer = vec![0; UDP_MAX];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                count.send_modify(|count| *count += 1);
                let query = wire::parse_query(&buffer[..length]).expect("a query");
                let answer = wire::own_answer(&buffer[..length], &query, &[IpAddr::from([192, 0, 2, 1])]);
                socket.send_to(&answer, client).await.expect("send");
            }
        });
        (address, counted, task)
    }

    #[tokio::test]
    async fn forwards_once_caches_and_answers_own_names() {
        let (upstream, asked, _task) = upstream().await;
        let dead: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let names = BTreeMap::from([("node-1".to_owned(), vec![IpAddr::from([10, 5, 0, 2])])]);
        let dns = Dns { listen: vec![], upstreams: vec![dead, upstream], names };
        let (_sender, wanted) = watch::channel(dns);
        let resolver = Resolver::new(wanted, Rng::seeded(1));
        assert_eq!(resolver.addresses("node-1").await, [IpAddr::from([10, 5, 0, 2])]);
        assert_eq!(resolver.addresses("example.org").await, [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(resolver.addresses("EXAMPLE.org.").await, [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(*asked.borrow(), 3, "A once; AAAA without data has no lifetime and is asked again");
        assert_eq!(resolver.health().borrow().get(&dead), Some(&false));
        assert_eq!(resolver.health().borrow().get(&upstream), Some(&true));
    }

    #[tokio::test]
    async fn upstreams_that_nobody_asks_are_known_to_be_there_or_not() {
        let (upstream, _asked, _task) = upstream().await;
        let dead: SocketAddr = "127.0.0.1:1".parse().expect("an address");
        let dns = |upstreams| Dns { upstreams, ..Dns::default() };
        let (sender, wanted) = watch::channel(dns(vec![dead]));
        let resolver = Arc::new(Resolver::new(wanted, Rng::seeded(1)));
        let mut health = resolver.health();
        let _watching = spawn("watching", async move { resolver.watch_upstreams().await });
        health.wait_for(|health| health.get(&dead) == Some(&false)).await.expect("watched");
        sender.send_replace(dns(vec![upstream]));
        let only = BTreeMap::from([(upstream, true)]);
        health.wait_for(|health| *health == only).await.expect("watched");
    }

    #[tokio::test]
    async fn serves_both_protocols_and_reports_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let probe = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = probe.local_addr().expect("an address");
        drop(probe);
        let names = BTreeMap::from([("node-1".to_owned(), vec![IpAddr::from([10, 5, 0, 2])])]);
        let (_sender, wanted) = watch::channel(Dns { listen: vec![address], upstreams: vec![], names });
        let resolver = Arc::new(Resolver::new(wanted.clone(), Rng::seeded(1)));
        let path = folder.path().to_owned();
        let _server = spawn("server", async move { serve(wanted, resolver, &path).await });
        let running =
            |status: &DnsStatus| status.listeners.values().filter(|state| *state == "running").count() == 2;
        while !crate::files::read::<DnsStatus>(folder.path())
            .expect("read")
            .is_some_and(|status| running(&status))
        {
            tokio::task::yield_now().await;
        }
        let mut stream = TcpStream::connect(address).await.expect("connect");
        let query = wire::query(5, "NODE-1", wire::A).expect("a name");
        write_message(&mut stream, &query).await.expect("write");
        let answer = read_message(&mut stream).await.expect("read");
        assert_eq!(wire::addresses(&answer), [IpAddr::from([10, 5, 0, 2])]);
        assert_eq!(answer[13..19], *b"NODE-1", "the question comes back as it was spelled");
        let client = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        client.send_to(&wire::query(6, "other", wire::A).expect("a name"), address).await.expect("send");
        let mut buffer = [0; 512];
        let length = client.recv(&mut buffer).await.expect("receive");
        assert_eq!((wire::id(&buffer[..length]), wire::response_code(&buffer[..length])), (Some(6), Some(2)));
    }
}
