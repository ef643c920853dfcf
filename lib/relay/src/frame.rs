//! gRPC's message framing: one byte of flags, four of length, the message.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tonic::Status;

/// Bytes before each message.
pub const PREFIX_BYTES: usize = 5;

/// Cuts a byte stream into messages; holds at most one message and the chunk that was added last.
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    max: usize,
}

impl Frames {
    /// A reader that refuses messages larger than `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { buffer: BytesMut::new(), max }
    }

    /// Adds what came next. Take all messages before adding more.
    pub fn add(&mut self, chunk: impl Buf) {
        self.buffer.put(chunk);
    }

    /// The next message, or `None` until more bytes are added.
    ///
    /// # Errors
    /// `ResourceExhausted` for a message above the limit, `Unimplemented` for a compressed one: nobody asked for it.
    pub fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(&[flags, a, b, c, d]) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        if flags != 0 {
            return Err(Status::unimplemented("compressed messages are not supported"));
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.max {
            return Err(Status::resource_exhausted(format!(
                "received message larger than max ({length} vs. {})",
                self.max
            )));
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whether nothing is left, which is how a stream must end.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// What stands before a message of so many bytes.
#[must_use]
pub fn prefix(length: usize) -> Bytes {
    let mut prefix = BytesMut::with_capacity(PREFIX_BYTES);
    put_prefix(&mut prefix, length);
    prefix.freeze()
}

/// A message with its prefix.
#[must_use]
pub fn encode(message: &[u8]) -> Bytes {
    join(&[message])
}

/// A message in parts, with its prefix.
#[must_use]
pub fn join(parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    put_prefix(&mut frame, length);
    for part in parts {
        frame.put_slice(part);
    }
    frame.freeze()
}

fn put_prefix(out: &mut BytesMut, length: usize) {
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_survive_any_chunking(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8),
            size in 1_usize..40,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(|message| encode(message).to_vec()).collect();
            let mut frames = Frames::new(64);
            let mut taken = Vec::new();
            for chunk in stream.chunks(size) {
                frames.add(chunk);
                while let Some(message) = frames.take().expect("valid") {
                    taken.push(message.to_vec());
                }
            }
            prop_assert!(frames.is_empty());
            prop_assert_eq!(taken, messages);
        }
    }

    #[test]
    fn refuses_what_is_too_large_or_compressed() {
        let mut frames = Frames::new(3);
        frames.add(encode(b"four"));
        assert_eq!(frames.take().expect_err("too large").code(), tonic::Code::ResourceExhausted);
        let mut frames = Frames::new(3);
        frames.add(&[1_u8, 0, 0, 0, 0][..]);
        assert_eq!(frames.take().expect_err("compressed").code(), tonic::Code::Unimplemented);
    }

    #[test]
    fn never_panics_on_any_bytes() {
        bolero::check!().for_each(|input: &[u8]| {
            let mut frames = Frames::new(1024);
            for chunk in input.chunks(7) {
                frames.add(chunk);
                while let Ok(Some(message)) = frames.take() {
                    assert!(message.len() <= 1024);
                }
            }
        });
    }
}
