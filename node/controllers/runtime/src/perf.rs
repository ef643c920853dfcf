//! Counters of processors and memory.
//!
//!     /proc/stat, /proc/meminfo ──▶ CPUStats, MemoryStats
//!
//! A look every ten seconds costs a machine that nobody watches next to nothing; who wants to see more often asks the
//! API, which reads the kernel at each call.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::perf::{CpuStat, CpuStats, MemoryStats};
use corten_sys::procfs::ticks_per_second;

/// How often counters are read.
const EVERY: Duration = Duration::from_secs(10);

/// Reads counters.
pub struct Counters;

controller!(Counters, "perf.Stats", inputs: [], outputs: [exclusive CpuStats, exclusive MemoryStats]);

impl Driver for Counters {
    type Observed = (CpuStats, MemoryStats);
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<(CpuStats, MemoryStats)> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read the counters of processors")?;
        let memory = fs::read_to_string("/proc/meminfo").context("cannot read the use of memory")?;
        Ok((processors(&stat, ticks_per_second()), meminfo(&memory)))
    }

    fn plan(&self, _: &View<Self>, (processors, memory): &Self::Observed) -> Plan<Self> {
        let mut plan = Plan::new();
        plan.put(CpuStats::ID, processors.clone()).put(MemoryStats::ID, memory.clone());
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("counters", EVERY)]
    }
}

/// `/proc/stat`; times there are ticks.
fn processors(text: &str, ticks_per_second: u64) -> CpuStats {
    let mut stats = CpuStats::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        let first = numbers.first().copied().unwrap_or_default();
        match name {
            "cpu" => stats.cpu_total = times(&numbers, ticks_per_second),
            "intr" => stats.irq_total = first,
            "ctxt" => stats.context_switches = first,
            "processes" => stats.process_created = first,
            "procs_running" => stats.process_running = first,
            "procs_blocked" => stats.process_blocked = first,
            "softirq" => stats.soft_irq_total = first,
            _ if name.starts_with("cpu") => stats.cpu.push(times(&numbers, ticks_per_second)),
            _ => {}
        }
    }
    stats
}

fn times(ticks: &[u64], ticks_per_second: u64) -> CpuStat {
    let seconds =
        |index: usize| ticks.get(index).copied().unwrap_or_default() as f64 / ticks_per_second.max(1) as f64;
    CpuStat {
        user: seconds(0),
        nice: seconds(1),
        system: seconds(2),
        idle: seconds(3),
        iowait: seconds(4),
        irq: seconds(5),
        soft_irq: seconds(6),
        steal: seconds(7),
        guest: seconds(8),
        guest_nice: seconds(9),
    }
}

/// `/proc/meminfo`; a line that this kernel does not have is zero.
fn meminfo(text: &str) -> MemoryStats {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let numbers: BTreeMap<&str, u64> = lines
        .filter_map(|(name, rest)| Some((name, rest.split_whitespace().next()?.parse().ok()?)))
        .collect();
    let kib = |name: &str| numbers.get(name).copied().unwrap_or_default();
    MemoryStats {
        total: kib("MemTotal"),
        used: kib("MemTotal").saturating_sub(kib("MemAvailable")),
        available: kib("MemAvailable"),
        buffers: kib("Buffers"),
        cached: kib("Cached"),
        swap_cached: kib("SwapCached"),
        active: kib("Active"),
        inactive: kib("Inactive"),
        active_anon: kib("Active(anon)"),
        inactive_anon: kib("Inactive(anon)"),
        active_file: kib("Active(file)"),
        inactive_file: kib("Inactive(file)"),
        unevictable: kib("Unevictable"),
        mlocked: kib("Mlocked"),
        swap_total: kib("SwapTotal"),
        swap_free: kib("SwapFree"),
        dirty: kib("Dirty"),
        writeback: kib("Writeback"),
        anon_pages: kib("AnonPages"),
        mapped: kib("Mapped"),
        shmem: kib("Shmem"),
        slab: kib("Slab"),
        slab_reclaimable: kib("SReclaimable"),
        slab_unreclaimable: kib("SUnreclaim"),
        kernel_stack: kib("KernelStack"),
        page_tables: kib("PageTables"),
        nfs_unstable: kib("NFS_Unstable"),
        bounce: kib("Bounce"),
        writeback_temporary: kib("WritebackTmp"),
        commit_limit: kib("CommitLimit"),
        committed: kib("Committed_AS"),
        vmalloc_total: kib("VmallocTotal"),
        vmalloc_used: kib("VmallocUsed"),
        vmalloc_chunk: kib("VmallocChunk"),
        hardware_corrupted: kib("HardwareCorrupted"),
        anon_huge_pages: kib("AnonHugePages"),
        shmem_huge_pages: kib("ShmemHugePages"),
        shmem_pmd_mapped: kib("ShmemPmdMapped"),
        cma_total: kib("CmaTotal"),
        cma_free: kib("CmaFree"),
        huge_pages_total: kib("HugePages_Total"),
        huge_pages_free: kib("HugePages_Free"),
        huge_pages_rsvd: kib("HugePages_Rsvd"),
        huge_pages_surp: kib("HugePages_Surp"),
        huge_page_size: kib("Hugepagesize"),
        direct_map_4k: kib("DirectMap4k"),
        direct_map_2m: kib("DirectMap2M"),
        direct_map_1g: kib("DirectMap1G"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_seconds_and_processors_are_told_from_their_sum() {
        let stats = processors(
            "cpu  200 0 100 700 0 0 0 0 0 0\ncpu0 100 0 50 350 0 0 0 0 0 0\ncpu1 100 0 50 350\nintr 9 1 2\nctxt 77\nprocesses 5\nprocs_running 2\nprocs_blocked 1\nsoftirq 8 1\nnonsense\n",
            100,
        );
        assert_eq!((stats.cpu_total.user, stats.cpu_total.idle), (2.0, 7.0));
        assert_eq!((stats.cpu.len(), stats.cpu[1].system), (2, 0.5));
        assert_eq!((stats.irq_total, stats.context_switches, stats.soft_irq_total), (9, 77, 8));
        assert_eq!((stats.process_created, stats.process_running, stats.process_blocked), (5, 2, 1));
    }

    #[test]
    fn what_is_used_is_what_is_not_available() {
        let stats =
            meminfo("MemTotal: 1000 kB\nMemAvailable: 400 kB\nActive(anon): 7 kB\nHugePages_Total: 3\n");
        assert_eq!((stats.total, stats.used, stats.active_anon, stats.huge_pages_total), (1000, 600, 7, 3));
        assert_eq!(stats.swap_total, 0);
    }
}
