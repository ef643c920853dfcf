//! Tasks: a container's running processes.

use std::time::{Duration, SystemTime};

use corten_base::{Backoff, Rng};

use crate::client::{MESSAGE, Namespace};
use crate::error::{Error, Kind};
use crate::wire::containerd::services::tasks::v1 as wire;
use crate::wire::containerd::v1::types as task;
use wire::tasks_client::TasksClient;

/// Limit for creating and starting: the shim starts and mounts in it.
const START: Duration = Duration::from_secs(120);

/// Where output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nowhere.
    Null,
    /// Both streams appended to one file, which the shim creates (mode 0644) when it is absent.
    File(String),
}

impl Output {
    fn uri(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::File(path) => format!("file://{path}"),
        }
    }
}

/// Named pipes that somebody else serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipes {
    /// What the first process reads.
    pub stdin: String,
    /// What it writes.
    pub stdout: String,
    /// What it writes as errors; a terminal has none of its own.
    pub stderr: String,
    /// It has a terminal.
    pub terminal: bool,
}

/// State of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Ended; its exit status is known until it is deleted.
    Stopped,
    /// Frozen.
    Paused,
    /// containerd does not know.
    Unknown,
}

impl TaskState {
    /// Whether it has processes.
    #[must_use]
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// The word that container listings use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
            Self::Paused => "PAUSED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A task as the daemon reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Container that it belongs to.
    pub id: String,
    /// Process id on the host.
    pub pid: u32,
    /// State.
    pub state: TaskState,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status; 128 plus the signal when killed by one.
    pub status: u32,
    /// When.
    pub at: Option<SystemTime>,
}

impl Namespace {
    fn tasks(&self) -> TasksClient<tonic::transport::Channel> {
        TasksClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE)
    }

    /// Makes the task of a container and starts it; returns its process id.
    ///
    /// # Errors
    /// When the container is absent, a task exists, or it cannot be started. Nothing is left behind then.
    pub async fn start_task(&self, id: &str, output: &Output) -> Result<u32, Error> {
        let uri = output.uri();
        self.create_and_start(
            id,
            wire::CreateTaskRequest { stdout: uri.clone(), stderr: uri, ..Default::default() },
        )
        .await
    }

    /// As [`Namespace::start_task`], with pipes that are there already; a reader waits at the other end of each output.
    ///
    /// # Errors
    /// As [`Namespace::start_task`].
    pub async fn start_task_with(&self, id: &str, pipes: &Pipes) -> Result<u32, Error> {
        self.create_and_start(
            id,
            wire::CreateTaskRequest {
                stdin: pipes.stdin.clone(),
                stdout: pipes.stdout.clone(),
                stderr: if pipes.terminal { String::new() } else { pipes.stderr.clone() },
                terminal: pipes.terminal,
                ..Default::default()
            },
        )
        .await
    }

    async fn create_and_start(&self, id: &str, create: wire::CreateTaskRequest) -> Result<u32, Error> {
        let rootfs = self.root_mounts(id).await?;
        let mut create = self.open(wire::CreateTaskRequest { container_id: id.to_owned(), rootfs, ..create });
        create.set_timeout(START);
        self.tasks().create(create).await.map_err(Error::call("create the task of", id))?;
        let mut start = self.open(wire::StartRequest { container_id: id.to_owned(), exec_id: String::new() });
        start.set_timeout(START);
        match self.tasks().start(start).await.map_err(Error::call("start the task of", id)) {
            Ok(answer) => Ok(answer.into_inner().pid),
            Err(error) => {
                // Why the start failed is what matters to the caller.
                let _ = self.delete_task(id).await;
                Err(error)
            }
        }
    }

    /// All tasks.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn list_tasks(&self) -> Result<Vec<Task>, Error> {
        let request = self.request(wire::ListTasksRequest::default());
        let answer = self.tasks().list(request).await.map_err(Error::call("list tasks of", self.name()))?;
        Ok(answer.into_inner().tasks.into_iter().map(Task::from).collect())
    }

    /// The task of a container, or `None` when there is none.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn task(&self, id: &str) -> Result<Option<Task>, Error> {
        let request = self.request(wire::GetRequest { container_id: id.to_owned(), exec_id: String::new() });
        match self.tasks().get(request).await.map_err(Error::call("get the task of", id)) {
            Ok(answer) => {
                Ok(answer.into_inner().process.map(Task::from).map(|it| Task { id: id.to_owned(), ..it }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a signal to the first process, or to all. A process that has ended is as good as signalled.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn signal_task(&self, id: &str, signal: u32, all: bool) -> Result<(), Error> {
        let request = wire::KillRequest { container_id: id.to_owned(), exec_id: String::new(), signal, all };
        let result = self.tasks().kill(self.request(request)).await.map(drop);
        match result.map_err(Error::call("signal the task of", id)) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Tells the terminal of a task its size.
    ///
    /// # Errors
    /// When it has none, or containerd fails or is away.
    pub async fn resize_task(&self, id: &str, width: u32, height: u32) -> Result<(), Error> {
        let request =
            wire::ResizePtyRequest { container_id: id.to_owned(), exec_id: String::new(), width, height };
        let result = self.tasks().resize_pty(self.request(request)).await.map(drop);
        result.map_err(Error::call("resize the terminal of", id))
    }

    /// Tells the first process of a task that its input has ended.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn close_input(&self, id: &str) -> Result<(), Error> {
        let request =
            wire::CloseIoRequest { container_id: id.to_owned(), exec_id: String::new(), stdin: true };
        let result = self.tasks().close_io(self.request(request)).await.map(drop);
        match result.map_err(Error::call("close the input of", id)) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    /// Removes an ended task and tells how it ended; `None` when there was none.
    ///
    /// # Errors
    /// When it still runs, or containerd fails or is away.
    pub async fn delete_task(&self, id: &str) -> Result<Option<Exit>, Error> {
        let request = self.request(wire::DeleteTaskRequest { container_id: id.to_owned() });
        match self.tasks().delete(request).await.map_err(Error::call("delete the task of", id)) {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(Some(Exit { status: answer.exit_status, at: time(answer.exited_at) }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the task of a container has ended; `None` when it is gone without a trace.
    ///
    /// A lost connection or a restarting daemon only makes this wait longer.
    ///
    /// # Errors
    /// When containerd answers with a failure that is not about its own absence.
    pub async fn watch_exit(&self, id: &str) -> Result<Option<Exit>, Error> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let rng = Rng::kernel();
        loop {
            match self.wait_once(id).await {
                Err(error) if error.kind() == Kind::Unavailable => {
                    tracing::debug!(id, error = %corten_base::chain(&error), "the task's state is unknown for now");
                    tokio::time::sleep(backoff.next_delay(&rng)).await;
                }
                other => return other,
            }
        }
    }

    async fn wait_once(&self, id: &str) -> Result<Option<Exit>, Error> {
        // A task that had ended before its daemon was restarted is known by its state only.
        match self.task(id).await? {
            None => return Ok(None),
            Some(Task { state: TaskState::Stopped, exit, .. }) => return Ok(exit),
            Some(_) => {}
        }
        let request = self.open(wire::WaitRequest { container_id: id.to_owned(), exec_id: String::new() });
        match self.tasks().wait(request).await.map_err(Error::call("wait for the task of", id)) {
            Ok(answer) => {
                let answer = answer.into_inner();
                Ok(Some(Exit { status: answer.exit_status, at: time(answer.exited_at) }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Ends a task: `signal`, after `grace` SIGKILL to all its processes, then removes it.
    ///
    /// Returns how it ended; `None` when there was none.
    ///
    /// # Errors
    /// When containerd fails, or the processes survive SIGKILL for as long as `grace`, at least ten seconds.
    pub async fn stop_task(&self, id: &str, signal: u32, grace: Duration) -> Result<Option<Exit>, Error> {
        const SIGKILL: u32 = 9;
        self.signal_task(id, signal, false).await?;
        if tokio::time::timeout(grace, self.watch_exit(id)).await.is_err() {
            self.signal_task(id, SIGKILL, true).await?;
            let limit = grace.max(Duration::from_secs(10));
            if tokio::time::timeout(limit, self.watch_exit(id)).await.is_err() {
                return Err(Error::Deadline { operation: "kill the task of", object: id.to_owned(), limit });
            }
        }
        self.delete_task(id).await
    }

    /// Ends and removes a container whatever its state; returns how its task ended.
    ///
    /// # Errors
    /// As [`Namespace::stop_task`] and [`Namespace::remove_container`].
    pub async fn destroy_container(
        &self,
        id: &str,
        signal: u32,
        grace: Duration,
    ) -> Result<Option<Exit>, Error> {
        let exit = self.stop_task(id, signal, grace).await?;
        self.remove_container(id).await?;
        Ok(exit)
    }
}

pub(crate) fn time(at: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    at.filter(|it| it.seconds > 0).and_then(|it| SystemTime::try_from(it).ok())
}

impl From<task::Process> for Task {
    fn from(process: task::Process) -> Self {
        let state = match process.status() {
            task::Status::Created => TaskState::Created,
            task::Status::Running => TaskState::Running,
            task::Status::Stopped => TaskState::Stopped,
            task::Status::Paused | task::Status::Pausing => TaskState::Paused,
            task::Status::Unknown => TaskState::Unknown,
        };
        let exit = (state == TaskState::Stopped)
            .then(|| Exit { status: process.exit_status, at: time(process.exited_at) });
        // Listings carry the container in `id`, single answers in `container_id`.
        let id = if process.container_id.is_empty() { process.id } else { process.container_id };
        Self { id, pid: process.pid, state, exit }
    }
}
