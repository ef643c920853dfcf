//! As much of DNS (RFC 1035) as asking for an address takes.

use std::net::IpAddr;

/// Largest answer that is read; servers do not exceed 512 bytes without being asked to.
pub const ANSWER_BYTES_MAX: usize = 1500;

const HEADER_BYTES: usize = 12;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
const ADDRESSES_MAX: usize = 32;
const RCODE_NAME_ERROR: u8 = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl Kind {
    const fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// A recursive query for `name`; `None` if it is not a domain name.
pub fn query(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut message = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
    message.extend(id.to_be_bytes());
    message.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        if label.is_empty() || label.len() > LABEL_BYTES_MAX {
            return None;
        }
        message.push(u8::try_from(label.len()).ok()?);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.number().to_be_bytes());
    message.extend([0, 1]);
    Some(message)
}

/// Addresses in the answer to query `id`: none if the name does not exist, `Err` with the server's code if it
/// failed. `None` for bytes that are not an answer to this query and must be ignored.
pub fn addresses(message: &[u8], id: u16, kind: Kind) -> Option<Result<Vec<IpAddr>, u8>> {
    let header = message.first_chunk::<HEADER_BYTES>()?;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if count(0) != id || header[2] & 0x80 == 0 {
        return None;
    }
    match header[3] & 0x0f {
        0 => {}
        RCODE_NAME_ERROR => return Some(Ok(Vec::new())),
        code => return Some(Err(code)),
    }
    let mut rest = &message[HEADER_BYTES..];
    for _ in 0..count(4) {
        skip_name(&mut rest)?;
        rest = rest.get(4..)?;
    }
    let mut found = Vec::new();
    for _ in 0..count(6) {
        let Some((number, data)) = record(&mut rest) else { break };
        let address = match data {
            [a, b, c, d] => IpAddr::from([*a, *b, *c, *d]),
            _ => match <[u8; 16]>::try_from(data) {
                Ok(octets) => IpAddr::from(octets),
                Err(_) => continue,
            },
        };
        if number == kind.number() && address.is_ipv4() == (kind == Kind::A) && found.len() < ADDRESSES_MAX {
            found.push(address);
        }
    }
    Some(Ok(found))
}

/// Type and data of the next record.
fn record<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    skip_name(rest)?;
    let (fixed, after) = rest.split_first_chunk::<10>()?;
    let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let (data, after) = after.split_at_checked(length)?;
    *rest = after;
    Some((u16::from_be_bytes([fixed[0], fixed[1]]), data))
}

/// Names need not be read: the order of records tells enough, and compression pointers end a name.
fn skip_name(rest: &mut &[u8]) -> Option<()> {
    loop {
        let (length, after) = rest.split_first()?;
        match length {
            0 => {
                *rest = after;
                return Some(());
            }
            0xc0.. => {
                *rest = after.get(1..)?;
                return Some(());
            }
            length => *rest = after.get(usize::from(*length)..)?,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An answer to `query` with a CNAME in front and, if it asked for IPv4, one address.
    pub fn answer(query: &[u8], address: [u8; 4]) -> Vec<u8> {
        let four = query[query.len() - 3] == 1;
        let mut message = query.to_vec();
        message[2] |= 0x80;
        message[7] = if four { 2 } else { 1 };
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, b'x', 0xc0, 12]);
        if four {
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            message.extend(address);
        }
        message
    }

    #[test]
    fn reads_the_answer_to_its_own_question_only() {
        let query = query(7, "node-1.example", Kind::A).expect("a name");
        let message = answer(&query, [10, 5, 0, 2]);
        assert_eq!(addresses(&message, 7, Kind::A), Some(Ok(vec![IpAddr::from([10, 5, 0, 2])])));
        assert_eq!(addresses(&message, 8, Kind::A), None, "another query's answer");
        assert_eq!(addresses(&query, 7, Kind::A), None, "a query is no answer");
        let mut missing = message.clone();
        missing[3] |= 3;
        assert_eq!(addresses(&missing, 7, Kind::A), Some(Ok(Vec::new())));
        missing[3] = 2;
        assert_eq!(addresses(&missing, 7, Kind::A), Some(Err(2)));
    }

    #[test]
    fn refuses_what_is_no_name() {
        for bad in ["", "a..b", &"x".repeat(64), &"a.".repeat(130)] {
            assert_eq!(query(1, bad, Kind::A), None, "{bad}");
        }
    }

    #[test]
    fn never_panics_on_any_bytes() {
        bolero::check!().for_each(|input: &[u8]| {
            let id = input.first_chunk::<2>().map_or(0, |id| u16::from_be_bytes(*id));
            if let Some(Ok(found)) = addresses(input, id, Kind::Aaaa) {
                assert!(found.len() <= ADDRESSES_MAX);
            }
        });
    }
}
