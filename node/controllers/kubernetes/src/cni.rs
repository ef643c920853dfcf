//! The CNI configuration of this machine's pods, when flannel is the network.
//!
//!     /run/flannel/subnet.env ──▶ /etc/cni/net.d/10-flannel.conflist
//!
//! Flannel writes which subnet and which packet size this machine has; the bridge plugin with these values does the rest, so no plugin of
//! flannel's own is needed.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use corten_config::view::Cni;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::NodeStatus;
use serde_json::{Value, json};

use crate::configuration;
use crate::files::{self, Change, Disk, File, Observed, Owner};

/// Where flannel says what it has.
const SUBNET_FILE: &str = "/run/flannel/subnet.env";
/// Where containerd looks for networks.
const CONFIG_FILE: &str = "/etc/cni/net.d/10-flannel.conflist";
/// How often flannel's file is looked for and at.
const MISSING: Duration = Duration::from_millis(500);
const PRESENT: Duration = Duration::from_secs(15);
/// Largest file that is read.
const BYTES_MAX: u64 = 4096;

/// See the module.
pub struct FlannelNetwork {
    disk: Disk,
}

impl FlannelNetwork {
    /// A controller that writes to `disk`.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk }
    }
}

controller!(FlannelNetwork, "k8s.FlannelCNI", inputs: [weak MachineConfig, weak NodeStatus], outputs: []);

/// What is on disk.
#[derive(Debug)]
pub struct Seen {
    subnet: Option<Subnet>,
    files: Observed,
}

/// What flannel decided for this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Subnet {
    subnets: Vec<ipnet::IpNet>,
    mtu: u32,
}

impl Driver for FlannelNetwork {
    type Observed = Seen;
    type Op = Change;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Seen> {
        let path = self.disk.path(SUBNET_FILE);
        let subnet = match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Ok(metadata) if metadata.len() > BYTES_MAX => None,
            _ => parse(&std::fs::read_to_string(&path)?),
        };
        Ok(Seen { subnet, files: self.disk.observe_files([CONFIG_FILE])? })
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Change> {
        let mut plan = Plan::new();
        let config = configuration::complete(view.get(MachineConfig::ACTIVE));
        if !config.is_some_and(|config| matches!(config.cluster.network.cni, Cni::Flannel(_))) {
            return plan;
        }
        let Some(subnet) = &seen.subnet else {
            let is_soon = !view.list::<NodeStatus>().is_empty();
            let plan = plan.waiting("flannel to say which subnet this machine has");
            return if is_soon { plan.again_in(MISSING) } else { plan.again_in(PRESENT) };
        };
        let wanted = [File::new(CONFIG_FILE, conflist(subnet).to_string(), 0o644, Owner::ROOT)];
        for change in files::changes(&wanted, &seen.files) {
            plan.op(change);
        }
        plan.again_in(PRESENT)
    }

    async fn apply(&mut self, op: Change) -> anyhow::Result<()> {
        Ok(self.disk.apply(&op)?)
    }
}

/// The file of `KEY=value` lines; nothing while it is not complete.
fn parse(text: &str) -> Option<Subnet> {
    let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.trim().split_once('=')).collect();
    let subnets: Vec<ipnet::IpNet> = ["FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET"]
        .iter()
        .filter_map(|key| values.get(key)?.parse::<ipnet::IpNet>().ok())
        .map(|subnet| subnet.trunc())
        .collect();
    let mtu = values.get("FLANNEL_MTU")?.parse().ok()?;
    (!subnets.is_empty()).then_some(Subnet { subnets, mtu })
}

fn conflist(subnet: &Subnet) -> Value {
    let ranges: Vec<Value> =
        subnet.subnets.iter().map(|subnet| json!([{ "subnet": subnet.to_string() }])).collect();
    let routes: Vec<Value> = subnet
        .subnets
        .iter()
        .map(|subnet| json!({ "dst": if matches!(subnet, ipnet::IpNet::V4(_)) { "0.0.0.0/0" } else { "::/0" } }))
        .collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "cbr0",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "mtu": subnet.mtu,
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flannels_file_becomes_a_bridge() {
        let text = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        let subnet = parse(text).expect("complete");
        let bridge = &conflist(&subnet)["plugins"][0];
        assert_eq!(bridge["ipam"]["ranges"], json!([[{ "subnet": "10.244.1.0/24" }]]));
        assert_eq!(bridge["mtu"], 1450);
    }

    #[test]
    fn an_incomplete_file_is_none() {
        for text in
            ["", "FLANNEL_MTU=1450\n", "FLANNEL_SUBNET=10.244.1.1/24\n", "FLANNEL_SUBNET=x\nFLANNEL_MTU=1450"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn any_file_of_flannel_is_read_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            if let Some(subnet) = parse(&text) {
                assert!(!subnet.subnets.is_empty());
            }
        });
    }
}
