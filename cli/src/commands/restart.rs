//! `restart`: starts containers anew.

use clap::Args;
use corten_api::machine::RestartRequest;

use super::containers::Namespace;
use crate::command::Command;
use crate::connect::Node;
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;

/// Stop a container and let it start again.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  corten restart -k kube-system/coredns-1:coredns:2f0a")]
pub struct Restart {
    /// Container, as `corten containers` names it.
    id: String,
    #[command(flatten)]
    namespace: Namespace,
}

impl Command for Restart {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let (namespace, driver) = self.namespace.wire();
        let what = format!("restart the container {} on", self.id);
        let request = RestartRequest { namespace, id: self.id, driver };
        let restart = |node: Node| {
            let request = request.clone();
            async move {
                node.client.machine().restart(request).await?;
                Ok(())
            }
        };
        Ok(cx.targets()?.each(&what, restart).await)
    }
}
