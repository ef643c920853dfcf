//! Tokens that say who somebody is in the Kubernetes of a cluster (fleet.md 2.8): JWT (RFC 7519), signed RS256.
//!
//! ```text
//! Claims, private key ─▶ sign ─▶ header.claims.signature
//! header.claims.signature ─▶ read ─▶ Token: id of its key ─▶ verify with that key, at a time ─▶ Claims
//! ```
//!
//! By hand, though there is `jsonwebtoken`: it would save the splitting of three parts and nothing else. It reads the
//! machine's clock by itself, knows no [`Secret`], and takes every algorithm that it is not told to refuse. For tokens
//! of others, with several algorithms and JWKS, it is the right one: take it with the log-in of people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use corten_base::Secret;
use corten_pki::{PkiError, PrivateKey};
use serde_json::{Value, json};

/// Longest token, bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The only algorithm.
const ALGORITHM: &str = "RS256";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// Who made it.
    pub(crate) issuer: String,
    /// Name in Kubernetes.
    pub(crate) subject: String,
    /// Groups in Kubernetes, at least one.
    pub(crate) groups: Vec<String>,
    /// Name of the cluster.
    pub(crate) cluster: String,
    /// UUID of the cluster; another cluster of that name has another one.
    pub(crate) cluster_uuid: String,
    /// When it was made.
    pub(crate) issued: SystemTime,
    /// When it ends.
    pub(crate) expires: SystemTime,
}

/// A token that does not hold. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// It is none, or one of another kind.
    #[error("the token is none of this manager; get a new kubeconfig")]
    Malformed,
    /// Its key is not there, or did not sign it.
    #[error("the token was revoked, or another manager made it; get a new kubeconfig")]
    Unknown,
    /// Its time is over.
    #[error("the token has expired; get a new kubeconfig")]
    Expired,
    /// The cluster is not there any more, or another one has its name.
    #[error("the token is for a cluster that is gone; get a kubeconfig of the cluster that is there now")]
    OtherCluster,
}

/// Makes a token; `id` is that of the key.
///
/// # Errors
/// When the cryptographic library refuses.
pub(crate) fn sign(key: &PrivateKey, id: &str, claims: &Claims) -> Result<Secret<String>, PkiError> {
    let header = json!({ "alg": ALGORITHM, "kid": id, "typ": "JWT" });
    let body = json!({
        "iss": claims.issuer,
        "sub": claims.subject,
        "groups": claims.groups,
        "cluster": claims.cluster,
        "cluster_uuid": claims.cluster_uuid,
        "iat": unix(claims.issued),
        "exp": unix(claims.expires),
    });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&body));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())?);
    Ok(Secret::new(format!("{signed}.{signature}")))
}

/// A token whose signature nobody has checked yet.
pub(crate) struct Token<'a> {
    key_id: String,
    /// What is signed.
    signed: &'a str,
    /// The part of it with the claims.
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads a token.
    ///
    /// # Errors
    /// When it has another form, or is signed in another way.
    pub(crate) fn read(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header = object(header)?;
        // Extensions that must be understood (RFC 7515, 4.1.11) are not.
        if header.get("alg").and_then(Value::as_str) != Some(ALGORITHM) || header.get("crit").is_some() {
            return Err(TokenError::Malformed);
        }
        let key_id = text_of(&header, "kid")?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenError::Malformed)?;
        Ok(Self { key_id, signed, claims, signature })
    }

    /// Id of the key that it names.
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// What it says, if this key (RSA, PKCS #1 in DER) signed it and it is good at this time.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn verify(&self, key: &[u8], now: SystemTime) -> Result<Claims, TokenError> {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key);
        key.verify(self.signed.as_bytes(), &self.signature).map_err(|_| TokenError::Unknown)?;
        let claims = claims(&object(self.claims)?)?;
        if claims.expires <= now { Err(TokenError::Expired) } else { Ok(claims) }
    }
}

fn claims(body: &Value) -> Result<Claims, TokenError> {
    let groups = body.get("groups").and_then(Value::as_array).ok_or(TokenError::Malformed)?;
    let group = |group: &Value| group.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let groups: Option<Vec<String>> = groups.iter().map(group).collect();
    let groups = groups.filter(|groups| !groups.is_empty()).ok_or(TokenError::Malformed)?;
    Ok(Claims {
        issuer: text_of(body, "iss")?,
        subject: text_of(body, "sub")?,
        groups,
        cluster: text_of(body, "cluster")?,
        cluster_uuid: text_of(body, "cluster_uuid")?,
        issued: time_of(body, "iat")?,
        expires: time_of(body, "exp")?,
    })
}

/// An object of JSON in base64.
fn object(part: &str) -> Result<Value, TokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| TokenError::Malformed)?;
    if value.is_object() { Ok(value) } else { Err(TokenError::Malformed) }
}

/// A text that is there and not empty.
fn text_of(object: &Value, key: &str) -> Result<String, TokenError> {
    let text = object.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or(TokenError::Malformed)
}

/// Seconds since 1970.
fn time_of(object: &Value, key: &str) -> Result<SystemTime, TokenError> {
    let seconds = object.get(key).and_then(Value::as_u64).map(Duration::from_secs);
    seconds.and_then(|seconds| UNIX_EPOCH.checked_add(seconds)).ok_or(TokenError::Malformed)
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{claims, key, now};

    fn parts(token: &str) -> [&str; 3] {
        token.split('.').collect::<Vec<_>>().try_into().expect("three parts")
    }

    fn outcome(text: &str, now: SystemTime) -> Result<Claims, TokenError> {
        Token::read(text)?.verify(&key().1, now)
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_ends() {
        let signed = sign(&key().0, "k1", &claims()).expect("signed");
        let token = Token::read(signed.reveal()).expect("a token");
        assert_eq!(token.key_id(), "k1");
        assert_eq!(token.verify(&key().1, now()), Ok(claims()));
        let later = claims().expires;
        assert_eq!(token.verify(&key().1, later), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_that_was_changed_or_is_signed_in_another_way_does_not_hold() {
        let signed = sign(&key().0, "k1", &claims()).expect("signed");
        let [header, body, signature] = parts(signed.reveal());
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let admin = encode(json!({ "sub": "root", "groups": ["system:masters"] }));
        assert_eq!(outcome(&format!("{header}.{admin}.{signature}"), now()), Err(TokenError::Unknown));
        for other in [
            json!({ "alg": "none", "kid": "k1" }),
            json!({ "alg": "HS256", "kid": "k1" }),
            json!({ "alg": "RS256" }),
            json!({ "alg": "RS256", "kid": "k1", "crit": ["x"] }),
            json!(["RS256"]),
        ] {
            let text = format!("{}.{body}.{signature}", encode(other));
            assert_eq!(outcome(&text, now()), Err(TokenError::Malformed), "{text}");
        }
        assert_eq!(outcome(&format!("{header}.{body}."), now()), Err(TokenError::Unknown));
        assert_eq!(outcome(&format!("{header}.{body}"), now()), Err(TokenError::Malformed));
    }

    #[test]
    fn a_token_without_groups_or_cluster_is_none() {
        for (key, value) in
            [("groups", json!([])), ("groups", json!([1])), ("cluster", json!("")), ("exp", json!("never"))]
        {
            let mut body = json!({
                "iss": "i", "sub": "s", "groups": ["g"], "cluster": "c", "cluster_uuid": "u",
                "iat": 1, "exp": 2,
            });
            assert!(super::claims(&body).is_ok());
            body[key] = value;
            assert_eq!(super::claims(&body), Err(TokenError::Malformed), "{key}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic() {
        let key = &key().1;
        bolero::check!().for_each(|input: &[u8]| {
            if let Ok(token) = Token::read(&String::from_utf8_lossy(input)) {
                let _ = token.verify(key, now());
            }
        });
    }
}
