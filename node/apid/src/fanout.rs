//! One call to many machines: the request is sent to each, the answers come back in the envelope.
//!
//! A machine that fails is an entry in the answer, never the failure of the call. Unary answers are merged in the
//! order of the targets and together may not exceed one message; streamed answers are passed on as they come, and a
//! client that stops reading stops its own machines' streams only.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use corten_api::MESSAGE_BYTES_MAX;
use corten_api::rules::Kind;
use corten_base::{Task, spawn};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;

use crate::envelope;
use crate::frame::{self, Frames};
use crate::relay::trailers;
use crate::upstream::Upstream;

/// Answers that wait for the client's reading.
const QUEUE: usize = 16;

/// One machine of the call.
pub struct Leg {
    /// As the caller named it.
    pub name: String,
    /// How to reach it.
    pub upstream: Arc<Upstream>,
    /// What is sent: everything but the body.
    pub request: Request<()>,
}

/// Sends `message` (framed) along every leg and merges what comes back.
///
/// # Errors
/// Only what concerns the call as a whole; failed legs are part of the response.
pub async fn call(kind: Kind, legs: Vec<Leg>, message: Bytes) -> Result<Response<Body>, Status> {
    match kind {
        Kind::Unary => unary(legs, message).await,
        _ => Ok(stream(legs, message)),
    }
}

/// The one message of a request, still framed.
///
/// # Errors
/// A body that is not exactly one message of at most [`MESSAGE_BYTES_MAX`].
pub async fn single<B>(mut body: B) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    let mut frames = Frames::new(MESSAGE_BYTES_MAX);
    let mut found = None;
    while let Some(part) = body.frame().await {
        let part = part.map_err(|error| Status::cancelled(corten_base::chain(&error)))?;
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

async fn unary(legs: Vec<Leg>, message: Bytes) -> Result<Response<Body>, Status> {
    let budget = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<(String, Task<Result<Bytes, Status>>)> = legs
        .into_iter()
        .map(|leg| {
            let name = leg.name.clone();
            (name, spawn("leg", unary_leg(leg, message.clone(), budget.clone())))
        })
        .collect();
    let mut merged = BytesMut::new();
    for (name, task) in tasks {
        let answer = task.join().await.unwrap_or_else(|| Err(Status::internal("the call panicked")));
        match answer.and_then(|answer| envelope_unary(&answer, &name)) {
            Ok(part) => merged.extend_from_slice(&part),
            Err(status) => merged.extend_from_slice(&envelope::failure(&name, &status, Kind::Unary)),
        }
    }
    if merged.len() > MESSAGE_BYTES_MAX {
        return Err(Status::resource_exhausted("the answers together exceed the largest message"));
    }
    let body = Full::new(frame::encode(&merged)).with_trailers(async { Some(Ok(trailers(&Status::ok("")))) });
    Ok(response(Body::new(body)))
}

fn envelope_unary(answer: &[u8], name: &str) -> Result<BytesMut, Status> {
    let mut part = BytesMut::new();
    envelope::tag_unary(answer, name, &mut part)?;
    Ok(part)
}

async fn unary_leg(leg: Leg, message: Bytes, budget: Arc<AtomicUsize>) -> Result<Bytes, Status> {
    let mut answers = Answers::open(leg, message).await?;
    let answer = answers.next().await?.ok_or_else(|| Status::internal("the response message is missing"))?;
    if budget.fetch_add(answer.len(), Ordering::Relaxed) + answer.len() > MESSAGE_BYTES_MAX {
        return Err(Status::resource_exhausted("the answers together exceed the largest message"));
    }
    match answers.next().await? {
        None => Ok(answer),
        Some(_) => Err(Status::internal("more than one response message")),
    }
}

fn stream(legs: Vec<Leg>, message: Bytes) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let tasks =
        legs.into_iter().map(|leg| spawn("leg", stream_leg(leg, message.clone(), sender.clone()))).collect();
    response(Body::new(FanIn { receiver, done: false, _tasks: tasks }))
}

async fn stream_leg(leg: Leg, message: Bytes, sender: mpsc::Sender<Bytes>) {
    let name = leg.name.clone();
    if let Err(status) = pass_on(leg, message, &sender).await {
        let failure = envelope::failure(&name, &status, Kind::ServerStream);
        let _ = sender.send(frame::encode(&failure)).await;
    }
}

async fn pass_on(leg: Leg, message: Bytes, sender: &mpsc::Sender<Bytes>) -> Result<(), Status> {
    let name = leg.name.clone();
    let mut answers = Answers::open(leg, message).await?;
    while let Some(answer) = answers.next().await? {
        let mut tagged = BytesMut::with_capacity(answer.len() + name.len() + 8);
        envelope::tag_streamed(&answer, &name, &mut tagged);
        if sender.send(frame::encode(&tagged)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Messages of one machine's response.
struct Answers {
    body: Body,
    frames: Frames,
    trailers: Option<HeaderMap>,
}

impl Answers {
    async fn open(leg: Leg, message: Bytes) -> Result<Self, Status> {
        let request = leg.request.map(|()| Body::new(Full::new(message)));
        let (parts, body) = leg.upstream.send(request).await?.into_parts();
        if parts.status != StatusCode::OK {
            return Err(Status::unknown(format!("unexpected HTTP status {}", parts.status)));
        }
        let trailers = parts.headers.contains_key(Status::GRPC_STATUS).then_some(parts.headers);
        Ok(Self { body, frames: Frames::new(MESSAGE_BYTES_MAX), trailers })
    }

    /// The next message; the error that the machine ended with, if it did.
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.frames.take()? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(part) => match part?.into_data() {
                    Ok(data) => self.frames.add(data),
                    Err(part) => self.trailers = part.into_trailers().ok(),
                },
                None => return self.end(),
            }
        }
    }

    fn end(&self) -> Result<Option<Bytes>, Status> {
        match self.trailers.as_ref().and_then(Status::from_header_map) {
            Some(status) if status.code() == tonic::Code::Ok && self.frames.is_empty() => Ok(None),
            Some(status) if status.code() == tonic::Code::Ok => {
                Err(Status::internal("the response was cut off"))
            }
            Some(status) => Err(status),
            None => Err(Status::internal("server closed the stream without sending trailers")),
        }
    }
}

/// The merged stream: whatever comes first, then `OK`.
struct FanIn {
    receiver: mpsc::Receiver<Bytes>,
    done: bool,
    _tasks: Vec<Task>,
}

impl HttpBody for FanIn {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.done {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(match std::task::ready!(this.receiver.poll_recv(cx)) {
            Some(message) => Frame::data(message),
            None => {
                this.done = true;
                Frame::trailers(trailers(&Status::ok("")))
            }
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.done
    }
}

fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
