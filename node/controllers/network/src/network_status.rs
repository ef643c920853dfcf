//! Whether the network is ready: addresses, a way out, a name, the files in `/etc`.

use corten_resource::{Plan, Transform, View, controller, version_text};
use corten_resources::files::{EtcFileSpec, EtcFileStatus};
use corten_resources::network::{
    HostnameStatus, NetworkStatus, NodeAddress, ProbeSpec, ProbeStatus, RouteStatus, RouteTable, RouteType,
};

use crate::etc_files::{HOSTS, RESOLV_CONF};

/// Publishes the status.
#[derive(Debug)]
pub struct NetworkReady;

controller!(NetworkReady, "network.NetworkReady",
    inputs: [weak NodeAddress, weak RouteStatus, weak HostnameStatus, weak EtcFileSpec, weak EtcFileStatus,
        weak ProbeSpec, weak ProbeStatus],
    outputs: [exclusive NetworkStatus]);

fn is_default_route(route: &RouteStatus) -> bool {
    let everywhere = route.dst.is_none_or(|dst| dst.prefix_len() == 0);
    everywhere
        && route.table == RouteTable::MAIN
        && route.route_type == RouteType::UNICAST
        && (route.gateway.is_some() || !route.out_link_name.is_empty() || !route.next_hops.is_empty())
}

/// There is a way out: every probe succeeds, or, where nothing is probed, there is a default route.
fn is_connected(view: &View<NetworkReady>) -> bool {
    let probes = view.list::<ProbeSpec>();
    let succeeds = |id: &str| view.get::<ProbeStatus>(id).is_some_and(|row| row.spec.success);
    if probes.is_empty() {
        view.list::<RouteStatus>().iter().any(|row| is_default_route(&row.spec))
    } else {
        probes.iter().all(|row| succeeds(&row.metadata.id))
    }
}

/// The file in place is the one that is wanted now.
fn in_place(view: &View<NetworkReady>, id: &str) -> bool {
    let wanted = view.get::<EtcFileSpec>(id).map(|row| version_text(row.metadata.version));
    wanted.is_some() && wanted.as_ref() == view.get::<EtcFileStatus>(id).map(|row| &row.spec.spec_version)
}

impl Transform for NetworkReady {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let addresses = view.get::<NodeAddress>(NodeAddress::CURRENT);
        let status = NetworkStatus {
            address_ready: addresses.is_some_and(|row| !row.spec.addresses.is_empty()),
            connectivity_ready: is_connected(view),
            hostname_ready: view.get::<HostnameStatus>(HostnameStatus::ID).is_some(),
            etc_files_ready: in_place(view, HOSTS) && in_place(view, RESOLV_CONF),
        };
        plan.put::<NetworkStatus>(NetworkStatus::ID, status);
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::AnyResource;
    use corten_resource::testing::resource;

    use super::*;

    fn is_connected_with(rows: &[AnyResource]) -> bool {
        let plan = NetworkReady.plan(&View::of(rows.iter().cloned(), UNIX_EPOCH));
        plan.output::<NetworkStatus>(NetworkStatus::ID).expect("a status").connectivity_ready
    }

    #[test]
    fn probes_decide_where_there_are_some() {
        let gateway = Some(std::net::IpAddr::from([10, 0, 0, 1]));
        let route = resource("default", RouteStatus { gateway, ..RouteStatus::default() });
        let probe = |id: &str| resource(id, ProbeSpec::default());
        let answer = |id: &str, success| resource(id, ProbeStatus { success, ..ProbeStatus::default() });
        assert!(!is_connected_with(&[]));
        assert!(is_connected_with(std::slice::from_ref(&route)));
        assert!(!is_connected_with(&[route.clone(), probe("a")]));
        assert!(is_connected_with(&[probe("a"), answer("a", true)]));
        assert!(!is_connected_with(&[route, probe("a"), probe("b"), answer("a", true), answer("b", false)]));
    }
}
