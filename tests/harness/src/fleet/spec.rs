//! What a manager is started from, and the settings that follow from it. Everything here is pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::forward::Forward;
use crate::lab::LabSpec;
use crate::launcher::Lifetime;

/// Ports that a manager takes, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetPorts(pub u16);

impl FleetPorts {
    /// How many ports there are.
    pub const COUNT: u16 = 30;
    /// Ports after the first for the load balancers of clusters.
    const BALANCERS: (u16, u16) = (10, 29);

    /// The API for people and their tools.
    pub const fn api(self) -> u16 {
        self.0
    }

    /// Where machines join.
    pub const fn machine_api(self) -> u16 {
        self.0 + 1
    }

    /// The Kubernetes APIs of the clusters.
    pub const fn kubernetes(self) -> u16 {
        self.0 + 2
    }

    /// The manager's own metrics.
    pub const fn metrics(self) -> u16 {
        self.0 + 3
    }

    /// WireGuard, UDP.
    pub const fn wireguard(self) -> u16 {
        self.0 + 4
    }

    /// Every TCP port that a client or a machine connects to.
    pub const fn tcp(self) -> [u16; 4] {
        [self.api(), self.machine_api(), self.kubernetes(), self.metrics()]
    }
}

/// Files for TLS, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A manager to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetSpec {
    /// Name, unique in a lab.
    pub name: String,
    /// `corten-fleet`.
    pub program: PathBuf,
    /// Folder of this manager; what is in it outlives the process.
    pub folder: PathBuf,
    /// The network that it is in; the host's loopback if absent.
    pub lab: Option<LabSpec>,
    /// Its ports: those of the loopback, and in a lab the same there.
    pub ports: FleetPorts,
    /// TLS of the API and of the Kubernetes proxy; without it the API is in the clear.
    pub tls: Option<TlsPair>,
    /// Dictionaries that clients compress long texts with.
    pub dictionaries: Vec<PathBuf>,
    /// More settings, by their path in the configuration file; they win over those that follow from the rest.
    pub settings: BTreeMap<String, Value>,
    /// More variables in its environment.
    pub environment: BTreeMap<String, String>,
    /// The only processor that it may use, with all that it starts.
    pub processor: Option<usize>,
    /// How long it may live.
    pub lifetime: Lifetime,
    /// Where it is registered.
    pub registry: Option<PathBuf>,
    /// Program that calls [`crate::dispatch`]; this program if absent.
    pub launcher: Option<PathBuf>,
}

impl FleetSpec {
    /// A manager on the loopback with nothing special, owned by this program.
    pub fn new(
        name: impl Into<String>,
        program: impl Into<PathBuf>,
        folder: impl Into<PathBuf>,
        ports: FleetPorts,
    ) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            folder: folder.into(),
            lab: None,
            ports,
            tls: None,
            dictionaries: Vec::new(),
            settings: BTreeMap::new(),
            environment: BTreeMap::new(),
            processor: None,
            lifetime: Lifetime::Owned,
            registry: None,
            launcher: None,
        }
    }

    /// URL of the API for clients on this host.
    pub fn api_url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}:{}", Ipv4Addr::LOCALHOST, self.ports.api())
    }

    /// URL of the Kubernetes proxy for clients on this host.
    pub fn kubernetes_url(&self) -> String {
        format!("https://{}:{}", Ipv4Addr::LOCALHOST, self.ports.kubernetes())
    }

    /// File with the key of the first service account.
    pub fn administrator_key(&self) -> PathBuf {
        self.folder.join("administrator.key")
    }

    /// File of the store.
    pub fn store(&self) -> PathBuf {
        self.folder.join("fleet.redb")
    }

    /// File with the key that opens the store.
    pub fn store_key(&self) -> PathBuf {
        self.folder.join("store.key")
    }

    /// The address at which machines reach it.
    pub fn address_for_machines(&self) -> Ipv4Addr {
        self.lab.as_ref().map_or(Ipv4Addr::LOCALHOST, |lab| lab.gateway)
    }

    /// Ports of the host that lead to a manager in a lab.
    pub(crate) fn forwards(&self) -> Vec<Forward> {
        let same = |port: u16| Forward { host_port: port, machine_port: port };
        self.lab.iter().flat_map(|_| self.ports.tcp().map(same)).collect()
    }

    /// The settings as the configuration file has them.
    pub fn configuration(&self) -> Value {
        let mut root = Value::Object(Map::new());
        for (path, value) in self.derived() {
            set(&mut root, path, value);
        }
        for (path, value) in &self.settings {
            set(&mut root, path, value.clone());
        }
        root
    }

    /// Settings that follow from the rest. Every port is one of ours, so that several managers run on one host.
    fn derived(&self) -> Vec<(&'static str, Value)> {
        let inside = if self.lab.is_some() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
        let at = |port: u16| json!(format!("{inside}:{port}"));
        let (ports, machines) = (self.ports, self.address_for_machines());
        let (first, last) = FleetPorts::BALANCERS;
        let mut all = vec![
            ("services.api.endpoint", at(ports.api())),
            ("services.api.advertisedURL", json!(self.api_url())),
            ("services.machineAPI.endpoint", at(ports.machine_api())),
            (
                "services.machineAPI.advertisedURL",
                json!(format!("http://{machines}:{}", ports.machine_api())),
            ),
            ("services.kubernetesProxy.endpoint", at(ports.kubernetes())),
            ("services.kubernetesProxy.advertisedURL", json!(self.kubernetes_url())),
            ("services.metrics.endpoint", at(ports.metrics())),
            ("services.siderolink.wireGuard.endpoint", at(ports.wireguard())),
            (
                "services.siderolink.wireGuard.advertisedEndpoint",
                json!(format!("{machines}:{}", ports.wireguard())),
            ),
            ("services.localResourceService.enabled", json!(false)),
            ("services.loadBalancer.minPort", json!(ports.0 + first)),
            ("services.loadBalancer.maxPort", json!(ports.0 + last)),
            ("auth.initialServiceAccount.keyPath", json!(self.administrator_key())),
            ("auth.initialServiceAccount.lifetime", json!("24h0m0s")),
            ("storage.default.embedded.path", json!(self.store())),
            ("storage.default.keyFile", json!(self.store_key())),
            ("features.configDataDictionaries", json!(self.dictionaries)),
        ];
        if let Some(TlsPair { certificate, key }) = &self.tls {
            all.extend([
                ("services.api.certFile", json!(certificate)),
                ("services.api.keyFile", json!(key)),
                ("services.kubernetesProxy.certFile", json!(certificate)),
                ("services.kubernetesProxy.keyFile", json!(key)),
            ]);
        }
        all
    }
}

/// Sets a value whose keys are joined by points.
fn set(root: &mut Value, path: &str, value: Value) {
    let mut at = root;
    for key in path.split('.') {
        at = &mut at[key];
    }
    *at = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> FleetSpec {
        FleetSpec::new("fleet", "/bin/true", "/tmp/fleet", FleetPorts(100))
    }

    #[test]
    fn settings_are_nested_and_those_that_are_given_win() {
        let mut spec = spec();
        spec.settings.insert("services.metrics.endpoint".to_owned(), json!("127.0.0.1:7"));
        spec.settings.insert("logs.level".to_owned(), json!("debug"));
        let all = spec.configuration();
        assert_eq!(all["services"]["api"]["endpoint"], "127.0.0.1:100");
        assert_eq!(all["services"]["machineAPI"]["advertisedURL"], "http://127.0.0.1:101");
        assert_eq!(all["services"]["metrics"]["endpoint"], "127.0.0.1:7");
        assert_eq!(all["logs"]["level"], "debug");
        assert_eq!(all["services"]["loadBalancer"]["maxPort"], 129);
        assert!(all["services"]["api"].get("certFile").is_none());
    }

    #[test]
    fn in_a_lab_machines_come_to_the_gateway_and_clients_to_the_loopback() {
        let mut spec = spec();
        assert!(spec.forwards().is_empty());
        spec.lab = Some(LabSpec::new("lab"));
        spec.tls = Some(TlsPair { certificate: "c".into(), key: "k".into() });
        let all = spec.configuration();
        assert_eq!(all["services"]["siderolink"]["wireGuard"]["advertisedEndpoint"], "10.5.0.1:104");
        assert_eq!(all["services"]["api"]["endpoint"], "0.0.0.0:100");
        assert_eq!(all["services"]["api"]["advertisedURL"], "https://127.0.0.1:100");
        assert_eq!(all["services"]["kubernetesProxy"]["keyFile"], "k");
        assert_eq!(spec.forwards().len(), 4);
    }
}
