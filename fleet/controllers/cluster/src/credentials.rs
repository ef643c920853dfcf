//! What the manager calls a cluster with: its machines, and its Kubernetes.
//!
//! ```text
//! ClusterSecrets (held) ─▶ a certificate of each authority, made anew at half of its life ─┬▶ TalosConfig
//! LoadBalancerConfig ─▶ the endpoint ──────────────────────────────────────────────────────┴▶ Kubeconfig
//! ```
//!
//! Credentials are kept while they are good, and made anew in time.

use std::time::SystemTime;

use corten_base::Rng;
use corten_fleet_cluster::secrets::{
    ClusterSecretsError, Renewal, kubeconfig, kubeconfig_renewal, read, talosconfig, talosconfig_renewal,
};
use corten_fleet_resources::kubernetes::LoadBalancerConfig;
use corten_fleet_resources::secrets::{ClusterSecrets, Kubeconfig, TalosConfig};
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, Spec, View, Writes, controller};

use crate::scope;

/// Keeps the credentials for clusters fresh.
#[derive(Debug)]
pub(crate) struct CredentialsController {
    rng: Rng,
}

impl CredentialsController {
    /// A controller that makes keys with `rng`.
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

controller!(CredentialsController, "CredentialsController",
    inputs: [strong ClusterSecrets, weak LoadBalancerConfig, weak TalosConfig, weak Kubeconfig],
    outputs: [exclusive TalosConfig, exclusive Kubeconfig]);

/// Credentials as they are to be. They cannot be printed.
pub(crate) struct Credential<S> {
    spec: S,
    /// When they are looked at again; `None` for those that are new.
    due_at: Option<SystemTime>,
}

impl<S: Clone> Credential<S> {
    /// Those that are held, or new ones when there are none or `renewal` says that they are not good any more.
    fn of(
        held: Option<&S>,
        renewal: impl FnOnce(&S) -> Renewal,
        make: impl FnOnce() -> Result<S, ClusterSecretsError>,
    ) -> Result<Self, ClusterSecretsError> {
        match held.map(|held| (held, renewal(held))) {
            Some((held, Renewal::DueAt(at))) => Ok(Self { spec: held.clone(), due_at: Some(at) }),
            Some((_, Renewal::Due(_))) | None => Ok(Self { spec: make()?, due_at: None }),
        }
    }
}

/// The credentials of a cluster. They cannot be printed.
pub(crate) struct Credentials {
    machines: Credential<TalosConfig>,
    /// `None` when it has no endpoint yet.
    kubernetes: Option<Credential<Kubeconfig>>,
}

impl ItemDriver for CredentialsController {
    /// The credentials as they are to be; `None` when there are no secrets.
    type Observed = Option<Credentials>;
    type Op = Never;
    /// Making keys takes a processor.
    const PARALLEL: usize = 2;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        let Some(secrets) = view.get::<ClusterSecrets>(item) else { return Ok(None) };
        let (bundle, now, rng) = (read(&secrets.data)?, view.now(), &self.rng);
        let accepted = secrets.extra_certs.as_ref();
        let os = accepted.and_then(|accepted| accepted.os.as_ref());
        let machines = Credential::of(
            view.get::<TalosConfig>(item).map(|held| &held.spec),
            |held| talosconfig_renewal(held, &bundle, os, now),
            || talosconfig(&bundle, os, now, rng),
        )?;
        let k8s = accepted.and_then(|accepted| accepted.k8s.as_ref());
        let kubernetes = view.get::<LoadBalancerConfig>(item).map(|balancer| {
            let endpoint = balancer.siderolink_endpoint.as_str();
            Credential::of(
                view.get::<Kubeconfig>(item).map(|held| &held.spec),
                |held| kubeconfig_renewal(held, endpoint, &bundle, k8s, now),
                || kubeconfig(item, endpoint, &bundle, k8s, now, rng),
            )
        });
        Ok(Some(Credentials { machines, kubernetes: kubernetes.transpose()? }))
    }

    fn plan(&self, item: &str, view: &View<Self>, observed: &Self::Observed) -> Plan<Self, Never> {
        let mut plan = Plan::new();
        let Some(Credentials { machines, kubernetes }) = observed else {
            // With the secrets of a cluster that goes its credentials go too, and nobody waits for others.
            let is_going = !view.tearing_down::<ClusterSecrets>().is_empty();
            if view.get::<LoadBalancerConfig>(item).is_some() && !is_going {
                plan.missing("the secrets of the cluster; SecretsController says what they wait for");
            }
            return plan;
        };
        let plan = publish(plan, item, view.now(), machines);
        match kubernetes {
            Some(kubernetes) => publish(plan, item, view.now(), kubernetes),
            None => {
                let mut plan = plan.waiting("its endpoint, which its LoadBalancerConfig says");
                plan.keep::<Kubeconfig>();
                plan
            }
        }
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

/// Publishes credentials, and looks again when they are due.
fn publish<C: Writes<S>, S: Spec>(
    mut plan: Plan<C, Never>,
    item: &str,
    now: SystemTime,
    credential: &Credential<S>,
) -> Plan<C, Never> {
    plan.put(item, credential.spec.clone());
    match credential.due_at.and_then(|at| at.duration_since(now).ok()) {
        Some(left) => plan.again_in(left),
        None => plan,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::secrets;

    fn started() -> TestRuntime {
        TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_items(CredentialsController::new(Rng::seeded(1)));
        })
    }

    fn balancer(endpoint: &str) -> AnyResource {
        let siderolink_endpoint = endpoint.to_owned();
        resource("prod", LoadBalancerConfig { siderolink_endpoint, ..LoadBalancerConfig::default() })
    }

    fn reason(runtime: &TestRuntime) -> String {
        runtime.status("CredentialsController/prod").map(|status| status.reason).unwrap_or_default()
    }

    #[tokio::test(start_paused = true)]
    async fn those_for_kubernetes_lead_to_the_load_balancer_and_say_what_they_wait_for() {
        let runtime = started();
        let server = || {
            let config = runtime.state().get::<Kubeconfig>("prod")?;
            let text = String::from_utf8(config.spec.data).expect("text");
            Some(corten_kubernetes::Kubeconfig::parse(&text).expect("a kubeconfig").server)
        };
        runtime.put(balancer("https://[fdae::1]:10000"));
        runtime.quiet().await;
        assert!(reason(&runtime).contains("the secrets of the cluster"), "{}", reason(&runtime));
        for endpoint in ["https://[fdae::1]:10000", "https://[fdae::1]:10001"] {
            runtime.put(resource("prod", secrets()));
            runtime.put(balancer(endpoint));
            runtime.quiet().await;
            assert_eq!(server().as_deref(), Some(endpoint));
        }
        runtime.state().remove::<LoadBalancerConfig>("", "prod").expect("removed");
        runtime.quiet().await;
        assert!(reason(&runtime).contains("its endpoint"), "{}", reason(&runtime));
        assert!(server().is_some(), "it may be back in a moment");
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_made_anew_long_before_they_expire_and_go_with_the_secrets() {
        let runtime = started();
        let found = || runtime.state().get::<TalosConfig>("prod").map(|config| config.crt.clone());
        runtime.put(resource("prod", secrets()));
        runtime.quiet().await;
        let first = found();
        assert!(first.is_some());
        let hour = Duration::from_secs(3600);
        runtime.advance(hour).await;
        assert_eq!(found(), first, "there is no need yet");
        // The clock goes on alone; the controller looks again within an hour.
        runtime.state().store().clock().advance(hour * 24 * 200);
        runtime.advance(hour * 2).await;
        assert!(found().is_some_and(|second| Some(second) != first));
        runtime.state().remove::<ClusterSecrets>("", "prod").expect("torn down");
        runtime.quiet().await;
        assert_eq!(found(), None);
    }
}
