//! The language of templates as data: its documents, their fields and types.
//!
//! The strict reader of `corten_config` walks these tables; what the values mean together is `validate`'s business.
//! Names and types are those of existing templates. Fields that a kind of document must not have are here where another
//! kind has them, so that the refusal can say why.

use corten_config::schema::Type::{Any, Bool, Duration, Integer, List, OneOf, Text};
use corten_config::schema::{Field, Merge, Record, Support, Type};

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DocumentKind {
    /// The cluster itself.
    Cluster,
    /// The machine set of its control plane.
    ControlPlane,
    /// A machine set of workers.
    Workers,
    /// What is different on one machine.
    Machine,
}

impl DocumentKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::ControlPlane, Self::Workers, Self::Machine];

    /// Its name, as `kind` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::ControlPlane => "ControlPlane",
            Self::Workers => "Workers",
            Self::Machine => "Machine",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its fields, `kind` apart.
    pub fn record(self) -> &'static Record {
        match self {
            Self::Cluster => &CLUSTER,
            Self::ControlPlane | Self::Workers => &MACHINE_SET,
            Self::Machine => &MACHINE,
        }
    }
}

/// A field with the usual rules.
const fn field(key: &'static str, kind: Type, doc: &'static str) -> Field {
    Field {
        key,
        kind,
        merge: Merge::Default,
        support: Support::Effective,
        later: &[],
        secret: false,
        required: false,
        doc,
    }
}

/// A field without which a document is refused.
const fn required(key: &'static str, kind: Type, doc: &'static str) -> Field {
    Field { required: true, ..field(key, kind, doc) }
}

const TEXTS: Type = List(&Text);
const TEXT_MAP: Type = Type::Map(&Text);
const COUNT: Type = Integer(0, 4_294_967_295);

const LABELS: Field = field("labels", TEXT_MAP, "Labels of the resource.");
const ANNOTATIONS: Field = field("annotations", TEXT_MAP, "Annotations of the resource.");
const PATCHES: Field = field("patches", List(&Type::Record(&PATCH)), "Changes to the configuration.");
const EXTENSIONS: Field = field("systemExtensions", TEXTS, "Names of system extensions.");
const KERNEL_ARGS: Field = field("kernelArgs", TEXTS, "Kernel arguments; left alone when not given.");

static CLUSTER: Record = Record {
    doc: "The cluster.",
    fields: &[
        field("name", Text, "Name of the cluster."),
        LABELS,
        ANNOTATIONS,
        field("kubernetes", Type::Record(&KUBERNETES), "Kubernetes of the cluster."),
        field("talos", Type::Record(&TALOS), "The operating system of its machines."),
        field("features", Type::Record(&FEATURES), "Its switches."),
        PATCHES,
        EXTENSIONS,
        KERNEL_ARGS,
    ],
};

static MACHINE_SET: Record = Record {
    doc: "A machine set.",
    fields: &[
        field("name", Text, "Name of a set of workers."),
        LABELS,
        ANNOTATIONS,
        field("bootstrapSpec", Type::Record(&BOOTSTRAP), "Backup that a new control plane starts from."),
        field("machines", TEXTS, "UUIDs of its machines."),
        field("machineClass", Type::Record(&MACHINE_CLASS), "Class that it takes machines from."),
        field("updateStrategy", Type::Record(&STRATEGY), "How changed configurations go to workers."),
        field("upgradeStrategy", Type::Record(&STRATEGY), "How its machines are upgraded."),
        field("deleteStrategy", Type::Record(&STRATEGY), "How workers are removed."),
        PATCHES,
        EXTENSIONS,
        KERNEL_ARGS,
    ],
};

static MACHINE: Record = Record {
    doc: "A machine.",
    fields: &[
        field("name", Text, "UUID of the machine."),
        LABELS,
        ANNOTATIONS,
        field("locked", Bool, "Whether it is neither updated nor upgraded."),
        field("install", Type::Record(&INSTALL), "The disk to install on."),
        PATCHES,
        EXTENSIONS,
        KERNEL_ARGS,
    ],
};

const KUBERNETES: Record = Record {
    doc: "Kubernetes of a cluster.",
    fields: &[
        field("version", Text, "Its version."),
        field("manifests", List(&Type::Record(&MANIFEST)), "Objects to apply in it."),
        field("healthchecks", List(&Type::Record(&HEALTH_CHECK)), "Jobs that hold upgrades back."),
    ],
};

const TALOS: Record =
    Record { doc: "The operating system.", fields: &[field("version", Text, "Its version, with v.")] };

const FEATURES: Record = Record {
    doc: "Switches of a cluster.",
    fields: &[
        field("diskEncryption", Bool, "Whether disks are encrypted."),
        field("enableWorkloadProxy", Bool, "Whether services can be reached through the manager."),
        field("useEmbeddedDiscoveryService", Bool, "Whether machines find each other through the manager."),
        field("disablePublicDiscoveryService", Bool, "Whether they do not use the public service."),
        field("enableNodeAuditSkip", Bool, "Whether nodes can be excepted from audits."),
        field("backupConfiguration", Type::Record(&BACKUP), "Backups of etcd."),
    ],
};

const BACKUP: Record = Record {
    doc: "Backups of etcd.",
    fields: &[field("interval", Duration, "Time between two backups; none when 0.")],
};

const PATCH: Record = Record {
    doc: "A change to the configuration of machines.",
    fields: &[
        field("name", Text, "Its name, a part of the id."),
        field("idOverride", Text, "The whole id."),
        LABELS,
        ANNOTATIONS,
        field("file", Text, "File with the change."),
        field("inline", Any, "The change itself."),
    ],
};

const MANIFEST: Record = Record {
    doc: "Objects to apply in Kubernetes.",
    fields: &[
        required("name", Text, "Its name, a part of the id."),
        required("mode", OneOf(&["full", "one-time"]), "How long the objects are looked after."),
        LABELS,
        ANNOTATIONS,
        field("file", Text, "File with the objects."),
        field("inline", List(&Type::Object), "The objects themselves."),
    ],
};

const HEALTH_CHECK: Record = Record {
    doc: "A job that holds upgrades back.",
    fields: &[
        field("name", Text, "Its name, a part of the id."),
        field("idOverride", Text, "The whole id."),
        LABELS,
        ANNOTATIONS,
        field("job", Text, "The job, YAML in a text."),
        field("file", Text, "File with the job."),
        field("interval", Duration, "Time between two runs, at least 5s."),
    ],
};

const BOOTSTRAP: Record = Record {
    doc: "Backup that a new control plane starts from.",
    fields: &[
        required("clusterUUID", Text, "UUID of the cluster that was backed up."),
        required("snapshot", Text, "Name of the backup."),
    ],
};

const MACHINE_CLASS: Record = Record {
    doc: "Class that a machine set takes machines from.",
    fields: &[
        required("name", Text, "Name of the class."),
        required("size", Text, "How many machines: a number, or unlimited."),
    ],
};

const STRATEGY: Record = Record {
    doc: "In which order machines are treated.",
    fields: &[
        field("type", OneOf(&["Rolling", "Unset"]), "Whether some at a time."),
        field("rolling", Type::Record(&ROLLING), "How many at a time."),
    ],
};

const ROLLING: Record = Record {
    doc: "How many machines are treated at a time.",
    fields: &[field("maxParallelism", COUNT, "The most; 1 when not given.")],
};

const INSTALL: Record = Record {
    doc: "The disk to install on.",
    fields: &[
        field("disk", Text, "Path of the device."),
        field("diskSelector", Text, "CEL expression that is true for the disk."),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name_and_knows_its_name() {
        for kind in DocumentKind::ALL {
            assert_eq!(DocumentKind::named(kind.name()), Some(kind));
            assert!(kind.record().field("name").is_some(), "{kind:?}");
        }
        assert_eq!(DocumentKind::named("cluster"), None);
    }
}
