//! PGP keys. The library reads packets and checks the mathematics; whether a key is one that may sign calls, when it
//! ends, and what a signature is over are decided here.
//!
//! ```text
//! armored text ─▶ packets ─▶ one public key ─▶ Ed25519, not revoked, every binding verifies
//!                                              ├─▶ the one user id ─▶ e-mail address
//!                                              └─▶ newest self-signature ─▶ begin and end
//! ```
//!
//! The text is unwrapped into memory before packets are read from it, because the library's reader must not be asked
//! again after it has failed.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use pgp::armor::{BlockType, Dearmor};
use pgp::composed::{ArmorOptions, Deserializable as _, DetachedSignature, PublicOrSecret, SignedPublicKey};
use pgp::packet::{Signature, SignatureType, SignatureVersion};
use pgp::types::{EddsaLegacyPublicParams, KeyDetails as _, KeyVersion, PublicParams, SignatureBytes};

use super::{KEY_BYTES_MAX, KeyError, NONCE_BYTES, Nonce, SKEW, Validity};
use crate::identity::Email;

/// A public key that may sign calls.
#[derive(Clone, Debug)]
pub struct PgpKey {
    key: SignedPublicKey,
    id: String,
    email: Email,
    validity: Validity,
}

impl PgpKey {
    /// Reads an armored public key: Ed25519 in the form of 2015 (version 4, EdDSA) or that of RFC 9580, with one
    /// identity, an end, and without revocations.
    ///
    /// # Errors
    /// When it is something else.
    pub fn read(armored: &[u8]) -> Result<Self, KeyError> {
        Self::from_packets(&dearmor(armored)?)
    }

    fn from_packets(packets: &[u8]) -> Result<Self, KeyError> {
        let mut keys = PublicOrSecret::from_bytes_many(packets).map_err(unreadable)?;
        let key = match keys.next().ok_or(KeyError::Absent)?.map_err(unreadable)? {
            PublicOrSecret::Public(key) => key,
            PublicOrSecret::Secret(_) => return Err(KeyError::Private),
        };
        if keys.next().is_some() { Err(KeyError::Several) } else { Self::check(key) }
    }

    /// What all holds for a key that may sign calls.
    pub(super) fn check(key: SignedPublicKey) -> Result<Self, KeyError> {
        if !is_ed25519(&key) {
            return Err(KeyError::Algorithm);
        }
        if is_revoked(&key) {
            return Err(KeyError::Revoked);
        }
        let [user] = key.details.users.as_slice() else {
            return Err(KeyError::Identities(key.details.users.len()));
        };
        key.verify_bindings().map_err(unreadable)?;
        let email = Email::of_user_id(&String::from_utf8_lossy(user.id.id()))?;
        let self_signatures =
            if key.version() == KeyVersion::V6 { &key.details.direct_signatures } else { &user.signatures };
        let validity = validity(&key, self_signatures)?;
        let id = hex::encode(key.fingerprint().as_bytes());
        Ok(Self { key, id, email, validity })
    }

    /// The same key, ending at this time if that is earlier than its own end.
    #[must_use]
    pub fn until(mut self, end: Option<SystemTime>) -> Self {
        self.validity.end = end.map_or(self.validity.end, |end| end.min(self.validity.end));
        self
    }

    /// Its fingerprint, lower-case hexadecimal.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The identity that it names.
    #[must_use]
    pub const fn email(&self) -> &Email {
        &self.email
    }

    /// The key as it is stored: armored, and nothing but what was checked.
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn armored(&self) -> Result<String, KeyError> {
        self.key.to_armored_string(ArmorOptions::default()).map_err(unreadable)
    }

    pub(super) const fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether these bytes were signed with the primary key, by a signature over documents that is valid now. One of
    /// another purpose may cover one byte only, and fit what its signer never saw.
    pub(super) fn verify(&self, bytes: &[u8], signature: &[u8], now: SystemTime) -> Option<Nonce> {
        let detached = DetachedSignature::from_bytes(signature).ok()?;
        let config = detached.signature.config()?;
        let is_over_document = matches!(config.typ(), SignatureType::Binary | SignatureType::Text);
        let is_current = matches!(config.version(), SignatureVersion::V4 | SignatureVersion::V6);
        if !is_over_document || !is_current || !is_timely(&detached.signature, now) {
            return None;
        }
        detached.verify(&self.key.primary_key, bytes).ok()?;
        match detached.signature.signature()? {
            SignatureBytes::Mpis(numbers) => Nonce::of(numbers.first()?.as_ref()),
            SignatureBytes::Native(bytes) => Nonce::of(bytes.get(..NONCE_BYTES)?),
        }
    }
}

/// The packets in an armored text.
pub(super) fn dearmor(armored: &[u8]) -> Result<Vec<u8>, KeyError> {
    if armored.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    let mut reader = Dearmor::new(armored);
    let mut packets = Vec::new();
    let read = reader.read_to_end(&mut packets);
    read.map_err(|error| unreadable(pgp::errors::Error::from(error)))?;
    match reader.typ {
        Some(BlockType::PublicKey | BlockType::PrivateKey | BlockType::File) => Ok(packets),
        _ => Err(KeyError::Absent),
    }
}

pub(super) fn unreadable(error: pgp::errors::Error) -> KeyError {
    KeyError::Unreadable(Box::new(error))
}

fn is_ed25519(key: &SignedPublicKey) -> bool {
    let is_ed25519 = match key.public_params() {
        PublicParams::EdDSALegacy(params) => matches!(params, EddsaLegacyPublicParams::Ed25519 { .. }),
        PublicParams::Ed25519(_) => true,
        _ => false,
    };
    is_ed25519 && matches!(key.version(), KeyVersion::V4 | KeyVersion::V6)
}

/// Whether anything is revoked. Who is to use a key does not bring a revocation along, whoever made it.
fn is_revoked(key: &SignedPublicKey) -> bool {
    let details = &key.details;
    let of_users = details.users.iter().flat_map(|user| &user.signatures);
    let is_revocation = |signature: &Signature| signature.typ() == Some(SignatureType::CertRevocation);
    let mut others = details.direct_signatures.iter().chain(of_users);
    !details.revocation_signatures.is_empty() || others.any(is_revocation)
}

/// From when to when the newest self-signature says that the key is valid; its own end counts as well.
fn validity(key: &SignedPublicKey, self_signatures: &[Signature]) -> Result<Validity, KeyError> {
    let newest = self_signatures.iter().max_by_key(|signature| signature.created());
    let newest = newest.ok_or(KeyError::NoLifetime)?;
    let begin = SystemTime::from(key.created_at());
    let lifetime = lifetime(newest.key_expiration_time()).ok_or(KeyError::NoLifetime)?;
    let end = begin + lifetime;
    Ok(Validity { begin, end: signature_end(newest).map_or(end, |other| other.min(end)) })
}

/// When a signature ends to count; `None` for never.
fn signature_end(signature: &Signature) -> Option<SystemTime> {
    let lifetime = lifetime(signature.signature_expiration_time())?;
    Some(SystemTime::from(signature.created()?) + lifetime)
}

/// A time span; zero stands for none.
fn lifetime(lifetime: Option<pgp::types::Duration>) -> Option<Duration> {
    lifetime.map(Duration::from).filter(|lifetime| !lifetime.is_zero())
}

/// Whether a signature was made before now, give or take what clocks differ, and has not ended.
fn is_timely(signature: &Signature, now: SystemTime) -> bool {
    let is_made = signature.created().is_some_and(|created| SystemTime::from(created) <= now + SKEW);
    is_made && signature_end(signature).is_none_or(|end| end > now)
}

#[cfg(test)]
mod tests;
