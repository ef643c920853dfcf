//! What was downloaded so far: a file beside the one that it becomes, and what the server calls the whole.
//!
//! ```text
//! .metal.iso.KEY.part        the bytes that came
//! .metal.iso.KEY.part.tag    the server's tag (ETag); mostly the SHA-256 of the whole, which is checked then
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::failure::Cause;

/// Letters of a key in the name of a part.
const KEY_LETTERS: usize = 16;
/// Hexadecimal digits of a SHA-256.
const HASH_DIGITS: usize = 64;
/// Longest tag that is kept, bytes.
const TAG_MAX: usize = 256;
/// Bytes that are hashed at once.
const CHUNK: usize = 1 << 16;

/// A part of a file.
#[derive(Clone, Debug)]
pub struct Part {
    path: PathBuf,
    tag: PathBuf,
}

impl Part {
    /// The part of a file; `key` names what is downloaded.
    pub fn of(path: &Path, key: &str) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let key: String = key.chars().filter(char::is_ascii_alphanumeric).take(KEY_LETTERS).collect();
        let begin = format!(".{name}.{key}.part");
        Self { path: path.with_file_name(&begin), tag: path.with_file_name(begin + ".tag") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are there.
    pub fn size(&self) -> u64 {
        self.path.metadata().map(|metadata| metadata.len()).unwrap_or_default()
    }

    /// What the server calls that of which it is a part; nothing if it does not tell so that one can rely on it.
    pub fn tag(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.tag).ok()?;
        is_strong(&text).then_some(text)
    }

    /// Begins it anew, as a part of what the server calls so.
    pub fn begin(&self, tag: Option<&str>) -> io::Result<File> {
        self.remove()?;
        if let Some(tag) = tag.filter(|tag| is_strong(tag)) {
            std::fs::write(&self.tag, tag)?;
        }
        File::create(&self.path)
    }

    /// Goes on with it.
    pub fn go_on(&self) -> io::Result<File> {
        OpenOptions::new().append(true).open(&self.path)
    }

    /// Removes it.
    pub fn remove(&self) -> io::Result<()> {
        for path in [&self.path, &self.tag] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the file of it, if it is what the server has. Gives its size, bytes.
    pub fn finish(&self, path: &Path) -> Result<u64, Cause> {
        let expected = self.tag().and_then(|tag| hash_of(&tag));
        if let Some(expected) = expected {
            let found = self.hash()?;
            if found != expected {
                self.remove()?;
                let text = format!("what came has the SHA-256 {found}, and what the server has {expected}");
                return Err(Cause::new(text).way_out("it was removed; do it again"));
            }
        }
        let size = self.size();
        std::fs::rename(&self.path, path)?;
        self.remove()?;
        Ok(size)
    }

    fn hash(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; CHUNK]);
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(hex::encode(hash.finalize()));
            }
            hash.update(&buffer[..count]);
        }
    }
}

/// Whether a tag is of the very bytes, and not of something that is about the same.
fn is_strong(tag: &str) -> bool {
    tag.len() <= TAG_MAX && tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2
}

/// The SHA-256 that a tag is.
fn hash_of(tag: &str) -> Option<String> {
    let text = tag.trim_matches('"').to_ascii_lowercase();
    let is_hash = text.len() == HASH_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_part_is_named_after_what_is_downloaded() {
        let part = Part::of(Path::new("/tmp/metal.iso"), "ab/cd0123456789abcdef");
        assert_eq!(part.path, Path::new("/tmp/.metal.iso.abcd0123456789ab.part"));
        assert_eq!(part.tag, Path::new("/tmp/.metal.iso.abcd0123456789ab.part.tag"));
    }

    #[test]
    fn only_tags_of_the_very_bytes_count() {
        for (tag, is_good) in [("\"a\"", true), ("W/\"a\"", false), ("a", false), ("\"\"", false)] {
            assert_eq!(is_strong(tag), is_good, "{tag}");
        }
        let hash = "0A".repeat(32);
        assert_eq!(hash_of(&format!("\"{hash}\"")), Some(hash.to_lowercase()));
        assert_eq!(hash_of("\"abc\""), None);
    }

    #[test]
    fn what_is_not_what_the_server_has_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.iso");
        let part = Part::of(&path, "k");
        let tag = format!("\"{}\"", hex::encode(Sha256::digest(b"right")));
        part.begin(Some(&tag)).expect("begun").write_all(b"wrong").expect("written");
        let cause = part.finish(&path).expect_err("another one");
        assert!(cause.lines[0].contains("what came has the SHA-256"), "{cause:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
        part.begin(Some(&tag)).expect("begun").write_all(b"ri").expect("written");
        part.go_on().expect("there").write_all(b"ght").expect("written");
        assert_eq!(part.finish(&path), Ok(5));
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1);
    }
}
