//! Load balancers over the loopback address of the host.

use std::net::{Ipv6Addr, SocketAddr};

use corten_resource::testing::state;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::bell::ClusterObservation;
use crate::testing::registry;

const HOST: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// The host's own network.
#[derive(Clone)]
struct Host;

impl Streams for Host {
    async fn connect(&self, to: SocketAddrV6) -> io::Result<TunnelStream> {
        TcpStream::connect(to).await.map(TunnelStream::from)
    }
}

impl Ports for Host {
    async fn listen(&self, port: u16) -> io::Result<TunnelListener> {
        TcpListener::bind((HOST, port)).await.map(TunnelListener::from)
    }
}

fn settings() -> LoadBalancer {
    let (short, long) = (Duration::from_millis(200), Duration::from_secs(5));
    LoadBalancer {
        min_port: 10_000,
        max_port: 10_001,
        dial_timeout: long,
        keep_alive_period: long,
        tcp_user_timeout: long,
        health_check_interval: short,
        health_check_timeout: long,
    }
}

/// A port that nobody listens on.
async fn free_port() -> u16 {
    let listener = TcpListener::bind((HOST, 0)).await.expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A machine that answers each connection with its name; its address.
async fn machine(name: &'static str) -> (SocketAddrV6, Task) {
    let listener = TcpListener::bind((HOST, 0)).await.expect("a port");
    let SocketAddr::V6(address) = listener.local_addr().expect("an address") else { panic!("IPv6") };
    let task = spawn("machine", async move {
        loop {
            if let Ok((mut stream, _)) = listener.accept().await {
                // A check hangs up at once.
                let _ = stream.write_all(name.as_bytes()).await;
            }
        }
    });
    (address, task)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

async fn answer(port: u16) -> String {
    let mut stream = TcpStream::connect((HOST, port)).await.expect("the port is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn a_connection_is_led_to_a_machine_that_answers_and_follows_the_control_plane() {
    let state = state(registry());
    let balancers = Arc::new(Balancers::new(Host, settings(), Bell::new(state.clone())));
    let (first, one) = machine("one").await;
    let (second, _two) = machine("two").await;
    let port = free_port().await;
    balancers.open("prod", port, &[first]).await.expect("opened");
    let is_healthy = || balancers.running("prod").is_some_and(|running| running.is_healthy);
    until("it is healthy", is_healthy).await;
    assert!(state.get::<ClusterObservation>("prod").is_some(), "the controllers were woken");
    assert_eq!(answer(port).await, "one");
    drop(one);
    until("nobody answers", || !is_healthy()).await;
    balancers.follow("prod", &[first, second]);
    until("somebody answers", is_healthy).await;
    assert_eq!(answer(port).await, "two");
    balancers.close("prod").await;
    assert!(balancers.running("prod").is_none());
    assert!(balancers.connect("prod").await.is_err());
    balancers.open("prod", port, &[second]).await.expect("the port is free again");
    assert_eq!(answer(port).await, "two");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let balancers = Arc::new(Balancers::new(Host, settings(), Bell::new(state(registry()))));
    let taken = TcpListener::bind((HOST, 0)).await.expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let error = balancers.open("prod", port, &[]).await.expect_err("taken");
    assert!(error.to_string().contains(&format!("port {port} in the tunnel")), "{error}");
}
