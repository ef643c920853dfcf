//! What the Kubernetes API says of nodes, pods and add-ons.

use std::net::IpAddr;

use anyhow::{Context as _, ensure};
use corten_kubernetes::{ApiResource, Object, object};
use corten_resources::kubernetes::{BootstrapManifestsConfig, StaticPod};
use serde_json::Value;

use super::checks::Verdict;
use super::fleet::{Fleet, Machine, Which};

const NAMESPACE: &str = "kube-system";
const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane";
/// Components that a control plane may run as static pods.
const COMPONENTS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

async fn nodes(fleet: &Fleet) -> anyhow::Result<Vec<Object>> {
    fleet.objects(&ApiResource::nodes(), None, "").await
}

/// A node as a machine.
pub(super) fn machine_of(node: &Object) -> Machine {
    let all = node.pointer("/status/addresses").and_then(Value::as_array).into_iter().flatten();
    let text =
        |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let internal = all.filter(|entry| text(entry, "type") == "InternalIP");
    let addresses: Vec<IpAddr> = internal.filter_map(|entry| text(entry, "address").parse().ok()).collect();
    Machine {
        node: object::name(node).to_owned(),
        addresses,
        is_control_plane: object::label(node, CONTROL_PLANE_LABEL).is_some(),
    }
}

fn is_same(machine: &Machine, node: &Object) -> bool {
    let of_node = machine_of(node);
    machine.has_any(&of_node.addresses) || (!machine.node.is_empty() && machine.node == of_node.node)
}

/// Every machine is a node, and every node one of the machines.
pub(super) async fn reported(fleet: &Fleet) -> anyhow::Result<()> {
    let (machines, nodes) = (fleet.machines(Which::All).await?, nodes(fleet).await?);
    let absent = machines.iter().filter(|machine| !nodes.iter().any(|node| is_same(machine, node)));
    let absent: Vec<String> = absent.map(Machine::label).collect();
    ensure!(absent.is_empty(), "no node for {}", absent.join(", "));
    let extra = nodes.iter().filter(|node| !machines.iter().any(|machine| is_same(machine, node)));
    named("nodes of no known machine", extra)
}

/// Nothing is left in `objects`.
fn named<'a>(what: &str, objects: impl Iterator<Item = &'a Object>) -> anyhow::Result<()> {
    let names: Vec<&str> = objects.map(object::name).collect();
    ensure!(names.is_empty(), "{what}: {}", names.join(", "));
    Ok(())
}

/// Every node is ready.
pub(super) async fn nodes_ready(fleet: &Fleet) -> anyhow::Result<()> {
    named("nodes not ready", nodes(fleet).await?.iter().filter(|node| !object::has_condition(node, "Ready")))
}

/// No node is cordoned.
pub(super) async fn schedulable(fleet: &Fleet) -> anyhow::Result<()> {
    let is_cordoned =
        |node: &&Object| node.pointer("/spec/unschedulable").and_then(Value::as_bool) == Some(true);
    named("nodes not schedulable", nodes(fleet).await?.iter().filter(is_cordoned))
}

/// Each control plane runs the components that this one runs, and they are ready.
pub(super) async fn components_ready(fleet: &Fleet) -> anyhow::Result<()> {
    let components: Vec<&str> =
        COMPONENTS.into_iter().filter(|id| fleet.state().get::<StaticPod>(id).is_some()).collect();
    ensure!(!components.is_empty(), "no static pods are rendered yet");
    let planes = fleet.machines(Which::ControlPlanes).await?;
    let nodes = nodes(fleet).await?;
    let pods = fleet.objects(&ApiResource::pods(), Some(NAMESPACE), "").await?;
    let mut missing = Vec::new();
    for machine in &planes {
        let node = nodes.iter().find(|node| is_same(machine, node));
        let node = object::name(node.with_context(|| format!("no node for {}", machine.label()))?);
        let names = components.iter().map(|component| format!("{component}-{node}"));
        missing.extend(names.filter(|name| !is_pod_ready(&pods, name)));
    }
    ensure!(missing.is_empty(), "pods not ready: {}", missing.join(", "));
    Ok(())
}

fn is_pod_ready(pods: &[Object], name: &str) -> bool {
    pods.iter().any(|pod| object::name(pod) == name && object::has_condition(pod, "Ready"))
}

/// kube-proxy runs on every node, unless the cluster does without it.
pub(super) async fn proxy_ready(fleet: &Fleet) -> anyhow::Result<Verdict> {
    let is_wanted = manifests(fleet).is_some_and(|config| config.proxy_enabled);
    addon(fleet, "DaemonSet", "kube-proxy", is_wanted, &["desiredNumberScheduled", "numberReady"]).await
}

/// CoreDNS runs as often as it should, unless the cluster does without it.
pub(super) async fn dns_ready(fleet: &Fleet) -> anyhow::Result<Verdict> {
    let is_wanted = manifests(fleet).is_some_and(|config| config.core_dns_enabled);
    addon(fleet, "Deployment", "coredns", is_wanted, &["replicas", "readyReplicas"]).await
}

fn manifests(fleet: &Fleet) -> Option<BootstrapManifestsConfig> {
    fleet.state().get::<BootstrapManifestsConfig>(BootstrapManifestsConfig::ID).map(|config| config.spec)
}

async fn addon(
    fleet: &Fleet,
    kind: &str,
    name: &str,
    is_wanted: bool,
    counts: &[&str; 2],
) -> anyhow::Result<Verdict> {
    let resource = ApiResource::known("apps/v1", kind).context("a kind that every cluster has")?;
    match fleet.object(&resource, NAMESPACE, name).await? {
        None if !is_wanted => Ok(Verdict::DoesNotApply),
        None => anyhow::bail!("there is no {kind} {NAMESPACE}/{name} yet"),
        Some(found) => rolled_out(&found, counts).map(|()| Verdict::Holds),
    }
}

/// The controller has seen the newest version, and as many pods are ready as are wanted.
fn rolled_out(found: &Object, [wanted, ready]: &[&str; 2]) -> anyhow::Result<()> {
    let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let is_seen = number("/status/observedGeneration") >= number("/metadata/generation");
    ensure!(is_seen, "{} has not been seen by its controller", object::describe(found));
    let (wanted, ready) = (number(&format!("/status/{wanted}")), number(&format!("/status/{ready}")));
    ensure!(
        ready > 0 && ready >= wanted,
        "{ready} of {wanted} pods of {} are ready",
        object::describe(found)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_are_matched_by_address_or_name() {
        let node = json!({
            "metadata": {"name": "a", "labels": {CONTROL_PLANE_LABEL: ""}},
            "status": {"addresses": [
                {"type": "Hostname", "address": "a"},
                {"type": "InternalIP", "address": "10.0.0.1"}
            ]}
        });
        let machine = machine_of(&node);
        assert_eq!((machine.node.as_str(), machine.is_control_plane), ("a", true));
        assert_eq!(machine.addresses, ["10.0.0.1".parse::<IpAddr>().expect("an address")]);
        let known = |node: &str, address: &str| Machine {
            node: node.into(),
            addresses: vec![address.parse().expect("an address")],
            ..Machine::default()
        };
        assert!(is_same(&known("", "10.0.0.1"), &node));
        assert!(is_same(&known("a", "10.0.0.9"), &node));
        assert!(!is_same(&known("", "10.0.0.9"), &node));
    }

    #[test]
    fn an_addon_is_ready_when_its_newest_version_is() {
        let set = |generation: i64, wanted: i64, ready: i64| {
            json!({"metadata": {"name": "kube-proxy", "generation": generation}, "kind": "DaemonSet",
                "status": {"observedGeneration": 2, "desiredNumberScheduled": wanted, "numberReady": ready}})
        };
        let verdict = |it: Value| rolled_out(&it, &["desiredNumberScheduled", "numberReady"]);
        assert!(verdict(set(2, 3, 3)).is_ok());
        assert!(verdict(set(3, 3, 3)).is_err());
        assert_eq!(
            verdict(set(2, 3, 1)).expect_err("one").to_string(),
            "1 of 3 pods of DaemonSet kube-proxy are ready"
        );
        assert!(verdict(set(2, 0, 0)).is_err());
    }

    #[test]
    fn pods_count_when_ready() {
        let pods = [json!({"metadata": {"name": "kube-apiserver-a"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}})];
        assert!(is_pod_ready(&pods, "kube-apiserver-a"));
        assert!(!is_pod_ready(&pods, "kube-scheduler-a"));
    }
}
