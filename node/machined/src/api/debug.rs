//! Containers for debugging a machine: signed, for a time, and never unnoticed.
//!
//! ```text
//! specification ─▶ image is here ─▶ a trusted key has signed it ─▶ mark, event ─▶ container ⇄ client
//!                                                                                └▶ expiry, exit or silence ends it
//! ```
//! Keys are files in `/etc/debug/keys`, which the configuration writes (EtcFileConfig). Whoever may run a container here
//! may do everything with the machine, so the machine says from then on that it was touched (`get touched`).

mod container;
mod marks;
mod session;
mod signed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use corten_api::machine::debug_container_run_request::Request as Input;
use corten_api::machine::debug_service_server::DebugService;
use corten_api::machine::service_state_event::Action;
use corten_api::machine::{
    DebugContainerRunRequest, DebugContainerRunRequestSpec, DebugContainerRunResponse, ServiceStateEvent,
};
use corten_base::{Clock, Rng, Task, chain, paths, spawn};
use corten_containerd::{
    Client, NewContainer, Pipes, PullOptions, Rootfs, RuntimeOptions, SYSTEM, reference,
};
use corten_resource::State;
use corten_resources::block::{VolumeMountStatus, VolumeStatus};
use corten_resources::runtime::DebugSession;
use corten_resources::service::Service;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use self::container::{Ends, LABEL, Sees};
use self::marks::Marks;
use self::session::Session;
use super::images::{Place, REGISTRY_HOSTS, Store};
use super::stream::{Reply, Sender};
use super::workloads::to_status;
use crate::events::Events;
use crate::services::Services;
use crate::services::backend::container::missing_capabilities;

/// Sessions at once.
const SESSIONS_MAX: usize = 4;
/// Messages that wait for a client.
const RESPONSES_MAX: usize = 16;
/// Time to end what an earlier machined has left.
const SWEEP_GRACE: Duration = Duration::from_secs(5);
const SIGTERM: u32 = 15;
/// The service that is the containerd of Kubernetes, whose containers outlive a boot.
const KUBERNETES: &str = "cri";

/// The debug service.
#[derive(Clone)]
pub struct Debug(Arc<Inner>);

struct Inner {
    state: State,
    services: Services,
    events: Events,
    clock: Clock,
    rng: Rng,
    marks: Marks,
    sessions: Mutex<BTreeMap<String, Task>>,
}

/// A session whose container is made and marked.
struct Begun {
    /// The place, which keeps its containerd for as long as the session lasts.
    store: Store,
    mark: DebugSession,
    pipes: Pipes,
    session: Session,
}

impl Debug {
    /// A service without sessions.
    #[must_use]
    pub fn new(state: State, services: Services, events: Events, clock: Clock, rng: Rng) -> Self {
        let marks = Marks::new(state.clone());
        Self(Arc::new(Inner { state, services, events, clock, rng, marks, sessions: Mutex::default() }))
    }

    /// Ends what an earlier machined has left running, and shows what was kept of earlier sessions once the volume of logs
    /// is there. What an earlier boot has left in the containerd of Kubernetes is removed when that runs.
    pub async fn resume(self) {
        for socket in [paths::CRI_SOCKET, paths::CONTAINERD_SOCKET] {
            if Path::new(socket).exists() {
                self.sweep(socket).await;
            }
        }
        self.0.state.wait_for::<VolumeMountStatus>(VolumeStatus::EPHEMERAL, |mount| mount.is_some()).await;
        self.0.marks.load(&self.0.clock);
        let runs = |service: Option<&Service>| service.is_some_and(|service| service.healthy);
        self.0.state.wait_for::<Service>(KUBERNETES, runs).await;
        self.sweep(paths::CRI_SOCKET).await;
    }

    async fn sweep(&self, socket: &str) {
        if let Err(error) = self.try_sweep(socket).await {
            tracing::warn!(socket, "debug containers were not ended: {}", chain(&error));
        }
    }

    async fn try_sweep(&self, socket: &str) -> Result<(), corten_containerd::Error> {
        let namespace = Client::lazy(socket).namespace(SYSTEM)?;
        for container in namespace.list_containers().await? {
            let is_ours = container.labels.contains_key(LABEL.0);
            if is_ours && !self.0.sessions.lock().contains_key(&container.id) {
                namespace.destroy_container(&container.id, SIGTERM, SWEEP_GRACE).await?;
            }
        }
        Ok(())
    }

    /// A session, if there is a place for one; whether it has begun comes later. It runs for itself from here on: a client
    /// that goes away while its container is made would leave behind what nobody ends.
    fn admit(
        &self,
        spec: DebugContainerRunRequestSpec,
        requests: Streaming<DebugContainerRunRequest>,
        sender: Sender<DebugContainerRunResponse>,
    ) -> Result<oneshot::Receiver<Result<(), Status>>, Status> {
        let mut sessions = self.0.sessions.lock();
        sessions.retain(|_, task| !task.is_finished());
        if sessions.len() >= SESSIONS_MAX {
            return Err(Status::resource_exhausted(format!("{SESSIONS_MAX} debug containers run already")));
        }
        let id = format!("debug-{}", &self.0.rng.uuid()[..8]);
        let (told, begun) = oneshot::channel();
        let (this, name) = (self.clone(), id.clone());
        let task = spawn("debug session", async move {
            match this.begin(&name, spec, requests, sender).await {
                Ok(begun) => this.run(&name, begun, told).await,
                Err(status) => drop(told.send(Err(status))),
            }
        });
        sessions.insert(id, task);
        Ok(begun)
    }

    /// Starts the container and stays with it until it is gone. Whether it has started is told; a client that has gone away
    /// meanwhile is noticed by the session.
    async fn run(&self, id: &str, begun: Begun, told: oneshot::Sender<Result<(), Status>>) {
        let Begun { store, mark, pipes, session } = begun;
        let outcome = match store.namespace.start_task_with(id, &pipes).await {
            Ok(_) => {
                let _ = told.send(Ok(()));
                session.run().await.describe()
            }
            Err(error) => {
                let _ = told.send(Err(to_status(&error)));
                // It may run nevertheless, if it is the answer that was lost.
                session::remove(&store.namespace, id).await;
                format!("did not start: {}", chain(&error))
            }
        };
        self.end(id, mark, outcome);
    }

    /// Everything up to a container that can be started.
    async fn begin(
        &self,
        id: &str,
        spec: DebugContainerRunRequestSpec,
        requests: Streaming<DebugContainerRunRequest>,
        sender: Sender<DebugContainerRunResponse>,
    ) -> Result<Begun, Status> {
        let sees = Sees::of(spec.profile())?;
        let time = container::time(&spec.env)?;
        let store = Store::open(&self.0.services, Place::of(spec.containerd.as_ref())?).await?;
        let (image, signed_by) = find_signed(&store, &spec.image_name).await?;
        if sender.is_closed() {
            return Err(Status::cancelled("the client went away"));
        }
        let broken = |error: std::io::Error| Status::internal(format!("no pipes for the container: {error}"));
        let (ends, pipes) = Ends::make(id, spec.tty).map_err(broken)?;
        self.create(&store, id, &image, sees, &spec).await?;
        let started = self.0.clock.now();
        let mark = DebugSession {
            image: image.clone(),
            signed_by,
            profile: sees.name().to_owned(),
            started: Some(started),
            expires: started.checked_add(time),
            ..DebugSession::default()
        };
        // The mark is there before anything runs.
        self.0.marks.keep(id, &mark);
        let text = format!("Debug container of {image} started, profile {}, for {time:?}", sees.name());
        self.tell(id, Action::Running, text);
        let session = Session {
            id: id.to_owned(),
            heading: format!("# {image} {:?}\n", spec.args),
            namespace: store.namespace.clone(),
            ends,
            terminal: spec.tty,
            time,
            requests,
            sender,
        };
        Ok(Begun { store, mark, pipes, session })
    }

    async fn create(
        &self,
        store: &Store,
        id: &str,
        image: &str,
        sees: Sees,
        spec: &DebugContainerRunRequestSpec,
    ) -> Result<(), Status> {
        let config = store.namespace.image_config(image).await.map_err(|error| to_status(&error))?;
        let missing = missing_capabilities();
        let container = NewContainer {
            id: id.to_owned(),
            rootfs: Rootfs::Image(image.to_owned()),
            spec: container::spec(id, &config, sees, &spec.args, &spec.env, spec.tty, &missing),
            labels: [(LABEL.0.to_owned(), LABEL.1.to_owned())].into(),
            runtime: RuntimeOptions { binary: "/usr/bin/runc".to_owned(), ..RuntimeOptions::default() },
        };
        store.namespace.create_container(&container).await.map_err(|error| to_status(&error))
    }

    fn end(&self, id: &str, mark: DebugSession, outcome: String) {
        self.tell(id, Action::Finished, format!("Debug container {outcome}"));
        let ended = Some(self.0.clock.now());
        self.0.marks.keep(id, &DebugSession { ended, outcome, ..mark });
    }

    /// Says what happens in the events and in the log of the machine, which the evidence keeps.
    fn tell(&self, id: &str, action: Action, message: String) {
        tracing::warn!(session = id, "{message}");
        let event =
            ServiceStateEvent { service: id.to_owned(), action: action.into(), message, health: None };
        self.0.events.publish("", &event);
    }
}

/// The image by digest and the key that has signed it. What was not pulled or imported before is not looked for.
async fn find_signed(store: &Store, name: &str) -> Result<(String, String), Status> {
    let name = reference::normalize(name);
    let missing = |error: corten_containerd::Error| {
        if error.is_not_found() {
            return Status::not_found(format!("{name} is not on this machine; pull or import it first"));
        }
        to_status(&error)
    };
    let image = store.namespace.image(&name).await.map_err(missing)?;
    let pinned = reference::pinned(&name, &image.digest);
    let keys = signed::keys(Path::new(signed::KEYS));
    let options = PullOptions { hosts: Some(PathBuf::from(REGISTRY_HOSTS)), ..PullOptions::default() };
    // Without a key nobody is asked for signatures.
    let signatures = if keys.is_empty() {
        Vec::new()
    } else {
        let found = store.namespace.signatures(&name, &image.digest, &options).await;
        found.unwrap_or_else(|error| {
            tracing::warn!(image = pinned, "no signatures were found: {}", chain(&error));
            Vec::new()
        })
    };
    let signed_by = signed::check(&keys, &pinned, &image.digest, &signatures);
    let signed_by = signed_by.map_err(|refused| Status::failed_precondition(refused.to_string()))?;
    if pinned != name {
        // The name may be given to another image meanwhile; a digest means this one for ever.
        store.namespace.tag_image(&name, &pinned).await.map_err(|error| to_status(&error))?;
    }
    let same = store.namespace.image(&pinned).await.map_err(|error| to_status(&error))?;
    if same.digest != image.digest {
        return Err(Status::aborted(format!("{name} was replaced meanwhile; try again")));
    }
    Ok((pinned, signed_by))
}

#[async_trait]
impl DebugService for Debug {
    type ContainerRunStream = Reply<DebugContainerRunResponse>;

    async fn container_run(
        &self,
        request: Request<Streaming<DebugContainerRunRequest>>,
    ) -> Result<Response<Self::ContainerRunStream>, Status> {
        let mut requests = request.into_inner();
        let Some(Input::Spec(spec)) = requests.message().await?.and_then(|first| first.request) else {
            return Err(Status::invalid_argument(
                "the first message must be the specification of the container",
            ));
        };
        let (sender, receiver) = mpsc::channel(RESPONSES_MAX);
        let begun = self.admit(spec, requests, sender)?.await;
        begun.map_err(|_| Status::internal("the debug container failed before it began"))??;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use corten_api::common::{ContainerDriver, ContainerdInstance, ContainerdNamespace};
    use corten_api::machine::debug_container_run_request_spec::Profile;
    use corten_api::machine::debug_service_server::DebugServiceServer;
    use corten_relay::frame;
    use corten_resources::service::ServiceSpec;
    use futures::FutureExt as _;
    use http_body_util::Full;
    use prost::Message as _;
    use tonic::body::Body;
    use tonic::codegen::http;
    use tower_service::Service as _;

    use super::super::Parts;
    use super::*;

    /// The message that asks for a container in the system's own containerd.
    fn wish() -> Bytes {
        let containerd = ContainerdInstance {
            driver: ContainerDriver::Containerd.into(),
            namespace: ContainerdNamespace::NsSystem.into(),
        };
        let spec = DebugContainerRunRequestSpec {
            containerd: Some(containerd),
            image_name: "debug".to_owned(),
            profile: Profile::Privileged.into(),
            ..DebugContainerRunRequestSpec::default()
        };
        frame::encode(&DebugContainerRunRequest { request: Some(Input::Spec(spec)) }.encode_to_vec())
    }

    async fn ask(debug: &Debug) -> Option<Status> {
        let request = http::Request::post("/machine.DebugService/ContainerRun")
            .header("content-type", "application/grpc")
            .body(Body::new(Full::new(wish())))
            .expect("a request");
        let mut service = DebugServiceServer::new(debug.clone());
        let mut answer = std::pin::pin!(service.call(request));
        for _ in 0..100 {
            if let Some(answer) = answer.as_mut().now_or_never() {
                return Status::from_header_map(answer.expect("an answer").headers());
            }
            tokio::task::yield_now().await;
        }
        // The client goes away.
        None
    }

    #[tokio::test]
    async fn a_session_has_its_place_from_the_beginning_and_keeps_it_when_its_client_goes_away() {
        let parts = Parts::for_tests();
        // It does not come up, so that every session waits for it.
        parts.state.put("", "containerd", ServiceSpec::default()).expect("a service");
        for _ in 0..SESSIONS_MAX {
            assert!(ask(&parts.debug).await.is_none(), "it waits for containerd");
        }
        let running = parts.debug.0.sessions.lock().values().filter(|task| !task.is_finished()).count();
        assert_eq!(running, SESSIONS_MAX);
        let refused = ask(&parts.debug).await.expect("an answer");
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    }
}
