//! Certificates of kube-apiserver and kubeconfigs of the control plane's components.
//!
//!     KubernetesRoot, CertSANs/k8s ──▶ KubernetesDynamicCerts          KubernetesRoot ──▶ KubernetesSecrets

use corten_base::Rng;
use corten_pki::{LeafRequest, PkiError, Subject};
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::secrets::{CertSan, KubernetesDynamicCerts, KubernetesRoot, KubernetesSecrets};

use crate::issue::{Issuer, YEAR};
use crate::kubeconfig;

/// Certificates of kube-apiserver.
pub struct DynamicCertificates {
    rng: Rng,
}

impl DynamicCertificates {
    /// A controller with this source of randomness.
    pub fn new(rng: Rng) -> Self {
        Self { rng }
    }

    fn issue(&self, view: &View<Self>, root: &KubernetesRoot, san: &CertSan) -> Result<Issued, Problem> {
        let current = view.get::<KubernetesDynamicCerts>(KubernetesDynamicCerts::ID);
        let current = current.map(|certs| certs.spec.clone()).unwrap_or_default();
        let ca = root.issuing_ca.as_ref().ok_or(Problem::Missing("the Kubernetes CA"))?;
        let aggregator = root.aggregator_ca.as_ref().ok_or(Problem::Missing("the aggregation layer's CA"))?;
        let mut issuer = Issuer::new(ca, view.now(), &self.rng)?;
        let mut front = Issuer::new(aggregator, view.now(), &self.rng)?;
        let subject = |name: &str, group: &str| Subject::common_name(name).with_organization(group);
        let serving = LeafRequest::server(subject("kube-apiserver", "kube-master"), YEAR)
            .with_names(san.dns_names.clone(), san.ips.clone());
        let kubelet = LeafRequest::client(subject("apiserver-kubelet-client", "system:masters"), YEAR);
        let proxy = LeafRequest::client(Subject::common_name("front-proxy-client"), YEAR);
        let certs = KubernetesDynamicCerts {
            api_server: Some(issuer.keep_or_issue(current.api_server.as_ref(), &serving)?),
            api_server_kubelet_client: Some(
                issuer.keep_or_issue(current.api_server_kubelet_client.as_ref(), &kubelet)?,
            ),
            front_proxy: Some(front.keep_or_issue(current.front_proxy.as_ref(), &proxy)?),
        };
        Ok(Issued { certs, quiet_for: issuer.quiet_for().min(front.quiet_for()) })
    }
}

struct Issued {
    certs: KubernetesDynamicCerts,
    quiet_for: std::time::Duration,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("cannot issue certificates of Kubernetes")]
    Pki(#[from] PkiError),
}

controller!(DynamicCertificates, "secrets.KubernetesDynamicCerts",
    inputs: [strong KubernetesRoot, strong CertSan, weak KubernetesDynamicCerts],
    outputs: [exclusive KubernetesDynamicCerts]);

impl Transform for DynamicCertificates {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(root) = view.get::<KubernetesRoot>(KubernetesRoot::ID) else { return plan };
        let Some(san) = view.get::<CertSan>(CertSan::KUBERNETES) else {
            return plan.waiting("names of the API server");
        };
        match self.issue(view, root, san) {
            Err(problem) => plan.failed(corten_base::chain(&problem)),
            Ok(issued) => {
                plan.put(KubernetesDynamicCerts::ID, issued.certs);
                plan.again_in(issued.quiet_for)
            }
        }
    }
}

/// Kubeconfigs of the control plane's components and of machined itself.
pub struct Kubeconfigs {
    rng: Rng,
}

impl Kubeconfigs {
    /// A controller with this source of randomness.
    pub fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

controller!(Kubeconfigs, "secrets.Kubernetes",
    inputs: [strong KubernetesRoot, weak KubernetesSecrets],
    outputs: [exclusive KubernetesSecrets]);

impl Transform for Kubeconfigs {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(root) = view.get::<KubernetesRoot>(KubernetesRoot::ID) else { return plan };
        let Some(ca) = root.issuing_ca.as_ref() else { return plan.waiting("the Kubernetes CA") };
        let mut issuer = match Issuer::new(ca, view.now(), &self.rng) {
            Ok(issuer) => issuer,
            Err(error) => {
                return plan.failed(format!("the Kubernetes CA is unusable: {}", corten_base::chain(&error)));
            }
        };
        let current =
            view.get::<KubernetesSecrets>(KubernetesSecrets::ID).map(|secrets| secrets.spec.clone());
        match kubeconfigs(&mut issuer, root, &current.unwrap_or_default()) {
            Err(error) => plan.failed(corten_base::chain(&error)),
            Ok(secrets) => {
                plan.put(KubernetesSecrets::ID, secrets);
                plan.again_in(issuer.quiet_for())
            }
        }
    }
}

fn kubeconfigs(
    issuer: &mut Issuer<'_>,
    root: &KubernetesRoot,
    current: &KubernetesSecrets,
) -> Result<KubernetesSecrets, PkiError> {
    let mut one = |current: &str, subject: Subject, server: &str| -> Result<String, PkiError> {
        let user = subject.common_name.clone();
        let pair = issuer
            .keep_or_issue(kubeconfig::credentials(current).as_ref(), &LeafRequest::client(subject, YEAR))?;
        Ok(kubeconfig::render(root, &user, &format!("{user}@{}", root.name), server, &pair))
    };
    let named = |name: &str| Subject::common_name(name).with_organization(name);
    let admin = |name: &str| Subject::common_name(name).with_organization("system:masters");
    let local = root.local_endpoint.as_str();
    Ok(KubernetesSecrets {
        scheduler_kubeconfig: one(&current.scheduler_kubeconfig, named("system:kube-scheduler"), local)?,
        controller_manager_kubeconfig: one(
            &current.controller_manager_kubeconfig,
            named("system:kube-controller-manager"),
            local,
        )?,
        localhost_admin_kubeconfig: one(&current.localhost_admin_kubeconfig, admin("talos:admin"), local)?,
        admin_kubeconfig: one(&current.admin_kubeconfig, admin("admin"), &root.endpoint)?,
    })
}
