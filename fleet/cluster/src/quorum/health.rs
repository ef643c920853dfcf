//! Which members of etcd are healthy, from what several of them tell about themselves.
//!
//! ```text
//! the list, as one member tells it ─┐
//! what each member tells of itself ─┴─judged─▶ Member: healthy is who is in step with the newest leader
//! ```

use super::Member;

/// Entries of the log that a member in step may have yet to apply.
const LAG_MAX: u64 = 1000;

/// A member as another one lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: u64,
    /// It only learns and has no vote.
    pub is_learner: bool,
}

/// What a member tells about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its id.
    pub id: u64,
    /// Id of the member that it follows; 0 for none.
    pub leader: u64,
    /// Term of the leader.
    pub term: u64,
    /// Newest entry of the log that it has.
    pub index: u64,
    /// Newest entry of the log that it has applied.
    pub applied: u64,
    /// It finds something wrong with itself, such as a full disk.
    pub has_errors: bool,
}

/// The members with their health: healthy is who tells of itself, finds nothing wrong, follows whom the newest word of
/// one with a leader names, and misses little of the log.
#[must_use]
pub fn judged(listed: &[Listed], told: &[Told]) -> Vec<Member> {
    let newest = told.iter().filter(|told| told.leader != 0).max_by_key(|told| (told.term, told.index));
    let is_healthy = |id: u64| {
        let own = told.iter().find(|told| told.id == id);
        own.zip(newest).is_some_and(|(own, newest)| is_in_step(own, newest))
    };
    let member = |Listed { id, is_learner }: &Listed| Member {
        id: *id,
        is_learner: *is_learner,
        is_healthy: is_healthy(*id),
    };
    listed.iter().map(member).collect()
}

fn is_in_step(own: &Told, newest: &Told) -> bool {
    let lag = newest.index.saturating_sub(own.applied);
    !own.has_errors && own.leader == newest.leader && lag <= LAG_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: u64, leader: u64) -> Told {
        Told { id, leader, term: 7, index: 5000, applied: 5000, has_errors: false }
    }

    fn healthy(told: &[Told]) -> Vec<u64> {
        let listed: Vec<Listed> = (1..=3).map(|id| Listed { id, is_learner: id == 3 }).collect();
        let members = judged(&listed, told);
        assert!(members.iter().all(|member| member.is_learner == (member.id == 3)));
        members.iter().filter(|member| member.is_healthy).map(|member| member.id).collect()
    }

    #[test]
    fn who_tells_of_itself_and_is_in_step_with_the_leader_is_healthy() {
        let behind = Told { applied: 3000, ..told(3, 1) };
        let full = Told { has_errors: true, ..told(3, 1) };
        let old = Told { term: 6, ..told(3, 2) };
        assert_eq!(healthy(&[told(1, 1), told(2, 1), told(3, 1)]), [1, 2, 3]);
        for third in [told(3, 0), behind, full, old] {
            assert_eq!(healthy(&[told(1, 1), told(2, 1), third]), [1, 2], "{third:?}");
        }
        assert_eq!(healthy(&[told(1, 1), told(2, 1)]), [1, 2], "nothing is heard of the third");
    }

    #[test]
    fn nobody_is_healthy_without_a_leader() {
        assert!(healthy(&[told(1, 0)]).is_empty() && healthy(&[]).is_empty());
    }
}
