//! The layer of the kernel command line.
//!
//! ```text
//! KernelCmdline, LinkStatus ──▶ *Spec@network-config of layer cmdline
//! ```

use std::collections::BTreeMap;

use corten_resource::{Plan, Resource, Transform, View, controller};
use corten_resources::network::{
    AddressSpec, BondSlave, Dhcp4Operator, HostnameSpec, Layer, LinkSpec, LinkStatus, LinkType, OperatorSpec,
    ResolverSpec, RouteSpec, Scope, TimeServerSpec, Vlan, VlanProtocol, layered_id,
};
use corten_resources::runtime::KernelCmdline;

use crate::cmdline::{self, Cmdline, Device, Interface, VlanArgument};
use crate::hostname::split;
use crate::layer_default::ROUTE_METRIC;

/// Writes the layer of the command line.
#[derive(Debug)]
pub struct CmdlineLayer;

controller!(CmdlineLayer, "network.CmdlineLayer",
inputs: [strong KernelCmdline, weak LinkStatus],
outputs: [
    shared LinkSpec in "network-config",
    shared AddressSpec in "network-config",
    shared RouteSpec in "network-config",
    shared OperatorSpec in "network-config",
    shared HostnameSpec in "network-config",
    shared ResolverSpec in "network-config",
    shared TimeServerSpec in "network-config",
]);

/// Name of the link that an argument means, once the link is there.
fn link_name(device: &Device, links: &[&Resource<LinkStatus>]) -> Option<String> {
    let found = |wanted: &dyn Fn(&LinkStatus) -> bool| {
        links.iter().find(|link| wanted(&link.spec)).map(|link| link.metadata.id.clone())
    };
    match device {
        Device::Named(name) => Some(name.clone()),
        Device::First => found(&|link| link.is_physical()),
        Device::Hardware(address) => {
            found(&|link| link.permanent_addr == *address || link.hardware_addr == *address)
        }
    }
}

/// Links that arguments make, and those that belong to bonds, by name.
type Made = BTreeMap<String, LinkSpec>;

fn made(cmdline: &Cmdline) -> Made {
    let mut made = Made::new();
    for bond in &cmdline.bonds {
        let link = LinkSpec {
            logical: true,
            kind: "bond".into(),
            link_type: LinkType::ETHER,
            mtu: bond.mtu,
            bond_master: bond.settings(),
            ..LinkSpec::up(Layer::Cmdline, &bond.name)
        };
        made.insert(bond.name.clone(), link);
        for (member, slave_index) in bond.links.iter().zip(0..) {
            let bond_slave = BondSlave { master_name: bond.name.clone(), slave_index };
            made.insert(member.clone(), LinkSpec { bond_slave, ..LinkSpec::up(Layer::Cmdline, member) });
        }
    }
    made.extend(cmdline.vlans.iter().map(|vlan| (vlan.name.clone(), vlan_link(vlan))));
    made
}

fn vlan_link(vlan: &VlanArgument) -> LinkSpec {
    LinkSpec {
        logical: true,
        kind: "vlan".into(),
        link_type: LinkType::ETHER,
        parent_name: vlan.parent.clone(),
        vlan: Vlan { id: vlan.id, protocol: VlanProtocol::Dot1Q },
        ..LinkSpec::up(Layer::Cmdline, &vlan.name)
    }
}

fn put_interface(plan: &mut Plan<CmdlineLayer>, interface: &Interface, link: &str, made: &Made) {
    let id = |id: &str| layered_id(Layer::Cmdline, id);
    // What is made has its own, complete entry.
    if !made.contains_key(link) {
        plan.put::<LinkSpec>(id(link), LinkSpec::up(Layer::Cmdline, link));
    }
    if interface.dhcp {
        let settings = Dhcp4Operator { route_metric: ROUTE_METRIC, ..Dhcp4Operator::default() };
        let operator = OperatorSpec::dhcp4(Layer::Cmdline, link, settings);
        plan.put::<OperatorSpec>(id(&operator.id()), operator);
    }
    if let Some(address) = interface.address {
        let address = AddressSpec::new(Layer::Cmdline, link, address, Scope::GLOBAL);
        plan.put::<AddressSpec>(id(&address.id()), address);
    }
    if let Some(gateway) = interface.gateway {
        let route = RouteSpec::new(Layer::Cmdline, None, Some(gateway), link, ROUTE_METRIC);
        plan.put::<RouteSpec>(id(&route.id()), route);
    }
}

/// What the machine has once, from all interfaces together.
fn put_machine(plan: &mut Plan<CmdlineLayer>, cmdline: &Cmdline) {
    let id = |id: &str| layered_id(Layer::Cmdline, id);
    let from_interface = cmdline.interfaces.iter().rev().find_map(|interface| interface.hostname.as_ref());
    if let Some(name) = cmdline.hostname.as_ref().or(from_interface) {
        plan.put::<HostnameSpec>(id(HostnameSpec::ID), split(Layer::Cmdline, name));
    }
    let servers: Vec<_> =
        cmdline.interfaces.iter().flat_map(|interface| interface.name_servers.clone()).collect();
    if !servers.is_empty() {
        plan.put::<ResolverSpec>(id(ResolverSpec::ID), ResolverSpec::plain(Layer::Cmdline, servers));
    }
    let clocks = cmdline.interfaces.iter().flat_map(|interface| &interface.time_servers);
    let time_servers: Vec<String> = clocks.map(ToString::to_string).collect();
    if !time_servers.is_empty() {
        let spec = TimeServerSpec { time_servers, use_nts: false, layer: Layer::Cmdline };
        plan.put::<TimeServerSpec>(id(TimeServerSpec::ID), spec);
    }
}

impl Transform for CmdlineLayer {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let lines = view.list::<KernelCmdline>();
        let links = view.list::<LinkStatus>();
        for row in lines {
            let cmdline = cmdline::parse(&row.spec.cmdline);
            let made = made(&cmdline);
            for (name, link) in &made {
                plan.put::<LinkSpec>(layered_id(Layer::Cmdline, name), link.clone());
            }
            for interface in &cmdline.interfaces {
                if let Some(link) = link_name(&interface.device, &links) {
                    put_interface(&mut plan, interface, &link, &made);
                }
            }
            put_machine(&mut plan, &cmdline);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::resource;

    use super::*;

    #[test]
    fn an_address_on_a_vlan_of_the_first_link() {
        let cmdline =
            "vlan=vlan5:eth0 ip=10.0.0.2::10.0.0.1:24:n1:vlan5 ip=10.1.0.2:::255.255.0.0".to_owned();
        let ether = LinkStatus { link_type: LinkType::ETHER, ..LinkStatus::default() };
        let resources = [resource("eth0", ether), resource("cmdline", KernelCmdline { cmdline })];
        let plan = CmdlineLayer.plan(&View::of(resources, UNIX_EPOCH));
        let ids: Vec<_> = plan.outputs::<AddressSpec>().iter().map(|row| row.metadata.id.clone()).collect();
        assert_eq!(ids, ["cmdline/vlan5/10.0.0.2/24", "cmdline/eth0/10.1.0.2/16"]);
        let links: Vec<_> = plan.outputs::<LinkSpec>().iter().map(|row| row.metadata.id.clone()).collect();
        assert_eq!(links, ["cmdline/vlan5", "cmdline/eth0"], "each link once");
        assert!(plan.output::<RouteSpec>("cmdline/inet4/10.0.0.1//1024").is_some());
        assert_eq!(
            plan.output::<HostnameSpec>("cmdline/hostname").map(|row| row.hostname.as_str()),
            Some("n1")
        );
    }

    #[test]
    fn a_bond_with_an_address() {
        let cmdline =
            "bond=bond1:eth2,eth3:mode=active-backup,miimon=100:9000 ip=10.0.0.2::::n1:bond1".to_owned();
        let resources = [resource("cmdline", KernelCmdline { cmdline })];
        let plan = CmdlineLayer.plan(&View::of(resources, UNIX_EPOCH));
        let bond = plan.output::<LinkSpec>("cmdline/bond1").expect("a bond");
        assert_eq!((bond.kind.as_str(), bond.mtu, bond.bond_master.miimon), ("bond", 9000, 100));
        let member = plan.output::<LinkSpec>("cmdline/eth3").expect("a member");
        assert_eq!((member.bond_slave.master_name.as_str(), member.bond_slave.slave_index), ("bond1", 1));
        assert!(plan.output::<AddressSpec>("cmdline/bond1/10.0.0.2/32").is_some());
    }
}
