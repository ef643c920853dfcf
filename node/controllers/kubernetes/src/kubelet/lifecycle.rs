//! Puts the kubelet's files in place and says that it should run.
//!
//!     KubeletSpec, KubeletSecrets (, the cluster's CA) ──▶ files ──▶ ServiceSpec/kubelet          Service/kubelet ──▶ KubeletStatus
//!
//! A control plane holds the cluster's CA, so it issues its kubelet's first certificate itself instead of asking an API server that this very
//! kubelet has to start; from then on the kubelet renews it as everywhere.
//!
//! The kubelet does not flush what it writes. After a loss of power such a file may be there and empty, and then the
//! kubelet refuses to start because of it, for ever. So empty files of a kubelet that does not run are removed: it makes
//! them again.

use std::path::PathBuf;

use anyhow::Context;
use corten_base::Rng;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::kubernetes::{KubeletLifecycle, KubeletSpec, KubeletStatus};
use corten_resources::network::{HostDnsConfig, ResolverStatus};
use corten_resources::secrets::{CertificateAndKey, KubeletSecrets, KubernetesRoot};
use corten_resources::service::{Service, ServiceSpec};
use corten_resources::time::TimeStatus;

use super::identity::{self, Identity};
use super::{KUBELET_FOLDER, PKI_FOLDER, SERVICE, service};
use crate::control_plane::readiness;
use crate::files::{self, Change, Disk, File, Observed};

/// See the module.
pub struct KubeletService {
    disk: Disk,
    rng: Rng,
}

impl KubeletService {
    /// A controller that writes to `disk`.
    #[must_use]
    pub fn new(disk: Disk, rng: Rng) -> Self {
        Self { disk, rng }
    }
}

controller!(KubeletService, "k8s.KubeletService",
    inputs: [
        strong KubeletSpec, strong KubeletSecrets, weak KubernetesRoot, weak HostDnsConfig, weak ResolverStatus, weak TimeStatus, weak Service, weak ServiceSpec,
    ],
    outputs: [shared ServiceSpec, exclusive KubeletStatus, exclusive KubeletLifecycle]);

/// What is on disk.
pub struct Seen {
    files: Observed,
    identity: Option<Identity>,
    /// Files of the kubelet's own that hold nothing.
    unfinished: Vec<PathBuf>,
}

/// A step towards a kubelet that can start.
#[derive(Debug)]
pub enum Step {
    /// A file.
    File(Change),
    /// The kubelet's own certificate, issued here.
    Identity(identity::Wanted),
    /// A file that a loss of power emptied goes.
    Remove(PathBuf),
}

impl Driver for KubeletService {
    type Observed = Seen;
    type Op = Step;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        let Some(inputs) = Inputs::of(view) else {
            return Ok(Seen { files: Observed::new(), identity: None, unfinished: Vec::new() });
        };
        let wanted = wanted(view, &inputs);
        let paths = wanted.iter().map(|file| file.path.as_str());
        Ok(Seen {
            files: self.disk.observe_files(paths)?,
            identity: identity::read(&self.disk)?,
            unfinished: unfinished(&self.disk)?,
        })
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Step> {
        let mut plan = Plan::new();
        let Some(inputs) = Inputs::of(view) else {
            plan.keep::<ServiceSpec>().keep::<KubeletStatus>().keep::<KubeletLifecycle>();
            return plan.waiting("the kubelet's specification and secrets");
        };
        let mut is_complete = true;
        if let Some(ca) = issuing(view) {
            let name = &inputs.spec.expected_nodename;
            if !seen.identity.as_ref().is_some_and(|identity| identity.serves(name, ca, view.now())) {
                let ca = ca.clone();
                plan.op(Step::Identity(identity::Wanted { nodename: name.clone(), ca, now: view.now() }));
                is_complete = false;
            }
        }
        let is_running = view.get::<Service>(SERVICE).is_some_and(|service| service.running);
        for path in seen.unfinished.iter().filter(|_| !is_running) {
            plan.op(Step::Remove(path.clone()));
            is_complete = false;
        }
        let wanted = wanted(view, &inputs);
        let changes = files::changes(&wanted, &seen.files);
        is_complete &= changes.is_empty();
        for change in changes {
            plan.op(Step::File(change));
        }
        if is_complete {
            let waits = readiness::reasons(view.get(SERVICE), view.get("cri"), view.get(TimeStatus::ID));
            plan.put(
                SERVICE,
                service::service(inputs.spec, &service::files(inputs.spec, inputs.secrets), waits),
            );
        } else {
            plan.keep::<ServiceSpec>();
        }
        if is_running {
            plan.put(KubeletStatus::ID, KubeletStatus { image: inputs.spec.image.clone() });
            plan.put(KubeletLifecycle::ID, KubeletLifecycle {});
        }
        plan
    }

    async fn apply(&mut self, op: Step) -> anyhow::Result<()> {
        match op {
            Step::File(change) => Ok(self.disk.apply(&change)?),
            Step::Identity(wanted) => identity::write(&self.disk, &wanted, &self.rng),
            Step::Remove(path) => {
                tracing::warn!(path = %path.display(), "empty after a loss of power; the kubelet makes it again");
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
            }
        }
    }
}

/// Empty files directly in the folders in which the kubelet keeps its certificates and its state.
fn unfinished(disk: &Disk) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in [KUBELET_FOLDER, PKI_FOLDER].map(|folder| disk.path(folder)) {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("cannot list {}", folder.display()))?,
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// The CA of the cluster, where this machine can issue.
fn issuing(view: &View<KubeletService>) -> Option<&CertificateAndKey> {
    let ca = view.get::<KubernetesRoot>(KubernetesRoot::ID)?.spec.issuing_ca.as_ref()?;
    Some(ca).filter(|ca| !ca.key.is_empty())
}

/// Every file that is ours; on workers the kubelet writes its kubeconfig itself.
fn wanted(view: &View<KubeletService>, inputs: &Inputs<'_>) -> Vec<File> {
    let mut all = service::files(inputs.spec, inputs.secrets);
    all.push(resolv_conf(view));
    if issuing(view).is_some() {
        all.push(identity::kubeconfig(&inputs.secrets.endpoint, &inputs.secrets.endpoint_tls_server_name));
    }
    all
}

/// Not part of the revision: the kubelet reads it for each pod.
fn resolv_conf(view: &View<KubeletService>) -> File {
    let host = view.get::<HostDnsConfig>(HostDnsConfig::ID).map(|host| &host.spec);
    service::resolv_conf(
        host,
        view.get::<ResolverStatus>(ResolverStatus::ID).map(|resolvers| &resolvers.spec),
    )
}

struct Inputs<'a> {
    spec: &'a KubeletSpec,
    secrets: &'a KubeletSecrets,
}

impl<'a> Inputs<'a> {
    fn of(view: &'a View<KubeletService>) -> Option<Self> {
        let spec = view.get::<KubeletSpec>(KubeletSpec::ID)?;
        Some(Self { spec, secrets: view.get::<KubeletSecrets>(KubeletSecrets::ID)? })
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::testing::resource;

    use super::*;

    #[tokio::test]
    async fn what_a_loss_of_power_emptied_is_removed_unless_the_kubelet_writes_it_just_now() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::below(folder.path());
        std::fs::create_dir_all(disk.path(PKI_FOLDER)).expect("folders");
        let (empty, full) =
            (format!("{PKI_FOLDER}/kubelet.crt"), format!("{KUBELET_FOLDER}/cpu_manager_state"));
        std::fs::write(disk.path(&empty), "").expect("a file");
        std::fs::write(disk.path(&full), "{}").expect("a file");
        let mut service = KubeletService::new(disk.clone(), Rng::seeded(1));
        let removals = |service: &KubeletService, running, seen: &Seen| {
            let given = [
                resource(KubeletSpec::ID, KubeletSpec::default()),
                resource(KubeletSecrets::ID, KubeletSecrets::default()),
                resource(SERVICE, Service { running, healthy: false, unknown: false }),
            ];
            let plan = service.plan(&View::of(given, SystemTime::UNIX_EPOCH), seen);
            plan.ops().iter().filter(|step| matches!(step, Step::Remove(_))).count()
        };
        let nothing = View::of([], SystemTime::UNIX_EPOCH);
        let seen = Seen {
            unfinished: unfinished(&disk).expect("a list"),
            ..service.observe(&nothing).await.expect("seen")
        };
        assert_eq!(seen.unfinished, [disk.path(&empty)]);
        assert_eq!((removals(&service, true, &seen), removals(&service, false, &seen)), (0, 1));
        service.apply(Step::Remove(disk.path(&empty))).await.expect("removed");
        assert!(unfinished(&disk).expect("a list").is_empty() && disk.path(&full).exists());
    }
}
