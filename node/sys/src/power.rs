//! Ending the machine.

use rustix::system::{RebootCommand, reboot};

use crate::error::failed;
use crate::{Kernel, Result};

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCommand {
    /// Start again through the firmware.
    Restart,
    /// Switch off.
    PowerOff,
    /// Stop, leave the power on.
    Halt,
    /// Start the kernel that was loaded before.
    Kexec,
}

/// The machine's power.
pub trait Power: Send + Sync {
    /// Ends the machine at once, without writing anything back; returns only on failure.
    fn end(&self, command: PowerCommand) -> Result<()>;
    /// Whether ctrl-alt-del restarts at once or signals PID 1.
    fn set_ctrl_alt_del_signals_init(&self) -> Result<()>;
}

impl Power for Kernel {
    fn end(&self, command: PowerCommand) -> Result<()> {
        let command = match command {
            PowerCommand::Restart => RebootCommand::Restart,
            PowerCommand::PowerOff => RebootCommand::PowerOff,
            PowerCommand::Halt => RebootCommand::Halt,
            PowerCommand::Kexec => RebootCommand::Kexec,
        };
        reboot(command).map_err(failed("end", "the machine"))
    }

    fn set_ctrl_alt_del_signals_init(&self) -> Result<()> {
        reboot(RebootCommand::CadOff).map_err(failed("take over", "ctrl-alt-del"))
    }
}

/// Writes all filesystems back.
pub fn sync() {
    rustix::fs::sync();
}
