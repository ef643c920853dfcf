//! `cgroups`: who uses processors, memory and disks, as the kernel counts it for each control group.
//!
//! ```text
//! copy /sys/fs/cgroup ─▶ tree of groups with their files ─┐
//! processes, containers ─▶ what runs in each ─────────────┴▶ a table by preset
//! ```

use std::collections::BTreeMap;
use std::io::Read as _;

use clap::{Args, ValueEnum};
use corten_api::common::ContainerDriver;
use corten_api::machine::{ContainersRequest, CopyRequest};
use flate2::read::GzDecoder;
use serde_json::{Map, Value};

use super::containers::KUBERNETES;
use crate::command::Command;
use crate::connect::{Node, only};
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::{Answer, PerNode};
use crate::table::align;
use crate::{stream, units};

/// Where the kernel shows control groups.
const ROOT: &str = "/sys/fs/cgroup";
/// Largest archive of it.
const BYTES_MAX: usize = 256 << 20;
/// Largest file of a group.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Groups that are shown.
const GROUPS_MAX: usize = 10_000;

/// Show what control groups use: processors, memory, disks, processes.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten cgroups --preset memory
  corten cg --preset psi -n 10.5.0.2")]
pub struct Cgroups {
    /// What to show.
    #[arg(long, value_enum, default_value_t)]
    preset: Preset,
    /// Do not ask which container each group is of.
    #[arg(long)]
    skip_cri_resolve: bool,
}

/// What is shown of each group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// Processor time and weight.
    Cpu,
    /// Which processors and memory nodes may be used.
    Cpuset,
    /// Bytes read and written.
    Io,
    /// Memory in use and its limits.
    #[default]
    Memory,
    /// Processes.
    Process,
    /// Time lost in waiting.
    Psi,
    /// Swap in use and its limit.
    Swap,
}

/// A column: its heading, the file, the key in it, how it is shown.
type Shown = (&'static str, &'static str, &'static str, Unit);

/// How a number is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    /// As it is.
    Plain,
    /// Bytes.
    Bytes,
    /// Microseconds.
    Micros,
}

impl Preset {
    const fn columns(self) -> &'static [Shown] {
        use Unit::{Bytes, Micros, Plain};
        match self {
            Self::Cpu => &[
                ("CPU TOTAL", "cpu.stat", "usage_usec", Micros),
                ("USER", "cpu.stat", "user_usec", Micros),
                ("SYSTEM", "cpu.stat", "system_usec", Micros),
                ("THROTTLED", "cpu.stat", "throttled_usec", Micros),
                ("WEIGHT", "cpu.weight", "", Plain),
                ("MAX", "cpu.max", "", Plain),
            ],
            Self::Cpuset => &[
                ("CPUS", "cpuset.cpus", "", Plain),
                ("EFFECTIVE", "cpuset.cpus.effective", "", Plain),
                ("MEMORY NODES", "cpuset.mems.effective", "", Plain),
            ],
            Self::Io => &[
                ("READ", "io.stat", "rbytes", Bytes),
                ("WRITTEN", "io.stat", "wbytes", Bytes),
                ("READS", "io.stat", "rios", Plain),
                ("WRITES", "io.stat", "wios", Plain),
                ("DISCARDED", "io.stat", "dbytes", Bytes),
            ],
            Self::Memory => &[
                ("CURRENT", "memory.current", "", Bytes),
                ("PEAK", "memory.peak", "", Bytes),
                ("MIN", "memory.min", "", Bytes),
                ("LOW", "memory.low", "", Bytes),
                ("HIGH", "memory.high", "", Bytes),
                ("MAX", "memory.max", "", Bytes),
            ],
            Self::Process => &[("PIDS", "pids.current", "", Plain), ("PIDS MAX", "pids.max", "", Plain)],
            Self::Psi => &[
                ("CPU SOME", "cpu.pressure", "some total", Micros),
                ("CPU FULL", "cpu.pressure", "full total", Micros),
                ("IO SOME", "io.pressure", "some total", Micros),
                ("IO FULL", "io.pressure", "full total", Micros),
                ("MEMORY SOME", "memory.pressure", "some total", Micros),
                ("MEMORY FULL", "memory.pressure", "full total", Micros),
            ],
            Self::Swap => &[
                ("CURRENT", "memory.swap.current", "", Bytes),
                ("PEAK", "memory.swap.peak", "", Bytes),
                ("HIGH", "memory.swap.high", "", Bytes),
                ("MAX", "memory.swap.max", "", Bytes),
            ],
        }
    }
}

/// Files of a group by name.
type Files = BTreeMap<String, String>;

/// The groups of a machine.
pub struct Groups {
    preset: Preset,
    /// By path below the root.
    all: BTreeMap<String, Files>,
    /// What runs in a group, by process.
    commands: BTreeMap<u32, String>,
    /// Names of containers by their ids.
    containers: BTreeMap<String, String>,
}

/// A value out of a file: of the whole, of a line `key value`, of a sum of `key=value`, or of `line key=value`.
fn value(text: &str, key: &str) -> Option<String> {
    let text = text.trim();
    if key.is_empty() {
        return (!text.is_empty()).then(|| text.to_owned());
    }
    if let Some((line, key)) = key.split_once(' ') {
        let line = text.lines().find_map(|found| found.strip_prefix(line))?;
        return line
            .split_whitespace()
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
            .map(str::to_owned);
    }
    let lines = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    if let Some(found) = lines {
        return Some(found.trim().to_owned());
    }
    let pairs = text.split_whitespace().filter_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
    let numbers: Vec<u64> = pairs.filter_map(|number| number.parse().ok()).collect();
    (!numbers.is_empty()).then(|| numbers.iter().sum::<u64>().to_string())
}

fn shown(text: &str, unit: Unit) -> String {
    let Ok(number) = text.parse::<u64>() else { return text.to_owned() };
    match unit {
        Unit::Plain => text.to_owned(),
        Unit::Bytes => units::bytes(number),
        Unit::Micros => units::short(std::time::Duration::from_micros(number)),
    }
}

impl Groups {
    /// Processes of a group, in words.
    fn processes(&self, files: &Files) -> String {
        let ids = files.get("cgroup.procs").map(String::as_str).unwrap_or_default();
        let names = ids.lines().filter_map(|id| self.commands.get(&id.trim().parse::<u32>().ok()?));
        let mut names: Vec<&str> = names.map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }

    /// The name of a group: its last part, or the container that it is of.
    fn name(&self, path: &str) -> String {
        let last = path.rsplit('/').next().unwrap_or_default();
        let container = self.containers.iter().find(|(id, _)| last.contains(id.as_str()));
        container.map_or_else(|| last.to_owned(), |(_, name)| name.clone())
    }

    fn row(&self, node: &str, path: &str, files: &Files) -> Vec<String> {
        let depth = path.matches('/').count();
        let name = if path.is_empty() {
            ".".to_owned()
        } else {
            format!("{}└─ {}", "  ".repeat(depth), self.name(path))
        };
        let columns = self.preset.columns().iter().map(|(_, file, key, unit)| {
            let text = files.get(*file).and_then(|text| value(text, key));
            text.map_or_else(|| "-".to_owned(), |text| shown(&text, *unit))
        });
        let last = (self.preset == Preset::Process).then(|| self.processes(files));
        [node.to_owned(), name].into_iter().chain(columns).chain(last).collect()
    }
}

impl Answer for Groups {
    fn text(answers: &[(&str, &Self)]) -> String {
        let Some((_, first)) = answers.first() else { return String::new() };
        let columns = first.preset.columns().iter().map(|(heading, ..)| (*heading).to_owned());
        let last = (first.preset == Preset::Process).then(|| "PROCESSES".to_owned());
        let head = ["NODE".to_owned(), "NAME".to_owned()].into_iter().chain(columns).chain(last);
        let mut lines: Vec<Vec<String>> = vec![head.collect()];
        for (node, groups) in answers {
            lines.extend(groups.all.iter().map(|(path, files)| groups.row(node, path, files)));
        }
        align(&lines)
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        let group = |(path, files): (&String, &Files)| {
            let columns = self.preset.columns().iter().map(|(heading, file, key, _)| {
                let text = files.get(*file).and_then(|text| value(text, key));
                let number = text.as_ref().and_then(|text| text.parse::<u64>().ok()).map(Value::from);
                let value = number.or_else(|| text.map(Value::from)).unwrap_or(Value::Null);
                (heading.to_lowercase().replace(' ', "_"), value)
            });
            let path = ("cgroup".to_owned(), Value::from(format!("/{path}")));
            std::iter::once(path).chain(columns).collect()
        };
        self.all.iter().map(group).collect()
    }
}

impl Command for Cgroups {
    type Report = PerNode<Groups>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let Self { preset, skip_cri_resolve } = self;
        let ask = |node: Node| async move {
            let request = CopyRequest { root_path: ROOT.to_owned() };
            let answer = node.client.machine().copy(request).await?.into_inner();
            let mut archive = Vec::new();
            let told = stream::gather(answer, BYTES_MAX, &mut archive).await;
            // Some files of control groups can only be written: the archive is whole, and the machine names them.
            let all = unpack(&archive).map_err(|broken| told.err().unwrap_or(broken))?;
            let processes = only(node.client.machine().processes(()).await?)?.processes;
            let command = |process: corten_api::machine::ProcessInfo| {
                Some((u32::try_from(process.pid).ok()?, process.command))
            };
            let commands = processes.into_iter().filter_map(command).collect();
            let containers = if skip_cri_resolve { BTreeMap::new() } else { containers(&node).await };
            Ok(Groups { preset, all, commands, containers })
        };
        Ok(cx.targets()?.each("read the control groups of", ask).await)
    }
}

/// Names of containers by their ids; none where there is no Kubernetes.
async fn containers(node: &Node) -> BTreeMap<String, String> {
    let request = ContainersRequest { namespace: KUBERNETES.to_owned(), driver: ContainerDriver::Cri.into() };
    let answer = node.client.machine().containers(request).await.map_err(Cause::from).and_then(only);
    let all = answer.map(|answer| answer.containers).unwrap_or_default();
    let named = all.into_iter().filter(|container| !container.internal_id.is_empty());
    named.map(|container| (container.internal_id, container.id)).collect()
}

/// Groups with their files, from the archive of the file system.
fn unpack(archive: &[u8]) -> Result<BTreeMap<String, Files>, Cause> {
    let mut all: BTreeMap<String, Files> = BTreeMap::new();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").trim_matches('/').to_owned();
        if entry.header().entry_type().is_dir() {
            all.entry(path).or_default();
        } else if entry.header().entry_type().is_file() {
            let (group, name) = path.rsplit_once('/').unwrap_or(("", path.as_str()));
            let mut bytes = Vec::new();
            entry.by_ref().take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            all.entry(group.to_owned()).or_default().insert(name.to_owned(), text);
        }
        if all.len() > GROUPS_MAX {
            return Err(format!("there are more than {GROUPS_MAX} control groups").into());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::command::{Report as _, pretty};

    fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o444);
            header.set_cksum();
            builder.append_data(&mut header, name, text.as_bytes()).expect("appended");
        }
        builder.into_inner().expect("tar").finish().expect("gzip")
    }

    fn groups(preset: Preset) -> PerNode<Groups> {
        let files = [
            ("memory.current", "1048576\n"),
            ("system/memory.current", "524288\n"),
            ("system/memory.max", "max\n"),
            ("system/apid/memory.current", "4096\n"),
            ("system/apid/cgroup.procs", "7\n8\n"),
            ("system/apid/pids.current", "2\n"),
        ];
        let all = unpack(&archive(&files)).expect("unpacked");
        let commands = BTreeMap::from([(7, "apid".to_owned()), (8, "apid".to_owned())]);
        PerNode(vec![(
            "10.5.0.2".to_owned(),
            Ok(Groups { preset, all, commands, containers: BTreeMap::new() }),
        )])
    }

    #[test]
    fn tables_and_data() {
        let memory = groups(Preset::Memory);
        let text = [memory.text(), groups(Preset::Process).text(), pretty(&memory.data())];
        crate::snapshot::check("cgroups", &text.join("\n"));
    }

    #[test]
    fn values_are_found_in_every_form_of_a_file() {
        assert_eq!(value("7\n", "").as_deref(), Some("7"));
        assert_eq!(value("usage_usec 7\nuser_usec 3\n", "user_usec").as_deref(), Some("3"));
        assert_eq!(value("8:0 rbytes=7 wbytes=1\n8:16 rbytes=3\n", "rbytes").as_deref(), Some("10"));
        let pressure = "some avg10=0.00 total=7\nfull avg10=0.00 total=3\n";
        assert_eq!(value(pressure, "full total").as_deref(), Some("3"));
        assert_eq!(value("", "x"), None);
    }

    #[test]
    fn never_panics_on_any_archive() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = unpack(input);
        });
    }
}
