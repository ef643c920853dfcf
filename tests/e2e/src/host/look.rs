//! Readers of what a host shows about itself. What cannot be read is not there.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corten_sys::{mountinfo, procfs};

use super::{MARK, Names, Process};

/// Folders whose entries are compared, and how many levels of them.
const FOLDERS: [(&str, usize); 11] = [
    ("/", 1),
    ("/dev/shm", 1),
    ("/etc", 1),
    ("/etc/cni", 2),
    ("/opt", 2),
    ("/run", 2),
    ("/srv", 1),
    ("/tmp", 1),
    ("/var", 1),
    ("/var/lib", 1),
    ("/var/tmp", 1),
];
/// Below the home folder.
const HOME_FOLDERS: [(&str, usize); 4] = [("", 1), (".kube", 2), (".talos", 2), (".config", 1)];
/// Parameters of the whole kernel that a kubelet, a container network or an init would change.
const PARAMETERS: [&str; 9] = [
    "kernel/hostname",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];
/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Every process.
pub(super) fn processes() -> BTreeMap<u32, Process> {
    let ids = procfs::process_ids().unwrap_or_default();
    ids.into_iter()
        .filter_map(|pid| {
            let stat = procfs::process_stat(pid).ok()?;
            let marked = is_marked(pid);
            Some((
                pid,
                Process { parent: stat.parent, start_ticks: stat.start_ticks, name: stat.name, marked },
            ))
        })
        .collect()
}

/// Whether a process has our variable in its environment, or is in another process namespace than we are.
fn is_marked(pid: u32) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(MARK.as_bytes()))
        || namespace(&pid.to_string()) != namespace("self")
}

/// Everything else, by kind.
pub(super) fn things(allowed: &[PathBuf]) -> BTreeMap<&'static str, Names> {
    let kinds: [(&str, Vec<String>); 9] = [
        ("mount", mounts()),
        ("network interface", entries("/sys/class/net")),
        ("network namespace", entries("/run/netns")),
        ("loop device", loop_devices()),
        ("listener", listeners()),
        ("control group", control_groups()),
        ("packet filter rule", packet_filter()),
        ("kernel parameter", parameters()),
        ("file", files(allowed)),
    ];
    kinds.into_iter().map(|(kind, names)| (kind, count(names))).collect()
}

fn count(names: Vec<String>) -> Names {
    let mut counted = Names::new();
    for name in names {
        *counted.entry(name).or_default() += 1;
    }
    counted
}

fn entries(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn mounts() -> Vec<String> {
    let mounts = mountinfo::read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
    let name = |mount: &mountinfo::MountEntry| {
        format!("{} ({} of {})", mount.target.display(), mount.fstype, mount.source)
    };
    mounts.iter().map(name).collect()
}

fn loop_devices() -> Vec<String> {
    let backing = |name: String| {
        let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
        Some(format!("/dev/{name} on {}", file.trim()))
    };
    entries("/sys/block").into_iter().filter_map(backing).collect()
}

fn listeners() -> Vec<String> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    parse_listeners(&read("/proc/net/tcp")).chain(parse_listeners(&read("/proc/net/tcp6"))).collect()
}

/// Listening sockets of a table such as `/proc/net/tcp`.
fn parse_listeners(table: &str) -> impl Iterator<Item = String> {
    table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (address, port) = local.split_once(':')?;
        (state == LISTENING).then_some(())?;
        Some(format!("{}:{}", parse_address(address)?, u16::from_str_radix(port, 16).ok()?))
    })
}

/// An address in the kernel's notation: words of four bytes, each in the host's order.
fn parse_address(text: &str) -> Option<String> {
    let words = (0..text.len() / 8).map(|index| {
        let word = u32::from_str_radix(text.get(index * 8..index * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some(format!("[{}]", Ipv6Addr::from(bytes)))
}

/// Groups of every hierarchy.
fn control_groups() -> Vec<String> {
    let mut found = Vec::new();
    let mut queue = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = queue.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path().display().to_string());
                queue.push(entry.path());
            }
        }
    }
    found
}

/// Rules of nftables, where its program is installed, and the tables of its predecessors.
fn packet_filter() -> Vec<String> {
    let nft = Command::new("nft").args(["--stateless", "list", "ruleset"]).stderr(Stdio::null()).output();
    let rules = nft.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let tables = ["ip_tables_names", "ip6_tables_names", "arp_tables_names"]
        .map(|name| fs::read_to_string(Path::new("/proc/net").join(name)).unwrap_or_default());
    std::iter::once(rules)
        .chain(tables)
        .flat_map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>())
        .filter(|line| !line.is_empty())
        .collect()
}

fn parameters() -> Vec<String> {
    let value = |name: &&str| {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        Some(format!("{}={}", name.replace('/', "."), value.trim()))
    };
    PARAMETERS.iter().filter_map(value).collect()
}

fn files(allowed: &[PathBuf]) -> Vec<String> {
    let mut found = Vec::new();
    for (folder, levels) in FOLDERS {
        list(Path::new(folder), levels, allowed, &mut found);
    }
    if let Some(home) = std::env::home_dir() {
        for (folder, levels) in HOME_FOLDERS {
            list(&home.join(folder), levels, allowed, &mut found);
        }
    }
    found
}

fn list(folder: &Path, levels: usize, allowed: &[PathBuf], found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if allowed.contains(&path) {
            continue;
        }
        found.push(path.display().to_string());
        if levels > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&path, levels - 1, allowed, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_in_both_families() {
        let table = "  sl  local_address rem_address   st tx_queue\n   \
             0: 0100007F:C350 00000000:0000 0A 00000000:00000000\n   \
             1: 0100007F:C351 0100007F:1F90 01 00000000:00000000\n   \
             2: 00000000000000000000000001000000:192B 00000000000000000000000000000000:0000 0A 0\n";
        let expected = if cfg!(target_endian = "little") {
            ["127.0.0.1:50000", "[::1]:6443"]
        } else {
            ["1.0.0.127:50000", "[::100:0]:6443"]
        };
        assert_eq!(parse_listeners(table).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn this_host_has_mounts_groups_and_files() {
        let things = things(&[]);
        for kind in ["mount", "file", "network interface", "kernel parameter"] {
            assert!(!things[kind].is_empty(), "{kind}");
        }
    }
}
