//! Logs of the containers in `kube-system`, and which controllers read and write what.

use std::collections::BTreeMap;

use corten_api::common::ContainerDriver;
use corten_api::machine::{ContainerInfo, ContainersRequest};
use tonic::Status;

use super::{Inquiry, Sink};
use crate::archive::segment;
use crate::graph;

/// Where containerd has the pods.
const KUBERNETES: &str = "k8s.io";
/// The namespace whose containers are asked for.
const NAMESPACE: &str = "kube-system";
/// State of the container that holds a pod's network; it says nothing.
const SANDBOX: &str = "SANDBOX_READY";
/// Containers whose logs are asked for.
const CONTAINERS_MAX: usize = 64;

impl<S: Sink> Inquiry<'_, S> {
    pub(super) async fn pods(&mut self) {
        // A machine without Kubernetes has no container runtime that could be asked.
        if !self.vitals.services.iter().any(|service| service.id == "kubelet") {
            return;
        }
        let request =
            ContainersRequest { namespace: KUBERNETES.to_owned(), driver: ContainerDriver::Cri.into() };
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.containers(request).await?.into_inner()) };
        let Some(answer) = self.ask("containers", question).await else { return };
        let all = answer.messages.into_iter().flat_map(|message| message.containers).filter(is_wanted);
        let mut names: BTreeMap<String, u32> = BTreeMap::new();
        for container in all.take(CONTAINERS_MAX) {
            let ended = if container.pid == 0 { "-exited" } else { "" };
            let name = format!("{}{ended}", segment(&container.name));
            let count = names.entry(name.clone()).or_default();
            *count += 1;
            // Pods of several nodes have containers of the same name, and each has those that ended.
            let number = if *count == 1 { String::new() } else { format!("-{count}") };
            let file = format!("kubernetes-logs/{NAMESPACE}/{name}{number}.log");
            let open = self.log(KUBERNETES, ContainerDriver::Cri, &container.id);
            self.file(&format!("log of {}", container.id), &file, open).await;
        }
    }

    pub(super) async fn controllers(&mut self) {
        let mut api = self.client.inspect();
        let question =
            async move { Ok::<_, Status>(api.controller_runtime_dependencies(()).await?.into_inner()) };
        if let Some(answer) = self.ask("controllers", question).await {
            let edges: Vec<_> = answer.messages.into_iter().flat_map(|message| message.edges).collect();
            self.part("dependencies.dot", graph::dot(&edges).into_bytes()).await;
        }
    }
}

fn is_wanted(container: &ContainerInfo) -> bool {
    container.status != SANDBOX && container.pod_id.starts_with(&format!("{NAMESPACE}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_of_the_control_plane_are_wanted_and_those_that_hold_a_network_are_not() {
        let container = |pod: &str, status: &str| ContainerInfo {
            pod_id: pod.into(),
            status: status.into(),
            ..ContainerInfo::default()
        };
        assert!(is_wanted(&container("kube-system/coredns-1", "CONTAINER_EXITED")));
        assert!(!is_wanted(&container("kube-system/coredns-1", SANDBOX)));
        assert!(!is_wanted(&container("default/web", "CONTAINER_RUNNING")));
    }
}
