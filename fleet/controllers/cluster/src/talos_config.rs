//! What the manager calls the machines of a cluster with.
//!
//! ```text
//! ClusterSecrets (held) ─▶ a certificate of their authority, made anew at half of its life ─▶ TalosConfig
//! ```

use corten_base::Rng;
use corten_fleet_cluster::secrets::{Renewal, read, talosconfig, talosconfig_renewal};
use corten_fleet_resources::secrets::{ClusterSecrets, TalosConfig};
use corten_resource::{AnyResource, Concern, ItemDriver, Never, Plan, View, controller};

use crate::credentials::{Credential, settle};
use crate::scope;

/// Keeps the credentials for machines fresh.
#[derive(Debug)]
pub(crate) struct TalosConfigController {
    rng: Rng,
}

impl TalosConfigController {
    /// A controller that makes keys with `rng`.
    pub(crate) const fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

controller!(TalosConfigController, "TalosConfigController",
    inputs: [strong ClusterSecrets, weak TalosConfig],
    outputs: [exclusive TalosConfig]);

impl ItemDriver for TalosConfigController {
    /// The credentials as they are to be; `None` when there are no secrets.
    type Observed = Option<Credential<TalosConfig>>;
    type Op = Never;
    const PARALLEL: usize = 2;

    fn concern(resource: &AnyResource) -> Concern {
        scope::cluster(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        let Some(secrets) = view.get::<ClusterSecrets>(item) else { return Ok(None) };
        let bundle = read(&secrets.data)?;
        let accepted = secrets.extra_certs.as_ref().and_then(|extra| extra.os.as_ref());
        let held = view.get::<TalosConfig>(item).map(|held| &held.spec);
        let renewal = held.map_or(Renewal::Due("there is none"), |held| {
            talosconfig_renewal(held, &bundle, accepted, view.now())
        });
        let make = || talosconfig(&bundle, accepted, view.now(), &self.rng);
        Ok(Some(Credential::of(held, renewal, make)?))
    }

    fn plan(&self, item: &str, view: &View<Self>, observed: &Self::Observed) -> Plan<Self, Never> {
        settle(item, view.now(), observed.as_ref())
    }

    async fn apply(&self, _: &str, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::secrets;

    #[tokio::test(start_paused = true)]
    async fn credentials_are_made_anew_long_before_they_expire_and_go_with_the_secrets() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_items(TalosConfigController::new(Rng::seeded(1)));
        });
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
