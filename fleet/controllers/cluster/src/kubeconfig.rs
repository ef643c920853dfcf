//! What the manager calls the Kubernetes of a cluster with.
//!
//! ```text
//! ClusterSecrets (held) ─▶ a certificate of their authority, made anew at half of its life ─┐
//! LoadBalancerConfig ─▶ the endpoint ───────────────────────────────────────────────────────┴▶ Kubeconfig
//! ```

use corten_base::Rng;
use corten_fleet_cluster::secrets::{Renewal, kubeconfig, kubeconfig_renewal, read};
use corten_fleet_resources::kubernetes::LoadBalancerConfig;
use corten_fleet_resources::secrets::{ClusterSecrets, Kubeconfig};
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, View, controller};

use crate::credentials::{Credential, settle};
use crate::scope;

/// Keeps the credentials for Kubernetes fresh.
#[derive(Debug)]
pub(crate) struct KubeconfigController {
    rng: Rng,
}

impl KubeconfigController {
    /// A controller that makes keys with `rng`.
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

controller!(KubeconfigController, "KubeconfigController",
    inputs: [strong ClusterSecrets, weak LoadBalancerConfig, weak Kubeconfig],
    outputs: [exclusive Kubeconfig]);

impl ItemDriver for KubeconfigController {
    /// The credentials as they are to be; `None` when there are no secrets, or no endpoint.
    type Observed = Option<Credential<Kubeconfig>>;
    type Op = Never;
    const PARALLEL: usize = 2;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        let balancer = view.get::<LoadBalancerConfig>(item);
        let Some((secrets, balancer)) = view.get::<ClusterSecrets>(item).zip(balancer) else {
            return Ok(None);
        };
        let bundle = read(&secrets.data)?;
        let accepted = secrets.extra_certs.as_ref().and_then(|extra| extra.k8s.as_ref());
        let endpoint = balancer.siderolink_endpoint.as_str();
        let held = view.get::<Kubeconfig>(item).map(|held| &held.spec);
        let renewal = held.map_or(Renewal::Due("there is none"), |held| {
            kubeconfig_renewal(held, endpoint, &bundle, accepted, view.now())
        });
        let make = || kubeconfig(item, endpoint, &bundle, accepted, view.now(), &self.rng);
        Ok(Some(Credential::of(held, renewal, make)?))
    }

    fn plan(&self, item: &str, view: &View<Self>, observed: &Self::Observed) -> Plan<Self, Never> {
        if view.get::<ClusterSecrets>(item).is_some() && observed.is_none() {
            let mut plan = Plan::new();
            plan.keep::<Kubeconfig>();
            return plan.waiting("its endpoint, which its LoadBalancerConfig says");
        }
        settle(item, view.now(), observed.as_ref())
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::secrets;

    fn balancer(endpoint: &str) -> AnyResource {
        let siderolink_endpoint = endpoint.to_owned();
        resource("prod", LoadBalancerConfig { siderolink_endpoint, ..LoadBalancerConfig::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn the_credentials_lead_to_the_load_balancer() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_items(KubeconfigController::new(Rng::seeded(1)));
        });
        let server = || {
            let config = runtime.state().get::<Kubeconfig>("prod")?;
            let text = String::from_utf8(config.spec.data).expect("text");
            Some(corten_kubernetes::Kubeconfig::parse(&text).expect("a kubeconfig").server)
        };
        runtime.put(resource("prod", secrets()));
        runtime.quiet().await;
        let status = runtime.status("KubeconfigController/prod").expect("it waits");
        assert!(status.reason.contains("its endpoint"), "{}", status.reason);
        for endpoint in ["https://[fdae::1]:10000", "https://[fdae::1]:10001"] {
            runtime.put(balancer(endpoint));
            runtime.quiet().await;
            assert_eq!(server().as_deref(), Some(endpoint));
        }
    }
}
