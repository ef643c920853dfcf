//! Just enough DER to wrap and unwrap private keys (RFC 5208, RFC 5915, RFC 8017).
//!
//! The readers take what they expect or give nothing; they never index past the input.

pub const SEQUENCE: u8 = 0x30;
pub const INTEGER: u8 = 0x02;
pub const OCTETS: u8 = 0x04;
pub const BITS: u8 = 0x03;
pub const OID: u8 = 0x06;
pub const NULL: u8 = 0x05;
/// Explicit context tags 0 and 1.
pub const CONTEXT_0: u8 = 0xa0;
pub const CONTEXT_1: u8 = 0xa1;

/// One tag, length, value.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let significant: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | significant.len() as u8);
        out.extend(significant);
    }
    out.extend_from_slice(content);
    out
}

/// A sequence of already encoded parts.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// Takes the content of the next value if it has this tag.
pub fn take<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (found, rest) = input.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        (bytes.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_form_survive() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let encoded = tlv(OCTETS, &content);
            let mut input = encoded.as_slice();
            assert_eq!(take(&mut input, OCTETS), Some(content.as_slice()), "{length}");
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_wrong_tag_or_a_cut_value_gives_nothing() {
        let encoded = tlv(OCTETS, b"abc");
        assert_eq!(take(&mut encoded.as_slice(), INTEGER), None);
        assert_eq!(take(&mut &encoded[..4], OCTETS), None);
        assert_eq!(take(&mut [OCTETS, 0x80].as_slice(), OCTETS), None);
        assert_eq!(take(&mut [OCTETS, 0x85, 0, 0, 0, 0, 0].as_slice(), OCTETS), None);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut input = bytes;
            while take(&mut input, bytes.first().copied().unwrap_or_default()).is_some() {}
        });
    }
}
