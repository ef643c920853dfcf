//! `hosts.toml`: where images of one registry host are really fetched from. Beside the hosts' folders stand the
//! credentials for all of them, for whoever pulls through this crate.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::Secret;
use serde_json::{Value, json};

use crate::config::{list, quote};
use crate::transfer::Credentials;

/// Name of the file with credentials, in the folder of the hosts' folders.
pub const CREDENTIALS: &str = "credentials.json";
/// Largest file with credentials.
const CREDENTIALS_BYTES_MAX: u64 = 1 << 20;

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

/// Credentials for one host, in one of the three forms that configurations have for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// User.
    pub username: String,
    /// Password.
    pub password: Secret<String>,
    /// User and password in base64.
    pub auth: Secret<String>,
    /// A refresh token.
    pub identity_token: Secret<String>,
}

impl Auth {
    /// What is given out: the token, else user and password; nothing when there are none.
    #[must_use]
    pub fn credentials(&self) -> Option<Credentials> {
        if !self.identity_token.reveal().is_empty() {
            return Some(Credentials { username: String::new(), password: self.identity_token.clone() });
        }
        if !self.username.is_empty() {
            return Some(Credentials { username: self.username.clone(), password: self.password.clone() });
        }
        let pair = STANDARD.decode(self.auth.reveal()).ok().and_then(|pair| String::from_utf8(pair).ok())?;
        let (username, password) = pair.split_once(':')?;
        Some(Credentials { username: username.to_owned(), password: Secret::new(password.to_owned()) })
    }
}

/// The file with credentials of all hosts.
#[must_use]
pub fn render_credentials(auths: &BTreeMap<String, Auth>) -> String {
    let known = auths.iter().filter_map(|(host, auth)| Some((host, auth.credentials()?)));
    let entries = known.map(|(host, given)| {
        (host.clone(), json!({ "username": given.username, "password": given.password.reveal() }))
    });
    Value::Object(entries.collect()).to_string()
}

/// The credentials that stand in a folder of hosts; none when there is no such file, or nothing that can be read.
pub(crate) async fn read_credentials(folder: &Path) -> BTreeMap<String, Credentials> {
    let path = folder.join(CREDENTIALS);
    match tokio::fs::metadata(&path).await {
        Ok(metadata) if metadata.len() <= CREDENTIALS_BYTES_MAX => {}
        _ => return BTreeMap::new(),
    }
    parse_credentials(&tokio::fs::read(&path).await.unwrap_or_default())
}

fn parse_credentials(text: &[u8]) -> BTreeMap<String, Credentials> {
    let Ok(Value::Object(hosts)) = serde_json::from_slice(text) else { return BTreeMap::new() };
    let given = hosts.into_iter().filter_map(|(host, entry)| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        Some((host, Credentials { username: text("username")?, password: Secret::new(text("password")?) }))
    });
    given.collect()
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
    fn credentials_of_every_form_are_read_again() {
        let auth = |username: &str, password: &str, auth: &str, token: &str| Auth {
            username: username.into(),
            password: Secret::new(password.into()),
            auth: Secret::new(auth.into()),
            identity_token: Secret::new(token.into()),
        };
        let auths = BTreeMap::from([
            ("a".to_owned(), auth("u", "hunter2", "", "")),
            ("b:5000".to_owned(), auth("", "", "dTpodW50ZXIz", "")),
            ("c".to_owned(), auth("", "", "", "hunter4")),
            ("none".to_owned(), Auth::default()),
        ]);
        assert!(!format!("{auths:?}").contains("hunter"));
        let read = parse_credentials(render_credentials(&auths).as_bytes());
        let pairs: Vec<(&str, &str, &str)> = read
            .iter()
            .map(|(host, given)| (host.as_str(), given.username.as_str(), given.password.reveal().as_str()))
            .collect();
        assert_eq!(pairs, [("a", "u", "hunter2"), ("b:5000", "u", "hunter3"), ("c", "", "hunter4")]);
    }

    #[test]
    fn arbitrary_files_are_credentials_or_none() {
        bolero::check!().for_each(|bytes: &[u8]| drop(parse_credentials(bytes)));
    }

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
