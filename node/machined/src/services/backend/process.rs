//! Services that are processes: init starts and restarts them, also while machined is away.

use std::sync::Arc;
use std::time::Duration;

use corten_base::{Task, paths, spawn};
use corten_resources::service::{ProcessRun, Restart};
use corten_supervisor::{
    Capabilities, Client, Event, Events, Namespace, Notice, ProcessSpec, ProcessState, ProcessStatus,
    Sandbox, StdioSpec,
};
use tokio::sync::broadcast;

use super::Change;

const NOTICES_MAX: usize = 256;
const BACKOFF_FIRST_MS: u64 = 250;
const BACKOFF_MAX_MS: u64 = 10_000;

/// init, as a backend for services.
#[derive(Clone)]
pub struct Processes {
    client: Client,
    notices: broadcast::Sender<Notice>,
    _forward: Arc<Task>,
}

impl Processes {
    /// A backend over a connection to init; `events` is that connection's event stream.
    #[must_use]
    pub fn new(client: Client, mut events: Events) -> Self {
        let (notices, _) = broadcast::channel(NOTICES_MAX);
        let sender = notices.clone();
        let forward = spawn("init events", async move {
            while let Some(notice) = events.next().await {
                let _ = sender.send(notice);
            }
        });
        Self { client, notices, _forward: Arc::new(forward) }
    }

    /// Everything init reports from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    pub(super) async fn ensure(
        &self,
        id: &str,
        run: &ProcessRun,
        restart: Restart,
        revision: &str,
    ) -> anyhow::Result<Instance> {
        let notices = self.notices.subscribe();
        let running = self.client.list().await?.into_iter().find(|process| process.name == id);
        let status = match running {
            Some(status) if is_up(&status) && status.revision == revision => status,
            Some(status) if is_up(&status) => {
                self.client.stop(id, super::super::STOP_GRACE).await?;
                self.client.start(id, process_spec(id, run, restart, revision)).await?
            }
            _ => self.client.start(id, process_spec(id, run, restart, revision)).await?,
        };
        Ok(Instance { id: id.to_owned(), pid: status.pid, client: self.client.clone(), notices })
    }

    pub(super) async fn stop(&self, id: &str, grace: Duration) -> anyhow::Result<()> {
        let known =
            self.client.list().await?.into_iter().any(|process| process.name == id && is_up(&process));
        if known {
            self.client.stop(id, grace).await?;
        }
        Ok(())
    }
}

const fn is_up(status: &ProcessStatus) -> bool {
    matches!(status.state, ProcessState::Running | ProcessState::Waiting | ProcessState::Stopping)
}

fn process_spec(id: &str, run: &ProcessRun, restart: Restart, revision: &str) -> ProcessSpec {
    let unprivileged = run.uid != 0;
    let mut spec = ProcessSpec::new(run.args.iter().cloned());
    spec.env = run
        .environment
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    revision.clone_into(&mut spec.revision);
    spec.cgroup = Some(run.cgroup.trim_matches('/').to_owned()).filter(|cgroup| !cgroup.is_empty());
    spec.uid = run.uid;
    spec.gid = run.gid;
    spec.no_new_privs = run.no_new_privileges;
    spec.oom_score_adj = Some(run.oom_score_adjust);
    spec.stdio = StdioSpec::Log(format!("{}/{id}.log", paths::EARLY_LOG));
    spec.restart = match restart {
        Restart::Never => corten_supervisor::Restart::Never,
        Restart::Always | Restart::UntilSuccess => corten_supervisor::Restart::Always {
            backoff_ms_min: BACKOFF_FIRST_MS,
            backoff_ms_max: BACKOFF_MAX_MS,
        },
    };
    if unprivileged {
        spec.capabilities = Capabilities::Only(run.capabilities.clone());
        spec.sandbox = Sandbox { read_only_mounts: run.read_only_mounts, deny_admin_syscalls: true };
    }
    if run.read_only_mounts {
        spec.namespaces = vec![Namespace::Mount];
    }
    spec
}

/// A process of init.
pub(in crate::services) struct Instance {
    id: String,
    pid: Option<u32>,
    client: Client,
    notices: broadcast::Receiver<Notice>,
}

impl Instance {
    pub(super) fn describe(&self) -> String {
        match self.pid {
            Some(pid) => format!("Process started with PID {pid}"),
            None => "Process is being started".to_owned(),
        }
    }

    pub(super) const fn pid(&self) -> Option<u32> {
        self.pid
    }

    pub(super) async fn next(&mut self) -> Change {
        loop {
            match self.notices.recv().await {
                Ok(Notice::Event(Event::Exited { name, exit, restart_in_ms })) if name == self.id => {
                    let how = format!("Process ended with {}", exit.status);
                    return Change::Exited { how, restarts_itself: restart_in_ms.is_some() };
                }
                Ok(Notice::Event(Event::StartFailed { name, error, retry_in_ms })) if name == self.id => {
                    return Change::Exited { how: error, restarts_itself: retry_in_ms.is_some() };
                }
                Ok(Notice::Connected) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    if let Some(change) = self.look().await {
                        return change;
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// After events were missed: is it still the process that we know?
    async fn look(&self) -> Option<Change> {
        let status = self.client.status(&self.id).await.ok()?;
        (status.pid != self.pid).then(|| Change::Exited {
            how: "Process was replaced".to_owned(),
            restarts_itself: is_up(&status),
        })
    }
}
