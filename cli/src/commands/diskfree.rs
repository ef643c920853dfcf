//! `diskfree`: how full the volumes of machines are.

use clap::Args;
use corten_api::machine::{StorageServiceStatfsRequest, StorageServiceStatfsResponse};
use serde_json::{Map, Value};

use crate::command::Command;
use crate::connect::Node;
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::{Answer, PerNode};
use crate::table::{Cell, Column, Row, render};
use crate::{resources, units};

/// The types that say where volumes are mounted, newest first.
const MOUNTS: [&str; 2] = ["MountStatuses.block.talos.dev", "VolumeMountStatuses.block.talos.dev"];

/// Show how full the volumes of machines are.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten diskfree
  corten df -i -n 10.5.0.2")]
pub struct Diskfree {
    /// Exact numbers of bytes.
    #[arg(short, long)]
    bytes: bool,
    /// Files and folders instead of bytes.
    #[arg(short, long)]
    inodes: bool,
}

/// A mounted volume.
pub struct Volume {
    id: String,
    source: String,
    target: String,
    usage: StorageServiceStatfsResponse,
    is_exact: bool,
}

/// All volumes of a machine.
pub struct Volumes {
    all: Vec<Volume>,
    counts_inodes: bool,
}

fn bytes(volume: &Volume, bytes: u64) -> Cell {
    Cell::new(if volume.is_exact { bytes.to_string() } else { units::bytes(bytes) }, bytes)
}

#[expect(clippy::cast_precision_loss, reason = "whole percents are shown")]
fn percent(used: u64, all: u64) -> Cell {
    let part = if all == 0 { 0.0 } else { used as f64 / all as f64 * 100.0 };
    Cell::new(format!("{part:.0}%"), part)
}

impl Row for Volume {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("VOLUME", "volume", |v| (&v.id).into()),
        Column::new("SOURCE", "source", |v| (&v.source).into()),
        Column::new("SIZE", "size", |v| bytes(v, v.usage.size)),
        Column::new("USED", "used", |v| bytes(v, v.usage.used)),
        Column::new("AVAILABLE", "available", |v| bytes(v, v.usage.available)),
        Column::new("USE%", "percentUsed", |v| percent(v.usage.used, v.usage.size)),
        Column::new("MOUNTED ON", "mountedOn", |v| (&v.target).into()),
    ];
}

/// The same, with files and folders counted.
struct Counted {
    volume: String,
    source: String,
    target: String,
    usage: StorageServiceStatfsResponse,
}

impl From<&Volume> for Counted {
    fn from(volume: &Volume) -> Self {
        let Volume { id, source, target, usage, .. } = volume;
        Self { volume: id.clone(), source: source.clone(), target: target.clone(), usage: *usage }
    }
}

impl Row for Counted {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("VOLUME", "volume", |v| (&v.volume).into()),
        Column::new("SOURCE", "source", |v| (&v.source).into()),
        Column::new("INODES", "inodes", |v| v.usage.inodes.into()),
        Column::new("IUSED", "inodesUsed", |v| v.usage.inodes_used.into()),
        Column::new("IFREE", "inodesFree", |v| v.usage.inodes_free.into()),
        Column::new("IUSE%", "percentUsed", |v| percent(v.usage.inodes_used, v.usage.inodes)),
        Column::new("MOUNTED ON", "mountedOn", |v| (&v.target).into()),
    ];
}

impl Answer for Volumes {
    fn text(answers: &[(&str, &Self)]) -> String {
        if answers.iter().any(|(_, volumes)| volumes.counts_inodes) {
            let rows = answers.iter().flat_map(|(node, volumes)| {
                volumes.all.iter().map(move |volume| (*node, Counted::from(volume)))
            });
            let rows: Vec<_> = rows.collect();
            return render(rows.iter().map(|(node, row)| (*node, row)));
        }
        render(
            answers.iter().flat_map(|(node, volumes)| volumes.all.iter().map(move |volume| (*node, volume))),
        )
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        if self.counts_inodes {
            return self.all.iter().map(|volume| Counted::from(volume).data()).collect();
        }
        self.all.iter().map(Row::data).collect()
    }
}

impl Command for Diskfree {
    type Report = PerNode<Volumes>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let (is_exact, counts_inodes) = (self.bytes, self.inodes);
        let ask = |node: Node| async move {
            let mut all = Vec::new();
            for (id, source, target) in mounted(&node).await? {
                let request = StorageServiceStatfsRequest { path: target.clone() };
                let usage = node.client.machine_storage().statfs(request).await?.into_inner();
                all.push(Volume { id, source, target, usage, is_exact });
            }
            Ok(Volumes { all, counts_inodes })
        };
        Ok(cx.targets()?.each("measure the volumes on", ask).await)
    }
}

/// Volumes, their devices and where they are mounted, each place once.
async fn mounted(node: &Node) -> Result<Vec<(String, String, String)>, Cause> {
    let mut found: Vec<(String, String, String)> = Vec::new();
    for kind in MOUNTS {
        // A machine of another version may not know one of the types.
        let listed = resources::list(&node.client, "runtime", kind).await.unwrap_or_default();
        for resource in &listed {
            let spec = resources::spec(resource)?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (source, target) = (text(&spec["source"]), text(&spec["target"]));
            // The newer type has the request that it answers in it.
            let volume = [&spec["volumeID"], &spec["spec"]["volumeID"]].map(text).concat();
            if target.starts_with('/') && !found.iter().any(|(.., known)| *known == target) {
                let id = if volume.is_empty() { resources::metadata(resource).id.clone() } else { volume };
                found.push((id, source, target));
            }
        }
    }
    found.sort_by(|(.., a), (.., b)| a.cmp(b));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Report as _, pretty};

    fn volumes(is_exact: bool, counts_inodes: bool) -> PerNode<Volumes> {
        let usage = StorageServiceStatfsResponse {
            size: 10_000_000_000,
            used: 2_500_000_000,
            available: 7_500_000_000,
            inodes: 1000,
            inodes_used: 10,
            inodes_free: 990,
        };
        let (id, source) = ("EPHEMERAL".to_owned(), "/dev/vda4".to_owned());
        let all = vec![Volume { id, source, target: "/var".to_owned(), usage, is_exact }];
        PerNode(vec![("10.5.0.2".to_owned(), Ok(Volumes { all, counts_inodes }))])
    }

    #[test]
    fn tables_and_data() {
        let text = [
            volumes(false, false).text(),
            volumes(true, false).text(),
            volumes(false, true).text(),
            pretty(&volumes(false, false).data()),
        ];
        crate::snapshot::check("diskfree", &text.join("\n"));
    }
}
