//! Keys that sign calls: what may be registered, and what a signature with one is worth.
//!
//! ```text
//! registration   PGP key | PEM and times ─▶ Key ─▶ check_registration ─▶ PublicKey of the store
//! call           PublicKey of the store ─▶ Key::of ─▶ verify(bytes, signature, now) ─▶ Nonce
//! first start    ServiceAccountKey::generate ─▶ key string for a file, public half for the store
//! ```

mod account;
mod openpgp;
mod plain;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_fleet_resources::auth::{PublicKey, PublicKeyKind};

use crate::identity::{Email, IdentityError};

pub use account::ServiceAccountKey;
pub use openpgp::PgpKey;
pub use plain::PlainKey;

/// How far the clock of a client may be from ours: a key or a signature may be made so long after now.
pub const SKEW: Duration = Duration::from_secs(5 * 60);
/// What is added to the longest lifetime of a key, since clients round and are not quite on time.
const LIFETIME_SKEW: Duration = Duration::from_secs(60);
/// Longest public or private key that is read, bytes.
const KEY_BYTES_MAX: usize = 32 * 1024;
/// Longest signature that is looked at, bytes.
const SIGNATURE_BYTES_MAX: usize = 4096;
/// Bytes of a nonce.
const NONCE_BYTES: usize = 32;

/// Whose a key is, which says how long it may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A person, who logs in again for the next one.
    Person,
    /// A program.
    ServiceAccount,
}

impl Holder {
    /// Longest time between the registration of a key and its end, apart from a minute.
    #[must_use]
    pub const fn lifetime_max(self) -> Duration {
        match self {
            Self::Person => Duration::from_secs(8 * 60 * 60),
            Self::ServiceAccount => Duration::from_secs(365 * 24 * 60 * 60),
        }
    }
}

/// Why a key is refused, or a signature with it. No message contains any of a private key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is too long.
    #[error("the key is longer than 32 KiB; register a key with one identity and nothing else")]
    TooLong,
    /// It is no PGP key.
    #[error("this is no armored PGP key that can be read")]
    Unreadable(#[source] Box<pgp::errors::Error>),
    /// It is no key.
    #[error("there is no PGP key in it; register an armored one")]
    Absent,
    /// It is not one key.
    #[error("there are several keys in it; register them one by one")]
    Several,
    /// It is the private half.
    #[error("this is a private key; register its public half, and make another one if others have seen it")]
    Private,
    /// It signs in another way.
    #[error("keys of this kind are not taken: make one of Ed25519, or of ECDSA on the curve P-256")]
    Algorithm,
    /// It was withdrawn, or an identity of it was.
    #[error("the key is revoked; make another one")]
    Revoked,
    /// It names no one, or several.
    #[error("the key names {0} identities, and must name one")]
    Identities(usize),
    /// Its identity is no e-mail address.
    #[error("the identity of the key is refused")]
    Identity(#[from] IdentityError),
    /// It never ends.
    #[error("the key has no end; make one that lives for a limited time")]
    NoLifetime,
    /// It ends too late.
    #[error("the key lives too long: its end may be at most {} hours from now", .0.as_secs() / 3600)]
    Lifetime(Duration),
    /// It is not valid yet.
    #[error("the key is not valid yet; check the clocks of both sides")]
    NotYet,
    /// It has ended.
    #[error("the key has expired; log in again, or renew the key of the service account")]
    Expired,
    /// Its owner did not say that it is theirs.
    #[error("the key is not confirmed; finish the log-in in the browser")]
    Unconfirmed,
    /// It is no PEM of a public key on P-256.
    #[error("this is no PEM with a public key of ECDSA on the curve P-256")]
    Plain,
    /// It is no key string of a service account.
    #[error("this is no key of a service account: it is the base64 of JSON with `name` and `pgp_key`")]
    Account,
    /// The private key could not be used.
    #[error("the private key cannot be used; it must be one of Ed25519 without a passphrase")]
    Unusable,
    /// It was not signed with this key, or is not what was signed.
    #[error("the signature does not fit the key and what was signed")]
    Signature,
}

/// The part of a signature that only its signer can choose and that no two signatures share, even where the rest can be
/// written in several ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce([u8; NONCE_BYTES]);

impl Nonce {
    /// The nonce in these bytes, which may lack leading zeros.
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut nonce = [0; NONCE_BYTES];
        let start = NONCE_BYTES.checked_sub(bytes.len())?;
        nonce.get_mut(start..)?.copy_from_slice(bytes);
        Some(Self(nonce))
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; NONCE_BYTES] {
        &self.0
    }
}

/// A public key of any kind.
#[derive(Clone, Debug)]
pub enum Key {
    /// PGP.
    Pgp(Box<PgpKey>),
    /// ECDSA on P-256.
    Plain(PlainKey),
}

impl Key {
    /// The key of a stored resource, if its owner has confirmed it. Whether it has ended is checked with each call.
    ///
    /// # Errors
    /// When it is not confirmed, or not what its kind says.
    pub fn of(stored: &PublicKey) -> Result<Self, KeyError> {
        if !stored.confirmed {
            return Err(KeyError::Unconfirmed);
        }
        match stored.kind {
            PublicKeyKind::Unknown | PublicKeyKind::Pgp => {
                let key = PgpKey::read(&stored.public_key)?;
                Ok(Self::Pgp(Box::new(key.until(stored.expiration))))
            }
            PublicKeyKind::Plain => {
                let end = stored.expiration.ok_or(KeyError::NoLifetime)?;
                Ok(Self::Plain(PlainKey::read(&stored.public_key, UNIX_EPOCH, end)?))
            }
        }
    }

    /// Its id, by which calls name it: the fingerprint of a PGP key in lower-case hexadecimal, or the SHA-256 of the
    /// point of a plain one in base64 for URLs with padding.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Pgp(key) => key.id(),
            Self::Plain(key) => key.id(),
        }
    }

    /// The identity that it names; a plain one names none.
    #[must_use]
    pub fn email(&self) -> Option<&Email> {
        match self {
            Self::Pgp(key) => Some(key.email()),
            Self::Plain(_) => None,
        }
    }

    /// When it ends.
    #[must_use]
    pub fn expiration(&self) -> SystemTime {
        self.validity().end
    }

    /// Whether it may be registered now: it is valid, and does not live longer than a key of its holder may.
    ///
    /// # Errors
    /// When it may not.
    pub fn check_registration(&self, holder: Holder, now: SystemTime) -> Result<(), KeyError> {
        self.validity().check(now)?;
        let most = holder.lifetime_max();
        if self.validity().end > now + most + LIFETIME_SKEW { Err(KeyError::Lifetime(most)) } else { Ok(()) }
    }

    /// Whether these bytes were signed with this key, and the key is valid now.
    ///
    /// # Errors
    /// When it is not valid, or the signature does not fit.
    pub fn verify(&self, bytes: &[u8], signature: &[u8], now: SystemTime) -> Result<Nonce, KeyError> {
        self.validity().check(now)?;
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Err(KeyError::Signature);
        }
        let nonce = match self {
            Self::Pgp(key) => key.verify(bytes, signature, now),
            Self::Plain(key) => key.verify(bytes, signature),
        };
        nonce.ok_or(KeyError::Signature)
    }

    fn validity(&self) -> Validity {
        match self {
            Self::Pgp(key) => key.validity(),
            Self::Plain(key) => key.validity(),
        }
    }
}

/// When a key is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Validity {
    begin: SystemTime,
    end: SystemTime,
}

impl Validity {
    fn check(self, now: SystemTime) -> Result<(), KeyError> {
        if self.begin > now + SKEW {
            Err(KeyError::NotYet)
        } else if self.end <= now {
            Err(KeyError::Expired)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_base::Rng;
    use corten_fleet_resources::auth::KeyIdentity;

    use super::*;
    use crate::identity::ServiceAccount;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn account_key(lifetime: Duration) -> ServiceAccountKey {
        let account = ServiceAccount::Plain("ci".to_owned());
        ServiceAccountKey::generate(&account, lifetime, &Rng::seeded(1), now()).expect("a key")
    }

    fn stored(key: &PgpKey, expiration: SystemTime) -> PublicKey {
        PublicKey {
            public_key: key.armored().expect("armored").into_bytes(),
            expiration: Some(expiration),
            confirmed: true,
            identity: Some(KeyIdentity { email: key.email().to_string() }),
            kind: PublicKeyKind::Pgp,
            ..PublicKey::default()
        }
    }

    #[test]
    fn a_lifetime_may_exceed_the_longest_one_by_a_minute() {
        let minute = Duration::from_secs(60);
        for (holder, longest) in [(Holder::Person, HOUR * 8), (Holder::ServiceAccount, HOUR * (365 * 24))] {
            let key = |lifetime| Key::Pgp(Box::new(account_key(lifetime).public().expect("public")));
            assert!(key(longest + minute).check_registration(holder, now()).is_ok());
            let refused = key(longest + minute * 2).check_registration(holder, now());
            assert!(matches!(refused, Err(KeyError::Lifetime(most)) if most == longest));
        }
        let text = KeyError::Lifetime(Holder::Person.lifetime_max()).to_string();
        assert!(text.contains("8 hours"), "{text}");
    }

    #[test]
    fn a_key_works_from_five_minutes_before_it_was_made_until_the_earlier_of_its_ends() {
        let account = account_key(HOUR * 2);
        let signature = account.sign(b"call", &Rng::seeded(2), now()).expect("signed");
        let key = Key::of(&stored(&account.public().expect("public"), now() + HOUR)).expect("stored");
        assert_eq!(key.expiration(), now() + HOUR);
        assert!(key.verify(b"call", &signature, now()).is_ok());
        assert!(key.verify(b"call", &signature, now() - SKEW).is_ok());
        let early = key.verify(b"call", &signature, now() - SKEW - HOUR);
        assert!(matches!(early, Err(KeyError::NotYet)));
        assert!(matches!(key.verify(b"call", &signature, now() + HOUR), Err(KeyError::Expired)));
    }

    #[test]
    fn only_a_confirmed_key_signs() {
        let public = account_key(HOUR).public().expect("public");
        let unconfirmed = PublicKey { confirmed: false, ..stored(&public, now() + HOUR) };
        assert!(matches!(Key::of(&unconfirmed), Err(KeyError::Unconfirmed)));
    }

    #[test]
    fn a_nonce_has_its_leading_zeros() {
        assert_eq!(Nonce::of(&[7]), Nonce::of(&[0, 0, 7]));
        assert_eq!(Nonce::of(&[1; 32]).map(|nonce| *nonce.as_bytes()), Some([1; 32]));
        assert_eq!(Nonce::of(&[0; 33]), None);
    }
}
