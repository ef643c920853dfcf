//! What the Kubernetes of a cluster has: its version, nodes, pods and events.

use corten_bundle::kubernetes::{self, Listing};
use corten_kubernetes::Client;
use tokio::time::Instant;

use crate::report::Reporter;

/// Name of the source.
pub(crate) const SOURCE: &str = "Kubernetes";
/// The file for its version.
const VERSION: &str = "kubernetes/version.yaml";
/// What is listed.
const LISTINGS: [Listing; 3] = [
    Listing { kind: "Node", namespace: None, file: "kubernetes/nodes.yaml" },
    Listing { kind: "Pod", namespace: None, file: "kubernetes/pods.yaml" },
    Listing { kind: "Event", namespace: None, file: "kubernetes/events.yaml" },
];
/// How many steps there are.
pub(crate) const STEPS_COUNT: usize = 1 + LISTINGS.len();

/// Asks Kubernetes, if the manager sees it.
pub(crate) async fn collect(client: Option<Client>, bytes_max: usize, until: Instant, reporter: &Reporter) {
    let Some(client) = client else {
        let why = "the manager does not see it: it is not bootstrapped, or its control plane is away";
        return reporter.problem("all", why).await;
    };
    kubernetes::collect(&client, (VERSION, &LISTINGS), bytes_max, until, reporter).await;
}
