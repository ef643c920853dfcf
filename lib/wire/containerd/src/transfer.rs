//! Pull and import through containerd's transfer service.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use corten_base::{Arch, Clock, Secret};
use futures::Stream;
use prost_types::Any;

use crate::SNAPSHOTTER;
use crate::client::Namespace;
use crate::error::Error;
use crate::registry;
use crate::stream::{Channel, pack, unpack};
use crate::wire::containerd::services::transfer::v1 as service;
use crate::wire::containerd::types::Platform;
use crate::wire::containerd::types::transfer as wire;

/// Limit of a whole pull or import when the caller sets none.
const TRANSFER: Duration = Duration::from_secs(30 * 60);
/// What a lease lives longer than the transfer that it is for.
const MARGIN: Duration = Duration::from_secs(60);
/// Limit for the last progress messages after a transfer has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// User name and password for a registry host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name; empty when `password` is a refresh token.
    pub username: String,
    /// Password or token.
    pub password: Secret<String>,
}

/// How to pull.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    /// Folder with `HOST/hosts.toml` files: mirrors, certificates; and with the machine's credentials.
    pub hosts: Option<PathBuf>,
    /// More credentials by registry host, before those of the machine; given out only when the registry asks.
    pub credentials: BTreeMap<String, Credentials>,
    /// Labels of the image; see [`crate::IMAGE_MANAGED`].
    pub labels: BTreeMap<String, String>,
    /// Limit of the whole pull.
    pub limit: Option<Duration>,
    /// Only the image's name and its blobs, which nothing is made from here.
    pub without_layers: bool,
}

/// How to import an archive.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Labels of every image in the archive.
    pub labels: BTreeMap<String, String>,
    /// Repository for images of the archive that carry only a tag; `imported.local/image` when empty.
    pub repository: String,
    /// Limit of the whole import.
    pub limit: Option<Duration>,
}

/// One step of a transfer, as containerd tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// `waiting`, `downloading`, `complete`, `extracting`, `extracted`, `already exists`, `saved`, …
    pub event: String,
    /// What: a layer's key or an image name.
    pub name: String,
    /// Digest of the blob, when it is about one.
    pub digest: String,
    /// Bytes done.
    pub done: i64,
    /// Bytes in all.
    pub total: i64,
}

impl Namespace {
    /// Downloads and unpacks an image; returns when it is ready to run.
    ///
    /// `reference` is complete (see [`crate::reference::normalize`]).
    ///
    /// # Errors
    /// When no registry or mirror gives the image, or the limit passes.
    pub async fn pull<F>(&self, reference: &str, options: &PullOptions, progress: F) -> Result<(), Error>
    where
        F: FnMut(Progress) + Send,
    {
        let held = self.held("pull", lifetime(options.limit), Clock::system().now()).await?;
        let pulled = held.pull_held(reference, options, progress).await;
        pulled.and(held.end_lease().await)
    }

    async fn pull_held<F>(&self, reference: &str, options: &PullOptions, progress: F) -> Result<(), Error>
    where
        F: FnMut(Progress) + Send,
    {
        let mut credentials = match &options.hosts {
            Some(folder) => registry::read_credentials(folder).await,
            None => BTreeMap::new(),
        };
        credentials.extend(options.credentials.clone());
        let auth = if credentials.is_empty() { None } else { Some(self.open_channel("credentials").await?) };
        let source = wire::OciRegistry {
            reference: reference.to_owned(),
            resolver: Some(wire::RegistryResolver {
                auth_stream: auth.as_ref().map(|it| it.id.clone()).unwrap_or_default(),
                host_dir: options
                    .hosts
                    .as_ref()
                    .map(|it| it.to_string_lossy().into_owned())
                    .unwrap_or_default(),
                ..Default::default()
            }),
        };
        let destination = wire::ImageStore {
            name: reference.to_owned(),
            labels: options.labels.clone(),
            platforms: vec![platform()],
            unpacks: if options.without_layers { Vec::new() } else { unpacks() },
            ..Default::default()
        };
        let answering = async {
            if let Some(channel) = auth {
                answer_credentials(channel, &credentials).await;
            }
            Ok(())
        };
        let job =
            Job { operation: "pull image", object: reference, limit: options.limit.unwrap_or(TRANSFER) };
        self.transfer(&job, pack(&source), pack(&destination), answering, progress).await
    }

    /// Writes the images of an OCI or Docker archive and unpacks them; returns their names.
    ///
    /// Images are named by the annotation `io.containerd.image.name` of the archive's index, else by
    /// `org.opencontainers.image.ref.name`.
    ///
    /// # Errors
    /// When the archive cannot be read or is not an image archive, or the limit passes.
    pub async fn import<S>(&self, archive: S, options: &ImportOptions) -> Result<Vec<String>, Error>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send,
    {
        let held = self.held("import", lifetime(options.limit), Clock::system().now()).await?;
        let names = held.import_held(archive, options).await;
        let ended = held.end_lease().await;
        names.and_then(|names| ended.map(|()| names))
    }

    async fn import_held<S>(&self, archive: S, options: &ImportOptions) -> Result<Vec<String>, Error>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send,
    {
        let channel = self.open_channel("import").await?;
        let source = wire::ImageImportStream { stream: channel.id.clone(), ..Default::default() };
        let repository =
            if options.repository.is_empty() { "imported.local/image" } else { options.repository.as_str() };
        let destination = wire::ImageStore {
            labels: options.labels.clone(),
            platforms: vec![platform()],
            extra_references: vec![wire::ImageReference {
                name: repository.to_owned(),
                is_prefix: true,
                allow_overwrite: true,
                ..Default::default()
            }],
            unpacks: unpacks(),
            ..Default::default()
        };
        let mut names = Vec::new();
        let job = Job { operation: "import", object: "archive", limit: options.limit.unwrap_or(TRANSFER) };
        let saved = |step: Progress| {
            if step.event == "saved" {
                names.push(step.name);
            }
        };
        self.transfer(&job, pack(&source), pack(&destination), channel.send_all(archive), saved).await?;
        if names.is_empty() {
            return Err(Error::answer("archive", "it holds no named image for this machine"));
        }
        Ok(names)
    }

    /// Runs one transfer with its side job; the side job's failure ends the transfer.
    async fn transfer<J, F>(
        &self,
        job: &Job<'_>,
        source: Any,
        destination: Any,
        side: J,
        mut progress: F,
    ) -> Result<(), Error>
    where
        J: Future<Output = Result<(), Error>> + Send,
        F: FnMut(Progress) + Send,
    {
        let mut steps = self.open_channel("progress").await?;
        let request = service::TransferRequest {
            source: Some(source),
            destination: Some(destination),
            options: Some(service::TransferOptions { progress_stream: steps.id.clone() }),
        };
        let mut client = service::transfer_client::TransferClient::new(self.channel.clone());
        let call = async {
            let answer = client.transfer(self.open(request)).await;
            answer.map(drop).map_err(Error::call(job.operation, job.object))
        };
        let work = drive(call, side, &mut steps, &mut progress);
        match tokio::time::timeout(job.limit, work).await {
            Ok(result) => result,
            Err(_) => Err(Error::Deadline {
                operation: job.operation,
                object: job.object.to_owned(),
                limit: job.limit,
            }),
        }
    }
}

/// How long a lease lives that nobody ends: longer than what it is for.
fn lifetime(limit: Option<Duration>) -> Duration {
    limit.unwrap_or(TRANSFER) + MARGIN
}

struct Job<'a> {
    operation: &'static str,
    object: &'a str,
    limit: Duration,
}

/// Polls the call, its side job and its progress together until the call has ended.
async fn drive<C, J, F>(call: C, side: J, steps: &mut Channel, progress: &mut F) -> Result<(), Error>
where
    C: Future<Output = Result<(), Error>>,
    J: Future<Output = Result<(), Error>>,
    F: FnMut(Progress),
{
    let mut call = std::pin::pin!(call);
    let mut side = std::pin::pin!(side);
    let (mut side_open, mut steps_open) = (true, true);
    // All arms are cancel safe: the futures are pinned outside, and a message is taken whole or not at all.
    loop {
        tokio::select! {
            result = &mut call => { result?; break }
            result = &mut side, if side_open => { result?; side_open = false }
            step = steps.next(), if steps_open => match step {
                Some(any) => report(&any, progress),
                None => steps_open = false,
            },
        }
    }
    let drain = async {
        while let Some(any) = steps.next().await {
            report(&any, progress);
        }
    };
    // A transfer that has succeeded is not spoiled by a progress stream that stays open.
    let _ = tokio::time::timeout(DRAIN, drain).await;
    Ok(())
}

fn report(any: &Any, progress: &mut impl FnMut(Progress)) {
    if let Some(step) = unpack::<wire::Progress>(any) {
        progress(Progress {
            event: step.event,
            name: step.name,
            digest: step.desc.map(|it| it.digest).unwrap_or_default(),
            done: step.progress,
            total: step.total,
        });
    }
}

async fn answer_credentials(mut channel: Channel, credentials: &BTreeMap<String, Credentials>) {
    while let Some(any) = channel.next().await {
        let Some(question) = unpack::<wire::AuthRequest>(&any) else { continue };
        let answer = match credentials.get(&question.host) {
            Some(known) => wire::AuthResponse {
                auth_type: wire::AuthType::Credentials.into(),
                secret: known.password.reveal().clone(),
                username: known.username.clone(),
            },
            None => wire::AuthResponse::default(),
        };
        if !channel.send(&answer).await {
            return;
        }
    }
}

pub(crate) fn platform() -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: Arch::current().as_str().to_owned(),
        variant: String::new(),
    }
}

fn unpacks() -> Vec<wire::UnpackConfiguration> {
    vec![wire::UnpackConfiguration { platform: Some(platform()), snapshotter: SNAPSHOTTER.to_owned() }]
}
