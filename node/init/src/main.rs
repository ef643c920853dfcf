//! `init`: process 1 of a Corten machine.
//!
//! It does what must never fail and nothing else: mounts what the kernel offers, keeps the process table, reaps, holds
//! log files and descriptors, and ends the machine. It is synchronous, has one thread, no TLS and no runtime, and
//! decides nothing: machined, which it starts and restarts, tells it over a socket what should run.
//!
//! One program has two roles, told apart by the name it is called by: as `/init` it is the initramfs and finds the root
//! image; as `/sbin/init` it is process 1 of the machine, on a kernel of its own or as process 1 of a container
//! machine's PID namespace.
//!
//! Invariants:
//! - It never returns and never panics: what cannot go on is written to the kernel log and the console, filesystems
//!   are synced, and the machine restarts on purpose.
//! - Losing machined changes nothing for any other process.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod early;
mod groups;
mod initramfs;
mod launch;
mod log;
mod mounts;
mod outbox;
mod server;
mod shutdown;
mod supervisor;
mod table;

use std::process::ExitCode;

use corten_supervisor::exit_code;
use corten_sys::Kernel;
use corten_sys::power::{Power, PowerCommand};

use crate::log::{Log, Severity};

/// Whose kernel this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Hardware or a virtual machine: modules, devices and the power are ours.
    OwnKernel,
    /// Namespaces on a host: the launcher mounted what we may have, and ending means exiting.
    Container,
}

impl Place {
    /// The launcher says so in our environment, or a container runtime does by its customary variable.
    fn detect() -> Self {
        let is_container = std::env::var("CORTEN_PLATFORM").is_ok_and(|platform| platform == "container")
            || std::env::var_os("container").is_some();
        if is_container { Self::Container } else { Self::OwnKernel }
    }
}

fn main() -> ExitCode {
    if std::process::id() != 1 {
        Log::to_stderr().write(Severity::Error, "init is process 1 of a machine and runs as nothing else");
        return ExitCode::from(2);
    }
    let place = Place::detect();
    std::panic::set_hook(Box::new(move |panic| give_up(place, &format!("init panicked: {panic}"))));
    let name = std::env::args().next().unwrap_or_default();
    let failure = if name == "/init" {
        initramfs::run()
    } else {
        match supervisor::run(place) {
            Ok(action) => shutdown::run(place, action),
            Err(failure) => failure,
        }
    };
    give_up(place, &failure)
}

/// Ends the machine because init cannot go on: says why, keeps what is on disk whole, and restarts.
fn give_up(place: Place, reason: &str) -> ! {
    let mut log = Log::open(place);
    log.write(Severity::Emergency, reason);
    corten_sys::power::sync();
    if place == Place::OwnKernel {
        // Long enough for a person at the console to read, short enough for a remote machine to come back.
        std::thread::sleep(std::time::Duration::from_secs(10));
        if let Err(error) = Kernel.end(PowerCommand::Restart) {
            log.failure("cannot restart", &error);
        }
    }
    std::process::exit(exit_code::INIT_FAILED)
}
