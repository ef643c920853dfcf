//! The private protocol between `init` (PID 1, which owns the process table) and `machined` (which decides what
//! should run).
//!
//! One message is one `SOCK_SEQPACKET` packet holding JSON, with at most one descriptor attached by `SCM_RIGHTS`.
//! Everything is bounded: packet size, process count, stored descriptors, exit history. The first packet of a
//! connection is [`Request::Hello`] with the protocol version; both sides are on the same image, so versions differ
//! only when one of them was replaced in place, and then init refuses instead of guessing.
//!
//! Invariants:
//! - init never depends on its client: it keeps running, reaping and restarting while nobody is connected.
//! - A name identifies one process specification; what runs under it outlives the connection that started it.
//! - Descriptors stored by name outlive machined, so that a restarted machined gets its listeners back.

mod codec;
mod connection;
mod process;
mod protocol;

#[cfg(feature = "client")]
mod client;

pub use codec::{CodecError, decode_reply, decode_request, encode_frame, encode_request};
pub use connection::{Connection, ConnectionError, Listener, Received};
pub use process::{
    Capabilities, CgroupLimits, InheritedFd, InvalidSpec, Namespace, ProcessSpec, ResourceLimit, Restart,
    Sandbox, StdioSpec,
};
pub use protocol::{
    Event, Exit, ExitStatus, Frame, PowerAction, ProcessState, ProcessStatus, Refusal, RefusalKind, Reply,
    Request, RequestFrame,
};

#[cfg(feature = "client")]
pub use client::{Client, ClientError, Events, Notice};

/// Version of the protocol; raised whenever an old peer would misunderstand a new one.
pub const PROTOCOL_VERSION: u32 = 1;
/// Where init serves the protocol.
pub const CONTROL_SOCKET: &str = "/run/init/control.sock";
/// Largest packet in either direction.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;
/// Most process names init keeps at once, running or finished.
pub const PROCESSES_MAX: usize = 256;
/// Most descriptors init keeps by name.
pub const STORED_FDS_MAX: usize = 64;
/// Exits remembered per process name, oldest dropped first.
pub const EXIT_HISTORY_MAX: usize = 8;
/// Most entries in one [`Reply::Processes`] page.
pub const LIST_PAGE_MAX: usize = 32;
/// Longest name of a process or stored descriptor.
pub const NAME_BYTES_MAX: usize = 64;

/// Exit codes by which an init inside a container machine tells its launcher what the machine wanted, because
/// `reboot(2)` is not for a namespace to call.
pub mod exit_code {
    /// The machine powered itself off.
    pub const POWER_OFF: i32 = 0;
    /// The machine asked to be started again with the same directories.
    pub const REBOOT: i32 = 133;
    /// The machine halted.
    pub const HALT: i32 = 134;
    /// init itself failed; what happened is on the console.
    pub const INIT_FAILED: i32 = 101;
}
