//! What `talosctl support` keeps as tables: version, mounts, processes, disks.

use corten_api::machine::{DiskStat, MountStat, ProcessInfo, ReadRequest};
use tonic::{Code, Status};

use super::{Inquiry, Sink};
use crate::table::table;

/// Where the kernel lists the functions of the PCI bus.
const PCI: &str = "/proc/bus/pci/devices";

impl<S: Sink> Inquiry<'_, S> {
    pub(super) async fn version(&mut self) {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.version(()).await?.into_inner()) };
        let Some(answer) = self.ask("version", question).await else { return };
        let rows = answer.messages.into_iter().map(|message| {
            let version = message.version.unwrap_or_default();
            let platform = message.platform.unwrap_or_default();
            [version.tag, version.sha, version.built, version.arch, platform.name, platform.mode]
        });
        let rows: Vec<_> = rows.collect();
        let headings = ["VERSION", "COMMIT", "BUILT", "PROCESSOR", "PLATFORM", "MODE"];
        self.part("summary", table(headings, &rows)).await;
    }

    pub(super) async fn tables(&mut self) {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.mounts(()).await?.into_inner()) };
        if let Some(answer) = self.ask("mounts", question).await {
            let all = answer.messages.iter().flat_map(|message| &message.stats);
            let rows: Vec<_> = all.map(mount).collect();
            self.part("mounts", table(["SIZE", "AVAILABLE", "FILE SYSTEM", "PLACE"], &rows)).await;
        }
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.processes(()).await?.into_inner()) };
        if let Some(answer) = self.ask("processes", question).await {
            let all = answer.messages.iter().flat_map(|message| &message.processes);
            let rows: Vec<_> = all.map(process).collect();
            let headings = ["PID", "PARENT", "STATE", "THREADS", "CPU SECONDS", "MEMORY", "COMMAND"];
            self.part("processes", table(headings, &rows)).await;
        }
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.disk_stats(()).await?.into_inner()) };
        if let Some(answer) = self.ask("disk statistics", question).await {
            let all = answer.messages.iter().flat_map(|message| &message.devices);
            let rows: Vec<_> = all.map(disk).collect();
            let headings = ["NAME", "IO_TIME", "IO_TIME_WEIGHTED", "DISK_WRITE_SECTORS", "DISK_READ_SECTORS"];
            self.part("io", table(headings, &rows)).await;
        }
        self.devices().await;
    }

    /// Devices of the PCI bus. Only administrators read files, and a machine in a container may have no bus.
    async fn devices(&mut self) {
        let mut api = self.client.machine();
        let question = async move {
            let mut stream = match api.read(ReadRequest { path: PCI.to_owned() }).await {
                Ok(answer) => answer.into_inner(),
                Err(status) if matches!(status.code(), Code::PermissionDenied | Code::NotFound) => {
                    return Ok(None);
                }
                Err(status) => return Err(status),
            };
            let mut bytes = Vec::new();
            while let Some(data) = stream.message().await? {
                bytes.extend_from_slice(&data.bytes);
            }
            Ok(Some(bytes))
        };
        if let Some(Some(bytes)) = self.ask("devices", question).await {
            self.part("devices", bytes).await;
        }
    }
}

fn mount(mount: &MountStat) -> [String; 4] {
    let MountStat { filesystem, size, available, mounted_on } = mount;
    [size.to_string(), available.to_string(), filesystem.clone(), mounted_on.clone()]
}

fn process(process: &ProcessInfo) -> [String; 7] {
    let command = if process.args.is_empty() { &process.command } else { &process.args };
    [
        process.pid.to_string(),
        process.ppid.to_string(),
        process.state.clone(),
        process.threads.to_string(),
        format!("{:.2}", process.cpu_time),
        process.resident_memory.to_string(),
        command.clone(),
    ]
}

fn disk(disk: &DiskStat) -> [String; 5] {
    let numbers = [disk.io_time_ms, disk.io_time_weighted_ms, disk.write_sectors, disk.read_sectors];
    let [time, weighted, written, read] = numbers.map(|number| number.to_string());
    [disk.name.clone(), time, weighted, written, read]
}
