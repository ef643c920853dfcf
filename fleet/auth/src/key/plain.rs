//! Plain keys, as browsers make them: ECDSA on the curve P-256 over SHA-256.
//!
//! Their PEM holds a SubjectPublicKeyInfo (RFC 5280, 4.1). DER leaves one way to write it for an uncompressed point on
//! P-256, so the point follows a constant.

use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::{KEY_BYTES_MAX, KeyError, NONCE_BYTES, Nonce, Validity};

/// What stands before the point: the algorithm `id-ecPublicKey` with the curve `prime256v1`, and the begin of a bit
/// string of 65 bytes.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Bytes of an uncompressed point: a mark and two coordinates.
const POINT_BYTES: usize = 65;
/// Mark of an uncompressed point (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 0x04;
/// Bytes of a signature: two numbers.
const SIGNATURE_BYTES: usize = 64;
/// Label of the PEM.
const LABEL: &str = "PUBLIC KEY";

/// A public key on P-256 that may sign calls.
#[derive(Clone, Debug)]
pub struct PlainKey {
    point: ParsedPublicKey,
    id: String,
    validity: Validity,
}

impl PlainKey {
    /// Reads the PEM of a public key, which is valid from `begin` to `end`.
    ///
    /// # Errors
    /// When it is something else, or a private key.
    pub fn read(pem: &[u8], begin: SystemTime, end: SystemTime) -> Result<Self, KeyError> {
        if pem.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong);
        }
        let pem = pem::parse(pem).map_err(|_| KeyError::Plain)?;
        if pem.tag().ends_with("PRIVATE KEY") {
            return Err(KeyError::Private);
        }
        let point = pem.contents().strip_prefix(SPKI_PREFIX.as_slice()).ok_or(KeyError::Plain)?;
        if pem.tag() != LABEL || point.len() != POINT_BYTES || point.first() != Some(&UNCOMPRESSED) {
            return Err(KeyError::Plain);
        }
        let id = URL_SAFE.encode(digest(&SHA256, point));
        let point = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyError::Plain)?;
        Ok(Self { point, id, validity: Validity { begin, end } })
    }

    /// SHA-256 of its uncompressed point, base64 for URLs with padding.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) const fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether these bytes were signed with it. Clients send the two numbers as they are, or their base64.
    pub(super) fn verify(&self, bytes: &[u8], signature: &[u8]) -> Option<Nonce> {
        let raw = match <[u8; SIGNATURE_BYTES]>::try_from(signature) {
            Ok(raw) => raw,
            Err(_) => STANDARD.decode(signature).ok()?.try_into().ok()?,
        };
        self.point.verify_sig(bytes, &raw).ok()?;
        Nonce::of(raw.get(..NONCE_BYTES)?)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::time::{Duration, UNIX_EPOCH};

    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::super::Key;
    use super::*;

    /// Made by OpenSSL, like the id of its point and a signature over `call`.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEe597sqQt9QBj47hjodeLcdBkbkcN\n\
        hVuD3am0C9oGDP16EkY1rJnCTMG1kC8OFGBlRYncQ5vy8IChpbR/DX8gKA==\n\
        -----END PUBLIC KEY-----\n";
    const ID: &str = "Xei7bhBjqHSplNzaQjIO_jtDj4zm2XGtr5SHKW9tlg8=";
    const SIGNATURE: &str =
        "tTgm/RUx3k2Fl9NrO+CiFD271EUTtUVD1meewXf5hFwh8slu6Hwb6FYrW+5TsFfJjOYD7U+54hzOv6WpU48GLg==";

    fn pair() -> EcdsaKeyPair {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")
    }

    fn read(pem: &str) -> Result<PlainKey, KeyError> {
        PlainKey::read(pem.as_bytes(), UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(3600))
    }

    fn pem_of(tag: &str, point: &[u8]) -> String {
        pem::encode(&pem::Pem::new(tag, [SPKI_PREFIX.as_slice(), point].concat()))
    }

    #[test]
    fn a_key_and_its_signature_are_those_of_others() {
        let key = read(PEM).expect("read");
        assert_eq!(key.id(), ID);
        assert!(key.verify(b"call", SIGNATURE.as_bytes()).is_some());
        assert_eq!(key.verify(b"cal", SIGNATURE.as_bytes()), None);
    }

    #[test]
    fn a_signature_fits_as_numbers_and_as_base64_and_has_one_nonce() {
        let pair = pair();
        let key = read(&pem_of(LABEL, pair.public_key().as_ref())).expect("read");
        let signature = pair.sign(&SystemRandom::new(), b"call").expect("signed");
        let raw: &[u8] = signature.as_ref();
        let nonce = key.verify(b"call", raw);
        assert!(nonce.is_some());
        assert_eq!(key.verify(b"call", STANDARD.encode(raw).as_bytes()), nonce);
        assert_eq!(key.verify(b"other", raw), None);
        assert_eq!(key.verify(b"call", &raw[1..]), None);
        let key = Key::Plain(key);
        assert!(key.verify(b"call", raw, UNIX_EPOCH).is_ok());
        let late = key.verify(b"call", raw, UNIX_EPOCH + Duration::from_secs(3600));
        assert!(matches!(late, Err(KeyError::Expired)));
    }

    #[test]
    fn what_is_no_public_key_on_the_curve_is_refused() {
        let pair = pair();
        let point = pair.public_key().as_ref();
        assert!(matches!(read(&pem_of("PRIVATE KEY", point)), Err(KeyError::Private)));
        assert!(matches!(read(&pem_of("EC PRIVATE KEY", point)), Err(KeyError::Private)));
        let mut beside = point.to_vec();
        beside[64] ^= 1;
        let long = [point, [0].as_slice()].concat();
        for text in [
            pem_of("CERTIFICATE", point),
            pem_of(LABEL, &point[..33]),
            pem_of(LABEL, &long),
            pem_of(LABEL, &beside),
            "MFkwEwYHKoZIzj0CAQ".to_owned(),
            String::new(),
        ] {
            assert!(matches!(read(&text), Err(KeyError::Plain)), "{text}");
        }
    }

    #[test]
    fn no_bytes_make_the_reader_fall() {
        let key = AssertUnwindSafe(read(PEM).expect("read"));
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = PlainKey::read(bytes, UNIX_EPOCH, UNIX_EPOCH);
            let _ = PlainKey::read(pem_of(LABEL, bytes).as_bytes(), UNIX_EPOCH, UNIX_EPOCH);
            assert_eq!(key.verify(b"call", bytes), None);
        });
    }
}
