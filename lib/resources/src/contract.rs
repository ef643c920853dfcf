//! The wire of every type of a machine, held by tests.

use std::path::Path;

use corten_resource::testing::contract;

use crate::registry::{TYPES, registry};

/// Fields that only sound secret, each with its reason.
const PUBLIC: &[(&str, &str)] = &[
    ("PlatformConfigs.net.talos.dev links.wireguard.privateKey", "no platform makes WireGuard links"),
    ("PlatformConfigs.net.talos.dev links.wireguard.peers.presharedKey", "no platform makes WireGuard links"),
    ("VolumeStatuses.block.talos.dev configuredEncryptionKeys", "kinds of keys, not the keys"),
];

#[test]
fn every_field_of_every_type_survives_both_encodings() {
    contract::survives_both_encodings(&registry(), TYPES);
}

#[test]
fn what_looks_like_a_secret_is_for_administrators() {
    contract::secrets_are_sensitive(TYPES, PUBLIC);
}

#[test]
fn the_wire_is_that_of_the_golden_file() {
    contract::is_golden(TYPES, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract.txt"));
}
