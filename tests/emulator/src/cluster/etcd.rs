//! etcd as a value: who is a member, who leads, whether there is a quorum.

use std::collections::BTreeMap;

use tonic::{Code, Status};

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Name: the host name of its machine.
    pub name: String,
    /// Where other members reach it.
    pub peer_url: String,
    /// Where clients reach it.
    pub client_url: String,
    /// Whether it runs.
    pub is_up: bool,
}

/// Why etcd refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdError {
    /// There is a cluster already.
    #[error("etcd data directory is not empty")]
    Founded,
    /// There is no cluster yet.
    #[error("etcd is not bootstrapped; call Bootstrap on one control plane first")]
    NotFounded,
    /// Too few members run.
    #[error("etcdserver: no leader")]
    NoQuorum,
    /// Too few members would run.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    Unsafe,
    /// There is no such member.
    #[error("etcdserver: member not found")]
    NoSuchMember,
    /// Nobody else can lead.
    #[error("there is no other member that could lead")]
    NoSuccessor,
}

impl From<EtcdError> for Status {
    fn from(error: EtcdError) -> Self {
        let code = match error {
            EtcdError::Founded => Code::AlreadyExists,
            EtcdError::NotFounded | EtcdError::NoSuccessor => Code::FailedPrecondition,
            EtcdError::NoQuorum | EtcdError::Unsafe => Code::Unavailable,
            EtcdError::NoSuchMember => Code::NotFound,
        };
        Self::new(code, error.to_string())
    }
}

/// The members of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Etcd {
    members: BTreeMap<u64, Member>,
    leader: Option<u64>,
    term: u64,
    index: u64,
}

impl Etcd {
    /// Whether there is a cluster.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether more than half of the members run.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        is_quorum(self.up(), self.members.len())
    }

    /// Members by id.
    pub fn members(&self) -> impl Iterator<Item = (u64, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// Whether there is a member with this id.
    #[must_use]
    pub fn contains(&self, id: u64) -> bool {
        self.members.contains_key(&id)
    }

    /// Whether a member runs; `None` when it is none.
    #[must_use]
    pub fn is_up(&self, id: u64) -> Option<bool> {
        self.members.get(&id).map(|member| member.is_up)
    }

    /// Who leads; nobody without a quorum.
    #[must_use]
    pub const fn leader(&self) -> Option<u64> {
        self.leader
    }

    /// Term and index of the log.
    #[must_use]
    pub const fn position(&self) -> (u64, u64) {
        (self.term, self.index)
    }

    /// Begins a cluster.
    ///
    /// # Errors
    /// When there is one.
    pub fn found(&mut self, id: u64, member: Member) -> Result<(), EtcdError> {
        if self.is_founded() {
            return Err(EtcdError::Founded);
        }
        self.members.insert(id, member);
        self.elect();
        Ok(())
    }

    /// Takes a member in.
    ///
    /// # Errors
    /// When there is no cluster, or it has no quorum.
    pub fn join(&mut self, id: u64, member: Member) -> Result<(), EtcdError> {
        if !self.is_founded() {
            return Err(EtcdError::NotFounded);
        }
        if !self.has_quorum() {
            return Err(EtcdError::NoQuorum);
        }
        self.members.insert(id, member);
        self.elect();
        Ok(())
    }

    /// Notes whether a member runs.
    pub fn set_up(&mut self, id: u64, is_up: bool) {
        if let Some(member) = self.members.get_mut(&id) {
            member.is_up = is_up;
        }
        self.elect();
    }

    /// Removes a member. The last one takes the cluster with it.
    ///
    /// # Errors
    /// When there is no such member, or the rest would have no quorum.
    pub fn remove(&mut self, id: u64) -> Result<(), EtcdError> {
        let member = self.members.get(&id).ok_or(EtcdError::NoSuchMember)?;
        if !self.has_quorum() {
            return Err(EtcdError::NoQuorum);
        }
        let rest = self.members.len() - 1;
        if rest > 0 && !is_quorum(self.up() - usize::from(member.is_up), rest) {
            return Err(EtcdError::Unsafe);
        }
        self.members.remove(&id);
        self.elect();
        Ok(())
    }

    /// Hands the leadership on and names who has it then; names nobody when this member does not lead.
    ///
    /// # Errors
    /// When nobody else can lead.
    pub fn forfeit(&mut self, id: u64) -> Result<Option<String>, EtcdError> {
        if self.leader != Some(id) {
            return Ok(None);
        }
        let next = self.members.iter().find(|(other, member)| **other != id && member.is_up);
        let (next, name) =
            next.map(|(id, member)| (*id, member.name.clone())).ok_or(EtcdError::NoSuccessor)?;
        (self.leader, self.term) = (Some(next), self.term + 1);
        Ok(Some(name))
    }

    fn up(&self) -> usize {
        self.members.values().filter(|member| member.is_up).count()
    }

    /// Settles who leads after a change, which is an entry of the log as well.
    fn elect(&mut self) {
        self.index += 1;
        let is_up = |id: &u64| self.members.get(id).is_some_and(|member| member.is_up);
        let next = match self.leader {
            _ if !self.has_quorum() => None,
            Some(leader) if is_up(&leader) => Some(leader),
            _ => self.members.keys().copied().find(is_up),
        };
        if next.is_some() && next != self.leader {
            self.term += 1;
        }
        self.leader = next;
    }
}

const fn is_quorum(up: usize, all: usize) -> bool {
    up > all / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn up(name: &str) -> Member {
        Member { name: name.to_owned(), is_up: true, ..Member::default() }
    }

    fn three() -> Etcd {
        let mut etcd = Etcd::default();
        etcd.found(1, up("a")).expect("founded");
        etcd.join(2, up("b")).expect("joined");
        etcd.join(3, up("c")).expect("joined");
        etcd
    }

    #[test]
    fn a_cluster_is_founded_once_and_others_join() {
        let mut etcd = Etcd::default();
        assert_eq!(etcd.join(2, up("b")), Err(EtcdError::NotFounded));
        let mut etcd = three();
        assert_eq!(etcd.found(4, up("d")), Err(EtcdError::Founded));
        assert_eq!(etcd.leader(), Some(1));
    }

    #[test]
    fn a_removal_that_costs_the_quorum_is_refused() {
        let mut etcd = three();
        etcd.set_up(1, false);
        assert_eq!(etcd.leader(), Some(2));
        assert_eq!(etcd.remove(2), Err(EtcdError::Unsafe));
        assert_eq!(etcd.remove(9), Err(EtcdError::NoSuchMember));
        etcd.remove(1).expect("the one that is down may go");
        etcd.set_up(2, false);
        assert_eq!((etcd.leader(), etcd.remove(3)), (None, Err(EtcdError::NoQuorum)));
    }

    #[test]
    fn the_last_member_takes_the_cluster_with_it() {
        let mut etcd = Etcd::default();
        etcd.found(1, up("a")).expect("founded");
        assert_eq!(etcd.forfeit(1), Err(EtcdError::NoSuccessor));
        etcd.remove(1).expect("removed");
        assert!(!etcd.is_founded());
        etcd.found(2, up("b")).expect("another one");
    }

    #[test]
    fn leadership_is_handed_to_a_member_that_runs() {
        let mut etcd = three();
        etcd.set_up(2, false);
        assert_eq!(etcd.forfeit(1), Ok(Some("c".to_owned())));
        assert_eq!(etcd.forfeit(1), Ok(None), "it does not lead any more");
    }

    proptest! {
        #[test]
        fn a_leader_runs_and_has_a_quorum(steps in prop::collection::vec((0_u8..5, 0_u64..5), 0..60)) {
            let mut etcd = Etcd::default();
            for (step, id) in steps {
                let before = etcd.clone();
                let done = match step {
                    0 => etcd.found(id, up("x")).is_ok(),
                    1 => !etcd.contains(id) && etcd.join(id, up("x")).is_ok(),
                    2 => etcd.remove(id).is_ok(),
                    3 => etcd.forfeit(id).is_ok(),
                    _ => {
                        let is_up = etcd.members().any(|(other, member)| other == id && member.is_up);
                        etcd.set_up(id, !is_up);
                        true
                    }
                };
                prop_assert!(done || etcd == before, "a refusal changes nothing");
                prop_assert_eq!(etcd.leader().is_some(), etcd.has_quorum());
                if let Some(leader) = etcd.leader() {
                    prop_assert!(etcd.members().any(|(id, member)| id == leader && member.is_up));
                }
            }
        }
    }
}
