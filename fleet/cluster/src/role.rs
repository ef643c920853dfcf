//! What a machine is in its cluster.

use std::collections::BTreeMap;
use std::fmt;

use corten_fleet_resources::labels;

/// Labels or annotations of a resource.
pub type Labels = BTreeMap<String, String>;

/// What a machine is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It runs the control plane and is a member of etcd.
    ControlPlane,
    /// It runs work only.
    Worker,
}

impl Role {
    /// The role that the labels of a machine set, or of what belongs to it, name; `None` when they name none or both.
    #[must_use]
    pub fn of(labels: &Labels) -> Option<Self> {
        let has = |key: &str| labels.contains_key(key);
        match (has(labels::ROLE_CONTROL_PLANE), has(labels::ROLE_WORKER)) {
            (true, false) => Some(Self::ControlPlane),
            (false, true) => Some(Self::Worker),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ControlPlane => "control plane",
            Self::Worker => "worker",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn exactly_one_label_names_the_role() {
        let (control_plane, worker) = ((labels::ROLE_CONTROL_PLANE, ""), (labels::ROLE_WORKER, ""));
        let role = |entries: &[(&str, &str)]| Role::of(&testing::labels(entries));
        assert_eq!(role(&[control_plane]), Some(Role::ControlPlane));
        assert_eq!(role(&[worker, (labels::CLUSTER, "prod")]), Some(Role::Worker));
        assert_eq!(role(&[]), None);
        assert_eq!(role(&[control_plane, worker]), None);
    }
}
