//! What META holds at first: two copies, each a magic, tags, a digest and another magic (node.md 5.6).

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::MediaError;
use super::piece::Piece;

/// Size of one copy.
const COPY_BYTES: usize = 256 * 1024;
/// Both copies.
pub const BYTES: usize = 2 * COPY_BYTES;
const MAGIC_FIRST: u32 = 0x5a4b_3c2d;
const MAGIC_LAST: u32 = 0xa5b4_c3d2;
const DIGEST_BYTES: usize = 32;
const TAGS_AT: usize = 4;
/// Where the digest is: before the last magic.
const DIGEST_AT: usize = COPY_BYTES - 4 - DIGEST_BYTES;

/// Both copies with these values by their tags.
pub fn pieces(values: &BTreeMap<u8, Vec<u8>>) -> Result<Vec<Piece>, MediaError> {
    let copy = copy(values)?;
    Ok(vec![Piece::Bytes(copy.clone()), Piece::Bytes(copy)])
}

fn copy(values: &BTreeMap<u8, Vec<u8>>) -> Result<Vec<u8>, MediaError> {
    let full = || MediaError::Meta { available: DIGEST_AT - TAGS_AT };
    let mut copy = MAGIC_FIRST.to_be_bytes().to_vec();
    for (tag, value) in values {
        let size = u32::try_from(value.len()).map_err(|_| full())?;
        copy.extend(u32::from(*tag).to_be_bytes());
        copy.extend(size.to_be_bytes());
        copy.extend_from_slice(value);
    }
    if copy.len() > DIGEST_AT {
        return Err(full());
    }
    copy.resize(DIGEST_AT, 0);
    // The digest is of the whole copy with zeros in its own place.
    let last = MAGIC_LAST.to_be_bytes();
    let digest = Sha256::new().chain_update(&copy).chain_update([0_u8; DIGEST_BYTES]).chain_update(last);
    copy.extend_from_slice(&digest.finalize());
    copy.extend(last);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_its_values_between_both_magics_and_a_digest_of_itself() {
        let copy = copy(&BTreeMap::from([(12, b"labels".to_vec())])).expect("it fits");
        assert_eq!(copy.len(), COPY_BYTES);
        assert_eq!(copy[..4], [0x5a, 0x4b, 0x3c, 0x2d]);
        assert_eq!(copy[4..18], *b"\0\0\0\x0c\0\0\0\x06labels");
        assert_eq!(copy[COPY_BYTES - 4..], [0xa5, 0xb4, 0xc3, 0xd2]);
        let mut zeroed = copy.clone();
        zeroed[DIGEST_AT..DIGEST_AT + DIGEST_BYTES].fill(0);
        assert_eq!(copy[DIGEST_AT..DIGEST_AT + DIGEST_BYTES], *Sha256::digest(&zeroed));
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let full = BTreeMap::from([(12, vec![0; DIGEST_AT - TAGS_AT - 8])]);
        assert!(copy(&full).is_ok());
        let over = BTreeMap::from([(12, vec![0; DIGEST_AT - TAGS_AT - 7])]);
        let error = copy(&over).expect_err("too much");
        assert!(matches!(error, MediaError::Meta { available } if available == DIGEST_AT - TAGS_AT));
    }
}
