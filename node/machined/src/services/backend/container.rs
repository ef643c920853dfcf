//! Services that are containers in the Kubernetes containerd: etcd and kubelet.
//!
//! Their images are unpacked in the namespace of the pods, because the kubelet's layers are also those of the control
//! plane; the containers are in the namespace `system`, which knows the images by name. Images that came with the
//! machine are used where they lie, those of the pods too, so they are made known before the kubelet starts.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use corten_base::{Clock, blocking, paths};
use corten_containerd::spec::Mount;
use corten_containerd::{
    Client, IMAGE_MANAGED, IMAGE_PINNED, KUBERNETES, Namespace, NewContainer, Output, PullOptions, Rootfs,
    RuntimeOptions, SYSTEM, SpecBuilder, TaskState, UnpackedImage,
};
use corten_resources::service::ContainerRun;

use super::Change;

/// Label of a container with the revision it was made from.
const REVISION_LABEL: &str = "corten.dev/revision";
const SIGTERM: u32 = 15;
const SIGKILL: u32 = 9;
const RUNC: &str = "/usr/bin/runc";
/// Time containerd has to come up before a service start counts as failed.
const CONNECT: Duration = Duration::from_secs(60);
const CONNECT_RETRY: Duration = Duration::from_millis(100);
/// Time to read what the image cache says of its images.
const CACHE_READ: Duration = Duration::from_secs(30);
/// Folder with the registries' mirror configuration.
const REGISTRY_HOSTS: &str = "/etc/cri/conf.d/hosts";

/// The Kubernetes containerd as a backend for services.
#[derive(Clone)]
pub struct Containers {
    namespace: Namespace,
    client: Client,
    clock: Clock,
    missing_capabilities: Arc<[&'static str]>,
}

impl Containers {
    /// A backend over the containerd at its usual socket.
    ///
    /// # Errors
    /// Never in practice: the namespace's name is a constant.
    pub fn new(clock: Clock) -> anyhow::Result<Self> {
        let client = Client::lazy(paths::CRI_SOCKET);
        let namespace = client.namespace(SYSTEM)?.with_layers_of(&client.namespace(KUBERNETES)?);
        Ok(Self { namespace, client, clock, missing_capabilities: missing_capabilities().into() })
    }

    pub(super) async fn ensure(
        &self,
        id: &str,
        run: &ContainerRun,
        revision: &str,
    ) -> anyhow::Result<Instance> {
        self.connected().await?;
        if let Some(pid) = self.adoptable(id, revision).await? {
            return Ok(Instance::new(self.namespace.clone(), id, pid));
        }
        self.stop(id, super::super::STOP_GRACE).await?;
        self.ensure_image(&run.image).await?;
        make_directories(run)?;
        let spec = self.spec(run).await?;
        let container = NewContainer {
            id: id.to_owned(),
            rootfs: Rootfs::Image(run.image.clone()),
            spec,
            labels: BTreeMap::from([(REVISION_LABEL.to_owned(), revision.to_owned())]),
            runtime: RuntimeOptions { binary: RUNC.to_owned(), ..RuntimeOptions::default() },
        };
        self.namespace.create_container(&container).await?;
        let log = format!("{}/{id}.log", paths::LOG);
        let pid = self.namespace.start_task(id, &Output::File(log)).await?;
        Ok(Instance::new(self.namespace.clone(), id, pid))
    }

    pub(super) async fn stop(&self, id: &str, grace: Duration) -> anyhow::Result<()> {
        if !Path::new(paths::CRI_SOCKET).exists() {
            return Ok(());
        }
        if let Some(task) = self.namespace.task(id).await?
            && task.state != TaskState::Stopped
        {
            self.namespace.signal_task(id, SIGTERM, false).await?;
            if tokio::time::timeout(grace, self.namespace.watch_exit(id)).await.is_err() {
                self.namespace.signal_task(id, SIGKILL, true).await?;
                self.namespace.watch_exit(id).await?;
            }
        }
        self.namespace.delete_task(id).await?;
        match self.namespace.remove_container(id).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Waits until containerd answers.
    async fn connected(&self) -> anyhow::Result<()> {
        let answers = async {
            while !self.client.healthy().await.unwrap_or(false) {
                tokio::time::sleep(CONNECT_RETRY).await;
            }
        };
        tokio::time::timeout(CONNECT, answers).await.context("containerd (cri) does not answer on its socket")
    }

    /// Process id of a container that runs already with this revision.
    async fn adoptable(&self, id: &str, revision: &str) -> anyhow::Result<Option<u32>> {
        let container = match self.namespace.container(id).await {
            Ok(container) => container,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let task = self.namespace.task(id).await?;
        let same = container.labels.get(REVISION_LABEL).is_some_and(|label| label == revision);
        Ok(task.filter(|task| same && task.state == TaskState::Running).map(|task| task.pid))
    }

    async fn ensure_image(&self, image: &str) -> anyhow::Result<()> {
        if let Err(error) = self.adopt_images(image).await {
            tracing::warn!(
                error = corten_base::chain(error.as_ref()),
                "images of the image cache cannot be used where they are; they are pulled from it"
            );
        }
        let options = PullOptions {
            hosts: Some(PathBuf::from(REGISTRY_HOSTS)),
            labels: labels(),
            ..PullOptions::default()
        };
        let name_only = PullOptions { without_layers: true, ..options.clone() };
        for (namespace, options) in [(self.namespace.layers(), options), (self.namespace.clone(), name_only)]
        {
            if namespace.has_image(image).await? {
                continue;
            }
            namespace.pull(image, &options, |_| {}).await.with_context(|| {
                format!(
                    "no source has the image {image}; use an image cache that holds it, a registry mirror \
                     (machine.registries.mirrors), or give the machine a way to the registry"
                )
            })?;
        }
        Ok(())
    }

    /// Makes the images of the image cache known to the pods, and one of them to this namespace.
    async fn adopt_images(&self, wanted: &str) -> anyhow::Result<()> {
        let folder = Path::new(paths::IMAGE_CACHE);
        if !folder.join("index.json").is_file() {
            return Ok(());
        }
        let cached = blocking(CACHE_READ, || UnpackedImage::all_in(folder)).await??;
        for (namespace, only) in [(self.namespace.layers(), None), (self.namespace.clone(), Some(wanted))] {
            let known = namespace.list_images().await?;
            let is_known = |image: &UnpackedImage| known.iter().any(|known| known.name == image.name);
            for image in cached.iter().filter(|image| only.is_none_or(|only| only == image.name)) {
                if !is_known(image) {
                    namespace.adopt(image, &labels(), self.clock.now()).await?;
                }
            }
        }
        Ok(())
    }

    async fn spec(&self, run: &ContainerRun) -> anyhow::Result<corten_containerd::spec::Spec> {
        let image = self.namespace.image_config(&run.image).await?;
        let mut shared = vec!["network"];
        if run.host_pid {
            shared.push("pid");
        }
        let mut builder = SpecBuilder::new()
            .image(&image)
            .command(run.args.iter().cloned())
            .user(run.uid, run.gid)
            .cgroup(&run.cgroup)
            .oom_score(attainable_oom_score(run.oom_score_adjust));
        if run.privileged {
            shared.extend(["ipc", "uts", "cgroup"]);
            builder = builder.privileged();
        }
        builder = builder.host_namespaces(&shared).without_capabilities(&self.missing_capabilities);
        for (key, value) in run.environment.iter().filter_map(|entry| entry.split_once('=')) {
            builder = builder.env(key, value);
        }
        for mount in &run.mounts {
            builder = builder.mount(Mount {
                destination: mount.destination.clone(),
                kind: mount.kind.clone(),
                source: mount.source.clone(),
                options: mount.options.clone(),
            });
        }
        if !run.read_only_root {
            builder = builder.writable_root();
        }
        if !run.rootfs_propagation.is_empty() {
            builder = builder.propagation(&run.rootfs_propagation);
        }
        Ok(builder.build())
    }
}

/// The kubelet sees these images, and leaves them.
fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([IMAGE_MANAGED, IMAGE_PINNED].map(|(key, value)| (key.to_owned(), value.to_owned())))
}

fn make_directories(run: &ContainerRun) -> anyhow::Result<()> {
    for directory in &run.directories {
        let path = Path::new(&directory.path);
        let made = std::fs::DirBuilder::new().recursive(true).mode(directory.mode).create(path);
        made.and_then(|()| chown(path, Some(directory.uid), Some(directory.gid)))
            .with_context(|| format!("cannot make the folder {}", directory.path))?;
    }
    Ok(())
}

/// Capabilities that this machine does not have itself (a container machine may lack some).
#[must_use]
pub fn missing_capabilities() -> Vec<&'static str> {
    CAPABILITIES.into_iter().filter(|name| !has_capability(name)).collect()
}

/// Whether this process, and so whatever it starts, can have a capability.
#[must_use]
pub fn has_capability(name: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    CAPABILITIES.iter().position(|known| *known == name).is_some_and(|bit| bounding & (1 << bit) != 0)
}

/// The wanted OOM score, or our own where scores cannot be lowered.
fn attainable_oom_score(wanted: i32) -> i32 {
    if has_capability("CAP_SYS_RESOURCE") {
        return wanted;
    }
    let own =
        std::fs::read_to_string("/proc/self/oom_score_adj").ok().and_then(|text| text.trim().parse().ok());
    wanted.max(own.unwrap_or(0))
}

/// Linux capabilities by bit number (capability.h).
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A running container.
pub(in crate::services) struct Instance {
    id: String,
    pid: u32,
    namespace: Namespace,
}

impl Instance {
    fn new(namespace: Namespace, id: &str, pid: u32) -> Self {
        Self { id: id.to_owned(), pid, namespace }
    }

    pub(super) fn describe(&self) -> String {
        format!("Started task {} (PID {}) for container {}", self.id, self.pid, self.id)
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// A lost connection to containerd makes this wait longer; it never counts as an exit.
    pub(super) async fn next(&mut self) -> Change {
        let how = match self.namespace.watch_exit(&self.id).await {
            Ok(Some(exit)) => format!("Task exited with code {}", exit.status),
            Ok(None) => "Task is gone".to_owned(),
            Err(error) => format!("Task cannot be watched: {}", corten_base::chain(&error)),
        };
        Change::Exited { how, restarts_itself: false }
    }
}
