//! Image registries.

use std::collections::BTreeMap;

use corten_base::Secret;

use super::{Documents, Pair};
use crate::reader::Reader;

/// Image registries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// Mirrors by host; `*` stands for all others.
    pub mirrors: BTreeMap<String, Mirror>,
    /// TLS by host, be it a registry or one of its mirrors.
    pub tls: BTreeMap<String, RegistryTls>,
    /// Credentials by host, be it a registry or one of its mirrors.
    pub auths: BTreeMap<String, RegistryAuth>,
}

/// Credentials for one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// User.
    pub username: String,
    /// Password.
    pub password: Secret<String>,
    /// User and password in base64, as an alternative.
    pub auth: Secret<String>,
    /// Token, as an alternative.
    pub identity_token: Secret<String>,
}

/// Mirrors of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// Mirrors in order.
    pub endpoints: Vec<MirrorEndpoint>,
    /// Whether the registry itself is never asked.
    pub skip_fallback: bool,
}

/// One mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorEndpoint {
    /// URL.
    pub url: String,
    /// Whether the URL's path takes the place of `/v2`.
    pub override_path: bool,
}

/// TLS to one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryTls {
    /// Client certificate.
    pub client_identity: Option<Pair>,
    /// CA to trust, as PEM; empty when the usual ones are.
    pub ca: Vec<u8>,
    /// Whether any certificate is accepted.
    pub insecure_skip_verify: bool,
}

impl Registries {
    pub(super) fn read(legacy: Reader<'_>, documents: &Documents<'_>) -> Self {
        let mut all = Self::default();
        for (host, mirror) in legacy.get("mirrors").entries() {
            all.mirrors.insert(host.to_owned(), Mirror::read_legacy(mirror));
        }
        for (host, mirror) in documents.all("RegistryMirrorConfig") {
            all.mirrors.insert(host.to_owned(), Mirror::read_document(mirror));
        }
        for (host, registry) in legacy.get("config").entries() {
            let tls = registry.get("tls");
            if tls.exists() {
                all.tls.insert(host.to_owned(), RegistryTls::read_legacy(tls));
            }
            let auth = registry.get("auth");
            if auth.exists() {
                all.auths.insert(host.to_owned(), RegistryAuth::read(auth));
            }
        }
        for (host, tls) in documents.all("RegistryTLSConfig") {
            all.tls.insert(host.to_owned(), RegistryTls::read_document(tls));
        }
        for (host, auth) in documents.all("RegistryAuthConfig") {
            all.auths.insert(host.to_owned(), RegistryAuth::read(auth));
        }
        all
    }
}

impl RegistryAuth {
    fn read(reader: Reader<'_>) -> Self {
        Self {
            username: reader.get("username").string(),
            password: reader.get("password").secret(),
            auth: reader.get("auth").secret(),
            identity_token: reader.get("identityToken").secret(),
        }
    }
}

impl Mirror {
    fn read_legacy(reader: Reader<'_>) -> Self {
        let override_path = reader.get("overridePath").is();
        let endpoints = reader.get("endpoints").texts().into_iter();
        Self {
            endpoints: endpoints.map(|url| MirrorEndpoint { url, override_path }).collect(),
            skip_fallback: reader.get("skipFallback").is(),
        }
    }

    fn read_document(reader: Reader<'_>) -> Self {
        let endpoint = |reader: Reader<'_>| MirrorEndpoint {
            url: reader.get("url").string(),
            override_path: reader.get("overridePath").is(),
        };
        Self {
            endpoints: reader.get("endpoints").items().map(endpoint).collect(),
            skip_fallback: reader.get("skipFallback").is(),
        }
    }
}

impl RegistryTls {
    fn read_legacy(tls: Reader<'_>) -> Self {
        Self {
            client_identity: Pair::read(tls.get("clientIdentity")),
            ca: tls.get("ca").base64(),
            insecure_skip_verify: tls.get("insecureSkipVerify").is(),
        }
    }

    fn read_document(tls: Reader<'_>) -> Self {
        let identity = tls.get("clientIdentity");
        let crt = identity.get("cert").string().into_bytes();
        let key = Secret::new(identity.get("key").string().into_bytes());
        Self {
            client_identity: (!crt.is_empty()).then_some(Pair { crt, key }),
            ca: tls.get("ca").string().into_bytes(),
            insecure_skip_verify: tls.get("insecureSkipVerify").is(),
        }
    }
}
