//! Images and the networks of containers.

use corten_resources::kubernetes::StaticPodStatus;

use serde_json::Value;

use crate::{Diagnosis, Evidence, Facts, Severity};

/// Why the kubelet says that a container waits, when it is for its image.
const PULL_REASONS: &[&str] =
    &["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"];
/// What the kubelet and containerd say when there is no network for pods.
const NO_CNI: &[&str] =
    &["cni plugin not initialized", "no network config found in /etc/cni/net.d", "NetworkPluginNotReady"];
/// How a service begins to say that its image is being pulled.
const PULLING: &str = "Pulling image ";
/// What stands in the failure of a service whose image could not be had.
const PULL_FAILED: &[&str] = &["pull", "image", "resolve", "manifest"];

/// The diagnoses.
pub(crate) const TABLE: &[Diagnosis] = &[
    Diagnosis {
        id: "image-not-pulled",
        title: "An image cannot be pulled.",
        why: "Its name is wrong, the registry cannot be reached, or does not let the machine in. What it is for does not start.",
        remedy: &[
            "Try it with `corten image pull IMAGE`, which tells what the registry says.",
            "Correct the name in the configuration or the pod.",
            "See that the registry is reachable, and set a mirror or credentials for it (RegistryMirrorConfig, RegistryAuthConfig).",
        ],
        severity: Severity::Problem,
        after: &["no-address", "no-default-route", "no-resolvers", "dns-failing", "clock-wrong", "disk-full"],
        find: image_not_pulled,
    },
    Diagnosis {
        id: "cni-missing",
        title: "There is no network for pods.",
        why: "No CNI plugin has set one up, so the node is not ready and pods stay in ContainerCreating.",
        remedy: &[
            "If the cluster's network is `none`, install a CNI: nothing else does.",
            "If it is flannel, see with kubectl why its pod in kube-system does not run on this node.",
        ],
        severity: Severity::Problem,
        after: &["image-not-pulled", "disk-full"],
        find: cni_missing,
    },
];

/// Containers of static pods, each with the id of its pod, as the kubelet tells of them (`ContainerStatus` of Kubernetes).
pub(crate) fn of_static_pods(facts: &Facts) -> impl Iterator<Item = (&str, &Value)> {
    facts.list::<StaticPodStatus>().flat_map(|status| {
        let lists = ["initContainerStatuses", "containerStatuses"];
        let lists = lists.into_iter().filter_map(|list| status.pod_status.get(list)?.as_array());
        lists.flatten().map(|container| (status.id(), container))
    })
}

/// Why a container waits, and what the kubelet says to it; both are empty when it does not.
pub(crate) fn waits(container: &Value) -> (&str, &str) {
    let text = |key: &str| container["state"]["waiting"][key].as_str().unwrap_or_default();
    (text("reason"), text("message"))
}

fn image_not_pulled(facts: &Facts) -> Vec<Evidence> {
    let mut told: Vec<Evidence> = of_static_pods(facts)
        .map(|(pod, container)| (pod, waits(container)))
        .filter(|(_, (reason, _))| PULL_REASONS.contains(reason))
        .map(|(pod, (_, message))| Evidence::new(format!("{pod} waits for its image")).with(message))
        .collect();
    for service in &facts.vitals.services {
        let failed = service.last_failure.strip_prefix("Failed to start: ").unwrap_or_default();
        let is_pull = PULL_FAILED.iter().any(|word| failed.contains(word));
        if let Some(image) = service.message.strip_prefix(PULLING).filter(|_| is_pull) {
            told.push(Evidence::new(format!("{} waits for its image {image}", service.id)).with(failed));
        } else if is_pull && service.state == "Failed" {
            told.push(Evidence::new(format!("{} waits for its image", service.id)).with(failed));
        }
    }
    if told.is_empty() {
        let line = facts.late_lines("kubelet", PULL_REASONS).next();
        told.extend(line.map(|line| Evidence::new("the kubelet cannot have an image").with(line)));
    }
    told
}

fn cni_missing(facts: &Facts) -> Vec<Evidence> {
    // Both say so while a node starts; it is a fault when the node is not ready for it.
    if !crate::kubernetes::is_not_ready(facts) {
        return Vec::new();
    }
    let line = facts.lines("kubelet", NO_CNI).chain(facts.lines("cri", NO_CNI)).next();
    let none = crate::kubernetes::has_no_cni(facts)
        .then(|| Evidence::new("the configuration says that somebody else brings the network of pods"));
    none.or_else(|| line.map(|line| Evidence::new("containers cannot be connected to a network").with(line)))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::resource;
    use corten_resources::kubernetes::{BootstrapManifestsConfig, NodeStatus};

    use super::*;
    use crate::testing::{check, check_absent, facts, service, vitals};
    use crate::vitals::{ServiceFact, Vitals};

    fn pod(reason: &str) -> Facts {
        let yaml = format!(
            "containerStatuses:\n    - name: a\n      state:\n          waiting:\n              reason: {reason}\n              message: not found\n"
        );
        let metadata =
            corten_resource::Metadata::new("k8s", "StaticPodStatuses.kubernetes.talos.dev", "kube-system/a");
        let status =
            corten_resource::AnyResource::from_yaml::<StaticPodStatus>(metadata, &yaml).expect("YAML");
        facts([status])
    }

    #[test]
    fn a_pod_or_service_without_its_image_is_named() {
        check(&pod("ImagePullBackOff"), "image-not-pulled", "kube-system/a waits for its image");
        check_absent(&pod("CrashLoopBackOff"), "image-not-pulled");
        let etcd = ServiceFact {
            last_failure: "Failed to start: cannot pull registry.test/etcd:v9: not found".to_owned(),
            ..service("etcd", "Preparing", "Pulling image registry.test/etcd:v9")
        };
        let etcd = vitals(Vitals { services: vec![etcd], ..Vitals::default() });
        check(&etcd, "image-not-pulled", "etcd waits for its image registry.test/etcd:v9");
    }

    #[test]
    fn a_node_that_is_ready_has_its_network_whatever_the_log_says() {
        let seen = |node_ready| {
            let node = NodeStatus { node_ready, ..NodeStatus::default() };
            let mut facts = facts([resource("cp-1", node)]);
            facts.log("kubelet", "E0101 container runtime network not ready: cni plugin not initialized\n");
            facts
        };
        check(&seen(false), "cni-missing", "containers cannot be connected to a network");
        check_absent(&seen(true), "cni-missing");
        let none = BootstrapManifestsConfig { cni_name: "none".to_owned(), ..Default::default() };
        let nobody = facts([resource("cp-1", NodeStatus::default()), resource("manifests", none)]);
        check(&nobody, "cni-missing", "the configuration says that somebody else brings the network of pods");
    }
}
