//! Asks the API server on this machine whether it is ready.
//!
//!     KubernetesSecrets, StaticPod/kube-apiserver ──GET /readyz──▶ ApiServerStatus

use std::time::Duration;

use corten_resource::{Driver, Never, Plan, View, controller};
use corten_resources::kubernetes::{ApiServerStatus, StaticPod};
use corten_resources::secrets::KubernetesSecrets;

use super::API_SERVER;
use crate::api::{Access, Identity};
use crate::files::Disk;

/// How often an API server that is starting is asked; faster costs it what it needs for the start.
const STARTING: Duration = Duration::from_millis(500);
/// How often one that was ready is asked.
const READY: Duration = Duration::from_secs(10);

/// See the module.
pub struct ApiServerProbe {
    access: Access,
}

impl ApiServerProbe {
    /// A controller.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { access: Access::new(disk) }
    }
}

controller!(ApiServerProbe, "k8s.APIServerProbe",
    inputs: [weak StaticPod, weak KubernetesSecrets],
    outputs: [exclusive ApiServerStatus]);

impl Driver for ApiServerProbe {
    type Observed = Option<bool>;
    type Op = Never;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Option<bool>> {
        let secrets = view.get::<KubernetesSecrets>(KubernetesSecrets::ID);
        let Some(secrets) = secrets.filter(|_| view.get::<StaticPod>(API_SERVER).is_some()) else {
            return Ok(None);
        };
        let identity = Identity::Kubeconfig(&secrets.localhost_admin_kubeconfig);
        let Some(client) = self.access.client(identity).await? else { return Ok(None) };
        // Not answering is what a starting server does.
        Ok(Some(client.ready().await.unwrap_or(false)))
    }

    fn plan(&self, _: &View<Self>, observed: &Option<bool>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(ready) = *observed else { return plan };
        plan.put(ApiServerStatus::ID, ApiServerStatus { ready });
        plan.again_in(if ready { READY } else { STARTING })
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}
