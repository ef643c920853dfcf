//! The secrets of a cluster: made once, kept by its operator, the source of every configuration.
//!
//! The text form is the `secrets.yaml` of Talos, with its lower case keys. The JSON form is that in which managers keep
//! it: the same tree, with the keys of the field's own types.

use std::time::{Duration, SystemTime};

use corten_base::{Rng, Secret};
use corten_pki::{Authority, AuthorityKind, Identity, LeafRequest, PkiError, PrivateKey, Subject};

use crate::decode::{self, Whole};
use crate::node::Node;
use crate::problem::{Path, Problem, Problems};
use crate::reader::Reader;
use crate::schema::BUNDLE;
use crate::view::Pair;
use crate::{json, read, values, write};

/// Largest bundle, bytes. One with RSA keys everywhere has a quarter of it.
pub const SECRETS_BYTES_MAX: usize = 256 << 10;

/// Every secret of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretsBundle {
    /// Identity of the cluster for discovery.
    pub cluster_id: String,
    /// Shared secret of the cluster.
    pub cluster_secret: Secret<String>,
    /// Kubernetes bootstrap token.
    pub bootstrap_token: Secret<String>,
    /// Key that encrypts secrets in etcd with secretbox; empty in old bundles.
    pub secretbox_secret: Secret<String>,
    /// Key that encrypts secrets in etcd with AES-CBC; empty in new bundles.
    pub aescbc_secret: Secret<String>,
    /// Token that lets machines join.
    pub trustd_token: Secret<String>,
    /// etcd CA.
    pub etcd: Pair,
    /// Kubernetes CA.
    pub kubernetes: Pair,
    /// CA of aggregated API servers.
    pub aggregator: Pair,
    /// Key that signs service account tokens, as PEM.
    pub service_account_key: Secret<Vec<u8>>,
    /// Talos CA.
    pub talos: Pair,
}

/// Secrets that cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretsError {
    /// More bytes than any bundle has.
    #[error("the secrets have {0} bytes, and at most {max} are read", max = SECRETS_BYTES_MAX)]
    TooLarge(usize),
    /// No JSON. The reason would quote it, so it is not told.
    #[error("the secrets are not JSON")]
    NotJson,
    /// The text does not follow the schema.
    #[error("failed to read the secrets")]
    Read(#[source] Problems),
    /// A key or certificate is wrong.
    #[error("failed to use {what}")]
    Pki {
        /// Which one.
        what: &'static str,
        /// Why.
        #[source]
        source: PkiError,
    },
}

impl SecretsError {
    fn pki(what: &'static str) -> impl FnOnce(PkiError) -> Self {
        move |source| Self::Pki { what, source }
    }
}

const TOKEN_ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// `xxxxxx.yyyyyyyyyyyyyyyy`, as bootstrap tokens are written.
fn token(rng: &Rng) -> Secret<String> {
    let word = |length: usize| -> String {
        (0..length).map(|_| char::from(TOKEN_ALPHABET[rng.below(36) as usize])).collect()
    };
    Secret::new(format!("{}.{}", word(6), word(16)))
}

fn authority(kind: AuthorityKind, now: SystemTime, rng: &Rng) -> Result<Pair, SecretsError> {
    let authority = Authority::generate(kind, now, rng).map_err(SecretsError::pki("a new authority"))?;
    let key = authority.key().to_pem();
    Ok(Pair {
        crt: authority.certificate().to_pem().into_bytes(),
        key: Secret::new(key.reveal().clone().into_bytes()),
    })
}

impl SecretsBundle {
    /// New secrets. The key of service accounts is RSA with 4096 bits and takes a moment.
    pub fn generate(now: SystemTime, rng: &Rng) -> Result<Self, SecretsError> {
        let random = |rng: &Rng| Secret::new(values::to_base64(rng.bytes::<32>()));
        let service_account =
            PrivateKey::rsa_4096().map_err(SecretsError::pki("a new service account key"))?;
        Ok(Self {
            cluster_id: values::to_base64(rng.bytes::<32>()),
            cluster_secret: random(rng),
            bootstrap_token: token(rng),
            secretbox_secret: random(rng),
            aescbc_secret: Secret::default(),
            trustd_token: token(rng),
            etcd: authority(AuthorityKind::Etcd, now, rng)?,
            kubernetes: authority(AuthorityKind::Kubernetes, now, rng)?,
            aggregator: authority(AuthorityKind::Aggregator, now, rng)?,
            service_account_key: Secret::new(service_account.to_pem().reveal().clone().into_bytes()),
            talos: authority(AuthorityKind::Talos, now, rng)?,
        })
    }

    /// Reads `secrets.yaml`.
    pub fn parse(bytes: &[u8]) -> Result<Self, SecretsError> {
        check_size(bytes)?;
        let wrong = |message: &str| {
            SecretsError::Read(Problem::at(crate::node::Position::default(), message.to_owned()).into())
        };
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("not UTF-8"))?;
        let nodes = read::documents(text).map_err(|problem| SecretsError::Read(problem.into()))?;
        let [node] = nodes.as_slice() else {
            return Err(wrong(&format!("expected one document, found {}", nodes.len())));
        };
        Self::of(node)
    }

    /// Reads the JSON form. Its keys may be written in any case, since programs differ in it.
    ///
    /// # Errors
    /// When it is too large, no JSON, incomplete or wrong; the text contains nothing of the secrets.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SecretsError> {
        check_size(bytes)?;
        let value = serde_json::from_slice(bytes).map_err(|_| SecretsError::NotJson)?;
        Self::of(&with_lower_case_keys(&json::from_json(&value)))
    }

    fn of(node: &Node) -> Result<Self, SecretsError> {
        let findings = decode::check(node, &BUNDLE, "", Whole::Document, &[]);
        findings.problems.into_result().map_err(SecretsError::Read)?;
        Self::read(Reader::new(node)).map_err(|missing| {
            let problem = Problem {
                path: Path::written(missing).to_string(),
                ..Problem::at(node.at, "missing".to_owned())
            };
            SecretsError::Read(problem.into())
        })
    }

    fn read(root: Reader<'_>) -> Result<Self, &'static str> {
        let pair =
            |path: &[&str], name: &'static str| Pair::read(root.path(path)).filter(Pair::has_key).ok_or(name);
        Ok(Self {
            cluster_id: root.path(&["cluster", "id"]).string(),
            cluster_secret: root.path(&["cluster", "secret"]).secret(),
            bootstrap_token: root.path(&["secrets", "bootstraptoken"]).secret(),
            secretbox_secret: root.path(&["secrets", "secretboxencryptionsecret"]).secret(),
            aescbc_secret: root.path(&["secrets", "aescbcencryptionsecret"]).secret(),
            trustd_token: root.path(&["trustdinfo", "token"]).secret(),
            etcd: pair(&["certs", "etcd"], "certs.etcd")?,
            kubernetes: pair(&["certs", "k8s"], "certs.k8s")?,
            aggregator: pair(&["certs", "k8saggregator"], "certs.k8saggregator")?,
            service_account_key: Secret::new(root.path(&["certs", "k8sserviceaccount", "key"]).base64()),
            talos: pair(&["certs", "os"], "certs.os")?,
        })
    }

    /// Writes `secrets.yaml`.
    #[must_use]
    pub fn to_yaml(&self) -> Secret<String> {
        let text = |secret: &Secret<String>| Node::string(secret.reveal().as_str());
        let mut secrets = vec![("bootstraptoken", text(&self.bootstrap_token))];
        for (key, secret) in [
            ("secretboxencryptionsecret", &self.secretbox_secret),
            ("aescbcencryptionsecret", &self.aescbc_secret),
        ] {
            if !secret.reveal().is_empty() {
                secrets.push((key, text(secret)));
            }
        }
        let cluster =
            [("id", Node::string(self.cluster_id.as_str())), ("secret", text(&self.cluster_secret))];
        let certs = [
            ("etcd", pair_node(&self.etcd)),
            ("k8s", pair_node(&self.kubernetes)),
            ("k8saggregator", pair_node(&self.aggregator)),
            ("k8sserviceaccount", Node::map([("key", key_node(&self.service_account_key))])),
            ("os", pair_node(&self.talos)),
        ];
        let root = Node::map([
            ("cluster", Node::map(cluster)),
            ("secrets", Node::map(secrets)),
            ("trustdinfo", Node::map([("token", text(&self.trustd_token))])),
            ("certs", Node::map(certs)),
        ]);
        Secret::new(write::document(&root))
    }

    /// Writes the JSON form.
    #[must_use]
    pub fn to_json(&self) -> Secret<Vec<u8>> {
        let pair = |pair: &Pair| {
            let (crt, key) = (values::to_base64(&pair.crt), values::to_base64(pair.key.reveal()));
            serde_json::json!({ "Crt": crt, "Key": key })
        };
        let mut secrets = serde_json::json!({ "BootstrapToken": self.bootstrap_token.reveal() });
        for (key, secret) in [
            ("AESCBCEncryptionSecret", &self.aescbc_secret),
            ("SecretboxEncryptionSecret", &self.secretbox_secret),
        ] {
            if !secret.reveal().is_empty() {
                secrets[key] = secret.reveal().as_str().into();
            }
        }
        let root = serde_json::json!({
            "Cluster": { "Id": self.cluster_id, "Secret": self.cluster_secret.reveal() },
            "Secrets": secrets,
            "TrustdInfo": { "Token": self.trustd_token.reveal() },
            "Certs": {
                "Etcd": pair(&self.etcd),
                "K8s": pair(&self.kubernetes),
                "K8sAggregator": pair(&self.aggregator),
                "K8sServiceAccount": { "Key": values::to_base64(self.service_account_key.reveal()) },
                "OS": pair(&self.talos),
            },
        });
        Secret::new(root.to_string().into_bytes())
    }

    /// The Talos CA, ready to issue.
    pub fn talos_authority(&self) -> Result<Authority, SecretsError> {
        Authority::from_pem(&self.talos.crt, self.talos.key.reveal())
            .map_err(SecretsError::pki("the Talos CA"))
    }

    /// A client certificate of the Talos API with these roles.
    pub fn client(
        &self,
        roles: &[&str],
        lifetime: Duration,
        now: SystemTime,
        rng: &Rng,
    ) -> Result<Identity, SecretsError> {
        let request = LeafRequest::client(Subject::organizations(roles.iter().copied()), lifetime);
        let issued = self.talos_authority()?.issue(&request, now, rng);
        issued.map_err(SecretsError::pki("the Talos CA"))
    }
}

fn check_size(bytes: &[u8]) -> Result<(), SecretsError> {
    if bytes.len() > SECRETS_BYTES_MAX { Err(SecretsError::TooLarge(bytes.len())) } else { Ok(()) }
}

/// What is in lists is no part of a bundle and is left as it is.
fn with_lower_case_keys(node: &Node) -> Node {
    match node.as_map() {
        Some(map) => {
            Node::map(map.iter().map(|entry| (entry.key.to_lowercase(), with_lower_case_keys(&entry.value))))
        }
        None => node.clone(),
    }
}

/// A pair as configurations carry it.
pub(crate) fn pair_node(pair: &Pair) -> Node {
    Node::map([("crt", Node::string(values::to_base64(&pair.crt))), ("key", key_node(&pair.key))])
}

/// A key as configurations carry it.
pub(crate) fn key_node(key: &Secret<Vec<u8>>) -> Node {
    Node::string(values::to_base64(key.reveal()))
}

#[cfg(test)]
mod tests;
