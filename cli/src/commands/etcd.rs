//! `etcd`: the database of a cluster.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use corten_api::machine::{
    EtcdForfeitLeadershipRequest, EtcdLeaveClusterRequest, EtcdMember, EtcdMemberAlarm,
    EtcdMemberListRequest, EtcdMemberStatus, EtcdRemoveMemberByIdRequest,
};

use super::etcd_downgrade::Downgrade;
use super::etcd_snapshot::Snapshot;
use crate::command::{Command, Execute, Reported};
use crate::connect::{Node, only};
use crate::context::Cx;
use crate::failure::{Cause, Failure};
use crate::pernode::PerNode;
use crate::table::{Cell, Column, Row};
use crate::units;

/// Manage etcd, the database of a cluster.
#[derive(Args, Debug)]
pub struct Etcd {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    Alarm(Alarm),
    Defrag(Defrag),
    Downgrade(Downgrade),
    ForfeitLeadership(ForfeitLeadership),
    Leave(Leave),
    Members(Reported<Members>),
    RemoveMember(RemoveMember),
    Snapshot(Snapshot),
    Status(Reported<Status>),
}

impl Execute for Etcd {
    async fn execute(self, cx: &Cx) -> ExitCode {
        match self.verb {
            Verb::Alarm(command) => command.execute(cx).await,
            Verb::Defrag(command) => command.execute(cx).await,
            Verb::Downgrade(command) => command.execute(cx).await,
            Verb::ForfeitLeadership(command) => command.execute(cx).await,
            Verb::Leave(command) => command.execute(cx).await,
            Verb::Members(command) => command.execute(cx).await,
            Verb::RemoveMember(command) => command.execute(cx).await,
            Verb::Snapshot(command) => command.execute(cx).await,
            Verb::Status(command) => command.execute(cx).await,
        }
    }
}

/// Show alarms of etcd, or end them.
#[derive(Args, Debug)]
struct Alarm {
    #[command(subcommand)]
    verb: AlarmVerb,
}

#[derive(Subcommand, Debug)]
enum AlarmVerb {
    List(Reported<AlarmList>),
    Disarm(Reported<AlarmDisarm>),
}

impl Execute for Alarm {
    async fn execute(self, cx: &Cx) -> ExitCode {
        match self.verb {
            AlarmVerb::List(command) => command.execute(cx).await,
            AlarmVerb::Disarm(command) => command.execute(cx).await,
        }
    }
}

/// List the alarms that are raised.
#[derive(Args, Debug)]
struct AlarmList {}

/// End the alarms. What raised them has to be mended first.
#[derive(Args, Debug)]
struct AlarmDisarm {}

/// Give back the space of what was removed, on this member; it answers nobody meanwhile.
#[derive(Args, Debug)]
struct Defrag {}

/// Have another member lead.
#[derive(Args, Debug)]
struct ForfeitLeadership {}

/// Take this machine out of etcd.
#[derive(Args, Debug)]
struct Leave {}

/// List the members.
#[derive(Args, Debug)]
struct Members {}

/// Remove a member whose machine is gone for good.
///
/// A machine that still answers leaves with `corten etcd leave`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  corten etcd members\n  corten etcd remove-member 8e9e05c52164694d")]
struct RemoveMember {
    /// Its id, as `corten etcd members` shows it.
    #[arg(value_name = "ID", value_parser = parse_id)]
    member: u64,
}

/// Show how members are.
#[derive(Args, Debug)]
struct Status {}

fn parse_id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| "it is a number of up to 16 hexadecimal digits".to_owned())
}

/// As etcd writes ids.
fn id(id: u64) -> Cell {
    format!("{id:016x}").into()
}

impl Row for EtcdMember {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("ID", "id", |m| id(m.id)),
        Column::new("HOSTNAME", "hostname", |m| (&m.hostname).into()),
        Column::new("PEER URLS", "peerUrls", |m| Cell::new(m.peer_urls.join(","), m.peer_urls.clone())),
        Column::new("CLIENT URLS", "clientUrls", |m| {
            Cell::new(m.client_urls.join(","), m.client_urls.clone())
        }),
        Column::new("LEARNER", "isLearner", |m| m.is_learner.into()),
    ];
}

impl Row for EtcdMemberAlarm {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("MEMBER", "member", |a| id(a.member_id)),
        Column::new("ALARM", "alarm", |a| a.alarm().as_str_name().into()),
    ];
}

impl Row for EtcdMemberStatus {
    const COLUMNS: &'static [Column<Self>] = &[
        Column::new("MEMBER", "member", |s| id(s.member_id)),
        Column::new("DB SIZE", "dbSize", |s| size(s.db_size)),
        Column::new("IN USE", "dbSizeInUse", |s| Cell::new(used(s), s.db_size_in_use)),
        Column::new("LEADER", "leader", |s| id(s.leader)),
        Column::new("RAFT INDEX", "raftIndex", |s| s.raft_index.into()),
        Column::new("RAFT TERM", "raftTerm", |s| s.raft_term.into()),
        Column::new("RAFT APPLIED INDEX", "raftAppliedIndex", |s| s.raft_applied_index.into()),
        Column::new("LEARNER", "isLearner", |s| s.is_learner.into()),
        Column::new("PROTOCOL", "protocolVersion", |s| (&s.protocol_version).into()),
        Column::new("STORAGE", "storageVersion", |s| (&s.storage_version).into()),
        Column::new("ERRORS", "errors", |s| Cell::new(s.errors.join(", "), s.errors.clone())),
    ];
}

fn size(bytes: i64) -> Cell {
    Cell::new(units::bytes(u64::try_from(bytes).unwrap_or_default()), bytes)
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn used(status: &EtcdMemberStatus) -> String {
    let bytes = units::bytes(u64::try_from(status.db_size_in_use).unwrap_or_default());
    let part = if status.db_size > 0 { status.db_size_in_use as f64 / status.db_size as f64 } else { 0.0 };
    format!("{bytes} ({:.2}%)", part * 100.0)
}

impl Command for AlarmList {
    type Report = PerNode<Vec<EtcdMemberAlarm>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let ask = |node: Node| async move {
            Ok(only(node.client.machine().etcd_alarm_list(()).await?)?.member_alarms)
        };
        Ok(cx.targets()?.each("list the alarms of etcd on", ask).await)
    }
}

impl Command for AlarmDisarm {
    type Report = PerNode<Vec<EtcdMemberAlarm>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let disarm = |node: Node| async move {
            Ok(only(node.client.machine().etcd_alarm_disarm(()).await?)?.member_alarms)
        };
        Ok(cx.targets()?.each("end the alarms of etcd on", disarm).await)
    }
}

impl Command for Defrag {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        // One after another is up to the caller: a member that is defragmented answers nobody.
        let node = cx.targets()?.one("defragment etcd")?;
        let targets = crate::connect::Targets(vec![node]);
        let defrag = |node: Node| async move {
            node.client.machine().etcd_defragment(()).await?;
            Ok(())
        };
        Ok(targets.each("defragment etcd on", defrag).await)
    }
}

impl Command for ForfeitLeadership {
    type Report = PerNode<String>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let forfeit = |node: Node| async move {
            let request = EtcdForfeitLeadershipRequest {};
            let answer = only(node.client.machine().etcd_forfeit_leadership(request).await?)?;
            Ok(match answer.member.as_str() {
                "" => "it is not the leader".to_owned(),
                leader => format!("{leader} leads now"),
            })
        };
        Ok(cx.targets()?.each("take the lead of etcd from", forfeit).await)
    }
}

impl Command for Leave {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let leave = |node: Node| async move {
            node.client.machine().etcd_leave_cluster(EtcdLeaveClusterRequest {}).await?;
            Ok(())
        };
        Ok(cx.targets()?.each("take out of etcd", leave).await)
    }
}

impl Command for Members {
    type Report = PerNode<Vec<EtcdMember>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let ask = |node: Node| async move {
            let request = EtcdMemberListRequest { query_local: false };
            Ok(only(node.client.machine().etcd_member_list(request).await?)?.members)
        };
        Ok(cx.targets()?.each("list the members of etcd on", ask).await)
    }
}

impl Command for RemoveMember {
    type Report = PerNode<()>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let member_id = self.member;
        let remove = |node: Node| async move {
            let request = EtcdRemoveMemberByIdRequest { member_id };
            node.client.machine().etcd_remove_member_by_id(request).await?;
            Ok::<_, Cause>(())
        };
        let targets = crate::connect::Targets(vec![cx.targets()?.one("remove a member of etcd")?]);
        Ok(targets.each(&format!("remove the member {member_id:016x} of etcd on"), remove).await)
    }
}

impl Command for Status {
    type Report = PerNode<Vec<EtcdMemberStatus>>;

    async fn run(self, cx: &Cx) -> Result<Self::Report, Failure> {
        let ask = |node: Node| async move {
            let status = only(node.client.machine().etcd_status(()).await?)?.member_status;
            Ok(status.into_iter().collect())
        };
        Ok(cx.targets()?.each("ask for the state of etcd on", ask).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Report as _, pretty};

    #[test]
    fn tables_and_data() {
        let member = EtcdMember {
            id: 0x8e9e_05c5_2164_694d,
            hostname: "cp-1".into(),
            peer_urls: vec!["https://10.5.0.2:2380".into()],
            client_urls: vec!["https://10.5.0.2:2379".into()],
            is_learner: false,
        };
        let status = EtcdMemberStatus {
            member_id: member.id,
            leader: member.id,
            db_size: 4_000_000,
            db_size_in_use: 1_000_000,
            raft_index: 7,
            raft_term: 2,
            raft_applied_index: 7,
            protocol_version: "3.6.4".into(),
            storage_version: "3.6.0".into(),
            ..EtcdMemberStatus::default()
        };
        let alarm = EtcdMemberAlarm { member_id: member.id, alarm: 1 };
        let members = PerNode(vec![("10.5.0.2".to_owned(), Ok(vec![member]))]);
        let statuses = PerNode(vec![("10.5.0.2".to_owned(), Ok(vec![status]))]);
        let alarms = PerNode(vec![("10.5.0.2".to_owned(), Ok(vec![alarm]))]);
        let text = [members.text(), statuses.text(), alarms.text(), pretty(&statuses.data())].join("\n");
        crate::snapshot::check("etcd", &text);
    }

    #[test]
    fn ids_are_hexadecimal() {
        assert_eq!(parse_id("8e9e05c52164694d"), Ok(0x8e9e_05c5_2164_694d));
        assert!(parse_id("cp-1").is_err());
    }
}
