//! The health of etcd's members, from what several of them tell.

use std::collections::BTreeMap;

use corten_api::machine::EtcdMemberStatus;
use corten_fleet_cluster::quorum::Member;

/// A member as another one lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its id.
    pub(super) id: u64,
    /// It only learns.
    pub(super) is_learner: bool,
}

/// What a member tells about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Its id.
    pub(super) id: u64,
    /// Id of the member that it follows; 0 for none.
    pub(super) leader: u64,
    /// It finds something wrong with itself, such as a full disk.
    pub(super) has_errors: bool,
}

impl From<EtcdMemberStatus> for Told {
    fn from(status: EtcdMemberStatus) -> Self {
        Self { id: status.member_id, leader: status.leader, has_errors: !status.errors.is_empty() }
    }
}

/// The members with their health: healthy is who answers, finds nothing wrong, and follows whom most follow.
pub(super) fn judged(listed: &[Listed], told: &[Told]) -> Vec<Member> {
    let leader = leader(told);
    let is_healthy = |id: u64| {
        let own = told.iter().find(|told| told.id == id);
        own.is_some_and(|own| !own.has_errors && own.leader != 0 && Some(own.leader) == leader)
    };
    let member = |Listed { id, is_learner }: &Listed| Member {
        id: *id,
        is_learner: *is_learner,
        is_healthy: is_healthy(*id),
    };
    listed.iter().map(member).collect()
}

/// Whom most members follow.
fn leader(told: &[Told]) -> Option<u64> {
    let mut followers: BTreeMap<u64, usize> = BTreeMap::new();
    for told in told.iter().filter(|told| told.leader != 0) {
        *followers.entry(told.leader).or_default() += 1;
    }
    followers.into_iter().max_by_key(|(_, count)| *count).map(|(leader, _)| leader)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: u64, leader: u64) -> Told {
        Told { id, leader, has_errors: false }
    }

    #[test]
    fn who_answers_and_follows_the_same_leader_as_most_is_healthy() {
        let listed: Vec<Listed> = (1..=5).map(|id| Listed { id, is_learner: id == 5 }).collect();
        let full = Told { has_errors: true, ..told(3, 1) };
        let members = judged(&listed, &[told(1, 1), told(2, 1), full, told(4, 9)]);
        let healthy: Vec<u64> =
            members.iter().filter(|member| member.is_healthy).map(|member| member.id).collect();
        assert_eq!(healthy, [1, 2]);
        assert!(members.iter().any(|member| member.id == 5 && member.is_learner));
    }

    #[test]
    fn nobody_is_healthy_without_a_leader() {
        let listed = [Listed { id: 1, is_learner: false }];
        assert!(judged(&listed, &[told(1, 0)]).iter().all(|member| !member.is_healthy));
    }
}
