//! A file whose writes are logged: QEMU's storage daemon offers the file once more, and notes what is done to it.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use corten_sys::Kernel;
use corten_sys::mount::{Mounts, Unmount, is_mount_point};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::Program;
use crate::launcher::bound;
use crate::wait::{tail, wait_for};

const START_MAX: Duration = Duration::from_secs(10);
const END_MAX: Duration = Duration::from_secs(30);

/// A log of writes to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    /// QEMU, which the daemon belongs to.
    pub program: Program,
    /// The log, in the format of Linux's dm-log-writes.
    pub log: PathBuf,
}

/// A file that is being watched.
#[derive(Debug)]
pub struct Recorder {
    daemon: Child,
    /// The file as it is to be used meanwhile.
    pub file: PathBuf,
}

impl Recorder {
    /// Watches a file; what is used instead of it, and the daemon's messages, are in `folder`.
    pub fn start(recording: &Recording, disk: &Path, folder: &Path) -> Result<Self> {
        let (file, messages) = (folder.join("recorded.raw"), folder.join("recorder.log"));
        leave(&file);
        for path in [&recording.log, &file] {
            std::fs::write(path, "").with_context(|| format!("cannot make {}", path.display()))?;
        }
        let escaped = |path: &Path| path.to_string_lossy().replace(',', ",,");
        let node = |name: &str, path: &Path| {
            format!("driver=file,node-name={name},cache.no-flush=on,filename={}", escaped(path))
        };
        let logged = "driver=blklogwrites,node-name=logged,file=disk,log=log,log-sector-size=512";
        let export =
            format!("type=fuse,id=export,node-name=logged,writable=on,mountpoint={}", escaped(&file));
        let mut command = recording.program.storage_daemon();
        for node in [&node("disk", disk), &node("log", &recording.log), logged] {
            command.args(["--blockdev", node]);
        }
        command.args(["--export", &export]);
        let messages_of = std::fs::File::create(&messages).context("cannot make the recorder's log")?;
        let mut command = bound(&command)?;
        command.stdin(Stdio::null()).stderr(messages_of);
        let daemon = command.spawn().context("cannot start QEMU's storage daemon")?;
        let recorder = Self { daemon, file };
        let evidence = || tail(&messages, 20);
        wait_for("the recorded disk", START_MAX, evidence, || is_mount_point(&recorder.file).then_some(()))?;
        Ok(recorder)
    }

    /// Ends the watching, once nobody uses the file.
    pub fn stop(mut self) -> Result<()> {
        let pid = Pid::from_child(&self.daemon);
        kill_process(pid, Signal::TERM).context("cannot end the recorder")?;
        let ended = || self.daemon.try_wait().ok().flatten();
        wait_for("the end of the recorder", END_MAX, String::new, ended).map(drop)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Ended already, unless something else has failed before.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        leave(&self.file);
    }
}

/// Takes away what a daemon left that was killed.
fn leave(file: &Path) {
    if is_mount_point(file) {
        // Whoever writes to it next is told if it is still there.
        let _ = Kernel.unmount(file, Unmount::Lazy);
    }
}
