//! What a peer says on the streams of a connection.

use bytes::Bytes;

use crate::fields::Fields;
use crate::frame::ErrorCode;
use crate::message::BadMessage;

/// Number of a stream: of a call, as long as the connection holds.
pub type StreamId = u32;

/// What a peer says.
#[derive(Debug)]
pub(crate) enum Event {
    /// A call, or the beginning of an answer.
    Begun { stream: StreamId, fields: Fields },
    /// A message.
    Message { stream: StreamId, message: Bytes },
    /// Data that makes no message; nothing more comes of the stream.
    Bad { stream: StreamId, bad: BadMessage },
    /// The end of the stream, with the fields that came last, and whether a message was cut off.
    Ended { stream: StreamId, fields: Option<Fields>, is_cut: bool },
    /// The stream was given up.
    Reset { stream: StreamId, code: ErrorCode },
    /// The peer takes no further calls.
    Leaving { code: ErrorCode },
}

impl Event {
    /// The stream that it is about.
    pub const fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Begun { stream, .. }
            | Self::Message { stream, .. }
            | Self::Bad { stream, .. }
            | Self::Ended { stream, .. }
            | Self::Reset { stream, .. } => Some(*stream),
            Self::Leaving { .. } => None,
        }
    }
}
