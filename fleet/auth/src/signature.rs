//! Signed calls: reading what clients send, and comparing what was signed with what was called.
//!
//! ```text
//! gRPC   x-sidero-timestamp   unix seconds
//!        x-sidero-payload     {"headers":{"x-sidero-timestamp":["1700000000"],…},"method":"/pkg.Service/Method"}
//!        x-sidero-signature   siderov1 IDENTITY FINGERPRINT BASE64      over the payload, byte for byte
//!
//! HTTP   x-sidero-timestamp   unix seconds
//!        x-sidero-signature   the same                                  over METHOD\nURI\nTIMESTAMP\nSHA256(BODY)
//!
//! read ─▶ fingerprint ─▶ (PublicKey of the store) ─▶ Key ─▶ verify ─▶ Verified
//! ```
//!
//! The signature is checked over the payload as it came; only then is the payload read. The message of a gRPC call is
//! not signed, so this proves who calls and when, and not what they say; TLS protects that. Who calls is whom the key
//! belongs to: the identity in the header is what the client calls itself, for a service account perhaps its bare name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::key::{Key, KeyError, Nonce};
use crate::shown;

/// Header with the time of the call.
pub const TIMESTAMP: &str = "x-sidero-timestamp";
/// Header with what is signed.
pub const PAYLOAD: &str = "x-sidero-payload";
/// Header with who signs, and the signature.
pub const SIGNATURE: &str = "x-sidero-signature";
/// How far the time of a call may be from now, in both directions.
pub const WINDOW: Duration = Duration::from_secs(5 * 60);

/// First word of the signature.
const VERSION: &str = "siderov1";
/// Longest time, bytes.
const TIMESTAMP_MAX: usize = 20;
/// Longest payload, bytes.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Longest signature with what stands before it, bytes.
const SIGNATURE_MAX: usize = 8 * 1024;

/// Headers that every client signs when it sends them. One that comes and was not signed has been added on the way.
pub const SIGNED_HEADERS: [&str; 10] = [
    TIMESTAMP,
    "nodes",
    "selectors",
    "fieldselectors",
    "runtime",
    "context",
    "cluster",
    "namespace",
    "uid",
    "authorization",
];

/// The headers of a call: all values of the one with this name, which is in lower case.
pub type Headers<'a> = &'a dyn Fn(&str) -> Vec<String>;

/// Why a call is not what its signature says. Clients are told that the signature is invalid and no more.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// A header is missing, or is there several times.
    #[error("the signed call has {count} headers {header}, and must have one")]
    Count {
        /// Its name.
        header: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A header is too long.
    #[error("header {header} is longer than {most} bytes")]
    TooLong {
        /// Its name.
        header: &'static str,
        /// What is read at most.
        most: usize,
    },
    /// The signature has another form.
    #[error("header {} must be `siderov1 IDENTITY FINGERPRINT BASE64`; update the client", SIGNATURE)]
    Form,
    /// The time is no number.
    #[error("header {} must be a number of seconds since 1970", TIMESTAMP)]
    Timestamp,
    /// The time is too far from now.
    #[error("the call is of {signed} seconds since 1970, and now it is {now}; set the clocks of both sides")]
    Window {
        /// Time of the call.
        signed: u64,
        /// Time here.
        now: u64,
    },
    /// The payload is no JSON of headers and a method.
    #[error("header {} must be JSON with `headers` and `method`", PAYLOAD)]
    Payload,
    /// Another method was signed.
    #[error("method {called:?} is called, and {signed:?} was signed")]
    Method {
        /// What is called.
        called: String,
        /// What was signed.
        signed: String,
    },
    /// A header is not as it was signed.
    #[error("header {0:?} is not as it was signed")]
    Header(String),
    /// The key is not the one that the call names.
    #[error("the call names another key than the one that it is compared with")]
    OtherKey,
    /// The key or the signature is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A call that somebody with a key has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What the client calls itself; not to be believed, see the owner of the key.
    pub identity: String,
    /// Id of the key.
    pub fingerprint: String,
    /// What tells this call from all others of the key.
    pub nonce: Nonce,
    /// When it was signed, by the clock of the client: seconds since 1970.
    pub at: u64,
}

/// Header [`SIGNATURE`], taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    identity: String,
    fingerprint: String,
    bytes: Vec<u8>,
}

/// What a gRPC call signs.
#[derive(Deserialize)]
struct Payload {
    /// Values by the name of the header; one that was not there has none.
    headers: Option<BTreeMap<String, Option<Vec<String>>>>,
    method: String,
}

/// A gRPC call that claims to be signed.
#[derive(Clone, Debug)]
pub struct SignedCall {
    timestamp: u64,
    payload: String,
    signature: Signature,
}

/// An HTTP request that claims to be signed.
#[derive(Clone, Debug)]
pub struct SignedHttp {
    timestamp: u64,
    signature: Signature,
}

/// An HTTP request as it came.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// Method, upper case.
    pub method: &'a str,
    /// Path and query, as in the first line of the request.
    pub uri: &'a str,
    /// The whole body.
    pub body: &'a [u8],
}

impl SignedCall {
    /// Reads the headers of a gRPC call; `None` for one without a signature.
    ///
    /// # Errors
    /// When there is a signature, and it or what it needs is missing, malformed or too long.
    pub fn read(headers: Headers<'_>) -> Result<Option<Self>, SignatureError> {
        let Some(signature) = Signature::read(headers)? else { return Ok(None) };
        let timestamp = timestamp(headers)?;
        let payload = required(headers, PAYLOAD, PAYLOAD_MAX)?;
        Ok(Some(Self { timestamp, payload, signature }))
    }

    /// Id of the key that it names, by which the key is looked up.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.signature.fingerprint
    }

    /// Whether this is what was signed with `key`: now, this method (as `/pkg.Service/Method`) and these headers.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(
        &self,
        method: &str,
        headers: Headers<'_>,
        key: &Key,
        now: SystemTime,
    ) -> Result<Verified, SignatureError> {
        let verified = self.signature.verify(self.payload.as_bytes(), self.timestamp, key, now)?;
        let payload: Payload = serde_json::from_str(&self.payload).map_err(|_| SignatureError::Payload)?;
        if payload.method != method {
            let (called, signed) = (shown(method), shown(&payload.method));
            return Err(SignatureError::Method { called, signed });
        }
        compare(payload.headers.unwrap_or_default(), headers)?;
        Ok(verified)
    }
}

impl SignedHttp {
    /// Reads the headers of an HTTP request; `None` for one without a signature.
    ///
    /// # Errors
    /// When there is a signature, and it or the time is missing, malformed or too long.
    pub fn read(headers: Headers<'_>) -> Result<Option<Self>, SignatureError> {
        let Some(signature) = Signature::read(headers)? else { return Ok(None) };
        Ok(Some(Self { timestamp: timestamp(headers)?, signature }))
    }

    /// Id of the key that it names, by which the key is looked up.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.signature.fingerprint
    }

    /// Whether this request was signed with `key`, now.
    ///
    /// # Errors
    /// When it was not.
    pub fn verify(
        &self,
        request: &HttpRequest<'_>,
        key: &Key,
        now: SystemTime,
    ) -> Result<Verified, SignatureError> {
        let HttpRequest { method, uri, body } = request;
        let hash = hex::encode(digest(&SHA256, body));
        let signed = format!("{method}\n{uri}\n{}\n{hash}", self.timestamp);
        self.signature.verify(signed.as_bytes(), self.timestamp, key, now)
    }
}

impl Signature {
    /// The signature in the headers, if there is one.
    fn read(headers: Headers<'_>) -> Result<Option<Self>, SignatureError> {
        let Some(text) = optional(headers, SIGNATURE, SIGNATURE_MAX)? else { return Ok(None) };
        Self::parse(&text).map(Some).ok_or(SignatureError::Form)
    }

    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [VERSION, identity, fingerprint, signature] = words.as_slice() else { return None };
        let bytes = STANDARD.decode(signature).ok()?;
        let is_named = !identity.is_empty() && !fingerprint.is_empty() && !bytes.is_empty();
        is_named.then(|| Self {
            identity: (*identity).to_owned(),
            fingerprint: (*fingerprint).to_owned(),
            bytes,
        })
    }

    /// Whether these bytes were signed with this key, at a time that is about now.
    fn verify(
        &self,
        signed: &[u8],
        timestamp: u64,
        key: &Key,
        now: SystemTime,
    ) -> Result<Verified, SignatureError> {
        let now_seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if now_seconds.abs_diff(timestamp) > WINDOW.as_secs() {
            return Err(SignatureError::Window { signed: timestamp, now: now_seconds });
        }
        if key.id() != self.fingerprint {
            return Err(SignatureError::OtherKey);
        }
        let nonce = key.verify(signed, &self.bytes, now)?;
        let (identity, fingerprint) = (self.identity.clone(), self.fingerprint.clone());
        Ok(Verified { identity, fingerprint, nonce, at: timestamp })
    }
}

/// Whether the headers are as they were signed: all that were signed, and those that are always signed.
fn compare(
    signed: BTreeMap<String, Option<Vec<String>>>,
    headers: Headers<'_>,
) -> Result<(), SignatureError> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, signed) in signed {
        let name = name.to_ascii_lowercase();
        if values.insert(name.clone(), signed.unwrap_or_default()).is_some() {
            return Err(SignatureError::Header(shown(&name)));
        }
    }
    let names: BTreeSet<&str> = values.keys().map(String::as_str).chain(SIGNED_HEADERS).collect();
    for name in names {
        let signed = values.get(name).map(Vec::as_slice).unwrap_or_default();
        if headers(name) != signed {
            return Err(SignatureError::Header(shown(name)));
        }
    }
    Ok(())
}

fn timestamp(headers: Headers<'_>) -> Result<u64, SignatureError> {
    let text = required(headers, TIMESTAMP, TIMESTAMP_MAX)?;
    text.parse().map_err(|_| SignatureError::Timestamp)
}

/// The one value of a header.
fn required(headers: Headers<'_>, header: &'static str, most: usize) -> Result<String, SignatureError> {
    optional(headers, header, most)?.ok_or(SignatureError::Count { header, count: 0 })
}

/// The one value of a header, if it is there and not empty.
fn optional(
    headers: Headers<'_>,
    header: &'static str,
    most: usize,
) -> Result<Option<String>, SignatureError> {
    let mut values = headers(header);
    if values.len() > 1 {
        return Err(SignatureError::Count { header, count: values.len() });
    }
    match values.pop() {
        Some(value) if value.len() > most => Err(SignatureError::TooLong { header, most }),
        value => Ok(value.filter(|value| !value.is_empty())),
    }
}

#[cfg(test)]
mod tests;
