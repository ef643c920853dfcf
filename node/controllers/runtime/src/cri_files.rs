//! The configuration of both containerds and that of their registries.
//!
//!     MachineConfig (registries) ──▶ files below /etc/cri ──▶ EtcFileStatuses (revision of each containerd's own file)
//!
//! Registries are looked up at each pull: a change of mirrors restarts nobody. Credentials, parts of the configuration
//! and the specification that pods start from are read at the start: a change of them restarts the containerd of
//! Kubernetes, and no pod.

mod hosts;
mod parts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use corten_base::fs::{Durability, write_atomic};
use corten_base::{Secret, paths};
use corten_config::view::{Cri, Machine, Registries, RegistryAuth};
use corten_containerd::config;
use corten_containerd::registry::{self, Auth};
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::files::EtcFileStatus;
use sha2::{Digest, Sha256};

pub use self::parts::base_spec;

/// Id of the status under which the containerd of Kubernetes waits for its files.
pub const CRI_FILES: &str = "cri/containerd.toml";
/// Id of the status under which the system's own containerd waits for its files.
pub const SYSTEM_FILES: &str = "cri/system.toml";
/// Folder on the tmpfs behind `/etc/cri`.
const FOLDER: &str = "/etc/cri";
/// What the user decides.
const PARTS: &str = "/etc/cri/conf.d";
/// Where containerd looks for mirrors of registries.
const HOSTS: &str = "/etc/cri/conf.d/hosts";
/// Holder of a pod's namespaces; the tag that talosctl's defaults name.
const SANDBOX_IMAGE: &str = "registry.k8s.io/pause:3.10.1";

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

/// Changes one file.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// These are its contents.
    Write {
        /// Path.
        path: PathBuf,
        /// Contents; among them are keys of clients.
        contents: Secret<String>,
    },
    /// Nothing asks for it any more.
    Remove(PathBuf),
}

impl Driver for CriFiles {
    type Observed = Files;
    type Op = Change;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Files> {
        let mut files = Files::new();
        collect(Path::new(FOLDER), &mut files)?;
        Ok(files)
    }

    fn plan(&self, view: &View<Self>, observed: &Files) -> Plan<Self, Change> {
        let config = view.get::<MachineConfig>(MachineConfig::ACTIVE);
        let (machine, is_complete) = match config.map(|config| corten_config::load_cached(&config.spec.yaml))
        {
            // Documents about registries count in maintenance too.
            Some(Ok(config)) => (config.view().machine.clone(), config.is_complete()),
            Some(Err(error)) => return Plan::new().failed(corten_base::chain(&error)),
            None => (Machine::default(), false),
        };
        let auths = auths(&machine.registries);
        let mut wanted = hosts::files(Path::new(HOSTS), &machine.registries);
        if !auths.is_empty() {
            wanted.insert(Path::new(HOSTS).join(registry::CREDENTIALS), registry::render_credentials(&auths));
        }
        let mut instances = vec![Instance::new(SYSTEM_FILES, &system(), &Files::new())];
        if is_complete {
            let parts = parts::files(Path::new(PARTS), &machine.cri);
            let options = told(kubernetes(self.restrict_oom_score), &machine.cri, auths);
            instances.push(Instance::new(CRI_FILES, &options, &parts));
            wanted.extend(parts);
        }
        let mut plan = Plan::new();
        for change in changes(observed, &wanted, &instances) {
            plan.op(change);
        }
        if !plan.ops().is_empty() {
            // Nobody starts with files that are not there yet.
            plan.keep::<EtcFileStatus>();
            return plan;
        }
        for instance in instances {
            plan.put(instance.id, EtcFileStatus { spec_version: instance.revision });
        }
        plan
    }

    async fn apply(&mut self, op: Change) -> anyhow::Result<()> {
        match op {
            Change::Write { path, contents } => {
                write_atomic(&path, contents.reveal().as_bytes(), 0o600, Durability::Volatile)
                    .with_context(|| format!("cannot write {}", path.display()))
            }
            Change::Remove(path) => {
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
            }
        }
    }
}

/// One of the two containerds.
struct Instance {
    id: &'static str,
    /// Its own file.
    contents: String,
    /// Identifies that file and the others that it reads at its start.
    revision: String,
}

impl Instance {
    fn new(id: &'static str, options: &config::Options, others: &Files) -> Self {
        let contents = config::render(options);
        let mut hash = Sha256::new();
        hash.update(&contents);
        for (path, contents) in others {
            hash.update(path.as_os_str().as_encoded_bytes());
            hash.update(Sha256::digest(contents));
        }
        Self { id, contents, revision: hex::encode(&hash.finalize()[..8]) }
    }
}

/// What must happen until the files are as wanted: each containerd's own, and those that the user decides.
fn changes(observed: &Files, wanted: &Files, instances: &[Instance]) -> Vec<Change> {
    let own = instances.iter().map(|instance| (Path::new("/etc").join(instance.id), &instance.contents));
    let all = own.chain(wanted.iter().map(|(path, contents)| (path.clone(), contents)));
    let writes = all
        .filter(|(path, contents)| observed.get(path) != Some(*contents))
        .map(|(path, contents)| Change::Write { path, contents: Secret::new(contents.clone()) });
    let stale = observed.keys().filter(|path| path.starts_with(PARTS) && !wanted.contains_key(*path));
    writes.chain(stale.cloned().map(Change::Remove)).collect()
}

/// Credentials by the host that is asked.
fn auths(registries: &Registries) -> BTreeMap<String, Auth> {
    let auth = |(host, given): (&String, &RegistryAuth)| {
        let host = if host == hosts::DOCKER.0 { hosts::DOCKER.1 } else { host };
        let auth = Auth {
            username: given.username.clone(),
            password: given.password.clone(),
            auth: given.auth.clone(),
            identity_token: given.identity_token.clone(),
        };
        (host.to_owned(), auth)
    };
    registries.auths.iter().map(auth).collect()
}

/// The options with what the user decides.
fn told(options: config::Options, cri: &Cri, auths: BTreeMap<String, Auth>) -> config::Options {
    let (imports, base_spec) = parts::references(Path::new(PARTS), cri);
    let cri = options.cri.map(|cri| config::CriOptions { base_spec, auths, ..cri });
    config::Options { imports, cri, ..options }
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

/// The containerd of Kubernetes.
#[must_use]
pub fn kubernetes(restrict_oom_score: bool) -> config::Options {
    config::Options {
        root: paths::IMAGE_STORE.to_owned(),
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
            auths: BTreeMap::new(),
        }),
    }
}

/// The system's own containerd, all in memory.
fn system() -> config::Options {
    config::Options {
        root: format!("{}/root", paths::CONTAINERD),
        state: format!("{}/state", paths::CONTAINERD),
        socket: paths::CONTAINERD_SOCKET.to_owned(),
        registries: HOSTS.to_owned(),
        imports: Vec::new(),
        runc: "/usr/bin/runc".to_owned(),
        cri: None,
    }
}

#[cfg(test)]
mod tests {
    use corten_config::view::Mirror;

    use super::*;

    /// A configuration with a mirror for one registry.
    fn mirrored() -> Registries {
        Registries { mirrors: [("quay.io".into(), Mirror::default())].into(), ..Registries::default() }
    }

    fn hosts_of(registries: &Registries) -> Files {
        hosts::files(Path::new(HOSTS), registries)
    }

    fn instance() -> Instance {
        Instance { id: SYSTEM_FILES, contents: "version = 3".to_owned(), revision: String::new() }
    }

    #[test]
    fn what_is_read_at_the_start_changes_the_revision() {
        let revision = |parts: &[(&str, &str)], auths| {
            let parts = parts.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
            Instance::new(CRI_FILES, &told(kubernetes(false), &Cri::default(), auths), &parts).revision
        };
        let plain = revision(&[], BTreeMap::new());
        assert_eq!(plain, revision(&[], BTreeMap::new()));
        let (one, other) =
            (revision(&[("/a", "1")], BTreeMap::new()), revision(&[("/a", "2")], BTreeMap::new()));
        assert!(plain != one && one != other);
        let mut registries = Registries::default();
        registries
            .auths
            .insert("docker.io".into(), RegistryAuth { username: "u".into(), ..RegistryAuth::default() });
        let auths = auths(&registries);
        assert!(auths.contains_key("registry-1.docker.io"));
        assert_ne!(plain, revision(&[], auths));
    }

    #[test]
    fn a_mirror_that_is_gone_leaves_no_file() {
        let instances = [instance()];
        let mut there = hosts_of(&mirrored());
        let written = changes(&Files::new(), &there, &instances);
        assert_eq!(written.len(), there.len() + 1);
        there.insert("/etc/cri/system.toml".into(), "version = 3".into());
        assert_eq!(changes(&there, &hosts_of(&mirrored()), &instances), []);
        let gone = Change::Remove("/etc/cri/conf.d/hosts/quay.io/hosts.toml".into());
        assert_eq!(changes(&there, &hosts_of(&Registries::default()), &instances), [gone]);
    }

    #[test]
    fn the_two_instances_share_nothing_but_registries_and_runc() {
        let (kubernetes, system) = (kubernetes(false), system());
        assert_ne!(kubernetes.root, system.root);
        assert_ne!(kubernetes.state, system.state);
        assert_ne!(kubernetes.socket, system.socket);
        assert_eq!(kubernetes.registries, system.registries);
    }
}
