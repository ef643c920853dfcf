//! OCI images that came with the machine, served to its own container runtime.
//!
//!     DiscoveredVolume IMAGECACHE, or the launcher's folder ──▶ mount ──▶ dataplane's document ──▶ ImageCacheConfig

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use corten_base::{blocking, paths};
use corten_dataplane::files::{self, ImageCache};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::block::{DiscoveredVolume, DiscoveredVolumesStatus};
use corten_resources::config::MachineConfig;
use corten_resources::cri::{ImageCacheConfig, ImageCacheCopy, ImageCacheState};
use corten_sys::Kernel;
use corten_sys::mount::{Mount, MountFlags, Mounts, is_mount_point};

/// Label of the partition.
const LABEL: &str = "IMAGECACHE";
const DEADLINE: Duration = Duration::from_secs(30);

/// Finds and publishes the image cache.
pub struct ImageCacheVolume {
    disks: bool,
}

controller!(ImageCacheVolume, "cri.ImageCache",
    inputs: [weak DiscoveredVolume, weak DiscoveredVolumesStatus, weak MachineConfig],
    outputs: [exclusive ImageCacheConfig]);

impl ImageCacheVolume {
    /// On a machine with disks of its own, or with a launcher's folder.
    pub const fn new(disks: bool) -> Self {
        Self { disks }
    }
}

/// What is there.
pub struct Seen {
    mounted: bool,
    layout: bool,
    published: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Mount the partition.
    Mount {
        /// Device.
        device: PathBuf,
        /// File system.
        filesystem: String,
    },
    /// Tell dataplane what it serves.
    Publish,
    /// Tell dataplane that it serves nothing.
    Withdraw,
}

impl Driver for ImageCacheVolume {
    type Observed = Seen;
    type Op = Step;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Seen> {
        let folder = Path::new(paths::IMAGE_CACHE);
        let published =
            files::read::<ImageCache>(Path::new(paths::DATAPLANE))?.is_some_and(|cache| cache == document());
        Ok(Seen { mounted: is_mount_point(folder), layout: folder.join("index.json").is_file(), published })
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Step> {
        let mut plan = Plan::new();
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        let config = config.and_then(|config| corten_config::load_cached(&config.spec.yaml).ok());
        if config.is_some_and(|config| config.view().machine.cri.image_cache_off) {
            if seen.published {
                plan.op(Step::Withdraw);
            }
            plan.put(ImageCacheConfig::ID, status(ImageCacheState::Disabled, Vec::new()));
            return plan;
        }
        let partition =
            view.list::<DiscoveredVolume>().into_iter().find(|volume| volume.spec.partition_label == LABEL);
        let probed = !self.disks
            || view.get::<DiscoveredVolumesStatus>("ready").is_some_and(|status| status.spec.ready);
        let status = match (seen.layout, partition) {
            (true, _) if seen.published => ImageCacheState::Ready,
            (true, _) => {
                plan.op(Step::Publish);
                ImageCacheState::Preparing
            }
            (false, Some(partition)) if !seen.mounted => {
                let (device, filesystem) =
                    (PathBuf::from(&partition.spec.dev_path), partition.spec.name.clone());
                plan.op(Step::Mount { device, filesystem });
                ImageCacheState::Preparing
            }
            (false, Some(_)) => {
                return plan.failed("the IMAGECACHE partition holds no OCI layout (index.json)");
            }
            (false, None) if probed => ImageCacheState::Disabled,
            (false, None) => return plan.waiting("the first look at all disks"),
        };
        let roots = if seen.layout { vec![paths::IMAGE_CACHE.to_owned()] } else { Vec::new() };
        plan.put(ImageCacheConfig::ID, self::status(status, roots));
        plan
    }

    async fn apply(&mut self, op: Step) -> anyhow::Result<()> {
        let work = move || match op {
            Step::Mount { device, filesystem } => mount(&device, &filesystem),
            Step::Publish => files::write_atomic(Path::new(paths::DATAPLANE), &document())
                .context("cannot tell dataplane about the image cache"),
            Step::Withdraw => files::write_atomic(Path::new(paths::DATAPLANE), &ImageCache::default())
                .context("cannot tell dataplane that there is no image cache"),
        };
        blocking(DEADLINE, work).await?
    }
}

/// Nothing is copied: images are used where they are.
fn status(status: ImageCacheState, roots: Vec<String>) -> ImageCacheConfig {
    ImageCacheConfig { status, roots, copy_status: ImageCacheCopy::Skipped }
}

fn document() -> ImageCache {
    ImageCache { listen: Some(ImageCache::LISTEN), layouts: vec![PathBuf::from(paths::IMAGE_CACHE)] }
}

fn mount(device: &Path, filesystem: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(paths::IMAGE_CACHE)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mount =
        Mount::pseudo(filesystem, paths::IMAGE_CACHE).source(device.display().to_string()).flags(flags);
    Kernel.mount(&mount).with_context(|| format!("cannot mount the image cache {}", device.display()))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn a_cache_that_is_off_is_not_served_although_it_is_there() {
        let seen = |published| Seen { mounted: true, layout: true, published };
        let plan = |text: &str, seen: &Seen| {
            let given = [resource(MachineConfig::ACTIVE, MachineConfig { yaml: text.into() })];
            let plan = ImageCacheVolume::new(false).plan(&View::of(given, SystemTime::UNIX_EPOCH), seen);
            let status = plan.outputs::<ImageCacheConfig>()[0].status;
            (status, plan.ops().first().is_some_and(|step| *step == Step::Withdraw))
        };
        let off = "apiVersion: v1alpha1\nkind: ImageCacheConfig\nlocal: {enabled: false}\n";
        let on = "apiVersion: v1alpha1\nkind: ImageCacheConfig\nlocal: {enabled: true}\n";
        assert_eq!(plan(off, &seen(true)), (ImageCacheState::Disabled, true));
        assert_eq!(plan(off, &seen(false)), (ImageCacheState::Disabled, false));
        assert_eq!(plan(on, &seen(true)), (ImageCacheState::Ready, false));
    }
}
