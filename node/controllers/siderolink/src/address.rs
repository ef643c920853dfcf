//! Hosts with ports, as URLs and settings write them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host with a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port`, `[IPv6]:port` or a bare address; `default_port` counts where none is given.
    #[must_use]
    pub fn parse(text: &str, default_port: Option<u16>) -> Option<Self> {
        let (host, port) = split(text)?;
        let port = match port {
            Some(port) => port.parse().ok()?,
            None => default_port?,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
        let fits = port != 0 && !host.is_empty() && host.chars().all(is_plain);
        fits.then(|| Self { host: host.to_owned(), port })
    }
}

/// Host and port of a text, neither of them checked but for addresses in brackets.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    let Some(bracketed) = text.strip_prefix('[') else {
        let split = text.split_once(':').map(|(host, port)| (host, Some(port)));
        return Some(split.unwrap_or((text, None)));
    };
    let (host, rest) = bracketed.split_once(']')?;
    host.parse::<Ipv6Addr>().ok()?;
    if rest.is_empty() { Some((host, None)) } else { Some((host, Some(rest.strip_prefix(':')?))) }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_they_are_written() {
        let good = [
            ("manager.example:8090", "manager.example:8090"),
            ("manager.example", "manager.example:443"),
            ("[fdae::1]:8090", "[fdae::1]:8090"),
            ("[fdae::1]", "[fdae::1]:443"),
            ("fdae::1", "[fdae::1]:443"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ];
        for (text, expected) in good {
            let read = HostPort::parse(text, Some(443)).expect(text);
            assert_eq!(read.to_string(), expected);
            assert_eq!(HostPort::parse(expected, None), Some(read));
        }
        for bad in ["", ":1", "a:x", "a:0", "a:70000", "[a]:1", "[fdae::1]x", "a b:1", "a/b:1", "u@h:1"] {
            assert_eq!(HostPort::parse(bad, Some(443)), None, "{bad}");
        }
        assert_eq!(HostPort::parse("host", None), None, "a port must be given");
    }

    #[test]
    fn any_text_is_an_address_that_is_written_alike_or_none() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            if let Some(read) = HostPort::parse(&text, Some(1)) {
                assert_eq!(HostPort::parse(&read.to_string(), None), Some(read), "{text}");
            }
        });
    }
}
