//! What a discovery service offers (package `sidero.discovery.server`, service `Cluster`; node.md 7.6).

use std::future::Future;

use anyhow::Context as _;
use corten_api::sidero::discovery::server::cluster_client::ClusterClient;
use corten_api::sidero::discovery::server::{
    AffiliateUpdateRequest, HelloRequest, WatchRequest, WatchResponse,
};
use corten_base::version;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::connect::{Place, connect};

/// How often a service may send elsewhere.
const REDIRECTS_MAX: usize = 3;
/// Largest message: all members at all limits of a service, in the first one.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// A discovery service. Implemented over gRPC and by a fake for tests.
pub trait Service: Clone + Send + Sync + 'static {
    /// A session with it.
    type Session: Session;

    /// Greets the service at a place, or where it sends, and watches a cluster there.
    fn open(
        &self,
        place: &Place,
        cluster_id: &str,
    ) -> impl Future<Output = anyhow::Result<Self::Session>> + Send;
}

/// A cluster that is watched.
pub trait Session: Send {
    /// Tells about a member.
    fn update(&mut self, request: AffiliateUpdateRequest) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// What is new: at first all members, then each change. It loses nothing when it is dropped.
    fn next(&mut self) -> impl Future<Output = anyhow::Result<WatchResponse>> + Send;
}

/// The real ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcService;

/// A session over one connection.
pub struct GrpcSession {
    client: ClusterClient<Channel>,
    watch: Streaming<WatchResponse>,
}

impl Service for GrpcService {
    type Session = GrpcSession;

    async fn open(&self, place: &Place, cluster_id: &str) -> anyhow::Result<GrpcSession> {
        let mut place = place.clone();
        for _ in 0..=REDIRECTS_MAX {
            let client = ClusterClient::new(connect(&place).await?);
            let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
            let hello =
                HelloRequest { cluster_id: cluster_id.to_owned(), client_version: version::TAG.to_owned() };
            let answer = client.hello(hello).await.context("it does not greet")?.into_inner();
            let Some(redirect) = answer.redirect.filter(|redirect| !redirect.endpoint.is_empty()) else {
                let request = WatchRequest { cluster_id: cluster_id.to_owned() };
                let watch = client.watch(request).await.context("it does not let us watch")?.into_inner();
                return Ok(GrpcSession { client, watch });
            };
            let endpoint = redirect.endpoint;
            let elsewhere = place.elsewhere(&endpoint);
            place = elsewhere.with_context(|| format!("it sends to {endpoint:?}, which is no place"))?;
        }
        anyhow::bail!("it sends from one place to the next")
    }
}

impl Session for GrpcSession {
    async fn update(&mut self, request: AffiliateUpdateRequest) -> anyhow::Result<()> {
        self.client.affiliate_update(request).await.context("it does not take what we tell")?;
        Ok(())
    }

    async fn next(&mut self) -> anyhow::Result<WatchResponse> {
        let message = self.watch.message().await.context("it broke off")?;
        message.context("it ended the watch")
    }
}
