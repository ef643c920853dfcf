//! `health`: whether a cluster works.

mod client;

use std::time::Duration;

use clap::{ArgAction, Args};
use corten_api::cluster::{ClusterInfo, HealthCheckRequest};

use crate::command::Command;
use crate::connect::Node;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::units;

/// Wait until a cluster is healthy, and tell what it still lacks.
///
/// A control plane checks the cluster as it knows it. With --server=false this program asks every machine itself.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  corten health\n  corten health --server=false --control-plane-nodes 10.5.0.2 --worker-nodes 10.5.0.3,10.5.0.4"
)]
pub struct Health {
    /// Let a control plane check.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set)]
    server: bool,
    /// The control planes there must be, instead of those that are known.
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    control_plane_nodes: Vec<String>,
    /// The workers there must be, instead of those that are known.
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    worker_nodes: Vec<String>,
    /// A control plane that is not listed with the others.
    #[arg(long, value_name = "ADDRESS", hide = true)]
    init_node: Option<String>,
    /// Address of the Kubernetes API to check instead of the usual one.
    #[arg(long, value_name = "URL")]
    k8s_endpoint: Option<String>,
    /// How long to wait.
    #[arg(long, default_value = "20m", value_parser = units::parse_duration, value_name = "DURATION")]
    wait_timeout: Duration,
}

impl Command for Health {
    type Report = ();

    async fn run(mut self, cx: &Cx) -> Result<(), Failure> {
        self.control_plane_nodes.extend(self.init_node.take());
        let node = cx.targets()?.one("check the health of a cluster")?;
        let object = format!("the cluster of {} is not healthy", node.name);
        if self.server {
            return self.ask(cx, &node).await.or_fail(object);
        }
        let members =
            client::Members { control_planes: self.control_plane_nodes, workers: self.worker_nodes };
        client::check(cx, node, members, self.wait_timeout).await.or_fail(object)
    }
}

impl Health {
    async fn ask(self, cx: &Cx, node: &Node) -> Result<(), Cause> {
        let request = HealthCheckRequest {
            wait_timeout: Some(units::wire_duration(self.wait_timeout)),
            cluster_info: Some(ClusterInfo {
                control_plane_nodes: self.control_plane_nodes,
                worker_nodes: self.worker_nodes,
                force_endpoint: self.k8s_endpoint.unwrap_or_default(),
            }),
        };
        let mut stream = node.client.cluster().health_check(request).await?.into_inner();
        while let Some(progress) = stream.message().await? {
            if !progress.message.is_empty() {
                cx.say(&progress.message);
            }
        }
        Ok(())
    }
}
