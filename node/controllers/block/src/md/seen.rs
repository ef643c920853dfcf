//! Arrays as the kernel has them, and what members say of arrays that it does not have.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::superblock::{self, Superblock};
use crate::sysfs::{self, Sysfs};

/// Everything that a plan is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Arrays by kernel name.
    pub arrays: BTreeMap<String, Array>,
    /// What volumes say, by `/dev/…`.
    pub superblocks: BTreeMap<String, Superblock>,
}

/// An array of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Array {
    /// `/dev/…`, by kernel name.
    pub dev_path: String,
    /// Level, such as `raid1`.
    pub level: String,
    /// Members that it should have.
    pub raid_devices: u32,
    /// Format of its metadata.
    pub metadata: String,
    /// `array_state`, such as `clean`.
    pub state: String,
    /// `sync_action`, such as `idle`; empty where there is nothing to copy.
    pub sync_action: String,
    /// Members that are missing or behind.
    pub degraded: u32,
    /// `/dev/…` of its members, in order.
    pub members: Vec<String>,
    /// Those of its members that failed; the kernel does not use them any more.
    pub failed: Vec<String>,
}

impl Array {
    /// The kernel knows some members and does not use them.
    pub fn is_inactive(&self) -> bool {
        matches!(self.state.as_str(), "inactive" | "clear" | "")
    }

    /// It copies or checks something.
    pub fn is_syncing(&self) -> bool {
        !matches!(self.sync_action.as_str(), "" | "idle" | "frozen")
    }
}

/// Looks at all arrays, and at volumes that may be members: `/dev/…` and size of each.
pub fn look(sysfs: &Sysfs, volumes: &[(String, u64)]) -> Seen {
    let arrays = arrays(sysfs);
    let members = arrays.values().flat_map(|array| &array.members);
    let sized = members.map(|member| (member.clone(), size_of(sysfs, member)));
    let all: BTreeMap<String, u64> = volumes.iter().cloned().chain(sized).collect();
    let read = |(path, size): (String, u64)| match superblock_of(Path::new(&path), size) {
        Ok(found) => found.map(|superblock| (path, superblock)),
        Err(error) => {
            tracing::debug!(
                device = path,
                error = &error as &dyn std::error::Error,
                "cannot read the device"
            );
            None
        }
    };
    Seen { superblocks: all.into_iter().filter_map(read).collect(), arrays }
}

/// What is on a device.
pub fn superblock_of(device: &Path, size_bytes: u64) -> io::Result<Option<Superblock>> {
    superblock::read(&File::open(device)?, size_bytes)
}

fn size_of(sysfs: &Sysfs, dev_path: &str) -> u64 {
    let name = Path::new(dev_path).file_name().unwrap_or_default();
    sysfs::number(&sysfs.sys.join("class/block").join(name).join("size")).unwrap_or(0).saturating_mul(512)
}

/// All arrays of the kernel.
pub fn arrays(sysfs: &Sysfs) -> BTreeMap<String, Array> {
    let block = sysfs.sys.join("block");
    let names = sysfs::names(&block).into_iter().filter(|name| name.starts_with("md"));
    names.filter_map(|name| array(sysfs, &name).map(|array| (name, array))).collect()
}

fn array(sysfs: &Sysfs, name: &str) -> Option<Array> {
    let folder = sysfs.sys.join("block").join(name).join("md");
    folder.is_dir().then_some(())?;
    let text = |file: &str| sysfs::text(&folder.join(file));
    // While the number changes, the old one follows in parentheses.
    let number =
        |file: &str| text(file).split(' ').next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let mut members: Vec<(String, bool)> = sysfs::names(&folder)
        .into_iter()
        .filter(|entry| entry.starts_with("dev-"))
        .filter_map(|entry| {
            let has_failed = text(&format!("{entry}/state")).split(',').any(|state| state == "faulty");
            let device = fs::canonicalize(folder.join(entry).join("block")).ok()?;
            Some((sysfs.dev.join(device.file_name()?).to_string_lossy().into_owned(), has_failed))
        })
        .collect();
    members.sort();
    let failed = members.iter().filter(|(_, has_failed)| *has_failed).map(|(path, _)| path.clone()).collect();
    Some(Array {
        dev_path: sysfs.dev.join(name).to_string_lossy().into_owned(),
        level: text("level"),
        raid_devices: number("raid_disks"),
        metadata: text("metadata_version"),
        state: text("array_state"),
        sync_action: text("sync_action"),
        degraded: number("degraded"),
        members: members.into_iter().map(|(path, _)| path).collect(),
        failed,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_array_is_read_from_the_kernels_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let sysfs = Sysfs { sys: folder.path().join("sys"), dev: "/dev".into(), only: None };
        let md = sysfs.sys.join("block/md127/md");
        for (member, state) in [("vdb", "in_sync\n"), ("vdc", "faulty,write_error\n")] {
            let device = sysfs.sys.join("devices").join(member);
            fs::create_dir_all(&device).expect("a device");
            let entry = md.join(format!("dev-{member}"));
            fs::create_dir_all(&entry).expect("a member");
            symlink(device, entry.join("block")).expect("a link");
            fs::write(entry.join("state"), state).expect("a file");
        }
        for (file, text) in [
            ("level", "raid1\n"),
            ("raid_disks", "3 (2)\n"),
            ("metadata_version", "1.2\n"),
            ("array_state", "clean\n"),
            ("sync_action", "recover\n"),
            ("degraded", "1\n"),
        ] {
            fs::write(md.join(file), text).expect("a file");
        }
        fs::create_dir_all(sysfs.sys.join("block/vdb")).expect("a disk");
        let arrays = arrays(&sysfs);
        let expected = Array {
            dev_path: "/dev/md127".to_owned(),
            level: "raid1".to_owned(),
            raid_devices: 3,
            metadata: "1.2".to_owned(),
            state: "clean".to_owned(),
            sync_action: "recover".to_owned(),
            degraded: 1,
            members: vec!["/dev/vdb".to_owned(), "/dev/vdc".to_owned()],
            failed: vec!["/dev/vdc".to_owned()],
        };
        assert_eq!(arrays, [("md127".to_owned(), expected)].into());
        assert!(arrays["md127"].is_syncing() && !arrays["md127"].is_inactive());
    }
}
