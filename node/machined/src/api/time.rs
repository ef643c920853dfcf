//! The clock against a time server.

use std::net::IpAddr;

use corten_api::time::time_service_server::TimeService;
use corten_api::time::{Time, TimeRequest, TimeResponse};
use corten_controllers_network::time_query;
use corten_resources::network::{ResolverStatus, TimeServerStatus};
use tonic::{Request, Response, Status, async_trait};

use super::{Parts, one};

/// The service over the machine's parts.
#[derive(Clone)]
pub struct Clock(pub Parts);

#[async_trait]
impl TimeService for Clock {
    async fn time(&self, _: Request<()>) -> Result<Response<TimeResponse>, Status> {
        let servers = self.0.state.get::<TimeServerStatus>("timeservers");
        let servers = servers.map(|status| status.spec.time_servers.clone()).unwrap_or_default();
        let Some(first) = servers.first() else {
            return Err(Status::failed_precondition("no time server is configured (machine.time.servers)"));
        };
        self.ask(first).await
    }

    async fn time_check(&self, request: Request<TimeRequest>) -> Result<Response<TimeResponse>, Status> {
        let server = request.into_inner().server;
        if server.is_empty() {
            return Err(Status::invalid_argument("a time server is required"));
        }
        self.ask(&server).await
    }
}

impl Clock {
    async fn ask(&self, server: &str) -> Result<Response<TimeResponse>, Status> {
        let resolvers = self.0.state.get::<ResolverStatus>("resolvers");
        let resolvers: Vec<IpAddr> =
            resolvers.map(|status| status.spec.dns_servers.clone()).unwrap_or_default();
        let reply = time_query::check(server, &resolvers, &self.0.clock, &self.0.rng)
            .await
            .map_err(|error| Status::unavailable(corten_base::chain(error.as_ref())))?;
        let time = Time {
            server: server.to_owned(),
            localtime: Some(reply.local_time.into()),
            remotetime: Some(reply.remote_time.into()),
            ..Time::default()
        };
        Ok(one(time))
    }
}
