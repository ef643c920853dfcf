//! Load of processors and memory.

use corten_resource::{Record, Resource};

/// Time of a processor, or of all, in seconds since boot.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct CpuStat {
    /// Programs.
    #[field(1, "user")]
    pub user: f64,
    /// Programs of low priority.
    #[field(2, "nice")]
    pub nice: f64,
    /// The kernel for programs.
    #[field(3, "system")]
    pub system: f64,
    /// Nothing.
    #[field(4, "idle")]
    pub idle: f64,
    /// Waiting for input or output.
    #[field(5, "iowait")]
    pub iowait: f64,
    /// Interrupts.
    #[field(6, "irq")]
    pub irq: f64,
    /// What interrupts left to be done.
    #[field(7, "softIrq")]
    pub soft_irq: f64,
    /// Taken by other virtual machines.
    #[field(8, "steal")]
    pub steal: f64,
    /// Virtual machines.
    #[field(9, "guest")]
    pub guest: f64,
    /// Virtual machines of low priority.
    #[field(10, "guestNice")]
    pub guest_nice: f64,
}

/// Counters of the processors. Singleton `latest`.
///
/// Read every ten seconds.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "CPUStats.perf.talos.dev", namespace = "perf", columns("User" => "{.cpuTotal.user}", "System" => "{.cpuTotal.system}", "Idle" => "{.cpuTotal.idle}"))]
pub struct CpuStats {
    /// By processor.
    #[field(1, "cpu")]
    pub cpu: Vec<CpuStat>,
    /// All together.
    #[field(2, "cpuTotal")]
    pub cpu_total: CpuStat,
    /// Interrupts.
    #[field(3, "irqTotal")]
    pub irq_total: u64,
    /// Changes from one process to another.
    #[field(4, "contextSwitches")]
    pub context_switches: u64,
    /// Processes and threads made.
    #[field(5, "processCreated")]
    pub process_created: u64,
    /// Processes that run or could.
    #[field(6, "processRunning")]
    pub process_running: u64,
    /// Processes that wait for input or output.
    #[field(7, "processBlocked")]
    pub process_blocked: u64,
    /// What interrupts left to be done, times.
    #[field(8, "softIrqTotal")]
    pub soft_irq_total: u64,
}

impl CpuStats {
    /// Id of the only one.
    pub const ID: &'static str = "latest";
}

/// Use of memory in KiB, counts of huge pages apart. Singleton `latest`.
///
/// Read every ten seconds. Fields have the names of `/proc/meminfo`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MemoryStats.perf.talos.dev", namespace = "perf", columns("Used" => "{.used}", "Total" => "{.total}"))]
pub struct MemoryStats {
    /// `MemTotal`.
    #[field(1, "total")]
    pub total: u64,
    /// What is in use: all that is not available.
    #[field(2, "used")]
    pub used: u64,
    /// `MemAvailable`.
    #[field(3, "available")]
    pub available: u64,
    /// `Buffers`.
    #[field(4, "buffers")]
    pub buffers: u64,
    /// `Cached`.
    #[field(5, "cached")]
    pub cached: u64,
    /// `SwapCached`.
    #[field(6, "swapCached")]
    pub swap_cached: u64,
    /// `Active`.
    #[field(7, "active")]
    pub active: u64,
    /// `Inactive`.
    #[field(8, "inactive")]
    pub inactive: u64,
    /// `Active(anon)`.
    #[field(9, "activeAnon")]
    pub active_anon: u64,
    /// `Inactive(anon)`.
    #[field(10, "inactiveAnon")]
    pub inactive_anon: u64,
    /// `Active(file)`.
    #[field(11, "activeFile")]
    pub active_file: u64,
    /// `Inactive(file)`.
    #[field(12, "inactiveFile")]
    pub inactive_file: u64,
    /// `Unevictable`.
    #[field(13, "unevictable")]
    pub unevictable: u64,
    /// `Mlocked`.
    #[field(14, "mlocked")]
    pub mlocked: u64,
    /// `SwapTotal`.
    #[field(15, "swapTotal")]
    pub swap_total: u64,
    /// `SwapFree`.
    #[field(16, "swapFree")]
    pub swap_free: u64,
    /// `Dirty`.
    #[field(17, "dirty")]
    pub dirty: u64,
    /// `Writeback`.
    #[field(18, "writeback")]
    pub writeback: u64,
    /// `AnonPages`.
    #[field(19, "anonPages")]
    pub anon_pages: u64,
    /// `Mapped`.
    #[field(20, "mapped")]
    pub mapped: u64,
    /// `Shmem`.
    #[field(21, "shmem")]
    pub shmem: u64,
    /// `Slab`.
    #[field(22, "slab")]
    pub slab: u64,
    /// `SReclaimable`.
    #[field(23, "sreclaimable")]
    pub slab_reclaimable: u64,
    /// `SUnreclaim`.
    #[field(24, "sunreclaim")]
    pub slab_unreclaimable: u64,
    /// `KernelStack`.
    #[field(25, "kernelStack")]
    pub kernel_stack: u64,
    /// `PageTables`.
    #[field(26, "pageTables")]
    pub page_tables: u64,
    /// `NFS_Unstable`.
    #[field(27, "nfsunstable")]
    pub nfs_unstable: u64,
    /// `Bounce`.
    #[field(28, "bounce")]
    pub bounce: u64,
    /// `WritebackTmp`.
    #[field(29, "writeBacktmp")]
    pub writeback_temporary: u64,
    /// `CommitLimit`.
    #[field(30, "commitLimit")]
    pub commit_limit: u64,
    /// `Committed_AS`.
    #[field(31, "commitTedas")]
    pub committed: u64,
    /// `VmallocTotal`.
    #[field(32, "vmallocTotal")]
    pub vmalloc_total: u64,
    /// `VmallocUsed`.
    #[field(33, "vmallocUsed")]
    pub vmalloc_used: u64,
    /// `VmallocChunk`.
    #[field(34, "vmallocChunk")]
    pub vmalloc_chunk: u64,
    /// `HardwareCorrupted`.
    #[field(35, "hardwareCorrupted")]
    pub hardware_corrupted: u64,
    /// `AnonHugePages`.
    #[field(36, "anonHugePages")]
    pub anon_huge_pages: u64,
    /// `ShmemHugePages`.
    #[field(37, "shmemHugePages")]
    pub shmem_huge_pages: u64,
    /// `ShmemPmdMapped`.
    #[field(38, "shmemPmdMapped")]
    pub shmem_pmd_mapped: u64,
    /// `CmaTotal`.
    #[field(39, "cmaTotal")]
    pub cma_total: u64,
    /// `CmaFree`.
    #[field(40, "cmaFree")]
    pub cma_free: u64,
    /// `HugePages_Total`.
    #[field(41, "hugePagesTotal")]
    pub huge_pages_total: u64,
    /// `HugePages_Free`.
    #[field(42, "hugePagesFree")]
    pub huge_pages_free: u64,
    /// `HugePages_Rsvd`.
    #[field(43, "hugePagesRsvd")]
    pub huge_pages_rsvd: u64,
    /// `HugePages_Surp`.
    #[field(44, "hugePagesSurp")]
    pub huge_pages_surp: u64,
    /// `Hugepagesize`.
    #[field(45, "hugepagesize")]
    pub huge_page_size: u64,
    /// `DirectMap4k`.
    #[field(46, "directMap4k")]
    pub direct_map_4k: u64,
    /// `DirectMap2M`.
    #[field(47, "directMap2m")]
    pub direct_map_2m: u64,
    /// `DirectMap1G`.
    #[field(48, "directMap1g")]
    pub direct_map_1g: u64,
}

impl MemoryStats {
    /// Id of the only one.
    pub const ID: &'static str = "latest";
}
