//! `time`: clocks of machines against time servers.

use clap::Args;
use corten_api::time::{Time as TimeAnswer, TimeRequest};

use crate::command::Command;
use crate::connect::only;
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::table::{Cell, Column, Row};
use crate::units;

/// Compare the clocks of machines with their time server.
#[derive(Args, Debug)]
pub struct Time {
    /// Compare with this server instead of the configured one.
    #[arg(long, value_name = "SERVER")]
    check: Option<String>,
}

fn moment(stamp: Option<prost_types::Timestamp>) -> Cell {
    units::time_of(stamp).map(units::rfc3339_nano).unwrap_or_default().into()
}

impl Row for TimeAnswer {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("NTP-SERVER", "server", |t| (&t.server).into()),
        Column::new("NODE-TIME", "nodeTime", |t| moment(t.localtime)),
        Column::new("NTP-SERVER-TIME", "serverTime", |t| moment(t.remotetime)),
    ];
}

impl Command for Time {
    type Report = PerNode<Vec<TimeAnswer>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let check = &self.check;
        let ask = |node: crate::connect::Node| async move {
            let answer = match check.clone() {
                Some(server) => node.client.time().time_check(TimeRequest { server }).await?,
                None => node.client.time().time(()).await?,
            };
            Ok(vec![only(answer)?])
        };
        Ok(cx.targets()?.each("compare the clock of", ask).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Report as _;

    #[test]
    fn table() {
        let stamp = |nanos| Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos });
        let answer = TimeAnswer {
            server: "time.cloudflare.com".into(),
            localtime: stamp(1_000),
            remotetime: stamp(2_000),
            metadata: None,
        };
        crate::snapshot::check("time", &PerNode(vec![("10.5.0.2".into(), Ok(vec![answer]))]).text());
    }
}
