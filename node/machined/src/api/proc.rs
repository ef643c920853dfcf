//! `/proc` as the machine API shows it: pure parsers of its text files.
//!
//! A line that a newer kernel adds is skipped, a missing one leaves zero: both are normal.

use corten_api::machine::{
    CpuInfo, CpuStat, DiskStat, DiskStats, LoadAvg, MemInfo, NetDev, NetworkDeviceStats, SoftIrqStat,
    SystemStat,
};

/// Clock ticks a second in `/proc` (`USER_HZ`, fixed by the kernel's user interface).
const TICKS: f64 = 100.0;

/// `/proc/meminfo`; values in KiB.
#[must_use]
pub fn meminfo(text: &str) -> MemInfo {
    let mut info = MemInfo::default();
    for line in text.lines() {
        let Some((key, rest)) = line.split_once(':') else { continue };
        let Some(value) = rest.split_whitespace().next().and_then(|number| number.parse().ok()) else {
            continue;
        };
        if let Some(field) = meminfo_field(&mut info, key) {
            *field = value;
        }
    }
    info
}

fn meminfo_field<'a>(info: &'a mut MemInfo, key: &str) -> Option<&'a mut u64> {
    macro_rules! fields {
        ($($name:literal => $field:ident),* $(,)?) => { match key { $($name => Some(&mut info.$field),)* _ => None } };
    }
    fields! {
        "MemTotal" => memtotal, "MemFree" => memfree, "MemAvailable" => memavailable, "Buffers" => buffers,
        "Cached" => cached, "SwapCached" => swapcached, "Active" => active, "Inactive" => inactive,
        "Active(anon)" => activeanon, "Inactive(anon)" => inactiveanon, "Active(file)" => activefile,
        "Inactive(file)" => inactivefile, "Unevictable" => unevictable, "Mlocked" => mlocked,
        "SwapTotal" => swaptotal, "SwapFree" => swapfree, "Dirty" => dirty, "Writeback" => writeback,
        "AnonPages" => anonpages, "Mapped" => mapped, "Shmem" => shmem, "Slab" => slab,
        "SReclaimable" => sreclaimable, "SUnreclaim" => sunreclaim, "KernelStack" => kernelstack,
        "PageTables" => pagetables, "NFS_Unstable" => nfsunstable, "Bounce" => bounce,
        "WritebackTmp" => writebacktmp, "CommitLimit" => commitlimit, "Committed_AS" => committedas,
        "VmallocTotal" => vmalloctotal, "VmallocUsed" => vmallocused, "VmallocChunk" => vmallocchunk,
        "HardwareCorrupted" => hardwarecorrupted, "AnonHugePages" => anonhugepages,
        "ShmemHugePages" => shmemhugepages, "ShmemPmdMapped" => shmempmdmapped, "CmaTotal" => cmatotal,
        "CmaFree" => cmafree, "HugePages_Total" => hugepagestotal, "HugePages_Free" => hugepagesfree,
        "HugePages_Rsvd" => hugepagesrsvd, "HugePages_Surp" => hugepagessurp, "Hugepagesize" => hugepagesize,
        "DirectMap4k" => directmap4k, "DirectMap2M" => directmap2m, "DirectMap1G" => directmap1g,
    }
}

/// `/proc/loadavg`.
#[must_use]
pub fn loadavg(text: &str) -> LoadAvg {
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    let mut next = || numbers.next().unwrap_or_default();
    LoadAvg { load1: next(), load5: next(), load15: next(), ..LoadAvg::default() }
}

/// `/proc/stat`.
#[must_use]
pub fn system_stat(text: &str) -> SystemStat {
    let mut stat = SystemStat::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(key) = words.next() else { continue };
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        let first = numbers.first().copied().unwrap_or_default();
        match key {
            "cpu" => stat.cpu_total = Some(cpu_stat(&numbers)),
            "btime" => stat.boot_time = first,
            "ctxt" => stat.context_switches = first,
            "processes" => stat.process_created = first,
            "procs_running" => stat.process_running = first,
            "procs_blocked" => stat.process_blocked = first,
            "intr" => {
                stat.irq_total = first;
                stat.irq = numbers.get(1..).unwrap_or_default().to_vec();
            }
            "softirq" => {
                stat.soft_irq_total = first;
                stat.soft_irq = Some(soft_irq(numbers.get(1..).unwrap_or_default()));
            }
            cpu if cpu.starts_with("cpu") => stat.cpu.push(cpu_stat(&numbers)),
            _ => {}
        }
    }
    stat
}

#[expect(clippy::cast_precision_loss, reason = "the wire carries seconds as doubles")]
fn cpu_stat(ticks: &[u64]) -> CpuStat {
    let seconds = |index: usize| ticks.get(index).copied().unwrap_or_default() as f64 / TICKS;
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

fn soft_irq(counts: &[u64]) -> SoftIrqStat {
    let count = |index: usize| counts.get(index).copied().unwrap_or_default();
    SoftIrqStat {
        hi: count(0),
        timer: count(1),
        net_tx: count(2),
        net_rx: count(3),
        block: count(4),
        block_io_poll: count(5),
        tasklet: count(6),
        sched: count(7),
        hrtimer: count(8),
        rcu: count(9),
    }
}

/// `/proc/cpuinfo` of x86; other architectures fill fewer fields.
#[must_use]
pub fn cpuinfo(text: &str) -> Vec<CpuInfo> {
    text.split("\n\n").filter(|block| !block.trim().is_empty()).map(cpu).collect()
}

fn cpu(block: &str) -> CpuInfo {
    let mut info = CpuInfo::default();
    for line in block.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        set_cpu(&mut info, key.trim(), value.trim());
    }
    info
}

fn set_cpu(info: &mut CpuInfo, key: &str, value: &str) {
    let text = || value.to_owned();
    let number = || value.parse().unwrap_or_default();
    let words = || value.split_whitespace().map(str::to_owned).collect();
    match key {
        "processor" => info.processor = number(),
        "vendor_id" => info.vendor_id = text(),
        "cpu family" => info.cpu_family = text(),
        "model" => info.model = text(),
        "model name" => info.model_name = text(),
        "stepping" => info.stepping = text(),
        "microcode" => info.microcode = text(),
        "cpu MHz" => info.cpu_mhz = value.parse().unwrap_or_default(),
        "cache size" => info.cache_size = text(),
        "physical id" => info.physical_id = text(),
        "siblings" => info.siblings = number(),
        "core id" => info.core_id = text(),
        "cpu cores" => info.cpu_cores = number(),
        "apicid" => info.apic_id = text(),
        "initial apicid" => info.initial_apic_id = text(),
        "fpu" => info.fpu = text(),
        "fpu_exception" => info.fpu_exception = text(),
        "cpuid level" => info.cpu_id_level = number(),
        "wp" => info.wp = text(),
        "flags" => info.flags = words(),
        "bugs" => info.bugs = words(),
        "bogomips" => info.bogo_mips = value.parse().unwrap_or_default(),
        "clflush size" => info.cl_flush_size = number(),
        "cache_alignment" => info.cache_alignment = number(),
        "address sizes" => info.address_sizes = text(),
        "power management" => info.power_management = text(),
        _ => {}
    }
}

/// `/proc/diskstats`, with the sum of whole devices.
#[must_use]
pub fn diskstats(text: &str) -> DiskStats {
    let devices: Vec<DiskStat> = text.lines().filter_map(disk_stat).collect();
    let mut total = DiskStat { name: "total".to_owned(), ..DiskStat::default() };
    for disk in &devices {
        add_disk(&mut total, disk);
    }
    DiskStats { total: Some(total), devices, ..DiskStats::default() }
}

fn disk_stat(line: &str) -> Option<DiskStat> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = (*words.get(2)?).to_owned();
    let number = |index: usize| words.get(index + 3).and_then(|word| word.parse().ok()).unwrap_or_default();
    Some(DiskStat {
        name,
        read_completed: number(0),
        read_merged: number(1),
        read_sectors: number(2),
        read_time_ms: number(3),
        write_completed: number(4),
        write_merged: number(5),
        write_sectors: number(6),
        write_time_ms: number(7),
        io_in_progress: number(8),
        io_time_ms: number(9),
        io_time_weighted_ms: number(10),
        discard_completed: number(11),
        discard_merged: number(12),
        discard_sectors: number(13),
        discard_time_ms: number(14),
    })
}

const fn add_disk(total: &mut DiskStat, disk: &DiskStat) {
    total.read_completed += disk.read_completed;
    total.read_merged += disk.read_merged;
    total.read_sectors += disk.read_sectors;
    total.read_time_ms += disk.read_time_ms;
    total.write_completed += disk.write_completed;
    total.write_merged += disk.write_merged;
    total.write_sectors += disk.write_sectors;
    total.write_time_ms += disk.write_time_ms;
    total.io_in_progress += disk.io_in_progress;
    total.io_time_ms += disk.io_time_ms;
    total.io_time_weighted_ms += disk.io_time_weighted_ms;
    total.discard_completed += disk.discard_completed;
    total.discard_merged += disk.discard_merged;
    total.discard_sectors += disk.discard_sectors;
    total.discard_time_ms += disk.discard_time_ms;
}

/// `/proc/net/dev`, with the sum of all devices.
#[must_use]
pub fn net_dev(text: &str) -> NetworkDeviceStats {
    let devices: Vec<NetDev> = text.lines().filter_map(net_device).collect();
    let mut total = NetDev { name: "total".to_owned(), ..NetDev::default() };
    for device in &devices {
        total.rx_bytes += device.rx_bytes;
        total.rx_packets += device.rx_packets;
        total.rx_errors += device.rx_errors;
        total.rx_dropped += device.rx_dropped;
        total.tx_bytes += device.tx_bytes;
        total.tx_packets += device.tx_packets;
        total.tx_errors += device.tx_errors;
        total.tx_dropped += device.tx_dropped;
    }
    NetworkDeviceStats { total: Some(total), devices, ..NetworkDeviceStats::default() }
}

fn net_device(line: &str) -> Option<NetDev> {
    let (name, numbers) = line.split_once(':')?;
    let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let number = |index: usize| numbers.get(index).copied().unwrap_or_default();
    Some(NetDev {
        name: name.trim().to_owned(),
        rx_bytes: number(0),
        rx_packets: number(1),
        rx_errors: number(2),
        rx_dropped: number(3),
        rx_fifo: number(4),
        rx_frame: number(5),
        rx_compressed: number(6),
        rx_multicast: number(7),
        tx_bytes: number(8),
        tx_packets: number(9),
        tx_errors: number(10),
        tx_dropped: number(11),
        tx_fifo: number(12),
        tx_collisions: number(13),
        tx_carrier: number(14),
        tx_compressed: number(15),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keys_with_parentheses_and_unknown_keys() {
        let info = meminfo("MemTotal:  100 kB\nActive(anon): 7 kB\nNewThing: 3 kB\nDirectMap1G:\n");
        assert_eq!((info.memtotal, info.activeanon, info.directmap1g), (100, 7, 0));
    }

    #[test]
    fn processor_times_are_seconds() {
        let stat = system_stat("cpu  100 0 50 3\ncpu0 100 0 50 3\nintr 9 1 2\nbtime 17\nprocs_running 2\n");
        assert_eq!(stat.cpu_total.as_ref().map(|cpu| cpu.user), Some(1.0));
        assert_eq!((stat.cpu.len(), stat.irq_total, stat.irq, stat.boot_time), (1, 9, vec![1, 2], 17));
        assert_eq!(stat.process_running, 2);
    }

    #[test]
    fn disks_and_links_are_summed() {
        let disks = diskstats(" 254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n 254 1 vda1 1 0 0 0\n");
        assert_eq!(disks.devices.len(), 2);
        assert_eq!(disks.total.map(|total| total.read_completed), Some(2));
        let links = net_dev("Inter-|\n face |bytes\n  lo: 10 1 0 0 0 0 0 0 10 1 0 0 0 0 0 0\neth0:5 1\n");
        assert_eq!(links.devices.len(), 2);
        assert_eq!(links.total.map(|total| total.rx_bytes), Some(15));
    }

    #[test]
    fn two_processors_are_two_blocks() {
        let cpus = cpuinfo("processor : 0\nmodel name : X\nflags : a b\n\nprocessor : 1\n\n");
        assert_eq!(cpus.len(), 2);
        assert_eq!((cpus[0].model_name.as_str(), cpus[0].flags.len(), cpus[1].processor), ("X", 2, 1));
    }

    #[test]
    fn load_averages() {
        let load = loadavg("0.50 1.25 2.00 1/99 1234\n");
        assert_eq!((load.load1, load.load5, load.load15), (0.5, 1.25, 2.0));
    }

    #[test]
    fn any_table_of_the_kernel_is_read() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let _ = (meminfo(&text), loadavg(&text), system_stat(&text));
            let _ = (diskstats(&text), net_dev(&text), cpuinfo(&text));
        });
    }
}
