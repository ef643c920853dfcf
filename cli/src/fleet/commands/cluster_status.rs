//! `fleet cluster status`: how a cluster is.

use std::time::Duration;

use clap::Args;

use crate::command::Command;
use crate::context::Cx;
use crate::failure::Failure;
use crate::fleet::cluster::{Observed, Voice};
use crate::fleet::connect::Manager;
use crate::units;

/// Show how a cluster is, and wait until it is healthy.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten fleet cluster status home\n  corten fleet cluster status home --wait 0"
)]
pub struct Status {
    /// Name of the cluster.
    #[arg(value_name = "CLUSTER")]
    name: String,
    #[command(flatten)]
    watching: Watching,
}

// Flags of commands that show how a cluster is. A documentation comment would become the command's help.
#[derive(Args, Clone, Copy, Debug)]
pub struct Watching {
    /// Print nothing; the exit status says enough.
    #[arg(short, long)]
    quiet: bool,
    /// How long to wait; 0 prints how it is now and ends.
    #[arg(short, long, default_value = "5m", value_parser = units::parse_duration, value_name = "DURATION")]
    wait: Duration,
}

impl Watching {
    /// Shows it.
    pub async fn report(self, cx: &Cx, manager: &Manager, cluster: &str) -> Result<(), Failure> {
        let voice = if self.quiet { Voice::Quiet } else { Voice::Loud };
        Observed::new(cx, manager, cluster, voice).report(self.wait).await
    }
}

impl Command for Status {
    type Report = ();

    async fn run(self, cx: &Cx) -> Result<(), Failure> {
        let manager = cx.manager().await?;
        self.watching.report(cx, &manager, &self.name).await
    }
}
