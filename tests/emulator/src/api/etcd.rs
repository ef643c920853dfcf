//! etcd of the machine's cluster, asked through the machine.

use corten_api::machine::{
    EtcdForfeitLeadership, EtcdMember, EtcdMemberStatus, EtcdMembers, EtcdRemoveMemberById, EtcdStatus,
};
use tonic::Status;

use crate::cluster::etcd::EtcdError;
use crate::machine::Machine;

/// Version of etcd that every machine runs.
const VERSION: &str = "3.6.5";
/// Bytes of the database of every member.
const DATABASE: i64 = 20 << 20;

/// Members, as the quorum knows them.
pub fn member_list(machine: &Machine) -> Result<EtcdMembers, Status> {
    let (cluster, _) = machine.etcd("etcd member list")?;
    let members: Vec<EtcdMember> = cluster.read(|members| {
        if !members.etcd.has_quorum() {
            return Err(EtcdError::NoQuorum);
        }
        Ok(members
            .etcd
            .members()
            .map(|(id, member)| EtcdMember {
                id,
                hostname: member.name.clone(),
                peer_urls: vec![member.peer_url.clone()],
                client_urls: vec![member.client_url.clone()],
                is_learner: false,
            })
            .collect())
    })?;
    let legacy_members = members.iter().map(|member| member.hostname.clone()).collect();
    Ok(EtcdMembers { metadata: None, legacy_members, members })
}

/// Removes a member.
pub fn remove_member(machine: &Machine, id: u64) -> Result<EtcdRemoveMemberById, Status> {
    let (cluster, _) = machine.etcd("etcd remove member")?;
    cluster.change(|members| members.etcd.remove(id))?;
    machine.publish();
    Ok(EtcdRemoveMemberById::default())
}

/// Hands the leadership on.
pub fn forfeit_leadership(machine: &Machine) -> Result<EtcdForfeitLeadership, Status> {
    let (cluster, id) = machine.etcd("etcd forfeit leadership")?;
    let member = cluster.change(|members| members.etcd.forfeit(id))?.unwrap_or_default();
    Ok(EtcdForfeitLeadership { metadata: None, member })
}

/// State of the machine's member.
pub fn status(machine: &Machine) -> Result<EtcdStatus, Status> {
    let (cluster, id) = machine.etcd("etcd status")?;
    let (leader, (raft_term, raft_index)) =
        cluster.read(|members| (members.etcd.leader(), members.etcd.position()));
    let errors = if leader.is_none() { vec![EtcdError::NoQuorum.to_string()] } else { Vec::new() };
    let status = EtcdMemberStatus {
        storage_version: VERSION.to_owned(),
        member_id: id,
        protocol_version: VERSION.to_owned(),
        db_size: DATABASE,
        db_size_in_use: DATABASE / 2,
        leader: leader.unwrap_or_default(),
        raft_index,
        raft_term,
        raft_applied_index: raft_index,
        errors,
        is_learner: false,
    };
    Ok(EtcdStatus { metadata: None, member_status: Some(status) })
}
