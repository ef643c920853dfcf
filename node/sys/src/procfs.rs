//! Readers of `/proc`: memory, processes, their real share of memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::error::failed;
use crate::{Error, Result};

/// A process as `/proc/PID/stat` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// Process id.
    pub pid: u32,
    /// Name of the program, at most 15 bytes.
    pub name: String,
    /// State letter such as `S` or `Z`.
    pub state: char,
    /// Parent's process id.
    pub parent: u32,
    /// Ticks spent in user mode.
    pub user_ticks: u64,
    /// Ticks spent in the kernel.
    pub system_ticks: u64,
    /// Number of threads.
    pub threads: u32,
    /// Start, in ticks since boot: with the pid it identifies a process for good.
    pub start_ticks: u64,
    /// Virtual size.
    pub virtual_bytes: u64,
    /// Resident size in pages.
    pub resident_pages: u64,
}

/// Reads `/proc/PID/stat`.
pub fn process_stat(pid: u32) -> Result<ProcessStat> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read(&path).map_err(failed("read", &path))?;
    parse_stat(&String::from_utf8_lossy(&text))
        .ok_or_else(|| Error::new("understand", path, std::io::ErrorKind::InvalidData))
}

/// Process ids that exist now, ordered.
pub fn process_ids() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").map_err(failed("list", "/proc"))?;
    let mut ids: Vec<u32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// Proportional set size in bytes: memory shared by n processes counts an nth for each.
pub fn pss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    parse_sizes(&text)
        .get("Pss")
        .copied()
        .ok_or_else(|| Error::new("find Pss in", path, std::io::ErrorKind::InvalidData))
}

/// `/proc/meminfo` in bytes (counts such as `HugePages_Total` as they are).
pub fn meminfo() -> Result<BTreeMap<String, u64>> {
    let text = fs::read_to_string("/proc/meminfo").map_err(failed("read", "/proc/meminfo"))?;
    Ok(parse_sizes(&text))
}

/// The kernel command line.
pub fn cmdline() -> Result<String> {
    let text = fs::read("/proc/cmdline").map_err(failed("read", "/proc/cmdline"))?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// Bytes in a page of memory.
pub fn page_bytes() -> u64 {
    system_value(libc::_SC_PAGESIZE).unwrap_or(4096)
}

/// Clock ticks in a second.
pub fn ticks_per_second() -> u64 {
    system_value(libc::_SC_CLK_TCK).unwrap_or(100)
}

fn system_value(name: libc::c_int) -> Option<u64> {
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    u64::try_from(unsafe { libc::sysconf(name) }).ok()
}

/// Whether the process is alive and is the one that started at `start_ticks`.
pub fn is_same_process(pid: u32, start_ticks: u64) -> bool {
    process_stat(pid).is_ok_and(|stat| stat.start_ticks == start_ticks && stat.state != 'Z')
}

/// Whether the file exists below this process's `/proc`, as a probe for kernel features.
pub fn has(relative: &str) -> bool {
    Path::new("/proc").join(relative).exists()
}

fn parse_stat(text: &str) -> Option<ProcessStat> {
    // The name is in parentheses and may itself contain any letter.
    let (head, rest) = text.split_once(" (")?;
    let (name, tail) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // Field numbers of proc(5) start at 3 here.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(ProcessStat {
        pid: head.parse().ok()?,
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: u32::try_from(number(4)?).ok()?,
        user_ticks: number(14)?,
        system_ticks: number(15)?,
        threads: u32::try_from(number(20)?).ok()?,
        start_ticks: number(22)?,
        virtual_bytes: number(23)?,
        resident_pages: number(24)?,
    })
}

fn parse_sizes(text: &str) -> BTreeMap<String, u64> {
    let parse = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let mut words = value.split_whitespace();
        let number: u64 = words.next()?.parse().ok()?;
        let factor = if words.next() == Some("kB") { 1024 } else { 1 };
        Some((name.to_owned(), number.saturating_mul(factor)))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let pid = std::process::id();
        let stat = process_stat(pid).unwrap();
        assert_eq!(stat.pid, pid);
        assert!(stat.threads >= 1 && stat.start_ticks > 0);
        assert!(process_ids().unwrap().contains(&pid));
        assert!(pss_bytes(pid).unwrap() > 0);
        assert!(is_same_process(pid, stat.start_ticks) && !is_same_process(pid, stat.start_ticks + 1));
        assert!(meminfo().unwrap()["MemTotal"] > 1 << 20);
    }

    #[test]
    fn names_may_contain_anything() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 0 0 0 0 0 11 12 0 0 20 0 3 0 99 4096 5 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.parent), ("a) b (c", 'S', 1));
        assert_eq!((stat.user_ticks, stat.system_ticks, stat.threads, stat.start_ticks), (11, 12, 3, 99));
    }

    #[test]
    fn nothing_makes_the_parsers_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            parse_stat(&text);
            parse_sizes(&text);
        });
    }
}
