//! Whether the network is ready: addresses, a way out, a name, the files in `/etc`.

use corten_resource::{Plan, Transform, View, controller, version_text};
use corten_resources::files::{EtcFileSpec, EtcFileStatus};
use corten_resources::network::{
    HostnameStatus, NetworkStatus, NodeAddress, RouteStatus, RouteTable, RouteType,
};

use crate::etc_files::{HOSTS, RESOLV_CONF};

/// Publishes the status.
#[derive(Debug)]
pub struct NetworkReady;

controller!(NetworkReady, "network.NetworkReady",
    inputs: [weak NodeAddress, weak RouteStatus, weak HostnameStatus, weak EtcFileSpec, weak EtcFileStatus],
    outputs: [exclusive NetworkStatus]);

fn is_default_route(route: &RouteStatus) -> bool {
    let everywhere = route.dst.is_none_or(|dst| dst.prefix_len() == 0);
    everywhere
        && route.table == RouteTable::MAIN
        && route.route_type == RouteType::UNICAST
        && (route.gateway.is_some() || !route.out_link_name.is_empty() || !route.next_hops.is_empty())
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
            connectivity_ready: view.list::<RouteStatus>().iter().any(|row| is_default_route(&row.spec)),
            hostname_ready: view.get::<HostnameStatus>(HostnameStatus::ID).is_some(),
            etc_files_ready: in_place(view, HOSTS) && in_place(view, RESOLV_CONF),
        };
        plan.put::<NetworkStatus>(NetworkStatus::ID, status);
        plan
    }
}
