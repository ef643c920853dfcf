//! This machine as it presents itself.
//!
//!     Identity, HostnameStatus, Nodename, NodeAddress, MachineConfig ──▶ Affiliate "local/<id>" (cluster-raw), the node's annotation

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::cluster::{Affiliate, ControlPlane, Identity};
use corten_resources::config::{MachineConfig, Role};
use corten_resources::kubernetes::{NodeAnnotationSpec, NodeIp, Nodename};
use corten_resources::network::HostnameStatus;
use corten_resources::runtime::Version;

use crate::configuration;
use crate::node::status::NODE_ID;

/// See the module.
pub struct LocalAffiliate;

controller!(LocalAffiliate, "cluster.LocalAffiliate",
    inputs: [weak MachineConfig, strong Identity, strong HostnameStatus, weak Nodename, weak NodeIp, weak Version],
    outputs: [shared Affiliate in "cluster-raw", shared NodeAnnotationSpec]);

impl Transform for LocalAffiliate {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        let Some(identity) = view.get::<Identity>(Identity::ID) else {
            return plan.waiting("this machine's identity");
        };
        let Some(hostname) = view.get::<HostnameStatus>(HostnameStatus::ID) else {
            return plan.waiting("a hostname");
        };
        let Some(ip) = view.get::<NodeIp>(NodeIp::ID) else {
            return plan.waiting("addresses of this machine");
        };
        let is_plane = config.is_control_plane();
        let version =
            view.list::<Version>().first().map(|version| format!("{} ({})", version.name, version.version));
        let port = i64::from(config.cluster.api_server.port);
        plan.put_in(
            "cluster-raw",
            format!("local/{}", identity.node_id),
            Affiliate {
                node_id: identity.node_id.clone(),
                addresses: ip.addresses.clone(),
                hostname: hostname.fqdn(),
                nodename: view
                    .get::<Nodename>(Nodename::ID)
                    .map(|name| name.nodename.clone())
                    .unwrap_or_default(),
                operating_system: version.unwrap_or_default(),
                machine_type: if is_plane { Role::ControlPlane } else { Role::Worker },
                control_plane: is_plane.then_some(ControlPlane { port }),
                ..Affiliate::default()
            },
        );
        plan.put(NODE_ID, NodeAnnotationSpec { key: NODE_ID.into(), value: identity.node_id.clone() });
        plan
    }
}
