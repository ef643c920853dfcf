//! The EFI system partition: boot loader, its settings and the kernel image.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, Result};
use corten_base::Arch;
use hadris_fat::format::{FatFormatOptions, FatTypeSelection, FatVolumeFormatter};
use hadris_fat::time::{EpochTimeProvider, FatDateTime};
use hadris_fat::{FatDir, FatVolume, FatVolumeWriteExt};

use crate::profile::Profile;

/// Times in directory entries.
static CLOCK: EpochTimeProvider = EpochTimeProvider;

/// A file on the partition: folders above it, its name, its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Path with `/`.
    pub path: String,
    /// Contents.
    pub data: &'a [u8],
}

/// The files of a profile's partition.
#[must_use]
pub fn plan<'a>(profile: &Profile, boot: &'a [u8], uki: &'a [u8], loader: &'a str) -> Vec<Entry<'a>> {
    let (fallback, own) = boot_names(profile.arch);
    vec![
        Entry { path: format!("EFI/BOOT/{fallback}"), data: boot },
        Entry { path: format!("EFI/systemd/{own}"), data: boot },
        Entry { path: format!("EFI/Linux/{}", profile.uki_name()), data: uki },
        Entry { path: "loader/loader.conf".to_owned(), data: loader.as_bytes() },
    ]
}

/// Names of the boot loader: the one that firmware looks for in `EFI/BOOT`, and its own.
#[must_use]
pub const fn boot_names(arch: Arch) -> (&'static str, &'static str) {
    match arch {
        Arch::Amd64 => ("BOOTX64.EFI", "systemd-bootx64.efi"),
        Arch::Arm64 => ("BOOTAA64.EFI", "systemd-bootaa64.efi"),
    }
}

/// `loader/loader.conf`.
#[must_use]
pub fn loader(profile: &Profile) -> String {
    format!("timeout {}\neditor no\n", profile.flavour.menu_seconds())
}

/// Writes a system partition of `size` bytes with these files to a new file; it stays sparse.
///
/// # Errors
/// When the files do not fit.
pub fn write(path: &Path, size: u64, volume_id: u32, entries: &[Entry<'_>]) -> Result<()> {
    write_labelled(path, "EFI", size, volume_id, entries)
}

/// Writes any FAT32 file system; the label is written in capital letters.
///
/// # Errors
/// When the files do not fit.
pub fn write_labelled(
    path: &Path,
    label: &str,
    size: u64,
    volume_id: u32,
    entries: &[Entry<'_>],
) -> Result<()> {
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    file.set_len(size)?;
    let options = FatFormatOptions::new(size)
        .volume_label(label)
        .fat_type(FatTypeSelection::Fat32)
        .volume_id(volume_id);
    let label = label_offset(&options)?;
    drop(FatVolumeFormatter::format(file.try_clone()?, options).context("formatting the system partition")?);
    reset_label_times(&mut file, label)?;
    file.rewind()?;
    let volume =
        FatVolume::builder(file).time_provider(&CLOCK).open().context("opening the system partition")?;
    for entry in entries {
        add(&volume, entry).with_context(|| format!("writing `{}`", entry.path))?;
    }
    Ok(())
}

/// Where the label's directory entry is: it is the first one of the root folder.
fn label_offset(options: &FatFormatOptions) -> Result<u64> {
    let shape = FatVolumeFormatter::calculate_params(options).context("laying out the system partition")?;
    Ok(u64::from(shape.data_start_sector) * u64::try_from(shape.sector_size)?)
}

/// Replaces the times of the label's entry, for which the formatter asks the host's clock.
fn reset_label_times(file: &mut File, label: u64) -> Result<()> {
    let (date, time, _) = FatDateTime::EPOCH.to_raw();
    let written = [time.to_le_bytes(), date.to_le_bytes()].concat();
    for (at, bytes) in [(14, &written[..]), (18, &written[2..]), (22, &written[..])] {
        file.seek(SeekFrom::Start(label + at))?;
        file.write_all(bytes)?;
    }
    Ok(())
}

fn add(volume: &FatVolume<File>, entry: &Entry<'_>) -> Result<()> {
    let mut parts: Vec<&str> = entry.path.split('/').collect();
    let name = parts.pop().context("a path has a name")?;
    let mut folder = volume.root_dir();
    for part in parts {
        folder = enter(volume, folder, part)?;
    }
    let file = volume.create_file(&folder, name)?;
    let mut writer = volume.write_file(&file)?;
    writer.set_modified(FatDateTime::EPOCH);
    let mut rest = entry.data;
    while !rest.is_empty() {
        let written = writer.write(rest)?;
        anyhow::ensure!(written > 0, "the partition is full");
        rest = &rest[written..];
    }
    Ok(writer.finish()?)
}

fn enter<'v>(volume: &'v FatVolume<File>, folder: FatDir<'v, File>, name: &str) -> Result<FatDir<'v, File>> {
    match folder.find(name)? {
        Some(entry) => Ok(folder.open_entry(&entry)?),
        None => Ok(volume.create_dir(&folder, name)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Flavour;

    #[test]
    fn two_partitions_are_equal_and_give_their_files_back() {
        let folder = tempfile::tempdir().expect("folder");
        let profile = Profile::new(Flavour::Cloud, Arch::Amd64);
        let loader = loader(&profile);
        let entries = plan(&profile, b"boot", &[9; 100_000], &loader);
        let paths = [folder.path().join("a"), folder.path().join("b")];
        for path in &paths {
            write(path, 64 << 20, 0x1234_5678, &entries).expect("write");
        }
        assert!(std::fs::read(&paths[0]).expect("a") == std::fs::read(&paths[1]).expect("b"), "bytes differ");
        let bytes = std::fs::read(&paths[0]).expect("a");
        let label = bytes.windows(12).position(|window| window == b"EFI        \x08").expect("label's entry");
        assert_eq!(
            bytes[label + 14..label + 20],
            [0, 0, 0x21, 0, 0x21, 0],
            "the label's times are not the host's"
        );
        let file = File::open(&paths[0]).expect("open");
        let volume = FatVolume::open(&file).expect("volume");
        let linux = volume.root_dir().find("EFI").expect("find").expect("EFI");
        assert!(linux.is_directory());
    }
}
