//! `dmesg`: kernel logs.

use clap::Args;
use corten_api::machine::DmesgRequest;

use crate::command::Command;
use crate::connect::Maintenance;
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::stream;

/// Print the kernel logs of machines.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten dmesg -f
  corten dmesg -n 10.5.0.2 --insecure")]
pub struct Dmesg {
    /// Go on with what comes.
    #[arg(short, long)]
    follow: bool,
    /// With --follow: only what comes, without what was.
    #[arg(long)]
    tail: bool,
    #[command(flatten)]
    maintenance: Maintenance,
}

impl Command for Dmesg {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let request = DmesgRequest { follow: self.follow, tail: self.tail };
        let targets = cx.targets_in(&self.maintenance)?;
        let ask = |node: crate::connect::Node| async move {
            let stream = node.client.machine().dmesg(request).await?.into_inner();
            stream::print_lines(cx, &node.name, stream).await
        };
        Ok(targets.each("read the kernel log of", ask).await)
    }
}
