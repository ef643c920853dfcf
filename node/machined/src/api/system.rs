//! Facts about the running system.

use std::fs;
use std::time::Duration;

use corten_api::machine::{
    CpUsFreqStats, CpUsInfo, CpuFreqStats, CpuFreqStatsResponse, CpuInfoResponse, DiskStatsResponse,
    FeaturesInfo, Hostname, HostnameResponse, LoadAvgResponse, Memory, MemoryResponse, MountStat, Mounts,
    MountsResponse, NetworkDeviceStatsResponse, PlatformInfo, Process, ProcessesResponse, SystemStatResponse,
    Version, VersionInfo, VersionResponse,
};
use corten_base::{Arch, blocking, version as base_version};
use corten_resources::config::MachineConfig;
use corten_sys::mount::Mounts as _;
use tonic::Status;

use super::{Parts, proc, processes};

const DEADLINE: Duration = Duration::from_secs(10);

fn read(path: &str) -> Result<String, Status> {
    fs::read_to_string(path).map_err(|error| Status::internal(format!("{path}: {error}")))
}

/// Version, platform and features.
#[must_use]
pub fn version(parts: &Parts) -> VersionResponse {
    let info = VersionInfo {
        tag: base_version::TAG.to_owned(),
        sha: base_version::sha(),
        os: "linux".to_owned(),
        arch: Arch::current().to_string(),
        ..VersionInfo::default()
    };
    let platform =
        PlatformInfo { name: parts.platform.name().to_owned(), mode: parts.platform.mode().to_owned() };
    let rbac = parts.state.get::<MachineConfig>(MachineConfig::ACTIVE).is_some();
    let version = Version {
        version: Some(info),
        platform: Some(platform),
        features: Some(FeaturesInfo { rbac }),
        ..Version::default()
    };
    VersionResponse { messages: vec![version] }
}

/// Contents of /proc/meminfo.
pub fn memory() -> Result<MemoryResponse, Status> {
    let memory = Memory { meminfo: Some(proc::meminfo(&read("/proc/meminfo")?)), ..Memory::default() };
    Ok(MemoryResponse { messages: vec![memory] })
}

/// Contents of /proc/loadavg.
pub fn load_avg() -> Result<LoadAvgResponse, Status> {
    Ok(LoadAvgResponse { messages: vec![proc::loadavg(&read("/proc/loadavg")?)] })
}

/// Contents of /proc/stat.
pub fn system_stat() -> Result<SystemStatResponse, Status> {
    Ok(SystemStatResponse { messages: vec![proc::system_stat(&read("/proc/stat")?)] })
}

/// Contents of /proc/cpuinfo.
pub fn cpu_info() -> Result<CpuInfoResponse, Status> {
    let info = CpUsInfo { cpu_info: proc::cpuinfo(&read("/proc/cpuinfo")?), ..CpUsInfo::default() };
    Ok(CpuInfoResponse { messages: vec![info] })
}

/// Contents of /proc/diskstats.
pub fn disk_stats() -> Result<DiskStatsResponse, Status> {
    Ok(DiskStatsResponse { messages: vec![proc::diskstats(&read("/proc/diskstats")?)] })
}

/// Contents of /proc/net/dev.
pub fn network_device_stats() -> Result<NetworkDeviceStatsResponse, Status> {
    Ok(NetworkDeviceStatsResponse { messages: vec![proc::net_dev(&read("/proc/net/dev")?)] })
}

/// The kernel's host name.
#[must_use]
pub fn hostname() -> HostnameResponse {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    HostnameResponse { messages: vec![Hostname { hostname, ..Hostname::default() }] }
}

/// cpufreq of each processor; those without it have zeros.
#[must_use]
pub fn cpu_freq() -> CpuFreqStatsResponse {
    let stats = (0..)
        .map_while(|cpu| {
            let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
            fs::exists(&folder).unwrap_or(false).then(|| cpu_freq_of(&folder))
        })
        .collect();
    CpuFreqStatsResponse {
        messages: vec![CpUsFreqStats { cpu_freq_stats: stats, ..CpUsFreqStats::default() }],
    }
}

fn cpu_freq_of(folder: &str) -> CpuFreqStats {
    let text = |name: &str| fs::read_to_string(format!("{folder}/cpufreq/{name}")).unwrap_or_default();
    let number = |name: &str| text(name).trim().parse().unwrap_or_default();
    CpuFreqStats {
        current_frequency: number("scaling_cur_freq"),
        minimum_frequency: number("cpuinfo_min_freq"),
        maximum_frequency: number("cpuinfo_max_freq"),
        governor: text("scaling_governor").trim().to_owned(),
    }
}

/// The process list.
pub async fn processes() -> Result<ProcessesResponse, Status> {
    let processes =
        blocking(DEADLINE, processes::list).await.map_err(|error| Status::internal(error.to_string()))?;
    Ok(ProcessesResponse { messages: vec![Process { processes, ..Process::default() }] })
}

/// Mounted file systems with their sizes.
pub async fn mounts() -> Result<MountsResponse, Status> {
    let stats =
        blocking(DEADLINE, mount_stats).await.map_err(|error| Status::internal(error.to_string()))??;
    Ok(MountsResponse { messages: vec![Mounts { stats, ..Mounts::default() }] })
}

fn mount_stats() -> Result<Vec<MountStat>, Status> {
    let table = read("/proc/self/mounts")?;
    let stats = table.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (filesystem, mounted_on) = (words.next()?.to_owned(), unescape(words.next()?));
        let usage = corten_sys::Kernel.usage(std::path::Path::new(&mounted_on)).ok();
        let (size, available) = usage.map_or((0, 0), |usage| (usage.total_bytes, usage.available_bytes));
        Some(MountStat { filesystem, size, available, mounted_on })
    });
    Ok(stats.collect())
}

/// The kernel writes blanks in paths as octal escapes.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
