//! Roles: what a certificate's subject, or the local kernel, says a caller may do.
//!
//! On the wire a role is a string (one organization of the client certificate, one value of the metadata key
//! [`METADATA_KEY`]). Names that are not known here are kept where they travel on to another machine and never
//! authorize anything.

use std::fmt;
use std::ops::BitOr;

/// gRPC metadata key that carries the roles of a proxied or local call, one value per role.
pub const METADATA_KEY: &str = "talos-role";

/// A set of known roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    /// No role at all.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ADMIN: Self = Self(1);
    /// Reads, reboots, service control and etcd maintenance.
    pub const OPERATOR: Self = Self(1 << 1);
    /// Reads without secrets.
    pub const READER: Self = Self(1 << 2);
    /// etcd status and snapshots.
    pub const ETCD_BACKUP: Self = Self(1 << 3);
    /// Verification of images; given to the container runtimes of the machine.
    pub const IMAGE_VERIFIER: Self = Self(1 << 4);
    /// Writing META; given to the dashboard.
    pub const META_WRITER: Self = Self(1 << 5);
    /// Authorizes nothing itself; its holder names the roles of the call in [`METADATA_KEY`].
    pub const IMPERSONATOR: Self = Self(1 << 6);
    /// Every role that authorizes something.
    pub const ALL: Self = Self(0b11_1111);

    const NAMES: [(Self, &'static str); 7] = [
        (Self::ADMIN, "os:admin"),
        (Self::OPERATOR, "os:operator"),
        (Self::READER, "os:reader"),
        (Self::ETCD_BACKUP, "os:etcd:backup"),
        (Self::IMAGE_VERIFIER, "os:image:verifier"),
        (Self::META_WRITER, "os:meta:writer"),
        (Self::IMPERSONATOR, "os:impersonator"),
    ];

    /// The known roles among `names`; white space around a name does not count.
    pub fn parse<I, S>(names: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        names.into_iter().fold(Self::NONE, |set, name| set | Self::from_name(name.as_ref().trim()))
    }

    /// The role with this name, or [`Roles::NONE`].
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::NAMES.iter().find(|(_, known)| *known == name).map_or(Self::NONE, |(role, _)| *role)
    }

    /// Names of the roles in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(role, _)| self.intersects(*role)).map(|(_, name)| name)
    }

    /// Whether the sets share a role.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What the sets share.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is no role in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Roles {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_unknown_ones_authorize_nothing() {
        assert_eq!(Roles::parse([" os:reader ", "", "os:unheard-of"]), Roles::READER);
        assert!(Roles::parse(["os:unheard-of"]).is_empty());
        assert_eq!((Roles::ADMIN | Roles::META_WRITER).to_string(), "os:admin,os:meta:writer");
    }

    #[test]
    fn every_role_survives_its_name() {
        for (role, name) in Roles::NAMES {
            assert_eq!(Roles::from_name(name), role);
        }
        assert!(!Roles::ALL.intersects(Roles::IMPERSONATOR), "an impersonator alone may do nothing");
    }
}
