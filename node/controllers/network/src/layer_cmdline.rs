//! The layer of the kernel command line.
//!
//! ```text
//! KernelCmdline, LinkStatus ──▶ *Spec@network-config of layer cmdline
//! ```

use corten_resource::{Plan, Resource, Transform, View, controller};
use corten_resources::network::{
    AddressSpec, Dhcp4Operator, HostnameSpec, Layer, LinkSpec, LinkStatus, LinkType, OperatorSpec,
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

fn put_interface(plan: &mut Plan<CmdlineLayer>, interface: &Interface, link: &str, vlans: &[VlanArgument]) {
    let id = |id: &str| layered_id(Layer::Cmdline, id);
    // A VLAN has its own, complete entry.
    if !vlans.iter().any(|vlan| vlan.name == link) {
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
            for vlan in &cmdline.vlans {
                plan.put::<LinkSpec>(layered_id(Layer::Cmdline, &vlan.name), vlan_link(vlan));
            }
            for interface in &cmdline.interfaces {
                if let Some(link) = link_name(&interface.device, &links) {
                    put_interface(&mut plan, interface, &link, &cmdline.vlans);
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
}
