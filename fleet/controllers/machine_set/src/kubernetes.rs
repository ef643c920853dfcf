//! What is asked of the Kubernetes of clusters.

use std::future::Future;

/// Removes nodes from Kubernetes; given by whoever reaches it.
pub trait KubernetesNodes: Send + Sync + 'static {
    /// Removes a node from the Kubernetes of a cluster; one that is not there is as good as removed.
    ///
    /// # Errors
    /// When the API does not answer, or refuses.
    fn delete(&self, cluster: &str, node: &str) -> impl Future<Output = anyhow::Result<()>> + Send;
}
