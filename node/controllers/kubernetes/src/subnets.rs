//! Which addresses count: those of wanted subnets, without those of excluded ones.

use std::net::IpAddr;

use ipnet::IpNet;

/// A filter of addresses.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    valid: Vec<IpNet>,
    excluded: Vec<IpNet>,
}

impl Filter {
    /// A filter from texts; the configuration was validated, so what is not a subnet is left out.
    #[must_use]
    pub fn new(valid: &[String], excluded: &[String]) -> Self {
        let parse = |all: &[String]| all.iter().filter_map(|subnet| subnet.parse().ok()).collect();
        Self { valid: parse(valid), excluded: parse(excluded) }
    }

    /// A filter from one list in which a leading `!` excludes.
    #[must_use]
    pub fn split(all: &[String]) -> (Vec<String>, Vec<String>) {
        let (excluded, valid): (Vec<&String>, Vec<&String>) =
            all.iter().partition(|subnet| subnet.starts_with('!'));
        (valid.into_iter().cloned().collect(), excluded.iter().map(|subnet| subnet[1..].to_owned()).collect())
    }

    /// Whether the address counts: never loopback or link-local, inside a wanted subnet if there are any, outside the excluded ones.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        let local = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        !local
            && !address.is_loopback()
            && (self.valid.is_empty() || self.valid.iter().any(|subnet| subnet.contains(&address)))
            && !self.excluded.iter().any(|subnet| subnet.contains(&address))
    }
}
