//! Takes what looks like a token or a key out of a line before it is kept.
//!
//! ```text
//! line ─▶ bodies of PEM private keys ─▶ values behind words such as `token` ─▶ line with REDACTED in their place
//! ```
//!
//! A value is what stands behind a word and `=` or `:` (also as in URLs, `%3D`), in quotes or up to the next delimiter.
//! Quotes may be escaped, so that JSON in a text of JSON stays JSON. Behind words that are used for much else, as
//! `key`, only a value that is as long as a key of 32 bytes is one.

use std::borrow::Cow;
use std::ops::Range;

/// What stands in the place of a secret.
const MASK: &[u8] = b"REDACTED";
/// Shortest value behind a word that always means a secret, bytes.
const ANY_MIN: usize = 6;
/// Shortest value behind the other words: 32 bytes in base64.
const LONG_MIN: usize = 43;
/// Shortest body of an encoded join token (fleet.md 1.6), bytes.
const ENCODED_MIN: usize = 16;
const PEM_BEGIN: &[u8] = b"-----BEGIN ";
const PEM_END: &[u8] = b"-----END";
const PEM_DASHES: &[u8] = b"-----";

/// Which values behind a word are secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    Any,
    /// Those that are long and of the characters of base64.
    Long,
    /// Base64 of JSON, as behind the version of a join token.
    Encoded,
}

/// Words at the end of what stands in front of a value. The first that fits decides.
const WORDS: [(&[u8], Option<Values>); 16] = [
    (b"public_key", None),
    (b"public-key", None),
    (b"public key", None),
    (b"publickey", None),
    (b"token", Some(Values::Any)),
    (b"token_id", Some(Values::Any)),
    (b"tokenid", Some(Values::Any)),
    (b"password", Some(Values::Any)),
    (b"passwd", Some(Values::Any)),
    (b"passphrase", Some(Values::Any)),
    (b"bearer", Some(Values::Any)),
    (b"secret", Some(Values::Long)),
    (b"key", Some(Values::Long)),
    (b"psk", Some(Values::Long)),
    (b"v1", Some(Values::Encoded)),
    (b"v2", Some(Values::Encoded)),
];

/// The line without what looks like a join token, another token, a password or a private key. Everything else stays as
/// it is, byte for byte.
#[must_use]
pub fn redact(line: &[u8]) -> Cow<'_, [u8]> {
    match mask(line, private_key) {
        Cow::Borrowed(line) => mask(line, secret),
        Cow::Owned(line) => Cow::Owned(mask(&line, secret).into_owned()),
    }
}

/// Replaces every range that `next` finds; it is asked for the next one at or behind a place.
fn mask(line: &[u8], next: impl Fn(&[u8], usize) -> Option<Range<usize>>) -> Cow<'_, [u8]> {
    let mut masked = Vec::new();
    let mut at = 0;
    while let Some(found) = next(line, at) {
        masked.extend_from_slice(line.get(at..found.start).unwrap_or_default());
        masked.extend_from_slice(MASK);
        at = found.end;
    }
    if at == 0 {
        return Cow::Borrowed(line);
    }
    masked.extend_from_slice(line.get(at..).unwrap_or_default());
    Cow::Owned(masked)
}

/// The body of the next private key in PEM; without an end it reaches to a quote or to the end of the line.
fn private_key(line: &[u8], at: usize) -> Option<Range<usize>> {
    let mut from = at;
    loop {
        let label = find(line, PEM_BEGIN, from)? + PEM_BEGIN.len();
        let label_end = find(line, PEM_DASHES, label)?;
        from = label_end + PEM_DASHES.len();
        if !line.get(label..label_end)?.ends_with(b"PRIVATE KEY") {
            continue;
        }
        let end = find(line, PEM_END, from).or_else(|| find(line, b"\"", from)).unwrap_or(line.len());
        let body = line.get(from..end)?;
        let slashes = body.iter().rev().take_while(|byte| **byte == b'\\').count();
        if slashes < body.len() {
            return Some(from..end - slashes);
        }
    }
}

fn find(line: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    let found = line.get(from..)?.windows(needle.len()).position(|window| window == needle)?;
    Some(from + found)
}

/// The next value that is a secret.
fn secret(line: &[u8], at: usize) -> Option<Range<usize>> {
    (at..line.len()).find_map(|index| secret_at(line, index))
}

/// The secret behind the separator at this place, if there are both.
fn secret_at(line: &[u8], index: usize) -> Option<Range<usize>> {
    let (before, rest) = line.split_at_checked(index)?;
    let separator = separator(rest)?;
    let (word, is_quoted) = word(before);
    let is_spaced = separator.starts_with(b" ");
    let (_, values) = WORDS.iter().find(|(end, _)| {
        // `Bearer` is followed by a space, the others by a sign.
        is_spaced == (*end == b"bearer") && ends_with(word, end)
    })?;
    let (range, is_bare) = value(line, index + separator.len())?;
    let value = line.get(range.clone())?;
    // A number or a list in JSON is no secret, and a word in its place would be no JSON.
    let is_json = is_quoted && is_bare && is_literal(value);
    (!is_json && is_secret(value, (*values)?)).then_some(range)
}

/// The sign between a word and its value, if one begins here.
fn separator(rest: &[u8]) -> Option<&[u8]> {
    match rest {
        [b'=' | b':' | b' ', ..] => rest.get(..1),
        [b'%', b'3', b'a' | b'A' | b'd' | b'D', ..] => rest.get(..3),
        _ => None,
    }
}

/// What stands in front of a separator, without spaces and quotes behind it, and whether there were quotes.
fn word(before: &[u8]) -> (&[u8], bool) {
    let spaced = before.trim_ascii_end();
    let last = spaced.iter().rposition(|byte| !matches!(byte, b'"' | b'\'' | b'\\'));
    let word = spaced.get(..last.map_or(0, |last| last + 1)).unwrap_or_default();
    (word, word.len() < spaced.len())
}

fn ends_with(word: &[u8], end: &[u8]) -> bool {
    let from = word.len().checked_sub(end.len());
    from.and_then(|from| word.get(from..)).is_some_and(|tail| tail.eq_ignore_ascii_case(end))
}

/// Where the value is that begins here or behind spaces, and whether it has no quotes.
fn value(line: &[u8], from: usize) -> Option<(Range<usize>, bool)> {
    let rest = line.get(from..)?;
    let from = from + rest.iter().take_while(|byte| **byte == b' ').count();
    let rest = line.get(from..)?;
    let slashes = rest.iter().take_while(|byte| **byte == b'\\').count();
    if let Some(quote @ (b'"' | b'\'')) = rest.get(slashes) {
        let begin = from + slashes + 1;
        return Some((begin..closing(line, begin, *quote, slashes), false));
    }
    let length = rest.iter().position(|byte| is_delimiter(*byte)).unwrap_or(rest.len());
    let escaped = rest.windows(3).position(|window| window.eq_ignore_ascii_case(b"%26"));
    Some((from..from + length.min(escaped.unwrap_or(length)), true))
}

/// Where the quoted value ends that begins here behind a quote with so many backslashes in front of it.
///
/// A quote of the same depth has as many, beside those that stand for backslashes in the value, which come in multiples
/// of twice that and two; one of a lesser depth, which ends what is around the value, has fewer or an even number.
fn closing(line: &[u8], begin: usize, quote: u8, depth: usize) -> usize {
    let mut slashes = 0;
    for (offset, byte) in line.iter().enumerate().skip(begin) {
        let is_quote = *byte == quote || *byte == b'"';
        let is_outer = slashes % 2 == 0 || slashes < depth;
        match byte {
            b'\\' => slashes += 1,
            _ if is_quote && is_outer => return if slashes % 2 == 0 { offset } else { offset - slashes },
            _ if is_quote && slashes % (2 * (depth + 1)) == depth => return offset - depth,
            _ => slashes = 0,
        }
    }
    line.len()
}

fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_whitespace()
        || matches!(byte, b'"' | b'\'' | b'\\' | b'`')
        || matches!(byte, b'&' | b',' | b';' | b'|' | b'<' | b'>' | b'(' | b')' | b']' | b'}')
}

/// Whether a value is a number, or begins a list or an object.
fn is_literal(value: &[u8]) -> bool {
    value.starts_with(b"[")
        || value.starts_with(b"{")
        || value.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E'))
}

fn is_secret(value: &[u8], values: Values) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
    match values {
        Values::Any => value.len() >= ANY_MIN,
        Values::Long => value.len() >= LONG_MIN && value.iter().all(is_base64),
        Values::Encoded => value.len() >= ENCODED_MIN && value.starts_with(b"ey"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "w7uVuW3zbVKIYQuzEcyetAHeYMeo5q2L9RvkAVfCfSCD";

    fn check(line: &str, expected: &str) {
        let redacted = redact(line.as_bytes()).into_owned();
        assert_eq!(String::from_utf8_lossy(&redacted), expected);
        assert_eq!(redact(&redacted), redacted.as_slice(), "again, it is the same");
    }

    /// Every sentence around the token; the same ones must remain around the mask.
    fn check_around(around: &[(&str, &str)]) {
        for (before, after) in around {
            check(&format!("{before}{TOKEN}{after}"), &format!("{before}REDACTED{after}"));
        }
    }

    #[test]
    fn join_tokens_are_taken_out_of_addresses_and_arguments() {
        check_around(&[
            ("siderolink.api=https://fleet.example.org:8090/?jointoken=", " console=ttyS0"),
            ("api?jointoken=", "&grpc_tunnel=true"),
            (r#"{"msg":"api?jointoken="#, r#"\u0026grpc_tunnel=y","seq":1}"#),
            ("next=https%3A%2F%2Ffleet%2F%3Fjointoken%3D", "%26grpc_tunnel%3Dtrue"),
            ("JoinToken: ", ", retrying"),
        ]);
        let encoded = "eyJleHRyYV9kYXRhIjp7fSwic2lnbmF0dXJlIjoiYSJ9";
        check(&format!("jointoken=v2:{encoded} a"), "jointoken=REDACTED a");
        check(&format!("the token is v1:{encoded}."), "the token is v1:REDACTED");
    }

    #[test]
    fn tokens_passwords_and_keys_are_taken_out_of_yaml_json_and_text() {
        check_around(&[
            ("machine:\n  token: ", "\n  ca:"),
            ("secretboxEncryptionSecret: '", "' # x"),
            (r#"{"token":""#, r#"","a":1}"#),
            (r#"{"msg":"{\"token\": \""#, r#"\",\"a\":1}"}"#),
            (r#"{"msg":"{\"b\":\"{\\\"token\\\":\\\""#, r#"\\\"}\"}"}"#),
            ("password = \"", "\" x"),
            ("Authorization: Bearer ", " x"),
            ("tokenid: ", ""),
            ("private_key=", " mtu 1280"),
        ]);
        check(r#"{"password":"a \"quoted\" word\\","a":1}"#, r#"{"password":"REDACTED","a":1}"#);
        check("token: abcdef.0123456789abcdef", "token: REDACTED");
    }

    #[test]
    fn private_keys_in_pem_keep_only_their_label() {
        check(
            r#"{"msg":"-----BEGIN EC PRIVATE KEY-----\nMIG\n-----END EC PRIVATE KEY-----\n"}"#,
            r#"{"msg":"-----BEGIN EC PRIVATE KEY-----REDACTED-----END EC PRIVATE KEY-----\n"}"#,
        );
        check(
            r#"{"msg":"{\"a\":\"-----BEGIN PRIVATE KEY-----\\nMIG\"}"}"#,
            r#"{"msg":"{\"a\":\"-----BEGIN PRIVATE KEY-----REDACTED\"}"}"#,
        );
        let certificate = "-----BEGIN CERTIFICATE-----\\nMIG\\n-----END CERTIFICATE-----";
        check(certificate, certificate);
    }

    #[test]
    fn lines_without_secrets_stay_as_they_are() {
        for line in [
            r#"{"msg":"token is invalid","tokens":12345678,"token":12345678,"token":["abcdefgh"]}"#,
            "Loaded X.509 cert 'Build time key: 32ef01cb23ab45cd67ef89ab01cd23ef45ab67cd'",
            "public_key=w7uVuW3zbVKIYQuzEcyetAHeYMeo5q2L9RvkAVfCfSC=",
            "secret=kube-system/coredns key: value v1: v2:1 apps/v1: eyes",
            "",
        ] {
            let same = redact(line.as_bytes());
            assert!(matches!(same, Cow::Borrowed(same) if same == line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn fuzz_redaction_takes_any_bytes_and_leaves_no_token() {
        bolero::check!().for_each(|bytes: &[u8]| {
            drop(redact(bytes));
            let line = [&b"jointoken="[..], TOKEN.as_bytes(), b" ", bytes].concat();
            assert_eq!(find(&redact(&line), TOKEN.as_bytes(), 0), None);
        });
    }
}
