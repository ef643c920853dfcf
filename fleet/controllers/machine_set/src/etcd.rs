//! What the etcd of a cluster says, asked through the machines of its control plane.
//!
//! ```text
//! machines ─▶ EtcdStatus, EtcdMemberList, side by side ─▶ Answers ─┐
//! ClusterMachineIdentity, for those that do not answer ────────────┴─assemble─▶ Etcd
//! ```
//!
//! The list of members needs a quorum, so that one that comes proves it. Who a machine is in etcd is taken from its own
//! answer before anything that was noted of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use corten_api::machine::{EtcdMemberListRequest, EtcdMemberStatus};
use corten_base::chain;
use corten_fleet_cluster::quorum::{Etcd, Member};
use corten_fleet_controllers_machine::connect::{Dial, Keyring, MemberAccess};
use corten_fleet_controllers_machine::{Pool, Target};
use corten_fleet_resources::cluster::ClusterMachineIdentity;
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::Machine;
use corten_resource::State;
use futures::future::join_all;
use tokio::time::timeout;

/// How long a machine may take to answer.
const LIMIT: Duration = Duration::from_secs(20);
/// Entries of the log that a member in step may have yet to apply.
const LAG_MAX: u64 = 1000;

/// Asks etcd. Implemented over the network and by a fake.
pub trait Members: Send + Sync + 'static {
    /// What the etcd of a cluster says, by those of these machines that answer.
    ///
    /// # Errors
    /// Why nobody tells the members.
    fn ask(&self, cluster: &str, machines: &[String]) -> impl Future<Output = Result<Etcd, String>> + Send;
}

/// What a machine of a control plane answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Ids of all members, each with whether it only learns; empty when it does not tell them.
    pub members: Vec<(u64, bool)>,
    /// How its own member is.
    pub status: Option<EtcdMemberStatus>,
    /// Why something of it is missing; empty when nothing is.
    pub error: String,
}

/// Asks the machines over connections of a pool.
#[derive(Debug)]
pub struct Calls<D> {
    pool: Arc<Pool<D>>,
    state: State,
}

impl<D: Dial> Calls<D> {
    /// Calls over a pool to the machines that `state` knows.
    pub const fn new(pool: Arc<Pool<D>>, state: State) -> Self {
        Self { pool, state }
    }

    async fn answer(&self, machine: &str, access: &MemberAccess) -> Answer {
        let failed = |error: String| Answer { error, ..Answer::default() };
        match timeout(LIMIT, self.call(machine, access)).await {
            Ok(answered) => answered.unwrap_or_else(failed),
            Err(_) => failed(format!("it did not answer within {} s", LIMIT.as_secs())),
        }
    }

    async fn call(&self, machine: &str, access: &MemberAccess) -> Result<Answer, String> {
        let target = self.target(machine, &access.cluster)?;
        let connection = self.pool.get(machine, &target, Some(access)).await;
        let connection = connection.map_err(|error| chain(&error))?;
        let mut client = connection.client().machine();
        let status = client.etcd_status(()).await;
        let members = client.etcd_member_list(EtcdMemberListRequest { query_local: false }).await;
        let errors = [status.as_ref().err(), members.as_ref().err()];
        let errors: Vec<&str> = errors.into_iter().flatten().map(|error| error.message()).collect();
        let error = errors.join("; ");
        let statuses = status.into_iter().flat_map(|answer| answer.into_inner().messages);
        let lists = members.into_iter().flat_map(|answer| answer.into_inner().messages);
        let members = lists.flat_map(|list| list.members).map(|member| (member.id, member.is_learner));
        Ok(Answer {
            members: members.collect(),
            status: statuses.filter_map(|message| message.member_status).next(),
            error,
        })
    }

    fn target(&self, machine: &str, cluster: &str) -> Result<Target, String> {
        let found = self.state.get::<Machine>(machine).filter(|found| found.connected);
        let found = found.ok_or("it is not connected")?;
        let address = found.management_address.as_str();
        let address: Ipv6Addr = address.parse().map_err(|_| format!("{address:?} is no address of it"))?;
        let link = self.state.get::<Link>(machine);
        let public_key = link.map(|link| link.spec.node_public_key).unwrap_or_default();
        Ok(Target { address, public_key, cluster: Some(cluster.to_owned()) })
    }

    /// Members of etcd by their machines, as they were noted.
    fn noted(&self, machines: &[String]) -> BTreeMap<String, u64> {
        let noted = |machine: &String| {
            let identity = self.state.get::<ClusterMachineIdentity>(machine)?;
            Some((machine.clone(), identity.etcd_member_id))
        };
        machines.iter().filter_map(noted).filter(|(_, id)| *id != 0).collect()
    }
}

impl<D: Dial> Members for Calls<D> {
    async fn ask(&self, cluster: &str, machines: &[String]) -> Result<Etcd, String> {
        let access = self.state.access(cluster);
        let access = access.ok_or_else(|| format!("there are no credentials for cluster {cluster} yet"))?;
        let mut asked = Vec::new();
        for machine in machines {
            asked.push(self.answer(machine, &access));
        }
        let answers = join_all(asked).await;
        let answers: BTreeMap<String, Answer> = machines.iter().cloned().zip(answers).collect();
        assemble(&answers, self.noted(machines))
    }
}

/// Puts together what machines answer; `noted` are members by their machines, for those that do not answer.
///
/// # Errors
/// Why nobody tells the members.
pub fn assemble(answers: &BTreeMap<String, Answer>, noted: BTreeMap<String, u64>) -> Result<Etcd, String> {
    let lists = answers.values().map(|answer| &answer.members);
    let Some(list) = lists.into_iter().find(|list| !list.is_empty()) else {
        let why = answers.iter().map(|(machine, answer)| format!("{machine}: {}", answer.error));
        let why: Vec<String> = why.collect();
        return Err(format!("no machine tells the members of etcd: {}", why.join("; ")));
    };
    let told = answers.iter().filter_map(|(machine, answer)| Some((machine, answer.status.as_ref()?)));
    let told: Vec<(&String, &EtcdMemberStatus)> = told.collect();
    let led = told.iter().map(|(_, status)| *status).filter(|status| status.leader != 0);
    let newest = led.max_by_key(|it| (it.raft_term, it.raft_index));
    let is_healthy = |id: u64| {
        let own = told.iter().find(|(_, status)| status.member_id == id);
        own.zip(newest).is_some_and(|((_, own), newest)| is_in_step(own, newest))
    };
    let member = |(id, is_learner): &(u64, bool)| Member {
        id: *id,
        is_learner: *is_learner,
        is_healthy: is_healthy(*id),
    };
    let mut identities = noted;
    identities.extend(told.iter().map(|(machine, status)| ((*machine).clone(), status.member_id)));
    Ok(Etcd { members: list.iter().map(member).collect(), identities })
}

/// Whether a member follows the leader that the newest word of one with a leader names, and misses nothing.
fn is_in_step(status: &EtcdMemberStatus, newest: &EtcdMemberStatus) -> bool {
    let lag = newest.raft_index.saturating_sub(status.raft_applied_index);
    status.errors.is_empty() && status.leader == newest.leader && lag <= LAG_MAX
}

#[cfg(test)]
mod tests {
    use corten_fleet_cluster::quorum::can_scale_down;

    use super::*;

    const MEMBERS: [(u64, bool); 3] = [(1, false), (2, false), (3, false)];

    fn status(member_id: u64, leader: u64) -> EtcdMemberStatus {
        EtcdMemberStatus {
            member_id,
            leader,
            raft_term: 7,
            raft_index: 5000,
            raft_applied_index: 5000,
            ..EtcdMemberStatus::default()
        }
    }

    fn answer(status: EtcdMemberStatus) -> Answer {
        Answer { members: MEMBERS.to_vec(), status: Some(status), error: String::new() }
    }

    fn silent() -> Answer {
        Answer { error: "it is not connected".to_owned(), ..Answer::default() }
    }

    fn answers(of: [Answer; 3]) -> BTreeMap<String, Answer> {
        ["m1", "m2", "m3"].map(str::to_owned).into_iter().zip(of).collect()
    }

    fn health(etcd: &Etcd) -> Vec<bool> {
        etcd.members.iter().map(|member| member.is_healthy).collect()
    }

    #[test]
    fn a_member_is_healthy_by_its_own_word_when_it_is_in_step_with_the_leader() {
        let behind = EtcdMemberStatus { raft_applied_index: 3000, ..status(3, 1) };
        let failing = EtcdMemberStatus { errors: vec!["NOSPACE".to_owned()], ..status(3, 1) };
        let old = EtcdMemberStatus { raft_term: 6, ..status(3, 2) };
        for (third, healthy) in [
            (answer(status(3, 1)), true),
            (answer(status(3, 0)), false),
            (answer(behind), false),
            (answer(failing), false),
            (answer(old), false),
            (silent(), false),
        ] {
            let told = answers([answer(status(1, 1)), answer(status(2, 1)), third]);
            let etcd = assemble(&told, BTreeMap::new()).expect("members");
            assert_eq!(health(&etcd), [true, true, healthy]);
        }
    }

    #[test]
    fn a_dead_machine_is_known_by_what_was_noted_of_it_and_may_go() {
        let told = answers([answer(status(1, 1)), answer(status(2, 1)), silent()]);
        let noted = BTreeMap::from([("m3".to_owned(), 3), ("m1".to_owned(), 9)]);
        let etcd = assemble(&told, noted).expect("members");
        assert_eq!(etcd.identities.get("m1"), Some(&1), "its own word counts more");
        assert_eq!(can_scale_down(&etcd, "m3"), Ok(()));
        assert!(can_scale_down(&etcd, "m1").is_err(), "the dead one goes first");
    }

    #[test]
    fn without_a_list_nothing_is_known_and_each_machine_says_why() {
        let why = assemble(&answers([silent(), silent(), silent()]), BTreeMap::new()).unwrap_err();
        assert!(why.contains("m2: it is not connected"), "{why}");
        assert!(assemble(&BTreeMap::new(), BTreeMap::new()).is_err());
    }
}
