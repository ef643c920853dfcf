//! `logs`: logs of services and containers.

use clap::Args;
use corten_api::machine::LogsRequest;

use super::containers::Namespace;
use crate::command::Command;
use crate::connect::Maintenance;
use crate::context::Cx;
use crate::failure::Failure;
use crate::pernode::PerNode;
use crate::stream;

/// Print the log of a service or container.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten logs kubelet\n  corten logs -f --tail 20 machined\n  corten logs -k kube-system/kube-apiserver-cp-1:kube-apiserver:2f0a"
)]
pub struct Logs {
    /// Service, or container of Kubernetes as `corten containers -k` names it.
    id: String,
    /// Go on with what comes.
    #[arg(short, long)]
    follow: bool,
    /// Lines from the end; -1 means all.
    #[arg(long, default_value_t = -1, value_name = "LINES", allow_negative_numbers = true)]
    tail: i32,
    #[command(flatten)]
    namespace: Namespace,
    #[command(flatten)]
    maintenance: Maintenance,
}

impl Command for Logs {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let (namespace, driver) = self.namespace.wire();
        let what = format!("read the log of {} on", self.id);
        let request =
            LogsRequest { namespace, id: self.id, driver, follow: self.follow, tail_lines: self.tail };
        let targets = cx.targets_in(&self.maintenance)?;
        let ask = |node: crate::connect::Node| {
            let request = request.clone();
            async move {
                let stream = node.client.machine().logs(request).await?.into_inner();
                stream::print_lines(cx, &node.name, stream).await
            }
        };
        Ok(targets.each(&what, ask).await)
    }
}
