//! Keepers as processes: this test program is one when its standard input is a local socket.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SocketType, sockopt};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::local::Local;
use super::policy::Limits;
use super::pool::{Pool, Sockets};
use crate::stream::{TunnelListener, TunnelStream};

/// Much more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);
/// Everything goes to keepers.
const KEPT: Limits = Limits { own: 0, own_max: 4096, keeper: 4096, keepers: 2 };
const CHILD: [&str; 3] = ["keeper::tests::child", "--exact", "--test-threads=1"];
const MEBIBYTE: usize = 1 << 20;

/// What the other tests start; nothing when it is a test like others.
#[test]
fn child() {
    if sockopt::socket_type(std::io::stdin()) == Ok(SocketType::SEQPACKET) {
        super::keeper().expect("a keeper");
    }
}

/// Waits, but not for ever.
async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("in time")
}

struct Host {
    listener: TcpListener,
    address: SocketAddr,
    pool: Pool,
}

impl Host {
    async fn new(limits: Limits) -> Self {
        let program = std::env::current_exe().expect("a program");
        let pool = Pool::with(program.into(), CHILD.map(Into::into).into(), limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self { listener, address, pool }
    }

    async fn kept(limits: Limits) -> (Self, TunnelStream, TcpStream) {
        let host = Self::new(limits).await;
        let (stream, machine) = host.connect().await;
        (host, stream, machine)
    }

    /// A connection, at both ends.
    async fn connect(&self) -> (TunnelStream, TcpStream) {
        let machine = TcpStream::connect(self.address).await.expect("connected");
        let (stream, from) = self.listener.accept().await.expect("accepted");
        (self.pool.place_accepted(stream, from).expect("a place"), machine)
    }

    /// Waits until the sockets are so.
    async fn wait_for(&self, wanted: impl Fn(Sockets) -> bool) {
        let reached = async {
            while !wanted(self.pool.sockets()) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE, reached).await.unwrap_or_else(|_| panic!("{:?}", self.pool));
    }
}

/// Gives back what comes, to the end.
async fn echo(machine: TcpStream) {
    let (mut from, mut to) = machine.into_split();
    tokio::io::copy(&mut from, &mut to).await.expect("an echo");
}

/// Sends bytes of its own and wants them back.
async fn exchange(stream: TunnelStream, seed: usize, length: usize) {
    let sent: Vec<u8> = (0..length).map(|at| u8::try_from((at * 31 + seed) % 251).expect("small")).collect();
    let (mut from, mut to) = split(stream);
    let write = async {
        to.write_all(&sent).await.expect("written");
        to.shutdown().await.expect("shut down");
    };
    let mut received = Vec::new();
    let (read, ()) = tokio::join!(from.read_to_end(&mut received), write);
    read.expect("read");
    assert!(received == sent, "other bytes came back to {seed}: {} of {length}", received.len());
}

#[tokio::test]
async fn an_echo_passes_while_another_stream_is_never_read() {
    let (host, mut stuck, machine) = Host::kept(KEPT).await;
    let mut tasks = JoinSet::new();
    let (_held, mut flood) = machine.into_split();
    tasks.spawn(async move { while flood.write_all(&[7; 4096]).await.is_ok() {} });
    tasks.spawn(async move { while stuck.write_all(&[7; 4096]).await.is_ok() {} });
    let (stream, machine) = host.connect().await;
    let (address, peer) = (machine.local_addr().expect("an address"), stream.peer_addr());
    assert_eq!(peer.expect("kept"), address);
    within(async { tokio::join!(exchange(stream, 1, MEBIBYTE), echo(machine)) }).await;
    assert_eq!(host.pool.sockets().keepers, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_at_once_keep_their_bytes_apart() {
    let host = Host::new(KEPT).await;
    let mut tasks = JoinSet::new();
    for seed in 0..50 {
        let (stream, machine) = host.connect().await;
        tasks.spawn(exchange(stream, seed, 8 * super::frame::WINDOW));
        tasks.spawn(echo(machine));
    }
    let all = async {
        while let Some(done) = tasks.join_next().await {
            done.expect("an echo")
        }
    };
    within(all).await;
    host.wait_for(|sockets| sockets == Sockets { own: 0, kept: 0, keepers: 1 }).await;
}

#[tokio::test]
async fn each_end_may_finish_first_and_still_read() {
    let (host, mut stream, mut machine) = Host::kept(KEPT).await;
    let mut text = String::new();
    machine.write_all(b"question").await.expect("written");
    machine.shutdown().await.expect("shut down");
    within(stream.read_to_string(&mut text)).await.expect("an end");
    stream.write_all(b"answer").await.expect("written");
    stream.shutdown().await.expect("shut down");
    within(machine.read_to_string(&mut text)).await.expect("an end");
    assert_eq!(text, "questionanswer");
    let refused = stream.write(b"x").await.expect_err("it said that it was at its end");
    assert_eq!(refused.kind(), ErrorKind::BrokenPipe);

    let (mut stream, mut machine) = host.connect().await;
    stream.write_all(b"question").await.expect("written");
    stream.shutdown().await.expect("shut down");
    text.clear();
    within(machine.read_to_string(&mut text)).await.expect("an end");
    machine.write_all(b"answer").await.expect("written");
    drop(machine);
    within(stream.read_to_string(&mut text)).await.expect("an end");
    assert_eq!(text, "questionanswer");
}

#[tokio::test]
async fn a_reset_is_an_error_and_no_end() {
    let (host, mut stream, machine) = Host::kept(KEPT).await;
    sockopt::set_socket_linger(&machine, Some(Duration::ZERO)).expect("set");
    drop(machine);
    let error = within(stream.read(&mut [0; 8])).await.expect_err("reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(stream.write(b"x").await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
    host.wait_for(|sockets| sockets.kept == 0).await;
}

#[tokio::test]
async fn what_was_written_before_a_stream_was_dropped_arrives_and_the_socket_is_closed() {
    let (host, mut stream, mut machine) = Host::kept(KEPT).await;
    let sent = vec![7; 40 * super::frame::WINDOW];
    let mut received = Vec::new();
    let write = async {
        stream.write_all(&sent).await.expect("written");
        drop(stream);
    };
    let (read, ()) = within(async { tokio::join!(machine.read_to_end(&mut received), write) }).await;
    read.expect("an end");
    assert!(received == sent);
    host.wait_for(|sockets| sockets == Sockets { own: 0, kept: 0, keepers: 1 }).await;
}

#[tokio::test]
async fn options_of_a_socket_can_be_set_while_a_keeper_has_it() {
    let host = Host::new(KEPT).await;
    let _machine = TcpStream::connect(host.address).await.expect("connected");
    let (stream, from) = host.listener.accept().await.expect("accepted");
    let same = stream.as_fd().try_clone_to_owned().expect("a second descriptor");
    sockopt::set_socket_recv_buffer_size(&same, 8192).expect("set");
    let before = sockopt::socket_recv_buffer_size(&same);
    let stream = host.pool.place_accepted(stream, from).expect("a place");
    stream.set_nodelay(true).expect("set");
    stream.set_signs_of_life(Duration::from_secs(11), Duration::from_secs(77)).expect("set");
    let set = async {
        while sockopt::tcp_user_timeout(&same) != Ok(77_000) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    within(set).await;
    assert_eq!(sockopt::tcp_nodelay(&same), Ok(true));
    assert_eq!(sockopt::tcp_keepidle(&same), Ok(Duration::from_secs(11)));
    assert_eq!(sockopt::socket_recv_buffer_size(&same), before);
}

#[tokio::test]
async fn streams_of_a_killed_keeper_fail_and_the_next_ones_go_to_a_new_one() {
    let (host, mut stream, mut machine) = Host::kept(KEPT).await;
    let first = host.pool.processes();
    let process = first.first().and_then(|id| Pid::from_raw((*id).try_into().ok()?)).expect("a keeper");
    kill_process(process, Signal::KILL).expect("killed");
    let error = within(stream.read(&mut [0; 8])).await.expect_err("no keeper");
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert!(error.to_string().contains("has ended"), "{error}");
    assert!(stream.write(b"x").await.is_err() && stream.set_nodelay(true).is_err());
    let end = within(machine.read(&mut [0; 8])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "the machine learns of it: {end:?}");
    // Keepers are not started faster than once a second.
    let served = async {
        loop {
            let machine = TcpStream::connect(host.address).await.expect("connected");
            let (stream, from) = host.listener.accept().await.expect("accepted");
            if let Ok(stream) = host.pool.place_accepted(stream, from) {
                break (stream, machine);
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let (stream, machine) = within(served).await;
    within(async { tokio::join!(exchange(stream, 3, 1000), echo(machine)) }).await;
    let (stream, machine) = host.connect().await;
    within(async { tokio::join!(exchange(stream, 4, 1000), echo(machine)) }).await;
    assert_ne!(host.pool.processes(), first);
}

#[tokio::test]
async fn connections_beyond_all_keepers_are_closed_and_the_listener_goes_on() {
    let Host { listener, address, pool } =
        Host::new(Limits { own: 1, own_max: 2, keeper: 1, keepers: 1 }).await;
    let pool = Arc::new(pool);
    let mut listener = TunnelListener::pooled(listener, Arc::clone(&pool));
    let mut machines = Vec::new();
    for _ in 0..3 {
        machines.push(TcpStream::connect(address).await.expect("connected"));
    }
    let (here, _) = listener.accept().await.expect("in the manager");
    let (kept, _) = listener.accept().await.expect("in a keeper");
    assert_eq!(kept.peer_addr().expect("kept"), machines[1].local_addr().expect("an address"));
    let mut refused = machines.pop().expect("a third one");
    let mut byte = [0];
    let end = within(async {
        tokio::select! {
            accepted = listener.accept() => panic!("there is no room: {accepted:?}"),
            end = refused.read(&mut byte) => end,
        }
    });
    let end = end.await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(pool.enter().expect_err("no room").to_string().contains("LimitNOFILE"));
    drop(here);
    let (again, _) = tokio::join!(listener.accept(), TcpStream::connect(address));
    assert!(again.is_ok());
    assert_eq!(pool.sockets().own, 1);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a keeper whose manager is this test")]
async fn a_keeper_ends_with_its_manager() {
    let (ours, theirs) = Local::pair().expect("a pair");
    let mut command = Command::new(std::env::current_exe().expect("a program"));
    command.args(CHILD).stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
    let mut child = command.spawn().expect("a keeper");
    drop(command);
    drop(ours);
    let ended = async {
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(within(ended).await.success());
}

/// What a process has in memory, KiB.
fn resident(process: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn an_idle_stream_takes_little_memory_in_its_keeper() {
    const STREAMS: usize = 2000;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("more open files");
    }
    let (host, stream, machine) = Host::kept(KEPT).await;
    within(async { tokio::join!(exchange(stream, 1, MEBIBYTE), echo(machine)) }).await;
    let keeper = host.pool.processes().first().expect("a keeper").to_string();
    let (before, own) = (resident(&keeper), resident("self"));
    let mut all = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let (mut stream, mut machine) = host.connect().await;
        // Each has said something, so that none is idle because it is new.
        machine.write_all(b"hello").await.expect("written");
        stream.read_exact(&mut [0; 5]).await.expect("read");
        all.push((stream, machine.into_std().expect("a socket")));
    }
    host.wait_for(|sockets| sockets == Sockets { own: 0, kept: STREAMS, keepers: 1 }).await;
    let (used, here) = (resident(&keeper) - before, resident("self").saturating_sub(own));
    let each = |kibibytes: usize| kibibytes * 1024 / STREAMS;
    println!("{STREAMS} idle streams: {} bytes each in the keeper, {before} KiB without any", each(used));
    println!("{} bytes each in the manager, with what other tests took meanwhile", each(here));
    assert!(used < STREAMS, "less than a KiB each: {used} KiB");
}
