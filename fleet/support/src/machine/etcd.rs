//! etcd, as its member on a machine tells.

use corten_api::machine::EtcdMemberListRequest;
use corten_api::machine::etcd_member_alarm::AlarmType;
use tonic::Status;

use super::Inquiry;
use crate::table::table;

impl Inquiry<'_> {
    pub(super) async fn etcd(&mut self) {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.etcd_status(()).await?.into_inner()) };
        if let Some(answer) = self.ask("status of etcd", question).await {
            let all = answer.messages.into_iter().filter_map(|message| message.member_status);
            let rows: Vec<_> = all
                .map(|member| {
                    [
                        hex(member.member_id),
                        hex(member.leader),
                        member.raft_term.to_string(),
                        format!("{}/{}", member.raft_applied_index, member.raft_index),
                        format!("{}/{}", member.db_size_in_use, member.db_size),
                        member.errors.join("; "),
                    ]
                })
                .collect();
            let headings = ["MEMBER", "LEADER", "TERM", "APPLIED", "BYTES USED", "ERRORS"];
            self.part("etcd/status.txt", table(headings, &rows)).await;
        }
        let mut api = self.client.machine();
        let request = EtcdMemberListRequest { query_local: true };
        let question = async move { Ok::<_, Status>(api.etcd_member_list(request).await?.into_inner()) };
        if let Some(answer) = self.ask("members of etcd", question).await {
            let all = answer.messages.into_iter().flat_map(|message| message.members);
            let rows: Vec<_> = all
                .map(|it| [hex(it.id), it.hostname, it.peer_urls.join(","), it.is_learner.to_string()])
                .collect();
            self.part("etcd/members.txt", table(["MEMBER", "NAME", "URLS", "LEARNER"], &rows)).await;
        }
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.etcd_alarm_list(()).await?.into_inner()) };
        if let Some(answer) = self.ask("alarms of etcd", question).await {
            let all = answer.messages.into_iter().flat_map(|message| message.member_alarms);
            let rows: Vec<_> = all.map(|it| [hex(it.member_id), alarm(it.alarm()).to_owned()]).collect();
            self.part("etcd/alarms.txt", table(["MEMBER", "ALARM"], &rows)).await;
        }
    }
}

/// As etcd writes ids.
fn hex(id: u64) -> String {
    format!("{id:016x}")
}

const fn alarm(alarm: AlarmType) -> &'static str {
    match alarm {
        AlarmType::None => "none",
        AlarmType::Nospace => "no space",
        AlarmType::Corrupt => "corrupt",
    }
}
