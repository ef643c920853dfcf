//! One call to several machines: the request goes to each, the answers come back in the envelope.
//!
//! ```text
//! message ─┬▶ leg: machine, request ─▶ answers ─▶ name of the machine in each ─┬▶ client
//!          └▶ leg                   ─▶ a failure is an answer too ────────────┘
//! ```
//!
//! A machine that fails is never the failure of the call. Unary answers are merged in the order of the machines and
//! together are no larger than one message; streamed ones are passed on as they come, one of each machine at a time, and a
//! client that stops reading stops its own machines only. All that is held meanwhile takes from one [`Room`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, Engine as _};
use bytes::{Buf as _, Bytes, BytesMut};
use corten_api::MESSAGE_BYTES_MAX;
use corten_api::rules::Kind;
use corten_base::{Task, chain, spawn};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::body::{broken, cut, trailers};
use crate::envelope;
use crate::frame::{self, Frames, PREFIX_BYTES};
use crate::room::{Held, Room};
use crate::upstream::{Dial, Lease, Reached};

/// Answers of all machines that wait for the client's reading.
const QUEUE: usize = 4;
/// Machines that are asked at a time for one answer each.
pub const LEGS_AT_ONCE: usize = 32;
/// Bytes of an answer that are handed on at a time.
const PIECE_BYTES: usize = 16 * 1024;
/// Bytes of an answer that are copied together rather than handed on one by one.
const JOINED_BYTES: usize = 64 * 1024;
/// How long an answer waits for room before it fails.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a request may take to come: what is there of it holds room that others need.
const REQUEST_MAX: Duration = Duration::from_secs(60);
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

/// The message of a request, with its prefix, and the room that it takes.
#[derive(Debug)]
pub struct Message {
    bytes: Bytes,
    held: Held,
}

/// Calls to several machines, which share a room.
#[derive(Clone, Debug)]
pub struct Fan {
    room: Room,
    patience: Duration,
}

impl Fan {
    /// Calls that hold no more than this room has.
    #[must_use]
    pub const fn new(room: Room) -> Self {
        Self { room, patience: PATIENCE }
    }

    /// The one message of a request.
    ///
    /// # Errors
    /// For a body that is not exactly one message of at most [`MESSAGE_BYTES_MAX`], when there is no room for it, and when
    /// it does not come.
    pub async fn single<B>(&self, body: B) -> Result<Message, Status>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: std::error::Error,
    {
        let late = |_| Status::deadline_exceeded("the request message did not come in time");
        timeout(REQUEST_MAX, self.read(body)).await.map_err(late)?
    }

    async fn read<B>(&self, mut body: B) -> Result<Message, Status>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: std::error::Error,
    {
        let (mut frames, mut found, mut held) = (Frames::new(MESSAGE_BYTES_MAX), None, Held::default());
        while let Some(part) = body.frame().await {
            let part = part.map_err(|error| Status::cancelled(chain(&error)))?;
            let Ok(data) = part.into_data() else { continue };
            held.merge(self.room.take(data.len()).ok_or_else(crowded)?);
            frames.add(data);
            while let Some(message) = frames.take()? {
                if found.replace(message).is_some() {
                    return Err(Status::internal("more than one request message"));
                }
            }
        }
        match found {
            Some(message) if frames.is_empty() => Ok(Message { bytes: frame::encode(&message), held }),
            _ => Err(Status::internal("the request message is missing or cut off")),
        }
    }

    /// Sends a message to every machine and merges what comes back.
    ///
    /// # Errors
    /// Only what concerns the call as a whole; legs that failed are part of the answer.
    pub async fn call<D: Dial>(
        &self,
        kind: Kind,
        legs: Vec<Leg<D>>,
        message: Message,
    ) -> Result<Response<Body>, Status> {
        match kind {
            Kind::Unary => self.unary(legs, message).await,
            Kind::ServerStream | Kind::ClientStream | Kind::Bidirectional => Ok(self.stream(legs, message)),
        }
    }

    async fn unary<D: Dial>(&self, legs: Vec<Leg<D>>, message: Message) -> Result<Response<Body>, Status> {
        let turns = Arc::new(Semaphore::new(LEGS_AT_ONCE));
        let begin = |leg: Leg<D>| {
            let name = leg.name.clone();
            let asked = unary_leg(leg, message.bytes.clone(), self.clone(), Arc::clone(&turns));
            (name, spawn("leg", asked))
        };
        let tasks: Vec<(String, Task<Part>)> = legs.into_iter().map(begin).collect();
        let (mut parts, mut length) = (VecDeque::new(), 0);
        for (name, task) in tasks {
            let panicked = || Part::failure(&name, &Status::internal("the call panicked"), Kind::Unary);
            let part = task.join().await.unwrap_or_else(panicked);
            length += part.bytes.len();
            parts.push_back(part);
        }
        if length > MESSAGE_BYTES_MAX {
            return Err(too_large());
        }
        parts.push_front(Part::of(frame::prefix(length)));
        if length <= JOINED_BYTES {
            let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
            parts.iter().for_each(|part| bytes.extend_from_slice(&part.bytes));
            parts = VecDeque::from([Part::of(bytes)]);
        }
        Ok(response(Body::new(Answer { parts, more: None, is_over: false, _request: message.held })))
    }

    fn stream<D: Dial>(&self, legs: Vec<Leg<D>>, message: Message) -> Response<Body> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let begin = |leg| spawn("leg", stream_leg(leg, message.bytes.clone(), self.clone(), sender.clone()));
        let tasks = legs.into_iter().map(begin).collect();
        let more = Some(More { receiver, _tasks: tasks });
        let parts = VecDeque::new();
        response(Body::new(Answer { parts, more, is_over: false, _request: message.held }))
    }
}

async fn unary_leg<D: Dial>(leg: Leg<D>, message: Bytes, fan: Fan, turns: Arc<Semaphore>) -> Part {
    let Leg { name, reached } = leg;
    let asked = async {
        let _turn = turns.acquire().await.map_err(|error| Status::internal(chain(&error)))?;
        let mut answers = Answers::open(reached?, message, fan).await?;
        let missing = || Status::internal("the response message is missing");
        let (answer, held) = answers.next().await?.ok_or_else(missing)?;
        if answers.next().await?.is_some() {
            return Err(Status::internal("more than one response message"));
        }
        Ok(Part { bytes: envelope::tagged(&answer, &name)?.freeze(), _held: held, _turn: None })
    };
    asked.await.unwrap_or_else(|status| Part::failure(&name, &status, Kind::Unary))
}

async fn stream_leg<D: Dial>(leg: Leg<D>, message: Bytes, fan: Fan, sender: mpsc::Sender<Part>) {
    let Leg { name, reached } = leg;
    if let Err(status) = pass_on(&name, reached, message, fan, &sender).await {
        let failure = Part::failure(&name, &status, Kind::ServerStream);
        // Without a reader nobody is left to be told.
        let _ = sender.send(Part::of(frame::encode(&failure.bytes))).await;
    }
}

async fn pass_on<D: Dial>(
    name: &str,
    reached: Result<Reached<D>, Status>,
    message: Bytes,
    fan: Fan,
    sender: &mpsc::Sender<Part>,
) -> Result<(), Status> {
    let metadata = envelope::metadata(name);
    let mut answers = Answers::open(reached?, message, fan).await?;
    // What a client that does not read holds is one message of each machine, not as many as wait anywhere.
    let turns = Arc::new(Semaphore::new(1));
    loop {
        let turn =
            Arc::clone(&turns).acquire_owned().await.map_err(|error| Status::internal(chain(&error)))?;
        let Some((answer, held)) = answers.next().await? else { return Ok(()) };
        let part = Part { bytes: frame::join(&[&answer, &metadata]), _held: held, _turn: Some(turn) };
        drop(answer);
        if sender.send(part).await.is_err() {
            return Ok(());
        }
    }
}

/// Messages of one machine's answer.
struct Answers {
    body: Incoming,
    frames: Frames,
    trailers: Option<HeaderMap>,
    fan: Fan,
    held: Held,
    _lease: Lease,
}

impl Answers {
    async fn open<D: Dial>(mut reached: Reached<D>, message: Bytes, fan: Fan) -> Result<Self, Status> {
        for name in COMPRESSION {
            reached.head.headers_mut().remove(name);
        }
        let (response, lease) = reached.send(Body::new(Full::new(message))).await?;
        let (parts, body) = response.into_parts();
        if parts.status != StatusCode::OK {
            return Err(Status::unknown(format!("unexpected HTTP status {}", parts.status)));
        }
        let trailers = parts.headers.contains_key(Status::GRPC_STATUS).then_some(parts.headers);
        let frames = Frames::new(MESSAGE_BYTES_MAX);
        Ok(Self { body, frames, trailers, fan, held: Held::default(), _lease: lease })
    }

    /// The next message with the room that it takes; the error that the machine ended with, if it did.
    async fn next(&mut self) -> Result<Option<(Bytes, Held)>, Status> {
        loop {
            if let Some(message) = self.frames.take()? {
                let held = self.held.split(PREFIX_BYTES + message.len());
                return Ok(Some((message, held)));
            }
            let Some(part) = self.body.frame().await else {
                self.end()?;
                return Ok(None);
            };
            match part.map_err(|error| broken(&error))?.into_data() {
                Ok(data) => {
                    let more = self.fan.room.take_within(data.len(), self.fan.patience).await;
                    self.held.merge(more.ok_or_else(crowded)?);
                    self.frames.add(data);
                }
                Err(part) => self.trailers = part.into_trailers().ok(),
            }
        }
    }

    /// How the machine ended.
    fn end(&self) -> Result<(), Status> {
        match self.trailers.as_ref().and_then(status_of) {
            Some(status) if status.code() == Code::Ok && self.frames.is_empty() => Ok(()),
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

/// Bytes of an answer, and the room that they take until all are handed on.
struct Part {
    bytes: Bytes,
    _held: Held,
    /// The next message of the same machine waits for it.
    _turn: Option<OwnedSemaphorePermit>,
}

impl Part {
    /// Bytes that take no room.
    fn of(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), _held: Held::default(), _turn: None }
    }

    /// What stands for the answer of a machine that failed.
    fn failure(name: &str, status: &Status, kind: Kind) -> Self {
        Self::of(envelope::failure(name, status, kind))
    }

    /// The next piece; `None` when all are handed on. It is a copy: whoever does not read the last piece of something large
    /// would keep all of it in memory, and no room for it.
    fn piece(&mut self) -> Option<Bytes> {
        if self.bytes.is_empty() {
            return None;
        }
        let length = self.bytes.len().min(PIECE_BYTES);
        let piece = self.bytes.get(..length).map(Bytes::copy_from_slice);
        self.bytes.advance(length);
        piece
    }
}

/// The merged answer: what is there already, whatever else comes, then `OK`.
struct Answer {
    parts: VecDeque<Part>,
    more: Option<More>,
    is_over: bool,
    _request: Held,
}

/// What machines still send.
struct More {
    receiver: mpsc::Receiver<Part>,
    _tasks: Vec<Task>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        loop {
            if let Some(part) = this.parts.front_mut() {
                match part.piece() {
                    Some(piece) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                    None => drop(this.parts.pop_front()),
                }
                continue;
            }
            let next = match &mut this.more {
                Some(more) => ready!(more.receiver.poll_recv(cx)),
                None => None,
            };
            match next {
                Some(part) => this.parts.push_back(part),
                None => {
                    this.is_over = true;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers(&Status::ok(""))))));
                }
            }
        }
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

fn crowded() -> Status {
    Status::resource_exhausted(
        "calls to several machines hold too much at once; ask fewer machines, or one by one",
    )
}

#[cfg(test)]
mod tests;
