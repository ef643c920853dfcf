//! Launches machines from the host: container machines (namespaces on this kernel) and QEMU machines. Also what
//! machines join: the manager, and emulated machines by the thousand.
//!
//! Used by `cargo xtask up`, `down` and `e2e`, and by end-to-end tests. Every machine has a *launcher*: a small process
//! of its own, a second role of the calling program (or of `corten-launcher`), that holds the machine, starts it again
//! when it reboots and takes everything away when it ends.
//!
//! Invariants:
//! - Nothing outlives its owner unless it was detached: the launcher holds the reading end of a pipe to the owner and
//!   ends the machine when the owner is gone, however it went.
//! - A machine changes nothing on the host: own namespaces, own control groups, own network, no device of the host, no
//!   global kernel parameter.
//! - Waiting is for conditions with a deadline, and a missed deadline prints evidence.

#![allow(
    clippy::disallowed_methods,
    reason = "the harness runs on a developer's host, in real time, with real processes"
)]

pub mod cleanup;
pub mod container;
pub mod emulator;
pub mod fleet;
pub mod forward;
pub mod lab;
pub mod leftovers;
pub mod preflight;
pub mod process;
pub mod qemu;
pub mod registry;
pub mod status;
pub mod wait;

mod launcher;

use std::ffi::OsString;
use std::process::ExitCode;

pub use container::disk::LoopDisk;
pub use container::{Bind, ContainerMachine, ContainerSpec};
pub use emulator::{Emulator, EmulatorSpec};
pub use fleet::{Fleet, FleetPorts, FleetSpec, TlsPair};
pub use forward::Forward;
pub use lab::{Lab, LabSpec};
pub use launcher::Lifetime;
pub use qemu::{Firmware, QemuMachine, QemuSpec};
pub use registry::Registry;
pub use status::{Phase, Status};
pub use wait::wait_for;

/// First argument by which a program is started in one of the harness's roles.
const ROLE_ARGUMENT: &str = "__corten-harness";

/// Runs the harness role that the arguments name, if they name one. The first thing in `main` of every program that
/// starts machines, before it makes threads:
///
/// ```no_run
/// # use std::process::ExitCode;
/// fn main() -> ExitCode {
///     if let Some(code) = corten_harness::dispatch(std::env::args_os()) {
///         return code;
///     }
///     // The program's own work.
///     ExitCode::SUCCESS
/// }
/// ```
pub fn dispatch(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()?.to_str()? != ROLE_ARGUMENT {
        return None;
    }
    let role = arguments.next()?;
    let rest: Vec<OsString> = arguments.collect();
    let result = match role.to_str()? {
        "container" => container::launcher_main(&rest),
        "qemu" => qemu::launcher_main(&rest),
        "forward" => forward::forward_main(&rest),
        "enter" => lab::enter_main(&rest),
        "fleet" => fleet::launcher_main(&rest),
        "bound" => launcher::bound_main(&rest),
        "pinned" => launcher::pinned_main(&rest),
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}
