//! A source that fires when files of a folder are replaced.

use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use corten_resource::{Source, Trigger};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Fires at each change in `folder`, which is made when missing.
#[must_use]
pub fn follow(name: &'static str, folder: PathBuf) -> Source {
    Source::new(name, move |trigger| {
        let folder = folder.clone();
        async move { Ok::<(), anyhow::Error>(watch(&folder, &trigger).await?) }
    })
}

async fn watch(folder: &Path, trigger: &Trigger) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    inotify::add_watch(&fd, folder, WatchFlags::MOVED_TO | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE)?;
    #[expect(
        deprecated,
        reason = "the safe constructor; an `OwnedFd` keeps the promise that others may break"
    )]
    let events = AsyncFd::with_interest(fd, Interest::READABLE)?;
    trigger.fire();
    loop {
        let mut ready = events.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(events.get_ref(), &mut buffer);
        match reader.next() {
            Ok(_) => trigger.fire(),
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(error) => return Err(error.into()),
        }
    }
}
