//! A client that asks the manager what its users ask, and takes the time: signed calls over one connection.
//!
//! ```text
//! labels of 100 machines ─▶ list of the machines with that label, again and again ─▶ how long
//! another value ─▶ 16 watchers of all labels ─▶ until each of them has it
//! ```
//!
//! It runs on the processor of the emulators, so its figures contain what it waits for itself. A list is over when its
//! last resource has come; what a client makes of them is not the manager's doing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use corten_api::cosi::resource as wire;
use corten_api::cosi::resource::state_client::StateClient;
use corten_base::{Rng, Secret};
use corten_config::values::to_base64;
use corten_cosi::Client;
use corten_fleet_auth::ServiceAccountKey;
use corten_fleet_auth::signature::{PAYLOAD, SIGNATURE, TIMESTAMP};
use corten_fleet_resources::machine::{MachineLabels, MachineStatus};
use corten_resource::{
    AnyResource, LabelTerm, Pointer, Query, Spec, Store as _, UpdateOptions, Watch, WatchOptions,
};
use futures::future::{try_join, try_join_all};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{GrpcMethod, Request, Status};

use super::budget::Latency;

/// Label of the machines that lists are filtered for.
const LABEL: &str = "bench";
/// How many machines have it.
const LABELED_MAX: usize = 100;
/// How many lists are asked for.
const LISTS: usize = 200;
/// How many watchers there are, and how many changes each of them sees.
const WATCHERS: usize = 16;
const CHANGES: usize = 100;
/// What one answer may take before the benchmark gives up.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Signs calls as every client does.
#[derive(Clone)]
struct Signer {
    key: Arc<ServiceAccountKey>,
    fingerprint: String,
}

impl Interceptor for Signer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let method = request.extensions().get::<GrpcMethod<'static>>();
        let method = method.map(|method| format!("/{}/{}", method.service(), method.method()));
        let method = method.ok_or_else(|| Status::internal("a call without a method"))?;
        let failed = |error: anyhow::Error| Status::internal(format!("cannot sign: {error:#}"));
        self.sign(&method, request.metadata_mut()).map_err(failed)?;
        Ok(request)
    }
}

impl Signer {
    fn sign(&self, method: &str, metadata: &mut MetadataMap) -> Result<()> {
        let now = SystemTime::now();
        let seconds = now.duration_since(UNIX_EPOCH)?.as_secs().to_string();
        let payload = json!({ "headers": { (TIMESTAMP): [seconds] }, "method": method }).to_string();
        let bytes = self.key.sign(payload.as_bytes(), &Rng::kernel(), now)?;
        let signature = format!("siderov1 {} {} {}", self.key.name(), self.fingerprint, to_base64(bytes));
        for (name, value) in [(TIMESTAMP, seconds), (PAYLOAD, payload), (SIGNATURE, signature)] {
            metadata.insert(name, MetadataValue::<Ascii>::try_from(value).context("no header")?);
        }
        Ok(())
    }
}

/// A client of the manager.
pub struct Probe {
    runtime: Handle,
    /// The runtime's thread ends with this.
    _end: oneshot::Sender<()>,
    channel: Channel,
    signer: Signer,
    client: Client<InterceptedService<Channel, Signer>>,
    labeled: Vec<String>,
}

impl Probe {
    /// A client with this key of the manager at this URL. It connects when it is used.
    pub fn new(url: &str, key: &str) -> Result<Self> {
        let key = ServiceAccountKey::decode(&Secret::new(key.to_owned())).context("the key is none")?;
        let fingerprint = key.public().context("the key has no public half")?.id().to_owned();
        let signer = Signer { key: Arc::new(key), fingerprint };
        let (runtime, end) = awake()?;
        let endpoint = Endpoint::from_shared(url.to_owned()).context("the manager's URL is none")?;
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        let signed = InterceptedService::new(channel.clone(), signer.clone());
        let client = Client::new(signed, corten_fleet_resources::registry());
        Ok(Self { runtime, _end: end, channel, signer, client, labeled: Vec::new() })
    }

    /// All resources of a type.
    pub fn list<S: Spec>(&self, query: &Query) -> Result<Vec<AnyResource>> {
        let kind = kind::<S>();
        let asked = async { timeout(ANSWER_MAX, self.client.list(&kind, query)).await };
        let found = self.runtime.block_on(asked);
        Ok(found.with_context(|| format!("no answer about {}", kind.kind))??)
    }

    /// Gives some machines the label, and waits until their statuses have it.
    pub fn label(&mut self) -> Result<()> {
        if !self.labeled.is_empty() {
            return Ok(());
        }
        let all = self.list::<MachineStatus>(&Query::default())?;
        self.labeled = all.iter().take(LABELED_MAX).map(|status| status.id().to_owned()).collect();
        ensure!(!self.labeled.is_empty(), "there are no machines to label");
        for id in &self.labeled {
            let resource = AnyResource::new(kind::<MachineLabels>().namespace, id, MachineLabels::default());
            let resource = resource.edit(|metadata| {
                metadata.labels.insert(LABEL.to_owned(), "0".to_owned());
            });
            self.runtime.block_on(self.client.create(resource, "")).context("cannot label a machine")?;
        }
        let began = Instant::now();
        while self.list::<MachineStatus>(&with_label())?.len() < self.labeled.len() {
            ensure!(began.elapsed() < ANSWER_MAX, "the statuses of labeled machines do not get the label");
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// How long it takes to list the machines with the label among all.
    pub fn lists(&self) -> Result<Latency> {
        let mut times = Vec::new();
        for _ in 0..LISTS {
            let listed = async { timeout(ANSWER_MAX, self.listed()).await };
            let (found, time) = self.runtime.block_on(listed).context("no answer")??;
            times.push(time);
            ensure!(found == self.labeled.len(), "{found} machines have the label");
        }
        Ok(Latency::of(times))
    }

    /// How many machines have the label, and how long the answer took.
    async fn listed(&self) -> Result<(usize, Duration)> {
        let kind = kind::<MachineStatus>();
        let term = wire::LabelTerm { key: LABEL.to_owned(), ..wire::LabelTerm::default() };
        let label_query = vec![wire::LabelQuery { terms: vec![term] }];
        let options = wire::ListOptions { label_query, ..wire::ListOptions::default() };
        let (namespace, r#type) = (kind.namespace, kind.kind);
        let mut request = Request::new(wire::ListRequest { namespace, r#type, options: Some(options) });
        self.signer.sign("/cosi.resource.State/List", request.metadata_mut())?;
        let began = Instant::now();
        let mut client = StateClient::new(self.channel.clone());
        let mut answers = client.list(request).await.context("cannot list")?.into_inner();
        let mut found = 0;
        while answers.message().await.context("a list breaks off")?.is_some() {
            found += 1;
        }
        Ok((found, began.elapsed()))
    }

    /// How long it takes from a change being sent until every watcher has it.
    pub fn watches(&self) -> Result<Latency> {
        self.runtime.block_on(self.watched())
    }

    async fn watched(&self) -> Result<Latency> {
        let kind = kind::<MachineLabels>();
        let mut watchers = Vec::new();
        for _ in 0..WATCHERS {
            let watch = self.client.watch_all(&kind, WatchOptions::default()).await;
            watchers.push(watch.context("cannot watch")?);
        }
        let mut times = Vec::new();
        for number in 1..=CHANGES {
            let id = &self.labeled[number % self.labeled.len()];
            // A value that no earlier round had: the same again would be no change.
            let value = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos().to_string();
            let pointer = Pointer::new(kind.namespace.clone(), kind.kind.clone(), id);
            let current = self.client.get(&pointer).await.context("a label is gone")?;
            let changed = current.edit(|metadata| {
                metadata.labels.insert(LABEL.to_owned(), value.clone());
            });
            let (began, options) = (Instant::now(), UpdateOptions::running(""));
            let update =
                async { self.client.update(changed, &options).await.context("cannot change a label") };
            let arrivals = watchers.iter_mut().map(|watch| arrival(watch, &value, began));
            let (_, arrived) = timeout(ANSWER_MAX, try_join(update, try_join_all(arrivals)))
                .await
                .context("a watcher does not get a change")??;
            times.extend(arrived);
        }
        Ok(Latency::of(times))
    }
}

/// A runtime that is awake between two questions: the server asks whether its clients are still there. It ends with what
/// is given back beside it.
fn awake() -> Result<(Handle, oneshot::Sender<()>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start a runtime")?;
    let (handle, (end, ended)) = (runtime.handle().clone(), oneshot::channel());
    let thread = std::thread::Builder::new().name("probe".to_owned());
    thread.spawn(move || runtime.block_on(ended)).context("cannot start a thread")?;
    Ok((handle, end))
}

/// Waits until a watcher has the value; how long after `began`.
async fn arrival(watch: &mut Watch, value: &str, began: Instant) -> Result<Duration> {
    loop {
        let event = watch.next().await.context("a watch has ended")?;
        let labels = event.resource().map(|resource| &resource.metadata().labels);
        if labels.and_then(|labels| labels.get(LABEL)).is_some_and(|found| found == value) {
            return Ok(began.elapsed());
        }
    }
}

fn kind<S: Spec>() -> Pointer {
    Pointer::to_kind(S::DEFINITION.namespace, S::DEFINITION.kind)
}

fn with_label() -> Query {
    Query::labels(vec![LabelTerm::exists(LABEL)])
}
