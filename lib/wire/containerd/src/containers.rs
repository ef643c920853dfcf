//! Container records and their writable layers.
//!
//! The record is made first and names its layer, so the daemon's garbage collection never sees a layer that
//! nothing refers to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use prost_types::Any;

use crate::SNAPSHOTTER;
use crate::client::{MESSAGE, Namespace};
use crate::error::{Error, Kind};
use crate::spec::{self, Spec};
use crate::stream::pack;
use crate::wire::containerd::runc::v1 as runc;
use crate::wire::containerd::services::containers::v1 as wire;
use crate::wire::containerd::services::snapshots::v1 as snapshots;
use snapshots::snapshots_client::SnapshotsClient;
use wire::containers_client::ContainersClient;

const RUNTIME: &str = "io.containerd.runc.v2";
/// Keeps a layer that no container of its own namespace refers to; the value does not matter.
const ROOT_LABEL: &str = "containerd.io/gc.root";

/// What a container's root is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rootfs {
    /// A writable layer over an unpacked image, by the image's complete name.
    Image(String),
    /// A folder of the host, as it is.
    Directory(PathBuf),
}

/// How the runc shim runs a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// Path of runc; empty looks it up.
    pub binary: String,
    /// Folder of runc's state; empty for its default.
    pub root: String,
    /// cgroup that the shim moves to; empty leaves it with containerd.
    pub shim_cgroup: String,
}

/// A container to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct NewContainer {
    /// Its name within the namespace.
    pub id: String,
    /// What it runs from.
    pub rootfs: Rootfs,
    /// How it runs.
    pub spec: Spec,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the shim.
    pub runtime: RuntimeOptions,
}

/// A container record.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Its name within the namespace.
    pub id: String,
    /// Complete name of its image; empty for a folder.
    pub image: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Sandbox that it belongs to; empty outside pods.
    pub sandbox: String,
    /// When the record was made.
    pub created: Option<SystemTime>,
    spec: Vec<u8>,
}

impl Container {
    /// How it runs, as recorded.
    ///
    /// # Errors
    /// When the record holds no readable specification.
    pub fn spec(&self) -> Result<Spec, Error> {
        serde_json::from_slice(&self.spec).map_err(|error| Error::answer(&self.id, error.to_string()))
    }
}

impl Namespace {
    fn containers(&self) -> ContainersClient<tonic::transport::Channel> {
        ContainersClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE)
    }

    pub(crate) fn snapshots(&self) -> SnapshotsClient<tonic::transport::Channel> {
        SnapshotsClient::new(self.channel.clone())
    }

    /// All containers.
    ///
    /// # Errors
    /// When containerd fails or is away.
    pub async fn list_containers(&self) -> Result<Vec<Container>, Error> {
        let failed = || Error::call("list containers of", self.name());
        let request = self.request(wire::ListContainersRequest::default());
        let mut stream = self.containers().list_stream(request).await.map_err(failed())?.into_inner();
        let mut found = Vec::new();
        while let Some(message) = stream.message().await.map_err(failed())? {
            found.extend(message.container.map(Container::from));
        }
        Ok(found)
    }

    /// One container.
    ///
    /// # Errors
    /// When it is absent, or containerd fails or is away.
    pub async fn container(&self, id: &str) -> Result<Container, Error> {
        let request = self.request(wire::GetContainerRequest { id: id.to_owned() });
        let answer = self.containers().get(request).await.map_err(Error::call("get container", id))?;
        answer
            .into_inner()
            .container
            .map(Container::from)
            .ok_or_else(|| Error::answer(id, "no container in it"))
    }

    /// Makes a container; nothing runs yet.
    ///
    /// # Errors
    /// When the id is taken, the image is absent or not unpacked, or containerd fails or is away.
    /// Nothing is left behind then.
    pub async fn create_container(&self, new: &NewContainer) -> Result<(), Error> {
        let parent = match &new.rootfs {
            Rootfs::Image(image) => Some(self.layers().image_config(image).await?.chain_id()),
            Rootfs::Directory(_) => None,
        };
        let is_layered = parent.is_some() && !self.has_layers_elsewhere();
        let request = wire::CreateContainerRequest { container: Some(record(new, is_layered)?) };
        self.containers()
            .create(self.request(request))
            .await
            .map_err(Error::call("create container", &new.id))?;
        let Some(parent) = parent else { return Ok(()) };
        let prepared = self.prepare(&new.id, parent).await;
        if prepared.is_err() {
            // The first failure is the one to report; a record that stays is replaced by the next attempt.
            let _ = self.remove_container(&new.id).await;
        }
        prepared
    }

    /// Removes a container that does not run, with its writable layer. Absent is as good as removed.
    ///
    /// # Errors
    /// When a task still exists, or containerd fails or is away.
    pub async fn remove_container(&self, id: &str) -> Result<(), Error> {
        let request = self.request(wire::DeleteContainerRequest { id: id.to_owned() });
        let deleted = self.containers().delete(request).await.map(drop);
        tolerate_absent(deleted.map_err(Error::call("remove container", id)))?;
        let snapshot =
            snapshots::RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: id.to_owned() };
        let removed = self.snapshots().remove(self.layers().request(snapshot)).await.map(drop);
        tolerate_absent(removed.map_err(Error::call("remove the layer of", id)))
    }

    /// The mounts of a container's layer; none for a container that runs from a folder.
    pub(crate) async fn root_mounts(
        &self,
        id: &str,
    ) -> Result<Vec<crate::wire::containerd::types::Mount>, Error> {
        let request = snapshots::MountsRequest { snapshotter: SNAPSHOTTER.to_owned(), key: id.to_owned() };
        match self.snapshots().mounts(self.layers().request(request)).await {
            Ok(answer) => Ok(answer.into_inner().mounts),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(Vec::new()),
            Err(status) => Err(Error::call("mount the layer of", id)(status)),
        }
    }

    async fn prepare(&self, id: &str, parent: String) -> Result<(), Error> {
        let layers = self.layers();
        let labels = match self.has_layers_elsewhere() {
            true => BTreeMap::from([(ROOT_LABEL.to_owned(), self.name().to_owned())]),
            false => BTreeMap::new(),
        };
        let request = || snapshots::PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: id.to_owned(),
            parent: parent.clone(),
            labels: labels.clone(),
        };
        let failed = || Error::call("prepare the layer of", id);
        let first = self.snapshots().prepare(layers.request(request())).await.map(drop).map_err(failed());
        match first {
            // A layer that an earlier container of this name left is not trusted.
            Err(error) if error.kind() == Kind::AlreadyExists => {
                let remove = snapshots::RemoveSnapshotRequest {
                    snapshotter: SNAPSHOTTER.to_owned(),
                    key: id.to_owned(),
                };
                self.snapshots().remove(layers.request(remove)).await.map_err(failed())?;
                self.snapshots().prepare(layers.request(request())).await.map(drop).map_err(failed())
            }
            other => other,
        }
    }
}

fn tolerate_absent(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

fn record(new: &NewContainer, layered: bool) -> Result<wire::Container, Error> {
    let mut spec = new.spec.clone();
    let image = match &new.rootfs {
        Rootfs::Image(image) => image.clone(),
        Rootfs::Directory(path) => {
            spec.root.path = path.to_string_lossy().into_owned();
            String::new()
        }
    };
    let spec = serde_json::to_vec(&spec).map_err(|error| Error::answer(&new.id, error.to_string()))?;
    let options = runc::Options {
        binary_name: new.runtime.binary.clone(),
        root: new.runtime.root.clone(),
        shim_cgroup: new.runtime.shim_cgroup.clone(),
        ..Default::default()
    };
    let runtime = wire::container::Runtime { name: RUNTIME.to_owned(), options: Some(pack(&options)) };
    Ok(wire::Container {
        id: new.id.clone(),
        labels: new.labels.clone(),
        image,
        runtime: Some(runtime),
        spec: Some(Any { type_url: spec::TYPE_URL.to_owned(), value: spec }),
        snapshotter: if layered { SNAPSHOTTER.to_owned() } else { String::new() },
        snapshot_key: if layered { new.id.clone() } else { String::new() },
        ..Default::default()
    })
}

impl From<wire::Container> for Container {
    fn from(record: wire::Container) -> Self {
        Self {
            id: record.id,
            image: record.image,
            labels: record.labels,
            sandbox: record.sandbox,
            created: record.created_at.and_then(|it| SystemTime::try_from(it).ok()),
            spec: record.spec.map(|it| it.value).unwrap_or_default(),
        }
    }
}
