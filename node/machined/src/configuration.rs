//! The machine configuration: where it comes from, how a new one is accepted, where it is kept.
//!
//!     STATE, kernel arguments, platform, API ──▶ check ──▶ generation on disk ──▶ MachineConfig
//!
//! Bytes are kept exactly as they were given. A configuration that fails any check changes nothing.
//!
//! A machine leaves maintenance with a complete configuration, one with a `v1alpha1` document. Before that the other
//! documents are accepted too, such as those about its manager: they take effect at once, and are kept where STATE is
//! there already. No disk is touched for them.

pub mod generations;
mod reply;
pub mod sources;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use corten_api::machine::apply_configuration_request::Mode;
use corten_api::machine::{ApplyConfiguration, ApplyConfigurationRequest};
use corten_base::{Platform, Task, blocking, spawn};
use corten_config::{Config, Problems, Target, write};
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

    /// Activates the configuration on STATE; tells whether it is complete.
    ///
    /// # Errors
    /// When STATE cannot be read or holds a configuration that this version does not understand.
    pub fn load(&self) -> anyhow::Result<bool> {
        let Some(bytes) = self.0.generations.current()? else { return Ok(false) };
        let config = Config::parse(&bytes)?;
        self.activate(&config)?;
        Ok(config.is_complete())
    }

    /// Takes a configuration that was found on the way up, as if an administrator had applied it; tells whether the
    /// machine has a complete one now. Documents that are in effect already stay beside it.
    ///
    /// # Errors
    /// When it is not valid or cannot be kept.
    pub async fn adopt(&self, bytes: &[u8]) -> anyhow::Result<bool> {
        let _busy = self.0.busy.lock().await;
        let found = Config::check(bytes, self.target())?;
        let config = match self.active() {
            // A machined before this one was on its way to keep it.
            Some(active) if active.is_complete() => active,
            active => beside(active.as_ref(), found, self.target())?,
        };
        self.activate(&config)?;
        self.keep(&config).await?;
        Ok(config.is_complete())
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
        let is_configured = before.as_ref().is_some_and(Config::is_complete);
        let mode = effective_mode(request.mode(), is_configured, self.has_state())?;
        let config = Config::check(&request.data, self.target())
            .map_err(|problems| Status::invalid_argument(problems.to_string()))?;
        acceptable(&config, is_configured)?;
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
                // STATE is made for the first complete one that is in effect.
                let first = !before.as_ref().is_some_and(Config::is_complete);
                if first {
                    self.activate(config)?;
                }
                if let Err(error) = self.keep(config).await {
                    if first {
                        self.restore(before.as_ref())?;
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

    /// Whether a configuration is in effect with which the machine leaves maintenance.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.active().is_some_and(|config| config.is_complete())
    }

    fn activate(&self, config: &Config) -> anyhow::Result<()> {
        self.put(MachineConfig::ACTIVE, config)
    }

    /// Puts back what was in effect.
    fn restore(&self, before: Option<&Config>) -> anyhow::Result<()> {
        match before {
            Some(before) => self.activate(before),
            None => Ok(self.0.state.remove::<MachineConfig>(OWNER, MachineConfig::ACTIVE)?),
        }
    }

    fn has_state(&self) -> bool {
        self.0.state.get::<VolumeMountStatus>(VolumeStatus::STATE).is_some()
    }

    fn put(&self, id: &str, config: &Config) -> anyhow::Result<()> {
        let spec = MachineConfig { yaml: config.text().as_bytes().to_vec() };
        self.0.state.put(OWNER, id, spec)?;
        Ok(())
    }

    /// Keeps what is in effect over a restart: for a complete configuration STATE is made, for others it is not.
    async fn keep(&self, config: &Config) -> anyhow::Result<()> {
        if config.is_complete() || self.has_state() {
            return self.persist(config).await;
        }
        tracing::info!("the machine has no STATE yet; what was applied holds until it restarts");
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
            match keeper.restore(before.as_ref()) {
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

/// What was found, beside those documents in effect that it has none of itself.
fn beside(active: Option<&Config>, found: Config, target: Target) -> Result<Config, Problems> {
    let others = active.into_iter().flat_map(Config::documents);
    let others = others.filter(|document| found.document(&document.id).is_none());
    let mut nodes: Vec<_> = others.map(|document| document.node.clone()).collect();
    if nodes.is_empty() {
        return Ok(found);
    }
    nodes.extend(found.documents().iter().map(|document| document.node.clone()));
    Config::check(write::documents(&nodes).as_bytes(), target)
}

/// Refuses what would leave the machine without what it has.
fn acceptable(config: &Config, is_configured: bool) -> Result<(), Status> {
    if config.documents().is_empty() {
        return Err(Status::invalid_argument("the configuration is empty"));
    }
    if is_configured && !config.is_complete() {
        return Err(Status::invalid_argument(
            "the configuration has no v1alpha1 document (version, machine, cluster); a machine needs one to run",
        ));
    }
    Ok(())
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

    const LINK: &str = "apiVersion: v1alpha1\nkind: SideroLinkConfig\napiUrl: https://h:1?jointoken=t\n";
    const SINK: &str = "apiVersion: v1alpha1\nkind: EventSinkConfig\nendpoint: h:1\n";

    fn blank(folder: &tempfile::TempDir) -> Configuration {
        let state = State::new(corten_resources::registry());
        Configuration::new(state, Generations::below(folder.path()), Platform::Container)
    }

    /// As the machine makes it for whoever asks.
    fn mount_state(keeper: &Configuration) {
        let mounted = VolumeMountStatus::default();
        keeper.0.state.put("", VolumeStatus::STATE, mounted).expect("mounted");
    }

    fn request(mode: Mode, text: &str) -> ApplyConfigurationRequest {
        let data = text.as_bytes().to_vec();
        ApplyConfigurationRequest {
            mode: mode.into(),
            data: data.into(),
            ..ApplyConfigurationRequest::default()
        }
    }

    fn active(keeper: &Configuration) -> String {
        keeper.active().map(|config| config.text().to_owned()).unwrap_or_default()
    }

    #[tokio::test]
    async fn documents_about_a_manager_are_in_effect_at_once_and_the_machine_stays_in_maintenance() {
        let folder = tempfile::tempdir().expect("a folder");
        let keeper = blank(&folder);
        let applied = keeper.apply(request(Mode::Auto, LINK)).await.expect("applied");
        assert_eq!((applied.mode(), active(&keeper).as_str()), (Mode::NoReboot, LINK));
        assert!(!keeper.is_complete());
        assert_eq!(keeper.0.generations.current().expect("none"), None, "no disk is touched");
        mount_state(&keeper);
        keeper.apply(request(Mode::Auto, SINK)).await.expect("applied");
        assert_eq!(active(&keeper), SINK, "the new one takes the place of the old one");
        let another = Configuration::new(
            State::new(corten_resources::registry()),
            keeper.0.generations.clone(),
            Platform::Container,
        );
        assert!(!another.load().expect("kept"), "it is not complete");
        assert_eq!(active(&another), SINK);
        let empty = keeper.apply(request(Mode::Auto, "# nothing\n")).await.expect_err("refused");
        assert_eq!((empty.code(), active(&keeper).as_str()), (Code::InvalidArgument, SINK));
    }

    #[test]
    fn a_configured_machine_keeps_a_v1alpha1_document() {
        let partial = Config::parse(LINK.as_bytes()).expect("valid");
        assert!(acceptable(&partial, false).is_ok());
        assert_eq!(acceptable(&partial, true).map_err(|status| status.code()), Err(Code::InvalidArgument));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_found_joins_what_is_in_effect() {
        let folder = tempfile::tempdir().expect("a folder");
        let keeper = blank(&folder);
        assert!(!keeper.adopt(LINK.as_bytes()).await.expect("adopted"));
        assert_eq!(active(&keeper), LINK, "bytes as given");
        for _ in 0..2 {
            assert!(!keeper.adopt(SINK.as_bytes()).await.expect("adopted"));
            let kinds: Vec<String> = keeper
                .active()
                .expect("in effect")
                .documents()
                .iter()
                .map(|document| document.id.kind.clone())
                .collect();
            assert_eq!(kinds, ["SideroLinkConfig", "EventSinkConfig"]);
        }
        assert!(keeper.adopt(b"kind: nonsense\n").await.is_err() && !keeper.is_complete());
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
