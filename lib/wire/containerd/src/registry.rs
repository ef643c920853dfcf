//! `hosts.toml`: where images of one registry host are really fetched from.

use std::fmt::Write;

use crate::config::{list, quote};

/// How to reach one registry host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// URL asked after all mirrors; empty leaves containerd's default, the host itself.
    pub server: String,
    /// Ask nothing but the mirrors, of which there must be one.
    pub mirrors_only: bool,
    /// Mirrors in order.
    pub mirrors: Vec<Endpoint>,
    /// Certificates for the host itself.
    pub tls: Tls,
}

/// A mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// URL.
    pub url: String,
    /// The URL holds the whole API path; `/v2` is not added.
    pub override_path: bool,
    /// Certificates.
    pub tls: Tls,
}

/// Certificates for a connection; all are files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities; empty for the system's.
    pub ca: String,
    /// Own certificate; empty for none.
    pub cert: String,
    /// Key of the own certificate.
    pub key: String,
    /// Accept any certificate.
    pub skip_verify: bool,
}

/// The file for one registry host.
#[must_use]
pub fn render(registry: &Registry) -> String {
    let mut out = String::new();
    let mut mirrors = registry.mirrors.as_slice();
    if let (true, [first @ .., last]) = (registry.mirrors_only, mirrors) {
        // containerd always asks a server last; naming a mirror keeps it away from the registry itself.
        mirrors = first;
        line(&mut out, "server", &quote(&last.url));
        details(&mut out, last);
    } else if !registry.server.is_empty() {
        line(&mut out, "server", &quote(&registry.server));
        tls(&mut out, &registry.tls);
    }
    for mirror in mirrors {
        let _ = writeln!(out, "\n[host.{}]", quote(&mirror.url));
        line(&mut out, "capabilities", &list(&["pull", "resolve"]));
        details(&mut out, mirror);
    }
    out
}

fn details(out: &mut String, mirror: &Endpoint) {
    if mirror.override_path {
        line(out, "override_path", "true");
    }
    tls(out, &mirror.tls);
}

/// Name of the folder that holds the file: `:` is not allowed in it by containerd, a port is written `_5000_`.
#[must_use]
pub fn folder(host: &str) -> String {
    match host {
        "*" => "_default".to_owned(),
        _ => match host.rsplit_once(':') {
            Some((name, port)) => format!("{name}_{port}_"),
            None => host.to_owned(),
        },
    }
}

fn tls(out: &mut String, tls: &Tls) {
    if !tls.ca.is_empty() {
        line(out, "ca", &quote(&tls.ca));
    }
    if !tls.cert.is_empty() {
        line(out, "client", &format!("[[{}, {}]]", quote(&tls.cert), quote(&tls.key)));
    }
    if tls.skip_verify {
        line(out, "skip_verify", "true");
    }
}

fn line(out: &mut String, key: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{key} = {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_in_order_with_their_own_certificates() {
        let mirror = |url: &str| Endpoint { url: url.into(), ..Default::default() };
        let mut first = mirror("https://mirror.lan/v2/proxy");
        first.override_path = true;
        first.tls =
            Tls { ca: "/ca.crt".into(), cert: "/c.crt".into(), key: "/c.key".into(), skip_verify: false };
        let text = render(&Registry {
            server: "https://registry.k8s.io".into(),
            mirrors: vec![first, mirror("http://127.0.0.1:3172")],
            ..Default::default()
        });
        assert_eq!(
            text,
            "server = \"https://registry.k8s.io\"\n\n[host.\"https://mirror.lan/v2/proxy\"]\n\
             capabilities = [\"pull\", \"resolve\"]\noverride_path = true\nca = \"/ca.crt\"\n\
             client = [[\"/c.crt\", \"/c.key\"]]\n\n[host.\"http://127.0.0.1:3172\"]\n\
             capabilities = [\"pull\", \"resolve\"]\n"
        );
        assert_eq!(
            [folder("*"), folder("a:5000"), folder("docker.io")],
            ["_default", "a_5000_", "docker.io"]
        );
    }
}
