//! Calls to machines that these tests play.

use std::io;
use std::net::SocketAddr;

use corten_api::common::EmptyResponse;
use http::Request;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt as _;

use super::*;
use crate::upstream::{Link, Pings, Upstream};

/// Leads to a listener on this host.
struct Here(SocketAddr);

impl Dial for Here {
    async fn link(&self) -> io::Result<Link> {
        Link::open(TcpStream::connect(self.0).await?, Pings::Sent).await
    }

    fn unreachable(&self, error: &io::Error) -> Status {
        Status::unavailable(chain(error))
    }
}

fn lost(name: &str) -> Leg<Here> {
    Leg { name: name.to_owned(), reached: Err(Status::unavailable("no way")) }
}

fn leg(name: &str, to: SocketAddr) -> Leg<Here> {
    let head = Request::post("http://machine/x.Y/Z").body(()).expect("a request");
    Leg { name: name.to_owned(), reached: Ok(Reached { upstream: Arc::new(Upstream::new(Here(to))), head }) }
}

fn fan() -> Fan {
    Fan::new(Room::new(MESSAGE_BYTES_MAX))
}

/// A request without content.
fn empty() -> Message {
    Message { bytes: frame::encode(b""), held: Held::default() }
}

/// Messages and status of an answer.
async fn read(response: Response<Body>) -> (Vec<Bytes>, Status) {
    let collected = response.into_body().collect().await.expect("a body");
    let status = collected.trailers().and_then(Status::from_header_map).expect("a status");
    let (mut frames, mut messages) = (Frames::new(MESSAGE_BYTES_MAX), Vec::new());
    frames.add(collected.to_bytes());
    while let Some(message) = frames.take().expect("valid") {
        messages.push(message);
    }
    (messages, status)
}

/// What became of each machine of a unary answer: its name, and its error if it failed.
fn entries(messages: &[Bytes]) -> Vec<(String, String)> {
    let [message] = messages else { panic!("one message: {messages:?}") };
    let answer = EmptyResponse::decode(message.clone()).expect("decodes");
    let metadata = answer.messages.into_iter().filter_map(|message| message.metadata);
    metadata.map(|metadata| (metadata.hostname, metadata.error)).collect()
}

/// Answers every call with a message of no bytes, or breaks off in the middle of one.
async fn machine(is_sound: bool) -> (SocketAddr, Task) {
    let frame = if is_sound { frame::encode(b"") } else { Bytes::from_static(&[0, 0, 0, 0, 9]) };
    machine_that_says(frame).await
}

/// Answers every call with these bytes.
async fn machine_that_says(frame: Bytes) -> (SocketAddr, Task) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let answer = move |request: Request<Incoming>| {
        let frame = frame.clone();
        async move {
            assert!(!request.headers().contains_key("grpc-encoding"));
            let ending = async { Some(Ok(trailers(&Status::ok("")))) };
            let body = Body::new(Full::new(frame).with_trailers(ending));
            Ok::<_, std::convert::Infallible>(Response::new(body))
        }
    };
    let serving = async move {
        let mut connections = Vec::new();
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let answer = answer.clone();
            connections.push(spawn("connection of a test", async move {
                let builder = http2::Builder::new(TokioExecutor::new());
                drop(builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await);
            }));
        }
    };
    (address, spawn("machine of a test", serving))
}

#[tokio::test]
async fn machines_that_fail_are_entries_in_the_order_of_their_names() {
    let response = fan().call(Kind::Unary, vec![lost("b"), lost("a")], empty()).await;
    let (messages, status) = read(response.expect("the call succeeds")).await;
    assert_eq!(status.code(), Code::Ok);
    let failed = |name: &str| (name.to_owned(), "rpc error: code = Unavailable desc = no way".to_owned());
    assert_eq!(entries(&messages), [failed("b"), failed("a")]);
}

#[tokio::test]
async fn a_machine_that_cuts_its_answer_off_fails_alone() {
    let ((one, _one), (other, _other)) = (machine(true).await, machine(false).await);
    let mut legs = vec![leg("sound", one), leg("broken", other)];
    for leg in &mut legs {
        if let Ok(reached) = &mut leg.reached {
            reached.head.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
        }
    }
    let response = fan().call(Kind::Unary, legs, empty()).await.expect("the call succeeds");
    let (messages, status) = read(response).await;
    assert_eq!(status.code(), Code::Ok);
    let found = entries(&messages);
    let error = "rpc error: code = Internal desc = the response was cut off";
    assert_eq!(found, [("sound", ""), ("broken", error)].map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[tokio::test]
async fn a_stream_ends_when_all_machines_have_ended() {
    let response = fan().call(Kind::ServerStream, vec![lost("a"), lost("b")], empty()).await;
    let (messages, status) = read(response.expect("a stream")).await;
    assert_eq!((messages.len(), status.code()), (2, Code::Ok));
}

#[tokio::test]
async fn a_request_to_several_machines_is_exactly_one_message() {
    let body = |bytes: Vec<u8>| Body::new(Full::new(Bytes::from(bytes)));
    let one = frame::encode(b"m").to_vec();
    assert_eq!(fan().single(body(one.clone())).await.expect("one").bytes, one);
    let cut = one[..3].to_vec();
    for wrong in [Vec::new(), cut, [one.clone(), one].concat()] {
        assert_eq!(fan().single(body(wrong)).await.expect_err("refused").code(), Code::Internal);
    }
}

#[test]
fn details_that_are_no_base64_are_the_machines_error() {
    let status = |details: &'static str| {
        let mut trailers = HeaderMap::new();
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("5"));
        trailers.insert(DETAILS, HeaderValue::from_static(details));
        status_of(&trailers).expect("a status").code()
    };
    assert_eq!(status("AAA="), Code::NotFound);
    assert_eq!(status("AAA"), Code::NotFound);
    assert_eq!(status("A"), Code::Internal);
    assert_eq!(status("?"), Code::Internal);
}

#[tokio::test]
async fn what_machines_answer_together_has_room_or_fails_machine_by_machine() {
    const LARGE: usize = 100_000;
    let message = EmptyResponse { messages: vec![Default::default(); LARGE / 2] }.encode_to_vec();
    let (address, _machine) = machine_that_says(frame::encode(&message)).await;
    let room = Room::new(LARGE * 5 / 2);
    let fan = Fan { patience: Duration::from_millis(100), ..Fan::new(room.clone()) };
    for (machines, has_room) in [(2, true), (4, false)] {
        let legs = (0..machines).map(|number: usize| leg(&number.to_string(), address)).collect();
        let answer = fan.call(Kind::Unary, legs, empty()).await.expect("the call succeeds");
        let (messages, status) = read(answer).await;
        assert_eq!(status.code(), Code::Ok);
        let failed = entries(&messages).into_iter().filter(|(_, error)| error.contains("ResourceExhausted"));
        assert_eq!(failed.count() == 0, has_room, "{machines} machines");
    }
    assert!(room.take(LARGE * 5 / 2).is_some(), "everything is let go of");
}

#[test]
fn a_piece_keeps_nothing_else_in_memory() {
    let mut part = Part::of(vec![7_u8; 2 * PIECE_BYTES + 1]);
    let pieces: Vec<Bytes> = std::iter::from_fn(|| part.piece()).collect();
    assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE_BYTES, PIECE_BYTES, 1]);
    assert!(pieces.iter().all(Bytes::is_unique));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_lets_go_of_its_room() {
    let room = Room::new(MESSAGE_BYTES_MAX);
    // The begin of a message whose rest never comes.
    let begin = frame::encode(&[0; 100]).slice(..50);
    let frames = tokio_stream::iter([Ok::<_, Status>(Frame::data(begin))]).chain(tokio_stream::pending());
    let refused = Fan::new(room.clone()).single(http_body_util::StreamBody::new(frames)).await;
    assert_eq!(refused.expect_err("late").code(), Code::DeadlineExceeded);
    assert!(room.take(MESSAGE_BYTES_MAX).is_some(), "everything is let go of");
}

#[tokio::test]
async fn a_client_that_reads_slowly_holds_a_message_of_each_machine_and_no_more() {
    const MESSAGES: usize = 50;
    const HELD_MAX: usize = 2 * (60_000 + 32 * 1024);
    let message = frame::encode(&[0; 60_000]);
    let stream: Vec<u8> = std::iter::repeat_n(message.to_vec(), MESSAGES).flatten().collect();
    let (address, _machine) = machine_that_says(stream.into()).await;
    let room = Room::new(MESSAGE_BYTES_MAX);
    let legs = vec![leg("a", address), leg("b", address)];
    let answer = Fan::new(room.clone()).call(Kind::ServerStream, legs, empty()).await.expect("a stream");
    let (mut body, mut received) = (answer.into_body(), 0);
    while let Some(piece) = body.frame().await {
        received += piece.expect("unbroken").data_ref().map_or(0, Bytes::len);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(room.take(MESSAGE_BYTES_MAX - HELD_MAX).is_some(), "too much is held");
    }
    assert!(received > 2 * MESSAGES * 60_000);
    assert!(room.take(MESSAGE_BYTES_MAX).is_some(), "everything is let go of");
}

#[test]
fn any_trailers_of_a_machine_are_a_status() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let (code, rest) = bytes.split_at(bytes.len().min(2));
        let (message, details) = rest.split_at(rest.len() / 2);
        let mut trailers = HeaderMap::new();
        for (name, value) in [("grpc-status", code), ("grpc-message", message), (DETAILS, details)] {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                trailers.insert(name, value);
            }
        }
        let status = status_of(&trailers);
        assert!(status.is_some() || !trailers.contains_key(Status::GRPC_STATUS), "{trailers:?}");
    });
}
