//! A file of changes, so that a restarted program continues with the versions it had.
//!
//! Frames of length, operation and content are appended to a file that only root reads. A frame that was
//! cut off by the end of the writer is ignored, and so is everything after it. When the file has grown to
//! several times what exists, it is written anew beside the old one and moved over it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::Record;
use crate::envelope;
use crate::metadata::Pointer;
use crate::proto;
use crate::registry::Registry;
use crate::resource::AnyResource;
use crate::yaml::Style;

const PUT: u8 = 1;
const DESTROY: u8 = 2;
/// Growth that is never worth compacting. The journal is on a tmpfs, so what it takes is memory.
const SLACK_BYTES: u64 = 128 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Record)]
struct Gone {
    #[field(1, "namespace")]
    namespace: String,
    #[field(2, "type")]
    kind: String,
    #[field(3, "id")]
    id: String,
}

/// An open journal. One that cannot be written any more removes its file and stays silent: the next start
/// then begins empty, which is better than beginning with a state that never was.
pub struct Journal {
    path: PathBuf,
    file: Option<File>,
    length: u64,
    compacted: u64,
}

impl Journal {
    /// Opens the journal and reads what is in it.
    pub fn open(path: PathBuf, registry: &Registry) -> io::Result<(Self, Vec<AnyResource>)> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let resources = replay(&bytes, registry);
        let file = create(&path, true)?;
        let length = bytes.len() as u64;
        Ok((Self { path, file: Some(file), length, compacted: length }, resources))
    }

    pub fn put(&mut self, resource: &AnyResource) {
        self.append(&frame(PUT, &envelope::encode(resource)));
    }

    pub fn destroy(&mut self, pointer: &Pointer) {
        let Pointer { namespace, kind, id } = pointer.clone();
        self.append(&frame(DESTROY, &proto::encode(&Gone { namespace, kind, id }, Style::Message)));
    }

    /// Whether it has grown so much that it should be compacted.
    pub const fn is_due(&self) -> bool {
        self.length > 2 * self.compacted + SLACK_BYTES
    }

    /// Replaces the file by one with `resources` only.
    pub fn compact<'a>(&mut self, resources: impl Iterator<Item = &'a AnyResource>) {
        if self.file.is_none() {
            return;
        }
        let bytes: Vec<u8> = resources.flat_map(|resource| frame(PUT, &envelope::encode(resource))).collect();
        match self.rewrite(&bytes) {
            Ok(file) => {
                self.file = Some(file);
                self.length = bytes.len() as u64;
                self.compacted = self.length;
            }
            Err(error) => self.give_up(&error),
        }
    }

    fn rewrite(&self, bytes: &[u8]) -> io::Result<File> {
        let beside = self.path.with_extension("new");
        let mut file = create(&beside, false)?;
        file.write_all(bytes)?;
        fs::rename(&beside, &self.path)?;
        Ok(file)
    }

    fn append(&mut self, frame: &[u8]) {
        let Some(file) = &mut self.file else { return };
        match file.write_all(frame) {
            Ok(()) => self.length += frame.len() as u64,
            Err(error) => self.give_up(&error),
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        tracing::error!(
            error = corten_base::chain(error),
            "cannot write the journal; a restart will begin empty"
        );
        self.file = None;
        let _ = fs::remove_file(&self.path);
    }
}

fn create(path: &Path, append: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600).append(append);
    if !append {
        options.write(true).truncate(true);
    }
    options.open(path)
}

fn frame(operation: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes()[..], &[operation], content].concat()
}

/// What exists after all changes in `bytes`.
fn replay(bytes: &[u8], registry: &Registry) -> Vec<AnyResource> {
    let mut all = BTreeMap::new();
    let mut rest = bytes;
    while let Some((operation, content)) = next_frame(&mut rest) {
        match operation {
            PUT => match envelope::decode(content, registry) {
                Ok(resource) => drop(all.insert(resource.pointer(), resource)),
                Err(error) => {
                    tracing::warn!(error = corten_base::chain(&error), "skipped a resource in the journal");
                }
            },
            DESTROY => {
                let mut gone = Gone::default();
                if proto::decode(content, &mut gone).is_ok() {
                    all.remove(&Pointer::new(gone.namespace, gone.kind, gone.id));
                }
            }
            _ => break,
        }
    }
    all.into_values().collect()
}

fn next_frame<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (length, tail) = rest.split_first_chunk::<4>()?;
    let (operation, tail) = tail.split_first()?;
    let (content, tail) = tail.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = tail;
    Some((*operation, content))
}
