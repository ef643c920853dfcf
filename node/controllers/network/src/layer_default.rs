//! The built-in layer: loopback, links up, DHCP where nothing else says how a link gets its address.
//!
//! ```text
//! LinkStatus, what other layers configured ──▶ LinkSpec, AddressSpec, OperatorSpec, ResolverSpec, TimeServerSpec
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::network::{
    AddressSpec, Dhcp4Operator, Layer, LinkSpec, LinkStatus, Operator, OperatorSpec, ResolverSpec, Scope,
    TimeServerSpec, layered_id,
};
use corten_resources::runtime::KernelCmdline;
use ipnet::IpNet;

use crate::cmdline;

/// Metric of default routes from DHCP.
pub const ROUTE_METRIC: u32 = 1024;
/// Name servers when nothing names any.
const NAME_SERVERS: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(1, 1, 1, 1)), IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8))];
/// Time server when nothing names one.
const TIME_SERVER: &str = "time.cloudflare.com";
/// The loopback link.
pub const LOOPBACK: &str = "lo";

/// Writes the built-in layer.
#[derive(Debug)]
pub struct DefaultLayer {
    /// Links are ours to configure; otherwise they are adopted as they are.
    pub own_links: bool,
}

controller!(DefaultLayer, "network.DefaultLayer",
inputs: [
    weak LinkStatus,
    weak KernelCmdline,
    weak LinkSpec in "network-config",
    weak AddressSpec in "network-config",
    weak OperatorSpec in "network-config",
],
outputs: [
    shared LinkSpec in "network-config",
    shared AddressSpec in "network-config",
    shared OperatorSpec in "network-config",
    shared ResolverSpec in "network-config",
    shared TimeServerSpec in "network-config",
]);

/// Links that a layer above the built-in one says something about. A shared address or DHCP for IPv6 says nothing of where the
/// machine has its own address from.
fn configured(view: &View<DefaultLayer>) -> BTreeSet<String> {
    let own = |layer: Layer| layer != Layer::Default && layer != Layer::Operator;
    let mut links = BTreeSet::new();
    for row in view.list::<LinkSpec>() {
        if own(row.spec.layer) {
            links.insert(row.spec.name.clone());
        }
        // The configuration has documents for links below VLANs; the command line has no other word for them.
        if row.spec.layer == Layer::Cmdline {
            links.insert(row.spec.parent_name.clone());
        }
    }
    let addresses = view.list::<AddressSpec>();
    links.extend(addresses.iter().filter(|row| own(row.spec.layer)).map(|row| row.spec.link_name.clone()));
    let operators = view.list::<OperatorSpec>();
    let asks = |operator: &OperatorSpec| own(operator.layer) && operator.operator == Operator::Dhcp4;
    links.extend(operators.iter().filter(|row| asks(&row.spec)).map(|row| row.spec.link_name.clone()));
    links
}

fn loopback() -> Vec<AddressSpec> {
    let nets = ["127.0.0.1/8", "::1/128"].into_iter().filter_map(|text| text.parse::<IpNet>().ok());
    nets.map(|net| AddressSpec::new(Layer::Default, LOOPBACK, net, Scope::HOST)).collect()
}

impl Transform for DefaultLayer {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let id = |id: &str| layered_id(Layer::Default, id);
        plan.put::<LinkSpec>(id(LOOPBACK), LinkSpec::up(Layer::Default, LOOPBACK));
        for address in loopback() {
            plan.put::<AddressSpec>(id(&address.id()), address);
        }
        let resolvers = ResolverSpec::plain(Layer::Default, NAME_SERVERS.to_vec());
        plan.put::<ResolverSpec>(id(ResolverSpec::ID), resolvers);
        let servers =
            TimeServerSpec { time_servers: vec![TIME_SERVER.into()], use_nts: false, layer: Layer::Default };
        plan.put::<TimeServerSpec>(id(TimeServerSpec::ID), servers);
        if !self.own_links {
            return plan;
        }
        let configured = configured(view);
        let cmdline = view.list::<KernelCmdline>();
        let ignored: Vec<String> =
            cmdline.iter().flat_map(|row| cmdline::parse(&row.spec.cmdline).ignored).collect();
        for link in view.list::<LinkStatus>() {
            let name = &link.metadata.id;
            if !link.spec.is_physical() || link.spec.master_index != 0 || ignored.contains(name) {
                continue;
            }
            plan.put::<LinkSpec>(id(name), LinkSpec::up(Layer::Default, name));
            if !configured.contains(name) {
                let settings = Dhcp4Operator { route_metric: ROUTE_METRIC, ..Dhcp4Operator::default() };
                let operator = OperatorSpec::dhcp4(Layer::Default, name, settings);
                plan.put::<OperatorSpec>(id(&operator.id()), operator);
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::{resource, resource_in};
    use corten_resources::network::{CONFIG_NAMESPACE, LinkType};

    use super::*;

    fn operators(own_links: bool) -> Vec<String> {
        let ether = || LinkStatus { link_type: LinkType::ETHER, ..LinkStatus::default() };
        let configured = LinkSpec::up(Layer::Configuration, "eth1");
        let cmdline = "talos.network.interface.ignore=eth2".to_owned();
        let vlan = LinkSpec { parent_name: "eth0".into(), ..LinkSpec::up(Layer::Configuration, "eth0.5") };
        let shared = OperatorSpec::vip(Layer::Configuration, "eth0", IpAddr::from([10, 0, 0, 9]));
        let resources = [
            resource_in(CONFIG_NAMESPACE, "configuration/vip/eth0/10.0.0.9", shared),
            resource_in(CONFIG_NAMESPACE, "configuration/eth0.5", vlan),
            resource("eth0", ether()),
            resource("eth1", ether()),
            resource("eth2", ether()),
            resource("cni0", LinkStatus { kind: "bridge".into(), ..ether() }),
            resource("eth3", LinkStatus { master_index: 7, ..ether() }),
            resource("cmdline", KernelCmdline { cmdline }),
            resource_in(CONFIG_NAMESPACE, "configuration/eth1", configured),
        ];
        let plan = DefaultLayer { own_links }.plan(&View::of(resources, UNIX_EPOCH));
        assert!(plan.output::<AddressSpec>("default/lo/127.0.0.1/8").is_some());
        plan.outputs::<OperatorSpec>().iter().map(|row| row.metadata.id.clone()).collect()
    }

    #[test]
    fn dhcp_runs_where_nothing_else_is_said() {
        assert_eq!(operators(true), ["default/dhcp4/eth0"]);
        assert!(operators(false).is_empty());
    }
}
