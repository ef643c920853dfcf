//! Keys of service accounts: made for the first start, given to programs as one string, and used by them.
//!
//! ```text
//! generate ─┬─▶ public half, stored as a confirmed PublicKey
//!           └─▶ key string ─▶ file or environment of a program ─▶ decode ─▶ sign
//!
//! key string: base64 of {"name":"ci","pgp_key":"-----BEGIN PGP PRIVATE KEY BLOCK-----…"}
//! ```

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::{Rng, Secret};
use pgp::composed::{ArmorOptions, DetachedSignature, PublicOrSecret, SignedKeyDetails, SignedSecretKey};
use pgp::crypto::ed25519::{self, Mode};
use pgp::crypto::eddsa_legacy;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{
    self, KeyFlags, Notation, PubKeyInner, SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::ser::Serialize as _;
use pgp::types::{
    KeyDetails as _, KeyVersion, PacketHeaderVersion, Password, PlainSecretParams, PublicParams,
    SecretParams, SignedUser, Tag, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::openpgp::{dearmor, unreadable};
use super::{KEY_BYTES_MAX, KeyError, PgpKey};
use crate::identity::{Email, ServiceAccount};

/// Longest key string that is read, bytes: base64 adds a third.
const TEXT_BYTES_MAX: usize = KEY_BYTES_MAX / 3 * 4;
/// Name under which PGP programs put random bytes into a signature, so that no two are the same.
const SALT: &str = "salt@notations.openpgpjs.org";
/// Random bytes in a signature.
const SALT_BYTES: usize = 32;

/// The private key of a service account.
#[derive(Clone, Debug)]
pub struct ServiceAccountKey {
    name: String,
    key: Secret<SignedSecretKey>,
}

/// The JSON in a key string.
#[derive(Serialize, Deserialize)]
struct Content {
    name: String,
    pgp_key: String,
}

impl ServiceAccountKey {
    /// Makes a key that is valid from now for a lifetime, which is at least a second.
    ///
    /// # Errors
    /// When a time does not fit into a PGP key: now is after 2106, or the lifetime is less than a second.
    pub fn generate(
        account: &ServiceAccount,
        lifetime: Duration,
        rng: &Rng,
        now: SystemTime,
    ) -> Result<Self, KeyError> {
        let created = Timestamp::try_from(now).map_err(|_| KeyError::Unusable)?;
        let seconds = u32::try_from(lifetime.as_secs()).ok().filter(|seconds| *seconds > 0);
        let lifetime = pgp::types::Duration::from_secs(seconds.ok_or(KeyError::NoLifetime)?);
        let key = primary_key(rng, created).map_err(unreadable)?;
        let user = user_id(&key, &account.email(), created, lifetime).map_err(unreadable)?;
        let details = SignedKeyDetails::new(Vec::new(), Vec::new(), vec![user], Vec::new());
        let key = Secret::new(SignedSecretKey::new(key, details, Vec::new(), Vec::new()));
        Ok(Self { name: account.name(), key })
    }

    /// Reads a key string.
    ///
    /// # Errors
    /// When it is something else. The error contains nothing of it.
    pub fn decode(text: &Secret<String>) -> Result<Self, KeyError> {
        let text = text.reveal().trim();
        if text.len() > TEXT_BYTES_MAX {
            return Err(KeyError::TooLong);
        }
        let json = STANDARD.decode(text).map_err(|_| KeyError::Account)?;
        let content: Content = serde_json::from_slice(&json).map_err(|_| KeyError::Account)?;
        let packets = dearmor(content.pgp_key.as_bytes()).map_err(|_| KeyError::Account)?;
        let mut keys = PublicOrSecret::from_bytes_many(packets.as_slice()).map_err(|_| KeyError::Account)?;
        match (keys.next(), keys.next()) {
            (Some(Ok(PublicOrSecret::Secret(key))), None) => {
                Ok(Self { name: content.name, key: Secret::new(key) })
            }
            _ => Err(KeyError::Account),
        }
    }

    /// The key string.
    ///
    /// # Errors
    /// When the library cannot write the key.
    pub fn encode(&self) -> Result<Secret<String>, KeyError> {
        let content = Content { name: self.name.clone(), pgp_key: self.armored()?.reveal().clone() };
        let json = serde_json::to_vec(&content).map_err(|_| KeyError::Account)?;
        Ok(Secret::new(STANDARD.encode(json)))
    }

    /// The name of the service account. Calls may name it instead of the e-mail address.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The private key, armored.
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn armored(&self) -> Result<Secret<String>, KeyError> {
        self.key.reveal().to_armored_string(ArmorOptions::default()).map(Secret::new).map_err(unreadable)
    }

    /// The public half.
    ///
    /// # Errors
    /// When it is not one that may be registered.
    pub fn public(&self) -> Result<PgpKey, KeyError> {
        PgpKey::check(self.key.reveal().to_public_key())
    }

    /// Signs what a call shows, as `SignedCall` and `SignedHttp` verify it.
    ///
    /// # Errors
    /// When the key has a passphrase, or is not one of version 4.
    pub fn sign(&self, bytes: &[u8], rng: &Rng, now: SystemTime) -> Result<Vec<u8>, KeyError> {
        let created = Timestamp::try_from(now).map_err(|_| KeyError::Unusable)?;
        let salt = rng.bytes::<SALT_BYTES>().to_vec();
        sign(&self.key.reveal().primary_key, bytes, created, salt).map_err(|_| KeyError::Unusable)
    }
}

/// A new key packet of version 4 with Ed25519 in the form of 2015, which every client reads.
fn primary_key(rng: &Rng, created: Timestamp) -> pgp::errors::Result<packet::SecretKey> {
    let secret = ed25519::SecretKey::try_from_bytes(rng.bytes(), Mode::EdDSALegacy)?;
    let params = PublicParams::EdDSALegacy((&secret).into());
    let public = PubKeyInner::new(KeyVersion::V4, PublicKeyAlgorithm::EdDSALegacy, created, None, params)?;
    let secret = PlainSecretParams::EdDSALegacy(eddsa_legacy::SecretKey::Ed25519(secret));
    packet::SecretKey::new(packet::PublicKey::from_inner(public)?, SecretParams::Plain(secret))
}

/// The user id with the self-signature that says what the key is for and when it ends.
fn user_id(
    key: &packet::SecretKey,
    email: &Email,
    created: Timestamp,
    lifetime: pgp::types::Duration,
) -> pgp::errors::Result<SignedUser> {
    let id = UserId::from_str(PacketHeaderVersion::default(), format!("<{email}>"))?;
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(true);
    let mut config = config(key, SignatureType::CertPositive, created)?;
    config.hashed_subpackets.extend([
        Subpacket::regular(SubpacketData::KeyFlags(flags))?,
        Subpacket::regular(SubpacketData::KeyExpirationTime(lifetime))?,
        Subpacket::regular(SubpacketData::IsPrimary(true))?,
        Subpacket::regular(SubpacketData::PreferredHashAlgorithms(vec![HashAlgorithm::Sha256].into()))?,
    ]);
    let signature = config.sign_certification(key, key.public_key(), &Password::empty(), Tag::UserId, &id)?;
    Ok(SignedUser::new(id, vec![signature]))
}

fn sign(
    key: &packet::SecretKey,
    bytes: &[u8],
    created: Timestamp,
    salt: Vec<u8>,
) -> pgp::errors::Result<Vec<u8>> {
    let mut config = config(key, SignatureType::Binary, created)?;
    let salt = Notation { readable: false, name: SALT.into(), value: salt.into() };
    config.hashed_subpackets.push(Subpacket::regular(SubpacketData::Notation(salt))?);
    DetachedSignature::new(config.sign(key, &Password::empty(), bytes)?).to_bytes()
}

/// What each signature of version 4 says: when it was made, and by which key.
fn config(
    key: &packet::SecretKey,
    kind: SignatureType,
    created: Timestamp,
) -> pgp::errors::Result<SignatureConfig> {
    let mut config = SignatureConfig::v4(kind, key.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(created))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
    ];
    config.unhashed_subpackets = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    fn key(name: &str) -> ServiceAccountKey {
        let account = ServiceAccount::parse(name).expect("a name");
        ServiceAccountKey::generate(&account, HOUR, &Rng::seeded(1), now()).expect("a key")
    }

    fn text(json: &str) -> Secret<String> {
        Secret::new(STANDARD.encode(json))
    }

    #[test]
    fn a_key_string_is_read_back_and_signs_as_before() {
        for name in ["ci", "infra-provider:metal"] {
            let key = key(name);
            let text = key.encode().expect("encoded");
            let read = ServiceAccountKey::decode(&text).expect("decoded");
            assert_eq!(read.name(), name);
            assert_eq!(read.encode().expect("encoded"), text);
            let signature = read.sign(b"call", &Rng::seeded(2), now()).expect("signed");
            let public = key.public().expect("public");
            assert_eq!(public.email(), &ServiceAccount::parse(name).expect("a name").email());
            assert!(public.verify(b"call", &signature, now()).is_some());
        }
    }

    #[test]
    fn the_json_has_the_names_that_clients_know() {
        let json = STANDARD.decode(key("ci").encode().expect("encoded").reveal()).expect("base64");
        let value: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        assert_eq!(value["name"], "ci");
        let armored = value["pgp_key"].as_str().expect("text");
        assert!(armored.starts_with("-----BEGIN PGP PRIVATE KEY BLOCK-----\n"));
    }

    #[test]
    fn the_public_half_survives_its_armor() {
        let public = key("ci").public().expect("public");
        let read = PgpKey::read(public.armored().expect("armored").as_bytes()).expect("read");
        assert_eq!((read.id(), read.email()), (public.id(), public.email()));
        assert_eq!(read.validity(), public.validity());
    }

    #[test]
    fn what_is_no_key_string_is_refused_without_telling_it() {
        let public = key("ci").public().expect("public").armored().expect("armored");
        let public = serde_json::json!({ "name": "ci", "pgp_key": public }).to_string();
        let hidden = serde_json::json!({ "name": "ci", "pgp_key": "hunter2" }).to_string();
        for text in [text("{}"), text(&public), text(&hidden), Secret::new("hunter2".to_owned())] {
            let error = ServiceAccountKey::decode(&text).expect_err("refused");
            assert!(matches!(error, KeyError::Account));
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        assert!(!format!("{:?}", key("ci")).contains("PRIVATE"));
    }

    #[test]
    fn a_lifetime_is_at_least_a_second() {
        let account = ServiceAccount::Plain("ci".to_owned());
        let made = ServiceAccountKey::generate(&account, Duration::ZERO, &Rng::seeded(1), now());
        assert!(matches!(made, Err(KeyError::NoLifetime)));
    }

    #[test]
    fn no_text_makes_the_reader_fall() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let armored = String::from_utf8_lossy(bytes);
            let _ = ServiceAccountKey::decode(&Secret::new(armored.clone().into_owned()));
            let json = serde_json::json!({ "name": "ci", "pgp_key": armored });
            let _ = ServiceAccountKey::decode(&text(&json.to_string()));
        });
    }
}
