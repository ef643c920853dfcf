//! A connection: reads when somebody asks, writes what there is, and asks a silent peer whether it is there.
//!
//! ```text
//! next ─▶ write what there is ─▶ read a piece ─▶ Endpoint ─▶ Event
//!    └▶ 30 s of silence ─▶ a sign of life is asked for ─▶ 20 s of silence ─▶ the connection is broken
//! ```

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use corten_base::poll_piece;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout_at};

use crate::endpoint::Endpoint;
use crate::event::{Event, StreamId};

/// Silence after which a sign of life is asked for.
const SILENCE: Duration = Duration::from_secs(30);
/// How long it may take.
const ANSWER: Duration = Duration::from_secs(20);
/// How long one waits where nothing has to come.
pub(crate) const EVER: Duration = Duration::from_secs(24 * 3600);
/// Pieces that are read in a row: a peer that talks without pause does not hold back others.
const PIECES_MAX: usize = 16;
/// Bytes that wait to be sent, above which nothing is read: a peer that asks and does not read is not answered for ever.
const UNSENT_BYTES_MAX: usize = 64 * 1024;

/// What becomes of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// The peer is asked for a sign of life.
    Broken,
    /// Nothing.
    Kept,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link<IO> {
    io: IO,
    pub endpoint: Endpoint,
    events: VecDeque<Event>,
    /// Of what is to be sent, so many bytes are.
    sent: usize,
    is_flushed: bool,
    silence: Silence,
    heard: Instant,
    /// When a sign of life was asked for that has not come.
    asked: Option<Instant>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Link<IO> {
    /// A connection that begins now.
    pub fn new(io: IO, endpoint: Endpoint, silence: Silence) -> Self {
        let heard = Instant::now();
        let (events, asked) = (VecDeque::new(), None);
        Self { io, endpoint, events, sent: 0, is_flushed: false, silence, heard, asked }
    }

    /// Gives a call up; nothing more comes of it.
    pub fn cancel(&mut self, call: StreamId) {
        self.endpoint.cancel(call);
        self.events.retain(|event| event.stream() != Some(call));
    }

    /// What the peer says next. May be dropped and asked again without loss.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the peer hung up, [`io::ErrorKind::TimedOut`] when it is silent,
    /// [`io::ErrorKind::InvalidData`] when it broke the rules.
    pub async fn next(&mut self) -> io::Result<Event> {
        consume_budget().await;
        if !self.events.is_empty() {
            // What was answered since is not held back by what else came; an error comes again.
            let _ = poll_fn(|cx| Poll::Ready(self.poll_write(cx))).await;
        }
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            // Whatever held many events at once is given back.
            self.events = VecDeque::new();
            let deadline = match (self.silence, self.asked) {
                (Silence::Kept, _) => Instant::now() + EVER,
                (Silence::Broken, Some(asked)) => asked + ANSWER,
                (Silence::Broken, None) => self.heard + SILENCE,
            };
            match timeout_at(deadline, poll_fn(|cx| self.poll(cx))).await {
                Ok(done) => done?,
                Err(_) if self.silence == Silence::Kept => {}
                Err(_) if self.asked.is_some() => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the other side is silent"));
                }
                Err(_) => {
                    self.endpoint.ping();
                    self.asked = Some(Instant::now());
                }
            }
        }
    }

    /// Reads until there is an event.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..PIECES_MAX {
            let written = self.poll_write(cx);
            if !self.events.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if written.is_pending() && self.endpoint.out.len() > UNSENT_BYTES_MAX {
                return Poll::Pending;
            }
            let (endpoint, events) = (&mut self.endpoint, &mut self.events);
            let read = poll_piece(&mut self.io, cx, |bytes| match bytes {
                [] => {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed the connection"))
                }
                bytes => endpoint
                    .receive(bytes, events)
                    .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault)),
            });
            match (read, written) {
                (Poll::Ready(Ok(Ok(()))), _) => (self.heard, self.asked) = (Instant::now(), None),
                // What the peer said last counts more than that it does not listen any more.
                (_, Poll::Ready(Err(error))) => return Poll::Ready(Err(error)),
                (Poll::Ready(Ok(Err(error)) | Err(error)), _) => {
                    // That it broke the rules is told if there is room for it.
                    drop(self.poll_write(cx));
                    return Poll::Ready(Err(error));
                }
                (Poll::Pending, _) => return Poll::Pending,
            }
        }
        if self.events.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what there is.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.endpoint.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.is_flushed = false;
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        if self.sent > 0 {
            self.endpoint.out = Vec::new();
            self.sent = 0;
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}
