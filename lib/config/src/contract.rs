//! What configurations of a version look like. Each minor release of Talos writes some things in a form of its own, and
//! a cluster keeps that of the release that it was created with: another one would differ, and every machine restart.
//!
//! | since | new configurations |
//! |---|---|
//! | 1.5 | mount EPHEMERAL with project quotas |
//! | 1.6 | have a load balancer for the Kubernetes API on each machine |
//! | 1.7 | have a caching resolver on each machine |
//! | 1.8 | let CoreDNS ask it, keep control planes out of load balancers, and name the cluster to workers |
//! | 1.12 | have documents for host name and registries, and no fields that say what is so in any case |
//! | 1.13 | leave out the empty network |
//! | 1.14 | have documents for Kubernetes, discovery, volumes, installation and the resolver |
//!
//! The oldest form is that of 1.4; it stands for those before, which no manager serves any more.

use std::fmt;
use std::str::FromStr;

use crate::schema::Audience;

/// The form of configurations of a minor release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contract {
    major: u64,
    minor: u64,
}

impl Contract {
    /// The newest form that machines of ours read.
    pub const OURS: Self = Self::new(1, 13);

    /// The form of a minor release.
    #[must_use]
    pub const fn new(major: u64, minor: u64) -> Self {
        Self { major, minor }
    }

    /// The same form, or the newest one that the audience reads.
    #[must_use]
    pub fn read_by(self, audience: Audience) -> Self {
        match audience {
            Audience::Machine => self.min(Self::OURS),
            Audience::Manager => self,
        }
    }

    const fn since(self, minor: u64) -> bool {
        self.major > 1 || (self.major == 1 && self.minor >= minor)
    }

    /// Whether EPHEMERAL is mounted with project quotas.
    #[must_use]
    pub const fn has_disk_quota(self) -> bool {
        self.since(5)
    }

    /// Whether machines have a load balancer of their own for the Kubernetes API.
    #[must_use]
    pub const fn has_kube_prism(self) -> bool {
        self.since(6)
    }

    /// Whether machines have a caching resolver.
    #[must_use]
    pub const fn has_host_dns(self) -> bool {
        self.since(7)
    }

    /// Whether CoreDNS asks that resolver.
    #[must_use]
    pub const fn forwards_kube_dns(self) -> bool {
        self.since(8)
    }

    /// Whether a label keeps control planes out of load balancers.
    pub(crate) const fn excludes_control_planes(self) -> bool {
        self.since(8)
    }

    /// Whether workers know the name of the cluster.
    pub(crate) const fn names_cluster_to_workers(self) -> bool {
        self.since(8)
    }

    /// Whether the host name, and each registry, has a document of its own.
    #[must_use]
    pub const fn has_hostname_document(self) -> bool {
        self.since(12)
    }

    /// Whether fields are left out that say what is so in any case.
    pub(crate) const fn leaves_out_the_obvious(self) -> bool {
        self.since(12)
    }

    /// Whether machines that boot through GRUB take their kernel arguments from the image.
    #[must_use]
    pub const fn grub_uses_uki_cmdline(self) -> bool {
        self.since(12)
    }

    /// Whether a network without settings is left out.
    pub(crate) const fn leaves_out_empty_network(self) -> bool {
        self.since(13)
    }

    /// Whether Kubernetes, discovery, volumes, installation and the resolver have documents of their own.
    #[must_use]
    pub const fn has_kubernetes_documents(self) -> bool {
        self.since(14)
    }
}

/// A text that is no version of Talos.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version such as v1.13")]
pub struct NotAContract(String);

impl FromStr for Contract {
    type Err = NotAContract;

    /// Reads a version of Talos, with or without `v` and patch level, such as `v1.13` or `1.14.0-alpha.1`.
    fn from_str(text: &str) -> Result<Self, NotAContract> {
        let wrong = || NotAContract(text.to_owned());
        let number = |part: Option<&str>| {
            let part = part.filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
            part.and_then(|part| part.parse().ok()).ok_or_else(wrong)
        };
        let version = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next().unwrap_or_default();
        let mut parts = version.split('.');
        let contract = Self::new(number(parts.next())?, number(parts.next())?);
        if let Some(patch) = parts.next() {
            number(Some(patch))?;
        }
        parts.next().map_or(Ok(contract), |_| Err(wrong()))
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_name_forms() {
        for (text, minor) in [("v1.13", 13), ("1.12", 12), ("v1.14.0-alpha.1", 14), ("1.13.9+dirty", 13)] {
            assert_eq!(text.parse(), Ok(Contract::new(1, minor)), "{text}");
        }
        for wrong in ["", "v", "1", "v1.", "1.x", "1.13.9.1", "1.+3", "latest"] {
            assert!(wrong.parse::<Contract>().is_err(), "{wrong}");
        }
        assert_eq!(Contract::new(1, 12).to_string(), "v1.12");
    }

    #[test]
    fn later_releases_keep_what_earlier_ones_brought() {
        let (old, new) = (Contract::new(1, 11), Contract::new(2, 0));
        assert!(old.forwards_kube_dns() && !old.has_hostname_document() && !old.has_kubernetes_documents());
        assert!(new.has_hostname_document() && new.has_kubernetes_documents() && old < new);
    }

    #[test]
    fn machines_of_ours_read_no_later_form_than_their_newest() {
        let read = |minor| Contract::new(1, minor).read_by(Audience::Machine);
        assert_eq!((read(10), read(14)), (Contract::new(1, 10), Contract::OURS));
        assert_eq!(Contract::new(1, 14).read_by(Audience::Manager), Contract::new(1, 14));
        assert!(!Contract::OURS.has_kubernetes_documents());
    }
}
