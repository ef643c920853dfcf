//! Containers and images of the machine's containerd instances.

use std::path::PathBuf;
use std::time::Duration;

use corten_api::common::{ContainerDriver, ContainerdInstance, ContainerdNamespace};
use corten_api::machine::{
    Container, ContainerInfo, ContainersRequest, ContainersResponse, ImageListRequest, ImageListResponse,
    ImagePull, ImagePullRequest, ImagePullResponse, ImageServiceListRequest, ImageServiceListResponse,
    ImageServicePullLayerProgress, ImageServicePullProgress, ImageServicePullRequest,
    ImageServicePullResponse, ImageServiceRemoveRequest, Restart, RestartRequest, RestartResponse, Stat,
    Stats, StatsRequest, StatsResponse, image_service_pull_layer_progress as layer,
    image_service_pull_response,
};
use corten_base::paths;
use corten_containerd::{Client, Kind, Namespace, PodContainer, PodRole, Progress, PullOptions, TaskState};
use tonic::Status;

use super::stream::{self, Reply, Sender};

const STOP_GRACE: Duration = Duration::from_secs(10);
const REGISTRY_HOSTS: &str = "/etc/cri/conf.d/hosts";

fn to_status(error: &corten_containerd::Error) -> Status {
    let text = corten_base::chain(error);
    match error.kind() {
        Kind::NotFound => Status::not_found(text),
        Kind::Unavailable => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

fn client(driver: ContainerDriver) -> Client {
    match driver {
        ContainerDriver::Containerd => Client::lazy(paths::CONTAINERD_SOCKET),
        ContainerDriver::Cri => Client::lazy(paths::CRI_SOCKET),
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

/// Containers with their state.
pub async fn containers(request: &ContainersRequest) -> Result<ContainersResponse, Status> {
    let namespace = namespace(&request.namespace, request.driver())?;
    let found = namespace.list_containers().await.map_err(|error| to_status(&error))?;
    let tasks = namespace.list_tasks().await.map_err(|error| to_status(&error))?;
    let containers = found.into_iter().map(|container| {
        let task = tasks.iter().find(|task| task.id == container.id);
        let pod = PodContainer::from_labels(&container.labels);
        let named = pod.as_ref().map_or_else(|| container.id.clone(), |pod| pod.display_id(&container.id));
        ContainerInfo {
            namespace: request.namespace.clone(),
            id: named,
            uid: pod.as_ref().map(|pod| pod.pod.uid.clone()).unwrap_or_default(),
            internal_id: container.id.clone(),
            image: container.image.clone(),
            pid: task.map(|task| task.pid).unwrap_or_default(),
            status: task.map_or("UNKNOWN", |task| task.state.as_str()).to_owned(),
            pod_id: pod_id(pod.as_ref()),
            name: container_name(pod.as_ref(), &container.id),
            ..ContainerInfo::default()
        }
    });
    let containers = containers.collect();
    Ok(ContainersResponse { messages: vec![Container { containers, ..Container::default() }] })
}

fn pod_id(pod: Option<&PodContainer>) -> String {
    pod.map(|pod| format!("{}/{}", pod.pod.namespace, pod.pod.name)).unwrap_or_default()
}

fn container_name(pod: Option<&PodContainer>, id: &str) -> String {
    match pod.map(|pod| &pod.role) {
        Some(PodRole::Container(name)) => name.clone(),
        Some(PodRole::Sandbox) => String::new(),
        None => id.to_owned(),
    }
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
    let named = |container: &corten_containerd::Container| {
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
    let cri = client(ContainerDriver::Cri).cri();
    cri.stop_container(&id, STOP_GRACE).await.map_err(|error| to_status(&error))?;
    Ok(RestartResponse { messages: vec![Restart::default()] })
}

/// The log file of a pod's container.
pub async fn log_path(namespace_name: &str, id: &str) -> Result<PathBuf, Status> {
    let namespace = namespace(namespace_name, ContainerDriver::Containerd)?;
    let id = resolve(&namespace, id).await?;
    let cri = client(ContainerDriver::Cri).cri();
    let status = cri.container_status(&id).await.map_err(|error| to_status(&error))?;
    if status.log_path.is_empty() {
        return Err(Status::not_found(format!("container \"{id}\" has no log")));
    }
    Ok(PathBuf::from(status.log_path))
}

fn image_namespace(namespace: ContainerdNamespace) -> Result<Namespace, Status> {
    let name = match namespace {
        ContainerdNamespace::NsSystem => corten_containerd::SYSTEM,
        ContainerdNamespace::NsCri => corten_containerd::KUBERNETES,
        ContainerdNamespace::NsUnknown => {
            return Err(Status::invalid_argument("a containerd namespace is required: system or cri"));
        }
    };
    Client::lazy(paths::CRI_SOCKET).namespace(name).map_err(|error| to_status(&error))
}

fn instance_namespace(instance: Option<&ContainerdInstance>) -> Result<Namespace, Status> {
    let instance = instance.ok_or_else(|| Status::invalid_argument("a containerd instance is required"))?;
    image_namespace(instance.namespace())
}

/// Images, as older clients ask for them.
pub async fn image_list(request: ImageListRequest) -> Result<Reply<ImageListResponse>, Status> {
    let images =
        image_namespace(request.namespace())?.list_images().await.map_err(|error| to_status(&error))?;
    Ok(stream::from_task(move |sender: Sender<ImageListResponse>| async move {
        for image in images {
            let message = ImageListResponse {
                name: image.name,
                digest: image.digest,
                size: image.target_size,
                created_at: image.created.map(Into::into),
                ..ImageListResponse::default()
            };
            if sender.send(Ok(message)).await.is_err() {
                break;
            }
        }
        Ok(())
    }))
}

/// Pulls an image, as older clients ask for it.
pub async fn image_pull(request: &ImagePullRequest) -> Result<ImagePullResponse, Status> {
    let namespace = image_namespace(request.namespace())?;
    pull(&namespace, &request.reference, |_| {}).await?;
    Ok(ImagePullResponse { messages: vec![ImagePull::default()] })
}

async fn pull(
    namespace: &Namespace,
    reference: &str,
    progress: impl FnMut(Progress) + Send,
) -> Result<(), Status> {
    let reference = corten_containerd::reference::normalize(reference);
    let options = PullOptions { hosts: Some(PathBuf::from(REGISTRY_HOSTS)), ..PullOptions::default() };
    namespace.pull(&reference, &options, progress).await.map_err(|error| to_status(&error))
}

/// The image service.
#[derive(Clone, Copy, Debug)]
pub struct Images;

impl Images {
    /// Images of one instance.
    pub async fn list_images(
        &self,
        request: ImageServiceListRequest,
    ) -> Result<Reply<ImageServiceListResponse>, Status> {
        let namespace = instance_namespace(request.containerd.as_ref())?;
        let images = namespace.list_images().await.map_err(|error| to_status(&error))?;
        Ok(stream::from_task(move |sender: Sender<ImageServiceListResponse>| async move {
            for image in images {
                let message = ImageServiceListResponse {
                    name: image.name,
                    digest: image.digest,
                    size: image.target_size,
                    created_at: image.created.map(Into::into),
                    labels: image.labels.into_iter().collect(),
                };
                if sender.send(Ok(message)).await.is_err() {
                    break;
                }
            }
            Ok(())
        }))
    }

    /// Pulls an image and tells how it goes; the last message names it.
    pub async fn pull_image(
        &self,
        request: ImageServicePullRequest,
    ) -> Result<Reply<ImageServicePullResponse>, Status> {
        let namespace = instance_namespace(request.containerd.as_ref())?;
        Ok(stream::from_task(move |sender: Sender<ImageServicePullResponse>| async move {
            let reporter = sender.clone();
            pull(&namespace, &request.image_ref, |progress| {
                // A slow client misses progress, it never slows the pull down.
                if let Some(message) = layer_progress(progress) {
                    let _ = reporter.try_send(Ok(message));
                }
            })
            .await?;
            let name = corten_containerd::reference::normalize(&request.image_ref);
            let response = Some(image_service_pull_response::Response::Name(name));
            let _ = sender.send(Ok(ImageServicePullResponse { response })).await;
            Ok(())
        }))
    }

    /// Forgets an image.
    pub async fn remove_image(&self, request: ImageServiceRemoveRequest) -> Result<(), Status> {
        let namespace = instance_namespace(request.containerd.as_ref())?;
        namespace.remove_image(&request.image_ref).await.map_err(|error| to_status(&error))
    }
}

fn layer_progress(progress: Progress) -> Option<ImageServicePullResponse> {
    let status = match progress.event.as_str() {
        "downloading" => layer::Status::Downloading,
        "complete" => layer::Status::DownloadComplete,
        "extracting" => layer::Status::Extracting,
        "extracted" => layer::Status::ExtractComplete,
        "already exists" => layer::Status::AlreadyExists,
        _ => return None,
    };
    let progress = ImageServicePullProgress {
        layer_id: progress.digest,
        progress: Some(ImageServicePullLayerProgress {
            status: status.into(),
            offset: progress.done,
            total: progress.total,
            ..ImageServicePullLayerProgress::default()
        }),
    };
    Some(ImageServicePullResponse {
        response: Some(image_service_pull_response::Response::PullProgress(progress)),
    })
}
