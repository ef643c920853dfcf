//! Documents about what runs on a machine, and about the machine itself.

use crate::schema::Type::{Bool, List, OneOf, Text};
use crate::schema::{Merge, Record, TEXTS, Type, U32, field};

use crate::schema::volumes::MATCH;

pub const CONTAINER: Record = Record {
    doc: "A container that the machine runs beside Kubernetes.",
    fields: &[
        field("name", Text, "Name of the container.").required(),
        field("image", Text, "Image."),
        field("entrypoint", TEXTS, "Program, instead of that of the image."),
        field("args", TEXTS, "Arguments, instead of those of the image."),
        field("workingDir", Text, "Folder that it starts in."),
        field("runAs", Type::Record(&RUN_AS), "Who it runs as."),
        field("environment", TEXTS, "Environment, as KEY=value."),
        field("mounts", List(&Type::Record(&CONTAINER_MOUNT)), "Mounts."),
        field("security", Type::Record(&CONTAINER_SECURITY), "What it may do."),
        field("network", Type::Record(&CONTAINER_NETWORK), "Its network."),
        field("resources", Type::Record(&CONTAINER_RESOURCES), "Resources."),
        field("dependsOn", Type::Record(&CONTAINER_NEEDS), "What must be there before it starts."),
    ],
};

const RUN_AS: Record = Record {
    doc: "Who a container runs as.",
    fields: &[field("uid", U32, "User."), field("gid", U32, "Group.")],
};

const CONTAINER_MOUNT: Record = Record {
    doc: "A mount of a container.",
    fields: &[
        field("userVolume", Type::Record(&MOUNT_VOLUME), "A volume."),
        field("tmpfs", Type::Record(&MOUNT_TMPFS), "Memory."),
        field("hostPath", Type::Record(&MOUNT_PATH), "A folder of the machine."),
    ],
};

const MOUNT_VOLUME: Record = Record {
    doc: "A volume in a container.",
    fields: &[
        field("name", Text, "The volume."),
        field("destination", Text, "Where it appears."),
        field("options", List(&OneOf(MOUNT_OPTIONS)), "Mount options."),
    ],
};

const MOUNT_OPTIONS: &[&str] = &["ro", "rw", "noexec", "nosuid", "nodev", "noatime", "rbind", "rshared"];

const MOUNT_TMPFS: Record = Record {
    doc: "Memory in a container.",
    fields: &[
        field("destination", Text, "Where it appears."),
        field("size", Text, "Its size, such as 64MiB."),
        field("options", TEXTS, "Mount options."),
    ],
};

const MOUNT_PATH: Record = Record {
    doc: "A folder of the machine in a container.",
    fields: &[
        field("source", Text, "The folder."),
        field("destination", Text, "Where it appears."),
        field("options", TEXTS, "Mount options."),
    ],
};

const CONTAINER_SECURITY: Record = Record {
    doc: "What a container may do.",
    fields: &[
        field("profile", OneOf(&["restricted", "privileged"]), "Profile."),
        field("capabilities", Type::Record(&CAPABILITIES), "Changes to the profile."),
    ],
};

const CAPABILITIES: Record = Record {
    doc: "Capabilities, without CAP_ in front.",
    fields: &[field("add", TEXTS, "Those that it gets."), field("drop", TEXTS, "Those that it loses.")],
};

const CONTAINER_NETWORK: Record = Record {
    doc: "The network of a container.",
    fields: &[field("mode", OneOf(&["none", "host"]), "Whether it has that of the machine.")],
};

const CONTAINER_RESOURCES: Record = Record {
    doc: "Resources of a container.",
    fields: &[field("limits", Type::Record(&CONTAINER_LIMITS), "Limits.")],
};

const CONTAINER_LIMITS: Record = Record {
    doc: "Limits of a container.",
    fields: &[
        field("cpu", Text, "Processors, such as 1500m."),
        field("memory", Text, "Memory, such as 512MiB."),
    ],
};

const CONTAINER_NEEDS: Record = Record {
    doc: "What must be there before a container starts.",
    fields: &[
        field("paths", TEXTS, "Paths of the machine."),
        field("networks", List(&OneOf(NETWORK_CONDITIONS)), "Conditions of the network."),
        field("time", Bool, "Whether the clock must be set."),
        field("containers", TEXTS, "Other containers."),
    ],
};

const NETWORK_CONDITIONS: &[&str] = &["addresses", "connectivity", "hostname", "etcfiles"];

pub const IMAGE_VERIFICATION: Record = Record {
    doc: "Which images must be signed, and by whom.",
    fields: &[field("rules", List(&Type::Record(&IMAGE_RULE)), "Rules; the first that fits counts.")
        .merged(Merge::Elements(&["image"]))],
};

const IMAGE_RULE: Record = Record {
    doc: "A rule for images.",
    fields: &[
        field("image", Text, "Images that it is for, with *."),
        field("skip", Bool, "Whether they need no signature."),
        field("deny", Bool, "Whether they are refused."),
        field("keyless", Type::Record(&KEYLESS), "Who must have signed them."),
        field("publicKey", Type::Record(&PUBLIC_KEY), "Which key must have signed them."),
    ],
};

const KEYLESS: Record = Record {
    doc: "Who signed, as an identity provider says.",
    fields: &[
        field("issuer", Text, "The identity provider."),
        field("subject", Text, "Who it is."),
        field("subjectRegex", Text, "Who it is, as a regular expression."),
    ],
};

const PUBLIC_KEY: Record =
    Record { doc: "A key.", fields: &[field("certificate", Text, "Its certificate, as PEM.")] };

pub const EXTENSION_SERVICE: Record = Record {
    doc: "Configuration of a service that an extension brings.",
    fields: &[
        field("name", Text, "Name of the service.").required(),
        field("configFiles", List(&Type::Record(&CONFIG_FILE)), "Files that it sees.")
            .merged(Merge::Keyed(&["mountPath"])),
        field("environment", TEXTS, "Environment, as KEY=value."),
    ],
};

const CONFIG_FILE: Record = Record {
    doc: "A file of a service.",
    fields: &[field("content", Text, "Content."), field("mountPath", Text, "Where the service sees it.")],
};

pub const SECURITY_PROFILE: Record = Record {
    doc: "How far workloads are kept apart from the machine.",
    fields: &[field("workloadIsolation", Bool, "Whether they are isolated.")],
};

pub const UNATTENDED_INSTALL: Record = Record {
    doc: "Installation to disk.",
    fields: &[
        field("reboot", Bool, "Whether the machine restarts afterwards."),
        field("installer", Type::Record(&INSTALLER), "What installs."),
        field("provisioning", Type::Record(&INSTALL_PROVISIONING), "Where to install."),
    ],
};

const INSTALLER: Record =
    Record { doc: "What installs.", fields: &[field("image", Text, "Installer image.")] };

const INSTALL_PROVISIONING: Record = Record {
    doc: "Where to install.",
    fields: &[
        field("diskSelector", Type::Record(&MATCH), "Which disk."),
        field("wipe", Bool, "Whether the disk is wiped first."),
    ],
};
