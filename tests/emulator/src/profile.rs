//! What the versions of Talos do differently, as far as a manager notices.
//!
//! | | 1.12 | 1.13 | 1.14 |
//! |---|---|---|---|
//! | `machine.LifecycleService`, `machine.ImageService` | no | yes | yes |
//! | `machine.StorageService`, LVM, MD, debugging | no | no | yes |
//! | answer to the first whole configuration | REBOOT | REBOOT | NO_REBOOT |
//! | mode REBOOT on a configured machine | reboots | reboots | `Unimplemented` |
//! | `BootIDs` | no | no | yes |
//!
//! Earlier versions behave as 1.12 does, later ones as 1.14.

use semver::Version;

use crate::life::Mode;

/// A minor version with behaviour of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Talos 1.12.
    V12,
    /// Talos 1.13.
    V13,
    /// Talos 1.14.
    V14,
}

/// Services that came with 1.13.
const SINCE_13: &[&str] = &["machine.LifecycleService", "machine.ImageService"];
/// Services that came with 1.14.
const SINCE_14: &[&str] =
    &["machine.StorageService", "machine.LVMService", "machine.MDService", "machine.DebugService"];
/// Resource types that came with 1.14.
const TYPES_SINCE_14: &[&str] = &["BootIDs.runtime.talos.dev"];

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V12, Self::V13, Self::V14];

    /// How a version behaves.
    #[must_use]
    pub fn of(version: &Version) -> Self {
        match (version.major, version.minor) {
            (0, _) | (1, 0..=12) => Self::V12,
            (1, 13) => Self::V13,
            _ => Self::V14,
        }
    }

    /// Whether there is a gRPC service, such as `machine.MachineService`.
    #[must_use]
    pub fn has_service(self, service: &str) -> bool {
        let later = |since: Self, services: &[&str]| self < since && services.contains(&service);
        !later(Self::V13, SINCE_13) && !later(Self::V14, SINCE_14)
    }

    /// Whether there is a resource type.
    #[must_use]
    pub fn has_type(self, kind: &str) -> bool {
        self >= Self::V14 || !TYPES_SINCE_14.contains(&kind)
    }

    /// Types that this version does not have.
    #[must_use]
    pub const fn hidden_types(self) -> &'static [&'static str] {
        match self {
            Self::V14 => &[],
            Self::V12 | Self::V13 => TYPES_SINCE_14,
        }
    }

    /// What the first whole configuration is answered.
    #[must_use]
    pub const fn first_apply(self) -> Mode {
        match self {
            Self::V12 | Self::V13 => Mode::Reboot,
            Self::V14 => Mode::NoReboot,
        }
    }

    /// Whether a configured machine can be told to reboot into a configuration.
    #[must_use]
    pub const fn applies_with_reboot(self) -> bool {
        matches!(self, Self::V12 | Self::V13)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_decides() {
        let of = |text: &str| Profile::of(&text.parse().expect("a version"));
        assert_eq!(of("1.9.3"), Profile::V12);
        assert_eq!(of("1.12.0-beta.1"), Profile::V12);
        assert_eq!(of("1.13.5"), Profile::V13);
        assert_eq!(of("1.15.0"), Profile::V14);
        assert_eq!(of("2.0.0"), Profile::V14);
    }

    #[test]
    fn services_and_types_come_with_their_version() {
        assert!(!Profile::V12.has_service("machine.LifecycleService"));
        assert!(Profile::V13.has_service("machine.LifecycleService"));
        assert!(!Profile::V13.has_service("machine.StorageService"));
        for profile in Profile::ALL {
            assert!(profile.has_service("machine.MachineService"));
            assert!(profile.hidden_types().iter().all(|kind| !profile.has_type(kind)));
        }
    }
}
