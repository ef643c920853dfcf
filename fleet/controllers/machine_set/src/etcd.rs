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
use std::sync::Arc;

use corten_base::chain;
use corten_fleet_cluster::quorum::{Etcd, Listed, Told, judged};
use corten_fleet_controllers_machine::connect::Dial;
use corten_fleet_controllers_machine::{Pool, calls};
use corten_fleet_resources::cluster::ClusterMachineIdentity;
use corten_resource::State;
use futures::future::{join, join_all};

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
    /// All members; empty when it does not tell them.
    pub members: Vec<Listed>,
    /// What its own member tells of itself.
    pub status: Option<Told>,
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

    async fn answer(&self, cluster: &str, machine: &str) -> Answer {
        let connection = match calls::member(&self.pool, &self.state, cluster, machine).await {
            Ok(connection) => connection,
            Err(error) => return Answer { error: chain(&error), ..Answer::default() },
        };
        let client = connection.client();
        let (status, members) = join(calls::etcd_status(client), calls::etcd_members(client)).await;
        let errors = [status.as_ref().err(), members.as_ref().err()];
        let errors: Vec<String> = errors.into_iter().flatten().map(|error| chain(error)).collect();
        let error = errors.join("; ");
        Answer { members: members.unwrap_or_default(), status: status.ok().flatten(), error }
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
        let answers = join_all(machines.iter().map(|machine| self.answer(cluster, machine))).await;
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
    let told: Vec<Told> = answers.values().filter_map(|answer| answer.status).collect();
    let mut identities = noted;
    let own = answers.iter().filter_map(|(machine, answer)| Some((machine.clone(), answer.status?.id)));
    identities.extend(own);
    Ok(Etcd { members: judged(list, &told), identities })
}

#[cfg(test)]
mod tests {
    use corten_fleet_cluster::quorum::can_scale_down;

    use super::*;

    fn answer(id: u64) -> Answer {
        let members = (1..=3).map(|id| Listed { id, is_learner: false }).collect();
        let status = Told { id, leader: 1, term: 7, ..Told::default() };
        Answer { members, status: Some(status), error: String::new() }
    }

    fn silent() -> Answer {
        Answer { error: "it is not connected".to_owned(), ..Answer::default() }
    }

    fn answers(of: [Answer; 3]) -> BTreeMap<String, Answer> {
        ["m1", "m2", "m3"].map(str::to_owned).into_iter().zip(of).collect()
    }

    #[test]
    fn a_dead_machine_is_known_by_what_was_noted_of_it_and_may_go() {
        let told = answers([answer(1), answer(2), silent()]);
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
