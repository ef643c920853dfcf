//! Facts about the running system.

use std::fs;
use std::time::Duration;

use corten_api::machine::{
    CpUsFreqStats, CpUsInfo, CpuFreqStats, DiskStats, FeaturesInfo, Hostname, LoadAvg, Memory, MountStat,
    Mounts, NetworkDeviceStats, PlatformInfo, Process, SystemStat, Version, VersionInfo,
};
use corten_base::{Arch, version as base_version};
use corten_sys::mount::Mounts as _;
use tonic::Status;

use super::{Parts, proc, processes, status};

const DEADLINE: Duration = Duration::from_secs(10);

/// Looks at the kernel off the event loop: some of what it shows it has to work out first.
pub(super) async fn look<T, F>(parts: &Parts, call: F) -> Result<T, Status>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Status> + Send + 'static,
{
    parts.lanes.facts.run(DEADLINE, call).await.map_err(|error| status::blocking(&error))?
}

/// What a parser makes of a file of the kernel.
async fn parsed<T: Send + 'static>(
    parts: &Parts,
    path: &'static str,
    parse: fn(&str) -> T,
) -> Result<T, Status> {
    look(parts, move || read(path).map(|text| parse(&text))).await
}

fn read(path: &str) -> Result<String, Status> {
    fs::read_to_string(path).map_err(|error| Status::internal(format!("{path}: {error}")))
}

/// Version, platform and features.
#[must_use]
pub fn version(parts: &Parts) -> Version {
    let info = VersionInfo {
        tag: base_version::TAG.to_owned(),
        sha: base_version::sha(),
        os: "linux".to_owned(),
        arch: Arch::current().to_string(),
        ..VersionInfo::default()
    };
    let platform =
        PlatformInfo { name: parts.platform.name().to_owned(), mode: parts.platform.mode().to_owned() };
    let rbac = parts.configuration.is_complete();
    Version {
        version: Some(info),
        platform: Some(platform),
        features: Some(FeaturesInfo { rbac }),
        ..Version::default()
    }
}

/// Contents of /proc/meminfo.
pub async fn memory(parts: &Parts) -> Result<Memory, Status> {
    let meminfo = Some(parsed(parts, "/proc/meminfo", proc::meminfo).await?);
    Ok(Memory { meminfo, ..Memory::default() })
}

/// Contents of /proc/loadavg.
pub async fn load_avg(parts: &Parts) -> Result<LoadAvg, Status> {
    parsed(parts, "/proc/loadavg", proc::loadavg).await
}

/// Contents of /proc/stat.
pub async fn system_stat(parts: &Parts) -> Result<SystemStat, Status> {
    parsed(parts, "/proc/stat", proc::system_stat).await
}

/// Contents of /proc/cpuinfo.
pub async fn cpu_info(parts: &Parts) -> Result<CpUsInfo, Status> {
    let cpu_info = parsed(parts, "/proc/cpuinfo", proc::cpuinfo).await?;
    Ok(CpUsInfo { cpu_info, ..CpUsInfo::default() })
}

/// Contents of /proc/diskstats.
pub async fn disk_stats(parts: &Parts) -> Result<DiskStats, Status> {
    parsed(parts, "/proc/diskstats", proc::diskstats).await
}

/// Contents of /proc/net/dev.
pub async fn network_device_stats(parts: &Parts) -> Result<NetworkDeviceStats, Status> {
    parsed(parts, "/proc/net/dev", proc::net_dev).await
}

/// The kernel's host name.
#[must_use]
pub fn hostname() -> Hostname {
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Hostname { hostname, ..Hostname::default() }
}

/// cpufreq of each processor; those without it have zeros.
pub async fn cpu_freq(parts: &Parts) -> Result<CpUsFreqStats, Status> {
    let cpu_freq_stats = look(parts, || Ok(cpu_freq_stats())).await?;
    let stats = CpUsFreqStats { cpu_freq_stats, ..CpUsFreqStats::default() };
    Ok(stats)
}

fn cpu_freq_stats() -> Vec<CpuFreqStats> {
    let folders = (0..).map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}"));
    folders
        .take_while(|folder| fs::exists(folder).unwrap_or(false))
        .map(|folder| cpu_freq_of(&folder))
        .collect()
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
pub async fn processes(parts: &Parts) -> Result<Process, Status> {
    let processes = look(parts, || Ok(processes::list())).await?;
    Ok(Process { processes, ..Process::default() })
}

/// Mounted file systems with their sizes.
pub async fn mounts(parts: &Parts) -> Result<Mounts, Status> {
    let stats = look(parts, mount_stats).await?;
    Ok(Mounts { stats, ..Mounts::default() })
}

fn mount_stats() -> Result<Vec<MountStat>, Status> {
    let table = read("/proc/self/mounts")?;
    let stats = table.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (filesystem, mounted_on) = (words.next()?.to_owned(), unescape(words.next()?));
        // A file that is mounted over another one is no file system of its own.
        fs::metadata(&mounted_on).is_ok_and(|found| found.is_dir()).then_some(())?;
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
