//! `memory`: RAM of machines.

use clap::Args;
use corten_api::machine::MemInfo;
use serde_json::{Map, Value};

use crate::command::Command;
use crate::connect::{Maintenance, only};
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::{Answer, PerNode};
use crate::table::{Cell, Column, Row, render};

/// Show how much memory machines have and use.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten memory -n 10.5.0.2,10.5.0.3
  corten memory --verbose -o json")]
pub struct Memory {
    /// Show everything that the kernel tells.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    maintenance: Maintenance,
}

/// The kernel's figures, and whether all of them are wanted.
pub struct MemoryInfo {
    info: MemInfo,
    is_verbose: bool,
}

/// The table is in megabytes, data in bytes; the kernel counts KiB.
fn kib(value: u64) -> Cell {
    Cell::new((value / 1024).to_string(), value.saturating_mul(1024))
}

impl Row for MemInfo {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("TOTAL", "total", |m| kib(m.memtotal)),
        Column::new("USED", "used", |m| kib(used(m))),
        Column::new("FREE", "free", |m| kib(m.memfree)),
        Column::new("SHARED", "shared", |m| kib(m.shmem)),
        Column::new("BUFFERS", "buffers", |m| kib(m.buffers)),
        Column::new("CACHE", "cache", |m| kib(m.cached)),
        Column::new("AVAILABLE", "available", |m| kib(m.memavailable)),
    ];
}

fn used(info: &MemInfo) -> u64 {
    info.memtotal.saturating_sub(info.memfree).saturating_sub(info.cached).saturating_sub(info.buffers)
}

impl Answer for MemoryInfo {
    fn text(answers: &[(&str, &Self)]) -> String {
        if answers.iter().any(|(_, answer)| answer.is_verbose) {
            return answers.iter().map(|(node, answer)| verbose(node, &answer.info)).collect();
        }
        render(answers.iter().map(|(node, answer)| (*node, &answer.info)))
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        if !self.is_verbose {
            return vec![self.info.data()];
        }
        let bytes = |name, value: u64| if is_count(name) { value } else { value.saturating_mul(1024) };
        let lines = lines(&self.info).into_iter();
        vec![lines.map(|(name, value)| (name.to_owned(), bytes(name, value).into())).collect()]
    }
}

fn verbose(node: &str, info: &MemInfo) -> String {
    let mut text = format!("NODE: {node}\n");
    for (name, value) in lines(info) {
        let unit = if is_count(name) { "" } else { " kB" };
        text += &format!("{name}: {value}{unit}\n");
    }
    text
}

/// Pages are counted, everything else is measured.
fn is_count(name: &str) -> bool {
    name.starts_with("HugePages")
}

/// What the kernel tells, in its order, under the names that talosctl shows.
fn lines(m: &MemInfo) -> Vec<(&'static str, u64)> {
    vec![
        ("MemTotal", m.memtotal),
        ("MemFree", m.memfree),
        ("MemAvailable", m.memavailable),
        ("Buffers", m.buffers),
        ("Cached", m.cached),
        ("SwapCached", m.swapcached),
        ("Active", m.active),
        ("Inactive", m.inactive),
        ("ActiveAnon", m.activeanon),
        ("InactiveAnon", m.inactiveanon),
        ("ActiveFile", m.activefile),
        ("InactiveFile", m.inactivefile),
        ("Unevictable", m.unevictable),
        ("Mlocked", m.mlocked),
        ("SwapTotal", m.swaptotal),
        ("SwapFree", m.swapfree),
        ("Dirty", m.dirty),
        ("Writeback", m.writeback),
        ("AnonPages", m.anonpages),
        ("Mapped", m.mapped),
        ("Shmem", m.shmem),
        ("Slab", m.slab),
        ("SReclaimable", m.sreclaimable),
        ("SUnreclaim", m.sunreclaim),
        ("KernelStack", m.kernelstack),
        ("PageTables", m.pagetables),
        ("NFSUnstable", m.nfsunstable),
        ("Bounce", m.bounce),
        ("WritebackTmp", m.writebacktmp),
        ("CommitLimit", m.commitlimit),
        ("CommittedAS", m.committedas),
        ("VmallocTotal", m.vmalloctotal),
        ("VmallocUsed", m.vmallocused),
        ("VmallocChunk", m.vmallocchunk),
        ("HardwareCorrupted", m.hardwarecorrupted),
        ("AnonHugePages", m.anonhugepages),
        ("ShmemHugePages", m.shmemhugepages),
        ("ShmemPmdMapped", m.shmempmdmapped),
        ("CmaTotal", m.cmatotal),
        ("CmaFree", m.cmafree),
        ("HugePagesTotal", m.hugepagestotal),
        ("HugePagesFree", m.hugepagesfree),
        ("HugePagesRsvd", m.hugepagesrsvd),
        ("HugePagesSurp", m.hugepagessurp),
        ("Hugepagesize", m.hugepagesize),
        ("DirectMap4k", m.directmap4k),
        ("DirectMap2M", m.directmap2m),
        ("DirectMap1G", m.directmap1g),
    ]
}

impl Command for Memory {
    type Report = PerNode<MemoryInfo>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let is_verbose = self.verbose;
        let targets = cx.targets_in(&self.maintenance)?;
        let ask = |node: crate::connect::Node| async move {
            let memory = only(node.client.machine().memory(()).await?)?;
            Ok(MemoryInfo { info: memory.meminfo.unwrap_or_default(), is_verbose })
        };
        Ok(targets.each("read the memory of", ask).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Report as _, pretty};
    use crate::failure::Failure;

    fn info() -> MemInfo {
        MemInfo {
            memtotal: 2_048_000,
            memfree: 512_000,
            cached: 400_000,
            buffers: 10_000,
            memavailable: 900_000,
            hugepagestotal: 3,
            hugepagesize: 2048,
            ..MemInfo::default()
        }
    }

    #[test]
    fn table_and_data() {
        let answer = MemoryInfo { info: info(), is_verbose: false };
        let failed = Err(Failure::new("cannot read the memory of 10.5.0.3").because("nothing listens there"));
        let report = PerNode(vec![("10.5.0.2".into(), Ok(answer)), ("10.5.0.3".into(), failed)]);
        crate::snapshot::check("memory", &(report.text() + &pretty(&report.data())));
    }

    #[test]
    fn everything_that_the_kernel_tells() {
        let answer = MemoryInfo { info: info(), is_verbose: true };
        let report = PerNode(vec![("10.5.0.2".into(), Ok(answer))]);
        crate::snapshot::check("memory_verbose", &(report.text() + &pretty(&report.data())));
    }
}
