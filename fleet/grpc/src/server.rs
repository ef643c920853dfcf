//! Unary calls on one connection, answered one after the other.

use std::future::Future;
use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;

use crate::endpoint::{Endpoint, Event, StreamId};
use crate::fields;
use crate::link::Link;
use crate::message::framed;

/// Calls that may have begun at a time: each may keep a message.
const CALLS_MAX: u32 = 8;

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
    path: String,
    messages: Vec<Bytes>,
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
    let mut link = Link::new(io, Endpoint::server(message_max, CALLS_MAX));
    let mut calls: Vec<Begun> = Vec::new();
    loop {
        let event = match link.next().await {
            Ok(event) => event,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        match event {
            Event::Begun { stream, fields } => {
                calls.push(Begun { stream, path: fields.path, messages: Vec::new() });
            }
            Event::Message { stream, message } => {
                if let Some(call) = calls.iter_mut().find(|call| call.stream == stream) {
                    // A second one is enough to see that it is too many.
                    call.messages.truncate(1);
                    call.messages.push(message);
                }
            }
            Event::Ended { stream, is_cut, .. } => {
                let Some(call) = ended(&mut calls, stream) else { continue };
                let answer = match request(call, is_cut) {
                    Ok(request) => handle(request).await,
                    Err(status) => Err(status),
                };
                match answer {
                    Ok(answer) => {
                        link.endpoint.answer(stream, &fields::answer(), framed(&answer), fields::done());
                    }
                    Err(status) => link.endpoint.refuse(stream, &fields::refusal(&status)),
                }
            }
            Event::Bad { stream, bad } => {
                ended(&mut calls, stream);
                link.endpoint.refuse(stream, &fields::refusal(&bad.into()));
            }
            Event::Reset { stream, .. } => drop(ended(&mut calls, stream)),
            Event::Leaving => {}
        }
    }
}

/// Takes a call out.
fn ended(calls: &mut Vec<Begun>, stream: StreamId) -> Option<Begun> {
    let position = calls.iter().position(|call| call.stream == stream)?;
    let call = calls.swap_remove(position);
    if calls.is_empty() {
        *calls = Vec::new();
    }
    Some(call)
}

fn request(call: Begun, is_cut: bool) -> Result<Request, Status> {
    let Begun { path, messages, .. } = call;
    match <[Bytes; 1]>::try_from(messages) {
        Ok([message]) if !is_cut => Ok(Request { path, message }),
        _ => Err(Status::internal("a call of this method has one message, which is whole")),
    }
}
