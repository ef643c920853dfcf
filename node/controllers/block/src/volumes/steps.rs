//! The steps, done. Each looks again at what it is about to change.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use corten_base::{Rng, blocking};
use corten_resources::block::{Filesystem, VolumeKind, VolumeStatus};
use corten_sys::mount::{Mount, MountFlags, Mounts, Unmount};
use corten_sys::{Kernel, block, swap};

use super::layout::Layout;
use super::plan::{Addition, Step, holds};
use super::programs::Programs;
use super::seen::{Content, content_of, table_of, whole};
use super::{DEADLINE, Places};
use crate::device::Geometry;
use crate::gpt::{self, Guid, Health, LINUX_DATA, Reading, Table, Wanted};
use crate::swaps;

/// How long the node of a new partition may take to appear.
const NODE_TIMEOUT: Duration = Duration::from_secs(10);
const NODE_POLL: Duration = Duration::from_millis(20);
/// Taking everything out of swap reads it all.
const SWAP_DEADLINE: Duration = Duration::from_secs(600);

/// Does one step. The error names the volume, what failed, and why.
pub async fn apply(places: &Places, programs: &dyn Programs, rng: &Rng, step: &Step) -> anyhow::Result<()> {
    let volume = step.volume().to_owned();
    match step.clone() {
        Step::WriteTable { disk, is_system, add, grow } => {
            let (rng, path) = (rng.clone(), disk.clone());
            let write = move || write_table(&path, is_system, &add, grow.as_ref(), &rng);
            blocking(DEADLINE, write)
                .await?
                .with_context(|| format!("cannot write the partition table of {disk} for {volume}"))
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
        Step::Format { layout, device, size_bytes } => {
            format(programs, rng, &layout, &device, size_bytes).await
        }
        Step::GrowFilesystem { layout, device, .. } => grow(places, programs, &layout, &device).await,
        step => attach(places, step).await,
    }
}

/// What makes a volume that is there usable, and takes it back.
async fn attach(places: &Places, step: Step) -> anyhow::Result<()> {
    let volume = step.volume().to_owned();
    match step {
        Step::Mount { layout, source, fstype, flags } => {
            let (target, of) = (target(places, &layout), source.clone());
            let text = layout.target().to_owned();
            let mounted = blocking(DEADLINE, move || mount(&layout, &target, &of, fstype, flags)).await?;
            mounted.with_context(|| {
                format!("cannot mount {volume} ({source}) at {text}; see the kernel log (dmesg)")
            })
        }
        Step::Unmount { layout } => {
            let target = target(places, &layout);
            let unmounted = blocking(DEADLINE, move || Kernel.unmount(&target, Unmount::Plain)).await?;
            unmounted
                .with_context(|| format!("{volume} is still used at {}; stop what uses it", layout.target()))
        }
        Step::MakeFolder { layout } => {
            let target = target(places, &layout);
            let mode = layout.config.mount.file_mode;
            let made = blocking(DEADLINE, move || {
                fs::create_dir_all(&target)?;
                fs::set_permissions(&target, Permissions::from_mode(mode))
            });
            made.await?.with_context(|| format!("cannot make the folder of {volume}"))
        }
        Step::SwapOn { device, .. } => {
            ensure!(
                places.has_kernel,
                "cannot swap to {volume}: the kernel is the host's; give the host swap"
            );
            let path = PathBuf::from(&device);
            let on = blocking(DEADLINE, move || swap::on(&path)).await?;
            on.with_context(|| format!("cannot swap to {volume} ({device})"))
        }
        Step::SwapOff { device, .. } => {
            let path = PathBuf::from(&device);
            let off = blocking(SWAP_DEADLINE, move || swap::off(&path)).await?;
            off.with_context(|| format!("cannot take {volume} ({device}) out of use; free memory first"))
        }
        other => bail!("{other:?} is done elsewhere"),
    }
}

async fn grow(places: &Places, programs: &dyn Programs, layout: &Layout, device: &str) -> anyhow::Result<()> {
    let argv = match layout.filesystem() {
        Filesystem::Xfs => {
            ["/usr/sbin/xfs_growfs".to_owned(), target(places, layout).to_string_lossy().into_owned()]
        }
        Filesystem::Ext4 => ["/usr/sbin/resize2fs".to_owned(), device.to_owned()],
        other => bail!("{other:?} of {} does not grow while it is mounted", layout.id),
    };
    let run = programs.run(&run_name("growfs", layout), &argv).await;
    run.with_context(|| format!("cannot grow {}", layout.id))
}

/// Name of a run; volumes of `machine.disks` have paths as their names.
fn run_name(verb: &str, layout: &Layout) -> String {
    format!("{verb}-{}", layout.id.trim_start_matches('/').replace('/', "-"))
}

fn target(places: &Places, layout: &Layout) -> PathBuf {
    places.root.join(layout.target().trim_start_matches('/'))
}

/// Adds and grows what is still missing in the table as it is now. Whoever else changes tables waits meanwhile.
fn write_table(
    disk: &str,
    is_system: bool,
    add: &[Addition],
    grow: Option<&(String, u64)>,
    rng: &Rng,
) -> anyhow::Result<()> {
    let file = File::options().read(true).write(true).open(disk)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    let size_bytes = block::size_bytes(&file)?;
    let geometry = Geometry::of(size_bytes, u64::from(block::sector_bytes(&file)?));
    let mut table = match table_of(&file, geometry, is_system)? {
        Some(Reading { table, health }) => {
            let is_ours = is_system || health != Health::BackupAstray;
            let has_room = is_ours || gpt::has_room(&file, &table, geometry)?;
            ensure!(has_room, "something is behind its table, and it is left alone");
            table
        }
        None if is_system => bail!("it has no whole partition table any more"),
        None => {
            let content = whole(Path::new(disk), size_bytes);
            ensure!(content == Content::Blank, "it is not empty any more and is left alone: {content:?}");
            Table::empty(Guid::random(rng.bytes()), geometry)
        }
    };
    ensure!(
        !is_system || table.labelled(VolumeStatus::META).is_some(),
        "its table has no META any more: it is not the system disk"
    );
    for Addition { label, size, .. } in add {
        let id = Guid::random(rng.bytes());
        if table.labelled(label).is_none() {
            table.add(&Wanted { label, kind: LINUX_DATA, id, size: *size }, geometry)?;
            clear(&file, &table, label, geometry)?;
        }
    }
    if let Some((label, bytes_max)) = grow
        && let Some(number) = table.labelled(label).map(|entry| entry.number)
    {
        table.grow(number, *bytes_max, geometry);
    }
    gpt::write(&file, &table, geometry)?;
    Ok(())
}

/// Takes what an earlier partition left there out of a new one of workloads, that it is not taken for theirs.
fn clear(disk: &File, table: &Table, label: &str, geometry: Geometry) -> anyhow::Result<()> {
    const END_BYTES: u64 = 1 << 20;
    if [VolumeStatus::STATE, VolumeStatus::EPHEMERAL].contains(&label) {
        return Ok(());
    }
    let Some(entry) = table.labelled(label) else { return Ok(()) };
    let (start, size) = (entry.start_bytes(geometry), entry.size_bytes(geometry));
    let length = size.min(END_BYTES);
    block::zero_out(disk, start, length)?;
    Ok(block::zero_out(disk, start + size - length, length)?)
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
    rng: &Rng,
    layout: &Layout,
    device: &str,
    size_bytes: u64,
) -> anyhow::Result<()> {
    let is_disk = layout.config.kind == VolumeKind::Disk;
    let look = |device: String| {
        move || {
            let device = Path::new(&device);
            if is_disk { whole(device, size_bytes) } else { content_of(device, size_bytes) }
        }
    };
    match blocking(DEADLINE, look(device.to_owned())).await? {
        // An earlier run ended in the meantime.
        content if holds(layout, &content) => return Ok(()),
        Content::Blank => {}
        other => bail!("{} ({device}) is not empty any more and is left alone: {other:?}", layout.id),
    }
    let cannot = || format!("cannot make the file system of {} ({device})", layout.id);
    match layout.making(size_bytes) {
        Some(mut argv) => {
            argv.push(device.to_owned());
            programs.run(&run_name("mkfs", layout), &argv).await.with_context(cannot)?;
        }
        None if layout.filesystem() == Filesystem::Swap => {
            let (path, label) = (device.to_owned(), layout.config.provisioning.filesystem.label.clone());
            let uuid = rng.bytes();
            let made = blocking(DEADLINE, move || {
                let file = File::options().read(true).write(true).open(path)?;
                swaps::format(&file, size_bytes, uuid, &label)
            });
            made.await?.with_context(cannot)?;
        }
        None => bail!("{}: {:?} is not made here", layout.id, layout.filesystem()),
    }
    let content = blocking(DEADLINE, look(device.to_owned())).await?;
    ensure!(holds(layout, &content), "{} ({device}) has no file system after it was made", layout.id);
    Ok(())
}

fn mount(
    layout: &Layout,
    target: &Path,
    source: &str,
    fstype: &str,
    flags: MountFlags,
) -> anyhow::Result<()> {
    fs::create_dir_all(target)?;
    let bare = Mount::pseudo(fstype, target).source(source).flags(flags);
    match Kernel.mount(&bare.clone().options(layout.options())) {
        // Quotas are left out of some kernels; a volume without them is worth more than none.
        Err(error) if error.kind() == ErrorKind::InvalidInput && !layout.options().is_empty() => {
            Kernel.mount(&bare)?;
            tracing::warn!(
                volume = layout.id,
                options = layout.options(),
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
    let mode = layout.config.mount.file_mode;
    // What was there before keeps its permissions, unless the volume is the system's own.
    if mode != 0 {
        fs::set_permissions(target, Permissions::from_mode(mode))?;
    }
    for folder in layout.folders() {
        fs::create_dir_all(target.join(folder))?;
    }
    for (name, to) in layout.links() {
        let link = target.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(to, link)?;
        }
    }
    Ok(())
}
