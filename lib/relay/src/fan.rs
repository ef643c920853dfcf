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
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::body::{broken, cut, trailers};
use crate::envelope;
use crate::frame::{self, Frames};
use crate::upstream::{Dial, Lease, Reached};

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
pub struct Leg<D> {
    /// As the caller named it.
    pub name: String,
    /// How it is reached, and why not if it cannot be.
    pub reached: Result<Reached<D>, Status>,
}

/// Sends a message (with its prefix) to every machine and merges what comes back.
///
/// # Errors
/// Only what concerns the call as a whole; legs that failed are part of the answer.
pub async fn call<D: Dial>(kind: Kind, legs: Vec<Leg<D>>, message: Bytes) -> Result<Response<Body>, Status> {
    match kind {
        Kind::Unary => unary(legs, message).await,
        Kind::ServerStream | Kind::ClientStream | Kind::Bidirectional => Ok(stream(legs, message)),
    }
}

/// The one message of a request, with its prefix.
///
/// # Errors
/// For a body that is not exactly one message of at most [`MESSAGE_BYTES_MAX`].
pub async fn single<B>(mut body: B) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    let (mut frames, mut found) = (Frames::new(MESSAGE_BYTES_MAX), None);
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
        Some(message) if frames.is_empty() => Ok(frame::encode(&message)),
        _ => Err(Status::internal("the request message is missing or cut off")),
    }
}

async fn unary<D: Dial>(legs: Vec<Leg<D>>, message: Bytes) -> Result<Response<Body>, Status> {
    let budget = Arc::new(AtomicUsize::new(0));
    let begin = |leg: Leg<D>| {
        let name = leg.name.clone();
        (name, spawn("leg", unary_leg(leg, message.clone(), Arc::clone(&budget))))
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
    Ok(response(Body::new(Full::new(frame::encode(&merged)).with_trailers(ending))))
}

async fn unary_leg<D: Dial>(leg: Leg<D>, message: Bytes, budget: Arc<AtomicUsize>) -> Result<Bytes, Status> {
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

fn stream<D: Dial>(legs: Vec<Leg<D>>, message: Bytes) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let begin = |leg| spawn("leg", stream_leg(leg, message.clone(), sender.clone()));
    let tasks = legs.into_iter().map(begin).collect();
    response(Body::new(FanIn { receiver, is_over: false, _tasks: tasks }))
}

async fn stream_leg<D: Dial>(leg: Leg<D>, message: Bytes, sender: mpsc::Sender<Bytes>) {
    let Leg { name, reached } = leg;
    if let Err(status) = pass_on(&name, reached, message, &sender).await {
        let failure = envelope::failure(&name, &status, Kind::ServerStream);
        // Without a reader nobody is left to be told.
        let _ = sender.send(frame::encode(&failure)).await;
    }
}

async fn pass_on<D: Dial>(
    name: &str,
    reached: Result<Reached<D>, Status>,
    message: Bytes,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), Status> {
    let mut answers = Answers::open(reached?, message).await?;
    while let Some(answer) = answers.next().await? {
        let tagged = envelope::tagged_part(&answer, name);
        if sender.send(frame::encode(&tagged)).await.is_err() {
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
    async fn open<D: Dial>(mut reached: Reached<D>, message: Bytes) -> Result<Self, Status> {
        for name in COMPRESSION {
            reached.head.headers_mut().remove(name);
        }
        let (response, lease) = reached.send(Body::new(Full::new(message))).await?;
        let (parts, body) = response.into_parts();
        if parts.status != StatusCode::OK {
            return Err(Status::unknown(format!("unexpected HTTP status {}", parts.status)));
        }
        let trailers = parts.headers.contains_key(Status::GRPC_STATUS).then_some(parts.headers);
        Ok(Self { body, frames: Frames::new(MESSAGE_BYTES_MAX), trailers, _lease: lease })
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
            None => Err(cut()),
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
mod tests;
