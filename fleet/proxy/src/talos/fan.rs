//! One call to several machines: the request goes to each, the answers come back in the envelope.
//!
//! ```text
//! message ─┬▶ leg: machine, request ─▶ answers ─▶ name of the machine in each ─┬▶ client
//!          └▶ leg                   ─▶ a failure is an answer too ────────────┘
//! ```
//!
//! A machine that fails is never the failure of the call. Unary answers are merged in the order of the machines and
//! together are no larger than one message; streamed ones are passed on as they come, and a client that stops reading
//! stops its own machines only.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use bytes::Bytes;
use corten_api::MESSAGE_BYTES_MAX;
use corten_api::rules::Kind;
use corten_base::{Task, chain, spawn};
use corten_fleet_controllers_machine::connect::Streams;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::{Code, Status};

use super::envelope::{self, Frames};
use super::send::{Reached, send};
use crate::body::{broken, trailers};
use crate::upstream::Lease;

/// Answers that wait for the client's reading.
const QUEUE: usize = 16;
/// Headers that would have answers compressed, which are then not readable here.
const COMPRESSION: [&str; 2] = ["grpc-accept-encoding", "grpc-encoding"];
/// Trailer with the details of a status, base64.
const DETAILS: &str = "grpc-status-details-bin";
/// How gRPC reads base64: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One machine of a call.
pub(crate) struct Leg<S> {
    /// As the caller named it.
    pub(crate) name: String,
    /// How it is reached, and why not if it cannot be.
    pub(crate) reached: Result<Reached<S>, Status>,
}

/// Sends a message to every machine and merges what comes back.
///
/// # Errors
/// Only what concerns the call as a whole.
pub(crate) async fn call<S: Streams>(
    kind: Kind,
    legs: Vec<Leg<S>>,
    message: Bytes,
) -> Result<Response<Body>, Status> {
    match kind {
        Kind::Unary => unary(legs, message).await,
        Kind::ServerStream | Kind::ClientStream | Kind::Bidirectional => Ok(stream(legs, message)),
    }
}

/// The one message of a request, with its prefix.
///
/// # Errors
/// For a body that is not exactly one message.
pub(crate) async fn single(mut body: Body) -> Result<Bytes, Status> {
    let (mut frames, mut found) = (Frames::default(), None);
    while let Some(part) = body.frame().await {
        let part = part.map_err(|error| Status::cancelled(chain(&error)))?;
        let Ok(data) = part.into_data() else { continue };
        frames.add(data);
        while let Some(message) = frames.take()? {
            if found.replace(message).is_some() {
                return Err(Status::internal("more than one request message"));
            }
        }
    }
    match found {
        Some(message) if frames.is_empty() => Ok(envelope::frame(&message)),
        _ => Err(Status::internal("the request message is missing or cut off")),
    }
}

async fn unary<S: Streams>(legs: Vec<Leg<S>>, message: Bytes) -> Result<Response<Body>, Status> {
    let budget = Arc::new(AtomicUsize::new(0));
    let begin = |leg: Leg<S>| {
        let name = leg.name.clone();
        (name, spawn("leg of a call", unary_leg(leg, message.clone(), Arc::clone(&budget))))
    };
    let tasks: Vec<(String, Task<Result<Bytes, Status>>)> = legs.into_iter().map(begin).collect();
    let mut merged = Vec::new();
    for (name, task) in tasks {
        let answer = task.join().await.unwrap_or_else(|| Err(Status::internal("the call panicked")));
        match answer.and_then(|answer| envelope::tagged(&answer, &name)) {
            Ok(part) => merged.extend_from_slice(&part),
            Err(status) => merged.extend_from_slice(&envelope::failure(&name, &status, Kind::Unary)),
        }
    }
    if merged.len() > MESSAGE_BYTES_MAX {
        return Err(too_large());
    }
    let ending = async { Some(Ok(trailers(&Status::ok("")))) };
    Ok(response(Body::new(Full::new(envelope::frame(&merged)).with_trailers(ending))))
}

async fn unary_leg<S: Streams>(
    leg: Leg<S>,
    message: Bytes,
    budget: Arc<AtomicUsize>,
) -> Result<Bytes, Status> {
    let mut answers = Answers::open(leg.reached?, message).await?;
    let answer = answers.next().await?.ok_or_else(|| Status::internal("the response message is missing"))?;
    if budget.fetch_add(answer.len(), Ordering::Relaxed) + answer.len() > MESSAGE_BYTES_MAX {
        return Err(too_large());
    }
    match answers.next().await? {
        None => Ok(answer),
        Some(_) => Err(Status::internal("more than one response message")),
    }
}

fn stream<S: Streams>(legs: Vec<Leg<S>>, message: Bytes) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let begin = |leg| spawn("leg of a call", stream_leg(leg, message.clone(), sender.clone()));
    let tasks = legs.into_iter().map(begin).collect();
    response(Body::new(FanIn { receiver, is_over: false, _tasks: tasks }))
}

async fn stream_leg<S: Streams>(leg: Leg<S>, message: Bytes, sender: mpsc::Sender<Bytes>) {
    let Leg { name, reached } = leg;
    if let Err(status) = pass_on(&name, reached, message, &sender).await {
        let failure = envelope::failure(&name, &status, Kind::ServerStream);
        // Without a reader nobody is left to be told.
        let _ = sender.send(envelope::frame(&failure)).await;
    }
}

async fn pass_on<S: Streams>(
    name: &str,
    reached: Result<Reached<S>, Status>,
    message: Bytes,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), Status> {
    let mut answers = Answers::open(reached?, message).await?;
    while let Some(answer) = answers.next().await? {
        let tagged = envelope::tagged_part(&answer, name);
        if sender.send(envelope::frame(&tagged)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Messages of one machine's answer.
struct Answers {
    body: Incoming,
    frames: Frames,
    trailers: Option<HeaderMap>,
    _lease: Lease,
}

impl Answers {
    async fn open<S: Streams>(reached: Reached<S>, message: Bytes) -> Result<Self, Status> {
        let Reached { upstream, head } = reached;
        let mut request: Request<Body> = head.map(|()| Body::new(Full::new(message)));
        for name in COMPRESSION {
            request.headers_mut().remove(name);
        }
        let (response, lease) = send(&upstream, request).await?;
        let (parts, body) = response.into_parts();
        if parts.status != StatusCode::OK {
            return Err(Status::unknown(format!("unexpected HTTP status {}", parts.status)));
        }
        let trailers = parts.headers.contains_key(Status::GRPC_STATUS).then_some(parts.headers);
        Ok(Self { body, frames: Frames::default(), trailers, _lease: lease })
    }

    /// The next message; the error that the machine ended with, if it did.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.frames.take()? {
                return Ok(Some(message));
            }
            let Some(part) = self.body.frame().await else { return self.end() };
            match part.map_err(|error| broken(&error))?.into_data() {
                Ok(data) => self.frames.add(data),
                Err(part) => self.trailers = part.into_trailers().ok(),
            }
        }
    }

    fn end(&self) -> Result<Option<Bytes>, Status> {
        match self.trailers.as_ref().and_then(status_of) {
            Some(status) if status.code() == Code::Ok && self.frames.is_empty() => Ok(None),
            Some(status) if status.code() == Code::Ok => Err(Status::internal("the response was cut off")),
            Some(status) => Err(status),
            None => Err(Status::internal("server closed the stream without sending trailers")),
        }
    }
}

/// The status in trailers. Details that are no base64, which the library does not bear, are an error of the machine.
fn status_of(trailers: &HeaderMap) -> Option<Status> {
    if trailers.get(DETAILS).is_none_or(|details| BASE64.decode(details.as_bytes()).is_ok()) {
        Status::from_header_map(trailers)
    } else {
        Some(Status::internal("the machine's status has details that cannot be read"))
    }
}

/// The merged stream: whatever comes first, then `OK`.
struct FanIn {
    receiver: mpsc::Receiver<Bytes>,
    is_over: bool,
    _tasks: Vec<Task>,
}

impl HttpBody for FanIn {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(match ready!(this.receiver.poll_recv(cx)) {
            Some(message) => Frame::data(message),
            None => {
                this.is_over = true;
                Frame::trailers(trailers(&Status::ok("")))
            }
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn too_large() -> Status {
    Status::resource_exhausted("the answers together exceed the largest message")
}

#[cfg(test)]
mod tests {
    use corten_api::common::EmptyResponse;
    use prost::Message as _;

    use super::*;
    use crate::testing::Nowhere;

    fn lost(name: &str) -> Leg<Nowhere> {
        Leg { name: name.to_owned(), reached: Err(Status::unavailable("no way")) }
    }

    #[tokio::test]
    async fn machines_that_fail_are_entries_in_the_order_of_their_names() {
        let legs = vec![lost("b"), lost("a")];
        let response = call(Kind::Unary, legs, envelope::frame(b"")).await.expect("the call succeeds");
        let collected = response.into_body().collect().await.expect("a body");
        let status = collected.trailers().and_then(Status::from_header_map).expect("a status");
        assert_eq!(status.code(), Code::Ok);
        let mut frames = Frames::default();
        frames.add(collected.to_bytes());
        let message = frames.take().expect("valid").expect("a message");
        let answer = EmptyResponse::decode(message).expect("decodes");
        let entries: Vec<_> = answer.messages.into_iter().filter_map(|message| message.metadata).collect();
        assert_eq!(entries.iter().map(|entry| entry.hostname.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert!(entries.iter().all(|entry| entry.error == "rpc error: code = Unavailable desc = no way"));
    }

    #[tokio::test]
    async fn a_stream_ends_when_all_machines_have_ended() {
        let response = call(Kind::ServerStream, vec![lost("a"), lost("b")], envelope::frame(b"")).await;
        let collected = response.expect("a stream").into_body().collect().await.expect("a body");
        let status = collected.trailers().and_then(Status::from_header_map).expect("a status");
        assert_eq!(status.code(), Code::Ok);
        let mut frames = Frames::default();
        frames.add(collected.to_bytes());
        let mut count = 0;
        while frames.take().expect("valid").is_some() {
            count += 1;
        }
        assert_eq!(count, 2);
    }

    #[tokio::test]
    async fn a_request_to_several_machines_is_exactly_one_message() {
        let body = |bytes: Vec<u8>| Body::new(Full::new(Bytes::from(bytes)));
        let one = envelope::frame(b"m").to_vec();
        assert_eq!(single(body(one.clone())).await.expect("one"), one);
        let cut = one[..3].to_vec();
        for wrong in [Vec::new(), cut, [one.clone(), one].concat()] {
            assert_eq!(single(body(wrong)).await.expect_err("refused").code(), Code::Internal);
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
}
