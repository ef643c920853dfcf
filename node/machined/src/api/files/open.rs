//! Opens what a client names without ever waiting for it.
//!
//! Some files of procfs and tracefs give what happens next, for ever (`/proc/kmsg`): of these, what there is now is all.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// A file whose reader does not wait: where more may come later, it ends.
#[derive(Debug)]
pub struct Present(File);

/// Opens a file for reading.
///
/// # Errors
/// When the kernel refuses.
pub fn open(path: &Path) -> io::Result<Present> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    File::options().read(true).custom_flags(flags).open(path).map(Present)
}

impl Present {
    /// The file.
    pub const fn file(&self) -> &File {
        &self.0
    }
}

impl Read for Present {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_come_later_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).expect("a pipe");
        let _writer = File::options().read(true).write(true).open(&path).expect("a writer");
        let mut text = String::new();
        open(&path).expect("opened").read_to_string(&mut text).expect("read");
        assert_eq!(text, "");
    }
}
