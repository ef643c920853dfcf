//! Takes volumes of LVM away, which only clients ask for.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use corten_base::blocking;
use corten_resources::storage::LvmLogicalVolumeStatus;
use corten_supervisor::Client;
use corten_sys::block;
use rustix::fs::{Mode, OFlags};

use super::programs::{LVM, Lvm};
use super::report::Report;
use crate::sysfs::Sysfs;
use crate::volumes::InitPrograms;
use crate::wipe_device::look;

const DEADLINE: Duration = Duration::from_secs(60);

/// Why nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum LvmError {
    /// A name is missing, or none of LVM's.
    #[error("{0:?} is not a name of LVM")]
    NoName(String),
    /// There is no such thing.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// What it would be.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Something uses it.
    #[error("{kind} {name:?} is in use by {user}")]
    InUse {
        /// What it is.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Who uses it.
        user: String,
    },
    /// lvm refused.
    #[error("cannot remove {name:?}")]
    Failed {
        /// What should be removed.
        name: String,
        /// Why.
        #[source]
        source: anyhow::Error,
    },
}

/// Removes a logical volume that nothing uses.
///
/// # Errors
/// Names what uses it, and what failed.
pub async fn logical_volume(init: &Client, group: &str, name: &str) -> Result<(), LvmError> {
    let full_name = format!("{}/{}", checked(group)?, checked(name)?);
    let report = report(init, &full_name).await?;
    let volume = report.volume(group, name);
    let kind = "logical volume";
    let volume = volume.ok_or_else(|| LvmError::NotFound { kind, name: full_name.clone() })?;
    must_be_free(volume).await?;
    run(init, &["lvremove", "--yes", &full_name], &full_name).await
}

/// Removes a group with all of its logical volumes, none of which may be used.
///
/// # Errors
/// Names what uses a volume, and what failed.
pub async fn volume_group(init: &Client, group: &str) -> Result<(), LvmError> {
    let report = report(init, checked(group)?).await?;
    let kind = "volume group";
    if report.group(group).is_none() {
        return Err(LvmError::NotFound { kind, name: group.to_owned() });
    }
    for volume in report.logical.iter().filter(|volume| volume.vg_name == group && !volume.path.is_empty()) {
        must_be_free(volume).await?;
    }
    run(init, &["vgremove", "--yes", group], group).await
}

/// Removes the label of a physical volume that is in no group.
///
/// # Errors
/// Names the group that uses it, and what failed.
pub async fn physical_volume(init: &Client, device: &str) -> Result<(), LvmError> {
    let is_path = device.starts_with("/dev/") && !device.split('/').any(|part| part == "..");
    if !is_path {
        return Err(LvmError::NoName(device.to_owned()));
    }
    let report = report(init, device).await?;
    let real = |path: &str| std::fs::canonicalize(path).unwrap_or_else(|_| Path::new(path).to_owned());
    let (kind, wanted) = ("physical volume", real(device));
    let volume =
        report.physical.iter().find(|volume| volume.device == device || real(&volume.device) == wanted);
    let volume = volume.ok_or_else(|| LvmError::NotFound { kind, name: device.to_owned() })?;
    if !volume.vg_name.is_empty() {
        let user = format!("volume group {:?}; remove that first", volume.vg_name);
        return Err(LvmError::InUse { kind, name: device.to_owned(), user });
    }
    run(init, &["pvremove", "--yes", &volume.device], device).await?;
    let path = volume.device.clone();
    let cleared = blocking(DEADLINE, move || clear(Path::new(&path))).await;
    let cleared = cleared.map_err(anyhow::Error::from).flatten();
    cleared.map_err(|source| LvmError::Failed { name: device.to_owned(), source })
}

/// Takes what groups left at the ends of a device, which lvm leaves behind the label, so that it counts as blank.
fn clear(device: &Path) -> anyhow::Result<()> {
    const END_BYTES: u64 = 1 << 20;
    let flags = OFlags::RDWR | OFlags::EXCL | OFlags::CLOEXEC;
    let device = File::from(rustix::fs::open(device, flags, Mode::empty())?);
    let size = block::size_bytes(&device)?;
    let length = size.min(END_BYTES);
    block::zero_out(&device, 0, length)?;
    block::zero_out(&device, size - length, length)?;
    Ok(device.sync_all()?)
}

/// A name that LVM could have given, and that is no option of a program.
fn checked(name: &str) -> Result<&str, LvmError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    let is_name =
        !name.is_empty() && name.len() <= 128 && !name.starts_with('-') && name.chars().all(is_allowed);
    if is_name { Ok(name) } else { Err(LvmError::NoName(name.to_owned())) }
}

async fn report(init: &Client, name: &str) -> Result<Report, LvmError> {
    let report = InitPrograms(init.clone()).report().await;
    report.map_err(|source| LvmError::Failed { name: name.to_owned(), source })
}

async fn must_be_free(volume: &LvmLogicalVolumeStatus) -> Result<(), LvmError> {
    if volume.device_open != "open" {
        return Ok(());
    }
    let (kernel, dm_path) = (format!("dm-{}", volume.kernel_minor), volume.dm_path.clone());
    let look = move || look::look(&Sysfs::default(), &kernel);
    let seen = blocking(DEADLINE, look).await.ok().flatten();
    let user =
        seen.and_then(|seen| seen.user()).unwrap_or_else(|| format!("a program that has {dm_path} open"));
    Err(LvmError::InUse { kind: "logical volume", name: volume.full_name.clone(), user })
}

async fn run(init: &Client, arguments: &[&str], name: &str) -> Result<(), LvmError> {
    use crate::volumes::Programs as _;
    let argv: Vec<String> = [LVM].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let run_name = format!("lvm-remove-{}", name.trim_start_matches("/dev/").replace('/', "-"));
    let run = InitPrograms(init.clone()).run(&run_name, &argv).await;
    run.map_err(|source| LvmError::Failed { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_options_and_no_paths() {
        for name in ["", "--force", "a/b", "a b", "a\n"] {
            assert!(matches!(checked(name), Err(LvmError::NoName(_))), "{name}");
        }
        assert_eq!(checked("vg-0_data.1+").expect("a name"), "vg-0_data.1+");
    }

    #[tokio::test]
    async fn a_volume_that_is_not_open_is_free_and_one_that_is_names_somebody() {
        let volume = LvmLogicalVolumeStatus {
            full_name: "vg/data".to_owned(),
            dm_path: "/dev/mapper/vg-data".to_owned(),
            kernel_minor: "4000".to_owned(),
            ..LvmLogicalVolumeStatus::default()
        };
        must_be_free(&volume).await.expect("it is free");
        let open = LvmLogicalVolumeStatus { device_open: "open".to_owned(), ..volume };
        let refused = must_be_free(&open).await.expect_err("it is open");
        assert_eq!(
            refused.to_string(),
            "logical volume \"vg/data\" is in use by a program that has /dev/mapper/vg-data open"
        );
    }
}
