//! What is written beside the store: logs of machines, and who did what.
//!
//! ```text
//! Records::open ─┬▶ Sink, Reader: logs of machines     ─┐
//!                └▶ Notes, Log: the audit log, or none ─┴▶ Closing, which waits until all is on the disk
//! ```

use std::sync::Arc;

use corten_base::{Clock, Rng, Task, spawn};
use corten_fleet_api::audit::{Audit, NoAudit};
use corten_fleet_api::management::{AuditLog, NoAuditLog};
use corten_fleet_logs::{LogError, Logs};
use corten_fleet_proxy::{AccessLog, NoAccessLog};
use corten_fleet_settings::Settings;

use crate::audit;
use crate::failure::Failure;
use crate::machine_logs::{self, Drains, Reader, Sink};
use crate::paths::Paths;
use crate::storage::Keys;

/// Everything that is written, and read again.
pub struct Records {
    /// Takes lines of machines.
    pub sink: Sink,
    /// Reads them.
    pub reader: Reader,
    /// The same, for whoever removes logs.
    pub logs: Logs,
    /// Takes changes.
    pub audit: Arc<dyn Audit>,
    /// Takes accesses to what is behind the manager.
    pub access: Arc<dyn AccessLog>,
    /// Reads both.
    pub audit_log: Arc<dyn AuditLog>,
    /// Ends it.
    pub closing: Closing,
}

/// What is to be waited for at the end, when nobody writes any more.
pub struct Closing {
    logs: Logs,
    drains: Drains,
    notes: Option<Task>,
    writers: Vec<Task>,
}

impl Records {
    /// Opens what is there, and makes what is not. Must be called inside a runtime.
    ///
    /// # Errors
    /// When a folder cannot be used.
    pub fn open(
        settings: &Settings,
        paths: &Paths,
        keys: &Keys,
        clock: &Clock,
        rng: &Rng,
    ) -> Result<Self, Failure> {
        let failed = |source: LogError| Failure::Logs { what: "the logs of machines", source };
        let options = machine_logs::options(&settings.logs.machine);
        let opened = Logs::open(&paths.logs, &keys.logs, options, clock.clone(), rng.clone());
        let (logs, writer) = opened.map_err(failed)?;
        let (sink, drains) = machine_logs::sink(&logs);
        let mut records = Self {
            sink,
            reader: Reader::new(logs.clone()),
            logs: logs.clone(),
            audit: Arc::new(NoAudit),
            access: Arc::new(NoAccessLog),
            audit_log: Arc::new(NoAuditLog),
            closing: Closing {
                logs,
                drains,
                notes: None,
                writers: vec![spawn("writer of logs", writer.run())],
            },
        };
        if let Some(wanted) = &settings.logs.audit {
            records.open_audit(wanted, paths, keys, clock, rng)?;
        }
        Ok(records)
    }

    fn open_audit(
        &mut self,
        wanted: &corten_fleet_settings::Audit,
        paths: &Paths,
        keys: &Keys,
        clock: &Clock,
        rng: &Rng,
    ) -> Result<(), Failure> {
        let failed = |source: LogError| Failure::Logs { what: "the audit log", source };
        let retention = audit::retention(wanted);
        let opened = corten_fleet_logs::audit::Audit::open(
            &paths.audit,
            &keys.audit,
            retention,
            clock.clone(),
            rng.clone(),
        );
        let (log, writer) = opened.map_err(failed)?;
        self.closing.writers.push(spawn("writer of the audit log", writer.run()));
        self.audit_log = Arc::new(audit::Log::new(log.clone()));
        let (notes, task) = audit::notes(log);
        let notes = Arc::new(notes);
        self.audit = notes.clone();
        self.access = notes;
        self.closing.notes = Some(task);
        Ok(())
    }
}

impl Closing {
    /// Waits until everything that was told is on the disk. Whoever tells must be gone.
    pub async fn finish(self) {
        self.drains.finish().await;
        if let Some(notes) = self.notes {
            notes.join().await;
        }
        if let Err(error) = self.logs.flush().await {
            tracing::warn!(error = corten_base::chain(&error), "the last lines of machines may be lost");
        }
        drop(self.writers);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use corten_base::Secret;
    use corten_fleet_api::management::MachineLogs as _;
    use corten_fleet_siderolink::LogSink as _;
    use futures::StreamExt as _;
    use tokio::time::sleep;

    use super::*;

    fn open(folder: &tempfile::TempDir, settings: &mut Settings) -> Result<Records, Failure> {
        settings.storage.path = folder.path().join("fleet.redb");
        settings.storage.key_file = PathBuf::from("/nowhere");
        let paths = Paths::of(settings).expect("paths");
        let keys =
            Keys { logs: Secret::new([1; 32]), audit: Secret::new([2; 32]), media: Secret::new([3; 32]) };
        Records::open(settings, &paths, &keys, &Clock::fixed(1_700_000_000), &Rng::kernel())
    }

    #[tokio::test]
    async fn what_was_told_before_the_end_is_on_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::default();
        let records = open(&folder, &mut settings).expect("opened");
        records.sink.append("m-1", b"the last line");
        let Records { sink, reader, logs, audit, access, audit_log, closing } = records;
        drop((sink, reader, logs, audit, access, audit_log));
        closing.finish().await;
        // Tasks that were told to end hold the folder until they do.
        let again = loop {
            match open(&folder, &mut settings) {
                Ok(again) => break again,
                Err(Failure::Logs { source: LogError::Busy(_), .. }) => sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        };
        let mut lines = again.reader.read("m-1", None, false).await.expect("lines");
        assert_eq!(lines.next().await.expect("a line").expect("a line"), "the last line");
    }

    #[tokio::test]
    async fn an_audit_log_that_is_switched_off_leaves_no_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings::default();
        settings.logs.audit = None;
        let _records = open(&folder, &mut settings).expect("opened");
        assert!(folder.path().join("logs").exists() && !folder.path().join("audit").exists());
    }
}
