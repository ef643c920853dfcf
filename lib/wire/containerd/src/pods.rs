//! Which pod a container belongs to, by the labels that the kubelet's runtime interface leaves on it.

use std::collections::BTreeMap;

use crate::containers::Container;
use crate::tasks::TaskState;

/// A pod's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
}

/// What a container is within its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodRole {
    /// Holder of the pod's namespaces.
    Sandbox,
    /// A container of this name.
    Container(String),
}

impl PodRole {
    /// The word of the Container Runtime Interface for what containerd knows of the container's task; one without a
    /// task has ended.
    #[must_use]
    pub const fn status(&self, task: Option<TaskState>) -> &'static str {
        match (self, task) {
            (Self::Sandbox, Some(state)) if state.is_alive() => "SANDBOX_READY",
            (Self::Sandbox, _) => "SANDBOX_NOTREADY",
            (Self::Container(_), Some(TaskState::Created)) => "CONTAINER_CREATED",
            (Self::Container(_), Some(state)) if state.is_alive() => "CONTAINER_RUNNING",
            (Self::Container(_), Some(TaskState::Unknown)) => "CONTAINER_UNKNOWN",
            (Self::Container(_), _) => "CONTAINER_EXITED",
        }
    }
}

/// A container's place in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// The pod.
    pub pod: Pod,
    /// The place.
    pub role: PodRole,
}

impl PodContainer {
    /// Reads the labels; `None` for a container that is not part of a pod.
    #[must_use]
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let get = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let pod = Pod {
            namespace: get("io.kubernetes.pod.namespace"),
            name: get("io.kubernetes.pod.name"),
            uid: get("io.kubernetes.pod.uid"),
        };
        if pod.name.is_empty() {
            return None;
        }
        let role = match labels.get("io.kubernetes.container.name") {
            Some(name) if get("io.cri-containerd.kind") != "sandbox" => PodRole::Container(name.clone()),
            _ => PodRole::Sandbox,
        };
        Some(Self { pod, role })
    }

    /// The id that the machine API shows: `namespace/pod`, and `namespace/pod:container:short-id` for a container.
    #[must_use]
    pub fn display_id(&self, container_id: &str) -> String {
        let pod = format!("{}/{}", self.pod.namespace, self.pod.name);
        match &self.role {
            PodRole::Sandbox => pod,
            PodRole::Container(name) => {
                let short = container_id.get(..12).unwrap_or(container_id);
                format!("{pod}:{name}:{short}")
            }
        }
    }
}

/// Sandboxes that are ready, and the containers in them, also those that have ended: what is listed as pods.
pub fn of_ready_pods<'a>(
    all: &'a [Container],
    is_alive: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = &'a Container> {
    all.iter().filter(move |container| match PodContainer::from_labels(&container.labels) {
        Some(PodContainer { role: PodRole::Sandbox, .. }) => is_alive(&container.id),
        Some(PodContainer { role: PodRole::Container(_), .. }) => is_alive(&container.sandbox),
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::containerd::services::containers::v1::Container as Record;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_words_are_those_of_the_container_runtime_interface() {
        let container = PodRole::Container("dns".to_owned());
        let states = [Some(TaskState::Running), Some(TaskState::Stopped), None];
        let words = |role: &PodRole| states.map(|state| role.status(state));
        assert_eq!(words(&PodRole::Sandbox), ["SANDBOX_READY", "SANDBOX_NOTREADY", "SANDBOX_NOTREADY"]);
        assert_eq!(words(&container), ["CONTAINER_RUNNING", "CONTAINER_EXITED", "CONTAINER_EXITED"]);
        assert_eq!(container.status(Some(TaskState::Created)), "CONTAINER_CREATED");
    }

    #[test]
    fn a_pod_is_listed_as_long_as_its_sandbox_is_there() {
        let pod = [("io.kubernetes.pod.name", "dns"), ("io.kubernetes.container.name", "dns")];
        let container = |id: &str, sandbox: &str, labels: BTreeMap<String, String>| {
            Container::from(Record { id: id.into(), sandbox: sandbox.into(), labels, ..Record::default() })
        };
        let all = [
            container("old", "", labels(&pod[..1])),
            container("old-dns", "old", labels(&pod)),
            container("new", "", labels(&pod[..1])),
            container("ended", "new", labels(&pod)),
            container("dns", "new", labels(&pod)),
            container("etcd", "", labels(&[])),
        ];
        let alive = |id: &str| matches!(id, "new" | "dns" | "etcd");
        let listed: Vec<&str> = of_ready_pods(&all, alive).map(|container| container.id.as_str()).collect();
        assert_eq!(listed, ["new", "ended", "dns"]);
    }

    #[test]
    fn tells_sandboxes_containers_and_others_apart() {
        let pod = [("io.kubernetes.pod.name", "dns"), ("io.kubernetes.pod.namespace", "kube-system")];
        let sandbox = PodContainer::from_labels(&labels(&pod)).unwrap();
        assert_eq!(
            (sandbox.role.clone(), sandbox.display_id("x").as_str()),
            (PodRole::Sandbox, "kube-system/dns")
        );
        let mut all = pod.to_vec();
        all.push(("io.kubernetes.container.name", "coredns"));
        let container = PodContainer::from_labels(&labels(&all)).unwrap();
        assert_eq!(container.display_id("0123456789abcdef"), "kube-system/dns:coredns:0123456789ab");
        assert_eq!(PodContainer::from_labels(&labels(&[("a", "b")])), None);
    }
}
