//! Disks, volumes and space.

use corten_resources::block::{VolumePhase, VolumeStatus};

use crate::vitals::FilesystemFact;
use crate::{Diagnosis, Evidence, Facts, Severity};

/// A file system with less than this part of it free is full, and with less than twice as much soon.
const FREE_PART_MIN: u64 = 20;
/// With so many bytes free it is not full however large it is.
const FREE_ENOUGH: u64 = 4 << 30;
/// File systems of these kinds are full by nature, or are memory.
const FULL_BY_NATURE: &[&str] =
    &["squashfs", "erofs", "iso9660", "tmpfs", "devtmpfs", "overlay", "proc", "sysfs", "efivarfs"];
/// Places that are judged whatever they are made of.
const OWN: &[&str] = &["/var", "/system/state"];
/// What the kernel says of a disk that fails.
const DISK_ERRORS: &[&str] = &[
    "I/O error, dev",
    "blk_update_request",
    "critical medium error",
    "EXT4-fs error",
    "Metadata corruption",
    "Corruption detected",
    "Remounting filesystem read-only",
];

/// The diagnoses.
pub(crate) const TABLE: &[Diagnosis] = &[
    Diagnosis {
        id: "disk-errors",
        title: "A disk or its file system reports errors.",
        why: "Reads and writes fail or come late; what is on it may be damaged, and etcd and containers stop without \
              a reason of their own.",
        remedy: &[
            "Look at all of it with `corten dmesg`.",
            "Save what is needed: `corten etcd snapshot` on a control plane.",
            "Replace the disk, reset the machine and let it join again.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: disk_errors,
    },
    Diagnosis {
        id: "volume-failed",
        title: "A volume cannot be used.",
        why: "What needs it waits for it: without STATE there is no configuration, without EPHEMERAL no Kubernetes.",
        remedy: &[
            "Read what it says, and `corten get volumestatus NAME -o yaml` for all of it.",
            "See with `corten get disks` and `corten get discoveredvolumes` what the machine has.",
            "Correct the selector, the size or the key in the document that describes the volume, and apply it.",
        ],
        severity: Severity::Problem,
        after: &["disk-errors"],
        find: volume_failed,
    },
    Diagnosis {
        id: "volume-waits",
        title: "A volume waits for a disk that is not there.",
        why: "No disk fits its selector, or the one that does has no room; whatever is to be mounted there waits.",
        remedy: &[
            "Compare the selector of the volume with `corten get disks`.",
            "Add a disk, wipe one with `corten wipe disk`, or ask for less.",
        ],
        severity: Severity::Problem,
        after: &["disk-errors"],
        find: volume_waits,
    },
    Diagnosis {
        id: "disk-full",
        title: "A file system is full.",
        why: "etcd raises an alarm and refuses writes, the kubelet evicts pods, images cannot be pulled, logs end.",
        remedy: &[
            "See what takes the room with `corten usage -H -d 2 /var`.",
            "Remove images that are not needed with `corten image remove`, and pods with large volumes of their own.",
            "Give the volume a larger disk.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: |facts| filled(facts, true),
    },
    Diagnosis {
        id: "disk-nearly-full",
        title: "A file system is nearly full.",
        why: "The kubelet begins to remove images and pods at 85 to 90 percent, and what grows will fill the rest.",
        remedy: &["See what takes the room with `corten usage -H -d 2 /var`, and make some."],
        severity: Severity::Warning,
        after: &[],
        find: |facts| filled(facts, false),
    },
];

fn disk_errors(facts: &Facts) -> Vec<Evidence> {
    let last = facts.lines(Facts::KERNEL, DISK_ERRORS).next();
    last.map(|line| Evidence::new("the kernel tells of errors of a disk").with(line)).into_iter().collect()
}

fn volumes(facts: &Facts, is_meant: impl Fn(&VolumeStatus) -> bool, verb: &str) -> Vec<Evidence> {
    let meant = facts.list::<VolumeStatus>().filter(|volume| is_meant(&volume.spec));
    meant
        .map(|volume| Evidence::new(format!("volume {} {verb}", volume.id())).with(&volume.error_message))
        .collect()
}

fn volume_failed(facts: &Facts) -> Vec<Evidence> {
    volumes(facts, |volume| volume.phase == VolumePhase::Failed, "has failed")
}

fn volume_waits(facts: &Facts) -> Vec<Evidence> {
    // Until a machine has a configuration it makes no volumes, and says so of each.
    if !facts.is_running() {
        return Vec::new();
    }
    let waits = |volume: &VolumeStatus| {
        matches!(volume.phase, VolumePhase::Waiting | VolumePhase::Missing)
            && !volume.error_message.is_empty()
    };
    volumes(facts, waits, "is not there")
}

fn filled(facts: &Facts, is_full: bool) -> Vec<Evidence> {
    let level = |filesystem: &FilesystemFact| {
        let FilesystemFact { source, target, size, available } = filesystem;
        let is_own = OWN.contains(&target.as_str());
        let is_judged = *size > 0 && (is_own || !FULL_BY_NATURE.contains(&source.as_str()));
        let is_low = *available < FREE_ENOUGH && *available < size / FREE_PART_MIN;
        let is_getting_low = *available < 2 * FREE_ENOUGH && *available < size / FREE_PART_MIN * 2;
        (is_judged && is_getting_low && is_low == is_full).then(|| {
            let (free, all) = (available >> 20, size >> 20);
            Evidence::new(format!("{target} has {free} MiB free of {all} MiB"))
        })
    };
    // What is mounted in several places is one file system.
    let mut told: Vec<&FilesystemFact> = Vec::new();
    for filesystem in &facts.vitals.filesystems {
        if !told.iter().any(|other| other.source == filesystem.source && other.size == filesystem.size) {
            told.push(filesystem);
        }
    }
    told.into_iter().filter_map(level).collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::resource;

    use super::*;
    use crate::testing::{check, check_absent, facts, ids, log, running, vitals};
    use crate::vitals::Vitals;

    fn space(source: &str, size: u64, available: u64) -> Facts {
        let one = |target: &str| FilesystemFact {
            source: source.to_owned(),
            target: target.to_owned(),
            size,
            available,
        };
        vitals(Vitals { filesystems: vec![one("/var"), one("/var/lib/kubelet/pods/x")], ..Vitals::default() })
    }

    #[test]
    fn a_full_file_system_is_told_of_once() {
        check(&space("/dev/vda4", 10 << 30, 100 << 20), "disk-full", "/var has 100 MiB free of 10240 MiB");
        check(
            &space("/dev/vda4", 10 << 30, 800 << 20),
            "disk-nearly-full",
            "/var has 800 MiB free of 10240 MiB",
        );
        let image =
            FilesystemFact { source: "squashfs".to_owned(), target: "/".to_owned(), size: 100, available: 0 };
        for fine in [
            vitals(Vitals { filesystems: vec![image], ..Vitals::default() }),
            space("/dev/vda4", 10 << 30, 5 << 30),
            space("/dev/sda1", 1 << 50, 9 << 30),
        ] {
            assert!(ids(&fine).is_empty(), "{:?}", ids(&fine));
        }
    }

    #[test]
    fn a_volume_that_failed_says_why_and_one_that_waits_is_told_of_when_the_machine_runs() {
        let volume = |phase, text: &str| {
            resource(
                "u-data",
                VolumeStatus { phase, error_message: text.to_owned(), ..VolumeStatus::default() },
            )
        };
        let failed = facts([volume(VolumePhase::Failed, "no key opens it")]);
        check(&failed, "volume-failed", "volume u-data has failed");
        let waits = volume(VolumePhase::Waiting, "no disk fits");
        check_absent(&facts([waits.clone()]), "volume-waits");
        check(&facts([waits, running()]), "volume-waits", "volume u-data is not there");
        check_absent(&facts([volume(VolumePhase::Missing, ""), running()]), "volume-waits");
    }

    #[test]
    fn what_the_kernel_says_of_a_disk_is_told() {
        let facts = log(Facts::KERNEL, "a\nkern: err: blk: I/O error, dev sda, sector 7 op 0x0:(READ)\nb\n");
        check(&facts, "disk-errors", "the kernel tells of errors of a disk");
    }
}
