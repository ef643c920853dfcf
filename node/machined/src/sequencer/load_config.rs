//! META and the configuration: what a machine knows before it boots.
//!
//! ```text
//! STATE ──▶ sources of configurations ──▶ maintenance, until one is complete ──▶ boot
//! ```
//! Documents without `v1alpha1`, such as those about a manager, take effect where they are found; the search goes on.

use anyhow::{Context, bail};
use corten_api::machine::task_event;
use corten_controllers_block::meta;
use corten_resources::block::{VolumePhase, VolumeStatus};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::{
    AcquireConfigSpec, AcquireConfigStatus, MaintenanceServiceRequest, MetaKey, MetaLoaded,
};
use corten_resources::siderolink::UniqueMachineToken;

use super::publish_task;
use super::tasks::{Machine, OWNER, VOLUME_TIMEOUT};
use crate::configuration::sources;

/// META tag of a UUID that is not the firmware's.
const UUID_TAG: u8 = 0x0f;

impl Machine {
    /// Waits until META was read. A machine of which no disk has META goes on without, so that its manager sees it.
    pub(super) async fn reload_meta(&self) -> anyhow::Result<()> {
        let loaded =
            self.state.wait_for::<MetaLoaded>("meta-loaded", |meta| meta.is_some_and(|meta| meta.done));
        if tokio::time::timeout(VOLUME_TIMEOUT, loaded).await.is_err() {
            let volume = self.state.get::<VolumeStatus>(VolumeStatus::META);
            let is_missing = volume.is_some_and(|volume| volume.spec.phase == VolumePhase::Missing);
            anyhow::ensure!(is_missing, "META was not read from any disk");
            tracing::warn!("no disk has META; what is written to it is kept until the machine restarts");
        }
        self.name_machine().await
    }

    /// A machine of a host has no firmware that names it, so it gets a UUID once and keeps it in META.
    async fn name_machine(&self) -> anyhow::Result<()> {
        let has_name = self.state.get::<MetaKey>(UniqueMachineToken::UUID_META_KEY).is_some();
        if self.capabilities.power || has_name {
            return Ok(());
        }
        let uuid = self.rng.uuid();
        meta::write(&self.state, UUID_TAG, Some(uuid.into_bytes())).await.context("the machine got no UUID")
    }

    /// Finds the configuration, or waits in maintenance until somebody applies one.
    pub(super) async fn load_config(&self, actor: &str) -> anyhow::Result<()> {
        self.state.put(OWNER, AcquireConfigSpec::ID, AcquireConfigSpec {})?;
        self.acquire_config(actor).await?;
        self.state.put(OWNER, AcquireConfigSpec::ID, AcquireConfigStatus {})?;
        Ok(())
    }

    async fn acquire_config(&self, actor: &str) -> anyhow::Result<()> {
        if self.state_exists().await? {
            self.mount(VolumeStatus::STATE).await?;
            if self.configuration.load()? {
                return Ok(());
            }
        }
        self.request_mount(VolumeStatus::STATE)?;
        if self.find_config().await? {
            return Ok(());
        }
        self.state.put(OWNER, "maintenance", MaintenanceServiceRequest {})?;
        publish_task(&self.events, actor, "runningMaintenance", task_event::Action::Start);
        let is_complete = |config: Option<&MachineConfig>| {
            config.is_some_and(|config| corten_config::is_complete(&config.yaml))
        };
        self.state.wait_for::<MachineConfig>(MachineConfig::ACTIVE, is_complete).await;
        publish_task(&self.events, actor, "runningMaintenance", task_event::Action::Stop);
        self.state.remove::<MaintenanceServiceRequest>(OWNER, "maintenance")?;
        Ok(())
    }

    /// Takes what the machine's sources hold; true when that is complete.
    async fn find_config(&self) -> anyhow::Result<bool> {
        for found in sources::find(self.capabilities, &self.state, &self.rng).await {
            let source = found.source;
            tracing::info!(source, "a machine configuration was found");
            match self.configuration.adopt(&found.bytes).await {
                Ok(true) => return Ok(true),
                Ok(false) => {
                    tracing::info!(source, "it has no v1alpha1 document, and the machine waits for one");
                }
                // Not even accepted: an administrator must be able to apply a better one.
                Err(error) if !self.configuration.is_complete() => {
                    tracing::error!(source, "it is not valid: {}", corten_base::chain(error.as_ref()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Whether there is a STATE volume from an earlier boot.
    async fn state_exists(&self) -> anyhow::Result<bool> {
        let known = |volume: Option<&VolumeStatus>| {
            volume.is_some_and(|volume| {
                !matches!(volume.phase, VolumePhase::Waiting | VolumePhase::Located | VolumePhase::Prepared)
            })
        };
        let volume = self.state.wait_for::<VolumeStatus>(VolumeStatus::STATE, known);
        let volume =
            tokio::time::timeout(VOLUME_TIMEOUT, volume).await.context("disks were not probed in time")?;
        match volume.spec.phase {
            VolumePhase::Ready | VolumePhase::Provisioned => Ok(true),
            VolumePhase::Failed => bail!("the STATE volume failed: {}", volume.spec.error_message),
            _ => Ok(false),
        }
    }
}
