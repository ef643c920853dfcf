//! `processes`: what runs on machines.

use std::cmp::Reverse;
use std::time::Duration;

use clap::{Args, ValueEnum};
use corten_api::machine::ProcessInfo;

use crate::command::Command;
use crate::connect::only;
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::table::{Cell, Column, Row};
use crate::units;

/// List running processes.
#[derive(Args, Debug)]
pub struct Processes {
    /// What the biggest of comes first.
    #[arg(short, long, value_enum, default_value_t, value_name = "COLUMN")]
    sort: Sort,
}

/// Orders of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Memory in use.
    #[default]
    Rss,
    /// CPU time.
    Cpu,
}

fn command(process: &ProcessInfo) -> &str {
    let candidates = [&process.executable, &process.args, &process.command];
    let args = process.args.as_str();
    match process.executable.as_str() {
        "" => candidates.into_iter().find(|text| !text.is_empty()).map_or("", String::as_str),
        _ if args.is_empty() => &process.executable,
        _ => args,
    }
}

impl Row for ProcessInfo {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("PID", "pid", |p| p.pid.into()),
        Column::new("STATE", "state", |p| (&p.state).into()),
        Column::new("THREADS", "threads", |p| p.threads.into()),
        Column::new("CPU-TIME", "cpuTime", |p| Cell::new(format!("{:.2}", p.cpu_time), p.cpu_time)),
        Column::new("VIRTMEM", "virtualMemory", |p| {
            Cell::new(units::bytes(p.virtual_memory), p.virtual_memory)
        }),
        Column::new("RESMEM", "residentMemory", |p| {
            Cell::new(units::bytes(p.resident_memory), p.resident_memory)
        }),
        Column::new("LABEL", "label", |p| (&p.label).into()),
        Column::new("COMMAND", "command", |p| command(p).into()),
    ];
}

fn sorted(mut all: Vec<ProcessInfo>, by: Sort) -> Vec<ProcessInfo> {
    let cpu = |process: &ProcessInfo| Duration::try_from_secs_f64(process.cpu_time).unwrap_or_default();
    match by {
        Sort::Rss => all.sort_by_key(|process| Reverse(process.resident_memory)),
        Sort::Cpu => all.sort_by_key(|process| Reverse(cpu(process))),
    }
    all
}

impl Command for Processes {
    type Report = PerNode<Vec<ProcessInfo>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let by = self.sort;
        let ask = |node: crate::connect::Node| async move {
            let all = only(node.client.machine().processes(()).await?)?.processes;
            Ok(sorted(all, by))
        };
        Ok(cx.targets()?.each("list the processes on", ask).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Report as _;

    #[test]
    fn the_biggest_comes_first() {
        let process = |pid, memory, cpu_time, args: &str| ProcessInfo {
            pid,
            state: "S".into(),
            threads: 3,
            cpu_time,
            virtual_memory: memory * 10,
            resident_memory: memory,
            executable: if args.is_empty() { String::new() } else { "/usr/bin/machined".into() },
            command: "kthreadd".into(),
            args: args.into(),
            ..ProcessInfo::default()
        };
        let all = || vec![process(2, 0, 9.5, ""), process(7, 20_000_000, 1.25, "/usr/bin/machined --debug")];
        assert_eq!(sorted(all(), Sort::Cpu)[0].pid, 2);
        let report = PerNode(vec![("10.5.0.2".into(), Ok(sorted(all(), Sort::Rss)))]);
        crate::snapshot::check("processes", &report.text());
    }
}
