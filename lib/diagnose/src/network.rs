//! Links, addresses, routes, the way to a manager.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corten_resources::cluster::Affiliate;
use corten_resources::network::{
    AddressStatus, LinkStatus, LinkType, NetworkStatus, NodeAddress, NodeAddressFilter, OperationalState,
    RouteStatus, RouteTable, RouteType,
};
use corten_resources::siderolink::SiderolinkStatus;

use crate::{Diagnosis, Evidence, Facts, Severity};

/// The diagnoses.
pub(crate) const TABLE: &[Diagnosis] = &[
    Diagnosis {
        id: "no-carrier",
        title: "No network cable is connected.",
        why: "None of the machine's links has a carrier, so it can talk to nobody.",
        remedy: &[
            "Plug in the cable, and see that the port of the switch is on.",
            "See with `corten get links` which links the kernel found; one that is missing needs a driver.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: no_carrier,
    },
    Diagnosis {
        id: "no-address",
        title: "The machine has no address.",
        why: "No DHCP server answered, or the configuration gives it none. Services that listen wait for one.",
        remedy: &[
            "See with `corten get addresses` and `corten get links` what there is.",
            "See that a DHCP server serves this network, or give the machine an address in its configuration.",
            "If the configuration names a link that is not there, correct its name or select it by its hardware address.",
        ],
        severity: Severity::Problem,
        after: &["no-carrier"],
        find: no_address,
    },
    Diagnosis {
        id: "duplicate-address",
        title: "Two machines have the same address.",
        why: "Answers go to one of them at a time, so connections break and etcd loses members, now and then.",
        remedy: &[
            "Find the other machine by its name and give one of them another address.",
            "Look for a static address inside the range of a DHCP server, and for a machine that was cloned.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: duplicate_address,
    },
    Diagnosis {
        id: "no-default-route",
        title: "There is no default route.",
        why: "What is not in the machine's own networks cannot be reached: registries, time servers, discovery.",
        remedy: &[
            "See with `corten get routes` what there is.",
            "Add a route to 0.0.0.0/0 with the gateway to the link's configuration, or have the DHCP server send one.",
        ],
        severity: Severity::Problem,
        after: &["no-carrier", "no-address"],
        find: no_default_route,
    },
    Diagnosis {
        id: "address-overlap",
        title: "An address of the machine lies in a subnet of pods or services.",
        why: "Traffic to it is taken for that of a pod. Nothing that uses the address works for long.",
        remedy: &[
            "Give the cluster other pod or service subnets (before it is bootstrapped), or the machine another address.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: address_overlap,
    },
    Diagnosis {
        id: "manager-away",
        title: "The machine does not reach its manager.",
        why: "The WireGuard link to the manager has had no handshake for a while. The machine works on without it.",
        remedy: &[
            "See that UDP, or with the tunnel TCP, to the manager is let through.",
            "See whether the manager runs and still accepts the machine's join token.",
        ],
        severity: Severity::Problem,
        after: &["no-carrier", "no-address", "no-default-route"],
        find: manager_away,
    },
];

fn no_carrier(facts: &Facts) -> Vec<Evidence> {
    let is_wire = |link: &LinkStatus| link.link_type == LinkType::ETHER && link.kind.is_empty();
    let wires: Vec<_> = facts.list::<LinkStatus>().filter(|link| is_wire(&link.spec)).collect();
    let is_up = |state| matches!(state, OperationalState::Up | OperationalState::Unknown);
    // A machine in a container has links of the kind `veth` only.
    if wires.is_empty() || wires.iter().any(|link| link.link_state || is_up(link.operational_state)) {
        return Vec::new();
    }
    let names: Vec<&str> = wires.iter().map(|link| link.id()).collect();
    vec![Evidence::new(format!("no carrier on {}", names.join(", ")))]
}

/// Addresses that other machines could reach.
fn addresses(facts: &Facts) -> impl Iterator<Item = (&str, IpAddr)> {
    facts.list::<AddressStatus>().filter_map(|status| {
        let address = status.address.addr();
        let is_local = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        (!is_local).then_some((status.link_name.as_str(), address))
    })
}

fn no_address(facts: &Facts) -> Vec<Evidence> {
    let is_missing = facts.list::<NetworkStatus>().any(|status| !status.address_ready)
        || (facts.has_read::<AddressStatus>() && addresses(facts).next().is_none());
    let links: Vec<&str> = facts
        .list::<LinkStatus>()
        .filter(|link| link.link_type == LinkType::ETHER)
        .map(|link| link.id())
        .collect();
    is_missing
        .then(|| Evidence::new(format!("no address on any of: {}", links.join(", "))))
        .map(|evidence| evidence.with(facts.controller("network.Dhcp")))
        .into_iter()
        .collect()
}

fn duplicate_address(facts: &Facts) -> Vec<Evidence> {
    // Who has the same name too is the same machine before its reset; discovery forgets it after half an hour.
    let mut owners: BTreeMap<IpAddr, BTreeSet<&str>> = BTreeMap::new();
    for affiliate in facts.list::<Affiliate>() {
        for address in &affiliate.addresses {
            owners.entry(*address).or_default().insert(&affiliate.hostname);
        }
    }
    let told = |(address, names): (IpAddr, BTreeSet<&str>)| {
        let names: Vec<&str> = names.into_iter().collect();
        (names.len() > 1).then(|| Evidence::new(format!("{address} is claimed by {}", names.join(" and "))))
    };
    owners.into_iter().filter_map(told).collect()
}

fn no_default_route(facts: &Facts) -> Vec<Evidence> {
    let is_default = |route: &RouteStatus| {
        let is_everywhere = route.dst.is_none_or(|dst| dst.prefix_len() == 0);
        is_everywhere && route.table == RouteTable::MAIN && route.route_type == RouteType::UNICAST
    };
    // Before there is an address there can be no route, and that is told already.
    if !facts.has_read::<RouteStatus>() || facts.list::<RouteStatus>().any(|route| is_default(&route.spec)) {
        return Vec::new();
    }
    let count = facts.list::<RouteStatus>().filter(|route| route.table == RouteTable::MAIN).count();
    vec![Evidence::new(format!("none of the {count} routes of the main table leads everywhere"))]
}

fn address_overlap(facts: &Facts) -> Vec<Evidence> {
    let Some(filter) = facts.get::<NodeAddressFilter>(NodeAddressFilter::ONLY_K8S) else { return Vec::new() };
    let Some(own) = facts.get::<NodeAddress>(NodeAddress::DEFAULT) else { return Vec::new() };
    let inside = own.ips().into_iter().filter_map(|address| {
        let subnet = filter.include_subnets.iter().find(|subnet| subnet.contains(&address))?;
        Some(Evidence::new(format!("{address} lies in {subnet}")))
    });
    inside.collect()
}

fn manager_away(facts: &Facts) -> Vec<Evidence> {
    let away = facts.list::<SiderolinkStatus>().filter(|status| !status.connected);
    away.map(|status| {
        Evidence::new(format!("the manager at {} is not reached", status.host))
            .with(facts.controller("siderolink.Join"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::resource;

    use super::*;
    use crate::testing::{check, check_absent, facts, find};

    fn wire(state: OperationalState) -> LinkStatus {
        LinkStatus { link_type: LinkType::ETHER, operational_state: state, ..LinkStatus::default() }
    }

    #[test]
    fn a_machine_whose_wires_are_all_loose_is_alone() {
        let loose =
            [resource("eth0", wire(OperationalState::Down)), resource("eth1", wire(OperationalState::Down))];
        check(&facts(loose.clone()), "no-carrier", "no carrier on eth0, eth1");
        let one = [loose[0].clone(), resource("eth1", wire(OperationalState::Up))];
        check_absent(&facts(one), "no-carrier");
        let veth = LinkStatus { kind: "veth".to_owned(), ..wire(OperationalState::Down) };
        check_absent(&facts([resource("eth0", veth)]), "no-carrier");
    }

    #[test]
    fn without_address_there_is_no_route_either_and_the_address_is_the_cause() {
        let mut nothing = facts([
            resource(NetworkStatus::ID, NetworkStatus::default()),
            resource("eth0", wire(OperationalState::Up)),
        ]);
        nothing.read("RouteStatuses.net.talos.dev", []);
        check(&nothing, "no-address", "no address on any of: eth0");
        assert_eq!(find(&nothing, "no-default-route").expect("found").because, ["no-address"]);
        let loopback =
            AddressStatus { address: "127.0.0.1/8".parse().expect("a net"), ..AddressStatus::default() };
        check(&facts([resource("lo", loopback)]), "no-address", "no address on any of: ");
    }

    #[test]
    fn a_route_to_everywhere_is_a_default_route() {
        let route = |dst: &str, table| RouteStatus {
            dst: dst.parse().ok(),
            table,
            route_type: RouteType::UNICAST,
            ..RouteStatus::default()
        };
        let near = resource("near", route("10.5.0.0/24", RouteTable::MAIN));
        check(
            &facts([near.clone()]),
            "no-default-route",
            "none of the 1 routes of the main table leads everywhere",
        );
        check_absent(
            &facts([near, resource("far", route("0.0.0.0/0", RouteTable::MAIN))]),
            "no-default-route",
        );
        check_absent(&facts([resource("far", route("", RouteTable::MAIN))]), "no-default-route");
        let elsewhere = facts([resource("far", route("0.0.0.0/0", RouteTable(100)))]);
        assert!(find(&elsewhere, "no-default-route").is_some());
    }

    #[test]
    fn machines_that_share_an_address_are_named() {
        let affiliate = |name: &str, address: &str| {
            let addresses = vec![address.parse().expect("an address")];
            resource(name, Affiliate { hostname: name.to_owned(), addresses, ..Affiliate::default() })
        };
        let shared =
            [affiliate("cp-1", "10.5.0.2"), affiliate("w-1", "10.5.0.2"), affiliate("w-2", "10.5.0.3")];
        check(&facts(shared), "duplicate-address", "10.5.0.2 is claimed by cp-1 and w-1");
        check_absent(
            &facts([affiliate("cp-1", "10.5.0.2"), affiliate("w-1", "10.5.0.3")]),
            "duplicate-address",
        );
    }

    #[test]
    fn an_address_among_those_of_pods_is_told() {
        let own = |address: &str| {
            let addresses = vec![address.parse().expect("an address")];
            resource(NodeAddress::DEFAULT, NodeAddress { addresses, ..NodeAddress::default() })
        };
        let include_subnets = vec!["10.244.0.0/16".parse().expect("a subnet")];
        let filter = NodeAddressFilter { include_subnets, ..NodeAddressFilter::default() };
        let filter = resource(NodeAddressFilter::ONLY_K8S, filter);
        check(
            &facts([own("10.244.9.1/24"), filter.clone()]),
            "address-overlap",
            "10.244.9.1 lies in 10.244.0.0/16",
        );
        check_absent(&facts([own("10.5.0.2/24"), filter]), "address-overlap");
    }

    #[test]
    fn a_manager_without_handshake_is_away() {
        let status = |connected| {
            resource(
                "siderolink-status",
                SiderolinkStatus { host: "fleet:443".to_owned(), connected, ..Default::default() },
            )
        };
        check(&facts([status(false)]), "manager-away", "the manager at fleet:443 is not reached");
        check_absent(&facts([status(true)]), "manager-away");
    }
}
