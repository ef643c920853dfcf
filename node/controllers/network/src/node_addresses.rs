//! Addresses of this machine for everyone who needs one.
//!
//! ```text
//! AddressStatus, LinkStatus, OperatorSpec, filters, order ──▶ NodeAddress default, current, routed, accumulative (and filtered)
//! ```
//! `default` stays for as long as the address exists; `accumulative` never forgets within one boot. The address in the
//! network of a manager is for the manager alone: it is current, but neither routed nor the default. An address that control
//! planes share is never the default; it is among those that are not forgotten before this machine has it, so that no
//! certificate changes, and nothing that serves with one starts again, at the moment when it gets it.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv6Addr};

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::network::{
    AddressFlags, AddressStatus, LinkStatus, NodeAddress, NodeAddressFilter, NodeAddressSortAlgorithm,
    OperatorSpec, Scope, SortAlgorithm,
};
use corten_resources::siderolink::is_in_network;
use ipnet::IpNet;

/// Where the host's resolver listens for pods over IPv6.
const HOST_DNS_V6: Ipv6Addr = Ipv6Addr::new(0xfd54, 0x616c, 0x6f73, 0, 0x204f, 0x5320, 0x444e, 0x531);
/// Addresses remembered; the oldest in the order of sorting stay.
const REMEMBERED_MAX: usize = 256;

/// Publishes the addresses.
#[derive(Debug)]
pub struct NodeAddresses;

controller!(NodeAddresses, "network.NodeAddresses",
    inputs: [
        weak AddressStatus,
        weak LinkStatus,
        weak OperatorSpec,
        weak NodeAddressFilter,
        weak NodeAddressSortAlgorithm,
        weak NodeAddress,
    ],
    outputs: [exclusive NodeAddress]);

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether others could use this address to reach the machine.
fn names_the_machine(row: &AddressStatus) -> bool {
    let ip = row.address.addr();
    let unusable = AddressFlags(AddressFlags::TENTATIVE.0 | AddressFlags::DADFAILED.0);
    row.scope < Scope::LINK
        && row.flags.0 & unusable.0 == 0
        && !(ip.is_loopback() || ip.is_multicast() || ip.is_unspecified() || is_link_local(ip))
        && ip != IpAddr::V6(HOST_DNS_V6)
}

fn compare(algorithm: SortAlgorithm, one: &IpNet, other: &IpNet) -> Ordering {
    let by_address = one.addr().cmp(&other.addr()).then(one.prefix_len().cmp(&other.prefix_len()));
    match algorithm {
        SortAlgorithm::V1 => by_address,
        // IPv4 before IPv6, then the more specific network.
        SortAlgorithm::V2 => one
            .addr()
            .is_ipv6()
            .cmp(&other.addr().is_ipv6())
            .then(other.prefix_len().cmp(&one.prefix_len()))
            .then(by_address),
    }
}

fn sorted(mut addresses: Vec<IpNet>, algorithm: SortAlgorithm) -> Vec<IpNet> {
    addresses.sort_by(|one, other| compare(algorithm, one, other));
    addresses.dedup();
    addresses
}

/// The one that was chosen before, while it exists and the order is the same; otherwise the first.
fn choose_default(before: Option<&NodeAddress>, own: &[IpNet], algorithm: SortAlgorithm) -> Option<IpNet> {
    let kept = before.filter(|before| before.sort_algorithm == algorithm);
    let kept = kept.and_then(|before| before.addresses.first()).filter(|address| own.contains(address));
    kept.or(own.first()).copied()
}

impl Transform for NodeAddresses {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let sort_algorithm = view
            .get::<NodeAddressSortAlgorithm>(NodeAddressSortAlgorithm::ID)
            .map(|row| row.spec.algorithm)
            .unwrap_or_default();
        let is_up = |name: &str| view.get::<LinkStatus>(name).is_some_and(|link| link.spec.is_operational());
        let rows = view.list::<AddressStatus>();
        let usable = rows.iter().filter(|row| names_the_machine(&row.spec) && is_up(&row.spec.link_name));
        let current = sorted(usable.map(|row| row.spec.address).collect(), sort_algorithm);
        let routed = current.iter().copied().filter(|address| !is_in_network(address.addr()));
        let routed: Vec<IpNet> = routed.collect();
        let before = |id: &str| view.get::<NodeAddress>(id).map(|row| &row.spec);
        let shared: Vec<IpNet> =
            view.list::<OperatorSpec>().iter().filter_map(|row| row.spec.vip.ip.map(IpNet::from)).collect();
        let own: Vec<IpNet> = routed.iter().copied().filter(|address| !shared.contains(address)).collect();
        let default = choose_default(before(NodeAddress::DEFAULT), &own, sort_algorithm);
        let known = before(NodeAddress::ACCUMULATIVE).map(|row| row.addresses.clone()).unwrap_or_default();
        let all = known.into_iter().chain(current.clone()).chain(shared);
        let mut accumulative = sorted(all.collect(), sort_algorithm);
        accumulative.truncate(REMEMBERED_MAX);
        let mut put = |id: &str, addresses: Vec<IpNet>| {
            plan.put::<NodeAddress>(id, NodeAddress { addresses, sort_algorithm });
        };
        if let Some(default) = default {
            put(NodeAddress::DEFAULT, vec![default]);
        }
        let lists = [
            (NodeAddress::CURRENT, &current),
            (NodeAddress::ROUTED, &routed),
            (NodeAddress::ACCUMULATIVE, &accumulative),
        ];
        for (id, addresses) in lists {
            put(id, addresses.clone());
            for filter in view.list::<NodeAddressFilter>() {
                let passing = addresses.iter().filter(|address| filter.spec.passes(address.addr()));
                put(&NodeAddress::filtered(id, &filter.metadata.id), passing.copied().collect());
            }
        }
        if default.is_some() { plan } else { plan.waiting("an address on a link that is up") }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::AnyResource;
    use corten_resource::testing::resource;
    use corten_resources::network::{Layer, LinkFlags};

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("net")
    }

    fn address(link: &str, text: &str) -> AnyResource {
        let status = AddressStatus { link_name: link.into(), address: net(text), ..AddressStatus::default() };
        resource(&status.id(), status)
    }

    fn up(link: &str) -> AnyResource {
        resource(link, LinkStatus { flags: LinkFlags::UP, ..LinkStatus::default() })
    }

    fn list(plan: &Plan<NodeAddresses>, id: &str) -> Vec<String> {
        plan.output::<NodeAddress>(id)
            .map(|spec| spec.addresses.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }

    #[test]
    fn the_default_stays_and_nothing_is_forgotten() {
        let before = NodeAddress { addresses: vec![net("10.5.0.9/24")], ..NodeAddress::default() };
        let gone = NodeAddress { addresses: vec![net("10.7.0.1/24")], ..NodeAddress::default() };
        let pods =
            NodeAddressFilter { exclude_subnets: vec![net("10.244.0.0/16")], ..NodeAddressFilter::default() };
        let resources = [
            up("eth0"),
            address("eth0", "10.5.0.9/24"),
            address("eth0", "10.5.0.2/24"),
            address("eth0", "fe80::1/64"),
            address("eth0", "169.254.1.1/16"),
            address("eth1", "10.6.0.1/24"),
            address("cni0", "10.244.0.1/24"),
            up("cni0"),
            resource(NodeAddress::DEFAULT, before),
            resource(NodeAddress::ACCUMULATIVE, gone),
            resource(NodeAddressFilter::NO_K8S, pods),
        ];
        let plan = NodeAddresses.plan(&View::of(resources, UNIX_EPOCH));
        assert_eq!(list(&plan, "default"), ["10.5.0.9/24"]);
        assert_eq!(list(&plan, "current"), ["10.5.0.2/24", "10.5.0.9/24", "10.244.0.1/24"]);
        assert_eq!(list(&plan, "current-no-k8s"), ["10.5.0.2/24", "10.5.0.9/24"]);
        assert_eq!(
            list(&plan, "accumulative"),
            ["10.5.0.2/24", "10.5.0.9/24", "10.7.0.1/24", "10.244.0.1/24"]
        );
    }

    #[test]
    fn a_shared_address_changes_no_certificate_and_never_stands_for_the_machine() {
        let (own, shared) = ("10.5.0.2/24", "10.5.0.1/32");
        let vip = OperatorSpec::vip(Layer::Configuration, "eth0", IpAddr::from([10, 5, 0, 1]));
        let order = NodeAddressSortAlgorithm { algorithm: SortAlgorithm::V2 };
        let without = [
            up("eth0"),
            address("eth0", own),
            resource(&vip.id(), vip),
            resource(NodeAddressSortAlgorithm::ID, order),
        ];
        let with = without.iter().cloned().chain([address("eth0", shared)]);
        let with = NodeAddresses.plan(&View::of(with, UNIX_EPOCH));
        let without = NodeAddresses.plan(&View::of(without, UNIX_EPOCH));
        assert_eq!(list(&with, NodeAddress::ROUTED), [shared, own]);
        assert_eq!(list(&without, NodeAddress::ROUTED), [own]);
        for plan in [with, without] {
            assert_eq!(list(&plan, NodeAddress::ACCUMULATIVE), [shared, own]);
            assert_eq!(list(&plan, NodeAddress::DEFAULT), [own]);
        }
    }

    #[test]
    fn the_address_in_the_network_of_a_manager_is_current_and_nothing_else() {
        let (manager, lan) = ("fdae:41e4:649b:9303::2/64", "fd12::7/64");
        let link = |address_of_link: &str| [up("siderolink"), address("siderolink", address_of_link)];
        let alone = NodeAddresses.plan(&View::of(link(manager), UNIX_EPOCH));
        assert_eq!(list(&alone, NodeAddress::CURRENT), [manager]);
        assert!(list(&alone, NodeAddress::ROUTED).is_empty());
        assert!(list(&alone, NodeAddress::DEFAULT).is_empty());
        let both = link(manager).into_iter().chain([up("eth0"), address("eth0", lan)]);
        let both = NodeAddresses.plan(&View::of(both, UNIX_EPOCH));
        assert_eq!(list(&both, NodeAddress::CURRENT), [lan, manager]);
        assert_eq!(list(&both, NodeAddress::ACCUMULATIVE), [lan, manager], "certificates name it");
        assert_eq!(list(&both, NodeAddress::ROUTED), [lan]);
        assert_eq!(list(&both, NodeAddress::DEFAULT), [lan]);
    }

    #[test]
    fn algorithms() {
        let all = || vec![net("10.0.0.1/8"), net("fd00::1/64"), net("192.168.0.1/32")];
        let texts = |algorithm| sorted(all(), algorithm).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(SortAlgorithm::V1), ["10.0.0.1/8", "192.168.0.1/32", "fd00::1/64"]);
        assert_eq!(texts(SortAlgorithm::V2), ["192.168.0.1/32", "10.0.0.1/8", "fd00::1/64"]);
        let plan = NodeAddresses.plan(&View::of([], UNIX_EPOCH));
        assert!(list(&plan, "default").is_empty());
    }
}
