//! Health of the whole cluster.

use corten_api::cluster::cluster_service_server::ClusterService;
use corten_api::cluster::{HealthCheckProgress, HealthCheckRequest};
use tonic::{Request, Response, Status, async_trait};

use super::stream::Reply;
use super::unimplemented::not_yet;
use super::{Parts, kubernetes};

/// The service over the machine's parts.
#[derive(Clone)]
pub struct Cluster(pub Parts);

#[async_trait]
impl ClusterService for Cluster {
    type HealthCheckStream = Reply<HealthCheckProgress>;

    async fn health_check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::HealthCheckStream>, Status> {
        kubernetes::need_control_plane(&self.0, "health check")?;
        Err(not_yet("cluster.ClusterService/HealthCheck"))
    }
}
