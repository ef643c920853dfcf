//! Who is at the other end of a connection, and what a call of it may do (node.md 1.1, 2.2).

use std::net::IpAddr;

use corten_api::roles::{METADATA_KEY, Roles};
use corten_api::rules;
use corten_pki::Certificate;
use corten_resources::siderolink::is_in_network;
use http::HeaderMap;
use rustls_pki_types::CertificateDer;
use tonic::Status;

/// The other end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Roles of its verified certificate; `None` when it showed none.
    pub roles: Option<Roles>,
}

/// A certificate that may not be used for clients of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client's certificate is not for clients, or not for clients alone")]
pub struct WrongPurpose;

impl Peer {
    /// The peer of a finished handshake.
    ///
    /// # Errors
    /// When its certificate may serve too (node.md 2.3).
    pub fn new(
        address: Option<IpAddr>,
        certificate: Option<&CertificateDer<'_>>,
    ) -> Result<Self, WrongPurpose> {
        let Some(der) = certificate else { return Ok(Self { address, roles: None }) };
        let certificate = Certificate::from_der(der).ok().filter(Certificate::is_client_only);
        let certificate = certificate.ok_or(WrongPurpose)?;
        let roles = Some(Roles::parse(&certificate.subject().organizations));
        Ok(Self { address, roles })
    }

    /// Roles of a call. In maintenance everybody reads and the manager administers; else the certificate decides, and
    /// that of an impersonator says that the metadata do.
    ///
    /// # Errors
    /// `Unauthenticated` without a certificate where one is needed.
    pub fn roles(&self, is_maintenance: bool, headers: &HeaderMap) -> Result<Roles, Status> {
        if is_maintenance {
            let is_manager = self.address.is_some_and(is_in_network);
            return Ok(if is_manager { Roles::READER | Roles::ADMIN } else { Roles::READER });
        }
        match self.roles {
            None => Err(Status::unauthenticated("a client certificate is required")),
            Some(own) if own.intersects(Roles::IMPERSONATOR) => {
                let named = headers.get_all(METADATA_KEY).iter().filter_map(|value| value.to_str().ok());
                Ok(Roles::parse(named))
            }
            Some(own) => Ok(own),
        }
    }

    /// Whether a connection may go on.
    #[must_use]
    pub const fn is_welcome(&self, is_maintenance: bool) -> bool {
        is_maintenance || self.roles.is_some()
    }
}

/// Whether a call is permitted: by its roles, and by whether the machine has a configuration.
///
/// # Errors
/// `PermissionDenied`, or `FailedPrecondition` for what makes no sense in maintenance.
pub fn verdict(path: &str, roles: Roles, is_maintenance: bool) -> Result<(), Status> {
    if !rules::allows(path, roles, is_maintenance) {
        return Err(Status::permission_denied(rules::NOT_AUTHORIZED));
    }
    let is_closed = rules::rule(path).is_some_and(|rule| rule.maintenance == rules::Maintenance::Closed);
    if is_maintenance && is_closed {
        let name = path.rsplit('/').next().unwrap_or(path);
        return Err(Status::failed_precondition(format!("{name} is not available in maintenance mode")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic::Code;

    use super::*;

    fn at(address: &str, roles: Option<Roles>) -> Peer {
        Peer { address: address.parse().ok(), roles }
    }

    #[test]
    fn in_maintenance_the_manager_administers_and_others_read() {
        let none = HeaderMap::new();
        let manager = at("fdae:41e4:649b:9303::1", None).roles(true, &none).expect("roles");
        assert!(manager.intersects(Roles::ADMIN));
        assert_eq!(at("10.0.0.1", None).roles(true, &none).expect("roles"), Roles::READER);
    }

    #[test]
    fn metadata_count_from_an_impersonator_only() {
        let mut claimed = HeaderMap::new();
        claimed.append(METADATA_KEY, HeaderValue::from_static("os:admin"));
        let of = |roles| at("10.0.0.1", Some(roles)).roles(false, &claimed).expect("roles");
        assert_eq!(of(Roles::READER), Roles::READER);
        assert_eq!(of(Roles::IMPERSONATOR), Roles::ADMIN);
        let stranger = at("fdae:41e4:649b:9303::1", None).roles(false, &claimed).expect_err("no certificate");
        assert_eq!(stranger.code(), Code::Unauthenticated);
    }

    #[test]
    fn the_table_of_rules_decides() {
        let apply = "/machine.MachineService/ApplyConfiguration";
        let code = |path: &str, roles: Roles, maintenance: bool| {
            verdict(path, roles, maintenance).map_err(|status| status.code())
        };
        assert_eq!(code(apply, Roles::READER, false), Err(Code::PermissionDenied));
        assert_eq!(code(apply, Roles::READER, true), Ok(()));
        assert_eq!(
            code("/machine.MachineService/Bootstrap", Roles::ADMIN, true),
            Err(Code::FailedPrecondition)
        );
    }
}
