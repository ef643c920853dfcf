//! Versions of the operating system, as machines and clusters write them.

use std::fmt;

use semver::Version;

/// Most characters of a wrong version that a message repeats.
const SHOWN_MAX: usize = 64;

/// A text that is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of the operating system; expected one such as 1.12.4")]
pub struct InvalidVersion(String);

/// A version of the operating system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TalosVersion(Version);

impl TalosVersion {
    /// Reads a version, with or without its `v`.
    ///
    /// # Errors
    /// When the text is no semantic version of three numbers.
    pub fn parse(text: &str) -> Result<Self, InvalidVersion> {
        let plain = text.strip_prefix('v').unwrap_or(text);
        Version::parse(plain).map(Self).map_err(|_| InvalidVersion(text.chars().take(SHOWN_MAX).collect()))
    }

    /// Major and minor number.
    #[must_use]
    pub const fn minor(&self) -> (u64, u64) {
        (self.0.major, self.0.minor)
    }

    /// Whether it belongs to a minor release or to a later one. Candidates for a release belong to it.
    #[must_use]
    pub fn is_since(&self, major: u64, minor: u64) -> bool {
        self.minor() >= (major, minor)
    }

    /// Whether it is this version or a later one, candidates in their order; never when the text is no version.
    #[must_use]
    pub fn is_at_least(&self, version: &str) -> bool {
        Self::parse(version).is_ok_and(|version| *self >= version)
    }
}

impl fmt::Display for TalosVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> TalosVersion {
        TalosVersion::parse(text).unwrap()
    }

    #[test]
    fn the_letter_in_front_does_not_count() {
        assert_eq!(version("v1.9.0"), version("1.9.0"));
        assert_eq!(version("v1.14.0-beta.1").to_string(), "1.14.0-beta.1");
        for text in ["", "v", "1.9", "latest", "vv1.9.0"] {
            assert!(TalosVersion::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn candidates_belong_to_their_minor_release_and_come_before_it() {
        assert!(version("1.10.0-alpha.0").is_since(1, 10));
        assert!(!version("1.9.9").is_since(1, 10) && version("2.0.0").is_since(1, 10));
        assert!(version("1.14.0-beta.1").is_at_least("1.14.0-beta.1"));
        assert!(version("1.14.0").is_at_least("1.14.0-beta.1"));
        assert!(!version("1.14.0-beta.0").is_at_least("1.14.0-beta.1"));
        assert!(!version("1.14.0-alpha.2").is_at_least("1.14.0-beta.1"));
    }
}
