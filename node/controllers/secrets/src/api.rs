//! Certificates of the machine API.
//!
//! ```text
//! control plane  OSRoot (with key), CertSANs ──▶ ApiCertificates (server, client), TrustdCertificates
//! worker         OSRoot (no key), CertSANs ──request──▶ trustd of a control plane ──▶ ApiCertificates (server)
//! maintenance    own CA of this boot, CertSANs ──▶ ApiCertificates (server, callers need none)
//! ```

use std::time::Duration;

use corten_base::Rng;
use corten_pki::{Authority, AuthorityKind, LeafRequest, PkiError, Subject};
use corten_resource::{Driver, Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::Endpoint;
use corten_resources::secrets::{
    ApiCertificate, CertSan, Certificate, CertificateAndKey, MaintenanceRoot, OsRoot, TrustdCertificate,
};
use corten_resources::time::TimeStatus;

use crate::configuration::complete;
use crate::issue::{DAY, Issuer, YEAR, renewal, same_names};
use crate::trustd_client::{Request, Signed, Signer};

/// Delay after which an unanswered request is made again.
const RETRY: Duration = Duration::from_secs(5);
/// Common name of the maintenance API's certificate.
const MAINTENANCE_NAME: &str = "maintenance-service.talos.dev";

/// The CA of the maintenance API: made once a boot.
pub struct MaintenanceAuthority {
    rng: Rng,
}

impl MaintenanceAuthority {
    /// A controller with this source of randomness.
    pub fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

controller!(MaintenanceAuthority, "secrets.MaintenanceRoot",
    inputs: [weak MachineConfig, weak MaintenanceRoot],
    outputs: [exclusive MaintenanceRoot]);

impl Transform for MaintenanceAuthority {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        if complete(view.get(MachineConfig::ACTIVE)).is_some() {
            return plan;
        }
        let current = view.get::<MaintenanceRoot>(MaintenanceRoot::ID).and_then(|root| root.ca.clone());
        let usable = current.filter(|ca| {
            corten_pki::Certificate::from_pem(&ca.crt)
                .is_ok_and(|certificate| certificate.is_valid_at(view.now()))
        });
        let ca = match usable {
            Some(ca) => ca,
            None => match Authority::generate(AuthorityKind::Talos, view.now(), &self.rng) {
                Ok(authority) => CertificateAndKey {
                    crt: authority.certificate().to_pem().into_bytes(),
                    key: authority.key().to_pem().reveal().clone().into_bytes(),
                },
                Err(error) => return plan.failed(corten_base::chain(&error)),
            },
        };
        plan.put(MaintenanceRoot::ID, MaintenanceRoot { ca: Some(ca) });
        plan
    }
}

/// Certificates that apid serves and dials with.
pub struct ApiCertificates<S> {
    rng: Rng,
    signer: S,
    /// The last answer of a trustd; published when it fits what is wanted.
    signed: Option<Signed>,
}

impl<S> ApiCertificates<S> {
    /// A controller that has requests signed by `signer`.
    pub fn new(rng: Rng, signer: S) -> Self {
        Self { rng, signer, signed: None }
    }
}

controller!(impl<S: Signer> ApiCertificates<S>, "secrets.API",
    inputs: [
        weak MachineConfig, weak OsRoot, weak CertSan, weak MaintenanceRoot, weak Endpoint, weak TimeStatus, weak ApiCertificate,
    ],
    outputs: [exclusive ApiCertificate]);

impl<S: Signer> Driver for ApiCertificates<S> {
    type Observed = Option<Signed>;
    type Op = Request;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Option<Signed>> {
        Ok(self.signed.clone())
    }

    fn plan(&self, view: &View<Self>, signed: &Option<Signed>) -> Plan<Self, Request> {
        if complete(view.get(MachineConfig::ACTIVE)).is_none() {
            return self.maintenance(view);
        }
        let san = view.get::<CertSan>(CertSan::API);
        let Some((root, san)) = view.get::<OsRoot>(OsRoot::ID).zip(san) else {
            return kept().waiting("the machine's CA and names");
        };
        match root.issuing_ca.as_ref().filter(|ca| !ca.key.is_empty()) {
            Some(ca) => self.local(view, root, ca, san),
            None => Self::remote(view, root, san, signed.as_ref()),
        }
    }

    async fn apply(&mut self, op: Request) -> anyhow::Result<()> {
        self.signed = Some(self.signer.sign(&op, &self.rng).await?);
        Ok(())
    }
}

/// A plan that leaves what is published: apid must not lose its certificate while a better one is not there.
fn kept<S: Signer>() -> Plan<ApiCertificates<S>, Request> {
    let mut plan = Plan::new();
    plan.keep::<ApiCertificate>();
    plan
}

fn published<S: Signer>(view: &View<ApiCertificates<S>>) -> ApiCertificate {
    view.get::<ApiCertificate>(ApiCertificate::ID)
        .map(|certificate| certificate.spec.clone())
        .unwrap_or_default()
}

impl<S: Signer> ApiCertificates<S> {
    fn maintenance(&self, view: &View<Self>) -> Plan<Self, Request> {
        let mut plan = Plan::new();
        let ca = view.get::<MaintenanceRoot>(MaintenanceRoot::ID).and_then(|root| root.ca.as_ref());
        let Some((ca, san)) = ca.zip(view.get::<CertSan>(CertSan::MAINTENANCE)) else {
            return kept().waiting("names of the maintenance API");
        };
        let current = published(view).server;
        let wanted = LeafRequest::server(Subject::common_name(MAINTENANCE_NAME), YEAR)
            .with_names(san.dns_names.clone(), san.ips.clone());
        let issued = Issuer::new(ca, view.now(), &self.rng).and_then(|mut issuer| {
            // The console told the fingerprint; further addresses must not change it.
            let pair = issuer.keep_or_issue_for_key(current.as_ref(), &wanted)?;
            Ok((pair, issuer.quiet_for()))
        });
        match issued {
            Err(error) => kept().failed(corten_base::chain(&error)),
            Ok((pair, quiet_for)) => {
                plan.put(
                    ApiCertificate::ID,
                    ApiCertificate {
                        server: Some(pair),
                        skip_verifying_client_cert: true,
                        ..ApiCertificate::default()
                    },
                );
                plan.again_in(quiet_for)
            }
        }
    }

    fn local(
        &self,
        view: &View<Self>,
        root: &OsRoot,
        ca: &CertificateAndKey,
        san: &CertSan,
    ) -> Plan<Self, Request> {
        let current = published(view);
        let issue = || -> Result<(ApiCertificate, Duration), PkiError> {
            let mut issuer = Issuer::new(ca, view.now(), &self.rng)?;
            let client = LeafRequest::client(Subject::organizations(["os:impersonator"]), DAY);
            let certificate = ApiCertificate {
                accepted_cas: root.accepted_cas.clone(),
                client: Some(issuer.keep_or_issue(current.client.as_ref(), &client)?),
                server: Some(issuer.keep_or_issue(current.server.as_ref(), &serving(san))?),
                skip_verifying_client_cert: false,
            };
            Ok((certificate, issuer.quiet_for()))
        };
        match issue() {
            Err(error) => {
                kept().failed(format!("the machine's CA is unusable: {}", corten_base::chain(&error)))
            }
            Ok((certificate, quiet_for)) => {
                let mut plan = Plan::new();
                plan.put(ApiCertificate::ID, certificate);
                plan.again_in(quiet_for)
            }
        }
    }

    fn remote(
        view: &View<Self>,
        root: &OsRoot,
        san: &CertSan,
        signed: Option<&Signed>,
    ) -> Plan<Self, Request> {
        let current = published(view);
        let from_before = current
            .server
            .filter(|_| !current.skip_verifying_client_cert)
            .map(|server| Signed { server, accepted_cas: current.accepted_cas.clone() });
        let fits = |signed: &&Signed| fits(signed, root, san, view);
        let Some(signed) = from_before.as_ref().filter(fits).or(signed.filter(fits)) else {
            return Self::request(view, root, san);
        };
        let mut accepted = root.accepted_cas.clone();
        accepted.extend(signed.accepted_cas.iter().filter(|ca| !root.accepted_cas.contains(ca)).cloned());
        let mut plan = Plan::new();
        plan.put(
            ApiCertificate::ID,
            ApiCertificate {
                accepted_cas: accepted,
                client: None,
                server: Some(signed.server.clone()),
                skip_verifying_client_cert: false,
            },
        );
        plan.again_in(left(&signed.server, view))
    }

    fn request(view: &View<Self>, root: &OsRoot, san: &CertSan) -> Plan<Self, Request> {
        let mut hosts: Vec<String> = view
            .list::<Endpoint>()
            .iter()
            .flat_map(|endpoint| {
                endpoint.addresses.iter().map(ToString::to_string).chain(endpoint.hosts.iter().cloned())
            })
            .collect();
        let config = complete(view.get(MachineConfig::ACTIVE));
        hosts.extend(
            config.and_then(|config| config.cluster.endpoint_url.as_ref().map(|url| url.host.clone())),
        );
        let mut seen = std::collections::BTreeSet::new();
        hosts.retain(|host| seen.insert(host.clone()));
        if hosts.is_empty() {
            return closed(view, root).waiting("a control plane to ask for a certificate");
        }
        let mut plan = closed(view, root);
        plan.op(Request {
            hosts,
            token: corten_base::Secret::new(root.token.clone()),
            accepted_cas: root.accepted_cas.clone(),
            san: san.clone(),
        });
        plan.again_in(RETRY)
    }
}

/// A plan that serves with what there is until a certificate is signed. What was open to everybody in maintenance is not
/// any more: whoever calls a machine with a configuration has a certificate of its cluster.
fn closed<S: Signer>(view: &View<ApiCertificates<S>>, root: &OsRoot) -> Plan<ApiCertificates<S>, Request> {
    let current = published(view);
    if !current.skip_verifying_client_cert {
        return kept();
    }
    let accepted_cas = root.accepted_cas.clone();
    let mut plan = Plan::new();
    plan.put(
        ApiCertificate::ID,
        ApiCertificate { accepted_cas, skip_verifying_client_cert: false, ..current },
    );
    plan
}

fn serving(san: &CertSan) -> LeafRequest {
    LeafRequest::server(Subject::common_name(san.fqdn.clone()), DAY)
        .with_names(san.dns_names.clone(), san.ips.clone())
}

/// Whether a signed certificate is what is wanted now.
fn fits<S: Signer>(signed: &Signed, root: &OsRoot, san: &CertSan, view: &View<ApiCertificates<S>>) -> bool {
    let Ok(certificate) = corten_pki::Certificate::from_pem(&signed.server.crt) else { return false };
    let trusted = |ca: &Certificate| {
        corten_pki::Certificate::from_pem(&ca.crt).is_ok_and(|ca| certificate.verify_issued_by(&ca).is_ok())
    };
    same_names(&certificate, &san.dns_names, &san.ips)
        && certificate.is_valid_at(view.now())
        && view.now() < renewal(&certificate)
        && root.accepted_cas.iter().chain(&signed.accepted_cas).any(trusted)
}

fn left<S: Signer>(pair: &CertificateAndKey, view: &View<ApiCertificates<S>>) -> Duration {
    let renewal = corten_pki::Certificate::from_pem(&pair.crt).map(|certificate| renewal(&certificate));
    renewal.ok().and_then(|at| at.duration_since(view.now()).ok()).unwrap_or(RETRY).max(RETRY)
}

/// What trustd serves with.
pub struct TrustdCertificates {
    rng: Rng,
}

impl TrustdCertificates {
    /// A controller with this source of randomness.
    pub fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

controller!(TrustdCertificates, "secrets.Trustd",
    inputs: [strong OsRoot, strong CertSan, weak TrustdCertificate],
    outputs: [exclusive TrustdCertificate]);

impl Transform for TrustdCertificates {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(root) = view.get::<OsRoot>(OsRoot::ID) else { return plan };
        let Some(ca) = root.issuing_ca.as_ref().filter(|ca| !ca.key.is_empty()) else { return plan };
        let Some(san) = view.get::<CertSan>(CertSan::API) else {
            return plan.waiting("names of this machine");
        };
        let current =
            view.get::<TrustdCertificate>(TrustdCertificate::ID).and_then(|current| current.server.clone());
        let issued = Issuer::new(ca, view.now(), &self.rng).and_then(|mut issuer| {
            let server = issuer.keep_or_issue(current.as_ref(), &serving(san))?;
            Ok((server, issuer.quiet_for()))
        });
        match issued {
            Err(error) => {
                plan.failed(format!("the machine's CA is unusable: {}", corten_base::chain(&error)))
            }
            Ok((server, quiet_for)) => {
                plan.put(
                    TrustdCertificate::ID,
                    TrustdCertificate { accepted_cas: root.accepted_cas.clone(), server: Some(server) },
                );
                plan.again_in(quiet_for)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, ready};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use corten_config::generate::{GenerateOptions, generate};
    use corten_config::secrets::SecretsBundle;
    use corten_pki::{CertificateRequest, PrivateKey, RequestTemplate};
    use corten_resource::testing::{TestRuntime, resource};
    use corten_resources::network::{HostnameStatus, NodeAddress};

    use super::*;

    /// A control plane's trustd without the network.
    #[derive(Clone)]
    struct Trustd {
        authority: Authority,
        now: std::time::SystemTime,
        calls: Arc<AtomicUsize>,
        is_away: Arc<AtomicBool>,
    }

    impl Signer for Trustd {
        fn sign(&self, request: &Request, rng: &Rng) -> impl Future<Output = anyhow::Result<Signed>> + Send {
            if self.is_away.load(Ordering::Relaxed) {
                return ready(Err(anyhow::anyhow!("nobody answers")));
            }
            self.calls.fetch_add(1, Ordering::Relaxed);
            let key = PrivateKey::ed25519(rng).expect("a key");
            let template = RequestTemplate {
                subject: Subject::common_name(request.san.fqdn.clone()),
                dns_names: request.san.dns_names.clone(),
                ip_addresses: request.san.ips.clone(),
            };
            let csr = CertificateRequest::create(&template, &key).expect("a request");
            let crt = self.authority.sign_server_request(&csr, DAY, self.now, rng).expect("a certificate");
            let server = CertificateAndKey {
                crt: crt.to_pem().into_bytes(),
                key: key.to_pem().reveal().clone().into_bytes(),
            };
            ready(Ok(Signed { server, accepted_cas: request.accepted_cas.clone() }))
        }
    }

    fn surroundings(runtime: &TestRuntime) {
        let addresses = NodeAddress {
            addresses: vec!["10.5.0.3/24".parse().expect("an address")],
            ..NodeAddress::default()
        };
        runtime.put(resource(NodeAddress::ACCUMULATIVE, addresses));
        let hostname = HostnameStatus { hostname: "worker-1".into(), domainname: "x.example".into() };
        runtime.put(resource(HostnameStatus::ID, hostname));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_goes_from_its_own_certificate_to_a_signed_one_and_keeps_it() {
        let state = corten_resource::testing::state(corten_resources::registry());
        let now = state.store().clock().now();
        let secrets = SecretsBundle::generate(now, &Rng::kernel()).expect("secrets of a cluster");
        let calls = Arc::new(AtomicUsize::new(0));
        let is_away = Arc::new(AtomicBool::new(true));
        let authority = secrets.talos_authority().expect("a CA");
        let trustd = Trustd { authority, now, calls: Arc::clone(&calls), is_away: Arc::clone(&is_away) };
        let runtime = TestRuntime::with_state(state, |runtime| {
            crate::register_with(runtime, &Rng::seeded(1), trustd);
        });
        surroundings(&runtime);
        runtime.quiet().await;
        let published =
            || runtime.state().get::<ApiCertificate>(ApiCertificate::ID).expect("a certificate").spec;
        let own = published();
        assert!(own.skip_verifying_client_cert && own.server.is_some(), "maintenance");
        let generated = generate(&GenerateOptions::new("demo", "https://10.5.0.2:6443"), &secrets);
        let yaml = generated.worker.reveal().clone().into_bytes();
        runtime.put(resource(MachineConfig::ACTIVE, MachineConfig { yaml }));
        runtime.quiet().await;
        let unsigned = published();
        assert!(!unsigned.skip_verifying_client_cert, "closed to strangers also while nobody signs");
        assert_eq!((unsigned.server, unsigned.accepted_cas.len()), (own.server, 1));
        is_away.store(false, Ordering::Relaxed);
        runtime.advance(Duration::from_secs(60)).await;
        let signed = published();
        assert!(!signed.skip_verifying_client_cert && signed.client.is_none());
        let server = signed.server.clone().expect("a serving certificate");
        let certificate = corten_pki::Certificate::from_pem(&server.crt).expect("a certificate");
        assert_eq!(certificate.subject().common_name, "worker-1.x.example");
        runtime.advance(Duration::from_secs(60)).await;
        assert_eq!(published(), signed);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
