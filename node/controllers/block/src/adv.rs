//! The format of META (node.md 5.6): two copies, each a magic, tags, a digest and another magic.
//!
//! A reader takes the first copy that is whole; a writer replaces one copy after the other, so that a loss
//! of power leaves at least one.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// Size of one copy.
pub const COPY_BYTES: usize = 256 * 1024;
/// Both copies.
pub const BYTES: usize = 2 * COPY_BYTES;

const MAGIC_FIRST: u32 = 0x5a4b_3c2d;
const MAGIC_LAST: u32 = 0xa5b4_c3d2;
const DIGEST_BYTES: usize = 32;
const DIGEST_AT: usize = COPY_BYTES - 4 - DIGEST_BYTES;
const TAGS_AT: usize = 4;

/// Values by tag.
pub type Tags = BTreeMap<u8, Vec<u8>>;

/// The values do not fit.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Bytes there are for tags.
    pub available: usize,
}

/// The tags in `bytes`, from the first whole copy; `None` when neither is.
pub fn decode(bytes: &[u8]) -> Option<Tags> {
    bytes.chunks(COPY_BYTES).take(2).find_map(decode_copy)
}

fn decode_copy(copy: &[u8]) -> Option<Tags> {
    let whole = copy.len() == COPY_BYTES
        && number(copy, 0)? == MAGIC_FIRST
        && number(copy, COPY_BYTES - 4)? == MAGIC_LAST
        && copy.get(DIGEST_AT..DIGEST_AT + DIGEST_BYTES)? == digest(copy).as_slice();
    whole.then(|| tags(copy.get(TAGS_AT..DIGEST_AT).unwrap_or_default()))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// SHA-256 of the copy with the digest's own bytes zeroed.
fn digest(copy: &[u8]) -> [u8; DIGEST_BYTES] {
    let (before, rest) = copy.split_at(DIGEST_AT.min(copy.len()));
    let after = rest.get(DIGEST_BYTES..).unwrap_or_default();
    Sha256::new().chain_update(before).chain_update([0; DIGEST_BYTES]).chain_update(after).finalize().into()
}

fn tags(mut area: &[u8]) -> Tags {
    let mut tags = Tags::new();
    while let (Some(tag), Some(size)) = (number(area, 0), number(area, 4)) {
        let (Ok(tag), Ok(size)) = (u8::try_from(tag), usize::try_from(size)) else { break };
        let Some(value) = area.get(8..).and_then(|rest| rest.get(..size)) else { break };
        if tag == 0 {
            break;
        }
        tags.insert(tag, value.to_vec());
        area = area.get(8 + size..).unwrap_or_default();
    }
    tags
}

/// One copy with these tags.
///
/// # Errors
/// [`TooLarge`] when they do not fit.
pub fn encode(tags: &Tags) -> Result<Vec<u8>, TooLarge> {
    let mut copy = Vec::with_capacity(COPY_BYTES);
    copy.extend(MAGIC_FIRST.to_be_bytes());
    for (tag, value) in tags {
        let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
        copy.extend(u32::from(*tag).to_be_bytes());
        copy.extend(size.to_be_bytes());
        copy.extend(value);
    }
    if copy.len() > DIGEST_AT {
        return Err(TooLarge { available: DIGEST_AT - TAGS_AT });
    }
    copy.resize(COPY_BYTES - 4, 0);
    copy.extend(MAGIC_LAST.to_be_bytes());
    let digest = digest(&copy);
    if let Some(place) = copy.get_mut(DIGEST_AT..DIGEST_AT + DIGEST_BYTES) {
        place.copy_from_slice(&digest);
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn both(copy: &[u8]) -> Vec<u8> {
        [copy, copy].concat()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_is_written_is_read(tags in proptest::collection::btree_map(1u8.., proptest::collection::vec(any::<u8>(), 0..64), 0..8)) {
            prop_assert_eq!(decode(&both(&encode(&tags).expect("fits"))), Some(tags));
        }
    }

    #[test]
    fn one_damaged_copy_is_survived_two_are_not() {
        let tags = Tags::from([(0x0a, b"x".to_vec())]);
        let mut bytes = both(&encode(&tags).expect("fits"));
        bytes[10] ^= 1;
        assert_eq!(decode(&bytes), Some(tags));
        bytes[COPY_BYTES + 10] ^= 1;
        assert_eq!(decode(&bytes), None);
        assert_eq!(decode(&vec![0; BYTES]), None);
    }

    #[test]
    fn values_that_do_not_fit_are_refused() {
        let tags = Tags::from([(1, vec![0; COPY_BYTES])]);
        assert_eq!(encode(&tags), Err(TooLarge { available: DIGEST_AT - TAGS_AT }));
    }

    #[test]
    fn any_bytes_are_survived() {
        bolero::check!().for_each(|bytes| {
            let _ = decode(bytes);
            let _ = tags(bytes);
        });
    }
}
