//! Documents about the container runtime. What `v1alpha1` says of it stands in `machine`.

use crate::schema::Type::{Bool, Object, Text};
use crate::schema::{Merge, Record, Type, field};

pub const BASE_RUNTIME_SPEC: Record = Record {
    doc: "Changes to the base OCI runtime specification.",
    fields: &[field("overrides", Object, "The changes.").merged(Merge::Replace)],
};

pub const CUSTOMIZATION: Record = Record {
    doc: "A part of the configuration of containerd.",
    fields: &[field("name", Text, "Name of the part.").required(), field("content", Text, "The part, TOML.")],
};

pub const IMAGE_CACHE: Record = Record {
    doc: "Cache of images.",
    fields: &[field("local", Type::Record(&LOCAL_IMAGE_CACHE), "On the disk of the machine.")],
};

const LOCAL_IMAGE_CACHE: Record =
    Record { doc: "Local image cache.", fields: &[field("enabled", Bool, "Whether it is on.")] };

pub const REGISTRY_AUTH: Record = Record {
    doc: "Credentials for an image registry.",
    fields: &[
        field("name", Text, "Host of the registry.").required(),
        field("username", Text, "User."),
        field("password", Text, "Password.").secret(),
        field("auth", Text, "User and password in base64.").secret(),
        field("identityToken", Text, "Token.").secret(),
    ],
};
