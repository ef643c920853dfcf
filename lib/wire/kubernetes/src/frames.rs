//! Watch streams: one JSON event a line, however the network cuts it.

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::error::Error;

/// Largest event.
const EVENT: usize = 8 << 20;

/// An event as the server sends it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub(crate) kind: String,
    /// The object; for an error, a `Status`.
    pub(crate) object: Value,
}

/// Bytes in, events out.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
    /// How far the buffer has been searched for the end of a line.
    searched: usize,
}

impl Frames {
    pub(crate) fn push(&mut self, bytes: &Bytes) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete event.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.buffer.len() > EVENT {
                    return Err(Error::Answer(format!("an event of more than {EVENT} bytes")));
                }
                return Ok(None);
            };
            let line = self.buffer.split_to(self.searched + end + 1);
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return parse(&line).map(Some);
            }
        }
    }
}

fn parse(line: &[u8]) -> Result<Frame, Error> {
    let mut value: Value =
        serde_json::from_slice(line).map_err(|error| Error::Answer(format!("a watch event: {error}")))?;
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let object = value.get_mut("object").map(Value::take).unwrap_or_default();
    if kind.is_empty() || !object.is_object() {
        return Err(Error::Answer("a watch event without type or object".to_owned()));
    }
    Ok(Frame { kind, object })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(pieces: &[&[u8]]) -> Result<Vec<Frame>, String> {
        let mut frames = Frames::default();
        let mut out = Vec::new();
        for piece in pieces {
            frames.push(&Bytes::copy_from_slice(piece));
            while let Some(frame) = frames.next().map_err(|error| error.to_string())? {
                out.push(frame);
            }
        }
        Ok(out)
    }

    #[test]
    fn refuses_what_is_no_event() {
        for bad in ["x\n", "{}\n", "{\"type\":\"ADDED\"}\n", "{\"type\":\"ADDED\",\"object\":1}\n"] {
            assert!(feed(&[bad.as_bytes()]).is_err(), "{bad}");
        }
        assert!(feed(&[&vec![b' '; EVENT + 1]]).is_err());
        assert_eq!(feed(&[b"\n \r\n"]), Ok(Vec::new()));
    }

    proptest::proptest! {
        #[test]
        fn cuts_do_not_matter(cut in 0_usize..120) {
            let text = b"{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n\n{\"type\":\"BOOKMARK\",\"object\":{}}\n{\"type\":\"X\",\"object\":{}}\n";
            let cut = cut.min(text.len());
            let whole = feed(&[text]).unwrap();
            proptest::prop_assert_eq!(whole.len(), 3);
            proptest::prop_assert_eq!(feed(&[&text[..cut], &text[cut..]]).unwrap(), whole);
        }
    }

    #[test]
    fn no_bytes_make_the_framing_panic_and_cuts_never_change_it() {
        bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, cut)| {
            let cut = usize::from(*cut).min(bytes.len());
            assert_eq!(feed(&[bytes]).ok(), feed(&[&bytes[..cut], &bytes[cut..]]).ok());
        });
    }
}
