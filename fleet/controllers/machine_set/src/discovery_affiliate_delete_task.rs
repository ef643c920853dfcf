//! Has discovery services forget machines that left their cluster.
//!
//! ```text
//! DiscoveryAffiliateDeleteTask ─▶ each of its services ─▶ the task goes
//!                                   └ after 30 min the services have forgotten by themselves, and the task goes too
//! ```
//!
//! Until then the peers of a machine would keep it (fleet.md 13, 43).

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use corten_api::sidero::discovery::server::AffiliateDeleteRequest;
use corten_api::sidero::discovery::server::cluster_client::ClusterClient;
use corten_base::Clock;
use corten_client::{Credentials, Endpoints, Server};
use corten_fleet_discovery::Discovery;
use corten_fleet_resources::system::DiscoveryAffiliateDeleteTask;
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, State, View, controller};
use tokio::time::timeout;

use crate::view::{any, pointer, remove};

/// How long a discovery service keeps an affiliate that is not heard of (fleet.md 12).
const TTL: Duration = Duration::from_secs(30 * 60);
/// How long a service may take to answer.
const LIMIT: Duration = Duration::from_secs(20);
/// Port of services that name none.
const HTTPS_PORT: u16 = 443;

/// Removes affiliates from discovery services. Implemented over the network and by a recording fake.
pub trait Affiliates: Send + Sync + 'static {
    /// Has a service, a URL, forget an affiliate of a cluster. It is no error when it does not know it.
    ///
    /// # Errors
    /// When the service does not answer, or refuses.
    fn delete(
        &self,
        service: &str,
        cluster_id: &str,
        affiliate: &str,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The manager's own discovery service, and those of others.
#[derive(Debug)]
pub struct Services {
    /// The manager's own, which machines reach through the tunnel without TLS; `None` when there is none.
    pub own: Option<Discovery>,
    /// Authorities of the services of others, PEM; without any they cannot be called.
    pub authorities: Vec<u8>,
    /// Judges their certificates.
    pub clock: Clock,
}

impl Affiliates for Services {
    async fn delete(&self, service: &str, cluster_id: &str, affiliate: &str) -> anyhow::Result<()> {
        if !service.starts_with("https://") {
            let own = self.own.as_ref();
            let own = own.with_context(|| format!("{service} is no service of this manager any more"))?;
            return Ok(own.delete(cluster_id, affiliate)?);
        }
        anyhow::ensure!(
            !self.authorities.is_empty(),
            "{service} cannot be called: no authorities are known by which it could be trusted"
        );
        let server = Server::Authorities(self.authorities.clone());
        let credentials = Credentials { server, own: None, clock: self.clock.clone() };
        let channel = Endpoints::parse([service], HTTPS_PORT)?.connect(&credentials)?;
        let request =
            AffiliateDeleteRequest { cluster_id: cluster_id.to_owned(), affiliate_id: affiliate.to_owned() };
        let mut client = ClusterClient::new(channel);
        let call = timeout(LIMIT, client.affiliate_delete(request)).await;
        let answer = call.with_context(|| format!("{service} did not answer in time"))?;
        answer.with_context(|| format!("{service} does not forget the machine"))?;
        Ok(())
    }
}

/// Carries out the tasks.
#[derive(Debug)]
pub struct DiscoveryAffiliateDeleteTaskController<A> {
    affiliates: A,
    state: State,
}

impl<A: Affiliates> DiscoveryAffiliateDeleteTaskController<A> {
    /// A controller that calls services through `affiliates` and removes what is done from `state`.
    pub const fn new(affiliates: A, state: State) -> Self {
        Self { affiliates, state }
    }
}

controller!(impl<A: Affiliates> DiscoveryAffiliateDeleteTaskController<A>,
    "DiscoveryAffiliateDeleteTaskController",
    inputs: [weak DiscoveryAffiliateDeleteTask],
    outputs: []);

/// What is done about a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// It is carried out.
    Do(DiscoveryAffiliateDeleteTask),
    /// It is done, or too old to matter.
    Drop,
}

impl<A: Affiliates> ItemDriver for DiscoveryAffiliateDeleteTaskController<A> {
    type Observed = ();
    type Op = Op;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, _: &str, _: &View<Self>) -> anyhow::Result<()> {
        Ok(())
    }

    fn plan(&self, _: &str, view: &View<Self>, _: &()) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let Some(task) = any::<DiscoveryAffiliateDeleteTask, _>(view) else { return plan };
        let age = view.now().duration_since(task.metadata.created).unwrap_or_default();
        if age < TTL {
            plan.op(Op::Do(task.spec.clone()));
        }
        plan.op(Op::Drop);
        plan
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Do(task) => {
                let older = std::iter::once(&task.discovery_service_endpoint).filter(|url| !url.is_empty());
                for service in task.discovery_service_endpoints.iter().chain(older) {
                    self.affiliates.delete(service, &task.cluster_id, item).await?;
                }
            }
            Op::Drop => {
                remove(&self.state, &pointer::<DiscoveryAffiliateDeleteTask>(item))?;
                // Seen before the next look, so that nothing is done twice.
                self.state.store().settled().await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_resource::ControllerState;
    use corten_resource::testing::{TestRuntime, resource};
    use parking_lot::Mutex;

    use super::*;
    use crate::testing::registry;

    /// What services were told; those called `silent` never answer.
    #[derive(Clone, Default)]
    struct Told(Arc<Mutex<Vec<String>>>);

    impl Affiliates for Told {
        async fn delete(&self, service: &str, cluster_id: &str, affiliate: &str) -> anyhow::Result<()> {
            anyhow::ensure!(!service.contains("silent"), "no answer");
            self.0.lock().push(format!("{service} {cluster_id} {affiliate}"));
            Ok(())
        }
    }

    fn started(told: &Told, services: &[&str]) -> TestRuntime {
        let runtime = TestRuntime::new(registry(), |runtime| {
            let state = runtime.state().clone();
            runtime.register_items(DiscoveryAffiliateDeleteTaskController::new(told.clone(), state));
        });
        let task = DiscoveryAffiliateDeleteTask {
            cluster_id: "c".to_owned(),
            discovery_service_endpoint: String::new(),
            discovery_service_endpoints: services.iter().map(|url| (*url).to_owned()).collect(),
        };
        runtime.put(resource("a1", task));
        runtime
    }

    #[tokio::test(start_paused = true)]
    async fn every_service_is_told_once() {
        let told = Told::default();
        let runtime = started(&told, &["https://a:443", "http://b:8093"]);
        runtime.quiet().await;
        assert_eq!(*told.0.lock(), ["https://a:443 c a1", "http://b:8093 c a1"]);
        assert!(runtime.state().get::<DiscoveryAffiliateDeleteTask>("a1").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_answer_is_asked_until_it_has_forgotten_by_itself() {
        let runtime = started(&Told::default(), &["https://silent:443"]);
        runtime.advance(Duration::from_secs(600)).await;
        let status = runtime.status("DiscoveryAffiliateDeleteTaskController/a1").expect("a status");
        assert_eq!((status.state, status.reason.as_str()), (ControllerState::Failed, "no answer"));
        runtime.advance(TTL).await;
        assert!(runtime.state().get::<DiscoveryAffiliateDeleteTask>("a1").is_none());
    }

    #[tokio::test]
    async fn services_of_others_need_authorities_and_the_own_one_must_be_there() {
        let services = Services { own: None, authorities: Vec::new(), clock: Clock::fixed(1_700_000_000) };
        for (service, why) in [("https://a:443", "no authorities"), ("http://[fdae::1]:8093", "any more")] {
            let error = services.delete(service, "c", "a1").await.unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
