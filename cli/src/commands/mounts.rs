//! `mounts`: file systems of machines.

use clap::Args;
use corten_api::machine::MountStat;

use crate::command::Command;
use crate::connect::only;
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::table::{Cell, Column, Row};

/// List mounted file systems with their sizes.
#[derive(Args, Debug)]
pub struct Mounts {}

/// The table is in gigabytes, data in bytes.
fn gigabytes(bytes: u64) -> Cell {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    Cell::new(format!("{:.2}", bytes as f64 / 1e9), bytes)
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn percent(mount: &MountStat) -> Cell {
    let used = mount.size.saturating_sub(mount.available) as f64;
    let percent = if mount.size == 0 { 0.0 } else { used / mount.size as f64 * 100.0 };
    Cell::new(format!("{percent:.2}%"), percent)
}

impl Row for MountStat {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("FILESYSTEM", "filesystem", |m| (&m.filesystem).into()),
        Column::new("SIZE(GB)", "size", |m| gigabytes(m.size)),
        Column::new("USED(GB)", "used", |m| gigabytes(m.size.saturating_sub(m.available))),
        Column::new("AVAILABLE(GB)", "available", |m| gigabytes(m.available)),
        Column::new("PERCENT USED", "percentUsed", percent),
        Column::new("MOUNTED ON", "mountedOn", |m| (&m.mounted_on).into()),
    ];
}

impl Command for Mounts {
    type Report = PerNode<Vec<MountStat>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let ask = |node: crate::connect::Node| async move {
            Ok(only(node.client.machine().mounts(()).await?)?.stats)
        };
        Ok(cx.targets()?.each("list the mounts on", ask).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Report as _, pretty};

    #[test]
    fn table_and_data() {
        let mount = |filesystem: &str, size, available, on: &str| MountStat {
            filesystem: filesystem.into(),
            size,
            available,
            mounted_on: on.into(),
        };
        let mounts =
            vec![mount("/dev/vda4", 10_000_000_000, 2_500_000_000, "/var"), mount("proc", 0, 0, "/proc")];
        let report = PerNode(vec![("10.5.0.2".into(), Ok(mounts))]);
        crate::snapshot::check("mounts", &(report.text() + &pretty(&report.data())));
    }
}
