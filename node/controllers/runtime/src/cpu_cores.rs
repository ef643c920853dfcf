//! Cores as the kernel sees them.
//!
//!     /proc/cpuinfo ──▶ CpuCore

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::hardware::CpuCore;

/// Processors that are switched off or on while the machine runs.
const POLL: Duration = Duration::from_secs(600);

/// Lists cores.
pub struct CpuCores;

controller!(CpuCores, "hardware.CpuCores", inputs: [], outputs: [exclusive CpuCore]);

impl Driver for CpuCores {
    type Observed = BTreeMap<String, CpuCore>;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<BTreeMap<String, CpuCore>> {
        Ok(parse(&std::fs::read_to_string("/proc/cpuinfo").context("cannot list processors")?))
    }

    fn plan(&self, _: &View<Self>, observed: &BTreeMap<String, CpuCore>) -> Plan<Self> {
        let mut plan = Plan::new();
        for (id, core) in observed {
            plan.put(id, core.clone());
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![Source::interval("processor poll", POLL)]
    }
}

/// Blocks of `key : value` lines, one for each thread, made into one entry for each core.
fn parse(text: &str) -> BTreeMap<String, CpuCore> {
    let mut cores: BTreeMap<String, CpuCore> = BTreeMap::new();
    for block in text.split("\n\n") {
        let lines = block.lines().filter_map(|line| line.split_once(':'));
        let fields: BTreeMap<&str, &str> = lines.map(|(key, value)| (key.trim(), value.trim())).collect();
        let Some(thread) = fields.get("processor").and_then(|number| number.parse().ok()) else { continue };
        let read = core(&fields, thread);
        let id = format!("{}-{}", read.socket, read.core_id);
        cores.entry(id).or_insert(read).logical_cpus.push(thread);
    }
    for core in cores.values_mut() {
        core.logical_cpus.sort_unstable();
    }
    cores
}

/// Where the kernel names no cores, every thread is one of a single socket.
fn core(fields: &BTreeMap<&str, &str>, thread: u32) -> CpuCore {
    let text = |key: &str| fields.get(key).map(|value| (*value).to_owned()).unwrap_or_default();
    let number = |key: &str| fields.get(key).and_then(|value| value.parse().ok()).unwrap_or(0);
    let words = |keys: [&str; 2]| {
        let value = keys.iter().find_map(|key| fields.get(key)).copied().unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let or =
        |key: &str, otherwise: String| Some(text(key)).filter(|text| !text.is_empty()).unwrap_or(otherwise);
    CpuCore {
        socket: or("physical id", "0".to_owned()),
        core_id: or("core id", thread.to_string()),
        logical_cpus: Vec::new(),
        vendor_id: or("vendor_id", text("CPU implementer")),
        cpu_family: or("cpu family", text("CPU architecture")),
        model: or("model", text("CPU part")),
        model_name: text("model name"),
        stepping: or("stepping", text("CPU revision")),
        microcode: text("microcode"),
        cache_size: text("cache size"),
        cores_per_socket: number("cpu cores"),
        threads_per_socket: number("siblings"),
        flags: words(["flags", "Features"]),
        bugs: words(["bugs", "bugs"]),
        bogo_mips: or("bogomips", text("BogoMIPS")).parse().unwrap_or(0.0),
        address_sizes: text("address sizes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_core_are_one_entry() {
        let block = |processor: u32, core: u32| {
            format!(
                "processor\t: {processor}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Xeon\n\
                 physical id\t: 1\nsiblings\t: 4\ncore id\t\t: {core}\ncpu cores\t: 2\nflags\t\t: fpu vme\nbugs\t\t: mds\n\
                 bogomips\t: 4200.00\naddress sizes\t: 46 bits physical, 57 bits virtual\n\n"
            )
        };
        let text = [block(2, 0), block(0, 0), block(1, 1), block(3, 1)].concat();
        let cores = parse(&text);
        assert_eq!(cores.keys().collect::<Vec<_>>(), ["1-0", "1-1"]);
        let first = &cores["1-0"];
        assert_eq!((first.logical_cpus.as_slice(), first.model_name.as_str()), ([0, 2].as_slice(), "Xeon"));
        assert_eq!((first.cores_per_socket, first.threads_per_socket), (2, 4));
        assert_eq!(first.flags, ["fpu", "vme"]);
        assert!((first.bogo_mips - 4200.0).abs() < f64::EPSILON);
    }

    #[test]
    fn other_architectures_have_other_words() {
        let arm = "processor\t: 1\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
        let cores = parse(arm);
        let core = &cores["0-1"];
        assert_eq!((core.vendor_id.as_str(), core.model.as_str()), ("0x41", "0xd0c"));
        assert_eq!(core.flags, ["fp", "asimd"]);
        assert!(parse("").is_empty() && parse("nonsense\n\n: \n").is_empty());
    }
}
