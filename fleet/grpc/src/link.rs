//! A connection: reads when somebody asks, writes what there is, and asks a silent peer whether it is there.
//!
//! ```text
//! next ─▶ write what there is ─▶ read a piece ─▶ Endpoint ─▶ Event
//!    └▶ 30 s of silence ─▶ a sign of life is asked for ─▶ 20 s of silence ─▶ the connection is broken
//! ```

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::endpoint::{Endpoint, Event};

/// Silence after which a sign of life is asked for.
const SILENCE: Duration = Duration::from_secs(30);
/// How long it may take.
const ANSWER: Duration = Duration::from_secs(20);
/// Bytes that are read at once.
const PIECE: usize = 8 * 1024;
/// Bytes that wait to be sent, above which nothing is read: a peer that asks and does not read is not answered for ever.
const UNSENT_MAX: usize = 64 * 1024;

/// A connection.
#[derive(Debug)]
pub(crate) struct Link<IO> {
    io: IO,
    pub endpoint: Endpoint,
    events: VecDeque<Event>,
    /// Of what is to be sent, so much is.
    sent: usize,
    is_flushed: bool,
    heard: Instant,
    is_asked: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Link<IO> {
    /// A connection that begins now.
    pub fn new(io: IO, endpoint: Endpoint) -> Self {
        let heard = Instant::now();
        Self { io, endpoint, events: VecDeque::new(), sent: 0, is_flushed: false, heard, is_asked: false }
    }

    /// What the peer says next. May be dropped and asked again without loss.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the peer hung up, [`io::ErrorKind::TimedOut`] when it is silent,
    /// [`io::ErrorKind::InvalidData`] when it broke the rules.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            // Whatever held many events at once is given back.
            self.events = VecDeque::new();
            let deadline = self.heard + if self.is_asked { SILENCE + ANSWER } else { SILENCE };
            match timeout_at(deadline, poll_fn(|cx| self.poll(cx))).await {
                Ok(done) => done?,
                Err(_) if self.is_asked => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the other side is silent"));
                }
                Err(_) => {
                    self.endpoint.ping();
                    self.is_asked = true;
                }
            }
        }
    }

    /// Reads until there is an event.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let is_written = self.poll_write(cx)?.is_ready();
            if !self.events.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !is_written && self.endpoint.out.len() > UNSENT_MAX {
                return Poll::Pending;
            }
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut buffer = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                let gone =
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed the connection");
                return Poll::Ready(Err(gone));
            }
            (self.heard, self.is_asked) = (Instant::now(), false);
            if let Err(fault) = self.endpoint.receive(bytes, &mut self.events) {
                // Told if there is room for it.
                let _ = self.poll_write(cx);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
            }
        }
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
