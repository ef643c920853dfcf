//! Messages of gRPC in the data of a stream: one byte whether it is compressed, four of its length, its bytes.

use bytes::Bytes;

/// Bytes before a message.
const PREFIX: usize = 5;

/// Data that makes no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadMessage {
    /// It is compressed, which nobody asked for.
    Compressed,
    /// It has so many bytes, which are too many.
    TooLarge(usize),
}

/// The message that is not complete yet.
#[derive(Debug, Default)]
pub(crate) struct Partial(Vec<u8>);

impl Partial {
    /// Takes data and hands on the messages that it completes, none larger than `max`.
    pub fn push(
        &mut self,
        mut data: &[u8],
        max: usize,
        mut whole: impl FnMut(Bytes),
    ) -> Result<(), BadMessage> {
        while !data.is_empty() {
            let wanted = self.wanted(max)?;
            let (taken, rest) = data.split_at(data.len().min(wanted - self.0.len()));
            self.0.extend_from_slice(taken);
            data = rest;
            if self.0.len() >= PREFIX && self.0.len() == self.wanted(max)? {
                let bytes = Bytes::from(std::mem::take(&mut self.0));
                whole(bytes.slice(PREFIX..));
            }
        }
        Ok(())
    }

    /// Whether a message has begun and not ended.
    pub fn is_begun(&self) -> bool {
        !self.0.is_empty()
    }

    /// Bytes that are wanted, as far as can be told.
    fn wanted(&self, max: usize) -> Result<usize, BadMessage> {
        let [is_compressed, a, b, c, d, ..] = *self.0.as_slice() else { return Ok(PREFIX) };
        if is_compressed != 0 {
            return Err(BadMessage::Compressed);
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > max { Err(BadMessage::TooLarge(length)) } else { Ok(PREFIX + length) }
    }
}

/// A message with its prefix.
pub(crate) fn framed(message: &impl prost::Message) -> Vec<u8> {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(PREFIX + length);
    bytes.push(0);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    message.encode_raw(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(pieces: &[&[u8]]) -> Result<Vec<Bytes>, BadMessage> {
        let (mut partial, mut found) = (Partial::default(), Vec::new());
        for piece in pieces {
            partial.push(piece, 8, |message| found.push(message))?;
        }
        assert!(!partial.is_begun());
        Ok(found)
    }

    #[test]
    fn messages_are_whole_however_the_data_comes() {
        let bytes = [0, 0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let expected = [&[7, 8][..], &[], &[9]];
        assert_eq!(pushed(&[&bytes]).unwrap(), expected);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(pushed(&single).unwrap(), expected);
        let (head, tail) = bytes.split_at(6);
        assert_eq!(pushed(&[head, tail]).unwrap(), expected);
    }

    #[test]
    fn what_is_compressed_or_too_large_is_refused_before_it_is_kept() {
        assert_eq!(pushed(&[&[1, 0, 0, 0, 1, 1]]), Err(BadMessage::Compressed));
        assert_eq!(pushed(&[&[0, 0, 0, 0, 9, 1]]), Err(BadMessage::TooLarge(9)));
        assert_eq!(framed(&7_u32), [0, 0, 0, 0, 2, 8, 7]);
    }
}
