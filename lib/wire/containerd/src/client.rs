//! The connection and its namespaces. The channel dials again by itself when the daemon comes back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corten_base::Rng;
use hyper_util::rt::TokioIo;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::cri::Cri;
use crate::error::Error;
use crate::wire::containerd::services::version::v1::version_client::VersionClient;
use crate::wire::grpc::health::v1 as health;

/// Limit of a call that reads or changes a record.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// Largest message accepted, the daemon's own limit.
pub(crate) const MESSAGE: usize = 16 << 20;

/// A connection to one containerd.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    socket: Arc<Path>,
    rng: Rng,
}

/// What the daemon says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Release, as in `v2.4.2`.
    pub version: String,
    /// Source revision; may be empty.
    pub revision: String,
}

impl Client {
    /// A client that dials when it is first used, and again whenever the connection is lost.
    #[must_use]
    pub fn lazy(socket: impl Into<PathBuf>) -> Self {
        let socket: Arc<Path> = socket.into().into();
        let path = Arc::clone(&socket);
        let connector = service_fn(move |_: Uri| {
            let path = Arc::clone(&path);
            async move { tokio::net::UnixStream::connect(&path).await.map(TokioIo::new) }
        });
        let channel = endpoint().connect_with_connector_lazy(connector);
        Self { channel, socket, rng: Rng::kernel() }
    }

    /// A client whose daemon has answered.
    ///
    /// # Errors
    /// When nothing serves the socket.
    pub async fn connect(socket: impl Into<PathBuf>) -> Result<Self, Error> {
        let client = Self::lazy(socket);
        client.version().await?;
        Ok(client)
    }

    /// Path of the socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Version of the daemon.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn version(&self) -> Result<Version, Error> {
        let mut request = tonic::Request::new(());
        request.set_timeout(CALL);
        let answer = VersionClient::new(self.channel.clone())
            .version(request)
            .await
            .map_err(Error::call("tell its version at", &self.socket.to_string_lossy()))?
            .into_inner();
        Ok(Version { version: answer.version, revision: answer.revision })
    }

    /// Whether the daemon says that it serves (gRPC health check).
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn healthy(&self) -> Result<bool, Error> {
        let mut request = tonic::Request::new(health::HealthCheckRequest::default());
        request.set_timeout(CALL);
        let answer = health::health_client::HealthClient::new(self.channel.clone())
            .check(request)
            .await
            .map_err(Error::call("tell its health at", &self.socket.to_string_lossy()))?;
        Ok(answer.into_inner().status() == health::health_check_response::ServingStatus::Serving)
    }

    /// The objects of one namespace; see [`crate::SYSTEM`] and [`crate::KUBERNETES`].
    ///
    /// # Errors
    /// When the name cannot be a namespace.
    pub fn namespace(&self, name: &str) -> Result<Namespace, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let header = MetadataValue::try_from(name)
            .ok()
            .filter(|_| !name.is_empty() && name.len() <= 76 && name.bytes().all(allowed));
        match header {
            Some(header) => {
                let (channel, rng) = (self.channel.clone(), self.rng.clone());
                Ok(Namespace { channel, layers: header.clone(), header, lease: None, rng })
            }
            None => Err(Error::answer(name, "not a containerd namespace name")),
        }
    }

    /// Pods and their containers as the kubelet sees them.
    #[must_use]
    pub fn cri(&self) -> Cri {
        Cri::new(self.channel.clone())
    }
}

fn endpoint() -> Endpoint {
    // The address is never resolved: the connector dials the socket.
    Endpoint::from_static("http://containerd.local").connect_timeout(Duration::from_secs(5))
}

/// Images, containers and tasks of one namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    pub(crate) channel: Channel,
    header: MetadataValue<Ascii>,
    /// Namespace of the images that containers are made from, and of their layers.
    layers: MetadataValue<Ascii>,
    /// Holds what is made through this value; empty without one.
    lease: Option<MetadataValue<Ascii>>,
    rng: Rng,
}

impl Namespace {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.header.to_str().unwrap_or_default()
    }

    /// This namespace, for containers made from images of another one: what is unpacked there is not unpacked again.
    #[must_use]
    pub fn with_layers_of(&self, other: &Self) -> Self {
        Self { layers: other.layers.clone(), ..self.clone() }
    }

    /// The namespace of images and layers.
    #[must_use]
    pub fn layers(&self) -> Self {
        Self { header: self.layers.clone(), ..self.clone() }
    }

    /// Whether layers are in another namespace, where nothing refers to them.
    pub(crate) fn has_layers_elsewhere(&self) -> bool {
        self.layers != self.header
    }

    /// A request in this namespace that may take as long as its caller waits.
    pub(crate) fn open<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("containerd-namespace", self.header.clone());
        if let Some(lease) = &self.lease {
            request.metadata_mut().insert("containerd-lease", lease.clone());
        }
        request
    }

    /// The same under this lease.
    pub(crate) fn with_lease(&self, lease: &str) -> Self {
        // Ids of leases are made of letters and digits.
        Self { lease: lease.parse().ok(), ..self.clone() }
    }

    /// The lease that holds what is made through this value.
    pub(crate) fn lease(&self) -> &str {
        self.lease.as_ref().and_then(|lease| lease.to_str().ok()).unwrap_or_default()
    }

    /// A request in this namespace with the usual limit.
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = self.open(message);
        request.set_timeout(CALL);
        request
    }

    /// An id that nothing else uses.
    pub(crate) fn unique(&self, purpose: &str) -> String {
        format!("{purpose}-{}", hex::encode(self.rng.bytes::<12>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn namespace_names_are_checked_before_they_become_headers() {
        let client = Client::lazy("/nonexistent");
        assert_eq!(client.namespace("k8s.io").unwrap().name(), "k8s.io");
        for bad in ["", "a b", "a\nb", "über", &"x".repeat(77)] {
            assert!(client.namespace(bad).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn an_absent_daemon_is_unavailable() {
        let error = Client::connect("/nonexistent/containerd.sock").await.unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Unavailable, "{}", corten_base::chain(&error));
    }
}
