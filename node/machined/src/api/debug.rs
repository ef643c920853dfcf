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
use corten_containerd::{Client, NewContainer, PullOptions, Rootfs, RuntimeOptions, SYSTEM, reference};
use corten_resource::State;
use corten_resources::block::{VolumeMountStatus, VolumeStatus};
use corten_resources::runtime::DebugSession;
use parking_lot::Mutex;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use self::container::{Ends, LABEL, Sees};
use self::marks::Marks;
use self::session::Session;
use super::images::{Place, REGISTRY_HOSTS, Store};
use super::stream::Reply;
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

impl Debug {
    /// A service without sessions.
    #[must_use]
    pub fn new(state: State, services: Services, events: Events, clock: Clock, rng: Rng) -> Self {
        let marks = Marks::new(state.clone());
        Self(Arc::new(Inner { state, services, events, clock, rng, marks, sessions: Mutex::default() }))
    }

    /// Ends what an earlier machined has left running, and shows what was kept of earlier sessions once the volume of logs
    /// is there.
    pub async fn resume(self) {
        for socket in [paths::CRI_SOCKET, paths::CONTAINERD_SOCKET] {
            if !Path::new(socket).exists() {
                continue;
            }
            if let Err(error) = self.sweep(socket).await {
                tracing::warn!(socket, "debug containers were not ended: {}", chain(&error));
            }
        }
        self.0.state.wait_for::<VolumeMountStatus>(VolumeStatus::EPHEMERAL, |mount| mount.is_some()).await;
        self.0.marks.load(&self.0.clock);
    }

    async fn sweep(&self, socket: &str) -> Result<(), corten_containerd::Error> {
        let namespace = Client::lazy(socket).namespace(SYSTEM)?;
        for container in namespace.list_containers().await? {
            let is_ours = container.labels.contains_key(LABEL.0);
            if is_ours && !self.0.sessions.lock().contains_key(&container.id) {
                namespace.destroy_container(&container.id, SIGTERM, SWEEP_GRACE).await?;
            }
        }
        Ok(())
    }

    /// Everything up to a container that runs.
    async fn begin(
        &self,
        spec: DebugContainerRunRequestSpec,
        requests: Streaming<DebugContainerRunRequest>,
        sender: super::stream::Sender<DebugContainerRunResponse>,
    ) -> Result<(), Status> {
        let sees = Sees::of(spec.profile())?;
        let time = container::time(&spec.env)?;
        let store = Store::open(&self.0.services, Place::of(spec.containerd.as_ref())?).await?;
        let (image, signed_by) = find_signed(&store, &spec.image_name).await?;
        let id = format!("debug-{}", &self.0.rng.uuid()[..8]);
        let broken = |error: std::io::Error| Status::internal(format!("no pipes for the container: {error}"));
        let (ends, pipes) = Ends::make(&id, spec.tty).map_err(broken)?;
        self.create(&store, &id, &image, sees, &spec).await?;
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
        self.0.marks.keep(&id, &mark);
        let text = format!("Debug container of {image} started, profile {}, for {time:?}", sees.name());
        self.tell(&id, Action::Running, text);
        if let Err(error) = store.namespace.start_task_with(&id, &pipes).await {
            let _ = store.namespace.remove_container(&id).await;
            self.end(&id, mark, format!("did not start: {}", chain(&error)));
            return Err(to_status(&error));
        }
        let session = Session {
            id: id.clone(),
            heading: format!("# {image} {:?}\n", spec.args),
            namespace: store.namespace.clone(),
            ends,
            terminal: spec.tty,
            time,
            requests,
            sender,
        };
        let this = self.clone();
        let name = id.clone();
        let task = spawn("debug session", async move {
            // The place keeps its containerd for as long as the session lasts.
            let _store = store;
            let outcome = session.run().await;
            this.end(&name, mark, outcome.describe());
        });
        self.0.sessions.lock().insert(id, task);
        Ok(())
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
            spec: container::spec(&config, sees, &spec.args, &spec.env, spec.tty, &missing),
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
        {
            let mut sessions = self.0.sessions.lock();
            sessions.retain(|_, task| !task.is_finished());
            if sessions.len() >= SESSIONS_MAX {
                return Err(Status::resource_exhausted(format!(
                    "{SESSIONS_MAX} debug containers run already"
                )));
            }
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(RESPONSES_MAX);
        self.begin(spec, requests, sender).await?;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}
