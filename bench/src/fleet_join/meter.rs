//! What processes cost, from `/proc`: processor time, memory by part, open files, and where they run.
//!
//! The kernel does not tell whose its memory is. What it keeps for the sockets of some processes is counted by how many
//! there are and what one of each takes (`/proc/slabinfo`); what waits in the queues of TCP is that of the whole host,
//! emulators included, so that the sum is rather too high than too low.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use corten_sys::procfs;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::{Value, json};

/// What the kernel keeps for a TCP socket: the socket, its inode, its file and its name.
const SLABS: [&str; 4] = ["TCPv6", "sock_inode_cache", "filp", "dentry"];
/// The same where `/proc/slabinfo` cannot be read, bytes; measured on Linux 6.1, x86-64.
const SOCKET_BYTES: u64 = 3712;
/// Packets that wait in a TUN link at most (the kernel's `TUN_READQ_SIZE`), each in a buffer of this size, bytes.
const TUN_BYTES_MAX: u64 = 500 * 2304;

/// Memory by part, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The manager itself (PSS).
    pub process: u64,
    /// What it has started (PSS).
    pub children: u64,
    /// The kernel's part of their sockets.
    pub sockets: u64,
    /// What waits in the queues of TCP, of the whole host.
    pub queues: u64,
    /// What may wait in the TUN link.
    pub tun: u64,
}

impl Memory {
    /// Of these processes, the first of which started the others.
    pub fn of(processes: &[u32]) -> Result<Self> {
        let (process, children) = processes.split_first().context("there is no process")?;
        let pss = |pid: &u32| {
            procfs::pss_bytes(*pid).with_context(|| format!("cannot measure the memory of process {pid}"))
        };
        let sockstat = fs::read_to_string("/proc/net/sockstat").context("cannot read /proc/net/sockstat")?;
        let each = fs::read_to_string("/proc/slabinfo").ok().and_then(|text| socket_bytes(&text));
        Ok(Self {
            process: pss(process)?,
            children: children.iter().map(pss).sum::<Result<u64>>()?,
            sockets: sockets(processes)? * each.unwrap_or(SOCKET_BYTES),
            queues: tcp_pages(&sockstat) * procfs::page_bytes(),
            tun: TUN_BYTES_MAX,
        })
    }

    /// All of it.
    pub const fn total(self) -> u64 {
        self.process + self.children + self.sockets + self.queues + self.tun
    }

    /// Each part by its name.
    pub fn json(self) -> Value {
        json!({
            "process": self.process,
            "children": self.children,
            "sockets": self.sockets,
            "queues_of_host": self.queues,
            "tun_at_most": self.tun,
            "total": self.total(),
        })
    }
}

/// Processor time of processes that are alive, seconds.
pub fn seconds(processes: &[u32]) -> f64 {
    let ticks: u64 = processes
        .iter()
        .filter_map(|pid| procfs::process_stat(*pid).ok())
        .map(|stat| stat.user_ticks + stat.system_ticks)
        .sum();
    ticks as f64 / procfs::ticks_per_second() as f64
}

/// Most open files of one of the processes, and how many it may have.
pub fn open_files(processes: &[u32]) -> Result<(u64, u64)> {
    let mut most = (0, 0);
    for pid in processes {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).context("cannot list open files")?.count() as u64;
        if files >= most.0 {
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).context("cannot read limits")?;
            most = (files, open_files_max(&limits).unwrap_or(u64::MAX));
        }
    }
    Ok(most)
}

/// `Max open files            20000                20000                files` is 20000.
fn open_files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How many sockets the processes have; one that two of them share counts once.
fn sockets(processes: &[u32]) -> Result<u64> {
    let mut all = BTreeSet::new();
    for pid in processes {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).context("cannot list open files")?;
        // A file may be closed while we look.
        let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        all.extend(targets.filter(|target| target.to_string_lossy().starts_with("socket:")));
    }
    Ok(all.len() as u64)
}

/// What one of each slab of a socket takes: the fourth word of its line.
fn socket_bytes(slabinfo: &str) -> Option<u64> {
    let size = |name: &&str| {
        let mut words = slabinfo
            .lines()
            .map(str::split_whitespace)
            .find_map(|mut words| (words.next() == Some(*name)).then_some(words))?;
        words.nth(2)?.parse::<u64>().ok()
    };
    SLABS.iter().map(size).sum()
}

/// `TCP: inuse 5 orphan 0 tw 0 alloc 10 mem 2` has 2 pages.
fn tcp_pages(sockstat: &str) -> u64 {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let pages = words.windows(2).find(|pair| pair[0] == "mem").and_then(|pair| pair[1].parse().ok());
    pages.unwrap_or_default()
}

/// Keeps this thread, and those that it starts, on one processor.
pub fn stay_on(processor: usize) -> Result<()> {
    let mut processors = CpuSet::new();
    processors.set(processor);
    sched_setaffinity(None, &processors).with_context(|| format!("cannot stay on processor {processor}"))
}

/// Fails unless every process may run on this processor alone.
pub fn all_on(processes: &[u32], processor: usize) -> Result<()> {
    for pid in processes {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read a status")?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed = allowed.unwrap_or_default().trim();
        ensure!(
            allowed == processor.to_string(),
            "process {pid} may run on processors {allowed}, not on {processor} alone"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_understood() {
        assert_eq!(tcp_pages("sockets: used 9\nTCP: inuse 5 orphan 0 tw 0 alloc 10 mem 2\n"), 2);
        let limits = "Max processes 1 1 processes\nMax open files  20000  20001  files\n";
        assert_eq!(open_files_max(limits), Some(20_000));
        let slabs = "TCPv6 52 104 2496 13\nsock_inode_cache 1 2 832 1\nfilp 1 2 192 1\ndentry 1 2 192 1\n";
        assert_eq!(socket_bytes(slabs), Some(SOCKET_BYTES));
        assert_eq!(socket_bytes("TCPv6 52 104 2496 13\n"), None);
    }

    #[test]
    fn this_process_costs_something() {
        let own = [std::process::id()];
        let memory = Memory::of(&own).unwrap();
        assert!(memory.process > 0 && memory.total() >= memory.process);
        let (files, most) = open_files(&own).unwrap();
        assert!(files > 0 && files <= most);
    }
}
