//! containerd's own configuration and that of its registries.
//!
//!     MachineConfig (registries) ──▶ files below /etc/cri ──▶ EtcFileStatus (revision of what was written)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use corten_base::fs::{Durability, write_atomic};
use corten_base::paths;
use corten_config::view::{MachineView, MirrorEndpoint};
use corten_containerd::{config, registry};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::files::EtcFileStatus;
use sha2::{Digest, Sha256};

/// Id of the status under which services wait for these files.
pub const CRI_FILES: &str = "cri/containerd.toml";
/// Folder on the tmpfs behind `/etc/cri`.
const FOLDER: &str = "/etc/cri";
/// Where containerd looks for mirrors of registries.
const HOSTS: &str = "/etc/cri/conf.d/hosts";
/// Holder of a pod's namespaces; the tag that talosctl's defaults name.
const SANDBOX_IMAGE: &str = "registry.k8s.io/pause:3.10.1";
/// The image cache of this machine, served by dataplane.
const CACHE: &str = "http://127.0.0.1:3172";

/// Writes containerd's files.
pub struct CriFiles {
    restrict_oom_score: bool,
}

controller!(CriFiles, "cri.Files",
    inputs: [strong MachineConfig],
    outputs: [shared EtcFileStatus]);

impl CriFiles {
    /// For a machine where scores can, or cannot, be lowered.
    pub const fn new(restrict_oom_score: bool) -> Self {
        Self { restrict_oom_score }
    }
}

/// Files and their contents.
type Files = BTreeMap<PathBuf, String>;

/// Writes one file.
#[derive(Debug)]
pub struct WriteFile {
    path: PathBuf,
    contents: String,
}

impl Driver for CriFiles {
    type Observed = Files;
    type Op = WriteFile;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Files> {
        let mut files = Files::new();
        collect(Path::new(FOLDER), &mut files)?;
        Ok(files)
    }

    fn plan(&self, view: &View<Self>, observed: &Files) -> Plan<Self, WriteFile> {
        let Some(config) = view.get::<MachineConfig>(MachineConfig::ACTIVE) else {
            return Plan::new().waiting("a machine configuration");
        };
        let wanted = match corten_config::load_cached(&config.spec.yaml) {
            Ok(config) => wanted(&config.view(), self.restrict_oom_score),
            Err(error) => return Plan::new().failed(corten_base::chain(&error)),
        };
        let mut plan = Plan::new();
        for (path, contents) in &wanted {
            if observed.get(path) != Some(contents) {
                plan.op(WriteFile { path: path.clone(), contents: contents.clone() });
            }
        }
        if !plan.ops().is_empty() {
            // Nobody starts with files that are not there yet.
            plan.keep::<EtcFileStatus>();
            return plan;
        }
        let revision = wanted.values().fold(Sha256::new(), |hash, contents| hash.chain_update(contents));
        let spec_version = hex::encode(&revision.finalize()[..8]);
        plan.put(CRI_FILES, EtcFileStatus { spec_version });
        plan
    }

    async fn apply(&mut self, op: WriteFile) -> anyhow::Result<()> {
        write_atomic(&op.path, op.contents.as_bytes(), 0o600, Durability::Volatile)
            .with_context(|| format!("cannot write {}", op.path.display()))
    }
}

fn collect(folder: &Path, files: &mut Files) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Ok(contents) = std::fs::read_to_string(&path) {
            files.insert(path, contents);
        }
    }
    Ok(())
}

fn wanted(view: &MachineView, restrict_oom_score: bool) -> Files {
    let mut files = Files::from([
        (Path::new(FOLDER).join("containerd.toml"), config::render(&options(restrict_oom_score))),
        (Path::new(HOSTS).join("_default/hosts.toml"), registry::render(&hosts(&[], false))),
    ]);
    for (host, mirror) in &view.machine.registries.mirrors {
        let contents = registry::render(&hosts(&mirror.endpoints, mirror.skip_fallback));
        files.insert(Path::new(HOSTS).join(registry::folder(host)).join("hosts.toml"), contents);
    }
    files
}

fn options(restrict_oom_score: bool) -> config::Options {
    config::Options {
        root: "/var/lib/containerd".to_owned(),
        state: "/run/containerd".to_owned(),
        socket: paths::CRI_SOCKET.to_owned(),
        registries: HOSTS.to_owned(),
        imports: Vec::new(),
        runc: "/usr/bin/runc".to_owned(),
        cri: Some(config::CriOptions {
            sandbox_image: SANDBOX_IMAGE.to_owned(),
            cni_bin: vec!["/opt/cni/bin".to_owned()],
            cni_conf: "/etc/cni/net.d".to_owned(),
            restrict_oom_score,
            selinux: false,
            nri: false,
            base_spec: String::new(),
            cdi: Vec::new(),
        }),
    }
}

/// The machine's own cache first, then the mirrors, then the registry itself unless that is forbidden.
fn hosts(endpoints: &[MirrorEndpoint], mirrors_only: bool) -> registry::Registry {
    let cache = registry::Endpoint { url: CACHE.to_owned(), ..registry::Endpoint::default() };
    let mirrors = endpoints.iter().map(|endpoint| registry::Endpoint {
        url: endpoint.url.clone(),
        override_path: endpoint.override_path,
        ..registry::Endpoint::default()
    });
    registry::Registry {
        mirrors_only,
        mirrors: std::iter::once(cache).chain(mirrors).collect(),
        ..registry::Registry::default()
    }
}
