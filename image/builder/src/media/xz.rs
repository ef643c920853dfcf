//! The xz format without its effort: what is zero takes next to nothing, everything else is stored as it is.
//!
//! ```text
//! header │ block: 64 KiB chunks, each stored or a fixed one that says "zeros" │ check │ index │ footer
//! ```
//!
//! What media hold is compressed already, beside the zeros between. So this is as small as real compression within a
//! few percent, costs no more than copying, and can be read by everything that reads xz, the kernel included. A chunk
//! stands for itself. The format: The .xz File Format 1.2.1, with CRC-32, which the kernel checks.

use std::io::{self, Write};

use flate2::Crc;

use super::piece::{CHUNK, ZEROS};

/// Flags of the stream: checked by CRC-32.
const FLAGS: [u8; 2] = [0, 1];
/// Header of the block before its own check: one filter, LZMA2 with a dictionary of 64 KiB.
const BLOCK: [u8; 8] = [2, 0, 0x21, 1, 8, 0, 0, 0];
/// Begin of a stored chunk that needs nothing of those before.
const STORED: u8 = 1;
/// End of the chunks.
const END: u8 = 0;
/// Bytes of a check.
const CHECK_BYTES: u64 = 4;
/// Begin of a stored chunk, its length included.
const STORED_BYTES: u64 = 3;
/// Most bytes of everything that is no chunk.
const FRAME_BYTES_MAX: u64 = 128;
/// [`CHUNK`] zeros as one chunk of LZMA that needs nothing of those before, as liblzma writes it.
const ZERO_CHUNK: [u8; 83] = [
    0xe0, 0xff, 0xff, 0x00, 0x4c, 0x5d, 0x00, 0x00, 0x6f, 0xfd, 0xff, 0xff, 0xa3, 0xb7, 0xff, 0x47, 0x3e,
    0x48, 0x15, 0x72, 0x39, 0x61, 0x51, 0xb8, 0x92, 0x28, 0xe6, 0xa3, 0x86, 0x07, 0xf9, 0xee, 0xe4, 0x1e,
    0x82, 0xd3, 0x2f, 0xc5, 0x3a, 0x3c, 0x01, 0x4b, 0xb1, 0x7e, 0xc9, 0x8a, 0x8a, 0x4d, 0x2f, 0xa3, 0x0d,
    0xd9, 0x7f, 0xa6, 0xe3, 0x8c, 0x23, 0x11, 0x53, 0xe0, 0x59, 0x18, 0xc5, 0x75, 0x8a, 0xe2, 0x77, 0xf8,
    0xb6, 0x94, 0x7f, 0x0c, 0x6a, 0xc0, 0xde, 0x74, 0x49, 0x64, 0x5c, 0x9e, 0x3a, 0xd1, 0x00,
];

/// Most bytes that so many bytes become.
#[must_use]
pub const fn packed_max(bytes: u64) -> u64 {
    let chunks = bytes.div_ceil(CHUNK as u64);
    bytes.saturating_add(chunks.saturating_mul(STORED_BYTES)).saturating_add(FRAME_BYTES_MAX)
}

/// Writes what it is given as one stream of xz.
pub struct Xz<W> {
    out: W,
    /// Not more than a chunk.
    pending: Vec<u8>,
    check: Crc,
    bytes: u64,
    /// Bytes of the chunks that were written.
    packed: u64,
}

impl<W> std::fmt::Debug for Xz<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Xz").field("bytes", &self.bytes).field("packed", &self.packed).finish_non_exhaustive()
    }
}

impl<W: Write> Xz<W> {
    /// Begins a stream.
    ///
    /// # Errors
    /// When `out` refuses.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(b"\xfd7zXZ\0")?;
        for part in [&FLAGS[..], &BLOCK[..]] {
            out.write_all(part)?;
            out.write_all(&checksum(part))?;
        }
        Ok(Self { out, pending: Vec::with_capacity(CHUNK), check: Crc::new(), bytes: 0, packed: 0 })
    }

    /// Ends the stream, and gives `out` back.
    ///
    /// # Errors
    /// When `out` refuses.
    pub fn finish(mut self) -> io::Result<W> {
        self.chunk()?;
        self.put(&[END])?;
        let unpadded = BLOCK.len() as u64 + CHECK_BYTES + self.packed;
        self.out.write_all(padding(unpadded))?;
        self.out.write_all(&self.check.sum().to_le_bytes())?;
        let mut index = vec![0, 1];
        number(&mut index, unpadded + CHECK_BYTES);
        number(&mut index, self.bytes);
        index.extend_from_slice(padding(index.len() as u64));
        index.extend(checksum(&index));
        self.out.write_all(&index)?;
        // Its length in words, less one.
        let words = u32::try_from(index.len() / 4 - 1).map_err(io::Error::other)?;
        let footer = [&words.to_le_bytes()[..], &FLAGS[..]].concat();
        self.out.write_all(&checksum(&footer))?;
        self.out.write_all(&footer)?;
        self.out.write_all(b"YZ")?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Writes what is pending as one chunk.
    fn chunk(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.check.update(&pending);
        self.bytes += pending.len() as u64;
        if pending == ZEROS {
            self.put(&ZERO_CHUNK)?;
        } else if let Some(last) = pending.len().checked_sub(1) {
            let last = u16::try_from(last).map_err(io::Error::other)?;
            self.put(&[STORED])?;
            self.put(&last.to_be_bytes())?;
            self.put(&pending)?;
        }
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.packed += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}

impl<W: Write> Write for Xz<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        if self.pending.len() == CHUNK {
            self.chunk()?;
        }
        Ok(taken)
    }

    /// Chunks are whole: what is pending stays so until the end.
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut check = Crc::new();
    check.update(bytes);
    check.sum().to_le_bytes()
}

/// Zeros up to a multiple of four.
fn padding(bytes: u64) -> &'static [u8] {
    let missing = bytes.next_multiple_of(4) - bytes;
    &ZEROS[..usize::try_from(missing).unwrap_or(0)]
}

/// A number in groups of seven bits, the lowest first.
fn number(out: &mut Vec<u8>, number: u64) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut xz = Xz::new(Vec::<u8>::new()).expect("memory");
        // In uneven parts, as they come.
        for part in bytes.chunks(50_001) {
            xz.write_all(part).expect("memory");
        }
        let packed = xz.finish().expect("memory");
        assert!(packed.len() as u64 <= packed_max(bytes.len() as u64));
        packed
    }

    /// Zeros at the beginning, in the middle and at the end, beside what is none.
    fn samples() -> Vec<Vec<u8>> {
        let noise = (0_u32..100_000).map(|number| (number.wrapping_mul(0x9e37_79b9) >> 24) as u8);
        let noise: Vec<u8> = noise.collect();
        vec![
            Vec::new(),
            b"hello".to_vec(),
            vec![0; CHUNK],
            [&vec![0; 3 * CHUNK][..], &noise[..], &vec![0; 2 * CHUNK][..], &b"end"[..]].concat(),
            [&noise[..CHUNK], &[0; 5][..]].concat(),
        ]
    }

    #[test]
    fn the_shortest_streams_are_those_of_the_format() {
        let empty = packed(b"");
        assert_eq!(empty.len(), 52);
        assert!(empty.starts_with(b"\xfd7zXZ\0\0\x01\x69\x22\xde\x36") && empty.ends_with(b"\0\x01YZ"));
        assert_eq!(packed(b"hello").len(), 60);
        let zeros = packed(&vec![0; 100 * CHUNK]);
        assert!(zeros.len() < 100 * 100, "{}", zeros.len());
        for sample in samples() {
            assert_eq!(packed(&sample).len() % 4, 0);
        }
    }

    #[test]
    fn xz_reads_what_is_written() {
        #[expect(clippy::disallowed_methods, reason = "a test asks a program of the host")]
        let command = || Command::new("xz");
        if command().arg("--version").output().is_err() {
            eprintln!("skipped: xz_reads_what_is_written: there is no xz (Debian's xz-utils)");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        for (number, sample) in samples().into_iter().enumerate() {
            let path = folder.path().join(format!("{number}.xz"));
            std::fs::write(&path, packed(&sample)).expect("written");
            let output = command().args(["-d", "-c"]).arg(&path).stdin(Stdio::null()).output().expect("xz");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(output.stdout == sample, "sample {number} is another one");
        }
    }
}
