//! From flags, environment and client configuration to a manager that can be asked.
//!
//! ```text
//! Access ─▶ Channel ─▶ Calls sign ─▶ SysVersion is ours? ─▶ Notifications are told ─▶ Manager
//! ```

use std::time::Duration;

use corten_api::MESSAGE_BYTES_MAX;
use corten_api::cosi::resource::state_client::StateClient;
use corten_api::cosi::resource::{
    GetRequest, GetResponse, ListRequest, ListResponse, Resource, WatchRequest, WatchResponse,
};
use corten_api::management::management_service_client::ManagementServiceClient;
use corten_fleet_resources::machine::Notification;
use corten_fleet_resources::system::SysVersion;
use corten_resource::{Enumeration as _, Registry, Spec, proto};
use hyper_util::rt::TokioIo;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tower::service_fn;

use super::access::{Access, Environment, access};
use super::address::{Address, Security};
use super::answer::refused;
use super::dial::{Dialer, Trust};
use super::omniconfig::{OmniConfig, Places};
use super::sign::Calls;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::resources::{self, Source};

/// Version of the resource protocol that this program speaks; managers with another one are not to be worked with.
const API_VERSION: u32 = 2;
/// Major and minor version of the managers that this program knows best.
const BACKEND: &str = "v1.10.";
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// What each client of a service is built on.
pub type Transport = InterceptedService<Channel, Calls>;
/// Client of the manager's own calls.
pub type Management = ManagementServiceClient<Transport>;

/// A manager that answers. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Manager {
    channel: Channel,
    calls: Calls,
    registry: Registry,
    store: corten_cosi::Client<Transport>,
    /// Its address as it was given.
    pub url: String,
}

impl Cx {
    /// Where the client configuration of managers is looked for.
    pub fn omniconfig_places(&self) -> Places {
        Places::of_process(self.fleet.omniconfig.clone())
    }

    /// The client configuration of managers; nothing if there is none.
    pub fn omniconfig(&self) -> Result<Option<OmniConfig>, Failure> {
        let places = self.omniconfig_places();
        let named = places.flag.as_ref().or(places.variable.as_ref());
        let Some(path) = places.existing().or_else(|| named.cloned()) else { return Ok(None) };
        let loaded = OmniConfig::load(&path);
        loaded.map(Some).or_fail(format!("cannot load the client configuration `{}`", path.display()))
    }

    /// The manager that flags, environment and configuration name. It is asked who it is.
    pub async fn manager(&self) -> Result<Manager, Failure> {
        let environment = Environment::of_process();
        let config = match &environment.endpoint {
            Some(_) => None,
            None => self.omniconfig()?,
        };
        let access = access(&environment, config.as_ref(), self.globals.context.as_deref())?;
        let object = format!("cannot work with the manager at {}", access.url);
        let manager = Manager::new(self, access).or_fail(&object)?;
        manager.greet(self).await.or_fail(&object)?;
        Ok(manager)
    }
}

impl Manager {
    fn new(cx: &Cx, access: Access) -> Result<Self, Cause> {
        let Access { address, url, key } = access;
        let calls = Calls::new(key, cx.clock.clone(), cx.rng.clone());
        let calls = calls.map_err(|error| Cause::new(corten_base::chain(&error)))?;
        let channel = connect(&address, &Trust::of(cx))?;
        let registry = corten_fleet_resources::registry();
        let transport = InterceptedService::new(channel.clone(), calls.clone());
        let store = corten_cosi::Client::new(transport, registry.clone());
        Ok(Self { channel, calls, registry, store, url })
    }

    /// Makes sure that it is one that this program can work with, and tells what it has to say to everybody.
    async fn greet(&self, cx: &Cx) -> Result<(), Cause> {
        let definition = SysVersion::DEFINITION;
        let current = resources::get(self, definition.namespace, definition.kind, SysVersion::ID).await;
        if let Some(warning) = judge(&read(&current.map_err(refused)?)?)? {
            cx.say(format!("warning: {warning}"));
        }
        let definition = Notification::DEFINITION;
        let notifications = resources::list(self, definition.namespace, definition.kind).await;
        for notification in notifications.map_err(refused)? {
            let Notification { title, body, kind } = read(&notification)?;
            cx.say(format!("{}: {title}: {body}", kind.text()));
        }
        Ok(())
    }

    /// The manager's own calls.
    pub fn management(&self) -> Management {
        management(self.channel.clone(), self.calls.clone())
    }

    /// The same about a cluster.
    pub fn management_of(&self, cluster: &str) -> Result<Management, Failure> {
        let calls = self.calls.about(cluster).ok_or("its name has letters that no cluster has");
        let calls = calls.or_fail(format!("cannot ask about the cluster {cluster:?}"))?;
        Ok(management(self.channel.clone(), calls))
    }

    /// Its resources, typed.
    pub fn store(&self) -> &corten_cosi::Client<Transport> {
        &self.store
    }

    /// The types of resources that this program knows.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn state(&self) -> StateClient<Transport> {
        StateClient::with_interceptor(self.channel.clone(), self.calls.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }
}

impl Source for Manager {
    const TYPES: &'static str = "corten fleet get rd";

    fn refused(status: Status) -> Cause {
        refused(status)
    }

    async fn get(&self, request: GetRequest) -> Result<GetResponse, Status> {
        Ok(self.state().get(request).await?.into_inner())
    }

    async fn list(&self, request: ListRequest) -> Result<Streaming<ListResponse>, Status> {
        Ok(self.state().list(request).await?.into_inner())
    }

    async fn watch(&self, request: WatchRequest) -> Result<Streaming<WatchResponse>, Status> {
        Ok(self.state().watch(request).await?.into_inner())
    }
}

fn management(channel: Channel, calls: Calls) -> Management {
    ManagementServiceClient::with_interceptor(channel, calls)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// A channel that connects when it is used first. Must be called inside a runtime.
fn connect(address: &Address, trust: &Trust) -> Result<Channel, Cause> {
    let dialer = Dialer::new(address, trust, b"h2")?;
    let scheme = if address.security == Security::Tls { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", address.authority()));
    let endpoint = endpoint.map_err(|error| Cause::new(error.to_string()))?;
    let endpoint = endpoint
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .user_agent(concat!("corten/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| Cause::new(error.to_string()))?;
    Ok(endpoint.connect_with_connector_lazy(service_fn(move |_| {
        let dialer = dialer.clone();
        async move { dialer.dial().await.map(TokioIo::new) }
    })))
}

/// The specification of a resource of a type that this program knows.
fn read<S: Spec>(resource: &Resource) -> Result<S, Cause> {
    let mut spec = S::default();
    let bytes = resource.spec.as_ref().map(|spec| spec.proto_spec.clone()).unwrap_or_default();
    proto::decode(&bytes, &mut spec).map_err(|error| {
        let id = &resources::metadata(resource).id;
        Cause::new(format!("{} {id:?} cannot be read: {}", S::DEFINITION.kind, corten_base::chain(&error)))
    })?;
    Ok(spec)
}

/// Whether a manager speaks our version of the protocol; a warning when its own version is another than the one that
/// this program knows best.
fn judge(version: &SysVersion) -> Result<Option<String>, Cause> {
    let SysVersion { backend_version, backend_api_version, .. } = version;
    if *backend_api_version != API_VERSION {
        return Err(Cause::new(format!(
            "it speaks version {backend_api_version} of the protocol, and this program speaks {API_VERSION}"
        ))
        .way_out("use a program of the version of the manager"));
    }
    let is_known = format!("{backend_version}.").starts_with(BACKEND);
    let warning = format!("the manager has version {backend_version}; this program knows {BACKEND}x best");
    Ok((!is_known).then_some(warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_of_the_protocol_is_refused_and_of_the_program_only_told() {
        let version = |backend: &str, api| SysVersion {
            backend_version: backend.to_owned(),
            backend_api_version: api,
            ..SysVersion::default()
        };
        assert_eq!(judge(&version("v1.10.4", 2)), Ok(None));
        assert!(judge(&version("v1.8.0", 2)).expect("accepted").expect("a warning").contains("v1.8.0"));
        for api in [0, 3] {
            let refused = judge(&version("v1.10.4", api)).expect_err("refused");
            assert!(refused.lines[0].contains("version of the protocol") || refused.way_out.is_some());
        }
    }

    #[tokio::test]
    async fn the_first_call_is_signed_and_its_failure_is_explained() {
        let cx = Cx {
            globals: Default::default(),
            fleet: Default::default(),
            clock: corten_base::Clock::fixed(crate::fleet::access::tests::NOW),
            rng: corten_base::Rng::seeded(3),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);
        let address = url.parse().expect("an address");
        let access = Access { address, url, key: crate::fleet::access::tests::key() };
        let manager = Manager::new(&cx, access).expect("a manager");
        let cause = manager.greet(&cx).await.expect_err("nobody is there");
        assert!(cause.lines.concat().contains("nothing listens there"), "{cause:?}");
    }
}
