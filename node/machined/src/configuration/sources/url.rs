//! Addresses of configurations: what is allowed, and the variables in them.

use anyhow::{Context, bail};
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

impl Target {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is not an absolute http or https URL.
    pub fn parse(address: &str) -> anyhow::Result<Self> {
        let uri: Uri = address.parse().context("talos.config is not a URL")?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!("talos.config must be an http or https URL, `metal-iso` or `none`"),
        };
        let authority = uri.authority().context("talos.config names no host")?;
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
    pub fn redirected(&self, location: &str) -> anyhow::Result<Self> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(Self { path: location.to_owned(), ..self.clone() });
        }
        let next = Self::parse(location).context("the redirection leads nowhere")?;
        if self.is_tls && !next.is_tls {
            bail!("the redirection leads from https to http");
        }
        Ok(next)
    }
}

impl std::fmt::Display for Target {
    /// Without the query, which may hold a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

/// Variables that an address may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// `${uuid}`.
    pub uuid: Option<String>,
    /// `${serial}`.
    pub serial: Option<String>,
    /// `${mac}`.
    pub mac: Option<String>,
    /// `${hostname}`.
    pub hostname: Option<String>,
    /// `${code}`.
    pub code: Option<String>,
}

impl Variables {
    /// Puts the variables in.
    ///
    /// # Errors
    /// When one that is used is not known yet.
    pub fn put_into(&self, address: &str) -> anyhow::Result<String> {
        let known = [
            ("uuid", &self.uuid),
            ("serial", &self.serial),
            ("mac", &self.mac),
            ("hostname", &self.hostname),
            ("code", &self.code),
        ];
        let mut result = address.to_owned();
        for (name, value) in known {
            let mark = format!("${{{name}}}");
            if result.contains(&mark) {
                let value = value
                    .as_deref()
                    .with_context(|| format!("the machine has no {name} for talos.config"))?;
                result = result.replace(&mark, &escaped(value));
            }
        }
        Ok(result)
    }
}

/// RFC 3986: everything but unreserved characters is written in hexadecimal.
fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    value
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
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
    }

    #[test]
    fn variables_are_put_in_or_missed() {
        let variables = Variables {
            uuid: Some("a-b".to_owned()),
            mac: Some("52:54:00:00:00:01".to_owned()),
            ..Variables::default()
        };
        let address = variables.put_into("http://h/${uuid}?m=${mac}&u=${uuid}").expect("known");
        assert_eq!(address, "http://h/a-b?m=52:54:00:00:00:01&u=a-b");
        let error = variables.put_into("http://h/${serial}").expect_err("unknown").to_string();
        assert!(error.contains("serial"), "{error}");
        let odd = Variables { serial: Some("a b/../c".to_owned()), ..Variables::default() };
        assert_eq!(odd.put_into("http://h/${serial}").expect("known"), "http://h/a%20b%2F..%2Fc");
    }
}
