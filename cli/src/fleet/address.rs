//! Addresses of managers, as client configurations have them.
//!
//! | scheme | connection | usual port |
//! |---|---|---|
//! | `grpc`, `http` | in the clear | 80 |
//! | `grpcs`, `https` | TLS | 443 |

use std::fmt;
use std::str::FromStr;

use http::Uri;

/// Whether a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// In the clear.
    Plain,
    /// TLS.
    Tls,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Whether the connection is protected.
    pub security: Security,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no address of a manager; write it like https://fleet.example.org");
        let uri: Uri = text.trim().parse().map_err(|_| wrong())?;
        let (security, usual) = match uri.scheme_str() {
            Some("grpc" | "http") => (Security::Plain, 80),
            Some("grpcs" | "https") => (Security::Tls, 443),
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { security, host, port: authority.port_u16().unwrap_or(usual) })
    }
}

impl Address {
    /// Host and port, as headers and URLs have them.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.security == Security::Tls { "grpcs" } else { "grpc" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_whether_the_connection_is_protected() {
        for (text, expected) in [
            ("grpc://127.0.0.1:8080", "grpc://127.0.0.1:8080"),
            ("http://fleet", "grpc://fleet:80"),
            ("https://fleet.example.org/", "grpcs://fleet.example.org:443"),
            ("grpcs://[fd00::1]:8443", "grpcs://[fd00::1]:8443"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn what_names_no_host_or_another_scheme_is_refused() {
        for text in ["", "fleet", "fleet:8080", "ftp://fleet", "https://", "<placeholder_url>", "grpc://a b"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn never_panics_on_any_text() {
        bolero::check!().for_each(|input: &[u8]| {
            if let Ok(address) = String::from_utf8_lossy(input).parse::<Address>() {
                assert!(!address.host.is_empty());
            }
        });
    }
}
