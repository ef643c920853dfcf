//! `stats`: what containers use.

use clap::Args;
use corten_api::machine::{Stat, StatsRequest};

use super::containers::{Namespace, by_pod, shown_id};
use crate::command::Command;
use crate::connect::only;
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::table::{Cell, Column, Row};

/// Show CPU time and memory that containers use.
#[derive(Args, Debug)]
pub struct Stats {
    #[command(flatten)]
    namespace: Namespace,
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn megabytes(bytes: u64) -> Cell {
    Cell::new(format!("{:.2}", bytes as f64 / 1e6), bytes)
}

impl Row for Stat {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NAMESPACE", "namespace", |s| (&s.namespace).into()),
        Column::new("ID", "id", |s| Cell::new(shown_id(&s.id, &s.pod_id), s.id.clone())),
        Column::new("MEMORY(MB)", "memory", |s| megabytes(s.memory_usage)),
        Column::new("CPU", "cpu", |s| s.cpu_usage.into()),
    ];
}

impl Command for Stats {
    type Report = PerNode<Vec<Stat>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let (namespace, driver) = self.namespace.wire();
        let request = StatsRequest { namespace, driver };
        let ask = |node: crate::connect::Node| {
            let request = request.clone();
            async move {
                let all = only(node.client.machine().stats(request).await?)?.stats;
                Ok(by_pod(all, |s| (s.pod_id.clone(), s.id != s.pod_id, s.id.clone())))
            }
        };
        Ok(cx.targets()?.each("read the statistics on", ask).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Report as _, pretty};

    #[test]
    fn table_and_data() {
        let stat = Stat {
            namespace: "system".into(),
            id: "kubelet".into(),
            memory_usage: 81_234_567,
            cpu_usage: 1_234_567,
            ..Stat::default()
        };
        let report = PerNode(vec![("10.5.0.2".into(), Ok(vec![stat]))]);
        crate::snapshot::check("stats", &(report.text() + &pretty(&report.data())));
    }
}
