//! Puts the kubelet's files in place and says that it should run.
//!
//!     KubeletSpec, KubeletSecrets (, the cluster's CA) ──▶ files ──▶ ServiceSpec/kubelet          Service/kubelet ──▶ KubeletStatus
//!
//! A control plane holds the cluster's CA, so it issues its kubelet's first certificate itself instead of asking an API server that this very
//! kubelet has to start; from then on the kubelet renews it as everywhere.

use corten_base::Rng;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::kubernetes::{KubeletSpec, KubeletStatus};
use corten_resources::network::{HostDnsConfig, ResolverStatus};
use corten_resources::secrets::{CertificateAndKey, KubeletSecrets, KubernetesRoot};
use corten_resources::service::{Service, ServiceSpec};
use corten_resources::time::TimeStatus;

use super::identity::{self, Identity};
use super::{SERVICE, service};
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
    outputs: [shared ServiceSpec, exclusive KubeletStatus]);

/// What is on disk.
pub struct Seen {
    files: Observed,
    identity: Option<Identity>,
}

/// A step towards a kubelet that can start.
#[derive(Debug)]
pub enum Step {
    /// A file.
    File(Change),
    /// The kubelet's own certificate, issued here.
    Identity(identity::Wanted),
}

impl Driver for KubeletService {
    type Observed = Seen;
    type Op = Step;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        let Some(inputs) = Inputs::of(view) else {
            return Ok(Seen { files: Observed::new(), identity: None });
        };
        let wanted = wanted(view, &inputs);
        let paths = wanted.iter().map(|file| file.path.as_str());
        Ok(Seen { files: self.disk.observe_files(paths)?, identity: identity::read(&self.disk)? })
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Step> {
        let mut plan = Plan::new();
        let Some(inputs) = Inputs::of(view) else {
            plan.keep::<ServiceSpec>().keep::<KubeletStatus>();
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
        if view.get::<Service>(SERVICE).is_some_and(|service| service.running) {
            plan.put(KubeletStatus::ID, KubeletStatus { image: inputs.spec.image.clone() });
        }
        plan
    }

    async fn apply(&mut self, op: Step) -> anyhow::Result<()> {
        match op {
            Step::File(change) => Ok(self.disk.apply(&change)?),
            Step::Identity(wanted) => identity::write(&self.disk, &wanted, &self.rng),
        }
    }
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
        all.push(identity::kubeconfig(&inputs.secrets.endpoint));
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
