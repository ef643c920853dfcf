//! Hands the static pods to the data plane, which serves them to the kubelet whether or not machined runs.
//!
//!     StaticPods ──▶ static-pods.json          status/static-pods.json ──▶ StaticPodServerStatus

use std::time::Duration;

use corten_dataplane::files::{self, StaticPods, StaticPodsStatus};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::kubernetes::{StaticPod, StaticPodServerStatus};
use serde_json::Value;

use crate::Folder;

/// When to look for the status again, before and after it was there: the port changes only when the data plane had to choose another.
const SOON: Duration = Duration::from_millis(250);
const LATER: Duration = Duration::from_secs(15);

/// See the module.
pub struct PublishStaticPods {
    folder: Folder,
}

impl PublishStaticPods {
    /// A controller over the data plane's folder.
    #[must_use]
    pub fn new(folder: Folder) -> Self {
        Self { folder }
    }
}

controller!(PublishStaticPods, "k8s.StaticPodServer", inputs: [strong StaticPod], outputs: [exclusive StaticPodServerStatus]);

impl Driver for PublishStaticPods {
    type Observed = (Option<StaticPods>, Option<StaticPodsStatus>);
    type Op = StaticPods;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Self::Observed> {
        Ok((files::read(&self.folder.0)?, files::read(&self.folder.0)?))
    }

    fn plan(&self, view: &View<Self>, (published, status): &Self::Observed) -> Plan<Self, StaticPods> {
        let mut plan = Plan::new();
        let pods = view.list::<StaticPod>().into_iter().map(|pod| Value::Object(pod.pod.clone())).collect();
        let wanted = StaticPods { pods };
        if published.as_ref() != Some(&wanted) {
            plan.op(wanted);
        }
        match status.as_ref().filter(|status| !status.url.is_empty()) {
            Some(status) => {
                plan.put(StaticPodServerStatus::ID, StaticPodServerStatus { url: status.url.clone() });
                plan.again_in(LATER)
            }
            None => plan.waiting("the data plane to serve the static pods").again_in(SOON),
        }
    }

    async fn apply(&mut self, op: StaticPods) -> anyhow::Result<()> {
        Ok(files::write_atomic(&self.folder.0, &op)?)
    }
}
