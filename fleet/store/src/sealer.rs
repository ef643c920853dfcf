//! Values as they are on the disk: compressed when it pays, then encrypted and bound to their place.
//!
//! ```text
//! 0x01 ‖ nonce (12) ‖ AES-256-GCM( form (1) ‖ content ), place as associated data
//! ```
//!
//! The place is part of what is authenticated, so that no value can be moved to another resource.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use corten_base::{Rng, Secret};

/// Length of a key, bytes.
pub const KEY_BYTES: usize = 32;
/// First byte of a value in the only format so far.
const FORMAT: u8 = 1;
/// Content that is longer is compressed, bytes.
const COMPRESSED_FROM: usize = 2048;
/// Longest content, bytes; a value that claims more is damaged.
const CONTENT_MAX: usize = 64 * 1024 * 1024;
/// Content as it is.
const PLAIN: u8 = 0;
/// Content in one zstd frame.
const ZSTD: u8 = 1;
/// Effort of zstd.
const LEVEL: i32 = 3;

/// Encrypts and decrypts with one key.
pub struct Sealer {
    key: LessSafeKey,
    rng: Rng,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

/// A value that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Written by a newer program, or no value at all.
    #[error("the value has format {0:?}; this program knows format 1 only")]
    Format(Option<u8>),
    /// Another key, another place, or damage.
    #[error("the value does not belong to this key and place, or it is damaged")]
    Refused,
    /// Compression failed.
    #[error("the value cannot be compressed or expanded")]
    Compression(#[source] std::io::Error),
}

impl Sealer {
    /// A sealer with this key; nonces are random.
    ///
    /// # Errors
    /// Never with a key of this length, as far as the library says.
    pub fn new(key: &Secret<[u8; KEY_BYTES]>, rng: Rng) -> Result<Self, SealError> {
        let key = UnboundKey::new(&AES_256_GCM, key.reveal()).map_err(|_| SealError::Refused)?;
        Ok(Self { key: LessSafeKey::new(key), rng })
    }

    /// `content` as it is written at `place`.
    ///
    /// # Errors
    /// When it cannot be compressed or is larger than the cipher takes.
    pub fn seal(&self, place: &[u8], content: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut body = Vec::with_capacity(content.len() + 64);
        if content.len() > COMPRESSED_FROM {
            body.push(ZSTD);
            body.extend(zstd::bulk::compress(content, LEVEL).map_err(SealError::Compression)?);
        } else {
            body.push(PLAIN);
            body.extend_from_slice(content);
        }
        let nonce: [u8; NONCE_LEN] = self.rng.bytes();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut body)
            .map_err(|_| SealError::Refused)?;
        Ok([&[FORMAT][..], &nonce[..], &body[..]].concat())
    }

    /// The content of a value that was written at `place`.
    ///
    /// # Errors
    /// When the value is of another format, key or place, or damaged.
    pub fn open(&self, place: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
        let Some((&FORMAT, rest)) = value.split_first() else {
            return Err(SealError::Format(value.first().copied()));
        };
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Refused)?;
        let mut body = body.to_vec();
        let opened = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut body)
            .map_err(|_| SealError::Refused)?;
        match opened.split_first() {
            Some((&PLAIN, content)) => Ok(content.to_vec()),
            Some((&ZSTD, content)) => {
                zstd::bulk::decompress(content, CONTENT_MAX).map_err(SealError::Compression)
            }
            _ => Err(SealError::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(&Secret::new([byte; KEY_BYTES]), Rng::seeded(1)).expect("a key")
    }

    #[test]
    fn a_value_opens_at_its_place_with_its_key_and_nowhere_else() {
        for content in [b"small".to_vec(), vec![7; 100_000]] {
            let value = sealer(1).seal(b"here", &content).expect("sealed");
            assert!(value.len() < content.len().max(64), "{} bytes of {}", value.len(), content.len());
            assert_eq!(sealer(1).open(b"here", &value).expect("opened"), content);
            assert!(sealer(1).open(b"there", &value).is_err());
            assert!(sealer(2).open(b"here", &value).is_err());
            for index in 0..value.len().min(64) {
                let mut damaged = value.clone();
                damaged[index] ^= 1;
                assert!(sealer(1).open(b"here", &damaged).is_err(), "byte {index}");
            }
        }
    }

    #[test]
    fn a_value_of_a_newer_program_is_named() {
        let text = sealer(1).open(b"here", &[2, 0, 0]).expect_err("refused").to_string();
        assert!(text.contains("Some(2)"), "{text}");
    }

    #[test]
    fn fuzz_open_takes_any_bytes() {
        let sealer = sealer(1);
        bolero::check!().for_each(|bytes: &[u8]| drop(sealer.open(b"here", bytes)));
    }
}
