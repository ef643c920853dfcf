//! etcd, as its member on a machine tells.

use corten_api::machine::EtcdMemberListRequest;
use corten_api::machine::etcd_member_alarm::AlarmType;
use corten_diagnose::{EtcdAlarmFact, EtcdFact};
use tonic::Status;

use super::{Inquiry, Sink};
use crate::table::table;

impl<S: Sink> Inquiry<'_, S> {
    /// Status, members and alarms; nothing where etcd is no service.
    pub(super) async fn etcd(&mut self) -> Option<EtcdFact> {
        let service = self.vitals.services.iter().find(|service| service.id == "etcd")?;
        // One that has not begun cannot be asked, and says why as a service.
        if service.state == "Waiting" {
            return None;
        }
        let mut fact = EtcdFact::default();
        self.status(&mut fact).await;
        self.members(&mut fact).await;
        self.alarms(&mut fact).await;
        Some(fact)
    }

    /// The answer of etcd; what it said instead is kept, and tells more of it than of the machine.
    async fn ask_etcd<T>(
        &mut self,
        fact: &mut EtcdFact,
        what: &str,
        question: impl Future<Output = Result<T, Status>> + Send,
    ) -> Option<T> {
        let before = self.misses;
        match self.try_ask(question).await? {
            Ok(answer) => Some(answer),
            Err(why) => {
                self.misses = before;
                self.vitals.silence.clear();
                self.sink.problem(what, why.clone()).await;
                if fact.silence.is_empty() {
                    fact.silence = why;
                }
                None
            }
        }
    }

    async fn status(&mut self, fact: &mut EtcdFact) {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.etcd_status(()).await?.into_inner()) };
        let Some(answer) = self.ask_etcd(fact, "status of etcd", question).await else { return };
        let all: Vec<_> = answer.messages.into_iter().filter_map(|message| message.member_status).collect();
        let rows: Vec<_> = all
            .iter()
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
        if let Some(member) = all.into_iter().next() {
            fact.member = hex(member.member_id);
            fact.leader = hex(member.leader);
            fact.errors = member.errors;
            fact.size = u64::try_from(member.db_size).unwrap_or_default();
            fact.size_in_use = u64::try_from(member.db_size_in_use).unwrap_or_default();
            fact.is_learner = member.is_learner;
        }
    }

    async fn members(&mut self, fact: &mut EtcdFact) {
        let mut api = self.client.machine();
        let request = EtcdMemberListRequest { query_local: true };
        let question = async move { Ok::<_, Status>(api.etcd_member_list(request).await?.into_inner()) };
        let Some(answer) = self.ask_etcd(fact, "members of etcd", question).await else { return };
        let all: Vec<_> = answer.messages.into_iter().flat_map(|message| message.members).collect();
        fact.members = all.iter().map(|member| member.hostname.clone()).collect();
        let row = |it: corten_api::machine::EtcdMember| {
            [hex(it.id), it.hostname, it.peer_urls.join(","), it.is_learner.to_string()]
        };
        let rows: Vec<_> = all.into_iter().map(row).collect();
        self.part("etcd/members.txt", table(["MEMBER", "NAME", "URLS", "LEARNER"], &rows)).await;
    }

    async fn alarms(&mut self, fact: &mut EtcdFact) {
        let mut api = self.client.machine();
        let question = async move { Ok::<_, Status>(api.etcd_alarm_list(()).await?.into_inner()) };
        let Some(answer) = self.ask_etcd(fact, "alarms of etcd", question).await else { return };
        let all: Vec<_> = answer.messages.into_iter().flat_map(|message| message.member_alarms).collect();
        let alarm = |it: &corten_api::machine::EtcdMemberAlarm| EtcdAlarmFact {
            member: hex(it.member_id),
            alarm: it.alarm().as_str_name().to_owned(),
        };
        let is_alarm = |it: &&corten_api::machine::EtcdMemberAlarm| it.alarm() != AlarmType::None;
        fact.alarms = all.iter().filter(is_alarm).map(alarm).collect();
        let rows: Vec<_> = fact.alarms.iter().map(|it| [it.member.clone(), it.alarm.clone()]).collect();
        self.part("etcd/alarms.txt", table(["MEMBER", "ALARM"], &rows)).await;
    }
}

/// As etcd writes ids.
fn hex(id: u64) -> String {
    format!("{id:016x}")
}
