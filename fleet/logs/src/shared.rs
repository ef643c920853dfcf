//! What the handles of the logs, the writer and the readers share.
//!
//! ```text
//! Shared: queue, room, cap on all ─▶ Entry of each log: Log (opened when first needed), share, rate, losses, followers
//! ```

use std::collections::HashMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use corten_base::fs::{Durability, write_atomic};
use corten_base::{Bucket, Clock, Lane};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::caps::Limits;
use crate::error::{LogError, failed};
use crate::follow::Live;
use crate::intake::{Job, Loss, Losses, QUEUE_BYTES, Rate, SHARE_BYTES};
use crate::key::{Keys, SALT_BYTES};
use crate::machine::Log;
use crate::read::Snapshot;
use crate::segment::Folder;
use crate::store::{Options, Stats};

/// Reads at a time.
const READERS: usize = 4;
/// How long a read may wait and take.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// Longest name of a log.
const NAME_MAX: usize = 128;
/// The file that says that the folder is in use; no log has its name.
const LOCK: &str = ".lock";
/// The file that tells whether a key is that of the logs: a salt and a seal of nothing.
const KEY_CHECK: &str = ".key-check";

/// What all handles share.
pub(crate) struct Shared {
    root: PathBuf,
    keys: Keys,
    options: Options,
    limits: Limits,
    clock: Clock,
    entries: Mutex<HashMap<String, Arc<Entry>>>,
    /// Bytes on the disk of the logs that are open.
    bytes: AtomicU64,
    /// Bounded by `room`: each line in it has its part of that.
    queue: mpsc::UnboundedSender<Job>,
    room: Arc<Semaphore>,
    /// Logs with losses that were not told yet.
    lost: Mutex<Vec<Arc<Entry>>>,
    readers: Lane,
    _lock: File,
}

impl Shared {
    /// Takes the folder for this program and looks which logs there are; also the other end of the queue.
    pub(crate) fn open(
        root: &Path,
        keys: Keys,
        options: Options,
        clock: Clock,
    ) -> Result<(Arc<Self>, mpsc::UnboundedReceiver<Job>), LogError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(failed("make the folder", root))?;
        let lock = lock(root)?;
        check_key(root, &keys)?;
        let (queue, jobs) = mpsc::unbounded_channel();
        let shared = Self {
            root: root.to_owned(),
            keys,
            options,
            limits: Limits::of(&options.caps),
            clock,
            entries: Mutex::new(entries(root)?),
            bytes: AtomicU64::new(0),
            queue,
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            lost: Mutex::new(Vec::new()),
            readers: Lane::new(READERS),
            _lock: lock,
        };
        Ok((Arc::new(shared), jobs))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { logs: self.entries.lock().len(), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn rate(&self) -> Option<Rate> {
        self.options.rate
    }

    /// Unix time in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        let since = self.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn room(&self) -> &Arc<Semaphore> {
        &self.room
    }

    pub(crate) fn send(&self, job: Job) -> Result<(), LogError> {
        self.queue.send(job).map_err(|_| LogError::Closed)
    }

    /// The log with this name, which need not be there yet.
    pub(crate) fn entry(&self, name: &str) -> Result<Arc<Entry>, LogError> {
        if !is_name(name) {
            return Err(LogError::Name(name.to_owned()));
        }
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.get(name) {
            return Ok(Arc::clone(entry));
        }
        let entry = Arc::new(Entry::new(name));
        entries.insert(name.to_owned(), Arc::clone(&entry));
        Ok(entry)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().values().cloned().collect()
    }

    /// Counts a line that was lost; the writer tells it.
    pub(crate) fn lose(&self, entry: &Arc<Entry>, loss: Loss, bytes: usize) {
        let was_none = {
            let mut losses = entry.losses.lock();
            let was_none = losses.is_none();
            losses.add(loss, bytes);
            was_none
        };
        if was_none {
            self.lost.lock().push(Arc::clone(entry));
            // Without a writer nobody is left to be told.
            let _ = self.send(Job::Lost);
        }
    }

    /// Puts back losses that could not be told.
    pub(crate) fn lose_again(&self, entry: &Arc<Entry>, losses: Losses) {
        entry.losses.lock().merge(losses);
        self.lost.lock().push(Arc::clone(entry));
    }

    pub(crate) fn take_lost(&self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut *self.lost.lock())
    }

    pub(crate) fn has_lost(&self) -> bool {
        !self.lost.lock().is_empty()
    }

    /// Runs blocking work of a reader in the lane of readers.
    pub(crate) async fn on<T: Send + 'static>(
        self: &Arc<Self>,
        entry: Arc<Entry>,
        work: impl FnOnce(&Entry, &Self) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let shared = Arc::clone(self);
        let done = self.readers.run(READ_DEADLINE, move || work(&entry, &shared)).await;
        done.unwrap_or_else(|error| Err(LogError::Unfinished(Arc::new(error))))
    }

    /// Reads a log as it is now, without holding back its writer.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        entry: Arc<Entry>,
        work: impl FnOnce(Snapshot) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        self.on(entry, move |entry, shared| work(entry.with(shared, |log| log.snapshot())?)).await
    }

    /// Gives up old lines of the largest logs until the cap on all of them holds.
    pub(crate) fn make_room(&self) -> Result<(), LogError> {
        let Some(most) = self.options.caps.total_bytes else { return Ok(()) };
        while self.bytes.load(Ordering::Relaxed) > most {
            let largest = self.all().into_iter().max_by_key(|entry| entry.bytes());
            let Some(largest) = largest else { break };
            if !largest.with(self, Log::shrink)?? {
                break;
            }
        }
        Ok(())
    }

    /// Gives up the lines of one log that are too old, and forgets a log that nobody uses and that has none.
    pub(crate) fn sweep(&self, entry: &Arc<Entry>) -> Result<(), LogError> {
        let now_ms = self.now_ms();
        let is_empty =
            entry.with(self, |log| log.evict_aged(now_ms).map(|()| log.first() == log.next()))??;
        let mut entries = self.entries.lock();
        // The list and the caller have it, and nobody can get it from the list now.
        if is_empty && Arc::strong_count(entry) == 2 {
            self.bytes.fetch_sub(entry.bytes(), Ordering::Relaxed);
            entries.remove(&entry.name);
        }
        Ok(())
    }
}

/// Takes the folder for this program, until the file is closed.
fn lock(root: &Path) -> Result<File, LogError> {
    let path = root.join(LOCK);
    let mut options = File::options();
    let opened = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = opened.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Busy(root.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

/// Refuses a key that is not that of the logs in the folder; a new folder gets something to tell it by.
fn check_key(root: &Path, keys: &Keys) -> Result<(), LogError> {
    let path = root.join(KEY_CHECK);
    let wrong = || LogError::Key(path.clone());
    let key = |salt: &[u8; SALT_BYTES]| keys.segment("", salt).map_err(|_| wrong());
    if path.exists() {
        let kept = std::fs::read(&path).map_err(failed("read", &path))?;
        let (salt, seal) = kept.split_first_chunk::<SALT_BYTES>().ok_or_else(wrong)?;
        return key(salt)?.open(&[], seal).map(drop).map_err(|_| wrong());
    }
    let salt = keys.salt();
    let seal = key(&salt)?.seal(&[], Vec::new()).map_err(|_| wrong())?;
    let kept = [&salt[..], &seal[..]].concat();
    write_atomic(&path, &kept, 0o600, Durability::Durable).map_err(failed("write", &path))
}

/// The logs that have a folder.
fn entries(root: &Path) -> Result<HashMap<String, Arc<Entry>>, LogError> {
    let mut entries = HashMap::new();
    for found in std::fs::read_dir(root).map_err(failed("list", root))? {
        let name = found.map_err(failed("list", root))?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_name(name)) {
            entries.insert(name.to_owned(), Arc::new(Entry::new(name)));
        }
    }
    Ok(entries)
}

/// Whether a log can have this name.
fn is_name(name: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= NAME_MAX && !name.starts_with('.') && name.bytes().all(is_usual)
}

/// One log and what belongs to it.
pub(crate) struct Entry {
    name: String,
    /// Opened when it is first needed, and anew after a panic.
    log: Mutex<Option<Log>>,
    /// Its room in the queue.
    share: Arc<Semaphore>,
    /// What it has sent lately.
    bucket: Mutex<Bucket>,
    losses: Mutex<Losses>,
    pub(crate) live: Live,
}

impl Entry {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            log: Mutex::new(None),
            share: Arc::new(Semaphore::new(SHARE_BYTES)),
            bucket: Mutex::new(Bucket::full(Instant::now())),
            losses: Mutex::default(),
            live: Live::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn share(&self) -> &Arc<Semaphore> {
        &self.share
    }

    pub(crate) fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock()
    }

    /// Takes what was lost, to tell it.
    pub(crate) fn take_losses(&self) -> Losses {
        std::mem::take(&mut *self.losses.lock())
    }

    fn bytes(&self) -> u64 {
        self.log.lock().as_ref().map_or(0, Log::bytes)
    }

    /// Works with the log; blocks.
    pub(crate) fn with<T>(&self, shared: &Shared, work: impl FnOnce(&mut Log) -> T) -> Result<T, LogError> {
        let mut slot = self.log.lock();
        let mut log = match slot.take() {
            Some(log) => {
                shared.bytes.fetch_sub(log.bytes(), Ordering::Relaxed);
                log
            }
            None => Log::open(Folder::new(&shared.root, &self.name, &shared.keys), shared.limits)?,
        };
        let result = work(&mut log);
        shared.bytes.fetch_add(log.bytes(), Ordering::Relaxed);
        *slot = Some(log);
        Ok(result)
    }
}
