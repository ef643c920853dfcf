//! What may be asked of a machine, and what becomes of it.

use tonic::{Code, Status};

use super::{Life, Stage};
use crate::profile::Profile;

/// How a configuration is to take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By a reboot.
    Reboot,
    /// As the machine sees fit.
    Auto,
    /// At once.
    NoReboot,
    /// With the next boot.
    Staged,
    /// For a while.
    Try,
}

/// What a reset wipes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wipe {
    /// The whole system disk, system and META included.
    pub system_disk: bool,
    /// STATE: the configuration.
    pub state: bool,
    /// EPHEMERAL: the data of etcd.
    pub ephemeral: bool,
    /// META: the unique token and what else is written there.
    pub meta: bool,
}

impl Wipe {
    /// Whether META is lost.
    #[must_use]
    pub const fn takes_meta(self) -> bool {
        self.system_disk || self.meta
    }

    /// Whether the data of etcd are lost.
    #[must_use]
    pub const fn takes_etcd(self) -> bool {
        self.system_disk || self.ephemeral
    }
}

/// What a reset does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// A control plane leaves etcd first.
    pub graceful: bool,
    /// The machine comes up again.
    pub reboot: bool,
    /// What is wiped.
    pub wipe: Wipe,
}

/// Something that is asked of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Take a configuration, which is valid.
    Apply {
        /// It has a `v1alpha1` document.
        complete: bool,
        /// It says where to install.
        installs: bool,
        /// How it is to take effect.
        mode: Mode,
    },
    /// Reboot.
    Reboot,
    /// Go down.
    Shutdown,
    /// Wipe.
    Reset(Reset),
    /// Write another system to the disk and reboot.
    Upgrade,
    /// Begin to write the first system to the disk.
    BeginInstall,
    /// Begin to write another system to the disk.
    BeginUpgrade,
    /// What was begun has been written.
    EndWrite,
    /// Take the power away.
    PowerOff,
    /// Give it power.
    PowerOn,
}

/// What is answered to a call that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The configuration takes effect in this way.
    Applied(Mode),
    /// It has begun, or is done.
    Started,
}

/// Why a call is refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is doing something that must end first.
    #[error("the machine is busy ({0:?}); try again when it is done")]
    Busy(Stage),
    /// There is no system on its disk.
    #[error("the machine is not installed; install it first")]
    NotInstalled,
    /// There is a system on its disk.
    #[error("the machine is installed already; upgrade it instead")]
    Installed,
    /// The first configuration does not say where to install.
    #[error("the machine is not installed, and the configuration has no machine.install; name a disk there")]
    NoInstall,
    /// A configured machine needs a whole configuration.
    #[error("the configuration has no v1alpha1 document; a configured machine needs one")]
    Incomplete,
    /// The mode makes no sense without a configuration.
    #[error("the mode is not available in maintenance; use auto")]
    Maintenance,
    /// This version does not know the mode any more.
    #[error("the mode REBOOT is gone; use auto and reboot the machine")]
    RebootMode,
    /// The emulator does not know the mode.
    #[error("the mode TRY is not emulated; use auto")]
    TryMode,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Busy(_) | Refusal::NotInstalled | Refusal::Maintenance => Code::FailedPrecondition,
            Refusal::Installed => Code::AlreadyExists,
            Refusal::NoInstall | Refusal::Incomplete => Code::InvalidArgument,
            Refusal::RebootMode | Refusal::TryMode => Code::Unimplemented,
        };
        Self::new(code, refusal.to_string())
    }
}

impl Life {
    /// Decides about a call; a refused one changes nothing.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn call(&mut self, call: Call, profile: Profile) -> Result<Answer, Refusal> {
        match call {
            Call::Apply { complete, installs, mode } => {
                return self.apply(complete, installs, mode, profile).map(Answer::Applied);
            }
            Call::Reboot => self.begin(Stage::Rebooting)?,
            Call::Shutdown => self.begin(Stage::ShuttingDown)?,
            Call::Reset(reset) => {
                self.need_installed()?;
                self.begin(Stage::Resetting)?;
                self.reset = reset;
            }
            Call::Upgrade => {
                self.need_installed()?;
                self.begin(Stage::Upgrading)?;
            }
            Call::BeginInstall if self.disk.installed => return Err(Refusal::Installed),
            Call::BeginInstall => self.begin_writing()?,
            Call::BeginUpgrade => {
                self.need_installed()?;
                self.begin_writing()?;
            }
            Call::EndWrite => {
                self.disk.installed |= self.writing;
                self.writing = false;
            }
            Call::PowerOff => (self.stage, self.writing) = (Stage::Off, false),
            Call::PowerOn if self.stage == Stage::Off => self.stage = Stage::Down,
            Call::PowerOn => {}
        }
        Ok(Answer::Started)
    }

    fn apply(
        &mut self,
        complete: bool,
        installs: bool,
        mode: Mode,
        profile: Profile,
    ) -> Result<Mode, Refusal> {
        match self.stage {
            Stage::Maintenance => self.apply_first(complete, installs, mode, profile),
            Stage::Booting | Stage::Running if self.configured => {
                if !complete {
                    return Err(Refusal::Incomplete);
                }
                match mode {
                    Mode::Auto | Mode::NoReboot => Ok(Mode::NoReboot),
                    Mode::Staged => Ok(Mode::Staged),
                    Mode::Try => Err(Refusal::TryMode),
                    Mode::Reboot if profile.applies_with_reboot() => {
                        self.begin(Stage::Rebooting)?;
                        Ok(Mode::Reboot)
                    }
                    Mode::Reboot => Err(Refusal::RebootMode),
                }
            }
            stage => Err(Refusal::Busy(stage)),
        }
    }

    /// In maintenance the mode only says what makes no sense; what happens follows from the disk.
    fn apply_first(
        &mut self,
        complete: bool,
        installs: bool,
        mode: Mode,
        profile: Profile,
    ) -> Result<Mode, Refusal> {
        if matches!(mode, Mode::Staged | Mode::Try) {
            return Err(Refusal::Maintenance);
        }
        if self.writing {
            return Err(Refusal::Busy(Stage::Installing));
        }
        if !complete {
            return Ok(Mode::NoReboot);
        }
        let answer = profile.first_apply();
        self.stage = match (self.disk.installed, answer) {
            (true, Mode::Reboot) => Stage::Rebooting,
            (true, _) => Stage::Booting,
            (false, _) if installs => Stage::Installing,
            (false, _) => return Err(Refusal::NoInstall),
        };
        self.configured = true;
        self.disk.configured = self.disk.installed;
        Ok(answer)
    }

    /// Begins a stage that leads down, from one that does not.
    fn begin(&mut self, stage: Stage) -> Result<(), Refusal> {
        let may_begin = matches!(self.stage, Stage::Booting | Stage::Maintenance | Stage::Running);
        if !may_begin {
            return Err(Refusal::Busy(self.stage));
        }
        if self.writing {
            return Err(Refusal::Busy(Stage::Upgrading));
        }
        self.stage = stage;
        Ok(())
    }

    fn begin_writing(&mut self) -> Result<(), Refusal> {
        let may_begin = matches!(self.stage, Stage::Booting | Stage::Maintenance | Stage::Running);
        if !may_begin || self.writing {
            return Err(Refusal::Busy(self.stage));
        }
        self.writing = true;
        Ok(())
    }

    const fn need_installed(&self) -> Result<(), Refusal> {
        if self.disk.installed { Ok(()) } else { Err(Refusal::NotInstalled) }
    }
}
