//! The messages: requests, replies and events.

use serde::{Deserialize, Serialize};

use crate::ProcessSpec;

/// A request with the number its reply will carry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestFrame {
    /// Chosen by the client, unique per connection.
    pub id: u64,
    /// The request.
    pub request: Request,
}

/// What machined may ask of init.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// First packet of a connection.
    Hello {
        /// [`crate::PROTOCOL_VERSION`] of the client.
        version: u32,
    },
    /// Runs a process. A name that is finished is replaced, one that runs is refused.
    Start {
        /// Name of the process.
        name: String,
        /// What to run.
        spec: Box<ProcessSpec>,
    },
    /// Asks the process to end and kills it after the grace time. The reply comes when it is gone; it is not restarted.
    Stop {
        /// Name of the process.
        name: String,
        /// Time between the stop signal and SIGKILL.
        grace_ms: u64,
    },
    /// Sends a signal to the main process only.
    Signal {
        /// Name of the process.
        name: String,
        /// Signal number.
        signal: i32,
    },
    /// Status of one process.
    Status {
        /// Name of the process.
        name: String,
    },
    /// Status of all processes, in pages ordered by name.
    List {
        /// Continue after this name.
        after: Option<String>,
    },
    /// Forgets a finished process.
    Remove {
        /// Name of the process.
        name: String,
    },
    /// Starts sending events on this connection.
    Subscribe,
    /// Keeps the attached descriptor under a name, replacing an older one.
    StoreFd {
        /// Name of the descriptor.
        name: String,
    },
    /// Gives a duplicate of a stored descriptor; init keeps its own.
    TakeFd {
        /// Name of the descriptor.
        name: String,
    },
    /// Closes init's copy of a stored descriptor.
    DropFd {
        /// Name of the descriptor.
        name: String,
    },
    /// Ends everything and reboots, powers off or halts. The reply comes before it begins.
    Power {
        /// What to do.
        action: PowerAction,
    },
    /// Answers [`Event::PowerRequested`]: this client runs the orderly sequence and will send [`Request::Power`] itself.
    /// Without it init goes ahead after two seconds.
    AcceptPower,
}

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerAction {
    /// Start again through the firmware.
    Reboot,
    /// Switch off.
    PowerOff,
    /// Stop the CPUs, leave the power on.
    Halt,
}

/// What init sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// Answer to the request of that number.
    Reply {
        /// Number of the request.
        id: u64,
        /// The answer.
        result: Result<Reply, Refusal>,
    },
    /// Something happened.
    Event {
        /// The event.
        event: Event,
    },
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Answer to `Hello`.
    Hello {
        /// init's version.
        version: u32,
    },
    /// Done; nothing to tell. `TakeFd` has the descriptor attached.
    Done,
    /// Status of the process asked about.
    Process {
        /// The status.
        status: Box<ProcessStatus>,
    },
    /// A page of statuses.
    Processes {
        /// The statuses.
        processes: Vec<ProcessStatus>,
        /// Whether there are names after the last one.
        more: bool,
    },
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("init refused: {message}")]
pub struct Refusal {
    /// For programs.
    pub kind: RefusalKind,
    /// For people.
    pub message: String,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The packet or its content makes no sense, or `Hello` was missing.
    Invalid,
    /// Other protocol version.
    Version,
    /// No process or descriptor of that name.
    NotFound,
    /// The process runs already.
    AlreadyRunning,
    /// The process is not running.
    NotRunning,
    /// A bound would be crossed.
    Limit,
    /// The kernel said no.
    Failed,
}

/// What happens to processes and the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A process was started, by request or again.
    Started {
        /// Name of the process.
        name: String,
        /// Its process id.
        pid: u32,
        /// How often it has been restarted.
        restarts: u64,
    },
    /// A process could not be started.
    StartFailed {
        /// Name of the process.
        name: String,
        /// Why.
        error: String,
        /// When it is tried again.
        retry_in_ms: Option<u64>,
    },
    /// A process ended.
    Exited {
        /// Name of the process.
        name: String,
        /// How.
        exit: Exit,
        /// When it is started again.
        restart_in_ms: Option<u64>,
    },
    /// The power button, ctrl-alt-del or the launcher asks the machine to end; see [`Request::AcceptPower`].
    PowerRequested {
        /// What was asked.
        action: PowerAction,
    },
}

/// One run of a process, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its process id.
    pub pid: u32,
    /// Start, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// End, in milliseconds since the Unix epoch.
    pub exited_at_ms: u64,
    /// How it ended.
    pub status: ExitStatus,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// By exit with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl ExitStatus {
    /// Whether the process says it did what it should.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// Everything init knows about a process name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// The specification's revision.
    pub revision: String,
    /// Where it is in life.
    pub state: ProcessState,
    /// Its process id while it runs.
    pub pid: Option<u32>,
    /// Start of the current run, in milliseconds since the Unix epoch.
    pub started_at_ms: Option<u64>,
    /// How often it was restarted.
    pub restarts: u64,
    /// The last error of starting it.
    pub start_error: Option<String>,
    /// Ended runs, oldest first.
    pub history: Vec<Exit>,
}

/// Where a process is in life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// Runs.
    Running,
    /// Ended; starts again after a delay.
    Waiting,
    /// Was asked to end and has not yet.
    Stopping,
    /// Ended for good.
    Finished,
}
