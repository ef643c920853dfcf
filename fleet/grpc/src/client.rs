//! Many calls on one connection, whose answers come one after the other.
//!
//! ```text
//! call ─▶ number ─┐
//! call ─▶ number ─┴▶ next ─▶ number, message … ─▶ number, end with a status
//! ```

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{Code, Status};

use crate::endpoint::Endpoint;
use crate::event::{Event, StreamId};
use crate::fields;
use crate::link::{Link, Silence};
use crate::message::{BadMessage, framed};

/// Largest request, bytes: it is kept until the peer takes it.
const REQUEST_MAX: usize = 16 * 1024;

/// What comes of a call.
#[derive(Debug)]
pub enum Answer {
    /// A message.
    Message(Bytes),
    /// The end; its code is `Ok` when all is well.
    End(Status),
}

/// A request that is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request has {0} bytes, and may have {REQUEST_MAX}")]
pub struct TooLarge(pub usize);

/// Calls a server. Nothing is sent and nothing is heard but in [`Client::next`], which is therefore always to be waited
/// for.
#[derive(Debug)]
pub struct Client<IO> {
    link: Link<IO>,
    authority: Box<str>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Client<IO> {
    /// A client of the server at the other end, which is called by the name `authority`; of messages up to so many
    /// bytes. Whether the peer is there is for the connection below to find out: servers hang up on clients that ask them
    /// often (gRPC, "Client-side Keepalive").
    pub fn new(io: IO, authority: &str, message_max: usize) -> Self {
        Self {
            link: Link::new(io, Endpoint::client(message_max), Silence::Kept),
            authority: authority.into(),
        }
    }

    /// Begins a call with its only request; `None` when the peer takes no further one.
    ///
    /// # Errors
    /// When the request is too large.
    pub fn call(&mut self, path: &str, request: &impl prost::Message) -> Result<Option<StreamId>, TooLarge> {
        let length = request.encoded_len();
        if length > REQUEST_MAX {
            return Err(TooLarge(length));
        }
        Ok(self.link.endpoint.open(&fields::call(&self.authority, path), framed(request)))
    }

    /// Gives a call up; nothing more comes of it.
    pub fn cancel(&mut self, call: StreamId) {
        self.link.cancel(call);
    }

    /// The next thing that comes of any call. May be dropped and asked again without loss.
    ///
    /// # Errors
    /// When the connection is broken, and all calls with it.
    pub async fn next(&mut self) -> io::Result<(StreamId, Answer)> {
        loop {
            match self.link.next().await? {
                Event::Begun { stream, fields } => {
                    if let Some(status) = fields.failure() {
                        self.link.cancel(stream);
                        return Ok((stream, Answer::End(status)));
                    }
                }
                Event::Message { stream, message } => return Ok((stream, Answer::Message(message))),
                Event::Bad { stream, bad } => {
                    self.link.cancel(stream);
                    return Ok((stream, Answer::End(bad.into())));
                }
                Event::Ended { stream, fields, is_cut } => {
                    let status = fields.unwrap_or_default().end();
                    let is_cut = is_cut && status.code() == Code::Ok;
                    let cut = || Status::internal("the other side ended a call in the middle of a message");
                    return Ok((stream, Answer::End(if is_cut { cut() } else { status })));
                }
                Event::Reset { stream, code } => {
                    let status =
                        Status::unavailable(format!("the other side gave a call up, code {}", code.0));
                    return Ok((stream, Answer::End(status)));
                }
                Event::Leaving { code } => {
                    let text = format!("the other side is about to close the connection, code {}", code.0);
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
                }
            }
        }
    }
}

impl From<BadMessage> for Status {
    fn from(bad: BadMessage) -> Self {
        match bad {
            BadMessage::Compressed => Self::unimplemented("a message is compressed, which nobody asked for"),
            BadMessage::TooLarge(size) => {
                Self::resource_exhausted(format!("a message has {size} bytes, which are too many"))
            }
        }
    }
}
