//! What manager and keeper tell each other: one frame in each packet.
//!
//! ```text
//! kind (1 byte) │ number of the stream (8 bytes) │ what the kind needs; numbers are little-endian
//! ```

use std::time::Duration;

/// Bytes of one stream that may be on their way in one direction, and so the most that a frame carries.
pub const WINDOW: usize = 16 * 1024;
/// What was used is given back as credit in portions of so many bytes: small exchanges cost no packets of their own.
pub const CREDIT_MIN: usize = WINDOW / 4;
/// Length of what stands before the data.
const HEAD: usize = 9;
/// Largest packet.
pub const PACKET_MAX: usize = HEAD + WINDOW;

/// What is told of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The manager hands a socket over, which is attached.
    Hold,
    /// Bytes of the stream.
    Data(&'a [u8]),
    /// Whoever says this has no more bytes: the end of the stream in this direction.
    Finish,
    /// So many bytes were used: as many more may be sent.
    Credit(u32),
    /// The manager has let go of the stream: what it wrote is still sent, then the socket is closed.
    Leave,
    /// Whether small writes are sent at once.
    NoDelay(bool),
    /// How silence is treated.
    SignsOfLife {
        /// Silence after which a sign of life is asked for.
        period: Duration,
        /// How long one may be owed.
        limit: Duration,
    },
    /// The keeper has closed the socket: with this error, or with none.
    Gone(i32),
}

/// A packet that is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {length} bytes between manager and keeper is no frame: they are of different versions")]
pub struct InvalidFrame {
    length: usize,
}

impl Frame<'_> {
    const fn kind(self) -> u8 {
        match self {
            Self::Hold => 1,
            Self::Data(_) => 2,
            Self::Finish => 3,
            Self::Credit(_) => 4,
            Self::Leave => 5,
            Self::NoDelay(_) => 6,
            Self::SignsOfLife { .. } => 7,
            Self::Gone(_) => 8,
        }
    }
}

/// Writes a frame over whatever is in `packet`. Data must fit into the window.
pub fn encode(number: u64, frame: Frame<'_>, packet: &mut Vec<u8>) {
    packet.clear();
    packet.push(frame.kind());
    packet.extend_from_slice(&number.to_le_bytes());
    match frame {
        Frame::Hold | Frame::Finish | Frame::Leave => {}
        Frame::Data(bytes) => packet.extend_from_slice(bytes),
        Frame::Credit(bytes) => packet.extend_from_slice(&bytes.to_le_bytes()),
        Frame::NoDelay(is_on) => packet.push(u8::from(is_on)),
        Frame::SignsOfLife { period, limit } => {
            packet.extend_from_slice(&millis(period).to_le_bytes());
            packet.extend_from_slice(&millis(limit).to_le_bytes());
        }
        Frame::Gone(error) => packet.extend_from_slice(&error.to_le_bytes()),
    }
}

/// Reads a frame, and the number of its stream.
///
/// # Errors
/// When it is none.
pub fn decode(packet: &[u8]) -> Result<(u64, Frame<'_>), InvalidFrame> {
    read(packet).ok_or(InvalidFrame { length: packet.len() })
}

fn read(packet: &[u8]) -> Option<(u64, Frame<'_>)> {
    let (head, rest) = packet.split_first_chunk::<HEAD>()?;
    let (kind, number) = head.split_first()?;
    let number = u64::from_le_bytes(number.try_into().ok()?);
    let frame = match (kind, rest) {
        (1, []) => Frame::Hold,
        (2, [_, ..]) if rest.len() <= WINDOW => Frame::Data(rest),
        (3, []) => Frame::Finish,
        (4, _) => Frame::Credit(u32::from_le_bytes(rest.try_into().ok()?)),
        (5, []) => Frame::Leave,
        (6, [is_on @ (0 | 1)]) => Frame::NoDelay(*is_on == 1),
        (7, _) => {
            let (period, limit) = rest.split_first_chunk::<4>()?;
            Frame::SignsOfLife {
                period: Duration::from_millis(u32::from_le_bytes(*period).into()),
                limit: Duration::from_millis(u32::from_le_bytes(limit.try_into().ok()?).into()),
            }
        }
        (8, _) => Frame::Gone(i32::from_le_bytes(rest.try_into().ok()?)),
        _ => return None,
    };
    Some((number, frame))
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let signs =
            Frame::SignsOfLife { period: Duration::from_secs(30), limit: Duration::from_millis(90_001) };
        let mut packet = Vec::new();
        for frame in [
            Frame::Hold,
            Frame::Data(b"x"),
            Frame::Data(&[7; WINDOW]),
            Frame::Finish,
            Frame::Credit(4096),
            Frame::Leave,
            Frame::NoDelay(true),
            signs,
            Frame::Gone(104),
        ] {
            encode(1 << 40, frame, &mut packet);
            assert!(packet.len() <= PACKET_MAX);
            assert_eq!(decode(&packet), Ok((1 << 40, frame)));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let mut packet = Vec::new();
        encode(1, Frame::Data(&[7; WINDOW]), &mut packet);
        packet.push(7);
        assert!(decode(&packet).is_err(), "more than the window");
        for (kind, rest) in [(0, 0), (1, 1), (2, 0), (4, 3), (4, 5), (6, 0), (7, 7), (7, 9), (8, 0), (9, 0)] {
            let packet = [&[kind][..], &[1; 8], &vec![0; rest]].concat();
            assert!(decode(&packet).is_err(), "{kind} {rest}");
        }
        assert!(decode(&[6, 0, 0, 0, 0, 0, 0, 0, 0, 2]).is_err(), "neither yes nor no");
    }

    #[test]
    fn bytes_of_any_kind_are_a_frame_that_is_written_as_it_was_read_or_none() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok((number, frame)) = decode(bytes) {
                let mut packet = Vec::new();
                encode(number, frame, &mut packet);
                assert_eq!(packet, bytes);
            }
        });
    }
}
