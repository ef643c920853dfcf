//! How a control plane is: its tunnels and its etcd.

use corten_fleet_resources::cluster::{
    ConditionKind, ConditionSeverity, ConditionStatus, ControlPlaneCondition, ControlPlaneStatus,
};

use crate::quorum::Etcd;

/// A machine of a control plane.
#[derive(Clone, Copy, Debug)]
pub struct ControlPlaneMember<'a> {
    /// Its UUID.
    pub id: &'a str,
    /// Its tunnel is up.
    pub is_connected: bool,
}

/// The status of a control plane. `etcd` is why it could not be asked, or what it says.
#[must_use]
pub fn control_plane(members: &[ControlPlaneMember<'_>], etcd: Result<&Etcd, &str>) -> ControlPlaneStatus {
    ControlPlaneStatus { conditions: vec![wireguard(members), etcd_condition(members, etcd)] }
}

fn ready(kind: ConditionKind) -> ControlPlaneCondition {
    let (status, severity) = (ConditionStatus::Ready, ConditionSeverity::Info);
    ControlPlaneCondition { kind, reason: String::new(), status, severity }
}

fn not_ready(kind: ConditionKind, severity: ConditionSeverity, reason: String) -> ControlPlaneCondition {
    ControlPlaneCondition { kind, reason, status: ConditionStatus::NotReady, severity }
}

/// Every tunnel is to be up; without any the control plane cannot be managed.
fn wireguard(members: &[ControlPlaneMember<'_>]) -> ControlPlaneCondition {
    let kind = ConditionKind::WireguardConnection;
    let lost: Vec<&str> =
        members.iter().filter(|member| !member.is_connected).map(|member| member.id).collect();
    if members.is_empty() {
        let reason = "the control plane has no machines; add one".to_owned();
        return not_ready(kind, ConditionSeverity::Error, reason);
    }
    if lost.is_empty() {
        return ready(kind);
    }
    let severity =
        if lost.len() == members.len() { ConditionSeverity::Error } else { ConditionSeverity::Warning };
    not_ready(kind, severity, format!("not connected: {}", lost.join(", ")))
}

/// Every machine is to be a healthy member, and every member a machine; without a quorum nothing works.
fn etcd_condition(members: &[ControlPlaneMember<'_>], etcd: Result<&Etcd, &str>) -> ControlPlaneCondition {
    let kind = ConditionKind::Etcd;
    let etcd = match etcd {
        Ok(etcd) => etcd,
        Err(why) => {
            let reason = format!("etcd could not be asked: {why}");
            let (status, severity) = (ConditionStatus::Unknown, ConditionSeverity::Warning);
            return ControlPlaneCondition { kind, reason, status, severity };
        }
    };
    let ill = etcd.members.iter().filter(|member| !member.is_healthy).count();
    if !etcd.has_quorum() {
        let all = etcd.members.len();
        let reason = format!("{ill} of {all} members are not healthy, and there is no quorum");
        return not_ready(kind, ConditionSeverity::Error, reason);
    }
    let absent = members.iter().filter(|member| !etcd.identities.contains_key(member.id));
    let absent: Vec<&str> = absent.map(|member| member.id).collect();
    let reason = match (ill, etcd.orphans().len(), absent.as_slice()) {
        (0, 0, []) => return ready(kind),
        (0, 0, absent) => format!("not a member yet: {}", absent.join(", ")),
        (0, orphans, _) => format!("no machine stands behind {orphans} of the members"),
        (ill, _, _) => format!("{ill} of {} members are not healthy", etcd.members.len()),
    };
    not_ready(kind, ConditionSeverity::Warning, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum;

    fn members(connected: &[bool]) -> Vec<ControlPlaneMember<'static>> {
        let names = ["a", "b", "c"].into_iter().zip(connected);
        names.map(|(id, is_connected)| ControlPlaneMember { id, is_connected: *is_connected }).collect()
    }

    fn etcd(healthy: &[bool]) -> Etcd {
        let member =
            |(id, healthy): (u64, &bool)| quorum::Member { id, is_learner: false, is_healthy: *healthy };
        let identities = ["a", "b", "c"].into_iter().zip(1..).map(|(name, id)| (name.to_owned(), id));
        Etcd {
            members: (1..).zip(healthy).map(member).collect(),
            identities: identities.take(healthy.len()).collect(),
        }
    }

    /// Status and severity of a condition.
    type Verdict = (ConditionStatus, ConditionSeverity);

    /// The verdict on the tunnels, and on etcd.
    fn conditions(connected: &[bool], etcd: Result<&Etcd, &str>) -> Vec<Verdict> {
        let status = control_plane(&members(connected), etcd);
        status.conditions.iter().map(|condition| (condition.status, condition.severity)).collect()
    }

    const READY: Verdict = (ConditionStatus::Ready, ConditionSeverity::Info);
    const WARNING: Verdict = (ConditionStatus::NotReady, ConditionSeverity::Warning);
    const ERROR: Verdict = (ConditionStatus::NotReady, ConditionSeverity::Error);

    #[test]
    fn tunnels_that_are_down_warn_and_none_at_all_is_an_error() {
        let well = etcd(&[true, true, true]);
        assert_eq!(conditions(&[true, true, true], Ok(&well)), [READY, READY]);
        assert_eq!(conditions(&[true, false, true], Ok(&well)), [WARNING, READY]);
        assert_eq!(conditions(&[false, false, false], Ok(&well)), [ERROR, READY]);
        assert_eq!(conditions(&[], Ok(&well)).first(), Some(&ERROR));
    }

    #[test]
    fn etcd_without_a_quorum_is_an_error_and_less_than_whole_a_warning() {
        let all = [true, true, true];
        assert_eq!(conditions(&all, Ok(&etcd(&[true, false, false]))), [READY, ERROR]);
        assert_eq!(conditions(&all, Ok(&etcd(&[true, true, false]))), [READY, WARNING]);
        assert_eq!(conditions(&all, Ok(&etcd(&[true, true]))), [READY, WARNING], "c is no member yet");
        let mut orphaned = etcd(&[true, true, true]);
        orphaned.identities.remove("c");
        assert_eq!(conditions(&all, Ok(&orphaned)), [READY, WARNING]);
    }

    #[test]
    fn etcd_that_cannot_be_asked_is_unknown() {
        let status = control_plane(&members(&[true]), Err("no answer"));
        let condition = status.conditions.last().unwrap();
        assert_eq!(condition.status, ConditionStatus::Unknown);
        assert!(condition.reason.contains("no answer"));
    }
}
