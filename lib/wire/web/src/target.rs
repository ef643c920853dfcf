//! Addresses on the web: what is allowed of them, and where redirections may lead.

use std::fmt;

use http::Uri;

/// Where to connect and what to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether the connection is protected.
    pub is_tls: bool,
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Value of the `host` header.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Why an address is none that can be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotATarget {
    /// It cannot be read.
    #[error("not a URL")]
    Syntax(#[source] http::uri::InvalidUri),
    /// Another scheme, or none.
    #[error("not an http or https URL")]
    Scheme,
    /// No host.
    #[error("a URL without a host")]
    Host,
    /// A redirection that would give up protection.
    #[error("the redirection leads from https to http")]
    Unprotected,
}

impl Target {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is not an absolute http or https URL.
    pub fn parse(address: &str) -> Result<Self, NotATarget> {
        let uri: Uri = address.parse().map_err(NotATarget::Syntax)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(NotATarget::Scheme),
        };
        let authority = uri.authority().ok_or(NotATarget::Host)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        let authority = authority.as_str().rsplit('@').next().unwrap_or_default().to_owned();
        Ok(Self { is_tls, host, port, authority, path })
    }

    /// The target that a redirection points to, from here.
    ///
    /// # Errors
    /// When it leads to something that is no target, or from a protected connection to an open one.
    pub fn redirected(&self, location: &str) -> Result<Self, NotATarget> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(Self { path: location.to_owned(), ..self.clone() });
        }
        let next = Self::parse(location)?;
        if self.is_tls && !next.is_tls { Err(NotATarget::Unprotected) } else { Ok(next) }
    }

    /// Whether both are the same server, reached in the same way.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        (self.is_tls, &self.host, self.port) == (other.is_tls, &other.host, other.port)
    }
}

impl fmt::Display for Target {
    /// Without the query, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_host_port_and_path() {
        let target = Target::parse("http://[2001:db8::1]:8080/config?token=secret").expect("a target");
        assert_eq!((target.host.as_str(), target.port, target.is_tls), ("2001:db8::1", 8080, false));
        assert_eq!(target.path, "/config?token=secret");
        assert_eq!(target.to_string(), "http://[2001:db8::1]:8080/config");
        assert_eq!(Target::parse("https://host").expect("a target").port, 443);
        for wrong in ["ftp://host/x", "/config", "host:80", "http:///x", ""] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn redirections_never_lose_protection() {
        let target = Target::parse("https://host/a").expect("a target");
        assert_eq!(target.redirected("/b").expect("relative").path, "/b");
        assert!(target.redirected("http://host/b").is_err());
        assert!(target.redirected("//other/b").is_err());
        let elsewhere = target.redirected("https://other/b").expect("another server");
        assert!(!target.is_same_server(&elsewhere) && target.is_same_server(&target));
    }

    #[test]
    fn arbitrary_redirections_lead_to_a_target_or_are_refused() {
        let target = Target::parse("https://host/a").expect("a target");
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(next) = target.redirected(&String::from_utf8_lossy(bytes)) {
                assert!(next.is_tls && !next.host.is_empty());
            }
        });
    }
}
