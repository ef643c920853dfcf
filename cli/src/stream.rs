//! Streams of bytes from machines, as lines that say whose they are.

use bytes::Bytes;
use corten_api::common::Data;
use tonic::Streaming;

use crate::context::Cx;
use crate::failure::{Cause, Failure};

/// A line that is longer is printed in pieces.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Cuts chunks into lines and puts a name in front of each.
#[derive(Debug)]
pub struct Lines {
    prefix: String,
    pending: Vec<u8>,
}

impl Lines {
    /// Lines of a machine.
    pub fn of(node: &str) -> Self {
        Self { prefix: format!("{node}: "), pending: Vec::new() }
    }

    /// The lines that this chunk completes.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(chunk.len() + self.prefix.len());
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.pending.len() > LINE_BYTES_MAX {
                out.extend(self.finish());
            }
        }
        out
    }

    /// What is left, as a line.
    pub fn finish(&mut self) -> Vec<u8> {
        if self.pending.is_empty() {
            return Vec::new();
        }
        let mut line = self.prefix.clone().into_bytes();
        line.append(&mut self.pending);
        if !line.ends_with(b"\n") {
            line.push(b'\n');
        }
        line
    }
}

/// Prints a stream as lines until it ends.
pub async fn print_lines(cx: &Cx, node: &str, mut stream: Streaming<Data>) -> Result<(), Cause> {
    let mut lines = Lines::of(node);
    while let Some(data) = stream.message().await? {
        print(cx, &lines.push(&data.bytes))?;
    }
    print(cx, &lines.finish())
}

fn print(cx: &Cx, bytes: &[u8]) -> Result<(), Cause> {
    if bytes.is_empty() { Ok(()) } else { printed(cx.print(bytes)) }
}

/// Ends the program without a word when nobody reads any more, since several machines may still talk.
pub fn printed(result: Result<(), Failure>) -> Result<(), Cause> {
    match result {
        Err(failure) if failure.is_silent => std::process::exit(0),
        other => other.map_err(Cause::from),
    }
}

/// All bytes of a stream, up to a bound.
pub async fn collect(stream: Streaming<Data>, bytes_max: usize) -> Result<Vec<u8>, Cause> {
    let mut all = Vec::new();
    gather(stream, bytes_max, &mut all).await?;
    Ok(all)
}

/// Adds the bytes of a stream to `all`, up to a bound. What came before a failure stays: a machine may send a whole
/// archive, and then say what it could not read.
pub async fn gather(mut stream: Streaming<Data>, bytes_max: usize, all: &mut Vec<u8>) -> Result<(), Cause> {
    while let Some(Data { bytes, .. }) = stream.message().await? {
        let bytes: Bytes = bytes;
        if all.len() + bytes.len() > bytes_max {
            return Err(Cause::new(format!("the machine sent more than {bytes_max} bytes")));
        }
        all.extend_from_slice(&bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_line_has_its_machine() {
        let mut lines = Lines::of("a");
        assert_eq!(lines.push(b"one\ntw"), b"a: one\n");
        assert_eq!(lines.push(b"o\n\n"), b"a: two\na: \n");
        assert_eq!(lines.push(b"end"), b"");
        assert_eq!(lines.finish(), b"a: end\n");
        assert_eq!(lines.finish(), b"");
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(text in "[a\n]{0,40}", cut in 0usize..40) {
            let cut = cut.min(text.len());
            let whole = { let mut lines = Lines::of("n"); [lines.push(text.as_bytes()), lines.finish()].concat() };
            let mut lines = Lines::of("n");
            let parts = [lines.push(&text.as_bytes()[..cut]), lines.push(&text.as_bytes()[cut..]), lines.finish()];
            prop_assert_eq!(parts.concat(), whole);
        }
    }
}
