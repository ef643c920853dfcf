//! The identity as machined's resources tell it.
//!
//! ```text
//! APIServiceConfigs/apid ─┐
//! ApiCertificates/api ────┼──▶ Identity          published when both are there and something changed
//! NodeAddresses/current ──┤
//! HostnameStatuses ───────┘
//! ```
//!
//! While machined is away, or a resource is for a moment, the last identity stays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use corten_base::{Secret, Task, spawn};
use corten_client::{Client, follow};
use corten_resources::network::{HostnameStatus, NodeAddress};
use corten_resources::runtime::ApiServiceConfig;
use corten_resources::secrets::{ApiCertificate, CertificateAndKey};
use tokio::sync::watch;

use crate::identity::{Access, Feed, Identity, KeyPair, LocalNames};

/// Id of the only configuration.
const CONFIG_ID: &str = "apid";

/// Follows the resources behind `socket` for as long as the task lives.
pub fn start(socket: &Path) -> (Feed, Task) {
    let (publish, feed) = watch::channel(None);
    let machined = Client::unix(socket);
    let config = follow::<ApiServiceConfig>(&machined);
    let certificates = follow::<ApiCertificate>(&machined);
    let addresses = follow::<NodeAddress>(&machined);
    let hostnames = follow::<HostnameStatus>(&machined);
    let task = spawn("identity", async move {
        let (mut config, mut certificates) = (config, certificates);
        let (mut addresses, mut hostnames) = (addresses, hostnames);
        loop {
            // Each arm only waits for a change, all of which are read again below.
            let followed = tokio::select! {
                changed = config.resources.changed() => changed,
                changed = certificates.resources.changed() => changed,
                changed = addresses.resources.changed() => changed,
                changed = hostnames.resources.changed() => changed,
            };
            if followed.is_err() {
                return;
            }
            let names = local(&one(&mut addresses.resources), &one(&mut hostnames.resources));
            let config = one(&mut config.resources).get(CONFIG_ID).cloned();
            let certificate = one(&mut certificates.resources).get(ApiCertificate::ID).cloned();
            if let Some(identity) = config.zip(certificate).and_then(|(a, b)| identity(&a, &b, names)) {
                publish.send_if_modified(|current: &mut Option<Arc<Identity>>| {
                    let changed = current.as_deref() != Some(&identity);
                    if changed {
                        *current = Some(Arc::new(identity));
                    }
                    changed
                });
            }
        }
    });
    (feed, task)
}

type Set<S> = Arc<BTreeMap<String, S>>;

fn one<S>(followed: &mut watch::Receiver<Option<Set<S>>>) -> Set<S> {
    followed.borrow_and_update().clone().unwrap_or_default()
}

fn identity(config: &ApiServiceConfig, certificate: &ApiCertificate, local: LocalNames) -> Option<Identity> {
    let accepted: Vec<_> = certificate.accepted_cas.iter().map(|ca| ca.crt.as_slice()).collect();
    // The configuration has changed and the certificates follow in a moment: the last identity stays until then.
    if !config.skip_verifying_client_cert && accepted.is_empty() {
        return None;
    }
    Some(Identity {
        listen: config.listen_address.clone(),
        routing: !config.node_routing_disabled,
        access: if config.readonly_role_mode { Access::ReadOnly } else { Access::Certificate },
        verify_clients: !config.skip_verifying_client_cert,
        server: pair(certificate.server.as_ref()?),
        client: certificate.client.as_ref().map(pair),
        accepted_cas: accepted.join(&b'\n'),
        local,
    })
}

fn pair(pair: &CertificateAndKey) -> KeyPair {
    KeyPair { certificates: pair.crt.clone(), key: Secret::new(pair.key.clone()) }
}

fn local(
    addresses: &BTreeMap<String, NodeAddress>,
    hostnames: &BTreeMap<String, HostnameStatus>,
) -> LocalNames {
    let mut local = LocalNames::default();
    if let Some(current) = addresses.get(NodeAddress::CURRENT) {
        local.addresses.extend(current.ips());
    }
    for status in hostnames.values().filter(|status| !status.hostname.is_empty()) {
        local.names.insert(status.hostname.clone());
        if !status.domainname.is_empty() {
            local.names.insert(format!("{}.{}", status.hostname, status.domainname));
        }
    }
    local
}

#[cfg(test)]
mod tests {
    use corten_resources::secrets::Certificate;

    use super::{identity as build, *};

    #[test]
    fn the_modes_of_the_configuration() {
        let pair = CertificateAndKey { crt: b"crt".to_vec(), key: b"key".to_vec() };
        let certificate = ApiCertificate {
            accepted_cas: vec![Certificate { crt: b"one".to_vec() }, Certificate { crt: b"two".to_vec() }],
            server: Some(pair),
            ..ApiCertificate::default()
        };
        let normal = ApiServiceConfig { listen_address: ":50000".to_owned(), ..ApiServiceConfig::default() };
        let identity = |config: &ApiServiceConfig| build(config, &certificate, LocalNames::default());
        let got = identity(&normal).expect("complete");
        assert_eq!((got.access, got.verify_clients, got.routing), (Access::Certificate, true, true));
        assert_eq!(got.accepted_cas, b"one\ntwo");
        let maintenance = ApiServiceConfig {
            node_routing_disabled: true,
            readonly_role_mode: true,
            skip_verifying_client_cert: true,
            ..normal.clone()
        };
        let got = identity(&maintenance).expect("complete");
        assert_eq!((got.access, got.verify_clients, got.routing), (Access::ReadOnly, false, false));
        assert_eq!(build(&normal, &ApiCertificate::default(), LocalNames::default()), None);
    }

    #[test]
    fn the_machine_is_known_by_address_short_and_full_name() {
        let addresses =
            NodeAddress { addresses: vec!["10.5.0.2/24".parse().expect("prefix")], ..NodeAddress::default() };
        let hostname = HostnameStatus { hostname: "n".to_owned(), domainname: "example".to_owned() };
        let local =
            local(&[("current".to_owned(), addresses)].into(), &[("hostname".to_owned(), hostname)].into());
        for own in ["10.5.0.2", "n", "n.example"] {
            assert!(local.contains(own), "{own}");
        }
    }
}
