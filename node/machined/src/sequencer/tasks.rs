//! What the tasks do. Each may be run twice: a new machined repeats the phase its predecessor was in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use corten_base::{Capabilities, Rng, blocking, paths};
use corten_config::view::{CUSTOMIZATION_FILE, FileOp};
use corten_containerd::Client;
use corten_resource::{Pointer, Spec, State};
use corten_resources::block::{SystemDisk, VolumeMountRequest, VolumeMountStatus, VolumeStatus};
use corten_resources::cri::{ImageCacheConfig, ImageCacheState};
use corten_resources::runtime::{BootEnd, MachineResetSignal};
use corten_resources::service::{HealthProbe, ServiceSpec};
use corten_supervisor::PowerAction;
use corten_sys::mount::{Mounts, Unmount};

use super::plan::{Haste, Task};
use super::{Execute, Position, image_store};
use crate::configuration::Configuration;
use crate::events::Events;
use crate::evidence::Evidence;
use crate::services::gate::Openness;
use crate::services::{Record, ServiceState, Services};

/// Owner of what the tasks put among the resources.
pub(super) const OWNER: &str = "sequencer";
/// Below this Kubernetes is no pleasure; below it the boot goes on with a warning.
const MEMORY_BYTES_MIN: u64 = 1800 * 1024 * 1024;
/// Smallest system disk on which images and logs fit.
const DISK_BYTES_MIN: u64 = 5 * 1024 * 1024 * 1024;
const EARLY_SERVICE_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for disks to appear, and for a volume to be mounted.
pub(super) const VOLUME_TIMEOUT: Duration = Duration::from_secs(300);
const BOOT_TIMEOUT: Duration = Duration::from_secs(70 * 60);
const POD_STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Time until the image cache is mounted or known to be absent.
const IMAGE_CACHE_TIMEOUT: Duration = Duration::from_secs(60);
/// Time to look at the image store, and to empty it.
const IMAGE_STORE_TIMEOUT: Duration = Duration::from_secs(300);
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(15);
const UNMOUNT_POLL: Duration = Duration::from_millis(50);

/// The machine as the tasks see it.
pub struct Machine {
    /// Resources.
    pub state: State,
    /// Keeper of the configuration.
    pub configuration: Configuration,
    /// Service manager.
    pub services: Services,
    /// Event log.
    pub events: Events,
    /// Connection to init.
    pub init: corten_supervisor::Client,
    /// What is left of a boot.
    pub evidence: Evidence,
    /// What the machine allows.
    pub capabilities: Capabilities,
    /// Randomness.
    pub rng: Rng,
}

impl Execute for Machine {
    fn failed(&self, sequence: &'static str, why: &str) {
        self.evidence.because(BootEnd::Failure, format!("the sequence {sequence} failed: {why}"));
    }

    async fn execute(&self, task: Task, _: Haste, actor: &str) -> anyhow::Result<()> {
        match task {
            Task::EnforceKsppRequirements => enforce_kspp(),
            Task::StartMachined => {
                self.services.builtin("machined");
                Ok(())
            }
            Task::StartUdevd => self.wait_for_service("udevd", EARLY_SERVICE_TIMEOUT).await,
            Task::StartApid => self.wait_for_service("apid", EARLY_SERVICE_TIMEOUT).await,
            Task::ReloadMeta => self.reload_meta().await,
            Task::LoadConfig => self.load_config(actor).await,
            Task::MemorySizeCheck => {
                check_memory();
                Ok(())
            }
            Task::DiskSizeCheck => {
                self.check_disk();
                Ok(())
            }
            Task::MountEphemeralPartition => {
                self.mount(VolumeStatus::EPHEMERAL).await?;
                self.evidence.open().await;
                Ok(())
            }
            Task::MountUserDisks => {
                self.mount_user_disks().await;
                Ok(())
            }
            Task::WriteUserFiles => self.write_user_files(),
            Task::StartAllServices => self.start_all_services().await,
            Task::StopAllPods => self.stop_all_pods().await,
            Task::LeaveEtcd => self.leave_etcd(actor).await,
            Task::SendResetSignal => {
                self.state.put(OWNER, MachineResetSignal::ID, MachineResetSignal {})?;
                Ok(())
            }
            Task::DenyNewServices => {
                self.services.set_gate(Openness::Going);
                Ok(())
            }
            Task::StopServicesForUpgrade => self.stop_services(&["kubelet", "etcd", "cri", "trustd"]).await,
            Task::UnmountPodMounts => unmount_below("/var/lib/kubelet/pods"),
            Task::UnmountSystem => {
                self.evidence.end(&self.what_runs()).await;
                self.unmount_system().await
            }
            // apid and machined stay: init ends them, after the client saw this event.
            Task::StopAllServices => Ok(()),
            Task::WipeVolumes => self.wipe_volumes(actor).await,
            Task::Reboot => self.go(PowerAction::Reboot).await,
            Task::Shutdown => self.go(PowerAction::PowerOff).await,
        }
    }
}

fn enforce_kspp() -> anyhow::Result<()> {
    let cmdline = fs::read_to_string("/proc/cmdline")?;
    let words: Vec<&str> = cmdline.split_whitespace().collect();
    let missing: Vec<&str> = ["slab_nomerge", "pti=on"]
        .into_iter()
        .filter(|wanted| !words.iter().any(|word| word == wanted || word.strip_suffix('=') == Some(wanted)))
        .collect();
    ensure!(
        missing.is_empty(),
        "the kernel was started without {}; boot the image's own UKI",
        missing.join(" and ")
    );
    Ok(())
}

fn check_memory() {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = crate::api::proc::meminfo(&text).memtotal * 1024;
    if total < MEMORY_BYTES_MIN {
        tracing::warn!(
            total,
            minimum = MEMORY_BYTES_MIN,
            "the machine has less memory than Kubernetes needs"
        );
    }
}

impl Machine {
    /// Restarts the machine or switches it off; one that is in a hurry has recorded nothing of its end yet.
    async fn go(&self, action: PowerAction) -> anyhow::Result<()> {
        self.evidence.end(&self.what_runs()).await;
        Ok(self.init.power(action).await?)
    }

    /// The sequence that runs, for the record.
    fn what_runs(&self) -> String {
        let last = Position::new(self.state.clone()).load();
        last.map_or_else(|| "unknown".to_owned(), |last| last.sequence.name().to_owned())
    }

    async fn wait_for_service(&self, id: &str, timeout: Duration) -> anyhow::Result<()> {
        let up = self
            .services
            .wait_until(|list| list.iter().any(|(name, record)| name == id && self.is_up(name, record)));
        let Err(_) = tokio::time::timeout(timeout, up).await else { return Ok(()) };
        let list = self.services.list();
        let last = list
            .iter()
            .find(|(name, _)| name == id)
            .map_or("it is not specified", |(_, record)| record.last_message());
        bail!("service {id} is not up after {timeout:?}: {last}")
    }

    /// Runs, and has passed its check if there is one.
    fn is_up(&self, id: &str, record: &Record) -> bool {
        let probe = self.state.get::<ServiceSpec>(id).map_or(HealthProbe::None, |spec| spec.health.probe);
        record.state == ServiceState::Running && (probe == HealthProbe::None || record.healthy == Some(true))
    }

    pub(super) fn request_mount(&self, volume: &str) -> anyhow::Result<()> {
        let request = VolumeMountRequest {
            volume_id: volume.to_owned(),
            requester: OWNER.to_owned(),
            ..VolumeMountRequest::default()
        };
        self.state.put(OWNER, &format!("{OWNER}-{volume}"), request)?;
        Ok(())
    }

    pub(super) async fn mount(&self, volume: &str) -> anyhow::Result<()> {
        self.request_mount(volume)?;
        let mounted = self.state.wait_for::<VolumeMountStatus>(volume, |status| status.is_some());
        if tokio::time::timeout(VOLUME_TIMEOUT, mounted).await.is_err() {
            let status = self.state.get::<VolumeStatus>(volume);
            let why = status.map_or_else(
                || "nothing is known of it".to_owned(),
                |status| status.spec.error_message.clone(),
            );
            bail!("the volume {volume} was not mounted within {VOLUME_TIMEOUT:?}: {why}");
        }
        Ok(())
    }

    fn check_disk(&self) {
        let Some(disk) = self.state.get::<SystemDisk>(SystemDisk::ID) else { return };
        let size = self
            .state
            .get::<corten_resources::block::Disk>(&disk.spec.disk_id)
            .map_or(0, |disk| disk.spec.size);
        if size < DISK_BYTES_MIN {
            tracing::warn!(
                disk = disk.spec.disk_id,
                size,
                minimum = DISK_BYTES_MIN,
                "the system disk is small"
            );
        }
    }

    fn write_user_files(&self) -> anyhow::Result<()> {
        let Some(config) = self.configuration.active() else { return Ok(()) };
        for file in &config.view().machine.files {
            if file.path == CUSTOMIZATION_FILE {
                // The container runtime's controller writes it.
                continue;
            }
            let path = Path::new(&file.path);
            ensure!(path.starts_with(paths::EPHEMERAL), "machine.files: {} is not below /var", file.path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let written = match file.op {
                FileOp::Create if path.exists() => Ok(()),
                FileOp::Overwrite if fs::read(path).is_ok_and(|kept| kept == file.content.as_bytes()) => {
                    Ok(())
                }
                FileOp::Append => append(path, file.content.as_bytes()),
                FileOp::Create | FileOp::Overwrite => fs::write(path, &file.content),
            };
            if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull) {
                // The machine must stay reachable for whoever makes room.
                tracing::error!(path = file.path, "machine.files: not written, EPHEMERAL is full");
                continue;
            }
            written.with_context(|| format!("machine.files: cannot write {}", file.path))?;
            fs::set_permissions(path, fs::Permissions::from_mode(file.permissions))?;
        }
        Ok(())
    }

    /// Before containerd starts: its layers may be in an image cache that is not there any more.
    async fn check_image_store(&self) -> anyhow::Result<()> {
        if Path::new(paths::CRI_SOCKET).exists() {
            return Ok(());
        }
        let settled = |cache: Option<&ImageCacheConfig>| {
            cache.is_some_and(|cache| {
                matches!(cache.status, ImageCacheState::Disabled | ImageCacheState::Ready)
            })
        };
        let settled = self.state.wait_for::<ImageCacheConfig>(ImageCacheConfig::ID, settled);
        if tokio::time::timeout(IMAGE_CACHE_TIMEOUT, settled).await.is_err() {
            tracing::warn!(
                "the image cache was not ready within {IMAGE_CACHE_TIMEOUT:?}; images may be pulled"
            );
        }
        blocking(IMAGE_STORE_TIMEOUT, || image_store::check(Path::new(paths::IMAGE_STORE))).await?
    }

    /// Lets every service start and waits until those of the configuration are up.
    async fn start_all_services(&self) -> anyhow::Result<()> {
        self.check_image_store().await?;
        self.services.set_gate(Openness::All);
        let up = self.services.wait_until(|list| {
            let specified = self.state.list::<ServiceSpec>();
            specified
                .iter()
                // The others come up when somebody needs them.
                .filter(|spec| spec.spec.on_demand.is_none())
                .map(|spec| spec.metadata.id.as_str())
                .all(|id| list.iter().any(|(name, record)| name == id && self.is_up(name, record)))
        });
        tokio::time::timeout(BOOT_TIMEOUT, up).await.context("services did not come up in time")
    }

    /// Stops kubelet first, which would start the pods again.
    async fn stop_all_pods(&self) -> anyhow::Result<()> {
        self.stop_services(&["kubelet"]).await?;
        if !Path::new(paths::CRI_SOCKET).exists() {
            return Ok(());
        }
        let cri = Client::lazy(paths::CRI_SOCKET).cri();
        let stop = async {
            for sandbox in cri.sandboxes().await? {
                cri.stop_sandbox(&sandbox.id).await?;
            }
            Ok::<_, corten_containerd::Error>(())
        };
        match tokio::time::timeout(POD_STOP_TIMEOUT, stop).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("pods were not stopped: {}", corten_base::chain(&error)),
            Err(_) => tracing::warn!("pods were not stopped within {POD_STOP_TIMEOUT:?}"),
        }
        Ok(())
    }

    pub(super) async fn stop_services(&self, ids: &[&str]) -> anyhow::Result<()> {
        for id in ids {
            self.services.stop(id).await;
        }
        Ok(())
    }

    async fn unmount_system(&self) -> anyhow::Result<()> {
        for volume in [VolumeStatus::EPHEMERAL, VolumeStatus::STATE] {
            let id = format!("{OWNER}-{volume}");
            let request = Pointer::new(
                VolumeMountRequest::DEFINITION.namespace,
                VolumeMountRequest::DEFINITION.kind,
                id,
            );
            let gone = async {
                while !self.state.remove_any(OWNER, &request)? {
                    tokio::time::sleep(UNMOUNT_POLL).await;
                }
                Ok::<_, corten_resource::StateError>(())
            };
            match tokio::time::timeout(UNMOUNT_TIMEOUT, gone).await {
                Ok(done) => done?,
                // init unmounts what is left, or makes it read-only.
                Err(_) => tracing::warn!(volume, "the volume was not unmounted within {UNMOUNT_TIMEOUT:?}"),
            }
        }
        Ok(())
    }
}

fn append(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new().append(true).create(true).open(path)?.write_all(bytes)
}

fn unmount_below(folder: &str) -> anyhow::Result<()> {
    let mut targets: Vec<_> = corten_sys::mountinfo::read(Path::new("/proc/self/mountinfo"))?
        .into_iter()
        .map(|entry| entry.target)
        .filter(|target| target.starts_with(folder))
        .collect();
    targets.sort();
    for target in targets.iter().rev() {
        if let Err(error) = corten_sys::Kernel.unmount(target, Unmount::Lazy) {
            tracing::warn!(target = %target.display(), "not unmounted: {}", corten_base::chain(&error));
        }
    }
    Ok(())
}
