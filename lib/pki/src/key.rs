//! Private keys in the forms that Talos and Kubernetes exchange.
//!
//! | kind | PEM header written | also read |
//! |---|---|---|
//! | Ed25519 | `ED25519 PRIVATE KEY` (PKCS #8 inside) | `PRIVATE KEY` |
//! | ECDSA P-256 | `EC PRIVATE KEY` (RFC 5915) | `PRIVATE KEY` |
//! | RSA | `RSA PRIVATE KEY` (PKCS #1) | `PRIVATE KEY` |
//!
//! Inside, a key is always PKCS #8.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey};
use aws_lc_rs::{agreement, rsa};
use corten_base::{Rng, Secret};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::der::{self, tlv};
use crate::{PkiError, pem};

const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const OID_EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const OID_ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const OID_RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];

/// Kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Talos API.
    Ed25519,
    /// Kubernetes, etcd and aggregator.
    EcdsaP256,
    /// Service accounts, and authorities made by other tools.
    Rsa,
}

impl Algorithm {
    /// The algorithm identifier that certificates name for signatures by such a key.
    pub(crate) fn signature_identifier(self) -> Vec<u8> {
        match self {
            Self::Ed25519 => der::sequence(&[&tlv(der::OID, OID_ED25519)]),
            Self::EcdsaP256 => der::sequence(&[&tlv(der::OID, OID_ECDSA_SHA256)]),
            Self::Rsa => der::sequence(&[&tlv(der::OID, OID_RSA_SHA256), &tlv(der::NULL, &[])]),
        }
    }

    /// The algorithm identifier of the key itself.
    fn key_identifier(self) -> Vec<u8> {
        match self {
            Self::Ed25519 => der::sequence(&[&tlv(der::OID, OID_ED25519)]),
            Self::EcdsaP256 => der::sequence(&[&tlv(der::OID, OID_EC_PUBLIC_KEY), &tlv(der::OID, OID_P256)]),
            Self::Rsa => der::sequence(&[&tlv(der::OID, OID_RSA), &tlv(der::NULL, &[])]),
        }
    }

    fn from_key_identifier(identifier: &[u8]) -> Result<Self, PkiError> {
        [Self::Ed25519, Self::EcdsaP256, Self::Rsa]
            .into_iter()
            .find(|algorithm| algorithm.key_identifier() == tlv(der::SEQUENCE, identifier))
            .ok_or_else(|| PkiError::UnsupportedKey("its algorithm is another one".to_owned()))
    }
}

enum Signer {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// A private key; printing it shows its kind only.
pub struct PrivateKey {
    pkcs8: Secret<Vec<u8>>,
    spki: Vec<u8>,
    signer: Signer,
}

impl Clone for PrivateKey {
    fn clone(&self) -> Self {
        Self::from_pkcs8_der(self.pkcs8.reveal()).expect("a key that was read once can be read again")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.algorithm()).finish()
    }
}

impl PrivateKey {
    /// A new Ed25519 key.
    pub fn ed25519(rng: &Rng) -> Result<Self, PkiError> {
        let seed: [u8; 32] = rng.bytes();
        Self::from_pkcs8_der(&pkcs8(Algorithm::Ed25519, &tlv(der::OCTETS, &seed)))
    }

    /// A new ECDSA P-256 key.
    pub fn ecdsa_p256(rng: &Rng) -> Result<Self, PkiError> {
        // A scalar of zero or beyond the group order is refused; the next draw takes its place.
        for _ in 0..64 {
            let scalar: [u8; 32] = rng.bytes();
            if let Ok(sec1) = sec1_from_scalar(&scalar, false) {
                return Self::from_pkcs8_der(&pkcs8(Algorithm::EcdsaP256, &sec1));
            }
        }
        Err(PkiError::crypto("generate an ECDSA key"))
    }

    /// A new RSA key of 4096 bits.
    pub fn rsa_4096() -> Result<Self, PkiError> {
        Self::rsa(rsa::KeySize::Rsa4096)
    }

    /// A new RSA key of 2048 bits.
    pub fn rsa_2048() -> Result<Self, PkiError> {
        Self::rsa(rsa::KeySize::Rsa2048)
    }

    fn rsa(size: rsa::KeySize) -> Result<Self, PkiError> {
        let failed = |_| PkiError::crypto("generate an RSA key");
        let pair = rsa::KeyPair::generate(size).map_err(failed)?;
        let der: aws_lc_rs::encoding::Pkcs8V1Der<'static> = pair.as_der().map_err(failed)?;
        Self::from_pkcs8_der(der.as_ref())
    }

    /// A new key of the same kind as `algorithm`; RSA means 4096 bits.
    pub fn generate(algorithm: Algorithm, rng: &Rng) -> Result<Self, PkiError> {
        match algorithm {
            Algorithm::Ed25519 => Self::ed25519(rng),
            Algorithm::EcdsaP256 => Self::ecdsa_p256(rng),
            Algorithm::Rsa => Self::rsa_4096(),
        }
    }

    /// Reads the first private key of a PEM text, whatever its header.
    pub fn from_pem(text: &[u8]) -> Result<Self, PkiError> {
        let (label, bytes) = pem::first("a private key", text, "PRIVATE KEY")?;
        match label.as_str() {
            "PRIVATE KEY" | "ED25519 PRIVATE KEY" => Self::from_pkcs8_der(&bytes),
            "EC PRIVATE KEY" => Self::from_pkcs8_der(&pkcs8(Algorithm::EcdsaP256, &p256_sec1(&bytes)?)),
            "RSA PRIVATE KEY" => Self::from_pkcs8_der(&pkcs8(Algorithm::Rsa, &bytes)),
            other => Err(PkiError::UnsupportedKey(format!("PEM header {other}"))),
        }
    }

    /// Reads a PKCS #8 structure.
    pub fn from_pkcs8_der(bytes: &[u8]) -> Result<Self, PkiError> {
        let (algorithm, inner) = unwrap_pkcs8(bytes)?;
        let refused = |error: aws_lc_rs::error::KeyRejected| PkiError::UnsupportedKey(error.to_string());
        let signer = match algorithm {
            Algorithm::Ed25519 => {
                let seed = der::take(&mut &inner[..], der::OCTETS)
                    .ok_or_else(|| PkiError::UnsupportedKey("Ed25519 without a seed".to_owned()))?;
                Signer::Ed25519(Ed25519KeyPair::from_seed_unchecked(seed).map_err(refused)?)
            }
            Algorithm::EcdsaP256 => {
                let fixed = pkcs8(algorithm, &p256_sec1(inner)?);
                Signer::EcdsaP256(
                    EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &fixed)
                        .map_err(refused)?,
                )
            }
            Algorithm::Rsa => Signer::Rsa(RsaKeyPair::from_pkcs8(bytes).map_err(refused)?),
        };
        let spki = spki(algorithm, public_bytes(&signer));
        Ok(Self { pkcs8: Secret::new(bytes.to_vec()), spki, signer })
    }

    /// The key's kind.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.signer {
            Signer::Ed25519(_) => Algorithm::Ed25519,
            Signer::EcdsaP256(_) => Algorithm::EcdsaP256,
            Signer::Rsa(_) => Algorithm::Rsa,
        }
    }

    /// The key as PEM with the header that Talos uses for its kind.
    #[must_use]
    pub fn to_pem(&self) -> Secret<String> {
        let pkcs8 = self.pkcs8.reveal();
        let inner = || unwrap_pkcs8(pkcs8).expect("a key that was read once can be read again").1;
        Secret::new(match self.algorithm() {
            Algorithm::Ed25519 => pem::encode("ED25519 PRIVATE KEY", pkcs8),
            Algorithm::EcdsaP256 => {
                let sec1 = sec1_scalar(inner()).and_then(|scalar| sec1_from_scalar(scalar, true));
                pem::encode("EC PRIVATE KEY", &sec1.expect("a key that was read once can be read again"))
            }
            Algorithm::Rsa => pem::encode("RSA PRIVATE KEY", inner()),
        })
    }

    /// The key as PKCS #8, for TLS libraries.
    #[must_use]
    pub const fn pkcs8_der(&self) -> &Secret<Vec<u8>> {
        &self.pkcs8
    }

    /// The key for rustls.
    #[must_use]
    pub fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.reveal().clone()))
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The public key as PEM `PUBLIC KEY`.
    #[must_use]
    pub fn public_pem(&self) -> String {
        pem::encode("PUBLIC KEY", &self.spki)
    }

    /// Signs bytes: Ed25519, ECDSA with SHA-256 (ASN.1 form) or RSA PKCS #1 v1.5 with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PkiError> {
        let failed = |_| PkiError::crypto("sign");
        let random = SystemRandom::new();
        match &self.signer {
            Signer::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
            Signer::EcdsaP256(key) => Ok(key.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Signer::Rsa(key) => {
                let mut out = vec![0; key.public_modulus_len()];
                key.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut out).map_err(failed)?;
                Ok(out)
            }
        }
    }
}

/// The SubjectPublicKeyInfo of the first public key of a PEM text.
///
/// # Errors
/// When there is none, or it is of a kind that we cannot check signatures with.
pub fn public_key(text: &[u8]) -> Result<Vec<u8>, PkiError> {
    let (_, spki) = pem::first("a public key", text, "PUBLIC KEY")?;
    parse_spki(&spki)?;
    Ok(spki)
}

/// Checks a signature made by [`PrivateKey::sign`], given the signer's SubjectPublicKeyInfo.
pub fn verify(spki: &[u8], message: &[u8], signature: &[u8]) -> Result<(), PkiError> {
    let (algorithm, key) = parse_spki(spki)?;
    let scheme: &dyn signature::VerificationAlgorithm = match algorithm {
        Algorithm::Ed25519 => &signature::ED25519,
        Algorithm::EcdsaP256 => &signature::ECDSA_P256_SHA256_ASN1,
        Algorithm::Rsa => &signature::RSA_PKCS1_2048_8192_SHA256,
    };
    UnparsedPublicKey::new(scheme, key)
        .verify(message, signature)
        .map_err(|_| PkiError::BadSignature { what: "message" })
}

fn public_bytes(signer: &Signer) -> &[u8] {
    match signer {
        Signer::Ed25519(key) => key.public_key().as_ref(),
        Signer::EcdsaP256(key) => key.public_key().as_ref(),
        Signer::Rsa(key) => key.public_key().as_ref(),
    }
}

fn spki(algorithm: Algorithm, public: &[u8]) -> Vec<u8> {
    der::sequence(&[&algorithm.key_identifier(), &tlv(der::BITS, &[&[0], public].concat())])
}

fn parse_spki(spki: &[u8]) -> Result<(Algorithm, &[u8]), PkiError> {
    let malformed = || PkiError::UnsupportedKey("malformed public key".to_owned());
    let mut outer = spki;
    let mut inner = der::take(&mut outer, der::SEQUENCE).ok_or_else(malformed)?;
    let identifier = der::take(&mut inner, der::SEQUENCE).ok_or_else(malformed)?;
    let bits = der::take(&mut inner, der::BITS).ok_or_else(malformed)?;
    match bits.split_first() {
        Some((0, key)) => Ok((Algorithm::from_key_identifier(identifier)?, key)),
        _ => Err(malformed()),
    }
}

fn pkcs8(algorithm: Algorithm, inner: &[u8]) -> Vec<u8> {
    der::sequence(&[&tlv(der::INTEGER, &[0]), &algorithm.key_identifier(), &tlv(der::OCTETS, inner)])
}

fn unwrap_pkcs8(bytes: &[u8]) -> Result<(Algorithm, &[u8]), PkiError> {
    let malformed = || PkiError::UnsupportedKey("malformed PKCS #8".to_owned());
    let mut outer = bytes;
    let mut fields = der::take(&mut outer, der::SEQUENCE).ok_or_else(malformed)?;
    der::take(&mut fields, der::INTEGER).ok_or_else(malformed)?;
    let identifier = der::take(&mut fields, der::SEQUENCE).ok_or_else(malformed)?;
    let inner = der::take(&mut fields, der::OCTETS).ok_or_else(malformed)?;
    Ok((Algorithm::from_key_identifier(identifier)?, inner))
}

fn sec1_scalar(sec1: &[u8]) -> Result<&[u8], PkiError> {
    let malformed = || PkiError::UnsupportedKey("malformed EC key".to_owned());
    let mut outer = sec1;
    let mut fields = der::take(&mut outer, der::SEQUENCE).ok_or_else(malformed)?;
    der::take(&mut fields, der::INTEGER).ok_or_else(malformed)?;
    let scalar = der::take(&mut fields, der::OCTETS).ok_or_else(malformed)?;
    if let Some(mut curve) = der::take(&mut fields, der::CONTEXT_0)
        && der::take(&mut curve, der::OID) != Some(OID_P256)
    {
        return Err(PkiError::UnsupportedKey("an EC key on another curve than P-256".to_owned()));
    }
    Ok(scalar)
}

/// The RFC 5915 structure with its public key, which some writers leave out.
fn p256_sec1(sec1: &[u8]) -> Result<Vec<u8>, PkiError> {
    sec1_from_scalar(sec1_scalar(sec1)?, false)
}

fn sec1_from_scalar(scalar: &[u8], with_curve: bool) -> Result<Vec<u8>, PkiError> {
    let refused = |_| PkiError::UnsupportedKey("an EC key outside the group".to_owned());
    let key = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, scalar).map_err(refused)?;
    let public = key.compute_public_key().map_err(|_| PkiError::crypto("derive a public key"))?;
    let curve = if with_curve { tlv(der::CONTEXT_0, &tlv(der::OID, OID_P256)) } else { Vec::new() };
    let bits = tlv(der::BITS, &[&[0], public.as_ref()].concat());
    Ok(der::sequence(&[
        &tlv(der::INTEGER, &[1]),
        &tlv(der::OCTETS, scalar),
        &curve,
        &tlv(der::CONTEXT_1, &bits),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &PrivateKey, header: &str) {
        let pem = key.to_pem();
        assert!(pem.reveal().starts_with(&format!("-----BEGIN {header}-----\n")), "{header}");
        let again = PrivateKey::from_pem(pem.reveal().as_bytes()).unwrap();
        assert_eq!(again.spki(), key.spki());
        let as_pkcs8 = pem::encode("PRIVATE KEY", key.pkcs8_der().reveal());
        let again = PrivateKey::from_pem(as_pkcs8.as_bytes()).unwrap();
        let signature = again.sign(b"message").unwrap();
        verify(key.spki(), b"message", &signature).unwrap();
        assert!(verify(key.spki(), b"another", &signature).is_err());
        assert_eq!(public_key(key.public_pem().as_bytes()).unwrap(), key.spki());
        assert!(public_key(pem.reveal().as_bytes()).is_err(), "a private key is none");
        assert_eq!(format!("{key:?}"), format!("PrivateKey({:?})", key.algorithm()));
    }

    #[test]
    fn every_kind_survives_both_pem_forms_and_signs() {
        check(&PrivateKey::ed25519(&Rng::seeded(1)).unwrap(), "ED25519 PRIVATE KEY");
        check(&PrivateKey::ecdsa_p256(&Rng::seeded(1)).unwrap(), "EC PRIVATE KEY");
        check(&PrivateKey::rsa_2048().unwrap(), "RSA PRIVATE KEY");
    }

    #[test]
    fn a_seed_gives_the_same_key() {
        let key = || PrivateKey::ecdsa_p256(&Rng::seeded(3)).unwrap();
        assert_eq!(key().to_pem(), key().to_pem());
    }

    #[test]
    fn refusals_name_what_was_found() {
        let certificate = pem::encode("CERTIFICATE", b"x");
        let error = PrivateKey::from_pem(certificate.as_bytes()).unwrap_err().to_string();
        assert_eq!(error, "failed to read a private key from PEM: found only CERTIFICATE");
        let dsa = pem::encode("DSA PRIVATE KEY", b"x");
        assert!(PrivateKey::from_pem(dsa.as_bytes()).unwrap_err().to_string().contains("DSA PRIVATE KEY"));
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = PrivateKey::from_pem(bytes);
            let _ = PrivateKey::from_pkcs8_der(bytes);
            let _ = verify(bytes, b"", bytes);
        });
    }
}
