//! Operators of the machine configuration that obtain addresses of their own: DHCP for IPv6, shared addresses.
//!
//! ```text
//! MachineConfig, LinkStatus ──▶ OperatorSpec@network-config of layer configuration
//! ```
//! Only control planes share addresses. DHCP for IPv4 is put together with its link, in `config_links`.

use std::net::IpAddr;

use corten_config::view::Dhcp6;
use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::network::{
    ClientIdentifier, ClientIdentifierSpec, Dhcp6Operator, Layer, LinkStatus, OperatorSpec, layered_id,
};

use crate::config_links::link_names;
use crate::from_config::machine_view;
use crate::layer_default::ROUTE_METRIC;

/// Writes what the configuration says of operators.
#[derive(Debug)]
pub struct OperatorConfig;

controller!(OperatorConfig, "network.OperatorConfig",
    inputs: [strong MachineConfig, weak LinkStatus],
    outputs: [shared OperatorSpec in "network-config"]);

fn dhcp6(dhcp: &Dhcp6) -> Dhcp6Operator {
    let kind = match dhcp.client_identifier.as_str() {
        "none" => ClientIdentifier::None,
        "duid" => ClientIdentifier::Duid,
        _ => ClientIdentifier::Mac,
    };
    let duid_raw_hex = if kind == ClientIdentifier::Duid { dhcp.duid.clone() } else { String::new() };
    Dhcp6Operator {
        route_metric: dhcp.route_metric.unwrap_or(ROUTE_METRIC),
        skip_hostname_request: dhcp.ignore_hostname,
        client_identifier: ClientIdentifierSpec { kind, duid_raw_hex },
    }
}

fn put(plan: &mut Plan<OperatorConfig>, link: &str, dhcp: Option<&Dhcp6>, shared: &[IpAddr]) {
    let dhcp = dhcp.map(|dhcp| OperatorSpec::dhcp6(Layer::Configuration, link, dhcp6(dhcp)));
    let shared = shared.iter().map(|ip| OperatorSpec::vip(Layer::Configuration, link, *ip));
    for operator in dhcp.into_iter().chain(shared) {
        plan.put::<OperatorSpec>(layered_id(Layer::Configuration, &operator.id()), operator);
    }
}

impl Transform for OperatorConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let config = machine_view(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        let shared = |addresses: &[IpAddr]| match config.is_control_plane() {
            true => addresses.to_vec(),
            false => Vec::new(),
        };
        let links = view.list::<LinkStatus>();
        for interface in config.machine.network.interfaces.iter().filter(|interface| !interface.ignore) {
            for name in link_names(interface, &links) {
                put(&mut plan, &name, interface.dhcp6.as_ref(), &shared(&interface.shared_addresses));
                for vlan in &interface.vlans {
                    let name = format!("{name}.{}", vlan.id);
                    put(&mut plan, &name, vlan.dhcp6.as_ref(), &shared(&vlan.shared_addresses));
                }
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    fn operators(kind: &str) -> Vec<String> {
        let yaml = format!(
            "
version: v1alpha1
machine:
  type: {kind}
  network:
    interfaces:
      - interface: eth1
        dhcp: true
        dhcpOptions: {{ipv6: true, duidv6: 00030001525400123456}}
        vip: {{ip: 10.0.0.99}}
        vlans: [{{vlanId: 7, vip: {{ip: 10.7.0.99}}}}]
cluster:
  controlPlane: {{endpoint: https://10.0.0.5:6443}}
---
apiVersion: v1alpha1
kind: Layer2VIPConfig
name: fd00::99
link: eth0
---
apiVersion: v1alpha1
kind: DHCPv6Config
name: eth0
routeMetric: 77
clientIdentifier: none
"
        );
        let config = MachineConfig { yaml: yaml.into_bytes() };
        let view = View::of([resource(MachineConfig::ACTIVE, config)], UNIX_EPOCH);
        let plan = OperatorConfig.plan(&view);
        let eth0 = &plan.output::<OperatorSpec>("configuration/dhcp6/eth0").expect("an operator").dhcp6;
        assert_eq!((eth0.route_metric, eth0.client_identifier.kind), (77, ClientIdentifier::None));
        let eth1 = &plan.output::<OperatorSpec>("configuration/dhcp6/eth1").expect("an operator").dhcp6;
        assert_eq!(eth1.client_identifier.duid_raw_hex, "00030001525400123456");
        plan.outputs::<OperatorSpec>().iter().map(|row| row.metadata.id.clone()).collect()
    }

    #[test]
    fn addresses_are_shared_by_control_planes_alone() {
        let expected = [
            "configuration/dhcp6/eth0",
            "configuration/dhcp6/eth1",
            "configuration/vip/eth0/fd00::99",
            "configuration/vip/eth1.7/10.7.0.99",
            "configuration/vip/eth1/10.0.0.99",
        ];
        let mut found = operators("controlplane");
        found.sort();
        assert_eq!(found, expected);
        let mut found = operators("worker");
        found.sort();
        assert_eq!(found, expected[..2]);
    }
}
