//! The configuration of both containerds and that of their registries.
//!
//!     MachineConfig (registries) ──▶ files below /etc/cri ──▶ EtcFileStatuses (revision of each containerd's own file)
//!
//! Registries are looked up at each pull: a change of mirrors restarts nobody.

mod hosts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use corten_base::fs::{Durability, write_atomic};
use corten_base::{Secret, paths};
use corten_config::view::Registries;
use corten_containerd::config;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::files::EtcFileStatus;
use sha2::{Digest, Sha256};

/// Id of the status under which the containerd of Kubernetes waits for its files.
pub const CRI_FILES: &str = "cri/containerd.toml";
/// Id of the status under which the system's own containerd waits for its files.
pub const SYSTEM_FILES: &str = "cri/system.toml";
/// Folder on the tmpfs behind `/etc/cri`.
const FOLDER: &str = "/etc/cri";
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
    /// Its registry has no mirror any more.
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
        let (registries, is_complete) =
            match config.map(|config| corten_config::load_cached(&config.spec.yaml)) {
                // Documents about registries count in maintenance too.
                Some(Ok(config)) => (config.view().machine.registries.clone(), config.is_complete()),
                Some(Err(error)) => return Plan::new().failed(corten_base::chain(&error)),
                None => (Registries::default(), false),
            };
        let hosts = hosts::files(Path::new(HOSTS), &registries);
        let mut instances = vec![(SYSTEM_FILES, config::render(&system()))];
        if is_complete {
            instances.push((CRI_FILES, config::render(&kubernetes(self.restrict_oom_score))));
        }
        let mut plan = Plan::new();
        for change in changes(observed, &hosts, &instances) {
            plan.op(change);
        }
        if !plan.ops().is_empty() {
            // Nobody starts with files that are not there yet.
            plan.keep::<EtcFileStatus>();
            return plan;
        }
        for (id, contents) in instances {
            let spec_version = hex::encode(&Sha256::digest(contents)[..8]);
            plan.put(id, EtcFileStatus { spec_version });
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

/// What must happen until the files are as wanted.
fn changes(observed: &Files, hosts: &Files, instances: &[(&str, String)]) -> Vec<Change> {
    let own = instances.iter().map(|(id, contents)| (Path::new("/etc").join(id), contents));
    let wanted = own.chain(hosts.iter().map(|(path, contents)| (path.clone(), contents)));
    let writes = wanted
        .filter(|(path, contents)| observed.get(path) != Some(*contents))
        .map(|(path, contents)| Change::Write { path, contents: Secret::new(contents.clone()) });
    let stale = observed.keys().filter(|path| path.starts_with(HOSTS) && !hosts.contains_key(*path));
    writes.chain(stale.cloned().map(Change::Remove)).collect()
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

    #[test]
    fn a_mirror_that_is_gone_leaves_no_file() {
        let instances = [(SYSTEM_FILES, "version = 3".to_owned())];
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
