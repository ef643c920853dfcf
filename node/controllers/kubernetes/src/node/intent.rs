//! Labels, annotations and taints that this machine owns on its Node.
//!
//!     MachineConfig ──▶ NodeLabelSpecs, NodeAnnotationSpecs, NodeTaintSpecs

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::{NodeAnnotationSpec, NodeLabelSpec, NodeTaintSpec};

use super::{CONTROL_PLANE_KEY, taints};
use crate::configuration;

/// See the module.
pub struct NodeIntent;

controller!(NodeIntent, "k8s.NodeSpecs",
    inputs: [weak MachineConfig],
    outputs: [shared NodeLabelSpec, shared NodeAnnotationSpec, shared NodeTaintSpec]);

impl Transform for NodeIntent {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        let mut labels = config.machine.node_labels.clone();
        if config.is_control_plane() && !config.machine.node_is_explicit {
            labels.entry(CONTROL_PLANE_KEY.to_owned()).or_default();
        }
        for (key, value) in labels {
            plan.put(key.clone(), NodeLabelSpec { key, value });
        }
        for (key, value) in config.machine.node_annotations.clone() {
            plan.put(key.clone(), NodeAnnotationSpec { key, value });
        }
        for (key, given) in taints(&config) {
            let (value, effect) = match given.split_once(':') {
                Some((value, effect)) => (value.to_owned(), effect.to_owned()),
                None => (String::new(), given),
            };
            plan.put(key.clone(), NodeTaintSpec { key, effect, value });
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::testing::resource;

    use super::*;

    fn owned(more: &str) -> (Vec<String>, Vec<String>) {
        let yaml = format!("version: v1alpha1\nmachine: {{type: controlplane}}\n{more}").into_bytes();
        let given = [resource(MachineConfig::ACTIVE, MachineConfig { yaml })];
        let plan = NodeIntent.plan(&View::of(given, SystemTime::UNIX_EPOCH));
        let labels = plan.outputs::<NodeLabelSpec>().iter().map(|label| label.id().to_owned()).collect();
        let taints = plan.outputs::<NodeTaintSpec>().iter().map(|taint| taint.id().to_owned()).collect();
        (labels, taints)
    }

    #[test]
    fn a_document_names_every_label_and_taint_itself() {
        let own = vec![CONTROL_PLANE_KEY.to_owned()];
        assert_eq!(owned(""), (own.clone(), own));
        let document = "---\n{apiVersion: v1alpha1, kind: KubeNodeConfig, labels: {rack: r1}}\n";
        assert_eq!(owned(document), (vec!["rack".to_owned()], Vec::new()));
    }
}
