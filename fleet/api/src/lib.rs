//! The manager's door: who calls, what they may do, and what the manager answers itself.
//!
//! ```text
//!            ┌ TLS ┐  HTTP/1.1 and HTTP/2 on one port
//! clients ──▶│Door │──▶ Api ─┬▶ application/grpc      ──────────────▶┐ caller layer: signature, role, rate
//!            └─────┘         ├▶ application/grpc-web ─▶ translated ─▶┤   ├▶ cosi.resource.State ─▶ Access ─▶ State
//!                            └▶ anything else ─▶ Http: /healthz, …   │   ├▶ management, auth ─▶ State
//!                                                                    │   ├▶ services of other crates (joining)
//!                                                                    └───┴▶ machines behind the manager
//! ```
//!
//! Invariants:
//! 1. A call is refused by its headers, before its message is read; every method has a row in the table of methods.
//! 2. Nothing reaches the store but through [`resources::Access`] or a method that writes down what it did.
//! 3. Rights that are withdrawn end what is under way with the next event, and keys end with their time.
//! 4. Connections, calls on them, headers, messages, callers and remembered calls are bounded.

mod accounts;
pub mod audit;
pub mod auth_service;
pub mod caller;
pub mod dictionaries;
pub mod first_start;
pub mod http;
pub mod management;
pub mod metrics;
pub mod normal;
pub mod resources;
pub mod serve;
#[cfg(test)]
mod testing;
pub mod validate;
pub mod virtual_resources;
mod writer;

use std::sync::Arc;

use ::http::{HeaderMap, Request, Version, header};
use corten_fleet_settings::Settings;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{ServiceExt as _, service_fn};
use tower_layer::Layer as _;

use crate::auth_service::Auth;
use crate::caller::{Directory, Guard, GuardOptions, Rate, guarded};
use crate::dictionaries::Dictionaries;
use crate::http::{Http, MetricsPage, Page};
use crate::management::Management;
use crate::metrics::Metrics;
use crate::resources::Resources;
use crate::serve::{BoxedService, HttpService};
use crate::validate::{Checks, Limits, View};
use crate::virtual_resources::{KubernetesUsages, ViewOptions, Views};

/// What omnictl compresses its requests with. Answers are compressed for those who say that they read it.
const COMPRESSION: CompressionEncoding = CompressionEncoding::Gzip;

/// What the API is made of. Other crates bring what they know.
pub struct Parts {
    /// The methods; the rest of the API shares their store, clock and audit log.
    pub management: Management,
    /// The configuration.
    pub settings: Settings,
    /// What texts may be compressed with.
    pub dictionaries: Dictionaries,
    /// How often one caller may call.
    pub rate: Rate,
    /// Measures how full the Kubernetes of clusters are.
    pub kubernetes: Arc<dyn KubernetesUsages>,
    /// Takes calls to machines.
    pub machines: Option<BoxedService>,
    /// Services that share the port, such as joining; their methods have rows in the table of methods as well.
    pub others: Routes,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// The API.
#[derive(Clone, Debug)]
pub struct Api {
    calls: BoxedService,
    web: GrpcWebService<BoxedService>,
    http: Http,
    metrics: Arc<Metrics>,
    resources: Arc<Resources>,
}

impl Api {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { management, settings, dictionaries, rate, kubernetes, machines, others } = parts;
        let (state, audit, clock) =
            (management.state.clone(), Arc::clone(&management.audit), management.clock.clone());
        let metrics = Arc::new(Metrics::default());
        let directory = Arc::new(Directory::new(state.clone()));
        let view = View::new(state.clone(), limits(&settings));
        let options = ViewOptions {
            url: management.options.url.clone(),
            machines_max: settings.account.max_registered_machines,
        };
        let resources = Arc::new(Resources {
            state: state.clone(),
            directory: Arc::clone(&directory),
            dictionaries: Arc::new(dictionaries),
            checks: Checks::standard(&view),
            views: Views::new(state.clone(), options, kubernetes),
            audit: Arc::clone(&audit),
            metrics: Arc::clone(&metrics),
        });
        let auth = Auth { state: state.clone(), audit };
        let routes = others
            .add_service(resources.service())
            .add_service(management.into_server())
            .add_service(auth.into_server())
            .prepare();
        let guard = Guard::new(GuardOptions { directory, metrics: Arc::clone(&metrics), clock, rate });
        let calls = guarded(guard, machines, routes);
        let web = GrpcWebLayer::new().layer(calls.clone());
        Self { calls, web, http: Http::new(state), metrics, resources }
    }

    /// The same with one more page for plain HTTP.
    #[must_use]
    pub fn with_page(mut self, page: Arc<dyn Page>) -> Self {
        self.http = self.http.with_page(page);
        self
    }

    /// The counters, for [`serve::Door`].
    #[must_use]
    pub const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The store as callers may use it, for services of other crates.
    #[must_use]
    pub const fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// The page with the metrics, for a listener of its own.
    #[must_use]
    pub fn metrics_page(&self) -> MetricsPage {
        MetricsPage::new(Arc::clone(&self.metrics), self.resources.state.clone())
    }

    /// The API for [`serve::Door`].
    #[must_use]
    pub fn into_service(self) -> impl HttpService {
        service_fn(move |request: Request<Body>| {
            let Self { calls, web, http, .. } = self.clone();
            let kind = Kind::of(request.headers(), request.version());
            async move {
                match kind {
                    Kind::Grpc => calls.oneshot(request).await,
                    Kind::Web => web.oneshot(request).await,
                    Kind::Plain => Ok(http.answer(&request.map(drop)).await),
                }
            }
        })
    }
}

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A call over HTTP/2.
    Grpc,
    /// A call of a browser.
    Web,
    /// Something else.
    Plain,
}

impl Kind {
    fn of(headers: &HeaderMap, version: Version) -> Self {
        let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        match content.and_then(|content| content.strip_prefix("application/grpc")) {
            Some(rest) if rest.starts_with("-web") => Self::Web,
            Some(_) if version == Version::HTTP_2 => Self::Grpc,
            _ => Self::Plain,
        }
    }
}

/// What the configuration says to the rules of resources.
fn limits(settings: &Settings) -> Limits {
    let has_discovery = settings.services.embedded_discovery_service.is_some();
    match &settings.etcd_backup {
        Some(backup) => Limits {
            backup_interval_min: backup.min_interval,
            backup_interval_max: backup.max_interval,
            has_discovery,
        },
        None => Limits { has_discovery, ..Limits::default() },
    }
}

#[cfg(test)]
mod tests;
