//! Who is calling, and with which roles the call continues.
//!
//! Roles are kept as the names on the certificate: unknown ones authorize nothing here but may mean something to
//! the machine that a call is forwarded to.

use std::net::IpAddr;

use corten_api::roles::METADATA_KEY;
use corten_pki::Certificate;
use http::HeaderMap;
use rustls_pki_types::CertificateDer;
use tonic::Status;

use crate::identity::{Access, Identity};

const IMPERSONATOR: &str = "os:impersonator";
const READER: &str = "os:reader";
const ADMIN: &str = "os:admin";

/// The other end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: Option<IpAddr>,
    /// The address of ours that it connected to.
    pub local: Option<IpAddr>,
    /// Organizations of its verified certificate; `None` when no certificate was demanded.
    pub organizations: Option<Vec<String>>,
}

impl Peer {
    /// The peer of a finished handshake.
    #[must_use]
    pub fn new(address: IpAddr, local: Option<IpAddr>, certificate: Option<&CertificateDer<'_>>) -> Self {
        let organizations = certificate
            .and_then(|der| Certificate::from_der(der).ok())
            .map(|certificate| names(certificate.subject().organizations.iter().map(String::as_str)));
        Self { address: Some(address), local, organizations }
    }

    /// Whether the connection may go on under `identity`.
    #[must_use]
    pub const fn is_welcome(&self, identity: &Identity) -> bool {
        !identity.verify_clients || self.organizations.is_some()
    }
}

/// Roles of a call. A client's own `talos-role` metadata counts only if its certificate says impersonator.
///
/// # Errors
/// `Unauthenticated` for a connection from before certificates were demanded.
pub fn roles(peer: &Peer, identity: &Identity, headers: &HeaderMap) -> Result<Vec<String>, Status> {
    if identity.access == Access::ReadOnly {
        let role = if on_siderolink(peer) { ADMIN } else { READER };
        return Ok(vec![role.to_owned()]);
    }
    match &peer.organizations {
        None => Err(Status::unauthenticated("a client certificate is required")),
        Some(own) if own.iter().any(|role| role == IMPERSONATOR) => {
            let named = headers.get_all(METADATA_KEY).iter().filter_map(|value| value.to_str().ok());
            Ok(names(named))
        }
        Some(own) => Ok(own.clone()),
    }
}

fn names<'a>(raw: impl Iterator<Item = &'a str>) -> Vec<String> {
    raw.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Whether both ends of the connection are in one SideroLink network: a unique local prefix (fd00::/8) whose
/// eighth byte is 3. Demanding our own end too keeps a neighbour on the LAN from just taking such an address.
fn on_siderolink(peer: &Peer) -> bool {
    let (Some(IpAddr::V6(theirs)), Some(IpAddr::V6(ours))) = (peer.address, peer.local) else { return false };
    let (theirs, ours) = (theirs.octets(), ours.octets());
    theirs[0] == 0xfd && theirs[7] == 0x03 && theirs[..8] == ours[..8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(roles: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for role in roles {
            headers.append(METADATA_KEY, http::HeaderValue::from_static(role));
        }
        headers
    }

    fn peer(organizations: &[&str]) -> Peer {
        let organizations = Some(organizations.iter().map(|name| (*name).to_owned()).collect());
        Peer { organizations, ..Peer::default() }
    }

    #[test]
    fn metadata_counts_only_from_an_impersonator() {
        let identity = Identity { verify_clients: true, ..Identity::default() };
        let claimed = headers(&["os:admin"]);
        assert_eq!(roles(&peer(&["os:reader"]), &identity, &claimed).expect("roles"), ["os:reader"]);
        assert_eq!(roles(&peer(&["os:impersonator"]), &identity, &claimed).expect("roles"), ["os:admin"]);
        let none = roles(&peer(&["os:impersonator"]), &identity, &HeaderMap::new()).expect("roles");
        assert!(none.is_empty(), "an impersonator that names no role has none");
        assert_eq!(
            roles(&Peer::default(), &identity, &claimed).expect_err("no certificate").code(),
            tonic::Code::Unauthenticated
        );
    }

    #[test]
    fn maintenance_reads_and_siderolink_administers() {
        let identity = Identity { access: Access::ReadOnly, ..Identity::default() };
        let at = |address: &str, local: &str| Peer {
            address: address.parse().ok(),
            local: local.parse().ok(),
            organizations: None,
        };
        let who = |peer: &Peer| roles(peer, &identity, &headers(&["os:admin"])).expect("roles").remove(0);
        assert_eq!(who(&at("10.5.0.1", "10.5.0.2")), "os:reader");
        assert_eq!(who(&at("fdae:41e4:649b:9303::1", "fdae:41e4:649b:9303:a:b:c:d")), "os:admin");
        assert_eq!(who(&at("fdae:41e4:649b:9303::1", "fe80::1")), "os:reader");
        assert_eq!(who(&at("fdae:41e4:649b:9304::1", "fdae:41e4:649b:9304::2")), "os:reader");
    }

    #[test]
    fn any_bytes_for_a_certificate_give_no_roles_or_those_of_a_certificate() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let der = CertificateDer::from(bytes.to_vec());
            let peer = Peer::new(IpAddr::from([10, 5, 0, 1]), None, Some(&der));
            let is_certificate = Certificate::from_der(bytes).is_ok();
            assert_eq!(peer.organizations.is_some(), is_certificate);
        });
    }
}
