//! Follows the nodes of the cluster.
//!
//!     API server ──watch──▶ NodeStatus (this machine), Affiliates "k8s/<node>" (cluster-raw), Endpoints/kube-apiserver

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corten_kubernetes::{ApiResource, ListOptions, object};
use corten_resource::{Driver, Never, Plan, Source, View, controller};
use corten_resources::cluster::{Affiliate, ControlPlane};
use corten_resources::config::{MachineConfig, Role};
use corten_resources::kubernetes::{Endpoint, KubeletKubeconfig, NodeStatus, Nodename};
use corten_resources::secrets::{KubeletSecrets, KubernetesSecrets};
use serde_json::Value;

use super::CONTROL_PLANE_KEY;
use crate::api::{Access, Follower, Identity, Kept};
use crate::configuration;
use crate::files::Disk;

/// Annotation with the identity of the machine below a node.
pub const NODE_ID: &str = "cluster.talos.dev/node-id";

/// All but the long lists: images and managers of fields.
const KEPT: Kept = Kept {
    wanted: |_| true,
    members: &[
        "/metadata/uid",
        "/metadata/labels",
        "/metadata/annotations",
        "/spec",
        "/status/addresses",
        "/status/conditions",
        "/status/nodeInfo/osImage",
    ],
};

/// See the module.
pub struct Nodes {
    access: Access,
    follower: Follower,
}

impl Nodes {
    /// A controller.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { access: Access::new(disk), follower: Follower::new(KEPT) }
    }
}

controller!(Nodes, "k8s.NodeStatus",
    inputs: [weak MachineConfig, weak Nodename, weak KubernetesSecrets, weak KubeletSecrets, weak KubeletKubeconfig],
    outputs: [exclusive NodeStatus, shared Affiliate in "cluster-raw", shared Endpoint]);

impl Driver for Nodes {
    type Observed = Option<Vec<Value>>;
    type Op = Never;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Self::Observed> {
        if view.get::<Nodename>(Nodename::ID).is_none_or(|name| name.skip_node_registration) {
            return Ok(None);
        }
        let secrets = view.get::<KubernetesSecrets>(KubernetesSecrets::ID).map(|secrets| &secrets.spec);
        let kubelet = view.get::<KubeletSecrets>(KubeletSecrets::ID).map(|secrets| &secrets.spec);
        if let Some(client) = self.access.client(Identity::of_machine(secrets, kubelet)).await? {
            let nodes = client.api(&ApiResource::nodes(), None);
            self.follower.follow(&nodes, &ListOptions::default(), &self.access.fingerprint());
        }
        Ok(self.follower.objects())
    }

    fn plan(&self, view: &View<Self>, nodes: &Self::Observed) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(nodes) = nodes else {
            plan.keep::<NodeStatus>().keep::<Affiliate>().keep::<Endpoint>();
            return plan.waiting("the nodes of the cluster");
        };
        let own = view.get::<Nodename>(Nodename::ID).map(|name| name.nodename.clone()).unwrap_or_default();
        let config = configuration::complete(view.get(MachineConfig::ACTIVE));
        let port = config.map_or(6443, |config| i64::from(config.cluster.api_server.port));
        let mut planes = BTreeSet::new();
        for node in nodes {
            let name = object::name(node);
            if name == own {
                plan.put(name, status(node));
            }
            let affiliate = affiliate(node, port);
            if affiliate.control_plane.is_some() {
                planes.extend(affiliate.addresses.iter().copied());
            }
            // Until our identity is on our node it would be another member of the same name.
            if name != own || object::annotation(node, NODE_ID).is_some() {
                plan.put_in("cluster-raw", format!("k8s/{name}"), affiliate);
            }
        }
        if !planes.is_empty() {
            plan.put(
                Endpoint::API_SERVER,
                Endpoint { addresses: planes.into_iter().collect(), hosts: Vec::new() },
            );
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }

    fn sources(&mut self) -> Vec<Source> {
        vec![self.follower.source("nodes")]
    }
}

fn texts(node: &Value, pointer: &str) -> BTreeMap<String, String> {
    let entries = node.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn status(node: &Value) -> NodeStatus {
    let subnets = node.pointer("/spec/podCIDRs").and_then(Value::as_array).into_iter().flatten();
    NodeStatus {
        nodename: object::name(node).to_owned(),
        node_ready: object::has_condition(node, "Ready"),
        unschedulable: node.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or_default(),
        labels: texts(node, "/metadata/labels"),
        annotations: texts(node, "/metadata/annotations"),
        pod_cidrs: subnets.filter_map(|subnet| subnet.as_str()?.parse().ok()).collect(),
    }
}

/// What a node says about the machine below it.
fn affiliate(node: &Value, api_port: i64) -> Affiliate {
    let name = object::name(node).to_owned();
    let is_plane = object::label(node, CONTROL_PLANE_KEY).is_some();
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
    let of_kind = |kind: &str, entry: &Value| {
        (entry.get("type")?.as_str()? == kind)
            .then(|| entry.get("address")?.as_str().map(str::to_owned))
            .flatten()
    };
    let entries: Vec<&Value> = addresses.collect();
    let hostname = entries.iter().find_map(|entry| of_kind("Hostname", entry));
    let ips: Vec<IpAddr> =
        entries.iter().filter_map(|entry| of_kind("InternalIP", entry)?.parse().ok()).collect();
    let image = node.pointer("/status/nodeInfo/osImage").and_then(Value::as_str).unwrap_or_default();
    Affiliate {
        // A machine that did not write its identity on the node is known by the node's own.
        node_id: object::annotation(node, NODE_ID)
            .or_else(|| node.pointer("/metadata/uid").and_then(Value::as_str))
            .unwrap_or(&name)
            .to_owned(),
        addresses: ips,
        hostname: hostname.unwrap_or_else(|| name.clone()),
        nodename: name,
        operating_system: image.to_owned(),
        machine_type: if is_plane { Role::ControlPlane } else { Role::Worker },
        control_plane: is_plane.then_some(ControlPlane { port: api_port }),
        ..Affiliate::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::testing::resource;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_tells_of_its_machine() {
        let node = json!({
            "metadata": {
                "name": "cp-1", "labels": { CONTROL_PLANE_KEY: "" }, "annotations": { NODE_ID: "abc" },
            },
            "spec": { "podCIDRs": ["10.244.0.0/24"] },
            "status": {
                "addresses": [{ "type": "InternalIP", "address": "10.5.0.2" }, { "type": "Hostname", "address": "cp-1" }],
                "conditions": [{ "type": "Ready", "status": "True" }],
                "nodeInfo": { "osImage": "Talos (v1.14.1)" },
            },
        });
        let affiliate = affiliate(&node, 6443);
        assert_eq!((affiliate.node_id.as_str(), affiliate.machine_type), ("abc", Role::ControlPlane));
        assert_eq!(affiliate.addresses, ["10.5.0.2".parse::<IpAddr>().expect("an address")]);
        let status = status(&node);
        assert!(status.node_ready && !status.unschedulable);
        assert_eq!(status.pod_cidrs.len(), 1);
    }

    #[test]
    fn our_own_node_is_no_second_member_before_it_bears_our_identity() {
        let node = |name: &str, identity: &[(&str, &str)]| {
            let annotations: BTreeMap<_, _> = identity.iter().copied().collect();
            json!({ "metadata": { "name": name, "uid": "u", "annotations": annotations } })
        };
        let name = Nodename { nodename: "cp-1".into(), ..Nodename::default() };
        let view = View::of([resource(Nodename::ID, name)], SystemTime::UNIX_EPOCH);
        let affiliates = |nodes: Vec<Value>| -> Vec<String> {
            let plan = Nodes::new(Disk::machine()).plan(&view, &Some(nodes));
            plan.outputs::<Affiliate>().iter().map(|affiliate| affiliate.id().to_owned()).collect()
        };
        assert_eq!(affiliates(vec![node("cp-1", &[]), node("other", &[])]), ["k8s/other"]);
        assert_eq!(affiliates(vec![node("cp-1", &[(NODE_ID, "abc")])]), ["k8s/cp-1"]);
    }
}
