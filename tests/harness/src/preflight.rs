//! What a host must have, found out by trying. Every miss is one clear sentence.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use corten_sys::namespace::{Namespaces, unshare};
use corten_sys::network::{Links, PeerNamespace};
use corten_sys::{cgroup, procfs};

const MEMORY_MIN_BYTES: u64 = 2 << 30;

/// What is missing for a container machine; empty if nothing is.
pub fn container_machine() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("Container machines need root: run this as root.".to_owned());
        return missing;
    }
    for filesystem in ["overlay", "tmpfs", "proc", "sysfs"] {
        if !has_filesystem(filesystem) {
            missing.push(format!("This kernel has no {filesystem} filesystem."));
        }
    }
    let all = Namespaces::NET
        .and(Namespaces::MOUNT)
        .and(Namespaces::UTS)
        .and(Namespaces::IPC)
        .and(Namespaces::CGROUP)
        .and(Namespaces::PID);
    let probed = std::thread::scope(|scope| scope.spawn(|| unshare(all).map(|()| network_misses())).join());
    match probed {
        Ok(Ok(misses)) => missing.extend(misses),
        _ => missing.push("This host does not let root make namespaces.".to_owned()),
    }
    if cgroup::Cgroups::detect(Path::new("/sys/fs/cgroup")).is_err() {
        missing.push("No control groups are mounted at /sys/fs/cgroup.".to_owned());
    }
    missing.extend(memory(MEMORY_MIN_BYTES));
    missing
}

/// Whether a machine that needs so many bytes of memory finds them.
pub fn memory(needed: u64) -> Option<String> {
    let free = procfs::meminfo().ok().and_then(|info| info.get("MemAvailable").copied()).unwrap_or_default();
    let (needed_mib, free_mib) = (needed >> 20, free >> 20);
    (free < needed)
        .then(|| format!("A machine needs {needed_mib} MiB of free memory, and there are {free_mib} MiB."))
}

/// Which of these ports of the loopback are taken.
pub fn ports(ports: &[u16]) -> Vec<String> {
    let is_taken = |port: &&u16| TcpListener::bind((Ipv4Addr::LOCALHOST, **port)).is_err();
    ports.iter().filter(is_taken).map(|port| format!("Port {port} of 127.0.0.1 is taken.")).collect()
}

/// In a fresh network namespace: can it have a bridge and a cable?
fn network_misses() -> Vec<String> {
    let mut missing = Vec::new();
    let Ok(mut links) = Links::open() else {
        return vec!["This kernel has no rtnetlink.".to_owned()];
    };
    if links.add_bridge("probe0").is_err() {
        missing.push("This kernel has no network bridges (CONFIG_BRIDGE).".to_owned());
    }
    let this_thread = rustix::thread::gettid().as_raw_pid();
    let here = PeerNamespace::Process(u32::try_from(this_thread).unwrap_or_default());
    if links.add_cable("probe1", "probe2", [2, 0, 0, 0, 0, 1], here).is_err() {
        missing.push("This kernel has no virtual cables (CONFIG_VETH).".to_owned());
    }
    missing
}

fn has_filesystem(name: &str) -> bool {
    let text = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines().any(|line| line.split_whitespace().next_back() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_memory_is_told_with_both_figures() {
        assert_eq!(memory(0), None);
        let told = memory(u64::MAX).unwrap();
        assert!(told.contains("17592186044415 MiB") && told.contains("there are"), "{told}");
    }

    #[test]
    fn a_taken_port_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let missing = ports(&[port]);
        assert!(missing.len() == 1 && missing[0].contains(&port.to_string()));
    }
}
