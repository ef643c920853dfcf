//! Ways to be rude to a machine's API.
//!
//! Those who only connect do so from many addresses of the loopback; those who speak TLS have an administrator's
//! certificate, and come from the addresses that lead to where they go.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use corten_api::MESSAGE_BYTES_MAX;
use corten_api::common::Data;
use corten_api::cosi::resource::WatchRequest;
use corten_api::machine::machine_service_client::MachineServiceClient;
use corten_api::machine::{ApplyConfigurationRequest, CopyRequest};
use corten_client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::{Request, Status, Streaming};

use super::Target;
use super::processors::stay_on;

/// What one step of an attack may take.
const STEP_MAX: Duration = Duration::from_secs(5);
/// Between two steps of those who are slow on purpose.
const DRIBBLE: Duration = Duration::from_millis(250);
/// Addresses of those who only connect.
const ADDRESSES: u8 = 100;
/// Connections of each at a time.
const CONNECTIONS: usize = 20;
/// Those who do the same at the same time.
const CREW: usize = 8;
/// Connections of those who open streams, and streams on each.
const CHANNELS: usize = 30;
const STREAMS: usize = 100;
/// Metadata of a bomb: entries and bytes of each.
const BOMB: (usize, usize) = (60, 1000);

/// A way to be rude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Connections that say nothing.
    Silent,
    /// Handshakes that come byte by byte.
    Slow,
    /// Handshakes without a pause.
    Storm,
    /// Large metadata.
    Bombs,
    /// Answers that nobody reads.
    Unread,
    /// Messages above the limit.
    Oversize,
    /// Bytes that are no text and no protobuf.
    Garbage,
    /// Thousands of watches.
    Watches,
}

/// What became of those who were rude.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Connections that stayed, calls that were answered.
    pub served: u64,
    /// All others.
    pub refused: u64,
}

impl Tally {
    fn note(&mut self, is_served: bool) {
        if is_served {
            self.served += 1;
        } else {
            self.refused += 1;
        }
    }

    fn add(&mut self, other: Self) {
        self.served += other.served;
        self.refused += other.refused;
    }
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Silent,
        Self::Slow,
        Self::Storm,
        Self::Bombs,
        Self::Unread,
        Self::Oversize,
        Self::Garbage,
        Self::Watches,
    ];

    /// For figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Storm => "storm",
            Self::Bombs => "bombs",
            Self::Unread => "unread",
            Self::Oversize => "oversize",
            Self::Garbage => "garbage",
            Self::Watches => "watches",
        }
    }

    /// For people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Silent => "connections that say nothing, from a hundred addresses",
            Self::Slow => "handshakes that come byte by byte",
            Self::Storm => "reconnects without a pause",
            Self::Bombs => "calls with large metadata",
            Self::Unread => "answers that nobody reads",
            Self::Oversize => "messages above the limit",
            Self::Garbage => "bytes that are no text and no protobuf",
            Self::Watches => "three thousand watches",
        }
    }
}

/// Attacks until `end`.
pub fn run(attack: Attack, target: &Target, end: Instant) -> Result<Tally> {
    stay_on(&target.processors.attackers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match attack {
            Attack::Silent => connections(target, end, false).await,
            Attack::Slow => connections(target, end, true).await,
            Attack::Unread => unread(target, end).await,
            Attack::Watches => watches(target, end).await,
            Attack::Storm | Attack::Bombs | Attack::Oversize | Attack::Garbage => {
                crew(attack, target, end).await
            }
        }
    })
}

/// Those who only connect; a connection that is closed is made again.
async fn connections(target: &Target, end: Instant, speaks: bool) -> Result<Tally> {
    let mut tasks = JoinSet::new();
    for address in 1..=ADDRESSES {
        let (from, to) = (SocketAddr::from(([127, 66, 0, address], 0)), target.polite);
        tasks.spawn(async move {
            let mut tally = Tally::default();
            while Instant::now() < end {
                let mut open = Vec::new();
                for _ in 0..CONNECTIONS {
                    open.extend(connect(from, to).await);
                }
                if speaks {
                    dribble(&mut open, end).await;
                } else {
                    sleep(DRIBBLE).await;
                }
                for stream in &mut open {
                    tally.note(!is_closed(stream).await);
                }
            }
            tally
        });
    }
    Ok(sum(tasks).await)
}

async fn connect(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(from)?;
    socket.connect(to).await
}

/// The head of a TLS record, and then a byte now and then.
async fn dribble(open: &mut [TcpStream], end: Instant) {
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    for byte in hello {
        for stream in open.iter_mut() {
            // It may be closed already.
            let _ = stream.write_all(&[byte]).await;
        }
        if Instant::now() >= end {
            return;
        }
        sleep(DRIBBLE).await;
    }
}

/// Whether the other end has hung up.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    timeout(Duration::from_millis(1), stream.read(&mut byte)).await.is_ok()
}

/// Several who do one thing again and again.
async fn crew(attack: Attack, target: &Target, end: Instant) -> Result<Tally> {
    let mut tasks = JoinSet::new();
    for number in 0..CREW {
        let (target, mut channel) = (target.clone(), target.rude(number)?);
        tasks.spawn(async move {
            let mut tally = Tally::default();
            while Instant::now() < end {
                let answer = match attack {
                    Attack::Storm => match target.rude(number) {
                        Ok(fresh) => once(Client::new(fresh).machine().version(())).await,
                        Err(_) => Err(Status::internal("no channel")),
                    },
                    Attack::Bombs => once(Client::new(channel.clone()).machine().version(bomb())).await,
                    Attack::Oversize => once(oversize(channel.clone())).await,
                    _ => garbage(&target, &channel).await,
                };
                tally.note(answer.is_ok());
                if answer.is_err_and(|status| status.code() == tonic::Code::Unavailable)
                    && let Ok(fresh) = target.rude(number)
                {
                    channel = fresh;
                }
            }
            tally
        });
    }
    Ok(sum(tasks).await)
}

async fn once<T>(call: impl Future<Output = Result<T, Status>>) -> Result<(), Status> {
    timeout(STEP_MAX, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))).map(drop)
}

fn bomb() -> Request<()> {
    let mut request = Request::new(());
    let (entries, bytes) = BOMB;
    let value = MetadataValue::<Ascii>::try_from("x".repeat(bytes));
    for number in 0..entries {
        let key = MetadataKey::<Ascii>::from_bytes(format!("x-bomb-{number}").as_bytes());
        if let (Ok(key), Ok(value)) = (key, &value) {
            request.metadata_mut().insert(key, value.clone());
        }
    }
    request
}

async fn oversize(channel: tonic::transport::Channel) -> Result<(), Status> {
    let mut client = MachineServiceClient::new(channel).max_encoding_message_size(usize::MAX);
    let data = vec![b'x'; MESSAGE_BYTES_MAX + 1].into();
    let request = ApplyConfigurationRequest { data, ..Default::default() };
    client.apply_configuration(request).await.map(drop)
}

/// Broken messages to a method that wants text, broken metadata, and a connection that speaks nothing.
async fn garbage(target: &Target, channel: &tonic::transport::Channel) -> Result<(), Status> {
    // A path that is no text, to the method that reads files.
    let broken = ApplyConfigurationRequest { data: b"\xff\xfe\x80".to_vec().into(), ..Default::default() };
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(broken);
    let raw = MetadataValue::<Ascii>::try_from(&b"\xff\xfe"[..]);
    if let Ok(value) = raw {
        request.metadata_mut().insert("node", value.clone());
        request.metadata_mut().insert("talos-role", value);
    }
    let path = http::uri::PathAndQuery::from_static("/machine.MachineService/Read");
    let codec = tonic_prost::ProstCodec::<ApplyConfigurationRequest, Data>::default();
    let answer = once(client.server_streaming(request, path, codec)).await;
    if let Ok(mut stream) = connect(SocketAddr::from(([127, 66, 1, 1], 0)), target.polite).await {
        // Whoever hangs up in the middle of it is right.
        let _ = timeout(STEP_MAX, stream.write_all(&[0xff; 16 * 1024])).await;
    }
    answer
}

/// Copies of everything that nobody reads.
async fn unread(target: &Target, end: Instant) -> Result<Tally> {
    let mut tasks = JoinSet::new();
    for number in 0..CHANNELS / 3 {
        let client = Client::new(target.rude(number)?);
        tasks.spawn(async move {
            hold(end, || {
                let client = client.clone();
                async move {
                    let request = CopyRequest { root_path: "/usr".to_owned() };
                    client.machine().copy(request).await.map(tonic::Response::into_inner)
                }
            })
            .await
        });
    }
    Ok(sum(tasks).await)
}

/// Watches of everything that changes.
async fn watches(target: &Target, end: Instant) -> Result<Tally> {
    let mut tasks = JoinSet::new();
    for number in 0..CHANNELS {
        let client = Client::new(target.rude(number)?);
        tasks.spawn(async move {
            hold(end, || {
                let client = client.clone();
                async move {
                    let request = WatchRequest {
                        namespace: "runtime".to_owned(),
                        r#type: "Services.v1alpha1.talos.dev".to_owned(),
                        ..Default::default()
                    };
                    client.state().watch(request).await.map(tonic::Response::into_inner)
                }
            })
            .await
        });
    }
    Ok(sum(tasks).await)
}

/// Opens streams on a connection and holds them until the end.
async fn hold<T, F, A>(end: Instant, open: F) -> Tally
where
    F: Fn() -> A,
    A: Future<Output = Result<Streaming<T>, Status>>,
{
    let (mut tally, mut held) = (Tally::default(), Vec::new());
    for _ in 0..STREAMS {
        let opened = timeout(STEP_MAX, open()).await;
        let is_served = matches!(opened, Ok(Ok(_)));
        tally.note(is_served);
        held.extend(opened.into_iter().flatten());
        if Instant::now() >= end {
            break;
        }
    }
    sleep(end.saturating_duration_since(Instant::now())).await;
    tally
}

async fn sum(mut tasks: JoinSet<Tally>) -> Tally {
    let mut all = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        all.add(tally.unwrap_or_default());
    }
    all
}
