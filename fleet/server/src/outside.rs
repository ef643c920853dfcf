//! What is served outside of the tunnel: the API, where machines join, Kubernetes, metrics, and this host's programs.
//!
//! ```text
//! Kubernetes proxy ─(makes our own certificate, if one is wanted)─▶ credentials ─▶ Api ─▶ API
//! services for machines ─▶ a port of their own, or that of the API
//! ```

use std::sync::Arc;

use corten_fleet_api::audit::Audit;
use corten_fleet_api::caller::RATE;
use corten_fleet_api::dictionaries::Dictionaries;
use corten_fleet_api::management::{
    AuditLog, ImageFactory, MachineLogs, Management, ManagementOptions, NoImageFactory,
};
use corten_fleet_api::metrics::{Gauge, Gauges, Metrics};
use corten_fleet_api::serve::{BoxedService, OwnCertificate};
use corten_fleet_api::{Api, Parts};
use corten_fleet_media::Factory;
use corten_fleet_proxy::{ClusterCredentials, JwtKeys};
use corten_fleet_settings::Settings;
use corten_fleet_siderolink::Services;
use corten_fleet_support::{Reach, Support, Usages};
use corten_fleet_tunnel::Tunnel;
use corten_resource::State;
use tonic::service::Routes;

use crate::doors::{Place, Waiting, own_certificate};
use crate::failure::Failure;
use crate::machine_logs::Reader;
use crate::wire::Base;
use crate::{endpoints, local};

/// Name of the listener of the API.
const API: &str = "api";
/// Name of the listener where machines join, when they have one of their own.
const MACHINE_API: &str = "machineAPI";

/// What leads to what is behind the manager.
pub struct Behind {
    /// Calls to machines.
    pub machines: BoxedService,
    /// Requests to the Kubernetes of clusters.
    pub kubernetes: BoxedService,
    /// Client configurations.
    pub credentials: ClusterCredentials,
    /// Keys of the tokens in them.
    pub keys: JwtKeys,
}

/// Everything that is spoken with.
pub struct Outside<'a> {
    /// What everything is made from.
    pub base: &'a Base,
    /// The store.
    pub state: &'a State,
    /// Services for machines.
    pub services: &'a Services,
    /// The way to machines.
    pub tunnel: &'a Tunnel,
    /// Told of every change.
    pub audit: Arc<dyn Audit>,
    /// What was written down.
    pub audit_log: Arc<dyn AuditLog>,
    /// Logs of machines.
    pub reader: Reader,
    /// What is behind the manager.
    pub behind: Behind,
    /// Ways to machines and clusters.
    pub ways: Arc<dyn Reach>,
    /// Makes installation media.
    pub factory: Option<Factory>,
}

impl Outside<'_> {
    /// Binds all listeners.
    ///
    /// # Errors
    /// When an address is taken, or a certificate cannot be used.
    pub async fn open(self) -> Result<Vec<Waiting>, Failure> {
        let Self { base, state, services, tunnel, audit, audit_log, reader, behind, ways, factory } = self;
        let settings = &base.settings;
        let own = own_certificate(settings, &base.paths, &base.clock, &base.rng);
        let Behind { machines, kubernetes, mut credentials, keys } = behind;
        let mut doors = vec![open_kubernetes(settings, own.as_ref(), kubernetes).await?];
        if own.is_some() && settings.services.kubernetes_proxy.listener.tls.is_none() {
            let authority = std::fs::read(base.paths.authority());
            let failed = |source| Failure::Host { what: "read its own certificate", source };
            credentials.options.authorities = authority.map_err(failed)?;
        }
        let others = match open_machine_api(settings, services, factory.as_ref()).await? {
            Joining::Own(door) => {
                doors.push(door);
                Routes::default()
            }
            Joining::Shared(routes) => routes,
        };
        let logs: Arc<dyn MachineLogs> = Arc::new(reader);
        let support = Support::new(state.clone(), Arc::clone(&logs), Arc::clone(&ways), base.clock.clone());
        let images: Arc<dyn ImageFactory> = match &factory {
            Some(factory) => Arc::new(factory.clone()),
            None => Arc::new(NoImageFactory),
        };
        let management = Management {
            state: state.clone(),
            clock: base.clock.clone(),
            rng: base.rng.clone(),
            options: ManagementOptions::of(settings),
            audit,
            clusters: Arc::new(credentials),
            logs,
            audit_log,
            support: Arc::new(support),
            images,
        };
        let api = Api::new(Parts {
            management,
            settings: settings.clone(),
            dictionaries: Dictionaries::open(&settings.features.config_dictionaries)?,
            rate: RATE,
            kubernetes: Arc::new(Usages::new(ways)),
            machines: Some(machines),
            others,
        });
        let api = api.with_page(Arc::new(keys));
        let gauges = Arc::new(TunnelGauges(tunnel.clone()));
        doors.extend(open_api(settings, own.as_ref(), api, factory.as_ref(), gauges).await?);
        if let Some(wanted) = settings.services.local_resource_service {
            doors.push(Place::local(wanted.port).open(unshown(), local::routes(state)).await?);
        }
        Ok(doors)
    }
}

/// Where machines join.
enum Joining {
    /// At a listener of their own.
    Own(Waiting),
    /// Where the API is.
    Shared(Routes),
}

async fn open_machine_api(
    settings: &Settings,
    services: &Services,
    factory: Option<&Factory>,
) -> Result<Joining, Failure> {
    let (api, listener) = (&settings.services.api.listener, &settings.services.machine_api.listener);
    let routes = services.machine_api();
    if listener.endpoint == api.endpoint {
        return Ok(Joining::Shared(routes));
    }
    let what = "the API where machines join";
    let place = Place::of(MACHINE_API, what, "services.machineAPI.endpoint", listener);
    let opened = match factory {
        Some(factory) => place.open(unshown(), factory.beside(routes.prepare())).await,
        None => place.open(unshown(), routes.prepare()).await,
    };
    opened.map(Joining::Own)
}

async fn open_kubernetes(
    settings: &Settings,
    own: Option<&OwnCertificate>,
    proxy: BoxedService,
) -> Result<Waiting, Failure> {
    let listener = &settings.services.kubernetes_proxy.listener;
    let what = "the Kubernetes of clusters";
    let place = Place::of("kubernetesProxy", what, "services.kubernetesProxy.endpoint", listener);
    place.with_own_certificate(own).open(unshown(), proxy).await
}

/// The API, and the metrics of it.
async fn open_api(
    settings: &Settings,
    own: Option<&OwnCertificate>,
    api: Api,
    factory: Option<&Factory>,
    gauges: Arc<dyn Gauges>,
) -> Result<[Waiting; 2], Failure> {
    let metrics = &settings.services.metrics;
    let metrics = Place::of("metrics", "the metrics", "services.metrics.endpoint", metrics);
    let page = api.metrics_page().with_gauges(gauges);
    let metrics = metrics.open(unshown(), page.into_service()).await?;
    let listener = &settings.services.api.listener;
    let place = Place::of(API, "the API", "services.api.endpoint", listener).with_own_certificate(own);
    let counters = Arc::clone(api.metrics());
    let opened = match factory {
        Some(factory) => place.open(counters, factory.beside(api.into_service())).await?,
        None => place.open(counters, api.into_service()).await?,
    };
    Ok([opened, metrics])
}

/// What the tunnel knows for the page with the metrics.
#[derive(Debug)]
struct TunnelGauges(Tunnel);

impl Gauges for TunnelGauges {
    fn gauges(&self) -> Vec<Gauge> {
        let sockets = self.0.sockets();
        let count = |value| u64::try_from(value).unwrap_or(u64::MAX);
        let own = ("{process=\"manager\"}", count(sockets.own));
        let kept = ("{process=\"keeper\"}", count(sockets.kept));
        let by_process = Gauge {
            name: "tunnel_sockets",
            help: "Sockets of connections with machines, by the process that has them open.",
            values: [Some(own), Some(kept)],
        };
        let keepers = Gauge {
            name: "tunnel_keepers",
            help: "Processes that hold sockets for the manager.",
            values: [Some(("", count(sockets.keepers))), None],
        };
        vec![by_process, keepers]
    }
}

/// Counters that are on no page: those of the page are of the API alone.
fn unshown() -> Arc<Metrics> {
    Arc::default()
}

/// URL of the API, with the port that was bound.
pub fn api_url(settings: &Settings, doors: &[Waiting]) -> String {
    with_port(&settings.services.api.advertised_url, API, doors)
}

/// URL under which machines join, with the port that was bound.
pub fn machine_api_url(settings: &Settings, doors: &[Waiting]) -> String {
    with_port(&settings.services.machine_api.advertised_url, MACHINE_API, doors)
}

fn with_port(advertised: &str, name: &str, doors: &[Waiting]) -> String {
    match doors.iter().find(|door| door.name == name) {
        Some(door) => endpoints::with_port(advertised, door.address),
        None => advertised.to_owned(),
    }
}
