//! Keys of segments: one for each, derived from the master secret (HKDF-SHA256, RFC 5869).
//!
//! ```text
//! master secret ─extract─▶ ─expand(name of the log, 0, salt of the segment)─▶ key of the segment
//! sealed:  nonce (12) ‖ AES-256-GCM( content ) ‖ tag (16), place as associated data
//! ```
//!
//! Nonces are random: a frame that was cut off after a crash is followed by another one at the same place.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use corten_base::{Rng, Secret};

/// Length of the salt of a segment, bytes.
pub(crate) const SALT_BYTES: usize = 16;
/// What sealing adds, bytes.
pub(crate) const SEAL_BYTES: usize = NONCE_LEN + 16;
/// Tells these keys from others that come from the same secret.
const PURPOSE: &[u8] = b"corten-fleet-logs";

/// Content that cannot be sealed, or was sealed with another key or for another place, or is damaged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// Where the keys of all segments come from.
#[derive(Clone)]
pub(crate) struct Keys {
    secret: Prk,
    rng: Rng,
}

impl Keys {
    pub(crate) fn new(master: &Secret<[u8; 32]>, rng: Rng) -> Self {
        Self { secret: Salt::new(HKDF_SHA256, PURPOSE).extract(master.reveal()), rng }
    }

    /// A salt for a new segment.
    pub(crate) fn salt(&self) -> [u8; SALT_BYTES] {
        self.rng.bytes()
    }

    /// The key of the segment with this salt in the log with this name, which has no zero byte.
    pub(crate) fn segment(&self, log: &str, salt: &[u8; SALT_BYTES]) -> Result<SegmentKey, Refused> {
        let info: [&[u8]; 3] = [log.as_bytes(), &[0], salt];
        let derived = self.secret.expand(&info, &AES_256_GCM).map_err(|_| Refused)?;
        Ok(SegmentKey { key: LessSafeKey::new(UnboundKey::from(derived)), rng: self.rng.clone() })
    }
}

/// Key of one segment.
pub(crate) struct SegmentKey {
    key: LessSafeKey,
    rng: Rng,
}

impl SegmentKey {
    /// `content` as it is written at `place`.
    pub(crate) fn seal(&self, place: &[u8], mut content: Vec<u8>) -> Result<Vec<u8>, Refused> {
        let nonce: [u8; NONCE_LEN] = self.rng.bytes();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut content)
            .map_err(|_| Refused)?;
        Ok([&nonce[..], &content[..]].concat())
    }

    /// The content that was sealed for `place`.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Refused> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Refused)?;
        let mut content = body.to_vec();
        let length = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut content)
            .map_err(|_| Refused)?
            .len();
        content.truncate(length);
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(master: u8, log: &str, salt: u8) -> SegmentKey {
        let keys = Keys::new(&Secret::new([master; 32]), Rng::seeded(1));
        keys.segment(log, &[salt; SALT_BYTES]).expect("a key")
    }

    #[test]
    fn content_opens_with_the_key_of_its_segment_at_its_place_and_nowhere_else() {
        let sealed = key(1, "a", 1).seal(b"here", b"lines".to_vec()).expect("sealed");
        assert_eq!(sealed.len(), 5 + SEAL_BYTES);
        assert_eq!(key(1, "a", 1).open(b"here", &sealed), Ok(b"lines".to_vec()));
        assert_eq!(key(1, "a", 1).open(b"there", &sealed), Err(Refused));
        for other in [key(2, "a", 1), key(1, "b", 1), key(1, "a", 2)] {
            assert_eq!(other.open(b"here", &sealed), Err(Refused));
        }
        assert_eq!(key(1, "a", 1).open(b"here", b"short"), Err(Refused));
    }
}
