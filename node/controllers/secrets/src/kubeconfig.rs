//! Kubeconfigs as text.
//!
//! Values are JSON strings inside YAML, so that no name can break out of its place.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::Rng;
use corten_pki::{LeafRequest, PkiError, Subject};
use corten_resources::secrets::{CertificateAndKey, KubernetesRoot};
use serde_json::{Value, json};

use crate::issue::Issuer;

/// Client certificate and key, PEM.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// Certificate.
    pub crt: &'a [u8],
    /// Key.
    pub key: &'a [u8],
}

/// What a kubeconfig says.
pub struct Kubeconfig<'a> {
    /// Name of the cluster.
    pub cluster: &'a str,
    /// Name of the user.
    pub user: &'a str,
    /// Name of the context.
    pub context: &'a str,
    /// Default namespace.
    pub namespace: Option<&'a str>,
    /// URL of the API server.
    pub server: &'a str,
    /// Name expected in its certificate, when it differs from the URL's host.
    pub server_name: &'a str,
    /// CAs of the API server, PEM.
    pub ca: &'a [u8],
    /// Credentials.
    pub credentials: Credentials<'a>,
}

const CERTIFICATE: &str = "client-certificate-data";
const KEY: &str = "client-key-data";

/// The text.
#[must_use]
pub fn render(config: &Kubeconfig<'_>) -> String {
    let mut cluster = vec![
        ("server", json!(config.server)),
        ("certificate-authority-data", json!(STANDARD.encode(config.ca))),
    ];
    if !config.server_name.is_empty() {
        cluster.push(("tls-server-name", json!(config.server_name)));
    }
    let user = vec![
        (CERTIFICATE, json!(STANDARD.encode(config.credentials.crt))),
        (KEY, json!(STANDARD.encode(config.credentials.key))),
    ];
    let mut context = vec![("cluster", json!(config.cluster))];
    context.extend(config.namespace.map(|namespace| ("namespace", json!(namespace))));
    context.push(("user", json!(config.user)));
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n{}users:\n{}contexts:\n{}current-context: {}\n",
        entry(config.cluster, "cluster", &cluster),
        entry(config.user, "user", &user),
        entry(config.context, "context", &context),
        scalar(&json!(config.context)),
    )
}

fn entry(name: &str, field: &str, values: &[(&str, Value)]) -> String {
    let mut text = format!("- name: {}\n  {field}:\n", scalar(&json!(name)));
    for (key, value) in values {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {key}: {}", scalar(value));
    }
    text
}

/// Plain where YAML cannot misread it, quoted otherwise.
fn scalar(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./@:+=".contains(c))
        && !text.ends_with(':')
        && text.len() > 5;
    if plain { text.to_owned() } else { value.to_string() }
}

/// The credentials in a text that [`render`] made.
pub fn credentials(text: &str) -> Option<CertificateAndKey> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(": "))?;
        STANDARD.decode(line.trim_matches('"')).ok()
    };
    Some(CertificateAndKey { crt: value(CERTIFICATE)?, key: value(KEY)? })
}

/// Every accepted CA of Kubernetes, the issuing one first.
pub fn bundle(root: &KubernetesRoot) -> Vec<u8> {
    let mut all = Vec::new();
    for ca in &root.accepted_cas {
        all.extend_from_slice(&ca.crt);
        if !all.ends_with(b"\n") {
            all.push(b'\n');
        }
    }
    all
}

/// Why there is no kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The CA and its key are on control planes only.
    #[error("kubeconfig is available on control plane machines only")]
    NoAuthority,
    /// The certificate could not be issued.
    #[error("cannot issue the administrator's certificate")]
    Issue(#[from] PkiError),
}

/// A new kubeconfig of an administrator, as the API hands it out.
///
/// # Errors
/// When this machine has no CA, or it is unusable.
pub fn admin(root: &KubernetesRoot, lifetime: Duration, now: SystemTime, rng: &Rng) -> Result<String, Refused> {
    let ca = root.issuing_ca.as_ref().filter(|ca| !ca.key.is_empty()).ok_or(Refused::NoAuthority)?;
    let subject = Subject::common_name("admin").with_organization("system:masters");
    let pair = Issuer::new(ca, now, rng)?.keep_or_issue(None, &LeafRequest::client(subject, lifetime))?;
    let name = format!("admin@{}", root.name);
    Ok(render(&Kubeconfig {
        cluster: &root.name,
        user: &name,
        context: &name,
        namespace: Some("default"),
        server: &root.endpoint,
        server_name: "",
        ca: &bundle(root),
        credentials: Credentials { crt: &pair.crt, key: &pair.key },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out() {
        let text = render(&Kubeconfig {
            cluster: "a: b\n- x",
            user: "admin@demo",
            context: "yes",
            namespace: Some("default"),
            server: "https://10.5.0.2:6443",
            server_name: "",
            ca: b"ca",
            credentials: Credentials { crt: b"certificate", key: b"key" },
        });
        let expected = "apiVersion: v1\nkind: Config\nclusters:\n- name: \"a: b\\n- x\"\n  cluster:\n    server: https://10.5.0.2:6443\n    certificate-authority-data: \"Y2E=\"\nusers:\n- name: admin@demo\n  user:\n    client-certificate-data: Y2VydGlmaWNhdGU=\n    client-key-data: \"a2V5\"\ncontexts:\n- name: \"yes\"\n  context:\n    cluster: \"a: b\\n- x\"\n    namespace: default\n    user: admin@demo\ncurrent-context: \"yes\"\n";
        assert_eq!(text, expected);
    }
}
