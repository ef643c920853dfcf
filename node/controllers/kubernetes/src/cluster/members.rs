//! Members of the cluster, and where its control planes are.
//!
//!     Affiliates (cluster-raw) ──▶ Affiliates (cluster) ──▶ Members ──▶ Endpoints/discovery

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::cluster::{Affiliate, Member};
use corten_resources::kubernetes::Endpoint;

/// One affiliate for each node id, out of what the registries say.
pub struct AffiliateMerge;

controller!(AffiliateMerge, "cluster.AffiliateMerge",
    inputs: [strong Affiliate in "cluster-raw"],
    outputs: [exclusive Affiliate in "cluster"]);

impl Transform for AffiliateMerge {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let mut merged: BTreeMap<String, Affiliate> = BTreeMap::new();
        // Sorted by id, and what comes later decides: of this machine what it says itself ("local/…") after the nodes
        // of Kubernetes ("k8s/…"), of the others what they told a discovery service ("service/…").
        for raw in view.list::<Affiliate>() {
            match merged.get_mut(&raw.node_id) {
                None => drop(merged.insert(raw.node_id.clone(), raw.spec.clone())),
                Some(known) => merge(known, raw),
            }
        }
        for (id, affiliate) in merged {
            plan.put(id, affiliate);
        }
        plan
    }
}

fn merge(known: &mut Affiliate, other: &Affiliate) {
    let mut addresses: BTreeSet<IpAddr> = known.addresses.iter().copied().collect();
    known.addresses.extend(other.addresses.iter().filter(|address| addresses.insert(**address)));
    let take = |mine: &mut String, theirs: &String| {
        if !theirs.is_empty() {
            mine.clone_from(theirs);
        }
    };
    take(&mut known.hostname, &other.hostname);
    take(&mut known.nodename, &other.nodename);
    take(&mut known.operating_system, &other.operating_system);
    known.machine_type = other.machine_type;
    if other.control_plane.is_some() {
        known.control_plane.clone_from(&other.control_plane);
    }
}

/// Affiliates that are nodes.
pub struct Membership;

controller!(Membership, "cluster.Member",
    inputs: [strong Affiliate],
    outputs: [exclusive Member]);

impl Transform for Membership {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        for affiliate in
            view.list::<Affiliate>().into_iter().filter(|affiliate| !affiliate.nodename.is_empty())
        {
            plan.put(
                affiliate.nodename.clone(),
                Member {
                    node_id: affiliate.node_id.clone(),
                    addresses: affiliate.addresses.clone(),
                    hostname: affiliate.hostname.clone(),
                    machine_type: affiliate.machine_type,
                    operating_system: affiliate.operating_system.clone(),
                    control_plane: affiliate.control_plane.clone(),
                },
            );
        }
        plan
    }
}

/// Control planes among the members.
pub struct DiscoveredEndpoints;

controller!(DiscoveredEndpoints, "k8s.DiscoveredEndpoints", inputs: [strong Member], outputs: [shared Endpoint]);

impl Transform for DiscoveredEndpoints {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let members = view.list::<Member>();
        let planes = members.iter().filter(|member| member.machine_type.is_control_plane());
        let addresses: BTreeSet<IpAddr> =
            planes.flat_map(|member| member.addresses.iter().copied()).collect();
        if !addresses.is_empty() {
            plan.put(
                Endpoint::DISCOVERY,
                Endpoint { addresses: addresses.into_iter().collect(), hosts: Vec::new() },
            );
        }
        plan
    }
}
