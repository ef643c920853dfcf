//! The steps, done. Each looks again at what it is about to change.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use corten_base::{Rng, blocking};
use corten_resources::block::VolumeStatus;
use corten_sys::mount::{Mount, MountFlags, Mounts, Unmount};
use corten_sys::{Kernel, block};

use super::layout::{LAYOUTS, Layout};
use super::plan::Step;
use super::programs::Programs;
use super::seen::{Content, content_of};
use super::{DEADLINE, Places};
use crate::device::Geometry;
use crate::gpt::{self, Guid, LINUX_DATA, Wanted};

/// How long the node of a new partition may take to appear.
const NODE_TIMEOUT: Duration = Duration::from_secs(10);
const NODE_POLL: Duration = Duration::from_millis(20);

/// Does one step. The error names the volume, what failed, and why.
pub async fn apply(places: &Places, programs: &dyn Programs, rng: &Rng, step: &Step) -> anyhow::Result<()> {
    let volume = step.volume();
    match step.clone() {
        Step::WriteTable { disk, add, grow } => {
            let (rng, path) = (rng.clone(), disk.clone());
            let written = blocking(DEADLINE, move || write_table(&path, &add, grow, &rng)).await?;
            written.with_context(|| format!("cannot write the partition table of {disk} for {volume}"))
        }
        Step::Announce { disk, number, start_bytes, size_bytes, .. } => {
            let partition = block::Partition { number: number.try_into()?, start_bytes, size_bytes };
            let path = disk.clone();
            let told = blocking(DEADLINE, move || {
                block::add_partition(&File::open(path)?, partition).map_err(anyhow::Error::from)
            });
            told.await?.with_context(|| {
                format!("the kernel does not take the partition {volume} of {disk}; restart the machine")
            })?;
            wait_for_node(places, &disk, number).await
        }
        Step::Resize { disk, number, start_bytes, size_bytes, .. } => {
            let partition = block::Partition { number: number.try_into()?, start_bytes, size_bytes };
            let path = disk.clone();
            let told = blocking(DEADLINE, move || {
                block::resize_partition(&File::open(path)?, partition).map_err(anyhow::Error::from)
            });
            told.await?.with_context(|| {
                format!("the kernel does not take the new size of {volume} on {disk}; restart the machine")
            })
        }
        Step::Format { device, size_bytes, .. } => {
            format(programs, layout(volume)?, &device, size_bytes).await
        }
        Step::Mount { device, flags, .. } => {
            let (layout, target, source) = (layout(volume)?, target(places, layout(volume)?), device.clone());
            let mounted = blocking(DEADLINE, move || mount(layout, &target, &source, flags)).await?;
            mounted.with_context(|| {
                format!("cannot mount {volume} ({device}) at {}; see the kernel log (dmesg)", layout.target)
            })
        }
        Step::Unmount { .. } => {
            let layout = layout(volume)?;
            let target = target(places, layout);
            let unmounted = blocking(DEADLINE, move || Kernel.unmount(&target, Unmount::Plain)).await?;
            unmounted
                .with_context(|| format!("{volume} is still used at {}; stop what uses it", layout.target))
        }
        Step::GrowFilesystem { .. } => {
            let path = target(places, layout(volume)?).to_string_lossy().into_owned();
            let argv = ["/usr/sbin/xfs_growfs".to_owned(), path];
            programs
                .run(&format!("growfs-{volume}"), &argv)
                .await
                .with_context(|| format!("cannot grow {volume}"))
        }
    }
}

fn layout(volume: &str) -> anyhow::Result<&'static Layout> {
    LAYOUTS
        .iter()
        .find(|layout| layout.id == volume)
        .with_context(|| format!("{volume} is no volume with a file system"))
}

fn target(places: &Places, layout: &Layout) -> PathBuf {
    places.root.join(layout.target.trim_start_matches('/'))
}

/// Adds and grows what is still missing in the table as it is now.
fn write_table(
    disk: &str,
    add: &[&'static str],
    grow: Option<&'static str>,
    rng: &Rng,
) -> anyhow::Result<()> {
    let file = File::options().read(true).write(true).open(disk)?;
    let geometry = Geometry::of(block::size_bytes(&file)?, u64::from(block::sector_bytes(&file)?));
    let mut table = gpt::read(&file, geometry)?.context("it has no whole partition table any more")?.table;
    ensure!(
        table.labelled(VolumeStatus::META).is_some(),
        "its table has no META any more: it is not the system disk"
    );
    for label in add {
        let id = Guid::random(rng.bytes());
        if table.labelled(label).is_none() {
            table.add(&Wanted { label, kind: LINUX_DATA, id, size: layout(label)?.size }, geometry)?;
        }
    }
    if let Some(number) = grow.and_then(|label| table.labelled(label)).map(|entry| entry.number) {
        table.grow(number, geometry);
    }
    gpt::write(&file, &table, geometry)?;
    Ok(())
}

async fn wait_for_node(places: &Places, disk: &str, number: u32) -> anyhow::Result<()> {
    let name = Path::new(disk).file_name().context("a disk has a name")?.to_string_lossy().into_owned();
    let appears = async {
        loop {
            let partitions = places.sysfs.partitions(&name);
            if partitions.iter().any(|partition| partition.number == number && partition.has_node) {
                return;
            }
            tokio::time::sleep(NODE_POLL).await;
        }
    };
    let appeared = tokio::time::timeout(NODE_TIMEOUT, appears).await;
    appeared.with_context(|| format!("partition {number} of {disk} has no node below /dev"))
}

async fn format(
    programs: &dyn Programs,
    layout: &Layout,
    device: &str,
    size_bytes: u64,
) -> anyhow::Result<()> {
    let look = |device: String| move || content_of(Path::new(&device), size_bytes);
    match blocking(DEADLINE, look(device.to_owned())).await? {
        // An earlier run ended in the meantime.
        Content::Xfs(_) => return Ok(()),
        Content::Blank => {}
        other => bail!("{} ({device}) is not empty any more and is left alone: {other:?}", layout.id),
    }
    let mut argv = vec!["/usr/sbin/mkfs.xfs".to_owned()];
    argv.extend(["-f", "-q", "-K", "-L", layout.id].map(str::to_owned));
    argv.extend(layout.making.iter().map(|option| (*option).to_owned()));
    argv.push(device.to_owned());
    let made = programs.run(&format!("mkfs-{}", layout.id), &argv).await;
    made.with_context(|| format!("cannot make the file system of {} ({device})", layout.id))?;
    let content = blocking(DEADLINE, look(device.to_owned())).await?;
    ensure!(
        matches!(content, Content::Xfs(_)),
        "{} ({device}) has no file system after it was made",
        layout.id
    );
    Ok(())
}

fn mount(layout: &Layout, target: &Path, device: &str, flags: MountFlags) -> anyhow::Result<()> {
    fs::create_dir_all(target)?;
    let bare = Mount::pseudo("xfs", target).source(device).flags(flags);
    match Kernel.mount(&bare.clone().options(layout.options)) {
        // Quotas are left out of some kernels; a volume without them is worth more than none.
        Err(error) if error.kind() == ErrorKind::InvalidInput && !layout.options.is_empty() => {
            Kernel.mount(&bare)?;
            tracing::warn!(
                volume = layout.id,
                options = layout.options,
                "the kernel does not know these options"
            );
        }
        mounted => mounted?,
    }
    if flags.contains(MountFlags::RDONLY) {
        return Ok(());
    }
    // A full volume keeps its folders; one that cannot get them is still worth having.
    if let Err(error) = furnish(layout, target) {
        tracing::warn!(
            volume = layout.id,
            error = &error as &dyn std::error::Error,
            "the volume lacks folders"
        );
    }
    Ok(())
}

fn furnish(layout: &Layout, target: &Path) -> std::io::Result<()> {
    fs::set_permissions(target, Permissions::from_mode(layout.mode))?;
    for folder in layout.folders {
        fs::create_dir_all(target.join(folder))?;
    }
    for (name, to) in layout.links {
        let link = target.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(to, link)?;
        }
    }
    Ok(())
}
