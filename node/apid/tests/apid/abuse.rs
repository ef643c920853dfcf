//! What rude and broken clients do is their own trouble: others are served, and nothing panics.

use std::time::Duration;

use bytes::Bytes;
use corten_apid::Access;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Code, Status};

use super::client::{Client, PATIENCE, finish, secured};
use super::machined::framed;
use super::node::{Node, Setup, dial, with_roles};

const EVENTS: &str = "/machine.MachineService/Events";
const HOSTNAME: &str = "/machine.MachineService/Hostname";
const APPLY: &str = "/machine.MachineService/ApplyConfiguration";
const RUN: &str = "/machine.DebugService/ContainerRun";
/// The last bytes of the addresses of whoever is rude, and of somebody who is not.
const RUDE: u8 = 66;
const POLITE: u8 = 7;
/// How soon somebody polite has an answer, a connection included.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A new connection of somebody polite has its answer.
async fn serves(node: &Node) {
    let asked = async {
        let client = node.client_from(POLITE, &["os:reader"]).await?;
        client.call(HOSTNAME, &[], b"").await
    };
    let answer = timeout(ANSWER_MAX, asked).await.expect("in time").expect("an answer");
    assert_eq!(answer.status.code(), Code::Ok);
}

/// A stream that nobody reads, or the status that refused it.
async fn unread(client: &Client) -> Result<http::Response<Incoming>, Status> {
    let response = client.start(EVENTS, &[], Body::new(Full::new(framed(b"")))).await.expect("started");
    match Status::from_header_map(response.headers()) {
        Some(status) => Err(status),
        None => Ok(response),
    }
}

#[tokio::test]
async fn connections_that_say_nothing_leave_for_those_who_do() {
    let node = Node::single().await;
    let mut silent = Vec::new();
    for number in 0..900_u16 {
        // From one address, from the polite one, and from many at once.
        let last = match number % 3 {
            0 => RUDE,
            1 if number < 120 => POLITE,
            _ => 100 + (number / 3 % 100) as u8,
        };
        silent.push(dial(last, node.address).await.expect("the kernel accepts"));
    }
    serves(&node).await;
    let mut closed = 0;
    for stream in &mut silent {
        let mut byte = [0];
        if timeout(Duration::from_millis(1), stream.read(&mut byte)).await.is_ok() {
            closed += 1;
        }
    }
    assert!(closed >= 900 - 256, "{closed} of 900 were let go");
}

#[tokio::test]
async fn half_a_handshake_is_dropped_at_its_deadline() {
    let node = Node::single().await;
    let mut slow = dial(RUDE, node.address).await.expect("accepted");
    // The head of a record that never comes.
    slow.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.expect("written");
    serves(&node).await;
    tokio::time::pause();
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(60), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "it is still there after a minute");
}

#[tokio::test]
async fn a_storm_of_reconnects_is_slowed_down_and_others_are_served() {
    let node = Node::single().await;
    let quick = node.client_from(POLITE, &["os:reader"]).await.expect("connected");
    let (mut served, mut refused) = (0, 0);
    for _ in 0..400 {
        match node.client_from(RUDE, &["os:reader"]).await {
            Ok(client) if client.call(HOSTNAME, &[], b"").await.is_ok() => served += 1,
            _ => refused += 1,
        }
        if (served + refused) % 100 == 0 {
            let answer = quick.call(HOSTNAME, &[], b"").await.expect("an open connection");
            assert_eq!(answer.status.code(), Code::Ok);
        }
    }
    assert!(served >= 100, "{served} served, {refused} refused: a burst is free");
    serves(&node).await;
}

#[tokio::test]
async fn idle_connections_leave_when_their_places_are_needed() {
    let node = Node::single().await;
    let mut idle = Vec::new();
    for last in [RUDE, RUDE + 1, RUDE + 2, RUDE + 3] {
        for _ in 0..60 {
            let client = node.client_from(last, &["os:reader"]).await.expect("connected");
            assert_eq!(client.call(HOSTNAME, &[], b"").await.expect("answer").status.code(), Code::Ok);
            idle.push(client);
        }
    }
    serves(&node).await;
    let busy = node.client_from(POLITE, &["os:reader"]).await.expect("connected");
    let mut stream = unread(&busy).await.expect("a stream").into_body();
    for _ in 0..60 {
        idle.push(node.client_from(RUDE + 4, &["os:reader"]).await.expect("connected"));
    }
    for _ in 0..64 {
        let frame = timeout(PATIENCE, stream.frame()).await.expect("the stream goes on");
        assert!(frame.expect("more").is_ok());
    }
}

#[tokio::test]
async fn bombs_of_metadata_are_refused() {
    let node = Node::single().await;
    let client = node.client_from(RUDE, &["os:admin"]).await.expect("connected");
    let large = "x".repeat(8000);
    let names: Vec<String> = (0..64).map(|number| format!("x-{number}")).collect();
    let metadata: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), large.as_str())).collect();
    for metadata in [&metadata[..3], &metadata[..]] {
        let answer = client.call(HOSTNAME, metadata, b"").await;
        assert!(answer.as_ref().map_or(true, |answer| answer.status.code() != Code::Ok), "{answer:?}");
    }
    let many: Vec<(&str, &str)> = std::iter::repeat_n(("nodes", "127.0.0.1"), 513).collect();
    let client = node.client_from(RUDE, &["os:admin"]).await.expect("connected");
    let answer = client.call(HOSTNAME, &many, b"").await;
    assert!(answer.as_ref().map_or(true, |answer| answer.status.code() != Code::Ok), "{answer:?}");
    serves(&node).await;
}

#[tokio::test]
async fn streams_that_nobody_reads_are_bounded_for_each_and_in_all() {
    let node = Node::single().await;
    let (mut clients, mut streams, mut refusals) = (Vec::new(), Vec::new(), 0);
    for last in [RUDE, RUDE + 1, RUDE + 2] {
        for _ in 0..3 {
            let client = node.client_from(last, &["os:reader"]).await.expect("connected");
            for _ in 0..100 {
                match unread(&client).await {
                    Ok(stream) => streams.push(stream),
                    Err(status) => {
                        assert_eq!(
                            (status.code(), status.message()),
                            (Code::ResourceExhausted, "too many calls at once")
                        );
                        refusals += 1;
                    }
                }
            }
            clients.push(client);
        }
    }
    assert!(streams.len() <= 384 && refusals >= 900 - 384, "{} streams, {refusals} refusals", streams.len());
    serves(&node).await;
    drop(streams);
    drop(clients);
    let again = node.client_from(RUDE, &["os:reader"]).await.expect("connected");
    let opened = async {
        // The places come back when apid has noticed that their holders are gone.
        while unread(&again).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, opened).await.expect("places come back");
}

#[tokio::test]
async fn requests_that_never_end_hold_their_own_places_only() {
    let node = Node::single().await;
    let client = node.client_from(RUDE, &["os:admin"]).await.expect("connected");
    let mut held = Vec::new();
    for _ in 0..100 {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        let body = Body::new(StreamBody::new(ReceiverStream::new(receiver)));
        let response = client.start(RUN, &[], body).await.expect("started");
        // The head of a message that never comes.
        sender.send(Ok(Frame::data(Bytes::from_static(&[0, 0xff, 0xff])))).await.expect("open");
        held.push((sender, response));
    }
    serves(&node).await;
}

#[tokio::test]
async fn messages_for_several_machines_are_no_larger_than_apid_bears() {
    let node = Node::single().await;
    let client = node.client_from(RUDE, &["os:admin"]).await.expect("connected");
    let nodes = [("nodes", "127.0.0.1"), ("nodes", "127.0.0.1")];
    for bytes in [8 << 20, corten_api::MESSAGE_BYTES_MAX + 1] {
        let answer = client.call(APPLY, &nodes, &vec![7; bytes]).await.expect("an answer");
        assert_eq!(answer.status.code(), Code::ResourceExhausted, "{bytes}");
    }
    let answer = client.call(APPLY, &nodes, b"").await.expect("an answer");
    assert_eq!(answer.status.code(), Code::Ok, "the room is free again: {answer:?}");
    serves(&node).await;
}

/// A frame of HTTP/2.
fn http2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn calls_that_another_machine_gives_up_do_not_end_those_of_others() {
    let node = Node::single().await;
    let own = with_roles(&node.authority, &["os:impersonator"]);
    let stream = dial(RUDE, node.address).await.expect("accepted");
    let mut tls = secured(stream, node.address, &node.authority, Some(&own)).await.expect("TLS");
    let (headers, reset, settings, ping, goodbye) = (1, 3, 4, 6, 7);
    let mut bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &http2(settings, 0, 0, &[])].concat();
    for call in 0..100 {
        // POST, https, `/`, from the table that HPACK begins with; then it is cancelled.
        bytes.extend(http2(headers, 4, 2 * call + 1, &[0x83, 0x87, 0x84]));
        bytes.extend(http2(reset, 0, 2 * call + 1, &[0, 0, 0, 8]));
    }
    bytes.extend(http2(ping, 0, 0, &[7; 8]));
    tls.write_all(&bytes).await.expect("written");
    tls.flush().await.expect("sent");
    loop {
        let mut head = [0; 9];
        let read = timeout(PATIENCE, tls.read_exact(&mut head)).await.expect("in time");
        read.expect("the connection goes on");
        let mut payload = vec![0; (usize::from(head[1]) << 8) | usize::from(head[2])];
        tls.read_exact(&mut payload).await.expect("a frame");
        assert_ne!(head[3], goodbye, "{}", String::from_utf8_lossy(&payload));
        if head[3] == ping {
            break;
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_and_no_protocol_are_refused() {
    let node = Node::single().await;
    let client = node.client_from(RUDE, &["os:impersonator"]).await.expect("connected");
    for key in ["node", "nodes", "talos-role", "proxyfrom", "grpc-timeout", "x-any"] {
        for value in [&b"\xff\xfe"[..], b"\x80", b"", b"\xc3\x28,\xf0\x9f"] {
            let body = Body::new(Full::new(framed(b"")));
            let response = client.start_raw(HOSTNAME, &[(key, value)], body).await.expect("an answer");
            finish(response).await.expect("a status");
        }
    }
    let own = with_roles(&node.authority, &["os:admin"]);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xff; 4096],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\0\0\0\0\0\0",
    ] {
        let stream = dial(RUDE, node.address).await.expect("accepted");
        let mut tls = secured(stream, node.address, &node.authority, Some(&own)).await.expect("TLS");
        // It may be closed before everything is written.
        let _ = tls.write_all(garbage).await;
        let _ = tls.flush().await;
        let mut answer = Vec::new();
        let ended = timeout(PATIENCE, tls.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "{} bytes of garbage are let be", garbage.len());
    }
    serves(&node).await;
}

#[tokio::test]
async fn a_machine_in_maintenance_is_not_filled_by_those_who_only_connect() {
    let change = |identity: &mut corten_apid::Identity| {
        identity.access = Access::ReadOnly;
        identity.verify_clients = false;
        identity.routing = false;
    };
    let node = Node::start(Setup { change, ..Setup::alone() }).await;
    let mut open = Vec::new();
    for last in 100..140_u8 {
        for _ in 0..8 {
            let stream: TcpStream = dial(last, node.address).await.expect("accepted");
            open.push(Client::over(stream, node.address, &node.authority, None).await.expect("connected"));
        }
    }
    let stream = dial(POLITE, node.address).await.expect("accepted");
    let client = Client::over(stream, node.address, &node.authority, None).await.expect("connected");
    let answer = client.call(HOSTNAME, &[], b"").await.expect("answer");
    assert_eq!(answer.status.code(), Code::Ok);
}
