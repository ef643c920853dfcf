//! A file that is written, hashed on the way; what is zero becomes a hole.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use aws_lc_rs::digest::{Context, SHA256};
use corten_image_builder::media::{CHUNK, ZEROS};

/// Writes a file from its beginning.
pub(crate) struct Hashed<'a> {
    file: &'a File,
    hash: Context,
    length: u64,
}

impl<'a> Hashed<'a> {
    /// Writes to this file, which is empty.
    pub fn new(file: &'a File) -> Self {
        Self { file, hash: Context::new(&SHA256), length: 0 }
    }

    /// Ends the file; gives its length and the SHA-256 of what is in it, hexadecimal.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> io::Result<(u64, String)> {
        self.file.set_len(self.length)?;
        Ok((self.length, hex::encode(self.hash.finish())))
    }
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = bytes.get(..CHUNK).unwrap_or(bytes);
        if Some(part) != ZEROS.get(..part.len()) {
            self.file.write_all_at(part, self.length)?;
        }
        self.hash.update(part);
        self.length += part.len() as u64;
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn zeros_take_no_room_and_count_in_the_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("medium");
        let file = File::create(&path).expect("made");
        let mut hashed = Hashed::new(&file);
        let contents = [&vec![0; 4 << 20][..], &b"abc"[..], &vec![0; 4 << 20][..]].concat();
        hashed.write_all(&contents).expect("written");
        let (length, hash) = hashed.finish().expect("ended");
        assert_eq!(length, contents.len() as u64);
        let expected = aws_lc_rs::digest::digest(&SHA256, &contents);
        assert_eq!(hash, hex::encode(expected));
        assert!(std::fs::read(&path).expect("read") == contents);
        let taken = file.metadata().expect("metadata").blocks() * 512;
        assert!(taken < 1 << 20, "{taken}");
    }
}
