//! The machine configuration: where it comes from, how a new one is accepted, where it is kept.
//!
//!     STATE, kernel arguments, platform, API ──▶ check ──▶ generation on disk ──▶ MachineConfig
//!
//! Bytes are kept exactly as they were given. A configuration that fails any check changes nothing.

pub mod generations;
mod reply;
pub mod sources;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use corten_api::machine::apply_configuration_request::Mode;
use corten_api::machine::{ApplyConfiguration, ApplyConfigurationRequest};
use corten_base::{Platform, Task, blocking, spawn};
use corten_config::{Config, Target};
use corten_resource::State;
use corten_resources::block::{VolumeMountStatus, VolumeStatus};
use corten_resources::config::MachineConfig;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tonic::Status;

use self::generations::Generations;

const OWNER: &str = "configuration";
/// Time a tried configuration stays when the client does not say.
const TRY_TIMEOUT: Duration = Duration::from_secs(60);
/// Time STATE has to be made before the first configuration is refused.
const STATE_TIMEOUT: Duration = Duration::from_secs(180);
/// Time the disk has to take a configuration.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Keeper of the configuration.
#[derive(Clone)]
pub struct Configuration(Arc<Inner>);

struct Inner {
    state: State,
    generations: Generations,
    platform: Platform,
    /// One change at a time.
    busy: Arc<tokio::sync::Mutex<()>>,
    /// The change under way. It does not end with the client that asked for it: half of it would be in effect and not on disk.
    change: Mutex<Option<Task>>,
    /// Takes a tried configuration back.
    revert: Mutex<Option<Task>>,
}

impl Configuration {
    /// A keeper that has loaded nothing yet.
    #[must_use]
    pub fn new(state: State, generations: Generations, platform: Platform) -> Self {
        let busy = Arc::default();
        let (change, revert) = (Mutex::new(None), Mutex::new(None));
        Self(Arc::new(Inner { state, generations, platform, busy, change, revert }))
    }

    /// Activates the configuration on STATE; tells whether there was one.
    ///
    /// # Errors
    /// When STATE cannot be read or holds a configuration that this version does not understand.
    pub fn load(&self) -> anyhow::Result<bool> {
        let Some(bytes) = self.0.generations.current()? else { return Ok(false) };
        let config = Config::parse(&bytes)?;
        if config.is_complete() {
            self.activate(&config)?;
        }
        Ok(config.is_complete())
    }

    /// Takes a configuration that was found on the way up, as if an administrator had applied it.
    ///
    /// # Errors
    /// When it is not valid or cannot be kept.
    pub async fn adopt(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let _busy = self.0.busy.lock().await;
        let config = Config::check(bytes, self.target())?;
        self.activate(&config)?;
        self.persist(&config).await?;
        Ok(())
    }

    /// Answers `ApplyConfiguration`.
    ///
    /// # Errors
    /// `InvalidArgument` with every problem; `FailedPrecondition` while another change is under way, and for a mode that
    /// needs what the machine does not have yet.
    pub async fn apply(&self, request: ApplyConfigurationRequest) -> Result<ApplyConfiguration, Status> {
        let busy = || {
            Status::failed_precondition("another configuration is being applied; try again when it is done")
        };
        let guard = self.0.busy.clone().try_lock_owned().map_err(|_| busy())?;
        let before = self.active();
        let has_state = self.0.state.get::<VolumeMountStatus>(VolumeStatus::STATE).is_some();
        let mode = effective_mode(request.mode(), before.is_some(), has_state)?;
        let config = Config::check(&request.data, self.target())
            .map_err(|problems| Status::invalid_argument(problems.to_string()))?;
        if !config.is_complete() {
            return Err(Status::invalid_argument(
                "the configuration has no v1alpha1 document (version, machine, cluster); a machine needs one to run",
            ));
        }
        if request.dry_run {
            return Ok(reply::dry_run(mode, before.as_ref(), &config));
        }
        let (done, outcome) = oneshot::channel();
        let (keeper, wanted) = (self.clone(), config.clone());
        let task = spawn("apply configuration", async move {
            let _busy = guard;
            let result = keeper.carry_out(mode, &wanted, before, request.try_mode_timeout).await;
            // A client that went away learns from the machine what became of it.
            let _ = done.send(result);
        });
        *self.0.change.lock() = Some(task);
        let result = outcome.await.unwrap_or_else(|_| Err(anyhow::anyhow!("the change was broken off")));
        result.map_err(|error| {
            Status::internal(format!(
                "the configuration was not applied: {}",
                corten_base::chain(error.as_ref())
            ))
        })?;
        Ok(reply::applied(mode, &config))
    }

    async fn carry_out(
        &self,
        mode: Mode,
        config: &Config,
        before: Option<Config>,
        timeout: Option<prost_types::Duration>,
    ) -> anyhow::Result<()> {
        if mode != Mode::Try {
            self.0.revert.lock().take();
        }
        match mode {
            Mode::Staged => {
                self.persist(config).await?;
                self.put(MachineConfig::PERSISTENT, config)?;
            }
            Mode::Try => {
                self.activate(config)?;
                self.revert_later(before, timeout);
            }
            Mode::NoReboot | Mode::Auto | Mode::Reboot => {
                let first = before.is_none();
                if first {
                    self.activate(config)?;
                }
                if let Err(error) = self.persist(config).await {
                    if first {
                        self.0.state.remove::<MachineConfig>(OWNER, MachineConfig::ACTIVE)?;
                    }
                    return Err(error);
                }
                self.activate(config)?;
                self.0.state.remove::<MachineConfig>(OWNER, MachineConfig::PERSISTENT)?;
            }
        }
        Ok(())
    }

    /// The configuration in effect.
    #[must_use]
    pub fn active(&self) -> Option<Config> {
        let resource = self.0.state.get::<MachineConfig>(MachineConfig::ACTIVE)?;
        corten_config::load_cached(&resource.spec.yaml).ok()
    }

    fn activate(&self, config: &Config) -> anyhow::Result<()> {
        self.put(MachineConfig::ACTIVE, config)
    }

    fn put(&self, id: &str, config: &Config) -> anyhow::Result<()> {
        let spec = MachineConfig { yaml: config.text().as_bytes().to_vec() };
        self.0.state.put(OWNER, id, spec)?;
        Ok(())
    }

    /// Writes a generation; on the first configuration STATE is made first.
    async fn persist(&self, config: &Config) -> anyhow::Result<()> {
        let mounted =
            self.0.state.wait_for::<VolumeMountStatus>(VolumeStatus::STATE, |status| status.is_some());
        if tokio::time::timeout(STATE_TIMEOUT, mounted).await.is_err() {
            let why = self
                .0
                .state
                .get::<VolumeStatus>(VolumeStatus::STATE)
                .map(|volume| volume.spec.error_message.clone());
            anyhow::bail!(
                "the STATE volume is not available: {}",
                why.unwrap_or_else(|| "no system disk".to_owned())
            );
        }
        let (generations, bytes) = (self.0.generations.clone(), config.text().as_bytes().to_vec());
        blocking(COMMIT_TIMEOUT, move || generations.commit(&bytes)).await.context("STATE is too slow")??;
        Ok(())
    }

    fn revert_later(&self, before: Option<Config>, timeout: Option<prost_types::Duration>) {
        let delay =
            timeout.and_then(|timeout| Duration::try_from(timeout).ok()).filter(|delay| !delay.is_zero());
        let keeper = self.clone();
        let task = spawn("revert configuration", async move {
            tokio::time::sleep(delay.unwrap_or(TRY_TIMEOUT)).await;
            let reverted = match before {
                Some(before) => keeper.activate(&before),
                None => {
                    keeper.0.state.remove::<MachineConfig>(OWNER, MachineConfig::ACTIVE).map_err(Into::into)
                }
            };
            match reverted {
                Ok(()) => tracing::info!("the tried configuration was taken back"),
                Err(error) => {
                    tracing::error!("the tried configuration stays: {}", corten_base::chain(error.as_ref()))
                }
            }
        });
        *self.0.revert.lock() = Some(task);
    }

    const fn target_of(platform: Platform) -> Target {
        match platform {
            Platform::Container => Target::Container,
            Platform::Metal | Platform::NoCloud => Target::Installed,
        }
    }

    fn target(&self) -> Target {
        Self::target_of(self.0.platform)
    }
}

/// The mode that is carried out for the one that was asked for.
///
/// STATE is made for the first configuration that is in effect, so one that is not to take effect has no place before.
fn effective_mode(mode: Mode, configured: bool, has_state: bool) -> Result<Mode, Status> {
    match mode {
        Mode::Reboot if configured => Err(Status::unimplemented(
            "apply mode `reboot` was removed: apply with `auto` and reboot the machine afterwards",
        )),
        Mode::Staged if !configured && !has_state => Err(Status::failed_precondition(
            "a machine without configuration has no place to keep one for later; apply it with mode `auto`",
        )),
        Mode::Try if !configured => Err(Status::failed_precondition(
            "a machine without configuration has none to go back to; apply it with mode `auto`",
        )),
        Mode::Reboot | Mode::Auto => Ok(Mode::NoReboot),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn modes_are_what_the_machine_can_do() {
        let code = |mode, configured, has_state| {
            effective_mode(mode, configured, has_state).map_err(|status| status.code())
        };
        for has_state in [false, true] {
            assert_eq!(code(Mode::Auto, true, has_state), Ok(Mode::NoReboot));
            assert_eq!(code(Mode::Auto, false, has_state), Ok(Mode::NoReboot));
            assert_eq!(code(Mode::NoReboot, false, has_state), Ok(Mode::NoReboot));
            assert_eq!(code(Mode::Reboot, false, has_state), Ok(Mode::NoReboot));
            assert_eq!(code(Mode::Reboot, true, has_state), Err(Code::Unimplemented));
            assert_eq!(code(Mode::Try, true, has_state), Ok(Mode::Try));
            assert_eq!(code(Mode::Try, false, has_state), Err(Code::FailedPrecondition));
            assert_eq!(code(Mode::Staged, true, has_state), Ok(Mode::Staged));
        }
        assert_eq!(code(Mode::Staged, false, true), Ok(Mode::Staged));
        assert_eq!(code(Mode::Staged, false, false), Err(Code::FailedPrecondition));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_blank_machine_cannot_do_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = State::new(corten_resources::registry());
        let keeper = Configuration::new(state, Generations::below(folder.path()), Platform::Metal);
        let began = tokio::time::Instant::now();
        for mode in [Mode::Staged, Mode::Try] {
            let request =
                ApplyConfigurationRequest { mode: mode.into(), ..ApplyConfigurationRequest::default() };
            let refused = keeper.apply(request).await.expect_err("refused");
            assert_eq!(refused.code(), Code::FailedPrecondition);
            assert!(refused.message().contains("mode `auto`"), "{}", refused.message());
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(keeper.0.busy.try_lock().is_ok(), "the next change may come");
    }
}
