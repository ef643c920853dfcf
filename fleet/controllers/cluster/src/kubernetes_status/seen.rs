//! What a watch of Kubernetes keeps: a row for each node and each component of the control plane.

use std::collections::BTreeMap;

use corten_fleet_resources::kubernetes::{
    KubernetesNode, KubernetesNodeStaticPods, KubernetesStaticPod, KubernetesStatus,
};
use corten_fleet_resources::labels::annotation::NODE_AUDIT_SKIP;
use corten_kubernetes::{Object, WatchEvent, object};
use parking_lot::Mutex;

/// Rows of nodes that are kept. Kubernetes itself stops at 5,000.
const NODES_MAX: usize = 8192;
/// Label of a static pod with the name of its component.
const APP: &str = "k8s-app";
/// Annotation of pods that stand for static ones.
const MIRROR: &str = "kubernetes.io/config.mirror";

#[derive(Debug, Default)]
struct Table {
    nodes: Option<Nodes>,
    pods: Option<Vec<KubernetesNodeStaticPods>>,
    /// Why there is nothing new of the nodes; empty when there is.
    node_error: String,
    /// The same of the pods.
    pod_error: String,
}

/// What was seen of one Kubernetes.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Table>);

impl Seen {
    /// Takes in what a watch of nodes tells. True when it is news.
    pub(super) fn nodes(&self, told: Result<WatchEvent, String>) -> bool {
        let mut table = self.0.lock();
        let is_news = note(&mut table.node_error, told.as_ref().err());
        match told {
            Ok(event) => fold(&mut table.nodes, event) || is_news,
            Err(_) => is_news,
        }
    }

    /// Takes in a list of pods. True when it is news.
    pub(super) fn pods(&self, told: Result<Vec<Object>, String>) -> bool {
        let mut table = self.0.lock();
        let is_news = note(&mut table.pod_error, told.as_ref().err());
        match told {
            Ok(pods) => {
                let rows = Some(static_pods(&pods));
                let is_other = table.pods != rows;
                table.pods = rows;
                is_other || is_news
            }
            Err(_) => is_news,
        }
    }

    /// What Kubernetes has, once it told all, and why there is nothing new.
    pub(super) fn status(&self) -> (Option<KubernetesStatus>, String) {
        let table = self.0.lock();
        let both = table.nodes.as_ref().zip(table.pods.as_ref());
        let status = both.map(|(nodes, pods)| KubernetesStatus {
            nodes: nodes.values().cloned().collect(),
            static_pods: pods.clone(),
        });
        let error = if table.node_error.is_empty() { &table.pod_error } else { &table.node_error };
        (status, error.clone())
    }
}

/// Notes an error, or that there is none. True when it is another one.
fn note(known: &mut String, told: Option<&String>) -> bool {
    let told = told.cloned().unwrap_or_default();
    let is_other = *known != told;
    *known = told;
    is_other
}

/// Nodes by name.
type Nodes = BTreeMap<String, KubernetesNode>;

fn fold(nodes: &mut Option<Nodes>, event: WatchEvent) -> bool {
    match event {
        WatchEvent::Listed(all) => {
            let rows = all.iter().take(NODES_MAX).map(node).map(|node| (node.nodename.clone(), node));
            let rows: Option<Nodes> = Some(rows.collect());
            let is_other = *nodes != rows;
            *nodes = rows;
            is_other
        }
        WatchEvent::Applied(one) => {
            let (nodes, row) = (nodes.get_or_insert_default(), node(&one));
            let is_other = nodes.get(&row.nodename) != Some(&row);
            if nodes.len() < NODES_MAX || nodes.contains_key(&row.nodename) {
                nodes.insert(row.nodename.clone(), row);
            }
            is_other
        }
        WatchEvent::Deleted(one) => nodes.get_or_insert_default().remove(object::name(&one)).is_some(),
    }
}

fn node(node: &Object) -> KubernetesNode {
    let version = node.pointer("/status/nodeInfo/kubeletVersion").and_then(Object::as_str);
    KubernetesNode {
        nodename: object::name(node).to_owned(),
        kubelet_version: version.unwrap_or_default().trim_start_matches('v').to_owned(),
        ready: object::has_condition(node, "Ready"),
        skip_audit: object::annotation(node, NODE_AUDIT_SKIP).is_some(),
    }
}

/// The components of the control plane, by node and name.
fn static_pods(pods: &[Object]) -> Vec<KubernetesNodeStaticPods> {
    let mut nodes: BTreeMap<&str, BTreeMap<&str, KubernetesStaticPod>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| object::annotation(pod, MIRROR).is_some()) {
        let node = pod.pointer("/spec/nodeName").and_then(Object::as_str);
        if let (Some(node), Some(app)) = (node, object::label(pod, APP)) {
            let version = version(image(pod, app)).to_owned();
            let row = KubernetesStaticPod {
                app: app.to_owned(),
                version,
                ready: object::has_condition(pod, "Ready"),
            };
            nodes.entry(node).or_default().insert(app, row);
        }
    }
    let rows = nodes.into_iter().map(|(node, pods)| KubernetesNodeStaticPods {
        nodename: node.to_owned(),
        static_pods: pods.into_values().collect(),
    });
    rows.collect()
}

/// Image of the container of a pod that has the name of its component.
fn image<'a>(pod: &'a Object, app: &str) -> &'a str {
    let containers = pod.pointer("/spec/containers").and_then(Object::as_array).into_iter().flatten();
    let text = |container: &'a Object, key: &str| container.get(key).and_then(Object::as_str);
    let mut own = containers.filter(|&container| text(container, "name") == Some(app));
    own.next().and_then(|container| text(container, "image")).unwrap_or_default()
}

/// Version in the tag of an image, without `v`; empty when it has no tag.
fn version(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => tag.trim_start_matches('v'),
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node_object(name: &str, ready: &str) -> Object {
        json!({
            "metadata": { "name": name, "annotations": { NODE_AUDIT_SKIP: "" } },
            "status": {
                "nodeInfo": { "kubeletVersion": "v1.36.1" },
                "conditions": [{ "type": "Ready", "status": ready }],
            },
        })
    }

    fn pod(app: &str, is_mirror: bool) -> Object {
        let annotations = if is_mirror { json!({ MIRROR: "hash" }) } else { json!({}) };
        let image = format!("registry.k8s.io:443/{app}:v1.36.1@sha256:00");
        json!({
            "metadata": { "labels": { APP: app }, "annotations": annotations },
            "spec": {
                "nodeName": "a",
                "containers": [{ "name": app, "image": image }],
            },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    }

    #[test]
    fn nothing_is_told_before_all_was_seen_and_only_changes_are_news() {
        let seen = Seen::default();
        assert!(seen.nodes(Ok(WatchEvent::Listed(vec![node_object("a", "True")]))));
        assert_eq!(seen.status().0, None, "pods are missing");
        assert!(seen.pods(Ok(vec![pod("kube-apiserver", true), pod("coredns", false)])));
        let status = seen.status().0.expect("all was seen");
        let expected = KubernetesNode {
            nodename: "a".to_owned(),
            kubelet_version: "1.36.1".to_owned(),
            ready: true,
            skip_audit: true,
        };
        assert_eq!(status.nodes, [expected]);
        let [pods] = status.static_pods.as_slice() else { panic!("{status:?}") };
        let rows: Vec<(&str, &str)> =
            pods.static_pods.iter().map(|pod| (pod.app.as_str(), pod.version.as_str())).collect();
        assert_eq!(rows, [("kube-apiserver", "1.36.1")]);
        assert!(!seen.nodes(Ok(WatchEvent::Applied(node_object("a", "True")))));
        assert!(seen.nodes(Ok(WatchEvent::Applied(node_object("a", "Unknown")))));
        assert!(seen.nodes(Ok(WatchEvent::Deleted(node_object("a", "Unknown")))));
    }

    #[test]
    fn an_error_is_told_until_something_comes() {
        let seen = Seen::default();
        assert!(seen.nodes(Err("away".to_owned())));
        assert!(!seen.nodes(Err("away".to_owned())));
        assert_eq!(seen.status().1, "away");
        assert!(seen.nodes(Ok(WatchEvent::Listed(Vec::new()))));
        assert_eq!(seen.status().1, "");
    }

    #[test]
    fn any_text_has_a_version_or_none() {
        assert_eq!(version("registry.k8s.io:443/kube-apiserver"), "");
        assert_eq!(version("kube-apiserver:1.36.1"), "1.36.1");
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            assert!(!version(&text).contains('@'));
        });
    }
}
