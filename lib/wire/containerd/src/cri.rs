//! The few questions asked through the Container Runtime Interface: pods, their log files, stopping them all.

use std::collections::BTreeMap;
use std::time::Duration;

use tonic::transport::Channel;

use crate::client::{CALL, MESSAGE};
use crate::error::Error;
use crate::pods::Pod;
use crate::wire::runtime::v1 as wire;
use wire::runtime_service_client::RuntimeServiceClient;

/// The kubelet's view of the daemon.
#[derive(Clone, Debug)]
pub struct Cri {
    channel: Channel,
}

/// A condition of the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `RuntimeReady` or `NetworkReady`.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// Why not.
    pub message: String,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id, which is also the id of its container record.
    pub id: String,
    /// Which pod.
    pub pod: Pod,
    /// How often it was made anew.
    pub attempt: u32,
    /// Whether it is ready.
    pub ready: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// State of a pod's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited,
    /// The runtime does not know.
    Unknown,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainerInfo {
    /// Its id.
    pub id: String,
    /// Id of its pod's sandbox.
    pub sandbox: String,
    /// Name within the pod.
    pub name: String,
    /// How often it was made anew.
    pub attempt: u32,
    /// Image as the pod names it.
    pub image: String,
    /// State.
    pub state: State,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// What only the status of a container tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// File that its output is written to, one `TIME STREAM FLAG TEXT` a line; empty when there is none.
    pub log_path: String,
    /// State.
    pub state: State,
    /// Exit status, once it has ended.
    pub exit_code: i32,
    /// Short word for why it ended.
    pub reason: String,
}

impl Cri {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE)
    }

    /// Conditions of the runtime.
    ///
    /// # Errors
    /// When containerd is away or its CRI part is not loaded.
    pub async fn conditions(&self) -> Result<Vec<Condition>, Error> {
        let request = limited(wire::StatusRequest::default(), CALL);
        let answer = self.runtime().status(request).await.map_err(Error::call("tell the state of", "cri"))?;
        let conditions = answer.into_inner().status.unwrap_or_default().conditions;
        let condition =
            |it: wire::RuntimeCondition| Condition { name: it.r#type, holds: it.status, message: it.message };
        Ok(conditions.into_iter().map(condition).collect())
    }

    /// All pods.
    ///
    /// # Errors
    /// When containerd is away or its CRI part is not loaded.
    pub async fn sandboxes(&self) -> Result<Vec<Sandbox>, Error> {
        let request = limited(wire::ListPodSandboxRequest::default(), CALL);
        let answer = self.runtime().list_pod_sandbox(request).await.map_err(Error::call("list", "pods"))?;
        Ok(answer.into_inner().items.into_iter().map(Sandbox::from).collect())
    }

    /// All containers of all pods.
    ///
    /// # Errors
    /// When containerd is away or its CRI part is not loaded.
    pub async fn containers(&self) -> Result<Vec<PodContainerInfo>, Error> {
        let request = limited(wire::ListContainersRequest::default(), CALL);
        let answer = self
            .runtime()
            .list_containers(request)
            .await
            .map_err(Error::call("list", "containers of pods"))?;
        Ok(answer.into_inner().containers.into_iter().map(PodContainerInfo::from).collect())
    }

    /// Status of one container.
    ///
    /// # Errors
    /// When it is absent or containerd is away.
    pub async fn container_status(&self, id: &str) -> Result<ContainerStatus, Error> {
        let request = wire::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self
            .runtime()
            .container_status(limited(request, CALL))
            .await
            .map_err(Error::call("tell the status of", id))?;
        let status = answer.into_inner().status.ok_or_else(|| Error::answer(id, "no status in it"))?;
        Ok(ContainerStatus {
            state: state(status.state()),
            log_path: status.log_path,
            exit_code: status.exit_code,
            reason: status.reason,
        })
    }

    /// Stops a container, with SIGKILL after `grace`.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = wire::StopContainerRequest { container_id: id.to_owned(), timeout };
        let request = limited(request, grace.saturating_add(CALL));
        self.runtime().stop_container(request).await.map(drop).map_err(Error::call("stop container", id))
    }

    /// Stops a pod: kills what still runs in it and gives its network back.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn stop_sandbox(&self, id: &str) -> Result<(), Error> {
        let request = limited(wire::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }, CALL * 2);
        self.runtime().stop_pod_sandbox(request).await.map(drop).map_err(Error::call("stop pod", id))
    }

    /// Removes a pod and its containers.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn remove_sandbox(&self, id: &str) -> Result<(), Error> {
        let request = limited(wire::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() }, CALL * 2);
        self.runtime().remove_pod_sandbox(request).await.map(drop).map_err(Error::call("remove pod", id))
    }
}

fn limited<T>(message: T, limit: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

const fn state(state: wire::ContainerState) -> State {
    match state {
        wire::ContainerState::ContainerCreated => State::Created,
        wire::ContainerState::ContainerRunning => State::Running,
        wire::ContainerState::ContainerExited => State::Exited,
        wire::ContainerState::ContainerUnknown => State::Unknown,
    }
}

impl From<wire::PodSandbox> for Sandbox {
    fn from(item: wire::PodSandbox) -> Self {
        let ready = item.state() == wire::PodSandboxState::SandboxReady;
        let metadata = item.metadata.unwrap_or_default();
        let pod = Pod { namespace: metadata.namespace, name: metadata.name, uid: metadata.uid };
        Self { id: item.id, pod, attempt: metadata.attempt, ready, labels: item.labels }
    }
}

impl From<wire::Container> for PodContainerInfo {
    fn from(item: wire::Container) -> Self {
        let state = state(item.state());
        let metadata = item.metadata.unwrap_or_default();
        Self {
            id: item.id,
            sandbox: item.pod_sandbox_id,
            name: metadata.name,
            attempt: metadata.attempt,
            image: item.image.unwrap_or_default().image,
            state,
            labels: item.labels,
        }
    }
}
