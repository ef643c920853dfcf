//! What a machine may ask a certificate for. Pure.
//!
//! ```text
//! CertificateRequest, address of the caller ─▶ check ─▶ signed, or refused
//! ```

use std::net::IpAddr;

use corten_pki::CertificateRequest;
use ipnet::Ipv6Net;

/// Most names and addresses in one certificate.
const NAMES_MAX: usize = 256;

/// A request that is not signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestError {
    /// Organizations are the roles of clients.
    #[error("the certificate request has organizations, and certificates for servers have none")]
    Organizations,
    /// More than any machine has.
    #[error("the certificate request has {0} names and addresses; at most {max} are signed", max = NAMES_MAX)]
    Names(usize),
    /// That of the manager or of another machine.
    #[error("the certificate request names {0}, an address of the tunnel that is not that of the machine")]
    Address(IpAddr),
}

/// Whether a request of the machine with the address `own` is signed; `machines` is the network of the tunnel.
pub(super) fn check(asked: &CertificateRequest, own: IpAddr, machines: Ipv6Net) -> Result<(), RequestError> {
    if !asked.subject().organizations.is_empty() {
        return Err(RequestError::Organizations);
    }
    let count = asked.dns_names().len() + asked.ip_addresses().len();
    if count > NAMES_MAX {
        return Err(RequestError::Names(count));
    }
    let is_foreign = |address: &IpAddr| match address.to_canonical() {
        IpAddr::V6(six) => machines.contains(&six) && address.to_canonical() != own,
        IpAddr::V4(_) => false,
    };
    match asked.ip_addresses().iter().copied().find(is_foreign) {
        Some(foreign) => Err(RequestError::Address(foreign)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use corten_base::Rng;
    use corten_fleet_link::AddressPlan;
    use corten_pki::{PrivateKey, RequestTemplate, Subject};

    use super::*;

    fn checked(subject: Subject, dns: usize, addresses: &[&str]) -> Result<(), RequestError> {
        let template = RequestTemplate {
            subject,
            dns_names: (0..dns).map(|number| format!("worker-{number}")).collect(),
            ip_addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let key = PrivateKey::ed25519(&Rng::seeded(1)).unwrap();
        let request = CertificateRequest::create(&template, &key).unwrap();
        let own = "fdae:41e4:649b:9303::7".parse().unwrap();
        check(&request, own, AddressPlan::default().machines())
    }

    #[test]
    fn a_machine_gets_a_certificate_for_its_names_and_its_own_address_of_the_tunnel_only() {
        let worker = || Subject::common_name("worker-1");
        assert_eq!(checked(worker(), 1, &["10.0.0.7", "fdae:41e4:649b:9303::7"]), Ok(()));
        for foreign in ["fdae:41e4:649b:9303::1", "fdae:41e4:649b:9303::8"] {
            let expected = Err(RequestError::Address(foreign.parse().unwrap()));
            assert_eq!(checked(worker(), 1, &["10.0.0.7", foreign]), expected);
        }
        let admin = worker().with_organization("os:admin");
        assert_eq!(checked(admin, 0, &[]), Err(RequestError::Organizations));
        assert_eq!(checked(worker(), NAMES_MAX, &["10.0.0.7"]), Err(RequestError::Names(NAMES_MAX + 1)));
    }
}
