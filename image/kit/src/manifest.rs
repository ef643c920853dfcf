//! What a made component says about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::recipe::Component;

/// Contents and origin of a component; the source of its rows in the bill of materials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Component name.
    pub name: String,
    /// Version that was made; of a Debian set, of its first package.
    pub version: String,
    /// SPDX licence expression.
    pub licence: String,
    /// Where the source came from, as a package URL.
    pub source: String,
    /// Files below the component's folder with their SHA-256.
    pub files: BTreeMap<String, String>,
    /// Debian packages or Go modules inside.
    pub packages: Vec<Package>,
}

impl Manifest {
    /// What a component's row says, without contents.
    pub(crate) fn of(component: &Component) -> Self {
        Self {
            name: component.name.to_owned(),
            version: component.version.to_owned(),
            licence: component.licence.to_owned(),
            source: component.source.to_owned(),
            ..Self::default()
        }
    }
}

/// One third-party package of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name as its own registry has it.
    pub name: String,
    /// Exact version.
    pub version: String,
    /// Package URL.
    pub source: String,
    /// SPDX licence names, where the package states them.
    pub licence: String,
    /// SHA-256 of the archive, or the checksum database's `h1:` hash of a Go module.
    pub hash: String,
    /// Paths that the package put into the tree; empty for Go modules.
    pub files: Vec<String>,
}
