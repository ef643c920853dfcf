//! Nodes of a cluster, as its Kubernetes API has them, with what lately happened to them.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::SystemTime;

use crate::applied::Images;

/// Changes that are kept for those who watch.
const HISTORY_MAX: usize = 256;

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// UUID of its machine.
    pub uuid: String,
    /// Address of its machine in the tunnel, which stands for all its addresses.
    pub address: Ipv6Addr,
    /// Version of Talos, with a `v`.
    pub talos: String,
    /// Whether it runs the control plane.
    pub is_control_plane: bool,
    /// Whether its kubelet says that it is ready.
    pub is_ready: bool,
    /// Whether it is cordoned.
    pub is_cordoned: bool,
    /// Labels besides those that every node has.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What runs on it.
    pub images: Images,
    /// When it was registered.
    pub created: SystemTime,
}

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was registered.
    Added,
    /// It changed.
    Modified,
    /// It was removed.
    Deleted,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number; they count up.
    pub revision: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// To which node.
    pub name: String,
    /// The node after it, or before it was removed.
    pub node: Node,
}

/// The nodes of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    all: BTreeMap<String, (u64, Node)>,
    revision: u64,
    history: VecDeque<Change>,
}

impl Nodes {
    /// Number of the last change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Nodes by name, each with the number of its last change.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64, &Node)> {
        self.all.iter().map(|(name, (revision, node))| (name.as_str(), *revision, node))
    }

    /// A node with the number of its last change.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(u64, &Node)> {
        self.all.get(name).map(|(revision, node)| (*revision, node))
    }

    /// Registers or changes a node; the same again is no change.
    pub fn put(&mut self, name: &str, node: Node) {
        let kind = match self.all.get(name) {
            Some((_, known)) if *known == node => return,
            Some(_) => ChangeKind::Modified,
            None => ChangeKind::Added,
        };
        self.note(kind, name, node.clone());
        self.all.insert(name.to_owned(), (self.revision, node));
    }

    /// Changes a node that is there.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Node)) -> bool {
        let Some((_, node)) = self.all.get(name) else { return false };
        let mut node = node.clone();
        change(&mut node);
        self.put(name, node);
        true
    }

    /// Removes a node; false when it was not there.
    pub fn remove(&mut self, name: &str) -> bool {
        let Some((_, node)) = self.all.remove(name) else { return false };
        self.note(ChangeKind::Deleted, name, node);
        true
    }

    /// Changes after a revision; `None` when some of them are forgotten.
    #[must_use]
    pub fn since(&self, revision: u64) -> Option<Vec<Change>> {
        let first = self.history.front().map_or(self.revision + 1, |change| change.revision);
        let is_known = revision + 1 >= first && revision <= self.revision;
        is_known.then(|| self.history.iter().filter(|change| change.revision > revision).cloned().collect())
    }

    fn note(&mut self, kind: ChangeKind, name: &str, node: Node) {
        self.revision += 1;
        self.history.push_back(Change { revision: self.revision, kind, name: name.to_owned(), node });
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// A node of a worker.
    pub(crate) fn node() -> Node {
        Node {
            uuid: "u".to_owned(),
            address: Ipv6Addr::LOCALHOST,
            talos: "v1.14.0".to_owned(),
            is_control_plane: false,
            is_ready: true,
            is_cordoned: false,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            images: Images { kubelet: "registry/kubelet:v1.36.0".to_owned(), ..Images::default() },
            created: UNIX_EPOCH,
        }
    }

    #[test]
    fn changes_are_told_in_order_and_the_same_again_is_none() {
        let mut nodes = Nodes::default();
        nodes.put("a", node());
        nodes.put("a", node());
        assert!(nodes.edit("a", |node| node.is_ready = false));
        assert!(nodes.remove("a") && !nodes.remove("a") && !nodes.edit("a", |_| ()));
        let kinds: Vec<_> = nodes.since(0).expect("all").iter().map(|change| change.kind).collect();
        assert_eq!(kinds, [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Deleted]);
        assert_eq!(nodes.since(3), Some(Vec::new()));
        assert_eq!(nodes.since(4), None, "from another time");
    }

    #[test]
    fn who_is_too_far_behind_is_told_so() {
        let mut nodes = Nodes::default();
        for count in 0..=HISTORY_MAX {
            nodes.put("a", Node { talos: count.to_string(), ..node() });
        }
        assert_eq!(nodes.since(0), None);
        assert_eq!(nodes.since(1).map(|changes| changes.len()), Some(HISTORY_MAX));
    }
}
