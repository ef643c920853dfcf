//! Follows the dataplane folder with inotify: no polling, one value per document.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::files::{Document, read};

/// The folder with a kernel watch on it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    events: AsyncFd<OwnedFd>,
    documents: Vec<Box<dyn Reload>>,
}

/// One followed document, its type erased.
trait Reload: Send + Sync + std::fmt::Debug {
    fn file(&self) -> &'static str;
    fn reload(&self, folder: &Path);
}

#[derive(Debug)]
struct Follower<T>(watch::Sender<T>);

impl<T: Document + std::fmt::Debug> Reload for Follower<T> {
    fn file(&self) -> &'static str {
        T::FILE
    }

    /// A document that cannot be read leaves the last good one in force.
    fn reload(&self, folder: &Path) {
        match read::<T>(folder) {
            Ok(Some(value)) => {
                self.0.send_if_modified(|current| {
                    let changed = *current != value;
                    *current = value;
                    changed
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(file = T::FILE, error = corten_base::chain(&error), "document not read")
            }
        }
    }
}

impl Folder {
    /// Starts to watch `path`, which exists.
    ///
    /// # Errors
    /// When the kernel refuses the watch.
    pub fn watch(path: &Path) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(&fd, path, WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE)?;
        #[expect(
            deprecated,
            reason = "the safe constructor; an `OwnedFd` keeps the promise that others may break"
        )]
        let events = AsyncFd::with_interest(fd, Interest::READABLE)?;
        Ok(Self { path: path.to_owned(), events, documents: Vec::new() })
    }

    /// The document's value now and from now on.
    pub fn follow<T: Document + std::fmt::Debug>(&mut self) -> watch::Receiver<T> {
        let (sender, receiver) = watch::channel(T::default());
        let follower = Follower(sender);
        follower.reload(&self.path);
        self.documents.push(Box::new(follower));
        receiver
    }

    /// Hands changes on for as long as it is polled.
    ///
    /// # Errors
    /// When the watch itself fails.
    pub async fn run(self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            match self.drain() {
                Ok(()) => {}
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn drain(&self) -> rustix::io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.events.get_ref(), &mut buffer);
        loop {
            let event = reader.next()?;
            let overflow = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().and_then(|name| name.to_str().ok());
            for document in &self.documents {
                if overflow || name == Some(document.file()) {
                    document.reload(&self.path);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Dns, write_atomic};

    #[tokio::test]
    async fn hands_on_the_first_value_and_each_replacement() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Dns { upstreams: vec!["10.0.0.1:53".parse().expect("an address")], ..Dns::default() };
        write_atomic(folder.path(), &first).expect("write");
        let mut watched = Folder::watch(folder.path()).expect("watch");
        let mut values = watched.follow::<Dns>();
        assert_eq!(*values.borrow_and_update(), first);
        let _task = corten_base::spawn("folder", watched.run());
        write_atomic(folder.path(), &Dns::default()).expect("write");
        values.changed().await.expect("the folder is watched");
        assert_eq!(*values.borrow(), Dns::default());
        std::fs::write(folder.path().join("dns.json"), b"{ broken").expect("write");
        write_atomic(folder.path(), &first).expect("write");
        values.changed().await.expect("the folder is watched");
        assert_eq!(*values.borrow(), first, "a broken document in between changed nothing");
    }
}
