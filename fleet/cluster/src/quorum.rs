//! Whether the members of etcd allow that one of them goes, and which of them nobody stands behind (fleet.md 4.5).
//!
//! ```text
//! what members tell ─judged─▶ members, who is healthy
//!
//! members, who is healthy ─┐
//! identities of machines ──┼─can_scale_down─▶ yes, or the member that is in the way and what to do about it
//! the machine that leaves ─┘
//!                          └─audit─▶ orphans seen twice are removed, those seen once are remembered
//! ```
//!
//! n members decide while more than half of them are healthy. A learner does not count.

mod health;

use std::collections::{BTreeMap, BTreeSet};

pub use health::{Listed, Told, judged};

/// A member of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// It only learns and has no vote.
    pub is_learner: bool,
    /// It answers and is in step with its leader.
    pub is_healthy: bool,
}

/// The etcd of a cluster, as one of its members tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Etcd {
    /// The members.
    pub members: Vec<Member>,
    /// Ids of members by the UUIDs of their machines, from ClusterMachineIdentities; those that are 0 are left out.
    pub identities: BTreeMap<String, u64>,
}

/// Voters that must be healthy so that a number of them can decide.
#[must_use]
pub const fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

impl Etcd {
    /// Name of a member for people: its machine, or its id in hexadecimal as etcd prints it.
    fn name(&self, id: u64) -> String {
        let machine = self.identities.iter().find(|(_, member)| **member == id);
        machine.map_or_else(|| format!("{id:x}"), |(machine, _)| machine.clone())
    }

    /// Members that no machine stands behind.
    #[must_use]
    pub fn orphans(&self) -> BTreeSet<u64> {
        let known: BTreeSet<u64> = self.identities.values().copied().collect();
        self.members.iter().map(|member| member.id).filter(|id| !known.contains(id)).collect()
    }

    /// Healthy voters, and all voters.
    fn votes(&self) -> (usize, usize) {
        let voters = || self.members.iter().filter(|member| !member.is_learner);
        (voters().filter(|member| member.is_healthy).count(), voters().count())
    }

    /// Whether more than half of the voters are healthy.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        let (healthy, all) = self.votes();
        all > 0 && healthy >= quorum(all)
    }
}

/// Whether a machine may leave: every other member has a machine and is healthy, and what remains can decide.
///
/// The machine that leaves need not be healthy, so a dead one can be let go. One that is no member is in nobody's way.
///
/// # Errors
/// Who is in the way, and what would change that.
pub fn can_scale_down(etcd: &Etcd, leaving: &str) -> Result<(), String> {
    let (healthy, all) = etcd.votes();
    let leaving_member = etcd.identities.get(leaving).copied();
    let Some(member) = etcd.members.iter().find(|member| Some(member.id) == leaving_member) else {
        return Ok(());
    };
    if all <= 1 && !member.is_learner {
        let reason = "it is the only member of etcd; add another control plane first, or destroy the cluster";
        return Err(reason.to_owned());
    }
    if !etcd.has_quorum() {
        return Err(format!(
            "etcd has no quorum, {healthy} of {all} members are healthy; bring one back, or restore a backup"
        ));
    }
    if let Some(orphan) = etcd.orphans().first() {
        return Err(format!(
            "no machine stands behind etcd member {orphan:x}; it is removed when it is seen again in a minute"
        ));
    }
    let leaving_id = member.id;
    let others = || etcd.members.iter().filter(move |other| other.id != leaving_id);
    if let Some(ill) = others().find(|other| !other.is_healthy) {
        let name = etcd.name(ill.id);
        return Err(format!("etcd member {name} is not healthy; repair it, or remove it first"));
    }
    let voters = others().filter(|other| !other.is_learner).count();
    if voters == 0 {
        return Err("no other member of etcd has a vote yet; wait until one has caught up".to_owned());
    }
    Ok(())
}

/// What an audit does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Members to remove, in rising order.
    pub remove: Vec<u64>,
    /// Members that the next audit is to compare with.
    pub remember: BTreeSet<u64>,
    /// Why nothing is removed although there are orphans; absent otherwise.
    pub reason: Option<String>,
}

/// Looks for members that no machine stands behind. Only one that the audit before saw as well is removed: a machine
/// that has just joined is a member before its identity is known.
///
/// `unidentified` is a connected control plane machine whose member is not known; the orphan may be it.
#[must_use]
pub fn audit(etcd: &Etcd, seen_before: &BTreeSet<u64>, unidentified: Option<&str>) -> Audit {
    let orphans = etcd.orphans();
    let confirmed: Vec<u64> = orphans.intersection(seen_before).copied().collect();
    if confirmed.is_empty() {
        return Audit { remember: orphans, ..Audit::default() };
    }
    if let Some(machine) = unidentified {
        let reason = format!("a member of etcd may be machine {machine}, whose identity is awaited");
        return Audit { remember: orphans, reason: Some(reason), ..Audit::default() };
    }
    if !etcd.has_quorum() {
        let reason = "etcd has no quorum, so no member can be removed; bring one back, or restore a backup";
        return Audit { remember: orphans, reason: Some(reason.to_owned()), ..Audit::default() };
    }
    Audit { remove: confirmed, remember: orphans, reason: None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Members `m1`, `m2`, …, each with its machine: `+` for a healthy one, `-` for another.
    fn etcd(health: &str) -> Etcd {
        let member = |(id, mark)| Member { id, is_learner: false, is_healthy: mark == '+' };
        let members: Vec<Member> = (1..).zip(health.chars()).map(member).collect();
        let identities = members.iter().map(|member| (format!("m{}", member.id), member.id)).collect();
        Etcd { members, identities }
    }

    #[test]
    fn quorum_is_more_than_half() {
        assert_eq!([1, 2, 3, 4, 5].map(quorum), [1, 2, 2, 3, 3]);
        assert!(etcd("++-").has_quorum() && !etcd("+-").has_quorum());
        assert!(!Etcd::default().has_quorum());
    }

    #[test]
    fn a_member_leaves_when_all_others_are_healthy() {
        for (health, leaving, may) in [
            ("+++", "m1", true),
            ("-++", "m1", true),
            ("++-", "m1", false),
            ("++", "m2", true),
            ("+-", "m2", false),
            ("+", "m1", false),
            ("++++-", "m1", false),
            ("--+++", "m1", false),
        ] {
            assert_eq!(can_scale_down(&etcd(health), leaving).is_ok(), may, "{health} {leaving}");
        }
    }

    #[test]
    fn a_machine_that_is_no_member_is_in_nobodys_way() {
        assert_eq!(can_scale_down(&etcd("+-"), "worker"), Ok(()));
        assert_eq!(can_scale_down(&Etcd::default(), "m1"), Ok(()));
    }

    #[test]
    fn the_member_in_the_way_is_named() {
        let ill = can_scale_down(&etcd("++-"), "m1").unwrap_err();
        assert!(ill.contains("etcd member m3 is not healthy"), "{ill}");
        let mut orphaned = etcd("+++");
        orphaned.identities.remove("m3");
        let orphan = can_scale_down(&orphaned, "m1").unwrap_err();
        assert!(orphan.contains("behind etcd member 3"), "{orphan}");
    }

    #[test]
    fn the_last_voter_stays_until_a_learner_has_caught_up() {
        let mut etcd = etcd("++");
        etcd.members.iter_mut().filter(|member| member.id == 2).for_each(|member| member.is_learner = true);
        assert!(can_scale_down(&etcd, "m1").is_err());
        assert_eq!(can_scale_down(&etcd, "m2"), Ok(()));
    }

    #[test]
    fn an_orphan_is_removed_when_it_is_seen_twice() {
        let mut orphaned = etcd("+++");
        orphaned.identities.remove("m3");
        let first = audit(&orphaned, &BTreeSet::new(), None);
        assert!(first.remove.is_empty() && first.remember == BTreeSet::from([3]));
        let second = audit(&orphaned, &first.remember, None);
        assert_eq!(second.remove, [3]);
        let gone = audit(&etcd("+++"), &first.remember, None);
        assert_eq!(gone, Audit::default());
    }

    #[test]
    fn an_orphan_that_may_be_a_new_machine_is_kept() {
        let mut orphaned = etcd("+++");
        orphaned.identities.remove("m3");
        let seen = BTreeSet::from([3]);
        let held = audit(&orphaned, &seen, Some("m3"));
        assert!(held.remove.is_empty() && held.reason.unwrap().contains("m3"));
    }

    #[test]
    fn without_a_quorum_nothing_is_removed() {
        let mut orphaned = etcd("+-");
        orphaned.identities.remove("m2");
        let held = audit(&orphaned, &BTreeSet::from([2]), None);
        assert!(held.remove.is_empty() && held.reason.is_some());
    }

    proptest! {
        #[test]
        fn what_remains_can_always_decide(health in "[+-]{1,7}", which in 0..8_usize) {
            let mut etcd = etcd(&health);
            let leaving = format!("m{}", which % health.len() + 1);
            if can_scale_down(&etcd, &leaving).is_err() {
                return Ok(());
            }
            prop_assert!(etcd.has_quorum(), "a change of members needs a quorum before");
            let id = etcd.identities[&leaving];
            etcd.members.retain(|member| member.id != id);
            prop_assert!(etcd.has_quorum(), "and after");
        }
    }
}
