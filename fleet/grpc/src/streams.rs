//! The open streams of a connection: few, and what each still has to send.

use crate::event::StreamId;
use crate::frame::{ErrorCode, PAYLOAD_MAX, flag, kind, put, put_reset};
use crate::message::Partial;

/// What a stream has to send.
#[derive(Debug)]
pub(crate) struct Unsent {
    data: Vec<u8>,
    sent: usize,
    /// The fields after the data; without them the data ends the stream.
    trailers: Option<Vec<u8>>,
}

impl Unsent {
    /// Data, and the fields after it.
    pub const fn new(data: Vec<u8>, trailers: Option<Vec<u8>>) -> Self {
        Self { data, sent: 0, trailers }
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub id: StreamId,
    /// What the peer takes yet, bytes.
    pub window: i64,
    /// What came since the peer was given room, bytes.
    pub received: u32,
    pub partial: Partial,
    pub unsent: Option<Box<Unsent>>,
    /// The peer's first fields came.
    pub is_begun: bool,
    /// Nothing more is sent.
    pub is_done_here: bool,
    /// Nothing more comes.
    pub is_done_there: bool,
    /// What comes is of no interest any more.
    pub is_deaf: bool,
}

/// All open streams.
#[derive(Debug, Default)]
pub(crate) struct Streams(Vec<Stream>);

impl Streams {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.0.iter_mut().find(|stream| stream.id == id)
    }

    pub fn add(&mut self, id: StreamId, window: i64) -> &mut Stream {
        let partial = Partial::default();
        self.0.push(Stream {
            id,
            window,
            received: 0,
            partial,
            unsent: None,
            is_begun: false,
            is_done_here: false,
            is_done_there: false,
            is_deaf: false,
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Forgets a stream; false when there is none.
    pub fn remove(&mut self, id: StreamId) -> bool {
        let before = self.0.len();
        self.0.retain(|stream| stream.id != id);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        self.0.len() != before
    }

    /// Gives all streams more room, or less; false when that is more than there may be.
    pub fn widen(&mut self, more: i64, max: i64) -> bool {
        self.0.iter_mut().for_each(|stream| stream.window += more);
        self.0.iter().all(|stream| stream.window <= max)
    }

    /// Sends what the peer takes of what there is, and forgets streams that are done.
    pub fn pump(&mut self, out: &mut Vec<u8>, window: &mut i64) {
        self.0.iter_mut().for_each(|stream| stream.pump(out, window));
        for stream in &self.0 {
            // The answer is complete and the peer still talks: it may stop (RFC 9113, 8.1).
            if stream.is_done_here && !stream.is_done_there && stream.is_deaf {
                put_reset(out, stream.id, ErrorCode::NO_ERROR);
            }
        }
        self.0.retain(|stream| !stream.is_done_here || !(stream.is_done_there || stream.is_deaf));
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

impl Stream {
    fn pump(&mut self, out: &mut Vec<u8>, window: &mut i64) {
        let Some(unsent) = &mut self.unsent else { return };
        loop {
            let rest = unsent.data.get(unsent.sent..).unwrap_or_default();
            let room = usize::try_from(self.window.min(*window)).unwrap_or(0);
            let now = rest.get(..rest.len().min(room).min(PAYLOAD_MAX)).unwrap_or_default();
            if now.is_empty() && !rest.is_empty() {
                return;
            }
            let is_last = now.len() == rest.len();
            let ends = is_last && unsent.trailers.is_none();
            put(out, kind::DATA, if ends { flag::END_STREAM } else { 0 }, self.id, now);
            let sent = i64::try_from(now.len()).unwrap_or(i64::MAX);
            (self.window, *window) = (self.window - sent, *window - sent);
            unsent.sent += now.len();
            if is_last {
                break;
            }
        }
        if let Some(trailers) = &unsent.trailers {
            put(out, kind::HEADERS, flag::END_STREAM | flag::END_HEADERS, self.id, trailers);
        }
        self.unsent = None;
        self.is_done_here = true;
    }
}
