//! Follows the static pods of this machine as the API server shows them.
//!
//!     API server ──watch pods of this node──▶ StaticPodStatus "<namespace>/<name>"

use corten_kubernetes::{ApiResource, ListOptions, object};
use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::kubernetes::{KubeletKubeconfig, Nodename, StaticPodStatus};
use corten_resources::secrets::{KubeletSecrets, KubernetesSecrets};
use serde_json::Value;

use crate::api::{Access, Follower, Identity, Kept};
use crate::files::Disk;

/// Annotation of a pod that the kubelet has from elsewhere and only mirrors on the server.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// A node has many more pods, which are none of our business.
const KEPT: Kept = Kept { wanted: |pod| object::annotation(pod, MIRROR).is_some(), members: &["/status"] };

/// See the module.
pub struct StaticPodStatuses {
    access: Access,
    follower: Follower,
}

impl StaticPodStatuses {
    /// A controller.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { access: Access::new(disk), follower: Follower::new(KEPT) }
    }
}

controller!(StaticPodStatuses, "k8s.KubeletStaticPod",
    inputs: [weak Nodename, weak KubernetesSecrets, weak KubeletSecrets, weak KubeletKubeconfig],
    outputs: [exclusive StaticPodStatus]);

impl Driver for StaticPodStatuses {
    type Observed = Option<Vec<Value>>;
    type Op = Never;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        let Some(name) = view.get::<Nodename>(Nodename::ID).filter(|name| !name.skip_node_registration)
        else {
            return Ok(None);
        };
        let secrets = view.get::<KubernetesSecrets>(KubernetesSecrets::ID).map(|secrets| &secrets.spec);
        let kubelet = view.get::<KubeletSecrets>(KubeletSecrets::ID).map(|secrets| &secrets.spec);
        if let Some(client) = self.access.client(Identity::of_machine(secrets, kubelet)).await? {
            let options = ListOptions::fields(&format!("spec.nodeName={}", name.nodename));
            let key = format!("{} {}", self.access.fingerprint(), name.nodename);
            self.follower.follow(&client.api(&ApiResource::pods(), None), &options, &key);
        }
        Ok(self.follower.objects())
    }

    fn plan(&self, _: &View<Self>, pods: &Self::Observed) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(pods) = pods else {
            plan.keep::<StaticPodStatus>();
            return plan.waiting("the pods of this node");
        };
        for pod in pods {
            let id = format!("{}/{}", object::namespace(pod), object::name(pod));
            let pod_status = pod.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
            plan.put(id, StaticPodStatus { pod_status });
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![self.follower.source("static pods")]
    }
}
