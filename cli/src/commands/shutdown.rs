//! `shutdown`: turns machines off.

use clap::Args;
use corten_api::machine::ShutdownRequest;

use crate::command::Command;
use crate::connect::{Node, only};
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::track::{End, Wait, act};

/// Turn machines off, and wait until they are.
#[derive(Args, Debug)]
pub struct Shutdown {
    /// Do not cordon and drain the Kubernetes node first.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Command for Shutdown {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let (force, wait) = (self.force, &self.wait);
        let shutdown = |node: Node| async move {
            let start = async {
                let answer = node.client.machine().shutdown(ShutdownRequest { force }).await?;
                Ok(only(answer)?.actor_id)
            };
            act(cx, &node, wait, End::Off, start).await
        };
        Ok(cx.targets()?.each("shut down", shutdown).await)
    }
}
