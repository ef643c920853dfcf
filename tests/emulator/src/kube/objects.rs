//! Objects of the Kubernetes API, made of the shared cluster.

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::cluster::nodes::{Change, ChangeKind, Node, Nodes};

/// Namespace of the static pods.
pub const SYSTEM: &str = "kube-system";
/// Key of the label with the host name.
const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";
/// Key of the label of control planes.
const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane";

/// Version of an image: its tag.
#[must_use]
pub fn tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    name.rsplit_once(':').map_or("", |(_, tag)| tag)
}

fn time(at: SystemTime) -> Value {
    let at = Timestamp::try_from(at).ok().and_then(|at| Timestamp::from_second(at.as_second()).ok());
    at.map_or(Value::Null, |at| Value::from(at.to_string()))
}

/// Version of the API, from the image of its server.
#[must_use]
pub fn version(api_server: &str) -> Value {
    let version = tag(api_server);
    let mut numbers = version.trim_start_matches('v').split('.');
    json!({
        "major": numbers.next().unwrap_or_default(),
        "minor": numbers.next().unwrap_or_default(),
        "gitVersion": version,
        "platform": "linux/amd64",
    })
}

/// A node.
#[must_use]
pub fn node(name: &str, revision: u64, node: &Node) -> Value {
    let mut labels: BTreeMap<&str, &str> =
        node.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    labels.insert(HOSTNAME_LABEL, name);
    if node.is_control_plane {
        labels.insert(CONTROL_PLANE_LABEL, "");
    }
    let ready = if node.is_ready { "True" } else { "Unknown" };
    let reason = if node.is_ready { "KubeletReady" } else { "NodeStatusUnknown" };
    let mut spec = json!({ "providerID": format!("emulated://{}", node.uuid) });
    if node.is_cordoned
        && let Value::Object(spec) = &mut spec
    {
        spec.insert("unschedulable".to_owned(), Value::Bool(true));
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": node.uuid,
            "resourceVersion": revision.to_string(),
            "creationTimestamp": time(node.created),
            "labels": labels,
            "annotations": node.annotations,
        },
        "spec": spec,
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": node.address.to_string() },
                { "type": "Hostname", "address": name },
            ],
            "conditions": [{
                "type": "Ready",
                "status": ready,
                "reason": reason,
                "message": "emulated",
                "lastHeartbeatTime": time(node.created),
                "lastTransitionTime": time(node.created),
            }],
            "nodeInfo": {
                "machineID": node.uuid,
                "systemUUID": node.uuid,
                "osImage": format!("Talos ({})", node.talos),
                "operatingSystem": "linux",
                "architecture": "amd64",
                "kubeletVersion": tag(&node.images.kubelet),
            },
        },
    })
}

/// All nodes.
#[must_use]
pub fn node_list(nodes: &Nodes) -> Value {
    let items: Vec<Value> = nodes.iter().map(|(name, revision, one)| node(name, revision, one)).collect();
    list("NodeList", nodes.revision(), items)
}

/// A list of objects.
#[must_use]
pub fn list(kind: &str, revision: u64, items: Vec<Value>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": kind,
        "metadata": { "resourceVersion": revision.to_string() },
        "items": items,
    })
}

/// Static pods of control planes; on one node, or on all.
#[must_use]
pub fn pods(nodes: &Nodes, on: Option<&str>) -> Vec<Value> {
    let wanted = nodes
        .iter()
        .filter(|(name, _, node)| node.is_control_plane && on.is_none_or(|wanted| wanted == *name));
    let mut all = Vec::new();
    for (name, revision, node) in wanted {
        let images = &node.images;
        for (app, image) in [
            ("kube-apiserver", &images.api_server),
            ("kube-controller-manager", &images.controller_manager),
            ("kube-scheduler", &images.scheduler),
        ] {
            all.push(pod(name, revision, node, app, image));
        }
    }
    all
}

fn pod(on: &str, revision: u64, node: &Node, app: &str, image: &str) -> Value {
    let (phase, ready) = if node.is_ready { ("Running", "True") } else { ("Running", "False") };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("{app}-{on}"),
            "namespace": SYSTEM,
            "resourceVersion": revision.to_string(),
            "labels": { "k8s-app": app, "component": app, "tier": "control-plane" },
            "annotations": { "kubernetes.io/config.mirror": "emulated" },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": on, "uid": node.uuid }],
        },
        "spec": { "nodeName": on, "containers": [{ "name": app, "image": image }] },
        "status": {
            "phase": phase,
            "conditions": [{ "type": "Ready", "status": ready }],
            "containerStatuses": [{ "name": app, "image": image, "ready": node.is_ready, "restartCount": 0 }],
        },
    })
}

/// An event of a watch, line break included.
#[must_use]
pub fn event(change: &Change) -> String {
    let kind = match change.kind {
        ChangeKind::Added => "ADDED",
        ChangeKind::Modified => "MODIFIED",
        ChangeKind::Deleted => "DELETED",
    };
    let object = node(&change.name, change.revision, &change.node);
    format!("{}\n", json!({ "type": kind, "object": object }))
}

/// The event that ends a watch from too long ago.
#[must_use]
pub fn expired() -> String {
    format!("{}\n", json!({ "type": "ERROR", "object": status(410, "Expired", "too old resource version") }))
}

/// What is said instead of an object.
#[must_use]
pub fn status(code: u16, reason: &str, message: &str) -> Value {
    let status = if code < 400 { "Success" } else { "Failure" };
    json!({
        "apiVersion": "v1",
        "kind": "Status",
        "status": status,
        "reason": reason,
        "message": message,
        "code": code,
    })
}

/// Changes a node as a merge patch says: labels, annotations and whether it is cordoned; the rest is left alone.
pub fn patch(node: &mut Node, patch: &Value) {
    merge(&mut node.labels, patch.pointer("/metadata/labels").and_then(Value::as_object));
    merge(&mut node.annotations, patch.pointer("/metadata/annotations").and_then(Value::as_object));
    match patch.pointer("/spec/unschedulable") {
        Some(Value::Bool(is_cordoned)) => node.is_cordoned = *is_cordoned,
        Some(Value::Null) => node.is_cordoned = false,
        _ => {}
    }
}

fn merge(all: &mut BTreeMap<String, String>, changes: Option<&Map<String, Value>>) {
    for (key, value) in changes.into_iter().flatten() {
        match value {
            Value::String(value) => drop(all.insert(key.clone(), value.clone())),
            Value::Null => drop(all.remove(key)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::nodes::tests::node as sample;

    #[test]
    fn a_node_is_ready_or_unknown_and_has_the_version_of_its_kubelet() {
        let ready = node("a", 3, &sample());
        assert_eq!(ready.pointer("/status/conditions/0/status"), Some(&json!("True")));
        assert_eq!(ready.pointer("/status/nodeInfo/kubeletVersion"), Some(&json!("v1.36.0")));
        assert_eq!(ready.pointer("/spec/unschedulable"), None);
        let lost = node("a", 3, &Node { is_ready: false, ..sample() });
        assert_eq!(lost.pointer("/status/conditions/0/status"), Some(&json!("Unknown")));
    }

    #[test]
    fn a_patch_changes_what_a_manager_changes() {
        let mut one = sample();
        let change = json!({"spec": {"unschedulable": true}, "metadata": {"labels": {"a": "1", "b": null}}});
        one.labels.insert("b".to_owned(), "x".to_owned());
        patch(&mut one, &change);
        assert!(one.is_cordoned);
        assert_eq!(one.labels, BTreeMap::from([("a".to_owned(), "1".to_owned())]));
        patch(&mut one, &json!({"spec": {"unschedulable": null}}));
        assert!(!one.is_cordoned);
    }

    #[test]
    fn only_control_planes_have_static_pods() {
        let mut nodes = Nodes::default();
        nodes.put("w", sample());
        nodes.put("c", Node { is_control_plane: true, ..sample() });
        assert_eq!(pods(&nodes, None).len(), 3);
        assert_eq!(pods(&nodes, Some("w")).len(), 0);
        assert_eq!(version("registry.k8s.io/kube-apiserver:v1.36.3").pointer("/minor"), Some(&json!("36")));
    }
}
