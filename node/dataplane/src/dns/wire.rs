//! As much of the DNS message format (RFC 1035) as a forwarder needs: the question, the TTLs, own answers.

use std::net::IpAddr;

/// Bytes of a message header.
const HEADER: usize = 12;
/// Longest name on the wire.
const NAME_MAX: usize = 255;
/// A UDP client without EDNS takes no more than this.
pub const UDP_MIN: usize = 512;
/// Longest message accepted over UDP.
pub const UDP_MAX: usize = 4096;
/// Type A.
pub const A: u16 = 1;
/// Type NS.
const NS: u16 = 2;
/// Type SOA.
const SOA: u16 = 6;
/// Type AAAA.
pub const AAAA: u16 = 28;
/// Type OPT (EDNS).
const OPT: u16 = 41;
/// Class IN.
const IN: u16 = 1;
/// TTL of our own answers, seconds.
const OWN_TTL: u32 = 10;

/// Why no real answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The query is malformed.
    FormErr = 1,
    /// No upstream answered.
    ServFail = 2,
    /// Not a standard query.
    NotImp = 4,
}

/// The question of a query, and what decides whether two queries may share an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Name in lower case without the final dot; the root is empty.
    pub name: String,
    /// Record type.
    pub kind: u16,
    /// Class.
    pub class: u16,
    /// DNSSEC records wanted (EDNS DO) and checking disabled (CD): such answers differ.
    pub dnssec: (bool, bool),
}

/// A parsed query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Id chosen by the client.
    pub id: u16,
    /// What it asks.
    pub question: Question,
    /// End of the question section in the message.
    pub question_end: usize,
    /// Longest UDP answer that the client takes.
    pub udp_size: usize,
}

/// A record's place in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    kind: u16,
    class: u16,
    ttl_at: usize,
    ttl: u32,
    data: (usize, usize),
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(message.get(at..at + 4)?.try_into().ok()?))
}

/// The id of a message.
#[must_use]
pub fn id(message: &[u8]) -> Option<u16> {
    u16_at(message, 0)
}

/// Writes another id into a message.
pub fn set_id(message: &mut [u8], id: u16) {
    if let Some(field) = message.get_mut(..2) {
        field.copy_from_slice(&id.to_be_bytes());
    }
}

/// The answer did not fit and was cut.
#[must_use]
pub fn is_truncated(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

/// The response code.
#[must_use]
pub fn response_code(message: &[u8]) -> Option<u8> {
    message.get(3).map(|flags| flags & 0x0f)
}

/// Skips a name, compressed or not, and returns where it ends.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            0xc0.. => return message.get(at + 1).map(|_| at + 2),
            1..0x40 => at += 1 + length,
            _ => return None,
        }
        if at - start > NAME_MAX {
            return None;
        }
    }
}

/// Reads the uncompressed name of a question.
fn question_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let start = at;
    let mut name = String::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        if length >= 0x40 || at + length - start >= NAME_MAX {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        // Bytes outside ASCII map to code points one to one, so different names stay different;
        // a dot inside a label could not, and no host has one.
        let label = message.get(at..at + length)?;
        if label.contains(&b'.') {
            return None;
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += length;
    }
}

/// Parses a query.
///
/// # Errors
/// The refusal to answer with; nothing can be answered to a message without a whole header or to a response.
pub fn parse_query(message: &[u8]) -> Result<Query, Option<Refusal>> {
    let id = id(message).ok_or(None)?;
    if message.len() < HEADER || message[2] & 0x80 != 0 {
        return Err(None);
    }
    if message[2] & 0x78 != 0 {
        return Err(Some(Refusal::NotImp));
    }
    parse_question(message, id).ok_or(Some(Refusal::FormErr))
}

fn parse_question(message: &[u8], id: u16) -> Option<Query> {
    if u16_at(message, 4)? != 1 {
        return None;
    }
    let (name, at) = question_name(message, HEADER)?;
    let (kind, class) = (u16_at(message, at)?, u16_at(message, at + 2)?);
    let question_end = at + 4;
    let edns = records(message, question_end)?.into_iter().find(|record| record.kind == OPT);
    let udp_size = edns.map_or(UDP_MIN, |opt| usize::from(opt.class).clamp(UDP_MIN, UDP_MAX));
    let wants_dnssec = edns.is_some_and(|opt| opt.ttl & 0x8000 != 0);
    let question = Question { name, kind, class, dnssec: (wants_dnssec, message.get(3)? & 0x10 != 0) };
    Some(Query { id, question, question_end, udp_size })
}

/// All records behind the question.
fn records(message: &[u8], mut at: usize) -> Option<Vec<Record>> {
    let count: u32 =
        [6, 8, 10].into_iter().map(|at| u16_at(message, at).map(u32::from)).sum::<Option<u32>>()?;
    let mut records = Vec::new();
    for _ in 0..count {
        let name_end = skip_name(message, at)?;
        let (kind, class) = (u16_at(message, name_end)?, u16_at(message, name_end + 2)?);
        let ttl_at = name_end + 4;
        let ttl = u32_at(message, ttl_at)?;
        let start = ttl_at + 6;
        let end = start + usize::from(u16_at(message, ttl_at + 4)?);
        message.get(start..end)?;
        records.push(Record { kind, class, ttl_at, ttl, data: (start, end) });
        at = end;
    }
    Some(records)
}

/// The answer belongs to the question: same name, type and class, one question, a response.
#[must_use]
pub fn answers(message: &[u8], question: &Question) -> bool {
    let Some(end) =
        message.get(2).filter(|flags| *flags & 0x80 != 0).and_then(|_| question_name(message, HEADER))
    else {
        return false;
    };
    let (name, at) = end;
    u16_at(message, 4) == Some(1)
        && name == question.name
        && u16_at(message, at) == Some(question.kind)
        && u16_at(message, at + 2) == Some(question.class)
}

/// For how many seconds a response may be kept: its smallest TTL, for a negative one as RFC 2308 says.
///
/// Nothing for failures and for what does not parse.
#[must_use]
pub fn lifetime(message: &[u8]) -> Option<u32> {
    let code = response_code(message)?;
    if is_truncated(message) || (code != 0 && code != 3) {
        return None;
    }
    let (_, at) = question_name(message, HEADER)?;
    let records = records(message, at + 4)?;
    let answers = usize::from(u16_at(message, 6)?);
    if code == 0 && answers > 0 {
        return records.iter().filter(|record| record.kind != OPT).map(|record| record.ttl).min();
    }
    let soa = records.iter().find(|record| record.kind == SOA)?;
    let minimum = u32_at(message, soa.data.1.checked_sub(4).filter(|at| *at >= soa.data.0)?)?;
    Some(soa.ttl.min(minimum))
}

/// Takes `age` seconds off every TTL.
pub fn age(message: &mut [u8], age: u32) {
    let Some(records) = question_name(message, HEADER).and_then(|(_, at)| records(message, at + 4)) else {
        return;
    };
    for record in records.into_iter().filter(|record| record.kind != OPT) {
        let ttl = record.ttl.saturating_sub(age).to_be_bytes();
        message[record.ttl_at..record.ttl_at + 4].copy_from_slice(&ttl);
    }
}

/// Copies the question as the client spelled it over the one in `answer` (mixed case is a client's check).
pub fn restore_question(answer: &mut [u8], query: &[u8], question_end: usize) {
    if let (Some(target), Some(source)) =
        (answer.get_mut(HEADER..question_end), query.get(HEADER..question_end))
    {
        target.copy_from_slice(source);
    }
}

/// Header and question of a response to `query` with these flags and `answers` records to follow.
fn response_head(query: &[u8], question_end: usize, code: u8, answers: u16) -> Vec<u8> {
    let mut message = query.get(..question_end).unwrap_or_default().to_vec();
    message[2] = 0x80 | (query[2] & 0x79);
    message[3] = 0x80 | (query[3] & 0x10) | code;
    message[6..8].copy_from_slice(&answers.to_be_bytes());
    message[8..HEADER].fill(0);
    message
}

/// A refusal; the question is repeated when there is a whole one.
#[must_use]
pub fn refuse(query: &[u8], refusal: Refusal) -> Vec<u8> {
    let end = question_name(query, HEADER).map(|(_, at)| at + 4).filter(|end| *end <= query.len());
    let mut message = response_head(query, end.unwrap_or(HEADER), refusal as u8, 0);
    message[4..6].copy_from_slice(&u16::from(end.is_some()).to_be_bytes());
    message
}

/// The same answer without records and with the truncation bit, for a client that takes less.
#[must_use]
pub fn truncate(query: &[u8], question_end: usize) -> Vec<u8> {
    let mut message = response_head(query, question_end, 0, 0);
    message[2] |= 0x02;
    message
}

/// An answer of our own: those of `addresses` that fit the question's type (none: the name exists, without data).
#[must_use]
pub fn own_answer(query: &[u8], parsed: &Query, addresses: &[IpAddr]) -> Vec<u8> {
    let fitting: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (address, parsed.question.kind) {
            (IpAddr::V4(ip), A) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), AAAA) => Some(ip.octets().to_vec()),
            _ => None,
        })
        .take(16)
        .collect();
    let count = u16::try_from(fitting.len()).unwrap_or(0);
    let mut message = response_head(query, parsed.question_end, 0, count);
    message[2] |= 0x04;
    for data in fitting {
        message.extend([0xc0, 12]);
        message.extend(parsed.question.kind.to_be_bytes());
        message.extend(IN.to_be_bytes());
        message.extend(OWN_TTL.to_be_bytes());
        message.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        message.extend(data);
    }
    message
}

/// A query that every name server has an answer to: who serves the root.
pub const ROOT: [u8; HEADER + 5] = [0, 0, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, NS as u8, 0, IN as u8];

/// A query for `name`; nothing when it is not a name.
#[must_use]
pub fn query(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    message.extend(id.to_be_bytes());
    message.extend([0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    if message.len() > HEADER + NAME_MAX {
        return None;
    }
    message.extend(kind.to_be_bytes());
    message.extend(IN.to_be_bytes());
    Some(message)
}

/// The addresses in a response.
#[must_use]
pub fn addresses(message: &[u8]) -> Vec<IpAddr> {
    let records =
        question_name(message, HEADER).and_then(|(_, at)| records(message, at + 4)).unwrap_or_default();
    let address = |record: &Record| {
        let data = message.get(record.data.0..record.data.1)?;
        match record.kind {
            A => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
            AAAA => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
            _ => None,
        }
    };
    records.iter().filter(|record| record.class == IN).filter_map(address).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u16) -> (Vec<u8>, Query) {
        let message = query(7, name, kind).expect("a name");
        let parsed = parse_query(&message).expect("a query");
        (message, parsed)
    }

    #[test]
    fn own_answers_parse_as_answers() {
        let (message, parsed) = ask("Node-1", A);
        assert_eq!((parsed.id, parsed.question.name.as_str(), parsed.udp_size), (7, "node-1", UDP_MIN));
        let addresses_in = ["10.5.0.2".parse().expect("ip"), "fd00::2".parse().expect("ip")];
        let answer = own_answer(&message, &parsed, &addresses_in);
        assert!(answers(&answer, &parsed.question));
        assert_eq!(addresses(&answer), addresses_in[..1]);
        assert_eq!(lifetime(&answer), Some(OWN_TTL));
        let mut aged = answer.clone();
        age(&mut aged, 4);
        assert_eq!(lifetime(&aged), Some(OWN_TTL - 4));
    }

    #[test]
    fn refuses_what_it_must() {
        let (mut message, _) = ask("a.example", A);
        assert_eq!(parse_query(&message[..11]), Err(None));
        message[2] |= 0x80;
        assert_eq!(parse_query(&message), Err(None), "a response is not answered");
        message[2] = 0x28;
        assert_eq!(parse_query(&message), Err(Some(Refusal::NotImp)));
        let refusal = refuse(&message, Refusal::NotImp);
        assert_eq!((response_code(&refusal), u16_at(&refusal, 4)), (Some(4), Some(1)));
        message[2] = 0;
        message.truncate(20);
        assert_eq!(parse_query(&message), Err(Some(Refusal::FormErr)));
        assert_eq!(refuse(&message, Refusal::FormErr).len(), HEADER);
    }

    #[test]
    fn negative_answers_live_as_long_as_the_soa_says() {
        let (message, _) = ask("missing.example", A);
        let mut answer = message.clone();
        answer[2] |= 0x80;
        answer[3] = 3;
        assert_eq!(lifetime(&answer), None, "without a SOA it is not kept");
        answer[9] = 1;
        answer.extend([0, 0, 6, 0, 1, 0, 0, 1, 0, 0, 22, 0, 0]);
        answer.extend([0; 16]);
        answer.extend(60u32.to_be_bytes());
        assert_eq!(lifetime(&answer), Some(60));
    }

    #[test]
    fn names_have_limits() {
        assert_eq!(query(1, &"a".repeat(64), A), None);
        assert_eq!(query(1, &vec!["abcdefgh"; 40].join("."), A), None);
        assert_eq!(query(1, "a..b", A), None);
    }

    #[test]
    fn any_bytes_are_survived() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(parsed) = parse_query(bytes) {
                let _ = truncate(bytes, parsed.question_end);
                let _ = own_answer(bytes, &parsed, &[IpAddr::from([1, 2, 3, 4])]);
                let _ = answers(bytes, &parsed.question);
            } else if bytes.len() >= HEADER {
                let _ = refuse(bytes, Refusal::FormErr);
            }
            let _ = lifetime(bytes);
            let _ = addresses(bytes);
            age(&mut bytes.to_vec(), 1);
        });
    }

    proptest::proptest! {
        #[test]
        fn queries_round_trip(labels in proptest::collection::vec("[a-z0-9-]{1,20}", 1..8), kind in 1u16..300) {
            let name = labels.join(".");
            let message = query(9, &name, kind).expect("a name");
            let parsed = parse_query(&message).expect("a query");
            proptest::prop_assert_eq!(parsed.question.name, name);
            proptest::prop_assert_eq!(parsed.question.kind, kind);
            proptest::prop_assert_eq!(parsed.question_end, message.len());
        }
    }
}
