//! `Copy`: a file or folder as a compressed tar archive with names relative to it.
//!
//! ```text
//! pending paths ──▶ header of the next ──▶ its contents, piece by piece ──▶ the next …
//! ```
//!
//! Files change while they are copied. A header that was sent stands: of a file that grows, what was there is sent;
//! one that shrinks ends in zeros, and the client is told. So the archive can be read whatever happens.

use std::fs::{self, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use corten_api::common::Data;
use flate2::Compression;
use flate2::write::GzEncoder;
use tonic::Status;

use super::super::status;
use super::super::stream::{Step, Work, data};
use super::open::{Present, open};
use super::{absolute, children};

/// Size of the messages: small, since whoever calls through `nodes` and does not read holds one in apid.
const MESSAGE_BYTES: usize = 32 * 1024;
/// What is read of a file in one step.
const PIECE_BYTES: usize = 16 * 1024;
/// What is read of files that claim to be empty (procfs, sysfs, cgroupfs).
const PSEUDO_FILE_BYTES_MAX: u64 = 4096;
/// Archives consist of blocks of this size.
const BLOCK_BYTES: u64 = 512;
/// Troubles that are told by name; more are counted.
const TROUBLES_MAX: usize = 50;

/// An archive in the making.
pub struct Copying {
    root: PathBuf,
    /// What is still to be added; the next one is last.
    pending: Vec<PathBuf>,
    /// The file whose header was written.
    body: Option<Body>,
    archive: tar::Builder<GzEncoder<Vec<u8>>>,
    troubles: Troubles,
}

/// What is left of a file's contents.
struct Body {
    path: PathBuf,
    file: Present,
    size: u64,
    left: u64,
    /// It ended early: the rest is zeros.
    ended: bool,
}

/// What could not be copied.
#[derive(Default)]
struct Troubles {
    named: Vec<String>,
    more: usize,
}

/// The archive of a path.
///
/// # Errors
/// When the path cannot be read; files below it that cannot be are named after all others were sent.
pub fn copy(root: &str) -> Result<Copying, Status> {
    let root = absolute(root);
    let metadata = fs::symlink_metadata(&root).map_err(|error| status::file(&root, &error))?;
    let mut copying = Copying {
        pending: Vec::new(),
        body: None,
        archive: tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast())),
        troubles: Troubles::default(),
        root,
    };
    if metadata.is_dir() {
        copying.pending = children(&copying.root);
    } else {
        let name = PathBuf::from(copying.root.file_name().unwrap_or_default());
        let root = copying.root.clone();
        copying.append(&root, &name, &metadata).map_err(|error| status::file(&root, &error))?;
    }
    Ok(copying)
}

impl Work for Copying {
    type Item = Data;

    fn step(&mut self, out: &mut Vec<Data>) -> Result<Step, Status> {
        let broken = |error: io::Error| Status::internal(format!("cannot make the archive: {error}"));
        if let Some(body) = self.body.take() {
            self.body = self.write_piece(body).map_err(broken)?;
        } else if let Some(path) = self.pending.pop() {
            self.add(path);
        } else {
            self.finish(out).map_err(broken)?;
            return self.troubles.told();
        }
        if self.archive.get_ref().get_ref().len() >= MESSAGE_BYTES {
            self.send(out);
        }
        Ok(Step::More)
    }
}

impl Copying {
    /// Adds what is below the root; trouble with it is told at the end.
    fn add(&mut self, path: PathBuf) {
        let name = path.strip_prefix(&self.root).unwrap_or(&path).to_owned();
        let added = fs::symlink_metadata(&path).and_then(|metadata| {
            self.append(&path, &name, &metadata)?;
            Ok(metadata.is_dir())
        });
        match added {
            Ok(true) => self.pending.extend(children(&path)),
            Ok(false) => {}
            Err(error) => self.troubles.note(&path, &error.to_string()),
        }
    }

    /// Writes an entry up to its contents. Sockets, pipes and devices have no place in an archive of contents.
    fn append(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_metadata(metadata);
        header.set_size(0);
        if metadata.is_dir() {
            self.archive.append_data(&mut header, name.join(""), io::empty())
        } else if metadata.is_symlink() {
            self.archive.append_link(&mut header, name, fs::read_link(path)?)
        } else if metadata.is_file() {
            self.append_file(path, name, header)
        } else {
            Ok(())
        }
    }

    fn append_file(&mut self, path: &Path, name: &Path, mut header: tar::Header) -> io::Result<()> {
        let file = open(path)?;
        let size = file.file().metadata()?.len();
        if size == 0 {
            let mut contents = Vec::new();
            file.take(PSEUDO_FILE_BYTES_MAX).read_to_end(&mut contents)?;
            header.set_size(contents.len() as u64);
            return self.archive.append_data(&mut header, name, contents.as_slice());
        }
        header.set_size(size);
        self.archive.append_data(&mut header, name, io::empty())?;
        self.body = Some(Body { path: path.to_owned(), file, size, left: size, ended: false });
        Ok(())
    }

    /// Writes the next piece of a file's contents; the rest comes back.
    fn write_piece(&mut self, mut body: Body) -> io::Result<Option<Body>> {
        let mut piece = vec![0; usize::try_from(body.left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)];
        if !body.ended {
            let trouble = match body.file.read(&mut piece) {
                Ok(0) => Some("it shrank while it was copied; zeros stand for the rest".to_owned()),
                Ok(read) => {
                    piece.truncate(read);
                    None
                }
                Err(error) => Some(format!("{error}; zeros stand for the rest")),
            };
            if let Some(trouble) = trouble {
                self.troubles.note(&body.path, &trouble);
                body.ended = true;
                piece.fill(0);
            }
        }
        self.archive.get_mut().write_all(&piece)?;
        body.left -= piece.len() as u64;
        if body.left > 0 {
            return Ok(Some(body));
        }
        let padding = body.size.next_multiple_of(BLOCK_BYTES) - body.size;
        io::copy(&mut io::repeat(0).take(padding), self.archive.get_mut())?;
        Ok(None)
    }

    fn finish(&mut self, out: &mut Vec<Data>) -> io::Result<()> {
        self.archive.finish()?;
        self.archive.get_mut().try_finish()?;
        self.send(out);
        Ok(())
    }

    /// Sends what was compressed so far.
    fn send(&mut self, out: &mut Vec<Data>) {
        let compressed = std::mem::take(self.archive.get_mut().get_mut());
        if !compressed.is_empty() {
            out.push(data(Bytes::from(compressed)));
        }
    }
}

impl Troubles {
    fn note(&mut self, path: &Path, what: &str) {
        if self.named.len() < TROUBLES_MAX {
            self.named.push(format!("{}: {what}", path.display()));
        } else {
            self.more += 1;
        }
    }

    fn told(&self) -> Result<Step, Status> {
        if self.named.is_empty() {
            return Ok(Step::Done);
        }
        let more = if self.more > 0 { format!("; and {} more", self.more) } else { String::new() };
        Err(Status::unknown(self.named.join("; ") + &more))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::testing::{run, tree};
    use super::*;

    /// Names and contents of an archive.
    fn unpack(pieces: Vec<Data>) -> BTreeMap<String, Vec<u8>> {
        let bytes: Vec<u8> = pieces.into_iter().flat_map(|piece| piece.bytes).collect();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let entries = archive.entries().expect("entries").map(|entry| {
            let mut entry = entry.expect("entry");
            let name = entry.path().expect("path").display().to_string();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).expect("contents");
            (name, contents)
        });
        entries.collect()
    }

    fn copying(root: &Path) -> Result<Copying, Status> {
        copy(&root.display().to_string())
    }

    #[test]
    fn a_copy_holds_names_relative_to_its_root() {
        let folder = tree();
        let files = unpack(run(copying(folder.path())).expect("pieces"));
        assert_eq!(files.keys().collect::<Vec<_>>(), ["link", "sub/", "sub/file"]);
        assert_eq!(files["sub/file"], b"hello");
        let single = unpack(run(copying(&folder.path().join("sub/file"))).expect("pieces"));
        assert_eq!(single.keys().collect::<Vec<_>>(), ["file"]);
    }

    #[test]
    fn files_that_claim_to_be_empty_are_read() {
        let files = unpack(run(copy("/proc/self/status")).expect("pieces"));
        assert!(files["status"].starts_with(b"Name:"));
    }

    /// Copies a folder with `first` and `second`, and changes `first` when the copy stands in its middle.
    fn copied_while(change: impl FnOnce(&Path)) -> (BTreeMap<String, Vec<u8>>, Result<Step, Status>) {
        let folder = tempfile::tempdir().expect("a folder");
        let first = folder.path().join("first");
        fs::write(&first, vec![b'a'; 3 * PIECE_BYTES + 1]).expect("first");
        fs::write(folder.path().join("second"), b"second").expect("second");
        let (mut work, mut pieces) = (copying(folder.path()).expect("begun"), Vec::new());
        while work.body.as_ref().is_none_or(|body| body.left == body.size) {
            assert_eq!(work.step(&mut pieces).expect("a step"), Step::More);
        }
        change(&first);
        let end = loop {
            match work.step(&mut pieces) {
                Ok(Step::More) => {}
                end => break end,
            }
        };
        (unpack(pieces), end)
    }

    #[test]
    fn of_a_file_that_grows_what_was_there_is_copied() {
        let (files, end) = copied_while(|path| {
            let mut file = fs::File::options().append(true).open(path).expect("file");
            file.write_all(&[b'b'; 700]).expect("more");
        });
        assert_eq!(files["first"], vec![b'a'; 3 * PIECE_BYTES + 1]);
        assert_eq!(files["second"], b"second");
        assert_eq!(end.expect("a good end"), Step::Done);
    }

    #[test]
    fn a_file_that_shrinks_ends_in_zeros_and_is_named() {
        let (files, end) = copied_while(|path| {
            fs::File::options().write(true).open(path).and_then(|file| file.set_len(10)).expect("less");
        });
        let first = &files["first"];
        assert_eq!(first.len(), 3 * PIECE_BYTES + 1);
        assert!(
            first[..PIECE_BYTES].iter().all(|byte| *byte == b'a')
                && first[PIECE_BYTES..] == vec![0; 2 * PIECE_BYTES + 1]
        );
        assert_eq!(files["second"], b"second");
        assert!(end.expect_err("told").message().contains("first: it shrank"));
    }

    #[test]
    fn troubles_without_end_are_counted() {
        let mut troubles = Troubles::default();
        for _ in 0..TROUBLES_MAX + 7 {
            troubles.note(Path::new("/x"), "gone");
        }
        assert!(troubles.told().expect_err("told").message().ends_with("/x: gone; and 7 more"));
    }
}
