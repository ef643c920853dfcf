//! Static pods of the user.
//!
//!     MachineConfig (machine.pods) ──▶ StaticPods

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::StaticPod;
use serde_json::Value;

use crate::configuration;

/// See the module.
pub struct UserPods;

controller!(UserPods, "k8s.StaticPodConfig", inputs: [weak MachineConfig], outputs: [shared StaticPod]);

impl Transform for UserPods {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        for pod in config.machine.pods.iter().filter_map(Value::as_object) {
            let text = |key: &str| {
                pod.get("metadata").and_then(|metadata| metadata.get(key)).and_then(Value::as_str)
            };
            let Some(name) = text("name") else { continue };
            let namespace = text("namespace").unwrap_or("default");
            plan.put(format!("{namespace}-{name}"), StaticPod { pod: pod.clone() });
        }
        plan
    }
}
