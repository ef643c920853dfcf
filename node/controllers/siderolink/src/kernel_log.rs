//! Sends the kernel log, which holds the log of this program too, to its destinations.
//!
//! ```text
//! /dev/kmsg ──record──▶ line of JSON ──▶ TCP connection or UDP datagrams
//! ```
//! Each destination has a reader of its own, so that the kernel's bounded ring is the queue: a destination that is away
//! gets later what the ring still holds, and holds nobody back.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use corten_base::{Backoff, Clock, Rng, Task, spawn};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::siderolink::KmsgLogConfig;
use corten_sys::kmsg::{Next, Reader, Start};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::api;
use crate::destinations::{Destination, Transport};
use crate::log_line;

/// Time for one line, the connection included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after the first failure, and the longest one.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Where lines come from. Implemented over the kernel's log and by a fake for tests.
trait Lines: Send {
    /// The next line with its end, waiting for it.
    fn next(&mut self) -> impl Future<Output = anyhow::Result<Vec<u8>>> + Send;
}

/// Where lines go. Implemented over the network and by a fake for tests.
trait Sink: Send {
    /// Hands over a line.
    fn send(&mut self, line: &[u8]) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Runs the senders.
pub struct KernelLog {
    clock: Clock,
    rng: Rng,
    senders: BTreeMap<Destination, Task>,
}

controller!(KernelLog, "siderolink.KernelLog", inputs: [weak KmsgLogConfig], outputs: []);

impl KernelLog {
    /// A controller that sends nothing yet.
    #[must_use]
    pub const fn new(clock: Clock, rng: Rng) -> Self {
        Self { clock, rng, senders: BTreeMap::new() }
    }
}

/// Begin or end of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Send there as well.
    Start(Destination),
    /// Send nothing there.
    Stop(Destination),
}

impl Driver for KernelLog {
    type Observed = BTreeSet<Destination>;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<BTreeSet<Destination>> {
        Ok(self.senders.keys().cloned().collect())
    }

    fn plan(&self, view: &View<Self>, running: &BTreeSet<Destination>) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let config = view.get::<KmsgLogConfig>(KmsgLogConfig::ID);
        let urls = config.map(|config| config.spec.destinations.as_slice()).unwrap_or_default();
        let wanted: BTreeSet<Destination> = urls.iter().filter_map(|url| Destination::parse(url)).collect();
        for destination in running.difference(&wanted) {
            plan.op(Op::Stop(destination.clone()));
        }
        for destination in wanted.difference(running) {
            plan.op(Op::Start(destination.clone()));
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Stop(destination) => {
                self.senders.remove(&destination);
            }
            Op::Start(destination) => {
                let sending = run(destination.clone(), self.clock.clone(), self.rng.clone());
                self.senders.insert(destination, spawn("kernel log", sending));
            }
        }
        Ok(())
    }
}

/// Sends until the task is dropped. A log that cannot be read is opened again.
async fn run(destination: Destination, clock: Clock, rng: Rng) {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut sink = NetworkSink { destination, connection: None };
    loop {
        let error = match KernelLines::open(&clock) {
            Ok(mut lines) => send_all(&mut lines, &mut sink, &rng).await,
            Err(error) => error,
        };
        if backoff.attempts() == 0 {
            tracing::warn!(error = %format_args!("{error:#}"), "the kernel log cannot be read to be sent");
        }
        tokio::time::sleep(backoff.next_delay(&rng)).await;
    }
}

/// Sends one line after the other until the log fails, which is what comes out. A line that is not taken is sent again.
async fn send_all<L: Lines, S: Sink>(lines: &mut L, sink: &mut S, rng: &Rng) -> anyhow::Error {
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let line = match lines.next().await {
            Ok(line) => line,
            Err(error) => return error,
        };
        while let Err(error) = sink.send(&line).await {
            // Told once for each line: what is told is a line of this log.
            if backoff.attempts() == 0 {
                tracing::warn!(error = %format_args!("{error:#}"), "the kernel log is not taken");
            }
            tokio::time::sleep(backoff.next_delay(rng)).await;
        }
        backoff.reset();
    }
}

/// The kernel's log from the oldest record that it keeps.
struct KernelLines {
    reader: AsyncFd<Reader>,
    booted: SystemTime,
}

impl KernelLines {
    fn open(clock: &Clock) -> anyhow::Result<Self> {
        let reader = Reader::open(Start::Oldest)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the reader owns its descriptor and closes it last"
        )]
        let reader = AsyncFd::with_interest(reader, Interest::READABLE)?;
        let booted = clock.now().checked_sub(corten_sys::clock::since_boot()).unwrap_or(UNIX_EPOCH);
        Ok(Self { reader, booted })
    }
}

impl Lines for KernelLines {
    async fn next(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            match self.reader.get_mut().next_record()? {
                Next::Record(record) => return Ok(log_line::line(&record, self.booted)),
                Next::Lost => {}
                Next::End => {
                    let mut ready = self.reader.readable_mut().await?;
                    ready.clear_ready();
                }
            }
        }
    }
}

/// A way to a destination.
enum Connection {
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Connection {
    async fn open(destination: &Destination) -> anyhow::Result<Self> {
        let host = &destination.host;
        if destination.transport == Transport::Tcp {
            return Ok(Self::Tcp(api::tcp(host).await?));
        }
        let addresses = corten_client::resolve::lookup(&host.host).await?;
        let address = *addresses.first().with_context(|| format!("{} has no address", host.host))?;
        let any = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        socket.connect(SocketAddr::new(address, host.port)).await?;
        Ok(Self::Udp(socket))
    }

    /// Whether the destination has not hung up. It sends nothing, so that a read tells.
    fn is_open(&self) -> bool {
        match self {
            Self::Tcp(stream) => !matches!(stream.try_read(&mut [0; 1]), Ok(0)),
            Self::Udp(_) => true,
        }
    }

    async fn write(&mut self, line: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(line).await?,
            Self::Udp(socket) => {
                socket.send(line).await?;
            }
        }
        Ok(())
    }
}

/// A destination in the network. A connection over which a line could not be sent is not used again.
struct NetworkSink {
    destination: Destination,
    connection: Option<Connection>,
}

impl Sink for NetworkSink {
    async fn send(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let known = self.connection.take().filter(Connection::is_open);
        let destination = &self.destination;
        let write = async {
            let mut connection = match known {
                Some(connection) => connection,
                None => Connection::open(destination).await?,
            };
            connection.write(line).await?;
            Ok::<_, anyhow::Error>(connection)
        };
        let sent = timeout(TIMEOUT, write).await;
        let sent = sent.with_context(|| format!("{destination} took nothing within {TIMEOUT:?}"))?;
        let connection = sent.with_context(|| format!("cannot send to {destination}"))?;
        self.connection = Some(connection);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::resource;
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;

    /// A log with these lines, that fails afterwards.
    struct FakeLines(Vec<&'static str>);

    impl Lines for FakeLines {
        async fn next(&mut self) -> anyhow::Result<Vec<u8>> {
            anyhow::ensure!(!self.0.is_empty(), "the log has ended");
            Ok(self.0.remove(0).as_bytes().to_vec())
        }
    }

    /// A sink that fails at every second attempt.
    #[derive(Default)]
    struct FakeSink {
        attempts: usize,
        taken: Vec<u8>,
    }

    impl Sink for FakeSink {
        async fn send(&mut self, line: &[u8]) -> anyhow::Result<()> {
            self.attempts += 1;
            anyhow::ensure!(self.attempts.is_multiple_of(2), "hung up");
            self.taken.extend_from_slice(line);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_is_not_taken_is_sent_again_and_none_is_left_out() {
        let (mut lines, mut sink) = (FakeLines(vec!["a\n", "b\n", "c\n"]), FakeSink::default());
        let end = send_all(&mut lines, &mut sink, &Rng::seeded(1)).await;
        assert_eq!(String::from_utf8_lossy(&sink.taken), "a\nb\nc\n");
        assert_eq!(end.to_string(), "the log has ended");
    }

    #[tokio::test]
    async fn a_destination_that_hung_up_is_connected_to_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("tcp://{}", listener.local_addr().expect("an address"));
        let destination = Destination::parse(&url).expect("a destination");
        let mut sink = NetworkSink { destination, connection: None };
        for text in ["one\n", "two\n"] {
            sink.send(text.as_bytes()).await.expect("sent");
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.expect("a line");
            assert_eq!(line, text);
            // The stream is closed here; that arrives at the other end a moment later.
            if let Some(Connection::Tcp(stream)) = &sink.connection {
                stream.readable().await.expect("the end");
            }
        }
    }

    #[test]
    fn each_destination_has_one_sender() {
        let kernel_log = KernelLog::new(Clock::fixed(0), Rng::seeded(1));
        let destination = |port: u16| Destination::parse(&format!("tcp://h:{port}")).expect("a destination");
        let destinations = vec!["tcp://h:1".to_owned(), "tcp://h:2".to_owned()];
        let row = resource(KmsgLogConfig::ID, KmsgLogConfig { destinations });
        let running = BTreeSet::from([destination(2), destination(3)]);
        let plan = kernel_log.plan(&View::of([row], UNIX_EPOCH), &running);
        assert_eq!(plan.ops(), [Op::Stop(destination(3)), Op::Start(destination(1))]);
    }
}
