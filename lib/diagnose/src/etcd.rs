//! etcd on control planes.

use corten_resources::etcd::EtcdMember;

use crate::{Diagnosis, Evidence, Facts, Severity};

/// Id of no member.
const NOBODY: &str = "0000000000000000";
/// What etcd says when it cannot agree with others.
const NO_QUORUM: &[&str] = &[
    "no leader",
    "etcdserver: request timed out",
    "context deadline exceeded",
    "waiting for quorum",
    "lost leader",
];
/// What it says when others have removed it.
const REMOVED: &[&str] = &[
    "the member has been permanently removed from the cluster",
    "member was removed",
    "removed from cluster",
];
/// A database that is larger is near its limit of 2 GiB.
const SIZE_MAX: u64 = 1700 << 20;
/// A smaller database is not worth to be defragmented.
const SIZE_FRAGMENTED_MIN: u64 = 256 << 20;

/// The diagnoses.
pub(crate) const TABLE: &[Diagnosis] = &[
    Diagnosis {
        id: "etcd-not-bootstrapped",
        title: "etcd waits to be bootstrapped.",
        why: "The cluster does not exist yet: nobody has told one of its control planes to begin, and no other one is known.",
        remedy: &[
            "Run `corten bootstrap` for exactly one control plane, once.",
            "If the cluster exists, see that discovery works and that the other control planes are reachable: this one wants to join them.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: not_bootstrapped,
    },
    Diagnosis {
        id: "etcd-removed",
        title: "etcd on this machine was removed from its cluster.",
        why: "The other members do not know it any more, and it does not come back by itself with the data it has.",
        remedy: &[
            "Reset the machine with `corten reset` so that it joins as a new member, or leave it out for good.",
        ],
        severity: Severity::Problem,
        after: &[],
        find: removed,
    },
    Diagnosis {
        id: "etcd-no-space",
        title: "etcd is out of space.",
        why: "Its database has reached the quota, so Kubernetes can change nothing until the alarm is disarmed.",
        remedy: &[
            "Make room: remove what nobody needs from Kubernetes, then run `corten etcd defrag` for each control plane in turn.",
            "Disarm it with `corten etcd alarm disarm`.",
            "If the database is as large as it has to be, raise `quota-backend-bytes` of etcd.",
        ],
        severity: Severity::Problem,
        after: &["disk-full"],
        find: |facts| alarm(facts, "NOSPACE", "has no space left"),
    },
    Diagnosis {
        id: "etcd-corrupt",
        title: "A member of etcd has other data than the others.",
        why: "What it answers cannot be relied on; etcd has raised its alarm.",
        remedy: &[
            "Save a snapshot of a healthy member with `corten etcd snapshot`.",
            "Remove the member with `corten etcd remove-member`, reset its machine and let it join again.",
        ],
        severity: Severity::Problem,
        after: &["disk-errors"],
        find: |facts| alarm(facts, "CORRUPT", "has data that differ"),
    },
    Diagnosis {
        id: "etcd-no-quorum",
        title: "etcd has no quorum.",
        why: "Fewer than half of its members reach each other, so nobody can write, and Kubernetes stands still.",
        remedy: &[
            "See with `corten etcd members` who belongs to it, and bring back enough of those machines.",
            "See that TCP ports 2379 and 2380 are let through between control planes.",
            "If they are gone for good, recover from a snapshot.",
        ],
        severity: Severity::Problem,
        after: &[
            "no-carrier",
            "no-address",
            "no-default-route",
            "duplicate-address",
            "duplicate-hostname",
            "disk-full",
            "clock-wrong",
            "etcd-no-space",
            "etcd-removed",
        ],
        find: no_quorum,
    },
    Diagnosis {
        id: "etcd-unwell",
        title: "etcd does not work.",
        why: "The API server of this machine keeps everything in it.",
        remedy: &["Read why with `corten service etcd` and `corten logs etcd`."],
        severity: Severity::Problem,
        after: &[
            "etcd-not-bootstrapped",
            "etcd-removed",
            "etcd-no-space",
            "etcd-corrupt",
            "etcd-no-quorum",
            "time-server-unreachable",
            "time-servers-missing",
            "image-not-pulled",
            "service-crash-loop",
            "no-hostname",
            "no-address",
            "volume-failed",
            "volume-waits",
            "disk-full",
        ],
        find: unwell,
    },
    Diagnosis {
        id: "etcd-large",
        title: "etcd's database is large.",
        why: "At 2 GiB, unless the quota is higher, it raises an alarm and refuses writes.",
        remedy: &[
            "See what fills Kubernetes (events, custom resources), and run `corten etcd defrag` for each control plane in turn.",
        ],
        severity: Severity::Warning,
        after: &[],
        find: large,
    },
    Diagnosis {
        id: "etcd-fragmented",
        title: "Most of etcd's database is empty.",
        why: "Space of what was removed is given back only by defragmenting; until then it counts against the quota.",
        remedy: &["Run `corten etcd defrag` for each control plane in turn, the leader last."],
        severity: Severity::Note,
        after: &["etcd-large", "etcd-no-space"],
        find: fragmented,
    },
];

fn not_bootstrapped(facts: &Facts) -> Vec<Evidence> {
    let waiting =
        facts.service("etcd").filter(|etcd| etcd.state == "Waiting" && etcd.message.contains("bootstrap"));
    waiting.map(|etcd| Evidence::new("etcd does not start").with(&etcd.message)).into_iter().collect()
}

fn removed(facts: &Facts) -> Vec<Evidence> {
    let line = facts.lines("etcd", REMOVED).next();
    let is_out = facts.is_ill("etcd") || facts.service("etcd").is_some_and(|etcd| etcd.state != "Running");
    let line =
        line.filter(|_| is_out).map(|line| Evidence::new("etcd ended because others removed it").with(line));
    let gone = facts.service("etcd").filter(|etcd| etcd.message.contains("after leaving the cluster"));
    let gone = gone.map(|etcd| Evidence::new("this machine has left the cluster").with(&etcd.message));
    line.or(gone).into_iter().collect()
}

fn alarm(facts: &Facts, kind: &str, what: &str) -> Vec<Evidence> {
    let own = facts.list::<EtcdMember>().next().map(|member| member.member_id.as_str());
    let alarms = facts.vitals.etcd.iter().flat_map(|etcd| &etcd.alarms).filter(|alarm| alarm.alarm == kind);
    let told = alarms.map(|alarm| {
        let whose = if own == Some(alarm.member.as_str()) { " (this machine)" } else { "" };
        Evidence::new(format!("member {}{whose} {what}", alarm.member))
    });
    told.collect()
}

fn no_quorum(facts: &Facts) -> Vec<Evidence> {
    // A single member that does not answer is down; it has nobody to agree with.
    let Some(etcd) = &facts.vitals.etcd else { return Vec::new() };
    let is_alone = etcd.silence.is_empty() && etcd.leader == NOBODY;
    let complaints = etcd.errors.iter().chain(Some(&etcd.silence));
    let complaint = complaints.into_iter().find(|text| NO_QUORUM.iter().any(|word| text.contains(word)));
    let log =
        facts.lines("etcd", NO_QUORUM).next().filter(|_| facts.is_ill("etcd") && !etcd.silence.is_empty());
    if !is_alone && complaint.is_none() && log.is_none() {
        return Vec::new();
    }
    let members = if etcd.members.is_empty() { "unknown".to_owned() } else { etcd.members.join(", ") };
    let said = complaint.map(String::as_str).or(log).unwrap_or_default();
    vec![Evidence::new(format!("its members (known: {members}) have no leader")).with(said)]
}

fn unwell(facts: &Facts) -> Vec<Evidence> {
    if !facts.is_control_plane() || !facts.is_ill("etcd") {
        return Vec::new();
    }
    let said = facts.complaints("etcd");
    vec![said.iter().fold(Evidence::new("etcd is not running, or not healthy"), Evidence::with)]
}

fn large(facts: &Facts) -> Vec<Evidence> {
    let etcd = facts.vitals.etcd.as_ref().filter(|etcd| etcd.size > SIZE_MAX);
    etcd.map(|etcd| Evidence::new(format!("it has {} MiB", etcd.size >> 20))).into_iter().collect()
}

fn fragmented(facts: &Facts) -> Vec<Evidence> {
    let is_hollow = |size: u64, used: u64| size > SIZE_FRAGMENTED_MIN && used < size / 2;
    let etcd = facts.vitals.etcd.as_ref().filter(|etcd| is_hollow(etcd.size, etcd.size_in_use));
    let told =
        |size: u64, used: u64| Evidence::new(format!("{} MiB of {} MiB are in use", used >> 20, size >> 20));
    etcd.map(|etcd| told(etcd.size, etcd.size_in_use)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::resource;
    use corten_resources::config::Role;
    use corten_resources::service::Service;

    use super::*;
    use crate::testing::{check, check_absent, find, role, service, vitals};
    use crate::vitals::{EtcdAlarmFact, EtcdFact, ServiceFact, Vitals};

    fn told(etcd: EtcdFact) -> Facts {
        vitals(Vitals { etcd: Some(etcd), ..Vitals::default() })
    }

    fn ill(fact: ServiceFact) -> Facts {
        let mut facts = vitals(Vitals { services: vec![fact], ..Vitals::default() });
        facts.read("MachineTypes.config.talos.dev", [role(Role::ControlPlane)]);
        facts.read("Services.v1alpha1.talos.dev", [resource("etcd", Service::default())]);
        facts
    }

    #[test]
    fn a_cluster_that_nobody_began_waits_for_it() {
        let waits = ill(service("etcd", "Waiting", "Waiting for bootstrap, etcd PKI"));
        check(&waits, "etcd-not-bootstrapped", "etcd does not start");
        assert_eq!(find(&waits, "etcd-unwell").expect("found").because, ["etcd-not-bootstrapped"]);
    }

    #[test]
    fn alarms_name_their_members() {
        let alarm = |kind: &str| {
            let alarms =
                vec![EtcdAlarmFact { member: "8e9e05c52164694d".to_owned(), alarm: kind.to_owned() }];
            told(EtcdFact { alarms, leader: "1".to_owned(), ..EtcdFact::default() })
        };
        let mut own = alarm("NOSPACE");
        check(&own, "etcd-no-space", "member 8e9e05c52164694d has no space left");
        let member = EtcdMember { member_id: "8e9e05c52164694d".to_owned() };
        own.read("EtcdMembers.etcd.talos.dev", [resource(EtcdMember::ID, member)]);
        check(&own, "etcd-no-space", "member 8e9e05c52164694d (this machine) has no space left");
        check(&alarm("CORRUPT"), "etcd-corrupt", "member 8e9e05c52164694d has data that differ");
        check_absent(&alarm("NONE"), "etcd-no-space");
    }

    #[test]
    fn members_without_a_leader_have_no_quorum() {
        let members = vec!["cp-1".to_owned(), "cp-2".to_owned()];
        let alone = EtcdFact { leader: NOBODY.to_owned(), members, ..EtcdFact::default() };
        check(&told(alone), "etcd-no-quorum", "its members (known: cp-1, cp-2) have no leader");
        let late = EtcdFact { silence: "etcdserver: request timed out".to_owned(), ..EtcdFact::default() };
        check(&told(late), "etcd-no-quorum", "its members (known: unknown) have no leader");
        check_absent(&told(EtcdFact { leader: "8e9e".to_owned(), ..EtcdFact::default() }), "etcd-no-quorum");
        check_absent(
            &told(EtcdFact { silence: "nothing listens".to_owned(), ..EtcdFact::default() }),
            "etcd-no-quorum",
        );
    }

    #[test]
    fn a_member_that_others_removed_or_that_left_is_told_so() {
        let mut out = ill(service("etcd", "Failed", "Task exited with code 1"));
        out.log("etcd", "{\"msg\":\"the member has been permanently removed from the cluster\"}\n");
        check(&out, "etcd-removed", "etcd ended because others removed it");
        let left = ill(service("etcd", "Waiting", "Waiting for reboot, after leaving the cluster"));
        check(&left, "etcd-removed", "this machine has left the cluster");
    }

    #[test]
    fn a_database_is_large_or_hollow() {
        let sized = |size: u64, size_in_use: u64| {
            told(EtcdFact {
                size: size << 20,
                size_in_use: size_in_use << 20,
                leader: "1".to_owned(),
                ..EtcdFact::default()
            })
        };
        check(&sized(1800, 1700), "etcd-large", "it has 1800 MiB");
        check(&sized(600, 100), "etcd-fragmented", "100 MiB of 600 MiB are in use");
        for id in ["etcd-large", "etcd-fragmented"] {
            check_absent(&sized(100, 10), id);
        }
    }
}
