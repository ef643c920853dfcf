//! The machine as a member of its cluster.
//!
//! Each machine shows itself as the only member: that of a thousand machines would be a million resources, and the
//! manager asks each machine who it is.

use corten_resources::cluster::{Affiliate, ControlPlane, Identity, Info, Member};
use corten_resources::etcd::EtcdMember;
use corten_resources::kubernetes::{KubeletStatus, NodeIp, NodeStatus, Nodename};

use super::network::own_address;
use super::{Facts, Out};
use crate::applied::Applied;

pub fn put(out: &Out<'_>, facts: &Facts<'_>) {
    let complete = facts.complete();
    out.when(Identity::ID, complete.map(|_| Identity { node_id: facts.spec.node_id.clone() }));
    let info = complete.map(|applied| Info {
        cluster_id: applied.cluster.id.clone(),
        cluster_name: applied.cluster.name.clone(),
    });
    out.when(Info::ID, info);
    let own = complete.map(|applied| (facts.spec.node_id.clone(), affiliate(facts, applied)));
    out.only(own.into_iter().collect());
    let member = complete.filter(|_| facts.node.is_some()).map(|applied| member(facts, applied));
    out.only(member.map(|member| (facts.hostname.clone(), member)).into_iter().collect());
    let etcd = facts.member.map(|id| EtcdMember { member_id: format!("{id:016x}") });
    out.when(EtcdMember::ID, etcd);
    let nodename = complete.map(|_| Nodename { nodename: facts.hostname.clone(), ..Nodename::default() });
    out.when(Nodename::ID, nodename);
    out.when(NodeIp::ID, complete.map(|_| NodeIp { addresses: vec![own_address(facts)] }));
    let kubelet = complete.filter(|_| facts.kubernetes);
    let kubelet = kubelet.map(|applied| KubeletStatus { image: applied.cluster.images.kubelet.clone() });
    out.when(KubeletStatus::ID, kubelet);
    out.only(node(facts).map(|node| (facts.hostname.clone(), node)).into_iter().collect());
}

fn control_plane(applied: &Applied) -> Option<ControlPlane> {
    applied.is_control_plane().then(|| ControlPlane { port: i64::from(applied.cluster.port) })
}

fn affiliate(facts: &Facts<'_>, applied: &Applied) -> Affiliate {
    Affiliate {
        node_id: facts.spec.node_id.clone(),
        addresses: vec![own_address(facts)],
        hostname: facts.hostname.clone(),
        nodename: facts.hostname.clone(),
        operating_system: format!("Talos ({})", facts.booted.tag()),
        machine_type: applied.role,
        control_plane: control_plane(applied),
        ..Affiliate::default()
    }
}

fn member(facts: &Facts<'_>, applied: &Applied) -> Member {
    Member {
        node_id: facts.spec.node_id.clone(),
        addresses: vec![own_address(facts)],
        hostname: facts.hostname.clone(),
        machine_type: applied.role,
        operating_system: format!("Talos ({})", facts.booted.tag()),
        control_plane: control_plane(applied),
    }
}

fn node(facts: &Facts<'_>) -> Option<NodeStatus> {
    let node = facts.node.as_ref().filter(|_| facts.complete().is_some())?;
    Some(NodeStatus {
        nodename: facts.hostname.clone(),
        node_ready: node.is_ready,
        unschedulable: node.is_cordoned,
        labels: node.labels.clone(),
        annotations: node.annotations.clone(),
        pod_cidrs: Vec::new(),
    })
}
