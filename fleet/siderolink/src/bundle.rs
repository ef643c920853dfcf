//! What trustd needs of the secrets of a cluster: its token, and the authority of the machines' API.
//!
//! ```text
//! ClusterMachineSecrets, or else ClusterSecrets ─▶ JSON of the bundle ─▶ token, OS authority
//! ```
//!
//! The JSON is that of the field: names begin with capitals, bytes are base64. Nothing else of it is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::Secret;
use serde::Deserialize;

/// A bundle that trustd cannot work with. Messages contain nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BundleError {
    /// It is no JSON, or something is missing.
    #[error("the secrets of the cluster are not the JSON of a bundle with TrustdInfo.Token and Certs.OS")]
    Malformed,
    /// The authority is not base64.
    #[error("the authority Certs.OS in the secrets of the cluster is not base64")]
    Encoding,
    /// A token that anybody could show.
    #[error("the token TrustdInfo.Token in the secrets of the cluster is empty")]
    Token,
}

/// What is read of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// What machines of the cluster show.
    pub token: Secret<String>,
    /// Certificate of the authority, PEM.
    pub certificate: Vec<u8>,
    /// Its key, PEM.
    pub key: Secret<Vec<u8>>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "TrustdInfo", alias = "trustdinfo")]
    trustd: TrustdInfo,
    #[serde(rename = "Certs", alias = "certs")]
    certs: Certs,
}

#[derive(Deserialize)]
struct TrustdInfo {
    #[serde(rename = "Token", alias = "token")]
    token: String,
}

#[derive(Deserialize)]
struct Certs {
    #[serde(rename = "OS", alias = "os")]
    os: Pair,
}

#[derive(Deserialize)]
struct Pair {
    #[serde(rename = "Crt", alias = "crt")]
    crt: String,
    #[serde(rename = "Key", alias = "key")]
    key: String,
}

impl Bundle {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// When something that is needed is not there.
    pub fn parse(json: &[u8]) -> Result<Self, BundleError> {
        // The reason of serde quotes the text, so it is dropped.
        let wire: Wire = serde_json::from_slice(json).map_err(|_| BundleError::Malformed)?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| BundleError::Encoding);
        if wire.trustd.token.is_empty() {
            return Err(BundleError::Token);
        }
        let (certificate, key) = (decode(&wire.certs.os.crt)?, Secret::new(decode(&wire.certs.os.key)?));
        Ok(Self { token: Secret::new(wire.trustd.token), certificate, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_and_the_authority_are_read_and_the_rest_is_not() {
        let json = br#"{"Cluster":{"Id":"x"},"TrustdInfo":{"Token":"secret"},
            "Certs":{"Etcd":{"Crt":"YQ==","Key":"Yg=="},"OS":{"Crt":"Y3J0","Key":"a2V5"}}}"#;
        let bundle = Bundle::parse(json).unwrap();
        assert_eq!((bundle.token.reveal().as_str(), bundle.certificate.as_slice()), ("secret", &b"crt"[..]));
        assert_eq!(bundle.key.reveal(), b"key");
    }

    #[test]
    fn what_is_no_bundle_is_refused_without_telling_it() {
        let empty = r#"{"TrustdInfo":{"Token":""},"Certs":{"OS":{"Crt":"","Key":""}}}"#;
        let encoding = r#"{"TrustdInfo":{"Token":"secret"},"Certs":{"OS":{"Crt":"secret!","Key":""}}}"#;
        for (json, expected) in [
            ("", BundleError::Malformed),
            ("{}", BundleError::Malformed),
            (empty, BundleError::Token),
            (encoding, BundleError::Encoding),
        ] {
            let error = Bundle::parse(json.as_bytes()).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("secret!"), "{error}");
        }
    }
}
