//! etcd: its members, its maintenance, its snapshot, and this machine's way out of it.
//!
//!     one member's affairs ──▶ the member on this machine
//!     the cluster's affairs ─▶ any member that answers, this machine's first

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use corten_api::common::Data;
use corten_api::machine::{
    EtcdAlarm, EtcdAlarmDisarm, EtcdDefragment, EtcdForfeitLeadership, EtcdLeaveCluster, EtcdMember,
    EtcdMemberAlarm, EtcdMemberListRequest, EtcdMemberStatus, EtcdMembers, EtcdRemoveMemberById, EtcdStatus,
    etcd_member_alarm::AlarmType,
};
use corten_base::{blocking, chain};
use corten_controllers_kubernetes::etcd::arguments::url;
use corten_controllers_kubernetes::etcd::service::identity;
use corten_controllers_kubernetes::etcd::{CLIENT_PORT, DATA_FOLDER, SERVICE};
use corten_etcd::{Alarm, AlarmKind, Client, Config, Error, Member};
use corten_resource::State;
use corten_resources::etcd;
use corten_resources::kubernetes::Endpoint;
use corten_resources::secrets::{EtcdRoot, EtcdSecrets};
use corten_resources::service::BootstrapIntent;
use futures::TryStreamExt;
use tonic::{Code, Status};

use super::Parts;
use super::kubernetes::{OWNER, need_control_plane};
use super::stream::{self, Reply, data};
use crate::services::Services;

/// Longer than the service manager's patience with a service that does not end.
const STOP_TIMEOUT: Duration = Duration::from_secs(90);
/// Removing a database of the largest size takes seconds.
const DELETE_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of the member on this machine.
pub(super) fn local(state: &State) -> Result<Client, Status> {
    client(state, BTreeSet::new())
}

/// A client of any member, this machine's first.
fn cluster(state: &State) -> Result<Client, Status> {
    let endpoints = state.list::<Endpoint>();
    client(state, endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().copied()).collect())
}

fn client(state: &State, others: BTreeSet<IpAddr>) -> Result<Client, Status> {
    let secrets = state.get::<EtcdRoot>(EtcdRoot::ID).zip(state.get::<EtcdSecrets>(EtcdSecrets::ID));
    let identity = secrets.and_then(|(root, secrets)| identity(&root, &secrets));
    let identity = identity.ok_or_else(|| Status::failed_precondition("etcd has no certificates yet"))?;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let endpoints = [loopback].into_iter().chain(others).map(|address| url(address, CLIENT_PORT)).collect();
    Client::new(&Config { endpoints, identity }).map_err(|error| refused(&error))
}

/// What etcd said, with its own code: clients tell an unknown member or a lost quorum by it.
pub(super) fn refused(error: &Error) -> Status {
    match error {
        Error::Call { status, .. } => {
            let code = if error.is_transient() { Code::Unavailable } else { status.code() };
            Status::new(code, format!("{error}: {}", status.message()))
        }
        Error::Config(_) | Error::Answer(_) | Error::LockLost(_) => Status::internal(chain(error)),
    }
}

/// Members as the quorum knows them, or as this machine's member does.
pub async fn member_list(parts: &Parts, request: EtcdMemberListRequest) -> Result<EtcdMembers, Status> {
    need_control_plane(parts, "etcd member list")?;
    let members = if request.query_local {
        local(&parts.state)?.local_members().await
    } else {
        cluster(&parts.state)?.members().await
    };
    let members = members.map_err(|error| refused(&error))?;
    let message = EtcdMembers {
        legacy_members: members.iter().map(|member| member.name.clone()).collect(),
        members: members.into_iter().map(to_wire).collect(),
        ..EtcdMembers::default()
    };
    Ok(message)
}

fn to_wire(member: Member) -> EtcdMember {
    EtcdMember {
        id: member.id,
        hostname: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        is_learner: member.learner,
    }
}

/// Removes a member; `NotFound` when there is none with this id.
pub async fn remove_member(parts: &Parts, id: u64) -> Result<EtcdRemoveMemberById, Status> {
    need_control_plane(parts, "etcd remove member")?;
    cluster(&parts.state)?.remove_member(id).await.map_err(|error| refused(&error))?;
    Ok(EtcdRemoveMemberById::default())
}

/// Hands the leadership to another member and names it; names nobody when this one does not lead.
pub async fn forfeit_leadership(parts: &Parts) -> Result<EtcdForfeitLeadership, Status> {
    need_control_plane(parts, "etcd forfeit leadership")?;
    let client = local(&parts.state)?;
    let status = client.status().await.map_err(|error| refused(&error))?;
    let mut member = String::new();
    if status.leader == status.member {
        let members = client.members().await.map_err(|error| refused(&error))?;
        let next = successor(&members, status.member)
            .ok_or_else(|| Status::failed_precondition("there is no other member that could lead"))?;
        client.move_leader(next.id).await.map_err(|error| refused(&error))?;
        member.clone_from(&next.name);
    }
    let message = EtcdForfeitLeadership { member, ..EtcdForfeitLeadership::default() };
    Ok(message)
}

/// A started member with a vote, other than the leader.
fn successor(members: &[Member], leader: u64) -> Option<&Member> {
    members.iter().find(|member| member.id != leader && !member.learner && !member.name.is_empty())
}

/// Alarms of all members.
pub async fn alarm_list(parts: &Parts) -> Result<EtcdAlarm, Status> {
    need_control_plane(parts, "etcd alarm list")?;
    let alarms = local(&parts.state)?.alarms().await.map_err(|error| refused(&error))?;
    let member_alarms = alarms.iter().map(alarm_to_wire).collect();
    Ok(EtcdAlarm { member_alarms, ..EtcdAlarm::default() })
}

/// Takes all alarms back and returns them.
pub async fn alarm_disarm(parts: &Parts) -> Result<EtcdAlarmDisarm, Status> {
    need_control_plane(parts, "etcd alarm disarm")?;
    let client = local(&parts.state)?;
    let alarms = client.alarms().await.map_err(|error| refused(&error))?;
    for alarm in &alarms {
        client.disarm(*alarm).await.map_err(|error| refused(&error))?;
    }
    let member_alarms = alarms.iter().map(alarm_to_wire).collect();
    let message = EtcdAlarmDisarm { member_alarms, ..EtcdAlarmDisarm::default() };
    Ok(message)
}

fn alarm_to_wire(alarm: &Alarm) -> EtcdMemberAlarm {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => AlarmType::Nospace,
        AlarmKind::Corrupt => AlarmType::Corrupt,
    };
    EtcdMemberAlarm { member_id: alarm.member, alarm: kind.into() }
}

/// Rewrites this machine's database without holes.
pub async fn defragment(parts: &Parts) -> Result<EtcdDefragment, Status> {
    need_control_plane(parts, "etcd defragment")?;
    local(&parts.state)?.defragment().await.map_err(|error| refused(&error))?;
    Ok(EtcdDefragment::default())
}

/// State of this machine's member.
pub async fn status(parts: &Parts) -> Result<EtcdStatus, Status> {
    need_control_plane(parts, "etcd status")?;
    let status = local(&parts.state)?.status().await.map_err(|error| refused(&error))?;
    let status = EtcdMemberStatus {
        storage_version: status.storage_version,
        member_id: status.member,
        protocol_version: status.version,
        db_size: status.db_size,
        db_size_in_use: status.db_size_in_use,
        leader: status.leader,
        raft_index: status.raft_index,
        raft_term: status.raft_term,
        raft_applied_index: status.raft_applied_index,
        errors: status.errors,
        is_learner: status.learner,
    };
    let message = EtcdStatus { member_status: Some(status), ..EtcdStatus::default() };
    Ok(message)
}

/// This machine's database as it is now, followed by its SHA-256.
pub async fn snapshot(parts: &Parts) -> Result<Reply<Data>, Status> {
    need_control_plane(parts, "etcd snapshot")?;
    let pieces = local(&parts.state)?.snapshot().await;
    let mut pieces = pieces.map_err(|error| refused(&error))?;
    Ok(stream::from_task(move |sender| async move {
        while let Some(piece) = pieces.try_next().await.map_err(|error| refused(&error))? {
            if sender.send(Ok(data(piece.into()))).await.is_err() {
                break;
            }
        }
        Ok(())
    }))
}

/// Takes this machine out of the cluster: membership first, so that nobody waits for a member without data.
///
/// A call that failed half-way may be repeated; what is done already is not done again.
pub async fn leave(parts: &Parts) -> Result<EtcdLeaveCluster, Status> {
    need_control_plane(parts, "etcd leave")?;
    depart(&parts.state, &parts.services).await?;
    Ok(EtcdLeaveCluster::default())
}

/// Leaves the others behind, as [`leave`] does. A machine without a member has left, and the last member leaves nobody.
pub async fn leave_others(state: &State, services: &Services) -> Result<(), Status> {
    let has_member = state.get::<etcd::EtcdMember>(etcd::EtcdMember::ID).is_some();
    if !has_member || state.get::<etcd::EtcdDeparture>(etcd::EtcdDeparture::ID).is_some() {
        return Ok(());
    }
    let members = cluster(state)?.members().await.map_err(|error| refused(&error))?;
    if members.len() > 1 { depart(state, services).await } else { Ok(()) }
}

async fn depart(state: &State, services: &Services) -> Result<(), Status> {
    let id = own_id(state).await?;
    match cluster(state)?.remove_member(id).await {
        Err(error) if !error.is_not_found() => return Err(refused(&error)),
        _ => {}
    }
    // Without this, the machine would join again at once, or the founder of the cluster found another one.
    let departed = state.put(OWNER, etcd::EtcdDeparture::ID, etcd::EtcdDeparture {});
    departed.map_err(|error| Status::internal(chain(&error)))?;
    let withdrawn = state.remove::<BootstrapIntent>(OWNER, BootstrapIntent::ID);
    withdrawn.map_err(|error| Status::internal(chain(&error)))?;
    let stopped = tokio::time::timeout(STOP_TIMEOUT, services.stop(SERVICE)).await;
    stopped.map_err(|_| Status::deadline_exceeded("etcd left its cluster, but its service does not end"))?;
    let deleted = blocking(DELETE_TIMEOUT, || empty(Path::new(DATA_FOLDER))).await;
    deleted
        .map_err(|error| Status::internal(chain(&error)))?
        .map_err(|error| Status::internal(format!("cannot empty {DATA_FOLDER}: {error}")))
}

/// Id of this machine's member, also when it has stopped already.
async fn own_id(state: &State) -> Result<u64, Status> {
    let known = state.get::<etcd::EtcdMember>(etcd::EtcdMember::ID);
    let known = known.and_then(|member| u64::from_str_radix(&member.member_id, 16).ok());
    match known {
        Some(id) => Ok(id),
        None => Ok(local(state)?.status().await.map_err(|error| refused(&error))?.member),
    }
}

/// Deletes what is in a folder; the folder itself may be a mount.
fn empty(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(status: Status) -> Error {
        Error::Call { operation: "remove a member", status: Box::new(status) }
    }

    #[test]
    fn clients_see_the_code_of_etcd() {
        let absent = refused(&call(Status::not_found("etcdserver: member not found")));
        assert_eq!(absent.code(), Code::NotFound);
        assert_eq!(absent.message(), "etcd could not remove a member: etcdserver: member not found");
        let quorum = refused(&call(Status::unavailable("etcdserver: unhealthy cluster")));
        assert_eq!(quorum.code(), Code::Unavailable);
        assert_eq!(refused(&Error::Config("x".into())).code(), Code::Internal);
    }

    #[test]
    fn only_a_started_voter_takes_over() {
        let member = |id, name: &str, learner| Member { id, name: name.into(), learner, ..Member::default() };
        let members =
            [member(1, "a", false), member(2, "", false), member(3, "c", true), member(4, "d", false)];
        assert_eq!(successor(&members, 1).map(|member| member.id), Some(4));
        assert_eq!(successor(&members[..3], 1), None);
    }

    #[test]
    fn leaving_deletes_the_data_and_keeps_the_folder() {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir_all(folder.path().join("member/wal")).expect("data");
        fs::write(folder.path().join("member/wal/0"), "x").expect("data");
        fs::write(folder.path().join("version"), "x").expect("data");
        empty(folder.path()).expect("emptied");
        assert_eq!(fs::read_dir(folder.path()).expect("kept").count(), 0);
        empty(&folder.path().join("absent")).expect("nothing to do");
    }
}
