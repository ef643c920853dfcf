//! Unary calls on one connection, answered one after the other.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::endpoint::Endpoint;
use crate::event::{Event, StreamId};
use crate::fields;
use crate::link::{EVER, Link, Silence};
use crate::message::framed;

/// Calls that may have begun at a time: each keeps a message.
const CALLS_MAX: u32 = 2;
/// How long a call may take to come.
const COMING_MAX: Duration = Duration::from_secs(30);

/// A call.
#[derive(Clone, Debug)]
pub struct Request {
    /// `/package.Service/Method`.
    pub path: String,
    /// The only message.
    pub message: Bytes,
}

/// A call that is not complete yet.
struct Begun {
    stream: StreamId,
    since: Instant,
    path: String,
    message: Option<Bytes>,
}

/// Answers calls until the peer hangs up. Requests may have so many bytes; while one is answered nothing is read.
///
/// # Errors
/// When the connection breaks, or the peer breaks the rules.
pub async fn serve<IO, F, R>(io: IO, message_max: usize, handle: impl Fn(Request) -> F) -> io::Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Result<R, Status>>,
    R: prost::Message,
{
    let mut link = Link::new(io, Endpoint::server(message_max, CALLS_MAX), Silence::Broken);
    let mut calls: Vec<Begun> = Vec::new();
    loop {
        let deadline = calls.first().map_or_else(|| Instant::now() + EVER, |call| call.since + COMING_MAX);
        let event = match timeout_at(deadline, link.next()).await {
            Ok(Ok(event)) => event,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                if let Some(call) = calls.first().map(|call| call.stream) {
                    refuse(
                        &mut link,
                        &mut calls,
                        call,
                        &Status::deadline_exceeded("the call takes too long to come"),
                    );
                }
                continue;
            }
        };
        match event {
            Event::Begun { stream, fields } => {
                let since = Instant::now();
                calls.push(Begun { stream, since, path: fields.path, message: None });
            }
            Event::Message { stream, message } => {
                let Some(call) = calls.iter_mut().find(|call| call.stream == stream) else { continue };
                if call.message.replace(message).is_some() {
                    refuse(&mut link, &mut calls, stream, &one_message());
                }
            }
            Event::Ended { stream, is_cut, .. } => {
                let Some(Begun { path, message, .. }) = ended(&mut calls, stream) else { continue };
                let answer = match message.filter(|_| !is_cut) {
                    Some(message) => handle(Request { path, message }).await,
                    None => Err(one_message()),
                };
                match answer {
                    Ok(answer) => {
                        link.endpoint.answer(stream, &fields::answer(), framed(&answer), fields::done());
                    }
                    Err(status) => link.endpoint.refuse(stream, &fields::refusal(&status)),
                }
            }
            Event::Bad { stream, bad } => refuse(&mut link, &mut calls, stream, &bad.into()),
            Event::Reset { stream, .. } => drop(ended(&mut calls, stream)),
            Event::Leaving { .. } => {}
        }
    }
}

fn one_message() -> Status {
    Status::internal("a call of this method has one message, which is whole")
}

/// Ends a call before it came.
fn refuse<IO>(link: &mut Link<IO>, calls: &mut Vec<Begun>, stream: StreamId, status: &Status) {
    drop(ended(calls, stream));
    link.endpoint.refuse(stream, &fields::refusal(status));
}

/// Takes a call out.
fn ended(calls: &mut Vec<Begun>, stream: StreamId) -> Option<Begun> {
    let position = calls.iter().position(|call| call.stream == stream)?;
    let call = calls.remove(position);
    if calls.is_empty() {
        *calls = Vec::new();
    }
    Some(call)
}
