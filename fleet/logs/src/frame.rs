//! Lines as bytes, and the frames of an open segment.
//!
//! ```text
//! lines:  ( time in ms u64 ‖ length u32 ‖ bytes )…    numbers count on from the first one
//! frame:  length u32 ‖ sealed lines                   one for each batch; numbers are little endian
//! ```

use bytes::Bytes;

use crate::key::SEAL_BYTES;

/// Longest line of any log, bytes. Longer ones are cut.
pub const LINE_MAX: usize = 256 * 1024;
/// Bytes in front of a line: its time and its length.
const HEAD_BYTES: usize = 12;
/// Most bytes of lines in a frame; the longest line fits.
const CONTENT_MAX: usize = LINE_MAX + HEAD_BYTES;
/// Bytes of the length of a frame.
const LENGTH_BYTES: usize = 4;

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in its log; the first one ever is 1.
    pub number: u64,
    /// When it came, Unix time in milliseconds.
    pub time_ms: u64,
    /// What it says, as it came but for what was redacted; without the end of the line.
    pub bytes: Bytes,
}

/// A line on its way into a log.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) time_ms: u64,
    /// At most [`LINE_MAX`].
    pub(crate) bytes: Bytes,
}

impl Arrival {
    pub(crate) fn new(time_ms: u64, mut bytes: Bytes) -> Self {
        bytes.truncate(LINE_MAX);
        Self { time_ms, bytes }
    }
}

/// Lines as they are before they are sealed.
pub(crate) fn encode<'a>(lines: impl Iterator<Item = (u64, &'a Bytes)>) -> Vec<u8> {
    let mut content = Vec::new();
    for (time_ms, bytes) in lines {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        content.extend_from_slice(&time_ms.to_le_bytes());
        content.extend_from_slice(&length.to_le_bytes());
        content.extend_from_slice(bytes);
    }
    content
}

/// The lines in `content`, which begin with number `first`; nothing if it is malformed.
pub(crate) fn decode(first: u64, content: &Bytes) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    let mut number = first;
    let mut at = 0;
    while at < content.len() {
        let (time, rest) = content.get(at..)?.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length > LINE_MAX || length > rest.len() {
            return None;
        }
        let from = at + HEAD_BYTES;
        let bytes = content.slice(from..from + length);
        lines.push(Line { number, time_ms: u64::from_le_bytes(*time), bytes });
        number = number.checked_add(1)?;
        at = from + length;
    }
    Some(lines)
}

/// Splits off the lines of the next frame: at least one, at most `lines_max`.
pub(crate) fn take(arrivals: &[Arrival], lines_max: u64) -> (&[Arrival], &[Arrival]) {
    let lines_max = usize::try_from(lines_max).unwrap_or(usize::MAX);
    let mut size = 0;
    let fitting = arrivals.iter().take(lines_max).take_while(|arrival| {
        size += HEAD_BYTES + arrival.bytes.len();
        size <= CONTENT_MAX
    });
    arrivals.split_at(fitting.count().max(1).min(arrivals.len()))
}

/// Bytes that these lines take in the file, as one frame.
pub(crate) fn file_bytes(arrivals: &[Arrival]) -> u64 {
    let content: usize = arrivals.iter().map(|arrival| HEAD_BYTES + arrival.bytes.len()).sum();
    (LENGTH_BYTES + SEAL_BYTES + content) as u64
}

/// A frame around sealed lines.
pub(crate) fn wrap(sealed: &[u8]) -> Vec<u8> {
    let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], sealed].concat()
}

/// The sealed lines of the frame at the beginning, and what follows; nothing if no whole frame is there.
pub(crate) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if !(SEAL_BYTES..=SEAL_BYTES + CONTENT_MAX).contains(&length) {
        return None;
    }
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(length: usize) -> Arrival {
        Arrival::new(7, Bytes::from(vec![b'x'; length]))
    }

    fn content(arrivals: &[Arrival]) -> Bytes {
        Bytes::from(encode(arrivals.iter().map(|arrival| (arrival.time_ms, &arrival.bytes))))
    }

    #[test]
    fn lines_come_back_with_their_times_and_count_on() {
        let lines = decode(5, &content(&[arrival(3), arrival(0)])).expect("lines");
        let expected = [(5, 7, Bytes::from_static(b"xxx")), (6, 7, Bytes::new())];
        assert_eq!(lines.len(), 2);
        for (line, (number, time_ms, bytes)) in lines.into_iter().zip(expected) {
            assert_eq!(line, Line { number, time_ms, bytes });
        }
    }

    #[test]
    fn a_frame_has_at_least_one_line_and_at_most_what_fits() {
        let arrivals = [arrival(LINE_MAX + 1), arrival(1), arrival(1), arrival(1)];
        let (first, rest) = take(&arrivals, 100);
        assert_eq!((first.len(), rest.len()), (1, 3));
        assert_eq!(take(rest, 2).0.len(), 2);
        assert_eq!(take(&[], 2).0.len(), 0);
        let sealed = vec![0; SEAL_BYTES + content(first).len()];
        assert_eq!(wrap(&sealed).len() as u64, file_bytes(first));
        assert!(split(&wrap(&sealed)).is_some_and(|(whole, rest)| whole == sealed && rest.is_empty()));
    }

    #[test]
    fn fuzz_decoding_takes_any_bytes() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Some((sealed, rest)) = split(bytes) {
                assert_eq!(sealed.len() + rest.len() + LENGTH_BYTES, bytes.len());
            }
            let content = Bytes::copy_from_slice(bytes);
            if let Some(lines) = decode(1, &content) {
                let again = encode(lines.iter().map(|line| (line.time_ms, &line.bytes)));
                assert_eq!(again, bytes, "what is decoded is what was encoded");
            }
        });
    }
}
