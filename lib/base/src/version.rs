//! Versions that clients see.

/// Level of the Talos API that this machine speaks; `Version.tag`.
///
/// A plain release: clients compare it, image tags and labels forbid `+`, and `-` sorts below the release.
pub const TAG: &str = "v1.14.1";

/// Corten's own version.
pub const CORTEN: &str = env!("CARGO_PKG_VERSION");

/// Name in os-release and `Version.name`.
pub const NAME: &str = "Corten";

/// Corten's own version as `Version.sha` carries it.
#[must_use]
pub fn sha() -> String {
    format!("corten-{CORTEN}")
}
