//! What every resource carries besides its specification.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Life of a resource: teardown is asked for first, destruction follows when nobody holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// In use.
    #[default]
    Running,
    /// Its owner wants it gone; holders release it by removing their finalizers.
    TearingDown,
}

impl Phase {
    /// The text on the wire.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::TearingDown => "tearingDown",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl FromStr for Phase {
    type Err = InvalidMetadata;

    fn from_str(text: &str) -> Result<Self, InvalidMetadata> {
        match text {
            "running" => Ok(Self::Running),
            "tearingDown" => Ok(Self::TearingDown),
            _ => Err(InvalidMetadata::Phase(text.to_owned())),
        }
    }
}

/// A phase or version that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// Neither `running` nor `tearingDown`.
    #[error("unknown phase {0:?}")]
    Phase(String),
    /// Neither `undefined` nor a decimal number.
    #[error("invalid version {0:?}")]
    Version(String),
}

/// Text of a version on the wire; 0 is `undefined`.
#[must_use]
pub fn version_text(version: u64) -> String {
    if version == 0 { "undefined".to_owned() } else { version.to_string() }
}

/// The version that a text on the wire names; an empty text is undefined.
///
/// # Errors
/// When the text is neither `undefined` nor a decimal number.
pub fn parse_version(text: &str) -> Result<u64, InvalidMetadata> {
    match text {
        "" | "undefined" => Ok(0),
        decimal => decimal.parse().map_err(|_| InvalidMetadata::Version(text.to_owned())),
    }
}

/// Where a resource is: namespace, type, id. An empty id stands for the whole type.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    /// Namespace.
    pub namespace: String,
    /// Type, for example `HostnameStatuses.net.talos.dev`.
    pub kind: String,
    /// Id, unique within namespace and type.
    pub id: String,
}

impl Pointer {
    /// A pointer to one resource.
    pub fn new(namespace: impl Into<String>, kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), kind: kind.into(), id: id.into() }
    }

    /// A pointer to all resources of a type in a namespace.
    pub fn to_kind(namespace: impl Into<String>, kind: impl Into<String>) -> Self {
        Self::new(namespace, kind, "")
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({}/{})", self.kind, self.namespace, self.id)
    }
}

/// Identity, version, life and tags of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Namespace.
    pub namespace: String,
    /// Type.
    pub kind: String,
    /// Id, unique within namespace and type.
    pub id: String,
    /// Counts up from 1 with each change; 0 is undefined (never stored).
    pub version: u64,
    /// Name of the controller that may change it; empty for none.
    pub owner: String,
    /// Running or tearing down.
    pub phase: Phase,
    /// When it was created.
    pub created: SystemTime,
    /// When it was last changed.
    pub updated: SystemTime,
    /// Who holds it; it cannot be destroyed while there is one.
    pub finalizers: Vec<String>,
    /// Tags that queries select by.
    pub labels: BTreeMap<String, String>,
    /// Tags without meaning to queries.
    pub annotations: BTreeMap<String, String>,
}

impl Metadata {
    /// Metadata of a resource that was never stored.
    pub fn new(namespace: impl Into<String>, kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            kind: kind.into(),
            id: id.into(),
            version: 0,
            owner: String::new(),
            phase: Phase::Running,
            created: UNIX_EPOCH,
            updated: UNIX_EPOCH,
            finalizers: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn pointer(&self) -> Pointer {
        Pointer::new(&self.namespace, &self.kind, &self.id)
    }

    /// Whether its owner wants it gone.
    #[must_use]
    pub fn is_tearing_down(&self) -> bool {
        self.phase == Phase::TearingDown
    }

    /// Whether it may be destroyed now: tearing down and held by nobody.
    #[must_use]
    pub fn is_destroy_ready(&self) -> bool {
        self.is_tearing_down() && self.finalizers.is_empty()
    }

    /// Adds a finalizer; false when it was there.
    pub fn add_finalizer(&mut self, name: &str) -> bool {
        let absent = !self.finalizers.iter().any(|finalizer| finalizer == name);
        if absent {
            self.finalizers.push(name.to_owned());
        }
        absent
    }

    /// Removes a finalizer; false when it was not there.
    pub fn remove_finalizer(&mut self, name: &str) -> bool {
        let before = self.finalizers.len();
        self.finalizers.retain(|finalizer| finalizer != name);
        self.finalizers.len() != before
    }
}

impl Default for Metadata {
    fn default() -> Self {
        Self::new("", "", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_phases_have_wire_texts() {
        for version in [0, 1, 42, u64::MAX] {
            assert_eq!(parse_version(&version_text(version)), Ok(version));
        }
        assert!(parse_version("-1").is_err());
        for phase in [Phase::Running, Phase::TearingDown] {
            assert_eq!(phase.text().parse(), Ok(phase));
        }
        assert!("gone".parse::<Phase>().is_err());
    }

    #[test]
    fn finalizers_are_a_set() {
        let mut metadata = Metadata::new("network", "Things.net.talos.dev", "a");
        assert!(metadata.add_finalizer("x"));
        assert!(!metadata.add_finalizer("x"));
        assert!(metadata.remove_finalizer("x"));
        assert!(!metadata.remove_finalizer("x"));
    }
}
