//! The keys that verify tokens for Kubernetes: each token for a tool has its own, whose private half nobody keeps.
//!
//! ```text
//! new token ─▶ RSA key ─▶ public half: JwtPublicKey, until the token ends
//!                      └▶ private half signs once and is gone
//! JwtPublicKey ─▶ verify ─▶ Visitor;  /oidc/keys (RFC 7517);  removed when its time is over
//! ```
//!
//! Removing a `JwtPublicKey` revokes its token, and ends what is under way with it.

use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use corten_base::{Clock, Lane, Rng, Secret};
use corten_fleet_api::http::Page;
use corten_fleet_resources::auth::JwtPublicKey;
use corten_fleet_resources::cluster::ClusterUuid;
use corten_fleet_resources::labels::annotation;
use corten_pki::{PkiError, PrivateKey};
use corten_resource::{AnyResource, Resource, State, StateError, Store as _};
use serde_json::{Value, json};
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{Decode as _, Reader as _, SliceReader};

use crate::token::{self, Claims, Token, TokenError};

/// Between two looks for keys whose time is over.
const PRUNE_INTERVAL: Duration = Duration::from_secs(3600);
/// Keys that are made at a time; each takes a processor for a moment.
const MADE_AT_ONCE: usize = 2;
/// How long a key may take, the wait for others included.
const MAKE_LIMIT: Duration = Duration::from_secs(60);
/// Where the public halves are read (fleet.md 2.3).
const PATH: &str = "/oidc/keys";

/// A token that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// There is no time for its key.
    #[error("no key for the token could be made; try again")]
    Busy(#[source] corten_base::blocking::BlockingError),
    /// The cryptographic library refuses.
    #[error("the token cannot be signed")]
    Sign(#[source] PkiError),
    /// The public half cannot be kept.
    #[error("the key of the token cannot be stored")]
    Store(#[source] StateError),
}

/// Who has shown a token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// What the token says.
    pub(crate) claims: Claims,
    /// Id of its key.
    pub(crate) key_id: String,
}

/// Makes and verifies tokens for Kubernetes. Clones are the same.
#[derive(Clone, Debug)]
pub struct JwtKeys {
    state: State,
    clock: Clock,
    lane: Lane,
}

impl JwtKeys {
    /// The keys of a store; `clock` judges tokens.
    #[must_use]
    pub fn new(state: State, clock: Clock) -> Self {
        Self { state, clock, lane: Lane::new(MADE_AT_ONCE) }
    }

    /// Makes a token; its key is kept before it is given away.
    ///
    /// # Errors
    /// When no key can be made or kept.
    pub(crate) async fn issue(
        &self,
        claims: &Claims,
        rng: &Rng,
    ) -> Result<(Secret<String>, AnyResource), IssueError> {
        let made = self.lane.run(MAKE_LIMIT, new_key).await.map_err(IssueError::Busy)?;
        let (key, public_key) = made.map_err(IssueError::Sign)?;
        let key_id = rng.uuid();
        let token = token::sign(&key, &key_id, claims).map_err(IssueError::Sign)?;
        let spec = JwtPublicKey { public_key, expiration: Some(claims.expires) };
        let mut resource = Resource::new(&key_id, spec);
        let note = format!("token of {} for the Kubernetes of cluster {}", claims.subject, claims.cluster);
        resource.metadata.annotations.insert(annotation::DESCRIPTION.to_owned(), note);
        let created = self.state.store().create(resource.into(), "").await.map_err(IssueError::Store)?;
        Ok((token, created))
    }

    /// Who shows a token.
    ///
    /// # Errors
    /// When it does not hold.
    pub(crate) fn verify(&self, text: &str) -> Result<Visitor, TokenError> {
        let token = Token::read(text)?;
        let key = self.key(token.key_id())?;
        let claims = token.verify(&key, self.clock.now())?;
        let visitor = Visitor { claims, key_id: token.key_id().to_owned() };
        self.check(&visitor)?;
        Ok(visitor)
    }

    /// Whether the token of somebody still holds.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn check(&self, visitor: &Visitor) -> Result<(), TokenError> {
        self.key(&visitor.key_id)?;
        if visitor.claims.expires <= self.clock.now() {
            return Err(TokenError::Expired);
        }
        let uuid = self.state.get::<ClusterUuid>(&visitor.claims.cluster);
        if uuid.is_some_and(|cluster| cluster.uuid == visitor.claims.cluster_uuid) {
            Ok(())
        } else {
            Err(TokenError::OtherCluster)
        }
    }

    /// Removes keys whose time is over, for ever.
    pub async fn prune(&self) {
        loop {
            self.prune_once();
            tokio::time::sleep(PRUNE_INTERVAL).await;
        }
    }

    fn prune_once(&self) {
        let now = self.clock.now();
        let all = self.state.list::<JwtPublicKey>();
        for key in all.iter().filter(|key| is_over(key, now)) {
            if let Err(error) = self.state.remove::<JwtPublicKey>(&key.metadata.owner, key.id()) {
                tracing::warn!(key = key.id(), error = corten_base::chain(&error), "an old key stays");
            }
        }
    }

    /// The public half of a key that works.
    fn key(&self, id: &str) -> Result<Vec<u8>, TokenError> {
        let key = self.state.get::<JwtPublicKey>(id).ok_or(TokenError::Unknown)?;
        if key.metadata.is_tearing_down() {
            return Err(TokenError::Unknown);
        }
        if is_over(&key, self.clock.now()) { Err(TokenError::Expired) } else { Ok(key.spec.public_key) }
    }
}

impl Page for JwtKeys {
    fn path(&self) -> &'static str {
        PATH
    }

    fn json(&self) -> String {
        let all = self.state.list::<JwtPublicKey>();
        let keys: Vec<Value> = all.iter().filter_map(|key| public_form(key.id(), &key.public_key)).collect();
        json!({ "keys": keys }).to_string()
    }
}

fn is_over(key: &JwtPublicKey, now: SystemTime) -> bool {
    key.expiration.is_some_and(|end| end <= now)
}

/// A new key with its public half, PKCS #1 in DER.
fn new_key() -> Result<(PrivateKey, Vec<u8>), PkiError> {
    let key = PrivateKey::rsa_2048()?;
    let refused = |error: aws_lc_rs::error::KeyRejected| PkiError::UnsupportedKey(error.to_string());
    let pair = RsaKeyPair::from_pkcs8(key.pkcs8_der().reveal()).map_err(refused)?;
    let public = pair.public_key().as_ref().to_vec();
    Ok((key, public))
}

/// A key as JSON (RFC 7517); nothing for bytes that are none.
fn public_form(id: &str, pkcs1: &[u8]) -> Option<Value> {
    let mut reader = SliceReader::new(pkcs1).ok()?;
    let numbers = reader.sequence(|fields| {
        let modulus = UintRef::decode(fields)?;
        let exponent = UintRef::decode(fields)?;
        Ok([modulus, exponent].map(|number| URL_SAFE_NO_PAD.encode(number.as_bytes())))
    });
    let [modulus, exponent] = numbers.ok()?;
    Some(json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "n": modulus, "e": exponent }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CLUSTER, claims, key, now, store};

    fn keys() -> JwtKeys {
        let state = store();
        let clock = state.store().clock().clone();
        JwtKeys::new(state, clock)
    }

    #[tokio::test]
    async fn a_token_holds_until_its_key_goes() {
        let keys = keys();
        let (token, created) = keys.issue(&claims(), &Rng::seeded(1)).await.expect("issued");
        let visitor = keys.verify(token.reveal()).expect("it holds");
        assert_eq!((visitor.claims.clone(), visitor.key_id.as_str()), (claims(), created.id()));
        keys.state.remove::<JwtPublicKey>("", created.id()).expect("revoked");
        assert_eq!(keys.verify(token.reveal()), Err(TokenError::Unknown));
        assert_eq!(keys.check(&visitor), Err(TokenError::Unknown));
    }

    #[tokio::test]
    async fn a_token_ends_with_its_time_and_with_its_cluster() {
        let keys = keys();
        let (token, _) = keys.issue(&claims(), &Rng::seeded(1)).await.expect("issued");
        let visitor = keys.verify(token.reveal()).expect("it holds");
        keys.state.put("", CLUSTER, ClusterUuid { uuid: "another".to_owned() }).expect("made anew");
        assert_eq!(keys.verify(token.reveal()), Err(TokenError::OtherCluster));
        keys.clock.advance(claims().expires.duration_since(now()).expect("later"));
        assert_eq!(keys.check(&visitor), Err(TokenError::Expired));
        keys.prune_once();
        assert!(keys.state.list::<JwtPublicKey>().is_empty());
    }

    #[test]
    fn the_page_has_the_numbers_of_each_key() {
        let keys = keys();
        let public_key = key().1.clone();
        keys.state.put("", "k1", JwtPublicKey { public_key, expiration: None }).expect("stored");
        keys.state.put("", "k2", JwtPublicKey { public_key: vec![1], expiration: None }).expect("stored");
        let page: Value = serde_json::from_str(&keys.json()).expect("JSON");
        let found = page["keys"].as_array().expect("keys");
        assert_eq!(found.len(), 1, "what is no key is left out");
        assert_eq!((&found[0]["kid"], &found[0]["e"]), (&json!("k1"), &json!("AQAB")));
        let modulus = URL_SAFE_NO_PAD.decode(found[0]["n"].as_str().expect("a number")).expect("base64");
        assert_eq!(modulus.len(), 256);
    }

    #[test]
    fn no_bytes_make_the_reader_of_keys_panic() {
        bolero::check!().for_each(|input: &[u8]| drop(public_form("k", input)));
    }
}
