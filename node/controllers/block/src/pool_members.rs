//! Volumes that arrays and volume groups may be made of.
//!
//! ```text
//! DiscoveredVolume, Disk, SystemDisk ─▶ candidates ─selector▶ members
//! ```
//! A disk with partitions is none, its partitions are. What is on the system disk never is, so that there are none before
//! that is known.

use corten_config::selector::{self, VolumeSelector};
use corten_resources::block::{DiscoveredVolume, Disk};

use crate::volumes::layout::{seen, seen_volume};

/// A volume that may be a member.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The volume.
    pub volume: &'a DiscoveredVolume,
    /// The disk that it is the whole of.
    disk: Option<&'a Disk>,
}

impl Candidate<'_> {
    /// `/dev/…`.
    pub fn dev_path(&self) -> &str {
        &self.volume.dev_path
    }
}

/// All volumes that may be members; `disks` and `volumes` are by kernel name.
pub fn candidates<'a>(
    disks: &[(&str, &'a Disk)],
    volumes: &[(&str, &'a DiscoveredVolume)],
    system_disk: Option<&str>,
) -> Vec<Candidate<'a>> {
    let disk_of = |name: &str| disks.iter().find(|(disk, _)| *disk == name).map(|(_, disk)| *disk);
    let has_parts = |name: &str| volumes.iter().any(|(_, volume)| volume.parent == name);
    let mut found = Vec::new();
    let Some(system_disk) = system_disk else { return found };
    for (name, volume) in volumes {
        let parent = if volume.parent.is_empty() { *name } else { volume.parent.as_str() };
        let is_writable = disk_of(parent).is_some_and(|disk| !disk.readonly && !disk.cdrom);
        let is_split = has_parts(name) || volume.name == "gpt";
        if is_writable && !is_split && system_disk != parent && !volume.dev_path.is_empty() {
            found.push(Candidate { volume, disk: disk_of(name) });
        }
    }
    found
}

/// The candidates for which an expression is true, in order of their paths. Of partitions it sees no disk.
pub fn select<'a>(expression: &str, candidates: &[Candidate<'a>]) -> Result<Vec<Candidate<'a>>, String> {
    let selector = VolumeSelector::parse(expression).map_err(|error| error.to_string())?;
    let mut members = Vec::new();
    for candidate in candidates {
        let disk = candidate.disk.map_or_else(selector::Disk::default, |disk| seen(disk, false));
        let matches = selector.matches(&seen_volume(candidate.volume), &disk);
        if matches.map_err(|error| format!("{}: {error}", candidate.dev_path()))? {
            members.push(*candidate);
        }
    }
    members.sort_by_key(|member| member.volume.dev_path.clone());
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_whole_disks_and_partitions_that_are_not_the_systems() {
        let disk = |transport: &str| Disk { transport: transport.to_owned(), ..Disk::default() };
        let volume = |name: &str, parent: &str, label: &str| DiscoveredVolume {
            dev_path: format!("/dev/{name}"),
            parent: parent.to_owned(),
            partition_label: label.to_owned(),
            ..DiscoveredVolume::default()
        };
        let (virtio, nvme) = (disk("virtio"), disk("nvme"));
        let read_only = Disk { readonly: true, ..disk("nvme") };
        let disks = [("vda", &virtio), ("nvme0n1", &nvme), ("nvme1n1", &nvme), ("nvme2n1", &read_only)];
        let all = [
            ("vda", volume("vda", "", "")),
            ("vda4", volume("vda4", "vda", "r-lvm")),
            ("nvme0n1", volume("nvme0n1", "", "")),
            ("nvme1n1", volume("nvme1n1", "", "")),
            ("nvme1n1p1", volume("nvme1n1p1", "nvme1n1", "r-lvm")),
            ("nvme2n1", volume("nvme2n1", "", "")),
        ];
        let volumes = all.each_ref().map(|(name, volume)| (*name, volume));
        let found = candidates(&disks, &volumes, Some("vda"));
        let chosen = |expression: &str| -> Result<Vec<String>, String> {
            let members = select(expression, &found)?;
            Ok(members.iter().map(|member| member.dev_path().to_owned()).collect())
        };
        assert_eq!(chosen("disk.transport == 'nvme'").as_deref(), Ok(["/dev/nvme0n1".to_owned()].as_slice()));
        assert_eq!(
            chosen("volume.partition_label == 'r-lvm'").as_deref(),
            Ok(["/dev/nvme1n1p1".to_owned()].as_slice())
        );
        assert_eq!(chosen("true").map(|members| members.len()), Ok(2));
        assert!(chosen("disk.sise > 1").is_err());
        assert!(candidates(&disks, &volumes, None).is_empty());
    }
}
