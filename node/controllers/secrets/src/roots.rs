//! CAs, keys and tokens as the configuration gives them.
//!
//!     MachineConfig ──▶ OSRootSecrets, KubernetesRootSecrets, EtcdRootSecrets

use std::net::IpAddr;

use corten_config::view::MachineView;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::secrets::{EtcdRoot, KubernetesRoot, OsRoot, PrivateKey};

use crate::configuration::{accepted, complete, pair};

/// See the module.
pub struct Roots;

controller!(Roots, "secrets.Root",
    inputs: [weak MachineConfig],
    outputs: [exclusive OsRoot, exclusive KubernetesRoot, exclusive EtcdRoot]);

impl Transform for Roots {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        plan.put(OsRoot::ID, os(&config));
        if config.is_control_plane() {
            plan.put(KubernetesRoot::ID, kubernetes(&config));
            let ca = config.cluster.etcd.ca.as_ref();
            plan.put(EtcdRoot::ID, EtcdRoot { etcd_ca: ca.map(pair) });
        }
        plan
    }
}

fn os(config: &MachineView) -> OsRoot {
    let machine = &config.machine;
    let (ips, names) = split(&machine.cert_sans);
    OsRoot {
        issuing_ca: machine.ca.as_ref().map(pair),
        accepted_cas: accepted(machine.ca.as_ref(), &machine.accepted_cas),
        cert_san_ips: ips,
        cert_san_dns_names: names,
        token: machine.token.reveal().clone(),
    }
}

fn kubernetes(config: &MachineView) -> KubernetesRoot {
    let cluster = &config.cluster;
    let accounts = &cluster.service_accounts;
    let (id, secret) = cluster.token.reveal().split_once('.').unwrap_or_default();
    let host = cluster.endpoint_url.iter().map(|url| url.host.clone());
    KubernetesRoot {
        name: cluster.name.clone(),
        endpoint: cluster.endpoint.clone(),
        local_endpoint: format!("https://127.0.0.1:{}", cluster.api_server.port),
        cert_sans: host.chain(cluster.api_server.cert_sans.iter().cloned()).collect(),
        api_server_ips: cluster.network.api_service_ips(),
        dns_domain: cluster.network.dns_domain.clone(),
        issuing_ca: cluster.ca.as_ref().map(pair),
        accepted_cas: accepted(cluster.ca.as_ref(), &cluster.accepted_cas),
        aggregator_ca: cluster.aggregator_ca.as_ref().map(pair),
        accepted_aggregator_cas: accepted(cluster.aggregator_ca.as_ref(), &cluster.accepted_aggregator_cas),
        service_account: Some(accounts.signing_key.reveal().clone())
            .filter(|key| !key.is_empty())
            .map(|key| PrivateKey { key }),
        service_account_accepted_keys: accounts
            .accepted_keys
            .iter()
            .map(|key| PrivateKey { key: key.clone() })
            .collect(),
        issuer_url: accounts.issuer_url.clone(),
        accepted_issuers: accounts.accepted_issuers.clone(),
        api_audiences: accounts.audiences.clone(),
        etcd_encryption_config: cluster.etcd_encryption.reveal().clone(),
        aescbc_encryption_secret: cluster.aescbc_secret.reveal().clone(),
        secretbox_encryption_secret: cluster.secretbox_secret.reveal().clone(),
        bootstrap_token_id: id.to_owned(),
        bootstrap_token_secret: secret.to_owned(),
    }
}

/// Names and addresses of one list apart.
pub fn split(names: &[String]) -> (Vec<IpAddr>, Vec<String>) {
    let ips = names.iter().filter_map(|name| name.parse().ok()).collect();
    let others = names.iter().filter(|name| name.parse::<IpAddr>().is_err()).cloned().collect();
    (ips, others)
}
