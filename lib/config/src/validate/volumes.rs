//! Rules of volumes, swap and upkeep of file systems, and of `machine.disks`.

use std::collections::HashMap;

use super::{Rules, Validation};
use crate::document::Document;
use crate::node::Node;
use crate::problem::Path;
use crate::selector::{DiskSelector, VolumeSelector};
use crate::values::{self, SizeMax};

/// Volumes of the system that a document may be about.
const SYSTEM: [&str; 2] = ["EPHEMERAL", "STATE"];
/// Volumes of the system that are folders of EPHEMERAL, or come with the image.
const SYSTEM_FIXED: [&str; 5] = ["IMAGECACHE", "ETCD", "CRI", "KUBELET", "LOG"];
/// Longest name: the label of a partition holds 36 characters, two of which say what it is for.
const NAME_CHARACTERS_MAX: usize = 34;
/// Upkeep more often than this would itself be the load, seconds.
const INTERVAL_SECONDS_MIN: u64 = 60;
/// Documents whose volumes appear below `/var/mnt` under their names.
const MOUNTED: [&str; 3] = ["UserVolumeConfig", "ExistingVolumeConfig", "ExternalVolumeConfig"];

/// Rules of one document.
pub(super) fn document(rules: &mut Rules<'_>) {
    match rules.document.id.kind.as_str() {
        "VolumeConfig" => system(rules),
        "UserVolumeConfig" => user(rules),
        "RawVolumeConfig" | "SwapVolumeConfig" => {
            name(rules);
            selected(rules);
            sizes(rules);
        }
        "ExistingVolumeConfig" => existing(rules),
        "ExternalVolumeConfig" => external(rules),
        "FilesystemTrimConfig" | "FilesystemScrubConfig" => interval(rules, &["interval"]),
        _ => return,
    }
    interval(rules, &["trim", "interval"]);
    interval(rules, &["scrub", "interval"]);
}

/// Names of volumes that would be mounted at the same place.
pub(super) fn between(documents: &[Document], out: &mut Validation) {
    let mut seen: HashMap<&str, &Document> = HashMap::new();
    for document in documents.iter().filter(|document| MOUNTED.contains(&document.id.kind.as_str())) {
        match seen.get(document.id.name.as_str()) {
            Some(first) => {
                let message = format!(
                    "{} in line {} is mounted at /var/mnt/{} already; choose another name",
                    first.id, first.node.at.line, document.id.name
                );
                Rules::new(document, out).refuse(&["name"], message);
            }
            None => {
                seen.insert(&document.id.name, document);
            }
        }
    }
}

fn name(rules: &mut Rules<'_>) {
    let name = rules.document.id.name.as_str();
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let has_edges = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && !name.ends_with('-');
    if !is_plain || !has_edges || name.len() > NAME_CHARACTERS_MAX {
        let message = format!(
            "{name:?} is not a name of a volume (letters, digits and dashes between them, up to {NAME_CHARACTERS_MAX})"
        );
        rules.refuse(&["name"], message);
    }
}

fn system(rules: &mut Rules<'_>) {
    let name = rules.document.id.name.clone();
    if SYSTEM_FIXED.contains(&name.as_str()) {
        return rules.refuse(&["name"], format!("a volume of its own for {name} is not yet supported"));
    }
    if !SYSTEM.contains(&name.as_str()) {
        let message = format!("{name:?} is no volume of the system; there is {}", SYSTEM.join(", "));
        return rules.refuse(&["name"], message);
    }
    if name == "STATE" {
        unused(
            rules,
            &["provisioning", "filesystem", "mount"],
            "STATE is always made and mounted in the same way",
        );
    }
    disk_expression(rules);
    sizes(rules);
}

fn user(rules: &mut Rules<'_>) {
    name(rules);
    match rules.text(&["volumeType"]).unwrap_or("partition") {
        "directory" => {
            let why = "a folder has the disk, the file system and the mount of EPHEMERAL";
            unused(rules, &["provisioning", "filesystem", "mount", "trim", "scrub"], why);
        }
        "disk" => {
            selected(rules);
            for key in ["minSize", "maxSize", "grow"] {
                let keys = ["provisioning", key];
                if rules.get(&keys).is_some() {
                    rules.refuse(&keys, "a whole disk has the size that it has");
                }
            }
        }
        _ => {
            selected(rules);
            sizes(rules);
        }
    }
    let is_xfs = rules.text(&["filesystem", "type"]).is_none_or(|kind| kind == "xfs");
    if !is_xfs && rules.get(&["filesystem", "xfs"]).is_some_and(|node| !node.is_zero()) {
        rules.refuse(&["filesystem", "xfs"], "the file system is another one");
    }
}

fn unused(rules: &mut Rules<'_>, keys: &[&str], why: &str) {
    for key in keys {
        if rules.get(&[key]).is_some_and(|node| !node.is_zero()) {
            rules.refuse(&[key], format!("not allowed here; {why}"));
        }
    }
}

fn existing(rules: &mut Rules<'_>) {
    name(rules);
    let keys = ["discovery", "volumeSelector", "match"];
    match rules.text(&keys).map(VolumeSelector::parse) {
        None => {
            rules.refuse(&keys, "missing; say which volume it is, as in volume.partition_label == 'data'")
        }
        Some(Err(error)) => rules.refuse(&keys, error.to_string()),
        Some(Ok(_)) => {}
    }
}

fn external(rules: &mut Rules<'_>) {
    name(rules);
    if rules.text(&["filesystemType"]).is_none() {
        rules.refuse(&["filesystemType"], "missing; there is virtiofs");
    }
    if rules.text(&["mount", "virtiofs", "tag"]).is_none() {
        rules.refuse(&["mount", "virtiofs", "tag"], "missing; the host knows the volume by it");
    }
}

/// A disk must be chosen, and by an expression that can choose one.
fn selected(rules: &mut Rules<'_>) {
    let keys = ["provisioning", "diskSelector", "match"];
    if rules.text(&keys).is_none() {
        let message = "missing; say which disks it may be on, as in disk.transport == 'nvme' && !system_disk";
        return rules.refuse(&keys, message);
    }
    disk_expression(rules);
}

fn disk_expression(rules: &mut Rules<'_>) {
    let keys = ["provisioning", "diskSelector", "match"];
    if let Some(Err(error)) = rules.text(&keys).map(DiskSelector::parse) {
        rules.refuse(&keys, error.to_string());
    }
}

fn sizes(rules: &mut Rules<'_>) {
    let least = rules.text(&["provisioning", "minSize"]).and_then(values::size);
    let keys = ["provisioning", "maxSize"];
    let Some(text) = rules.text(&keys) else { return };
    match values::size_max(text) {
        None => {
            let message = format!("{text:?} is not a size such as 50GiB, 80% or -10GiB");
            rules.refuse(&keys, message);
        }
        Some(SizeMax::Bytes(most)) if least.is_some_and(|least| least > most) => {
            rules.refuse(&keys, "less than minSize");
        }
        Some(_) => {}
    }
}

fn interval(rules: &mut Rules<'_>, keys: &[&str]) {
    let interval = rules.text(keys).and_then(values::duration);
    if interval.is_some_and(|every| !every.is_zero() && every.as_secs() < INTERVAL_SECONDS_MIN) {
        rules.refuse(keys, format!("shorter than {INTERVAL_SECONDS_MIN} seconds"));
    }
}

/// `machine.disks`: partitions have places of their own below `/var`.
pub(super) fn disks(rules: &mut Rules<'_>) {
    let machine = Path::ROOT.key("machine");
    let list = machine.key("disks");
    let mut devices: HashMap<&str, u32> = HashMap::new();
    for (index, disk) in rules.items(&["machine", "disks"]).iter().enumerate() {
        let path = list.index(index);
        let text =
            |node: &'_ Node, key: &str| node.get(key).and_then(Node::as_text).unwrap_or_default().to_owned();
        let device = disk.get("device").and_then(Node::as_text).unwrap_or_default();
        if !device.starts_with("/dev/") {
            rules.refuse_at(
                &path.key("device"),
                disk.at,
                format!("{device:?} is not a device such as /dev/sdb"),
            );
        }
        *devices.entry(device).or_default() += 1;
        if devices.get(device).is_some_and(|count| *count > 1) {
            rules.refuse_at(&path.key("device"), disk.at, format!("{device} is there twice"));
        }
        let partitions = path.key("partitions");
        let all = disk.get("partitions").and_then(Node::as_list).unwrap_or_default();
        for (index, partition) in all.iter().enumerate() {
            let path = partitions.index(index);
            let target = text(partition, "mountpoint");
            let is_inside = target.starts_with("/var/") && !target.split('/').any(|part| part == "..");
            if !is_inside {
                rules.refuse_at(
                    &path.key("mountpoint"),
                    partition.at,
                    format!("{target:?} is not below /var"),
                );
            }
            let size = partition.get("size").and_then(Node::as_text).and_then(values::size).unwrap_or(0);
            if size == 0 && index + 1 < all.len() {
                rules.refuse_at(
                    &path.key("size"),
                    partition.at,
                    "missing; only the last one takes what is left",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Target};

    fn problems(document: &str) -> Vec<String> {
        let text = format!("apiVersion: v1alpha1\n{document}");
        match Config::check(text.as_bytes(), Target::Installed) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.in_file("v.yaml"),
        }
    }

    #[test]
    fn volumes_that_can_be_made_are_taken() {
        for document in [
            "kind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {diskSelector: {match: 'disk.size > 10u * GB'}, maxSize: 80%}\n",
            "kind: VolumeConfig\nname: STATE\ntrim: {enabled: true, interval: 1h}\n",
            "kind: UserVolumeConfig\nname: data\nprovisioning: {diskSelector: {match: '!system_disk'}, minSize: 1GiB, maxSize: -2GiB}\nfilesystem: {type: ext4}\n",
            "kind: UserVolumeConfig\nname: cache\nvolumeType: directory\n",
            "kind: UserVolumeConfig\nname: all\nvolumeType: disk\nprovisioning: {diskSelector: {match: \"disk.transport == 'nvme'\"}}\n",
            "kind: RawVolumeConfig\nname: raw\nprovisioning: {diskSelector: {match: 'true'}, minSize: 1GiB}\n",
            "kind: SwapVolumeConfig\nname: swap1\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GiB, maxSize: 1GiB}\n",
            "kind: ExistingVolumeConfig\nname: old\ndiscovery: {volumeSelector: {match: \"volume.label == 'x'\"}}\nmount: {readOnly: true}\n",
            "kind: ExternalVolumeConfig\nname: share\nfilesystemType: virtiofs\nmount: {virtiofs: {tag: Data}}\n",
            "kind: ZswapConfig\nmaxPoolPercent: 25\n",
            "kind: FilesystemTrimConfig\ninterval: 168h\n",
        ] {
            assert_eq!(problems(document), Vec::<String>::new(), "{document}");
        }
    }

    #[test]
    fn what_cannot_be_made_is_refused_with_the_reason() {
        for (document, part) in [
            ("kind: VolumeConfig\nname: DATA\n", "no volume of the system"),
            ("kind: VolumeConfig\nname: ETCD\n", "ETCD is not yet supported"),
            ("kind: VolumeConfig\nname: STATE\nprovisioning: {minSize: 1GiB}\n", "always made"),
            ("kind: UserVolumeConfig\nname: data\n", "which disks"),
            ("kind: UserVolumeConfig\nname: a_b\nvolumeType: directory\n", "not a name of a volume"),
            (
                "kind: UserVolumeConfig\nname: a\nvolumeType: directory\nfilesystem: {type: ext4}\n",
                "a folder has",
            ),
            (
                "kind: UserVolumeConfig\nname: a\nvolumeType: disk\nprovisioning: {minSize: 1GiB, diskSelector: {match: 'true'}}\n",
                "a whole disk",
            ),
            (
                "kind: UserVolumeConfig\nname: a\nprovisioning: {diskSelector: {match: 'disk.colour == 1'}}\n",
                "colour",
            ),
            (
                "kind: UserVolumeConfig\nname: a\nprovisioning: {diskSelector: {match: 'true'}}\nfilesystem: {type: btrfs}\n",
                "not yet supported",
            ),
            (
                "kind: RawVolumeConfig\nname: a\nprovisioning: {diskSelector: {match: 'true'}, minSize: 2GiB, maxSize: 1GiB}\n",
                "less than minSize",
            ),
            (
                "kind: RawVolumeConfig\nname: a\nprovisioning: {diskSelector: {match: 'true'}, maxSize: much}\n",
                "not a size",
            ),
            (
                "kind: RawVolumeConfig\nname: a\nprovisioning: {diskSelector: {match: 'true'}}\nencryption: {provider: luks2}\n",
                "encryption",
            ),
            ("kind: ExistingVolumeConfig\nname: a\n", "which volume"),
            ("kind: ExternalVolumeConfig\nname: a\n", "virtiofs"),
            ("kind: FilesystemTrimConfig\ninterval: 1s\n", "shorter than"),
        ] {
            let problems = problems(document).join("\n");
            assert!(problems.contains(part), "{document}: {problems}");
        }
    }

    #[test]
    fn two_volumes_do_not_share_a_mount_point() {
        let text = "kind: UserVolumeConfig\nname: data\nvolumeType: directory\n---\napiVersion: v1alpha1\nkind: ExternalVolumeConfig\nname: data\nfilesystemType: virtiofs\nmount: {virtiofs: {tag: d}}\n";
        let problems = problems(text).join("\n");
        assert!(problems.contains("mounted at /var/mnt/data already"), "{problems}");
    }
}
