//! Calls to a server and from a client of tonic, which stand on `h2`.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use corten_api::cosi::resource::state_server::{State, StateServer};
use corten_api::cosi::resource::{
    CreateRequest, CreateResponse, DestroyRequest, DestroyResponse, GetRequest, GetResponse, ListRequest,
    ListResponse, TeardownAndDestroyRequest, TeardownAndDestroyResponse, TeardownRequest, TeardownResponse,
    UpdateRequest, UpdateResponse, WatchRequest, WatchResponse,
};
use corten_api::events::event_sink_service_client::EventSinkServiceClient;
use corten_api::events::{EventRequest, EventResponse};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::io::DuplexStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};

use crate::client::{Answer, Client};
use crate::server::serve;

const PUBLISH: &str = "/events.EventSinkService/Publish";
const WATCH: &str = "/cosi.resource.State/Watch";
const MESSAGE_MAX: usize = 256 * 1024;

/// A client of tonic that calls our server.
async fn publisher(bytes: usize) -> (EventSinkServiceClient<Channel>, corten_base::Task) {
    let (theirs, ours) = tokio::io::duplex(bytes);
    let serving = corten_base::spawn("server", async move {
        let served = serve(ours, MESSAGE_MAX, async |request| {
            assert_eq!(request.path, PUBLISH);
            let event =
                EventRequest::decode(request.message).map_err(|error| Status::internal(error.to_string()))?;
            match event.id.as_str() {
                "late" => tokio::time::sleep(Duration::from_secs(1)).await,
                "no" => return Err(Status::unavailable("100 % full: später, bitte")),
                _ => {}
            }
            Ok(EventResponse {})
        });
        served.await.expect("served to the end");
    });
    let mut theirs = Some(TokioIo::new(theirs));
    let connector = tower::service_fn(move |_| {
        let stream = theirs.take().ok_or_else(|| std::io::Error::other("one connection is enough"));
        std::future::ready(stream)
    });
    let channel =
        Endpoint::from_static("http://sink").connect_with_connector(connector).await.expect("connected");
    (EventSinkServiceClient::new(channel), serving)
}

fn event(id: &str, bytes: usize) -> EventRequest {
    let value = vec![7; bytes];
    let data = Some(prost_types::Any { type_url: "talos/runtime/machine.PhaseEvent".to_owned(), value });
    EventRequest { data, id: id.to_owned(), actor_id: String::new() }
}

#[tokio::test]
async fn a_client_of_tonic_is_answered_as_often_as_it_calls_and_with_large_requests() {
    let (mut client, _serving) = publisher(512).await;
    for _ in 0..1000 {
        client.publish(event("1", 100)).await.expect("taken");
    }
    for _ in 0..4 {
        client.publish(event("large", MESSAGE_MAX - 100)).await.expect("taken, with the windows moved on");
    }
}

#[tokio::test]
async fn an_error_comes_with_its_words_and_the_connection_goes_on() {
    let (mut client, _serving) = publisher(4096).await;
    let refused = client.publish(event("no", 1)).await.expect_err("refused");
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "100 % full: später, bitte"));
    let large = client.publish(event("large", MESSAGE_MAX + 1)).await.expect_err("too large");
    assert_eq!(large.code(), Code::ResourceExhausted);
    client.publish(event("1", 1)).await.expect("taken");
}

#[tokio::test(start_paused = true)]
async fn many_calls_at_a_time_are_answered_one_after_the_other() {
    let (client, _serving) = publisher(4096).await;
    let calls = (0..32).map(|_| {
        let mut client = client.clone();
        corten_base::spawn("call", async move { client.publish(event("late", 1000)).await.map(drop) })
    });
    for call in calls.collect::<Vec<_>>() {
        call.join().await.expect("no panic").expect("taken");
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers a watch with as many messages as its namespace says, of as many bytes as its type says, and ends when its id
/// says how.
struct Told;

#[tonic::async_trait]
impl State for Told {
    type ListStream = Answers<ListResponse>;
    type WatchStream = Answers<WatchResponse>;
    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        if request.id.as_deref() == Some("refused") {
            return Err(Status::permission_denied("nobody may: §7"));
        }
        let count: usize = request.namespace.parse().expect("a number");
        let size: usize = request.r#type.parse().expect("a number");
        let event = corten_api::cosi::resource::Event { error: Some("x".repeat(size)), ..Default::default() };
        let message = WatchResponse { event: vec![event] };
        let messages = tokio_stream::iter(vec![Ok(message); count]);
        let answers: Self::WatchStream = match request.id.as_deref() {
            None => Box::pin(messages.chain(tokio_stream::pending())),
            Some("ends") => Box::pin(messages),
            Some(_) => Box::pin(messages.chain(tokio_stream::once(Err(Status::aborted("overrun"))))),
        };
        Ok(Response::new(answers))
    }
    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Err(Status::unimplemented("get"))
    }
    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("list"))
    }
    async fn create(&self, _: Request<CreateRequest>) -> Result<Response<CreateResponse>, Status> {
        Err(Status::unimplemented("create"))
    }
    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        Err(Status::unimplemented("update"))
    }
    async fn destroy(&self, _: Request<DestroyRequest>) -> Result<Response<DestroyResponse>, Status> {
        Err(Status::unimplemented("destroy"))
    }
    async fn teardown(&self, _: Request<TeardownRequest>) -> Result<Response<TeardownResponse>, Status> {
        Err(Status::unimplemented("teardown"))
    }
    async fn teardown_and_destroy(
        &self,
        _: Request<TeardownAndDestroyRequest>,
    ) -> Result<Response<TeardownAndDestroyResponse>, Status> {
        Err(Status::unimplemented("teardown and destroy"))
    }
}

/// Our client, which calls a server of tonic.
fn watcher(bytes: usize) -> (Client<DuplexStream>, corten_base::Task) {
    let (theirs, ours) = tokio::io::duplex(bytes);
    let serving = corten_base::spawn("server", async move {
        let incoming = tokio_stream::once(Ok::<_, std::io::Error>(theirs)).chain(tokio_stream::pending());
        let server = Server::builder().add_service(StateServer::new(Told));
        server.serve_with_incoming(incoming).await.expect("served");
    });
    (Client::new(ours, "machine", 2 << 20), serving)
}

fn watch(count: usize, size: usize, id: Option<&str>) -> WatchRequest {
    let (namespace, r#type) = (count.to_string(), size.to_string());
    WatchRequest { namespace, r#type, id: id.map(str::to_owned), ..WatchRequest::default() }
}

fn size(message: Bytes) -> usize {
    let response = WatchResponse::decode(message).expect("a response");
    response.event[0].error.as_ref().map_or(0, String::len)
}

#[tokio::test]
async fn a_server_of_tonic_tells_on_many_streams_at_a_time_and_in_large_messages() {
    let (mut client, _serving) = watcher(4096);
    let mut open: Vec<(u32, usize, usize)> = Vec::new();
    for number in 0..18 {
        let (count, size) = (number % 3 + 1, number * 60_000);
        let call = client.call(WATCH, &watch(count, size, None)).expect("small").expect("room");
        open.push((call, count, size));
    }
    while !open.is_empty() {
        let (call, Answer::Message(message)) = client.next().await.expect("connected") else {
            panic!("it ended")
        };
        let found = open.iter_mut().find(|(open, ..)| *open == call).expect("an open call");
        assert_eq!(size(message), found.2);
        found.1 -= 1;
        open.retain(|(_, count, _)| *count > 0);
    }
}

#[tokio::test]
async fn ends_and_refusals_come_with_their_words_and_the_connection_goes_on() {
    let (mut client, _serving) = watcher(4096);
    for (count, id, code, words) in [
        (2, "ends", Code::Ok, ""),
        (0, "ends", Code::Ok, ""),
        (1, "breaks", Code::Aborted, "overrun"),
        (0, "refused", Code::PermissionDenied, "nobody may: §7"),
    ] {
        let call = client.call(WATCH, &watch(count, 10, Some(id))).expect("small").expect("room");
        for _ in 0..count {
            assert!(
                matches!(client.next().await.expect("connected"), (of, Answer::Message(_)) if of == call)
            );
        }
        let (of, Answer::End(status)) = client.next().await.expect("connected") else { panic!("a message") };
        assert_eq!((of, status.code(), status.message()), (call, code, words), "{id}");
    }
    let call = client.call("/cosi.resource.State/Nothing", &()).expect("small").expect("room");
    let (of, Answer::End(status)) = client.next().await.expect("connected") else { panic!("a message") };
    assert_eq!((of, status.code()), (call, Code::Unimplemented));
    let too_large = client.call(WATCH, &watch(0, 0, Some(&"x".repeat(20_000))));
    assert!(too_large.expect_err("20 KB").to_string().contains("may have 16384"));
}

#[tokio::test]
async fn a_message_that_is_too_large_and_a_call_that_is_given_up_end_one_call_only() {
    let (mut client, _serving) = watcher(4096);
    let large = client.call(WATCH, &watch(1, 3 << 20, None)).expect("small").expect("room");
    let (of, Answer::End(status)) = client.next().await.expect("connected") else { panic!("a message") };
    assert_eq!((of, status.code()), (large, Code::ResourceExhausted));
    let given_up = client.call(WATCH, &watch(1, 1, None)).expect("small").expect("room");
    client.cancel(given_up);
    let next = client.call(WATCH, &watch(1, 5, None)).expect("small").expect("room");
    let (of, Answer::Message(message)) = client.next().await.expect("connected") else { panic!("it ended") };
    assert_eq!((of, size(message)), (next, 5), "and nothing of {given_up}");
}

#[tokio::test(start_paused = true)]
async fn a_client_waits_in_silence_and_does_not_ask_its_server() {
    let (mut theirs, ours) = tokio::io::duplex(4096);
    let mut client = Client::new(ours, "machine", 1024);
    let waited = tokio::time::timeout(Duration::from_secs(7 * 24 * 3600), client.next()).await;
    assert!(waited.is_err(), "{waited:?}");
    let mut said = [0; 4096];
    let count = tokio::io::AsyncReadExt::read(&mut theirs, &mut said).await.expect("its first words");
    assert!(count < 64, "the preface and the settings, and nothing else: {count} bytes");
    tokio::io::AsyncWriteExt::write_all(&mut theirs, b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .expect("room");
    let error = client.next().await.expect_err("another protocol");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    drop(theirs);
    let error = client.next().await.expect_err("gone");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_that_lives_is_kept_and_a_dead_one_is_not() {
    let (mut client, serving) = publisher(4096).await;
    client.publish(event("1", 1)).await.expect("taken");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    client.publish(event("1", 1)).await.expect("the connection is the same: there is no other one");
    drop(serving);
    let (_deaf, ours) = tokio::io::duplex(4096);
    let start = tokio::time::Instant::now();
    let served = serve(ours, 1024, async |_| Ok(EventResponse {})).await;
    assert_eq!(served.expect_err("silent").kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(start.elapsed().as_secs(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_come_and_one_with_two_messages_are_refused_and_others_served() {
    use crate::frame::{PREFACE, flag, kind, put, put_settings};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut theirs, ours) = tokio::io::duplex(64 * 1024);
    let _serving = corten_base::spawn("server", async move {
        drop(serve(ours, 1024, async |_| Ok(EventResponse {})).await);
    });
    let mut words = PREFACE.to_vec();
    put_settings(&mut words, &[]);
    put(&mut words, kind::HEADERS, flag::END_HEADERS, 1, &crate::fields::call("a", PUBLISH));
    put(&mut words, kind::HEADERS, flag::END_HEADERS, 3, &crate::fields::call("a", PUBLISH));
    put(&mut words, kind::DATA, 0, 3, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    theirs.write_all(&words).await.expect("room");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut said = vec![0; 64 * 1024];
    let mut heard = async |theirs: &mut DuplexStream| {
        let count = theirs.read(&mut said).await.expect("words");
        String::from_utf8_lossy(&said[..count]).into_owned()
    };
    let text = heard(&mut theirs).await;
    assert!(text.contains("one%20message") && !text.contains("too%20long"), "{text}");
    tokio::time::sleep(Duration::from_secs(29)).await;
    let text = heard(&mut theirs).await;
    assert!(text.contains("too%20long"), "{text}");
}
