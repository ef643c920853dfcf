//! Values as they are where they are kept: compressed when it pays, then encrypted and bound to their place.
//!
//! ```text
//! 0x02 ‖ id of the key (4) ‖ nonce (12) ‖ AES-256-GCM( form (1) ‖ content ), place as associated data
//! 0x01 ‖                     nonce (12) ‖ …                                  read only, see `migration`
//! ```
//!
//! The place is part of what is authenticated, so that no value can be moved to another resource. The id tells a value of
//! another key from a damaged one; it is derived from the key and tells nothing of it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use corten_base::{Rng, Secret};

/// Length of a key, bytes.
pub const KEY_BYTES: usize = 32;
/// First byte of a value without the id of its key.
const FORMAT_WITHOUT_ID: u8 = 1;
/// First byte of a value.
const FORMAT: u8 = 2;
/// Length of the id of a key, bytes: enough to tell the few keys that one ever has.
const ID_BYTES: usize = 4;
/// What the id of a key is derived from.
const ID_PURPOSE: &[u8] = b"id of the key";
/// Content that is longer is compressed, bytes.
const COMPRESSED_FROM: usize = 2048;
/// Longest content, bytes: twice the largest message of the API. More is not written; a value that claims more is
/// damaged.
pub const CONTENT_MAX: usize = 64 * 1024 * 1024;
/// Content as it is.
const PLAIN: u8 = 0;
/// Content in one zstd frame.
const ZSTD: u8 = 1;
/// Effort of zstd.
const LEVEL: i32 = 3;

/// Encrypts and decrypts with one key.
pub struct Sealer {
    key: LessSafeKey,
    id: [u8; ID_BYTES],
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
    #[error("the value has format {0:?}, and this program knows formats up to {newest}", newest = FORMAT)]
    Format(Option<u8>),
    /// Sealed with a key that is not here.
    #[error("the value was sealed with another key, whose id is {}", hex(.0))]
    Key([u8; ID_BYTES]),
    /// Another place, or damage.
    #[error("the value does not belong to this key and place, or it is damaged")]
    Refused,
    /// More than would be read again.
    #[error("it has {0} bytes, and a value has {max} at most; make it smaller", max = CONTENT_MAX)]
    TooLarge(usize),
    /// Compression failed.
    #[error("the value cannot be compressed or expanded")]
    Compression(#[source] std::io::Error),
}

impl SealError {
    /// What to do about a value that is kept and cannot be read.
    #[must_use]
    pub const fn way_out(&self) -> &'static str {
        match self {
            Self::Format(_) => "start the newer program that wrote it",
            Self::Key(_) => "it came from another store; restore this one from a backup",
            Self::Refused | Self::TooLarge(_) | Self::Compression(_) => "restore the store from a backup",
        }
    }
}

impl Sealer {
    /// A sealer with this key; nonces are random.
    ///
    /// # Errors
    /// Never with a key of this length, as far as the library says.
    pub fn new(key: &Secret<[u8; KEY_BYTES]>, rng: Rng) -> Result<Self, SealError> {
        let unbound = UnboundKey::new(&AES_256_GCM, key.reveal()).map_err(|_| SealError::Refused)?;
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.reveal()), ID_PURPOSE);
        let id: [u8; ID_BYTES] = tag.as_ref().first_chunk().copied().unwrap_or_default();
        Ok(Self { key: LessSafeKey::new(unbound), id, rng })
    }

    /// `content` as it is written at `place`.
    ///
    /// # Errors
    /// When it is too large or cannot be compressed.
    pub fn seal(&self, place: &[u8], content: &[u8]) -> Result<Vec<u8>, SealError> {
        if content.len() > CONTENT_MAX {
            return Err(SealError::TooLarge(content.len()));
        }
        let (nonce, body) = self.encrypt(place, content)?;
        Ok([&[FORMAT][..], &self.id[..], &nonce[..], &body[..]].concat())
    }

    fn encrypt(&self, place: &[u8], content: &[u8]) -> Result<([u8; NONCE_LEN], Vec<u8>), SealError> {
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
        Ok((nonce, body))
    }

    /// The content of a value that was written at `place`.
    ///
    /// # Errors
    /// When the value is of another format, key or place, or damaged.
    pub fn open(&self, place: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
        let sealed = match value.split_first() {
            Some((&FORMAT, rest)) => {
                let (id, sealed) = rest.split_first_chunk::<ID_BYTES>().ok_or(SealError::Refused)?;
                if *id != self.id {
                    return Err(SealError::Key(*id));
                }
                sealed
            }
            Some((&FORMAT_WITHOUT_ID, sealed)) => sealed,
            other => return Err(SealError::Format(other.map(|(format, _)| *format))),
        };
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Refused)?;
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

    /// A value as the first programs wrote it.
    #[cfg(test)]
    pub(crate) fn seal_without_id(&self, place: &[u8], content: &[u8]) -> Vec<u8> {
        let (nonce, body) = self.encrypt(place, content).expect("sealed");
        [&[FORMAT_WITHOUT_ID][..], &nonce[..], &body[..]].concat()
    }
}

/// Bytes for people.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
            for index in 0..value.len().min(64) {
                let mut damaged = value.clone();
                damaged[index] ^= 1;
                assert!(sealer(1).open(b"here", &damaged).is_err(), "byte {index}");
            }
        }
    }

    #[test]
    fn a_value_of_another_key_and_one_of_a_newer_program_are_told_from_a_damaged_one() {
        let value = sealer(1).seal(b"here", b"content").expect("sealed");
        let of_another = sealer(2).open(b"here", &value).expect_err("refused");
        assert!(matches!(of_another, SealError::Key(id) if id == sealer(1).id), "{of_another}");
        let newer = sealer(1).open(b"here", &[3, 0, 0]).expect_err("refused").to_string();
        assert!(newer.contains("Some(3)"), "{newer}");
        let cut = sealer(1).open(b"here", &value[..10]).expect_err("refused");
        assert!(matches!(cut, SealError::Refused), "{cut}");
    }

    #[test]
    fn fuzz_open_takes_any_bytes() {
        let sealer = sealer(1);
        bolero::check!().for_each(|bytes: &[u8]| drop(sealer.open(b"here", bytes)));
    }
}
