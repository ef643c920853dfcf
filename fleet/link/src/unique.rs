//! The unique token of a machine: by what it is known again.
//!
//! ```text
//! META of the machine ─▶ {"Fingerprint":"<hash of its network cards>","Token":"<UUID>"} ─▶ every call
//!                                    compared with the one of its link ─▶ same, re-imaged, refused, collision
//! ```
//! A UUID is no identity: boards without one, or with that of their neighbor, are common. The token is, and the
//! fingerprint tells a machine that lost its token from another machine with the same UUID.

use aws_lc_rs::constant_time;
use corten_base::Secret;
use serde::Deserialize;
use serde_json::json;

/// Longest token that is read, in bytes.
pub const LENGTH_MAX: usize = 1024;
/// What to do about a token that cannot be read. META key 0x10 holds it.
const WAY_OUT: &str = "delete META key 0x10 of the machine, and it is given a new one";

/// Why a text is no unique token. No message contains any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UniqueTokenError {
    /// It is longer than [`LENGTH_MAX`].
    #[error("the unique token of the machine is longer than {} bytes; {}", LENGTH_MAX, WAY_OUT)]
    TooLong,
    /// It is not JSON with the fields of a token.
    #[error("the unique token of the machine is not JSON with a Fingerprint and a Token; {}", WAY_OUT)]
    Malformed,
    /// Its fingerprint is not hexadecimal, or its random part is empty or not printable ASCII without spaces.
    #[error("the unique token of the machine has characters that none has; {}", WAY_OUT)]
    Characters,
}

/// The token of one machine. Printing it shows the fingerprint only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueToken {
    fingerprint: String,
    token: Secret<String>,
}

/// What the token that a machine sends says, next to that of the link with its UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is the machine of the link.
    Same,
    /// It is the hardware of the link, with another token: the disk was replaced or written anew.
    Reimaged,
    /// It is the hardware of the link, and should have its token, which is on the disk: somebody pretends to be it.
    Refused,
    /// It is another machine with the same UUID.
    Collision,
}

/// The JSON form.
#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "Fingerprint")]
    fingerprint: String,
    #[serde(rename = "Token")]
    token: String,
}

impl UniqueToken {
    /// A token from its parts.
    ///
    /// # Errors
    /// When a part has characters that none has, or the token is empty or too long.
    pub fn new(fingerprint: String, token: Secret<String>) -> Result<Self, UniqueTokenError> {
        let printable = token.reveal().bytes().all(|byte| byte.is_ascii_graphic());
        let is_valid = printable && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
        if token.reveal().is_empty() || !is_valid {
            return Err(UniqueTokenError::Characters);
        }
        let new = Self { fingerprint, token };
        if new.encode().reveal().len() > LENGTH_MAX { Err(UniqueTokenError::TooLong) } else { Ok(new) }
    }

    /// Reads the JSON form. `None` when the text, or the token in it, is empty: the machine was never given one.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(text: &Secret<String>) -> Result<Option<Self>, UniqueTokenError> {
        let text = text.reveal();
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > LENGTH_MAX {
            return Err(UniqueTokenError::TooLong);
        }
        // The reason of serde quotes the text, so it is dropped.
        let wire: Wire = serde_json::from_str(text).map_err(|_| UniqueTokenError::Malformed)?;
        if wire.token.is_empty() {
            return Ok(None);
        }
        Self::new(wire.fingerprint, Secret::new(wire.token)).map(Some)
    }

    /// The JSON form, as machines keep it in META.
    #[must_use]
    pub fn encode(&self) -> Secret<String> {
        let object = json!({ "Fingerprint": self.fingerprint, "Token": self.token.reveal() });
        Secret::new(object.to_string())
    }

    /// Hash of the hardware addresses of the physical network cards, hexadecimal; empty when it is not known.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether both have the same random part. A network card that was replaced changes the other part only.
    #[must_use]
    pub fn has_token_of(&self, other: &Self) -> bool {
        let (one, two) = (self.token.reveal().as_bytes(), other.token.reveal().as_bytes());
        constant_time::verify_slices_are_equal(one, two).is_ok()
    }

    /// Whether both are of the same hardware. A fingerprint that is not known is of none.
    #[must_use]
    pub fn has_fingerprint_of(&self, other: &Self) -> bool {
        !self.fingerprint.is_empty() && self.fingerprint == other.fingerprint
    }
}

/// What `sent` says next to `stored`, the token of the link with the same UUID. `force_valid` is whether the link
/// carries the annotation of that name: the token was on the disk, so the machine cannot have lost it by a restart.
#[must_use]
pub fn compare(stored: &UniqueToken, sent: &UniqueToken, force_valid: bool) -> Comparison {
    if sent.has_token_of(stored) {
        Comparison::Same
    } else if !sent.has_fingerprint_of(stored) {
        Comparison::Collision
    } else if force_valid {
        Comparison::Refused
    } else {
        Comparison::Reimaged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = r#"{"Fingerprint":"0a1b","Token":"5f2c9d6e-0b5e-4d0e-9a43-7a1c6a3f0d11"}"#;

    fn parse(text: &str) -> Result<Option<UniqueToken>, UniqueTokenError> {
        UniqueToken::parse(&Secret::new(text.to_owned()))
    }

    fn token(fingerprint: &str, token: &str) -> UniqueToken {
        UniqueToken::new(fingerprint.to_owned(), Secret::new(token.to_owned())).unwrap()
    }

    #[test]
    fn a_token_is_the_json_that_machines_keep() {
        let read = parse(TOKEN).unwrap().unwrap();
        assert_eq!(read, token("0a1b", "5f2c9d6e-0b5e-4d0e-9a43-7a1c6a3f0d11"));
        assert_eq!(read.encode().reveal(), TOKEN);
        assert!(!format!("{read:?}").contains("5f2c9d6e"));
    }

    #[test]
    fn a_machine_that_was_never_given_one_has_none() {
        assert_eq!(parse(""), Ok(None));
        assert_eq!(parse(r#"{"Fingerprint":"0a1b","Token":""}"#), Ok(None));
    }

    #[test]
    fn what_is_no_token_is_refused_without_telling_it() {
        for text in ["secret", "{}", r#"{"Fingerprint":"0a","Token":7}"#, r#"{"Token":"secret"}"#, "null"] {
            assert_eq!(parse(text), Err(UniqueTokenError::Malformed), "{text}");
        }
        for text in [r#"{"Fingerprint":"secret","Token":"a"}"#, r#"{"Fingerprint":"","Token":"a b"}"#] {
            assert_eq!(parse(text), Err(UniqueTokenError::Characters), "{text}");
        }
        assert_eq!(parse(&" ".repeat(1025)), Err(UniqueTokenError::TooLong));
        for error in [UniqueTokenError::TooLong, UniqueTokenError::Malformed, UniqueTokenError::Characters] {
            assert!(error.to_string().ends_with(WAY_OUT), "{error}");
        }
    }

    #[test]
    fn the_token_decides_then_the_fingerprint_then_the_annotation() {
        let stored = token("0a", "one");
        for (sent, force_valid, expected) in [
            (token("0a", "one"), false, Comparison::Same),
            (token("0a", "one"), true, Comparison::Same),
            (token("0b", "one"), true, Comparison::Same),
            (token("0a", "two"), false, Comparison::Reimaged),
            (token("0a", "two"), true, Comparison::Refused),
            (token("0b", "two"), false, Comparison::Collision),
            (token("0b", "two"), true, Comparison::Collision),
        ] {
            assert_eq!(compare(&stored, &sent, force_valid), expected, "{sent:?} {force_valid}");
        }
        let nothing_known = (token("", "one"), token("", "two"));
        assert_eq!(compare(&nothing_known.0, &nothing_known.1, false), Comparison::Collision);
    }

    #[test]
    fn arbitrary_text_is_refused_or_written_back_to_the_same_token() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            if let Ok(Some(token)) = parse(&text) {
                assert_eq!(UniqueToken::parse(&token.encode()), Ok(Some(token)));
            }
        });
    }
}
