//! What members tell each other, sealed with the secret of their cluster (fleet.md 12).
//!
//! ```text
//! affiliate  nonce (12) ‖ AES-256-GCM( message ) ‖ tag (16)
//! endpoint   AES-256-ECB( length (1) ‖ message ‖ zeros up to a multiple of 16 )
//! ```
//!
//! Endpoints are sealed so that a service can tell that two of them are the same.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey};
use corten_base::{Rng, Secret};

/// Length of the secret of a cluster, bytes.
pub const KEY_BYTES: usize = 32;
/// Largest sealed affiliate that is opened, bytes; services take up to 2048.
const AFFILIATE_BYTES_MAX: usize = 4096;
/// Largest sealed endpoint that is opened, bytes; services take up to 32.
const ENDPOINT_BYTES_MAX: usize = 64;

/// The secret of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Secret<[u8; KEY_BYTES]>);

impl Key {
    /// The key that is these bytes; nothing when they are not [`KEY_BYTES`].
    pub fn new(bytes: &[u8]) -> Option<Self> {
        Some(Self(Secret::new(bytes.try_into().ok()?)))
    }

    /// An affiliate, sealed; nothing when the library refuses.
    pub fn seal(&self, mut message: Vec<u8>, rng: &Rng) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = rng.bytes();
        let key = self.gcm()?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut message).ok()?;
        Some([&nonce[..], &message[..]].concat())
    }

    /// The affiliate that was sealed with this key.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let sealed = Some(sealed).filter(|sealed| sealed.len() <= AFFILIATE_BYTES_MAX)?;
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let (nonce, mut message) = (Nonce::assume_unique_for_key(*nonce), body.to_vec());
        let length = self.gcm()?.open_in_place(nonce, Aad::empty(), &mut message).ok()?.len();
        message.truncate(length);
        Some(message)
    }

    /// The endpoint that was sealed with this key; another key gives other bytes.
    pub fn open_endpoint(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let fits = !sealed.is_empty() && sealed.len() <= ENDPOINT_BYTES_MAX;
        let mut bytes = Some(sealed).filter(|_| fits)?.to_vec();
        let key = UnboundCipherKey::new(&AES_256, self.0.reveal()).ok()?;
        let padded = DecryptingKey::ecb(key).ok()?.decrypt(&mut bytes, DecryptionContext::None).ok()?;
        let (length, rest) = padded.split_first()?;
        rest.get(..usize::from(*length)).map(<[u8]>::to_vec)
    }

    fn gcm(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, self.0.reveal()).ok().map(LessSafeKey::new)
    }
}

#[cfg(test)]
pub mod tests {
    use aws_lc_rs::cipher::EncryptingKey;

    use super::*;

    /// A key whose bytes are all this one.
    pub fn key(byte: u8) -> Key {
        Key::new(&[byte; KEY_BYTES]).expect("a key")
    }

    /// An endpoint as a member seals it.
    pub fn seal_endpoint(key: &Key, message: &[u8]) -> Vec<u8> {
        let length = u8::try_from(message.len()).expect("short");
        let mut bytes = [&[length][..], message].concat();
        bytes.resize(bytes.len().next_multiple_of(16), 0);
        let key = UnboundCipherKey::new(&AES_256, key.0.reveal()).expect("a key");
        EncryptingKey::ecb(key).expect("a mode").encrypt(&mut bytes).expect("sealed");
        bytes
    }

    #[test]
    fn only_the_secret_of_the_cluster_opens_an_affiliate() {
        let rng = Rng::seeded(1);
        let sealed = key(1).seal(b"member".to_vec(), &rng).expect("sealed");
        assert_eq!(sealed.len(), NONCE_LEN + 6 + 16);
        assert_ne!(key(1).seal(b"member".to_vec(), &rng), Some(sealed.clone()), "each time with a new nonce");
        assert_eq!(key(1).open(&sealed).as_deref(), Some(&b"member"[..]));
        assert_eq!(key(2).open(&sealed), None);
        assert_eq!(key(1).open(&sealed[..NONCE_LEN + 3]), None);
        assert_eq!(Key::new(&[1; KEY_BYTES - 1]), None);
    }

    #[test]
    fn equal_endpoints_look_equal_and_open_without_their_padding() {
        let sealed = seal_endpoint(&key(1), b"\x0a\x04\x0a\x05\x00\x02\x10\x2a");
        assert_eq!(sealed.len(), 16);
        assert_eq!(sealed, seal_endpoint(&key(1), b"\x0a\x04\x0a\x05\x00\x02\x10\x2a"));
        assert_eq!(key(1).open_endpoint(&sealed).as_deref(), Some(&b"\x0a\x04\x0a\x05\x00\x02\x10\x2a"[..]));
        assert_eq!(key(1).open_endpoint(&sealed[..15]), None);
        assert_eq!(key(1).open_endpoint(&[]), None);
    }

    #[test]
    fn no_bytes_make_opening_panic() {
        let key = key(1);
        bolero::check!().for_each(|input: &[u8]| {
            assert_eq!(key.open(input), None, "nobody seals by chance");
            if let Some(endpoint) = key.open_endpoint(input) {
                assert!(endpoint.len() < input.len());
            }
        });
    }
}
