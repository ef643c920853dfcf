//! What looks like a secret, whosever it is: private keys in PEM, keys in base64, JWTs, and values behind words such as
//! `token`.
//!
//! Long lines are cut: to look for words in one without end would cost as much as somebody wants it to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What stands in the place of a secret, as in logs.
pub(crate) const MASK: &[u8] = b"REDACTED";
/// Longest line that is kept.
const LINE_BYTES_MAX: usize = 16 << 10;
/// What stands in the place of the rest of a longer one.
const CUT: &[u8] = b" (the rest of the line is left out)\n";
/// Lines of the largest private key in PEM.
const KEY_LINES_MAX: usize = 200;
const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const PRIVATE: &[u8] = b"PRIVATE KEY";
/// Begin of everything in PEM in base64.
const ENCODED_PEM: &[u8] = b"LS0tLS1CRUdJTi";
/// So much of it is looked at for what it is.
const ENCODED_HEADER: usize = 80;
/// Begin of most JWTs, and of no other text.
const JWT: &[u8] = b"eyJhbGciOi";

/// Whether a text has a private key in PEM.
pub(crate) fn is_private_key(text: &[u8]) -> bool {
    contains(text, BEGIN) && contains(text, PRIVATE)
}

/// The text without what looks like a secret.
pub(crate) fn mask(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    // Lines of a private key that may still come.
    let mut key_lines = 0_usize;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if key_lines > 0 {
            key_lines -= 1;
            if contains(line, END) {
                key_lines = 0;
                out.extend_from_slice(line);
            }
        } else if begins_key(line) {
            key_lines = KEY_LINES_MAX;
            out.extend_from_slice(line);
            out.extend_from_slice(MASK);
            out.push(b'\n');
        } else {
            let kept = line.get(..LINE_BYTES_MAX).unwrap_or(line);
            out.extend_from_slice(&encoded(&corten_base::redact(kept)));
            if kept.len() < line.len() {
                out.extend_from_slice(CUT);
            }
        }
    }
    out
}

/// Whether the line is the first one of a private key whose body stands in the next ones.
fn begins_key(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    line.ends_with(DASHES) && contains(line, BEGIN) && contains(line, PRIVATE) && !contains(line, END)
}

/// The line without private keys in base64 and without JWTs.
fn encoded(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, others)) = rest.split_first() {
        if let Some(length) = key_length(rest).or_else(|| token_length(rest)) {
            out.extend_from_slice(MASK);
            rest = rest.get(length..).unwrap_or_default();
        } else {
            out.push(*first);
            rest = others;
        }
    }
    out
}

/// Length of the private key in base64 that begins here.
fn key_length(text: &[u8]) -> Option<usize> {
    if !text.starts_with(ENCODED_PEM) {
        return None;
    }
    let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'+' | b'/' | b'=');
    let length = text.iter().take_while(is_base64).count();
    let header = text.get(..length.min(ENCODED_HEADER) / 4 * 4)?;
    let header = STANDARD.decode(header).ok()?;
    contains(&header, PRIVATE).then_some(length)
}

/// Length of the JWT that begins here.
fn token_length(text: &[u8]) -> Option<usize> {
    if !text.starts_with(JWT) {
        return None;
    }
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'-' | b'_' | b'.');
    let token = text.get(..text.iter().take_while(is_part).count())?;
    (token.iter().filter(|byte| **byte == b'.').count() >= 2).then_some(token.len())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&mask(text.as_bytes())), expected);
    }

    #[test]
    fn a_private_key_loses_its_body_and_a_certificate_does_not() {
        check(
            "a:\n  -----BEGIN RSA PRIVATE KEY-----\n  MIIE\n  AAAA\n  -----END RSA PRIVATE KEY-----\nb: 1\n",
            "a:\n  -----BEGIN RSA PRIVATE KEY-----\nREDACTED\n  -----END RSA PRIVATE KEY-----\nb: 1\n",
        );
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----\n";
        check(certificate, certificate);
        let endless = format!("-----BEGIN PRIVATE KEY-----\n{}", "x\n".repeat(KEY_LINES_MAX + 1));
        check(&endless, "-----BEGIN PRIVATE KEY-----\nREDACTED\nx\n");
    }

    #[test]
    fn keys_in_base64_and_tokens_are_masked_and_certificates_in_base64_stay() {
        let key = "-----BEGIN ED25519 PRIVATE KEY-----\nMC4CAQ\n-----END ED25519 PRIVATE KEY-----\n";
        let key = STANDARD.encode(key);
        check(&format!("client-key-data: {key}\n"), "client-key-data: REDACTED\n");
        let certificate = STANDARD.encode("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        check(&format!("crt: {certificate}\n"), &format!("crt: {certificate}\n"));
        check("said eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln.\n", "said REDACTED\n");
        check("jointoken=abcdefghijk console=ttyS0\n", "jointoken=REDACTED console=ttyS0\n");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let found = mask(&b"a b ".repeat(LINE_BYTES_MAX));
        assert_eq!(found.len(), LINE_BYTES_MAX + CUT.len());
        bolero::check!().for_each(|bytes: &[u8]| drop(mask(bytes)));
    }
}
