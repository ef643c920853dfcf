//! Pieces of a medium, and how they become its bytes.
//!
//! ```text
//! [Bytes, File, Zeros, …] ─write─▶ one after another, 64 KiB at a time
//! ```

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};

use super::{Base, MediaError, Source};

/// Bytes that are written at once.
pub const CHUNK: usize = 1 << 16;
/// As many zeros, to compare with and to write.
pub static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A part of a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A part of a file of the base.
    File {
        /// Which file.
        source: Source,
        /// Where the part begins.
        offset: u64,
        /// Its length.
        length: u64,
    },
    /// So many zeros.
    Zeros(u64),
}

impl Piece {
    /// Bytes of it.
    #[must_use]
    pub const fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } | Self::Zeros(length) => *length,
        }
    }
}

/// Bytes of all of them. A plan has less than what a number can hold.
#[must_use]
pub fn length(pieces: &[Piece]) -> u64 {
    pieces.iter().map(Piece::length).sum()
}

/// The files of the base that they take something of.
#[must_use]
pub fn sources(pieces: &[Piece]) -> BTreeSet<Source> {
    let source = |piece: &Piece| match piece {
        Piece::File { source, .. } => Some(*source),
        Piece::Bytes(_) | Piece::Zeros(_) => None,
    };
    pieces.iter().filter_map(source).collect()
}

/// Writes the pieces one after another.
///
/// # Errors
/// When a file of the base cannot be read or is shorter than planned, or `out` refuses.
pub fn write(pieces: &[Piece], base: &Base, out: &mut impl Write) -> Result<(), MediaError> {
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => out.write_all(bytes).map_err(MediaError::Write)?,
            Piece::Zeros(length) => zeros(*length, out).map_err(MediaError::Write)?,
            Piece::File { source, offset, length } => {
                let path = base.path(*source);
                let failed = |source| MediaError::Read { path: path.clone(), source };
                let mut file = File::open(&path).map_err(failed)?;
                file.seek(SeekFrom::Start(*offset)).map_err(failed)?;
                copy(&mut file, *length, out, failed)?;
            }
        }
    }
    out.flush().map_err(MediaError::Write)
}

fn zeros(length: u64, out: &mut impl Write) -> io::Result<()> {
    let mut rest = length;
    while rest > 0 {
        let part = &ZEROS[..part(rest)];
        out.write_all(part)?;
        rest -= part.len() as u64;
    }
    Ok(())
}

fn copy(
    from: &mut impl Read,
    length: u64,
    out: &mut impl Write,
    failed: impl Fn(io::Error) -> MediaError,
) -> Result<(), MediaError> {
    let mut buffer = vec![0; CHUNK];
    let mut rest = length;
    while rest > 0 {
        let part = &mut buffer[..part(rest)];
        from.read_exact(part).map_err(&failed)?;
        out.write_all(part).map_err(MediaError::Write)?;
        rest -= part.len() as u64;
    }
    Ok(())
}

/// How many of the rest are taken at once; never more than [`CHUNK`].
fn part(rest: u64) -> usize {
    usize::try_from(rest).map_or(CHUNK, |rest| rest.min(CHUNK))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The bytes of pieces that take nothing of a base.
    pub(in crate::media) fn bytes(pieces: &[Piece]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => out.extend_from_slice(bytes),
                Piece::Zeros(length) => zeros(*length, &mut out).expect("memory"),
                Piece::File { .. } => panic!("there is no base"),
            }
        }
        out
    }

    #[test]
    fn what_is_longer_than_a_chunk_is_written_whole() {
        let most = CHUNK as u64;
        for length in [0, 1, most, most + 1, 3 * most - 1] {
            let mut out = Vec::new();
            zeros(length, &mut out).expect("memory");
            assert_eq!(out.len() as u64, length);
            let (mut from, mut out) = (io::repeat(7), Vec::new());
            copy(&mut from, length, &mut out, MediaError::Write).expect("memory");
            assert!(out.len() as u64 == length && out.iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn a_source_that_ends_too_early_is_an_error() {
        let failed = |source| MediaError::Read { path: "x".into(), source };
        let error = copy(&mut &b"abc"[..], 4, &mut Vec::<u8>::new(), failed).expect_err("too short");
        assert!(matches!(error, MediaError::Read { .. }), "{error}");
    }
}
