//! One connection, all services of a machine behind it, each call for the chosen machine.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_api::cluster::cluster_service_client::ClusterServiceClient;
use corten_api::cosi::resource::state_client::StateClient;
use corten_api::inspect::inspect_service_client::InspectServiceClient;
use corten_api::machine::debug_service_client::DebugServiceClient;
use corten_api::machine::image_service_client::ImageServiceClient;
use corten_api::machine::lifecycle_service_client::LifecycleServiceClient;
use corten_api::machine::lvm_service_client::LvmServiceClient;
use corten_api::machine::machine_service_client::MachineServiceClient;
use corten_api::machine::md_service_client::MdServiceClient;
use corten_api::machine::storage_service_client::StorageServiceClient as MachineStorageClient;
use corten_api::roles::METADATA_KEY;
use corten_api::storage::storage_service_client::StorageServiceClient;
use corten_api::time::time_service_client::TimeServiceClient;
use corten_api::{MESSAGE_BYTES_MAX, securityapi::security_service_client::SecurityServiceClient};
use corten_base::Clock;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::dial::{self, DialError, Endpoints};
use crate::talosconfig::{ConfigError, Context};
use crate::tls::{Credentials, Server};

/// Port of the machine API.
const PORT: u16 = 50000;

/// What each service client is built on.
pub type Service = InterceptedService<Channel, Tags>;

/// Metadata that goes with each call.
#[derive(Clone, Debug, Default)]
pub struct Tags(Arc<MetadataMap>);

impl Interceptor for Tags {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        for entry in self.0.iter() {
            if let tonic::metadata::KeyAndValueRef::Ascii(key, value) = entry {
                request.metadata_mut().append(key, value.clone());
            }
        }
        Ok(request)
    }
}

/// A machine's API. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    tags: Tags,
}

/// A context that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// Its credentials cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its endpoints or credentials cannot be dialled with.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It asks for something that this client does not do.
    #[error("{0} is not supported by this client")]
    Unsupported(&'static str),
}

impl Client {
    /// A client on a channel, such as one to a machine's trustd.
    #[must_use]
    pub fn new(channel: Channel) -> Self {
        Self { channel, tags: Tags::default() }.tagged("runtime", "Talos")
    }

    /// The API on this machine itself.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::new(dial::unix(path.into()))
    }

    /// The machines of a context; `endpoints` replace the context's if there are any.
    ///
    /// # Errors
    /// When the context is incomplete or asks for what is not supported.
    pub fn from_context(
        context: &Context,
        endpoints: &[String],
        clock: &Clock,
    ) -> Result<Self, ContextError> {
        if !context.proxy_url.is_empty() {
            return Err(ContextError::Unsupported("proxy-url"));
        }
        let auth = context.auth.clone().unwrap_or_default();
        if auth.siderov1.is_some() {
            return Err(ContextError::Unsupported("auth.siderov1"));
        }
        let [ca, crt, key] = context.pem()?;
        let own = (!crt.is_empty()).then(|| (crt, corten_base::Secret::new(key)));
        let credentials = Credentials { server: Server::Authorities(ca), own, clock: clock.clone() };
        let endpoints = if endpoints.is_empty() { &context.endpoints } else { endpoints };
        let mut client = Self::new(Endpoints::parse(endpoints, PORT)?.connect(&credentials)?);
        if !context.cluster.is_empty() {
            client = client.tagged("context", &context.cluster);
        }
        if let Some(basic) = auth.basic {
            let pair = STANDARD.encode(format!("{}:{}", basic.username, basic.password));
            client = client.tagged("authorization", &format!("Basic {pair}"));
        }
        Ok(client)
    }

    /// One machine in maintenance, which shows a certificate of its own making; without fingerprints any is accepted.
    ///
    /// # Errors
    /// When the endpoint cannot be read.
    pub fn insecure(endpoint: &str, fingerprints: &[String], clock: &Clock) -> Result<Self, DialError> {
        let server = if fingerprints.is_empty() {
            Server::Anyone
        } else {
            Server::Fingerprints(fingerprints.to_vec())
        };
        let credentials = Credentials { server, own: None, clock: clock.clone() };
        Ok(Self::new(Endpoints::parse([endpoint], PORT)?.connect(&credentials)?))
    }

    /// The same connection, calls go to `node` behind it.
    #[must_use]
    pub fn node(&self, node: &str) -> Self {
        self.clone().tagged("node", node)
    }

    /// The same connection with these roles; counts only on a machine's own socket.
    #[must_use]
    pub fn with_roles(&self, roles: &[&str]) -> Self {
        let mut map = (*self.tags.0).clone();
        map.remove(METADATA_KEY);
        for role in roles {
            if let Ok(value) = MetadataValue::try_from(*role) {
                map.append(METADATA_KEY, value);
            }
        }
        Self { channel: self.channel.clone(), tags: Tags(Arc::new(map)) }
    }

    /// The same connection with a metadata entry more; one that cannot be sent is left out.
    #[must_use]
    pub fn tagged(self, key: &'static str, value: &str) -> Self {
        let mut map = (*self.tags.0).clone();
        if let Ok(value) = MetadataValue::<Ascii>::try_from(value) {
            map.insert(MetadataKey::from_static(key), value);
        }
        Self { channel: self.channel, tags: Tags(Arc::new(map)) }
    }
}

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $client:ident;)*) => {
        impl Client {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> $client<Service> {
                $client::with_interceptor(self.channel.clone(), self.tags.clone())
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX)
            })*
        }
    };
}

services! {
    /// Everything of one machine.
    machine: MachineServiceClient;
    /// Images.
    image: ImageServiceClient;
    /// Install and upgrade.
    lifecycle: LifecycleServiceClient;
    /// Debugging containers.
    debug: DebugServiceClient;
    /// LVM.
    lvm: LvmServiceClient;
    /// Software RAID.
    md: MdServiceClient;
    /// Usage of file systems.
    machine_storage: MachineStorageClient;
    /// Disks.
    storage: StorageServiceClient;
    /// Clock.
    time: TimeServiceClient;
    /// Controller graph.
    inspect: InspectServiceClient;
    /// Health of the cluster.
    cluster: ClusterServiceClient;
    /// Resources.
    state: StateClient;
    /// Certificates, at trustd.
    security: SecurityServiceClient;
}
