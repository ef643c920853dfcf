//! The registry of members that discovery services are.
//!
//! ```text
//! DiscoveryConfig, Identity ──▶ which services ──▶ sessions, one for each
//! Affiliate (cluster), ours ──▶ what they tell ─────┘
//!                     Affiliates "service/<node id>" (cluster-raw) ◀── members, of all services
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_base::{Rng, Task, spawn};
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::cluster::{Affiliate, DiscoveryConfig, Identity, RAW_NAMESPACE, ServiceEndpoint};
use tokio::sync::{Notify, watch};

use crate::connect::Place;
use crate::seal::{KEY_BYTES, Key};
use crate::service::Service;
use crate::session::{self, Report, Seen, Target};

/// Name of a service that is given without one.
const DEFAULT: &str = "default";

/// Follows discovery services.
pub struct ServiceRegistry<S> {
    service: S,
    rng: Rng,
    sessions: BTreeMap<String, Running>,
    /// Told by the sessions of news.
    changed: Arc<Notify>,
}

/// A session.
struct Running {
    target: Target,
    own: watch::Sender<Option<Affiliate>>,
    report: Report,
    _task: Task,
}

/// A session as it is seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Followed {
    target: Target,
    own: Option<Affiliate>,
    seen: Seen,
}

controller!(impl<S: Service> ServiceRegistry<S>, "cluster.ServiceRegistry",
    inputs: [weak DiscoveryConfig, weak Identity, weak Affiliate in "cluster"],
    outputs: [shared Affiliate in "cluster-raw"]);

impl<S> ServiceRegistry<S> {
    /// A registry that follows nothing yet.
    pub fn new(service: S, rng: Rng) -> Self {
        Self { service, rng, sessions: BTreeMap::new(), changed: Arc::default() }
    }
}

/// What is done about a session, by the name of its service.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Follow the service, and tell this about the machine.
    Start(String, Target, Option<Affiliate>),
    /// Tell this about the machine from now on.
    Tell(String, Option<Affiliate>),
    /// Leave it. It forgets the machine after a while.
    Stop(String),
}

impl<S: Service> Driver for ServiceRegistry<S> {
    type Observed = BTreeMap<String, Followed>;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Self::Observed> {
        let followed = |running: &Running| Followed {
            target: running.target.clone(),
            own: running.own.borrow().clone(),
            seen: running.report.seen(),
        };
        Ok(self.sessions.iter().map(|(name, running)| (name.clone(), followed(running))).collect())
    }

    fn plan(&self, view: &View<Self>, observed: &Self::Observed) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let wanted = wanted(view, &mut plan);
        for name in observed.keys().filter(|name| !wanted.contains_key(*name)) {
            plan.op(Op::Stop(name.clone()));
        }
        let mut members: BTreeMap<&str, &Affiliate> = BTreeMap::new();
        for (name, target) in &wanted {
            let own = view.get::<Affiliate>(&target.node_id).map(|own| own.spec.clone());
            let Some(session) = observed.get(name).filter(|session| session.target == *target) else {
                plan.op(Op::Start(name.clone(), target.clone(), own));
                continue;
            };
            if session.own != own {
                plan.op(Op::Tell(name.clone(), own));
            }
            for (id, member) in &session.seen.members {
                members.entry(id.as_str()).or_insert(member);
            }
            if let Some(trouble) = &session.seen.trouble {
                plan.missing(format!("the discovery service {}: {trouble}", target.place));
            }
        }
        for (id, member) in members {
            plan.put_in(RAW_NAMESPACE, format!("service/{id}"), member.clone());
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Stop(name) => drop(self.sessions.remove(&name)),
            Op::Tell(name, affiliate) => {
                if let Some(running) = self.sessions.get(&name) {
                    running.own.send_replace(affiliate);
                }
            }
            Op::Start(name, target, affiliate) => {
                let (own, told) = watch::channel(affiliate);
                let report = Report::new(Arc::clone(&self.changed));
                let (service, rng) = (self.service.clone(), self.rng.clone());
                let session = session::run(service, target.clone(), told, report.clone(), rng);
                let running = Running { target, own, report, _task: spawn("discovery", session) };
                self.sessions.insert(name, running);
            }
        }
        Ok(())
    }

    fn sources(&mut self) -> Vec<Source> {
        let changed = Arc::clone(&self.changed);
        vec![Source::new("discovery news", move |trigger| {
            let changed = Arc::clone(&changed);
            async move {
                loop {
                    changed.notified().await;
                    trigger.fire();
                }
            }
        })]
    }
}

/// The services that are to be followed, by name; what is missing for that goes into the plan.
fn wanted<S: Service>(
    view: &View<ServiceRegistry<S>>,
    plan: &mut Plan<ServiceRegistry<S>, Op>,
) -> BTreeMap<String, Target> {
    let mut wanted = BTreeMap::new();
    let config = view.get::<DiscoveryConfig>(DiscoveryConfig::ID);
    let is_on = config.filter(|config| config.discovery_enabled && config.registry_service_enabled);
    let Some(config) = is_on.map(|config| &config.spec) else { return wanted };
    let Some(identity) = view.get::<Identity>(Identity::ID) else {
        plan.missing("this machine's identity");
        return wanted;
    };
    let Some(key) = Key::new(&config.service_encryption_key) else {
        plan.missing(format!("a secret of the cluster that is {KEY_BYTES} bytes in base64"));
        return wanted;
    };
    if config.service_cluster_id.is_empty() {
        plan.missing("an id of the cluster");
        return wanted;
    }
    for ServiceEndpoint { name, endpoint, insecure } in services(config) {
        let Some(place) = Place::parse(&endpoint, !insecure) else {
            plan.missing(format!("an address of the discovery service {name}: {endpoint:?} is none"));
            continue;
        };
        let cluster_id = config.service_cluster_id.clone();
        let target = Target { place, cluster_id, key: key.clone(), node_id: identity.node_id.clone() };
        wanted.insert(name, target);
    }
    wanted
}

/// All services of a configuration. An older one names one alone.
fn services(config: &DiscoveryConfig) -> Vec<ServiceEndpoint> {
    if !config.service_endpoints.is_empty() {
        return config.service_endpoints.clone();
    }
    let (endpoint, insecure) = (config.service_endpoint.clone(), config.service_endpoint_insecure);
    vec![ServiceEndpoint { name: DEFAULT.to_owned(), endpoint, insecure }]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_resource::testing::{TestRuntime, resource};
    use corten_resource::{AnyResource, ControllerState};

    use super::*;
    use crate::affiliate::tests::{held, member};
    use crate::fake::FakeService;

    const NAME: &str = "cluster.ServiceRegistry";

    fn config(services: &[(&str, &str)]) -> DiscoveryConfig {
        let service = |(name, endpoint): &(&str, &str)| ServiceEndpoint {
            name: (*name).to_owned(),
            endpoint: (*endpoint).to_owned(),
            insecure: true,
        };
        DiscoveryConfig {
            discovery_enabled: true,
            registry_service_enabled: true,
            service_encryption_key: vec![1; KEY_BYTES],
            service_cluster_id: "cluster".to_owned(),
            service_endpoints: services.iter().map(service).collect(),
            ..DiscoveryConfig::default()
        }
    }

    fn put(config: DiscoveryConfig) -> AnyResource {
        resource(DiscoveryConfig::ID, config)
    }

    async fn start(service: &FakeService) -> TestRuntime {
        let service = service.clone();
        let runtime = TestRuntime::new(corten_resources::registry(), |runtime| {
            runtime.register(ServiceRegistry::new(service, Rng::seeded(1)));
        });
        runtime.put(put(config(&[("default", "a:1")])));
        runtime.put(resource("own", member("own")));
        runtime.quiet().await;
        let status = runtime.status(NAME).expect("a status");
        assert_eq!(status.reason, "this machine's identity");
        runtime.put(resource(Identity::ID, Identity { node_id: "own".to_owned() }));
        runtime.advance(Duration::from_secs(1)).await;
        runtime
    }

    fn raw(runtime: &TestRuntime) -> Vec<String> {
        let all = runtime.state().list_in::<Affiliate>(RAW_NAMESPACE);
        all.iter().map(|affiliate| affiliate.id().to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn members_of_the_service_are_affiliates_until_discovery_is_switched_off() {
        let service = FakeService::default();
        service.hold(vec![held(&member("b")), held(&member("own"))]);
        let runtime = start(&service).await;
        assert_eq!(raw(&runtime), ["service/b"], "this machine knows itself");
        assert_eq!(runtime.status(NAME).map(|status| status.state), Some(ControllerState::Running));
        assert_eq!((service.opened(), service.updates().len()), (vec!["http://a:1".to_owned()], 1));
        runtime.put(put(DiscoveryConfig { registry_service_enabled: false, ..config(&[]) }));
        runtime.advance(Duration::from_secs(1)).await;
        assert!(raw(&runtime).is_empty());
        assert_eq!(service.opened().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_away_is_what_the_controller_waits_for() {
        let service = FakeService::default();
        service.hold(vec![held(&member("b"))]);
        let runtime = start(&service).await;
        service.set_away(true);
        runtime.advance(Duration::from_secs(10)).await;
        let status = runtime.status(NAME).expect("a status");
        let reason = "the discovery service http://a:1: connection refused";
        assert_eq!((status.state, status.reason.as_str()), (ControllerState::Waiting, reason));
        assert_eq!(raw(&runtime), ["service/b"], "what is known stays");
    }

    #[tokio::test(start_paused = true)]
    async fn several_services_are_merged_and_one_that_is_no_address_is_told() {
        let service = FakeService::default();
        service.hold(vec![held(&member("b"))]);
        let runtime = start(&service).await;
        runtime.put(put(config(&[("default", "a:1"), ("other", "[fdae::1]:8093"), ("wrong", ":x")])));
        runtime.advance(Duration::from_secs(1)).await;
        assert_eq!(service.opened(), ["http://a:1", "http://[fdae::1]:8093"]);
        assert_eq!(raw(&runtime), ["service/b"]);
        let reason = runtime.status(NAME).map(|status| status.reason).unwrap_or_default();
        assert_eq!(reason, "an address of the discovery service wrong: \":x\" is none");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_secret_nothing_is_told_to_anybody() {
        let service = FakeService::default();
        let runtime = start(&service).await;
        runtime.put(put(DiscoveryConfig { service_encryption_key: vec![1; 16], ..config(&[("a", "a:2")]) }));
        runtime.advance(Duration::from_secs(1)).await;
        let reason = runtime.status(NAME).map(|status| status.reason).unwrap_or_default();
        assert_eq!(reason, "a secret of the cluster that is 32 bytes in base64");
        assert_eq!(service.opened(), ["http://a:1"]);
    }
}
