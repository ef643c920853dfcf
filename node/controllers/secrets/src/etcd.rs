//! Certificates of etcd and of its clients on this machine.
//!
//!     EtcdRoot, HostnameStatus, NodeAddress ──▶ EtcdSecrets

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_base::Rng;
use corten_pki::{LeafRequest, PkiError, Subject};
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::network::{HostnameStatus, NodeAddress};
use corten_resources::secrets::{CertificateAndKey, EtcdRoot, EtcdSecrets};

use crate::issue::{Issuer, YEAR};

/// See the module.
pub struct EtcdCertificates {
    rng: Rng,
}

impl EtcdCertificates {
    /// A controller with this source of randomness.
    pub fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

controller!(EtcdCertificates, "secrets.Etcd",
    inputs: [strong EtcdRoot, strong HostnameStatus, weak NodeAddress, weak EtcdSecrets],
    outputs: [exclusive EtcdSecrets]);

impl Transform for EtcdCertificates {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(ca) = view.get::<EtcdRoot>(EtcdRoot::ID).and_then(|root| root.etcd_ca.clone()) else {
            return plan;
        };
        let Some(hostname) = view.get::<HostnameStatus>(HostnameStatus::ID) else {
            return plan.waiting("a hostname");
        };
        let filtered = NodeAddress::filtered(NodeAddress::ACCUMULATIVE, "no-k8s");
        let addresses = view.get::<NodeAddress>(&filtered).or_else(|| view.get(NodeAddress::ACCUMULATIVE));
        let Some(addresses) = addresses else { return plan.waiting("addresses of this machine") };
        let current =
            view.get::<EtcdSecrets>(EtcdSecrets::ID).map(|secrets| secrets.spec.clone()).unwrap_or_default();
        let mut issuer = match Issuer::new(&ca, view.now(), &self.rng) {
            Ok(issuer) => issuer,
            Err(error) => {
                return plan.failed(format!("the CA of etcd is unusable: {}", corten_base::chain(&error)));
            }
        };
        match issue(&mut issuer, &current, hostname, addresses) {
            Err(error) => plan.failed(corten_base::chain(&error)),
            Ok(secrets) => {
                plan.put(EtcdSecrets::ID, secrets);
                plan.again_in(issuer.quiet_for())
            }
        }
    }
}

fn issue(
    issuer: &mut Issuer<'_>,
    current: &EtcdSecrets,
    hostname: &HostnameStatus,
    addresses: &NodeAddress,
) -> Result<EtcdSecrets, PkiError> {
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let mut names = vec![hostname.hostname.clone(), hostname.fqdn(), "localhost".to_owned()];
    names.dedup();
    // etcd's gateway for HTTP/1 dials etcd with the serving certificate, so that one is for both sides as well.
    let serving = |name: &str| {
        LeafRequest::peer(Subject::common_name(name), YEAR)
            .with_names(names.clone(), addresses.ips().into_iter().chain(loopback))
    };
    let client = |name: &str| LeafRequest::client(Subject::common_name(name), YEAR);
    let mut one = |current: &Option<CertificateAndKey>, wanted: &LeafRequest| {
        issuer.keep_or_issue(current.as_ref(), wanted).map(Some)
    };
    Ok(EtcdSecrets {
        etcd: one(&current.etcd, &serving(&hostname.hostname))?,
        etcd_peer: one(&current.etcd_peer, &serving(&hostname.hostname))?,
        etcd_admin: one(&current.etcd_admin, &client("talos"))?,
        etcd_api_server: one(&current.etcd_api_server, &client("kube-apiserver-etcd-client"))?,
    })
}
