//! Names and addresses that certificates of this machine must carry.
//!
//!     OSRoot, KubernetesRoot, HostnameStatus, NodeAddress ──▶ CertSANs: api, k8s, maintenance

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::network::{HostnameStatus, NodeAddress};
use corten_resources::secrets::{CertSan, KubernetesRoot, OsRoot};

use crate::roots::split;

/// Common name of the maintenance API.
const MAINTENANCE_NAME: &str = "maintenance-service.talos.dev";

/// See the module.
pub struct Names;

controller!(Names, "secrets.CertSAN",
    inputs: [weak OsRoot, weak KubernetesRoot, weak HostnameStatus, weak NodeAddress],
    outputs: [exclusive CertSan]);

impl Transform for Names {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(machine) = Machine::of(view) else { return plan.waiting("addresses of this machine") };
        plan.put(CertSan::MAINTENANCE, machine.clone().finish(MAINTENANCE_NAME));
        let Some(hostname) = view.get::<HostnameStatus>(HostnameStatus::ID) else {
            return plan.waiting("a hostname");
        };
        let fqdn = hostname.fqdn();
        let machine = machine.with([hostname.hostname.clone(), fqdn.clone()], []);
        if let Some(root) = view.get::<OsRoot>(OsRoot::ID) {
            let api = machine.clone().with(root.cert_san_dns_names.clone(), root.cert_san_ips.clone());
            plan.put(CertSan::API, api.finish(&fqdn));
        }
        if let Some(root) = view.get::<KubernetesRoot>(KubernetesRoot::ID) {
            plan.put(CertSan::KUBERNETES, kubernetes(machine, root).finish(&fqdn));
        }
        plan
    }
}

fn kubernetes(machine: Machine, root: &KubernetesRoot) -> Machine {
    let (ips, names) = split(&root.cert_sans);
    let services =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"].map(str::to_owned);
    machine
        .with(services, [IpAddr::V6(Ipv6Addr::LOCALHOST)])
        .with([format!("kubernetes.default.svc.{}", root.dns_domain)], root.api_server_ips.clone())
        .with(names, ips)
}

/// Names collected so far, each once and sorted.
#[derive(Clone)]
struct Machine {
    ips: BTreeSet<IpAddr>,
    names: BTreeSet<String>,
}

impl Machine {
    fn of(view: &View<Names>) -> Option<Self> {
        let filtered = NodeAddress::filtered(NodeAddress::ACCUMULATIVE, "no-k8s");
        let addresses = view.get::<NodeAddress>(&filtered).or_else(|| view.get(NodeAddress::ACCUMULATIVE))?;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Some(Self { ips: addresses.ips().into_iter().chain([loopback]).collect(), names: BTreeSet::new() })
    }

    fn with(
        mut self,
        names: impl IntoIterator<Item = String>,
        ips: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        self.names.extend(names.into_iter().filter(|name| !name.is_empty()));
        self.ips.extend(ips);
        self
    }

    fn finish(self, fqdn: &str) -> CertSan {
        CertSan {
            ips: self.ips.into_iter().collect(),
            dns_names: self.names.into_iter().collect(),
            fqdn: fqdn.to_owned(),
        }
    }
}
