//! A whole resource as the message `cosi.resource.Resource`.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Record;
use crate::metadata::{InvalidMetadata, Metadata, parse_version, version_text};
use crate::proto::{self, DecodeError};
use crate::registry::Registry;
use crate::resource::AnyResource;
use crate::yaml::Style;

#[derive(Clone, Debug, Default, PartialEq, Record)]
struct WireMetadata {
    #[field(1, "namespace")]
    namespace: String,
    #[field(2, "type")]
    kind: String,
    #[field(3, "id")]
    id: String,
    #[field(4, "version")]
    version: String,
    #[field(5, "owner")]
    owner: String,
    #[field(6, "phase")]
    phase: String,
    #[field(7, "created")]
    created: Option<SystemTime>,
    #[field(8, "updated")]
    updated: Option<SystemTime>,
    #[field(9, "finalizers")]
    finalizers: Vec<String>,
    #[field(10, "labels")]
    labels: BTreeMap<String, String>,
    #[field(11, "annotations")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Record)]
struct WireSpec {
    #[field(1, "proto_spec")]
    proto_spec: Vec<u8>,
    #[field(2, "yaml_spec")]
    yaml_spec: String,
}

#[derive(Clone, Debug, Default, PartialEq, Record)]
struct WireResource {
    #[field(1, "metadata")]
    metadata: WireMetadata,
    #[field(2, "spec")]
    spec: WireSpec,
}

/// Bytes that are not a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the message, or not the specification of its type.
    #[error("malformed resource")]
    Decode(#[from] DecodeError),
    /// A phase or version that is none.
    #[error("malformed metadata")]
    Metadata(#[from] InvalidMetadata),
}

/// The message; the YAML form stands in it only where the protobuf form does not carry everything.
#[must_use]
pub fn encode(resource: &AnyResource) -> Vec<u8> {
    let metadata = resource.metadata().clone();
    let wire = WireResource {
        metadata: WireMetadata {
            namespace: metadata.namespace,
            kind: metadata.kind,
            id: metadata.id,
            version: version_text(metadata.version),
            owner: metadata.owner,
            phase: metadata.phase.text().to_owned(),
            created: Some(metadata.created),
            updated: Some(metadata.updated),
            finalizers: metadata.finalizers,
            labels: metadata.labels,
            annotations: metadata.annotations,
        },
        spec: WireSpec {
            proto_spec: resource.to_proto(),
            yaml_spec: if resource.needs_yaml() { resource.to_yaml() } else { String::new() },
        },
    };
    proto::encode(&wire, Style::Message)
}

/// The resource in a message.
///
/// # Errors
/// When the bytes are not the message, or the specification is not of its type.
pub fn decode(bytes: &[u8], registry: &Registry) -> Result<AnyResource, EnvelopeError> {
    let mut wire = WireResource::default();
    proto::decode(bytes, &mut wire)?;
    let WireResource { metadata: wire, spec } = wire;
    let metadata = Metadata {
        version: parse_version(&wire.version)?,
        phase: wire.phase.parse()?,
        owner: wire.owner,
        created: wire.created.unwrap_or(UNIX_EPOCH),
        updated: wire.updated.unwrap_or(UNIX_EPOCH),
        finalizers: wire.finalizers,
        labels: wire.labels,
        annotations: wire.annotations,
        ..Metadata::new(wire.namespace, wire.kind, wire.id)
    };
    Ok(registry.decode(metadata, spec.proto_spec, spec.yaml_spec)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_resource_or_refused() {
        let registry = Registry::new();
        bolero::check!().for_each(|bytes: &[u8]| drop(decode(bytes, &registry)));
    }
}
