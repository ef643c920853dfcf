//! The end of the machine: everything is asked to end, then killed, written back, unmounted, and the power goes.

use std::path::Path;
use std::time::Duration;

use corten_supervisor::{PowerAction, exit_code};
use corten_sys::mount::{MountFlags, Mounts, Unmount};
use corten_sys::power::{self, Power, PowerCommand};
use corten_sys::process::{next_exited, reap};
use corten_sys::signal::{self, number};
use corten_sys::{Kernel, clock, procfs};

use crate::Place;
use crate::log::{Log, Severity};

/// Services were ended in order before by machined; what is left gets this long.
const TERMINATE_MAX: Duration = Duration::from_secs(10);
/// A process that does not die of SIGKILL hangs in the kernel and is not waited for any longer.
const KILL_MAX: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);
/// Mounts stacked on each other need several rounds.
const UNMOUNT_ROUNDS: usize = 8;

/// Ends the machine; comes back with what prevented it.
pub fn run(place: Place, action: PowerAction) -> String {
    let mut log = Log::open(place);
    log.info(&format!("ending the machine: {action:?}"));
    for (signal, patience) in [(number::TERMINATE, TERMINATE_MAX), (number::KILL, KILL_MAX)] {
        // No process left to signal is the wanted state.
        let _ = signal::send_to_all(signal);
        if signal == number::TERMINATE {
            // A stopped process would not notice.
            let _ = signal::send_to_all(number::CONTINUE);
        }
        if wait_until_alone(patience) {
            break;
        }
    }
    power::sync();
    if place == Place::Container {
        std::process::exit(match action {
            PowerAction::Reboot => exit_code::REBOOT,
            PowerAction::PowerOff => exit_code::POWER_OFF,
            PowerAction::Halt => exit_code::HALT,
        });
    }
    unmount_all(&mut log);
    power::sync();
    let command = match action {
        PowerAction::Reboot => PowerCommand::Restart,
        PowerAction::PowerOff => PowerCommand::PowerOff,
        PowerAction::Halt => PowerCommand::Halt,
    };
    match Kernel.end(command) {
        Ok(()) => "the kernel did not end the machine".to_owned(),
        Err(error) => crate::log::chain(&error),
    }
}

/// Reaps until no other process is left, or patience is at its end.
fn wait_until_alone(patience: Duration) -> bool {
    let deadline = clock::monotonic().saturating_add(patience);
    loop {
        while let Ok(Some(exited)) = next_exited() {
            // Nothing can be done about a child that cannot be reaped; the next round sees it again.
            let _ = reap(exited.pid);
        }
        if is_alone() {
            return true;
        }
        if clock::monotonic() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Kernel threads have no memory of their own and zombies none any more.
fn is_alone() -> bool {
    let ids = procfs::process_ids().unwrap_or_default();
    let others = ids.into_iter().filter(|pid| *pid != 1);
    !others.filter_map(|pid| procfs::process_stat(pid).ok()).any(|stat| stat.virtual_bytes > 0)
}

/// Unmounts what was mounted, latest first. What stays busy becomes read-only, so that its journal is closed.
fn unmount_all(log: &mut Log) {
    for _ in 0..UNMOUNT_ROUNDS {
        if !unmount_round() {
            break;
        }
    }
    for mount in Kernel.table().unwrap_or_default().into_iter().filter(|mount| holds_data(&mount.fstype)) {
        if mount.super_options.split(',').any(|option| option == "ro") {
            continue;
        }
        if let Err(error) = Kernel.remount(&mount.target, MountFlags::RDONLY, "") {
            log.write(Severity::Warning, &crate::log::chain(&error));
        }
    }
}

/// One round over the table; whether anything could be unmounted.
fn unmount_round() -> bool {
    let mut has_progress = false;
    for mount in Kernel.table().unwrap_or_default().into_iter().rev() {
        let is_kept = [Path::new("/"), Path::new("/proc"), Path::new("/sys"), Path::new("/dev")]
            .contains(&&*mount.target);
        if !is_kept && Kernel.unmount(&mount.target, Unmount::Plain).is_ok() {
            has_progress = true;
        }
    }
    has_progress
}

fn holds_data(fstype: &str) -> bool {
    matches!(fstype, "xfs" | "ext4" | "btrfs" | "vfat" | "f2fs")
}
