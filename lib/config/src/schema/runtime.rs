//! Documents about the running system: its environment, files below /etc, device rules, authorities, memory.

use super::Type::{Bool, Duration, Mode, Text};
use super::{Record, TEXT_MAP, TEXTS, field};

pub const ENVIRONMENT: Record = Record {
    doc: "Environment of containerd, etcd, the kubelet and udevd.",
    fields: &[field("variables", TEXT_MAP, "Variables.")],
};

pub const ETC_FILE: Record = Record {
    doc: "A file below /etc.",
    fields: &[
        field("name", Text, "Path below /etc.").required(),
        field("mode", Mode, "Permissions; 0644 when none are given."),
        field("contents", Text, "Content."),
    ],
};

pub const OOM: Record = Record {
    doc: "What is ended when memory runs out.",
    fields: &[
        field("triggerExpression", Text, "When something is ended, as a condition in CEL."),
        field("cgroupRankingExpression", Text, "What is ended first, as a number in CEL."),
        field("strictCgroupClassOrdering", Bool, "Whether classes come before the ranking."),
        field("sampleInterval", Duration, "How often memory is looked at."),
    ],
};

pub const UDEV_RULES: Record = Record { doc: "Device rules.", fields: &[field("rules", TEXTS, "Rules.")] };

pub const TRUSTED_ROOTS: Record = Record {
    doc: "More authorities that the machine trusts.",
    fields: &[
        field("name", Text, "Name of the set.").required(),
        field("certificates", Text, "Certificates, as PEM.").required(),
    ],
};
