//! Containers of the machine and of its pods, which both run in the containerd of Kubernetes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use corten_api::common::ContainerDriver;
use corten_api::machine::{
    Container as ContainersMessage, ContainerInfo, ContainersRequest, ContainersResponse, Restart,
    RestartRequest, RestartResponse, Stat, Stats, StatsRequest, StatsResponse,
};
use corten_base::paths;
use corten_containerd::spec::Spec;
use corten_containerd::{
    Client, Container, Kind, Namespace, PodContainer, PodRole, Task, TaskState, of_ready_pods,
};
use tonic::Status;

const STOP_GRACE: Duration = Duration::from_secs(10);
/// Where the CNI plugins name network namespaces; also said with `/var` before it.
const NETWORK_NAMESPACES: &str = "/run/netns/";

/// containerd's refusal as the API tells it.
pub(super) fn to_status(error: &corten_containerd::Error) -> Status {
    let text = corten_base::chain(error);
    match error.kind() {
        Kind::NotFound => Status::not_found(text),
        Kind::Unavailable => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

/// The namespace a request means.
fn namespace(name: &str, driver: ContainerDriver) -> Result<Namespace, Status> {
    if name.is_empty() {
        return Err(Status::invalid_argument("a namespace is required: system or k8s.io"));
    }
    if driver == ContainerDriver::Cri && name != corten_containerd::KUBERNETES {
        return Err(Status::invalid_argument("the CRI driver has the namespace k8s.io only"));
    }
    // etcd and kubelet live in the `system` namespace of the Kubernetes containerd.
    Client::lazy(paths::CRI_SOCKET).namespace(name).map_err(|error| to_status(&error))
}

/// Containers with their state: with CRI those of pods that are there, ended ones too; with containerd those with a task.
pub async fn containers(request: &ContainersRequest) -> Result<ContainersResponse, Status> {
    let namespace = namespace(&request.namespace, request.driver())?;
    let found = namespace.list_containers().await.map_err(|error| to_status(&error))?;
    let tasks = namespace.list_tasks().await.map_err(|error| to_status(&error))?;
    let tasks: HashMap<String, Task> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
    let is_alive = |id: &str| tasks.get(id).is_some_and(|task| task.state.is_alive());
    let info = |container: &Container| {
        let task = tasks.get(&container.id);
        let pod = PodContainer::from_labels(&container.labels);
        let named = pod.as_ref().map_or_else(|| container.id.clone(), |pod| pod.display_id(&container.id));
        ContainerInfo {
            namespace: request.namespace.clone(),
            id: named,
            uid: pod.as_ref().map(|pod| pod.pod.uid.clone()).unwrap_or_default(),
            internal_id: container.id.clone(),
            image: container.image.clone(),
            pid: task.map(|task| task.pid).unwrap_or_default(),
            status: status(request.driver(), pod.as_ref(), task.map(|task| task.state)).to_owned(),
            pod_id: pod_id(pod.as_ref()),
            name: container_name(pod.as_ref(), &container.id),
            network_namespace: container.spec().map(|spec| network_namespace(&spec)).unwrap_or_default(),
        }
    };
    let containers = match request.driver() {
        ContainerDriver::Cri => of_ready_pods(&found, is_alive).map(info).collect(),
        ContainerDriver::Containerd => {
            found.iter().filter(|container| tasks.contains_key(&container.id)).map(info).collect()
        }
    };
    Ok(ContainersResponse {
        messages: vec![ContainersMessage { containers, ..ContainersMessage::default() }],
    })
}

/// State of a container in the words of the driver that was asked.
fn status(driver: ContainerDriver, pod: Option<&PodContainer>, task: Option<TaskState>) -> &'static str {
    match pod {
        Some(pod) if driver == ContainerDriver::Cri => pod.role.status(task),
        _ => task.map_or("UNKNOWN", TaskState::as_str),
    }
}

fn pod_id(pod: Option<&PodContainer>) -> String {
    pod.map(|pod| format!("{}/{}", pod.pod.namespace, pod.pod.name)).unwrap_or_default()
}

fn container_name(pod: Option<&PodContainer>, id: &str) -> String {
    match pod.map(|pod| &pod.role) {
        Some(PodRole::Container(name)) => name.clone(),
        Some(PodRole::Sandbox) => pod_id(pod),
        None => id.to_owned(),
    }
}

/// Name of the network namespace that a container has from the CNI plugins, as `Netstat` knows it; empty for one that
/// has that of the machine, or of another container.
fn network_namespace(spec: &Spec) -> String {
    let network = spec.linux.namespaces.iter().find(|namespace| namespace.kind == "network");
    let path = network.map(|network| network.path.as_str()).unwrap_or_default();
    let name = path.strip_prefix("/var").unwrap_or(path).strip_prefix(NETWORK_NAMESPACES);
    name.unwrap_or_default().to_owned()
}

/// Memory and processor time of containers.
pub async fn stats(request: &StatsRequest) -> Result<StatsResponse, Status> {
    let namespace = namespace(&request.namespace, request.driver())?;
    let found = namespace.list_containers().await.map_err(|error| to_status(&error))?;
    let usage = namespace.usage().await.map_err(|error| to_status(&error))?;
    let stats = usage.into_iter().filter_map(|usage| {
        let container = found.iter().find(|container| container.id == usage.id)?;
        let pod = PodContainer::from_labels(&container.labels);
        Some(Stat {
            namespace: request.namespace.clone(),
            id: pod.as_ref().map_or_else(|| container.id.clone(), |pod| pod.display_id(&container.id)),
            memory_usage: usage.memory,
            cpu_usage: usage.cpu_nanos,
            pod_id: pod_id(pod.as_ref()),
            name: container_name(pod.as_ref(), &container.id),
        })
    });
    let stats = stats.collect();
    Ok(StatsResponse { messages: vec![Stats { stats, ..Stats::default() }] })
}

/// The container id behind what a client calls it: the id itself or `namespace/pod:container[:short-id]`.
async fn resolve(namespace: &Namespace, id: &str) -> Result<String, Status> {
    let found = namespace.list_containers().await.map_err(|error| to_status(&error))?;
    let named = |container: &Container| {
        let pod = PodContainer::from_labels(&container.labels);
        pod.is_some_and(|pod| {
            let full = pod.display_id(&container.id);
            full == id || full.rsplit_once(':').is_some_and(|(short, _)| short == id)
        })
    };
    let matches: Vec<_> = found.iter().filter(|container| container.id == id || named(container)).collect();
    let running = async {
        for container in &matches {
            let task = namespace.task(&container.id).await.ok().flatten();
            if task.is_some_and(|task| task.state == TaskState::Running) {
                return Some(container.id.clone());
            }
        }
        matches.first().map(|container| container.id.clone())
    };
    running.await.ok_or_else(|| {
        Status::not_found(format!("container \"{id}\" not found; `containers -k` lists those of Kubernetes"))
    })
}

/// Kills a container; its owner starts it again.
pub async fn restart(request: &RestartRequest) -> Result<RestartResponse, Status> {
    let namespace = namespace(&request.namespace, request.driver())?;
    let id = resolve(&namespace, &request.id).await?;
    let cri = Client::lazy(paths::CRI_SOCKET).cri();
    cri.stop_container(&id, STOP_GRACE).await.map_err(|error| to_status(&error))?;
    Ok(RestartResponse { messages: vec![Restart::default()] })
}

/// The log file of a pod's container.
pub async fn log_path(namespace_name: &str, id: &str) -> Result<PathBuf, Status> {
    let namespace = namespace(namespace_name, ContainerDriver::Containerd)?;
    let id = resolve(&namespace, id).await?;
    let cri = Client::lazy(paths::CRI_SOCKET).cri();
    let status = cri.container_status(&id).await.map_err(|error| to_status(&error))?;
    if status.log_path.is_empty() {
        return Err(Status::not_found(format!("container \"{id}\" has no log")));
    }
    Ok(PathBuf::from(status.log_path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_namespace_of_the_cni_plugins_has_a_name() {
        let name = |path: &str| {
            let mut spec = Spec::default();
            let (kind, path) = ("network".to_owned(), path.to_owned());
            spec.linux.namespaces = vec![corten_containerd::spec::Namespace { kind, path }];
            network_namespace(&spec)
        };
        assert_eq!(name("/var/run/netns/cni-1"), "cni-1");
        assert_eq!(name("/run/netns/cni-1"), "cni-1");
        assert_eq!(name("/proc/4711/ns/net"), "");
        assert_eq!(name(""), "");
        assert_eq!(network_namespace(&Spec::default()), "");
    }
}
