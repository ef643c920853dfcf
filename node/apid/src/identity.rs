//! What apid needs to know about its own machine, as one value that changes as a whole.
//!
//! Whoever feeds apid (machined over its resource socket, a test directly) publishes an [`Identity`] on a watch
//! channel; the listener, the routes and the roles follow it live.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use corten_base::Secret;
use tokio::sync::watch;

/// The current identity; `None` until the machine has one.
pub type Feed = watch::Receiver<Option<Arc<Identity>>>;

/// A certificate chain with its key, both PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate first, then its intermediates.
    pub certificates: Vec<u8>,
    /// The key of the first certificate.
    pub key: Secret<Vec<u8>>,
}

/// How callers get their roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// From their client certificate.
    #[default]
    Certificate,
    /// Everyone reads; peers on the same SideroLink network administer. This is maintenance mode.
    ReadOnly,
}

/// Everything about the machine that decides what apid serves, to whom, and where it forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Address to listen on, such as `:50000` (all addresses) or `[fd00::1]:50000`.
    pub listen: String,
    /// Whether calls may be forwarded to other machines.
    pub routing: bool,
    /// How callers get their roles.
    pub access: Access,
    /// Whether a client certificate is demanded.
    pub verify_clients: bool,
    /// What apid serves with.
    pub server: KeyPair,
    /// What apid dials other machines with; control planes only.
    pub client: Option<KeyPair>,
    /// CAs of clients and of other machines, PEM.
    pub accepted_cas: Vec<u8>,
    /// Names of this machine.
    pub local: LocalNames,
}

/// Loopback addresses that clients use for "the machine I talk to".
const OWN_LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Addresses and names that mean this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalNames {
    /// Addresses of the machine's links.
    pub addresses: BTreeSet<IpAddr>,
    /// Hostname, short and with domain.
    pub names: BTreeSet<String>,
}

impl LocalNames {
    /// Whether `target` is this machine.
    #[must_use]
    pub fn contains(&self, target: &str) -> bool {
        match target.parse::<IpAddr>() {
            Ok(address) => {
                let address = address.to_canonical();
                OWN_LOOPBACK.contains(&address)
                    || self.addresses.iter().any(|own| own.to_canonical() == address)
            }
            Err(_) => self.names.iter().any(|own| own.eq_ignore_ascii_case(target)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_knows_its_addresses_and_names() {
        let local = LocalNames {
            addresses: ["10.5.0.2", "fd00::2"]
                .into_iter()
                .map(|text| text.parse().expect("address"))
                .collect(),
            names: ["node-1", "node-1.example.org"].into_iter().map(str::to_owned).collect(),
        };
        for own in ["10.5.0.2", "::ffff:10.5.0.2", "fd00:0::2", "NODE-1", "node-1.example.org", "127.0.0.1"] {
            assert!(local.contains(own), "{own}");
        }
        for other in ["10.5.0.3", "node-2", "", "node-1.example.com"] {
            assert!(!local.contains(other), "{other}");
        }
    }
}
