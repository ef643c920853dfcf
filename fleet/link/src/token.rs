//! Join tokens: what a machine shows to be let in.
//!
//! ```text
//! plain   the key itself, letters and digits            ─▶ a JoinToken of that name
//! v1:     base64 of {"extra_data":{…},"signature":"…"}  ─▶ signed with the default join token
//! v2:     the same                                      ─▶ signed with the token of the provider that it names,
//!                                                          or else with the default join token
//! ```
//! The signature is HMAC-SHA256 with the text of the plain token as the key, over the extra data as compact JSON with
//! sorted keys. Only what an encoder writes is read: other spacing, order, fields or escapes are refused.

use std::collections::BTreeMap;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::{Rng, Secret};
use serde::Deserialize;
use serde_json::Value;

/// What a signed token says about its machine. The keys become labels of the link.
pub type ExtraData = BTreeMap<String, String>;

/// Key of extra data, and label: the infrastructure provider that made the machine.
pub const INFRA_PROVIDER_ID: &str = "omni.sidero.dev/infra-provider-id";
/// Key of extra data, and label: the request for which the provider made the machine.
pub const MACHINE_REQUEST: &str = "omni.sidero.dev/machine-request";
/// Longest token that is read or made, in bytes.
pub const LENGTH_MAX: usize = 4096;

/// Begin of a token of version 1.
const V1: &str = "v1:";
/// Begin of a token of version 2.
const V2: &str = "v2:";
/// Bytes of a signature.
const SIGNATURE_LENGTH: usize = 32;
/// Letters of a token that is made here.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Letters in a token that is made here: as many as carry 256 bits.
const GENERATED_LENGTH: usize = 43;

/// Why a text is no join token. No message contains any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than [`LENGTH_MAX`], or would be.
    #[error(
        "the join token is longer than {} bytes; take kernel arguments or an image from the manager",
        LENGTH_MAX
    )]
    TooLong,
    /// It is neither signed nor plain: a plain one has at least one letter, all of ASCII, no spaces and no colon.
    #[error("the join token has letters that none has; take kernel arguments or an image from the manager")]
    Letters,
    /// It begins like a signed token, and the rest is not what an encoder writes.
    #[error("the signed join token is damaged; take kernel arguments or an image from the manager")]
    Damaged,
}

/// A token as a machine sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinToken {
    /// The key itself.
    Plain(Secret<String>),
    /// Signed with the default join token.
    V1(SignedToken),
    /// Signed with the token of the infrastructure provider that it names, if it names one.
    V2(SignedToken),
}

/// What the store must be asked about to judge a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority<'a> {
    /// The `JoinToken` of this name: it must be active.
    Token(&'a Secret<String>),
    /// The default join token: it must be active, and is the key of the signature.
    Default,
    /// The join token in the `ProviderJoinConfig` of this provider: it is the key of the signature.
    Provider(&'a str),
}

/// Extra data and a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedToken {
    extra_data: ExtraData,
    signature: Secret<Vec<u8>>,
}

/// The JSON inside of a signed token.
#[derive(Deserialize)]
struct Body {
    extra_data: ExtraData,
    signature: String,
}

impl JoinToken {
    /// A new plain token of 43 letters and digits, which carry 256 bits.
    #[must_use]
    pub fn generate(rng: &Rng) -> Self {
        let letter = || {
            let index = usize::try_from(rng.below(62)).unwrap_or_default();
            ALPHABET.get(index).copied().map(char::from)
        };
        Self::Plain(Secret::new((0..GENERATED_LENGTH).filter_map(|_| letter()).collect()))
    }

    /// Adds extra data to a token: a plain one becomes a signed one of version 2. One that is signed already stays as
    /// it is, and so does any if there is nothing to add.
    ///
    /// # Errors
    /// When `token` is none, or the result would be too long.
    pub fn with_extra_data(token: &Secret<String>, extra_data: ExtraData) -> Result<Self, TokenError> {
        match Self::decode(token)? {
            Self::Plain(key) if !extra_data.is_empty() => {
                let signed = Self::V2(SignedToken::sign(extra_data, &key));
                let fits = signed.encode().reveal().len() <= LENGTH_MAX;
                fits.then_some(signed).ok_or(TokenError::TooLong)
            }
            other => Ok(other),
        }
    }

    /// Reads a token as a machine sends it.
    ///
    /// # Errors
    /// When the text is not what [`JoinToken::encode`] or another encoder writes.
    pub fn decode(text: &Secret<String>) -> Result<Self, TokenError> {
        let text = text.reveal();
        if text.len() > LENGTH_MAX {
            return Err(TokenError::TooLong);
        }
        if let Some(body) = text.strip_prefix(V1) {
            return SignedToken::read(body).map(Self::V1).ok_or(TokenError::Damaged);
        }
        if let Some(body) = text.strip_prefix(V2) {
            return SignedToken::read(body).map(Self::V2).ok_or(TokenError::Damaged);
        }
        let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
        if is_plain { Ok(Self::Plain(Secret::new(text.clone()))) } else { Err(TokenError::Letters) }
    }

    /// The token as machines send it.
    #[must_use]
    pub fn encode(&self) -> Secret<String> {
        match self {
            Self::Plain(key) => key.clone(),
            Self::V1(signed) => Secret::new(format!("{V1}{}", signed.body())),
            Self::V2(signed) => Secret::new(format!("{V2}{}", signed.body())),
        }
    }

    /// What the token is judged by.
    #[must_use]
    pub fn authority(&self) -> Authority<'_> {
        match self {
            Self::Plain(key) => Authority::Token(key),
            Self::V1(_) => Authority::Default,
            Self::V2(signed) => match signed.extra_data.get(INFRA_PROVIDER_ID) {
                Some(provider) => Authority::Provider(provider),
                None => Authority::Default,
            },
        }
    }

    /// What the token says about its machine. Worth nothing before [`JoinToken::is_made_with`] holds.
    #[must_use]
    pub const fn extra_data(&self) -> Option<&ExtraData> {
        match self {
            Self::Plain(_) => None,
            Self::V1(signed) | Self::V2(signed) => Some(&signed.extra_data),
        }
    }

    /// Whether the token is this key, or is signed with it. Takes the same time for every wrong key of one length.
    ///
    /// Nothing is made with an empty key: a provider whose token is not written yet has one.
    #[must_use]
    pub fn is_made_with(&self, key: &Secret<String>) -> bool {
        if key.reveal().is_empty() {
            return false;
        }
        match self {
            Self::Plain(own) => {
                let (own, key) = (own.reveal().as_bytes(), key.reveal().as_bytes());
                constant_time::verify_slices_are_equal(own, key).is_ok()
            }
            Self::V1(signed) | Self::V2(signed) => signed.is_signed_with(key),
        }
    }
}

impl SignedToken {
    /// Signs extra data with a plain token.
    #[must_use]
    pub fn sign(extra_data: ExtraData, key: &Secret<String>) -> Self {
        let tag = hmac::sign(&hmac_key(key), json(&extra_data).as_bytes());
        Self { extra_data, signature: Secret::new(tag.as_ref().to_vec()) }
    }

    fn is_signed_with(&self, key: &Secret<String>) -> bool {
        let message = json(&self.extra_data);
        hmac::verify(&hmac_key(key), message.as_bytes(), self.signature.reveal()).is_ok()
    }

    /// What follows the version.
    fn body(&self) -> String {
        let extra_data = json(&self.extra_data);
        let signature = STANDARD.encode(self.signature.reveal());
        STANDARD.encode(format!(r#"{{"extra_data":{extra_data},"signature":"{signature}"}}"#))
    }

    /// The inverse of [`SignedToken::body`]; `None` for everything that it does not write.
    fn read(body: &str) -> Option<Self> {
        let Body { extra_data, signature } = serde_json::from_slice(&STANDARD.decode(body).ok()?).ok()?;
        let signature = STANDARD.decode(signature).ok()?;
        let token = Self { extra_data, signature: Secret::new(signature) };
        let is_read = token.signature.reveal().len() == SIGNATURE_LENGTH && token.body() == body;
        is_read.then_some(token)
    }
}

/// A plain token as the key of signatures.
fn hmac_key(token: &Secret<String>) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.reveal().as_bytes())
}

/// Extra data as signatures see it: compact, keys sorted, and with the characters escaped that Go escapes.
fn json(extra_data: &ExtraData) -> String {
    let object: Value = extra_data.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut text = object.to_string();
    for (character, escape) in [
        ('<', r"\u003c"),
        ('>', r"\u003e"),
        ('&', r"\u0026"),
        ('\u{2028}', r"\u2028"),
        ('\u{2029}', r"\u2029"),
    ] {
        text = text.replace(character, escape);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "joinTokenOfTheTest0123456789";
    /// Made by another implementation of HMAC, base64 and JSON.
    const SIGNED: &str = "\
        v2:eyJleHRyYV9kYXRhIjp7Im9tbmkuc2lkZXJvLmRldi9pbmZyYS1wcm92aWRlci1pZCI6Im1ldGFsIiwib21uaS5zaWRlc\
        m8uZGV2L21hY2hpbmUtcmVxdWVzdCI6InItMSJ9LCJzaWduYXR1cmUiOiJZRGZwRU94dDZWWXgwS2puZ1BTTHB4VU8yUDA0R\
        DY0REpkTi9idlZJK21zPSJ9";
    const SIGNED_WITH_ESCAPES: &str = "\
        v1:eyJleHRyYV9kYXRhIjp7Im9tbmkuc2lkZXJvLmRldi9tYWNoaW5lLXJlcXVlc3QiOiJcdTAwM2NhXHUwMDI2Ylx1MDAzZ\
        SJ9LCJzaWduYXR1cmUiOiJaSDk2bE1PNEhZS3ZYVnJ0dldwUDFHem9iL2VoaW9kVzNIYXB1V2FPYStVPSJ9";

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    fn extra_data(entries: &[(&str, &str)]) -> ExtraData {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn signed(json: &str) -> Secret<String> {
        Secret::new(format!("v2:{}", STANDARD.encode(json)))
    }

    #[test]
    fn a_signed_token_is_the_one_that_others_make() {
        let data = extra_data(&[(MACHINE_REQUEST, "r-1"), (INFRA_PROVIDER_ID, "metal")]);
        let token = JoinToken::with_extra_data(&secret(KEY), data).unwrap();
        assert_eq!(token.encode().reveal(), SIGNED);
        assert_eq!(JoinToken::decode(&secret(SIGNED)), Ok(token));
        let escaped = JoinToken::decode(&secret(SIGNED_WITH_ESCAPES)).unwrap();
        assert_eq!(escaped.extra_data(), Some(&extra_data(&[(MACHINE_REQUEST, "<a&b>")])));
        assert!(escaped.is_made_with(&secret(KEY)));
    }

    #[test]
    fn only_its_own_key_fits_a_token() {
        for token in [KEY, SIGNED, SIGNED_WITH_ESCAPES] {
            let token = JoinToken::decode(&secret(token)).unwrap();
            assert!(token.is_made_with(&secret(KEY)));
            assert!(!token.is_made_with(&secret("another")));
            assert!(!token.is_made_with(&secret("")));
        }
        let unsigned = SignedToken::sign(extra_data(&[(INFRA_PROVIDER_ID, "metal")]), &secret(""));
        assert!(!JoinToken::V2(unsigned).is_made_with(&secret("")), "an empty key is no key");
    }

    #[test]
    fn a_provider_judges_the_tokens_of_version_two_that_name_it() {
        let authority = |token: &str| format!("{:?}", JoinToken::decode(&secret(token)).unwrap().authority());
        assert_eq!(authority(KEY), "Token(REDACTED)");
        assert_eq!(authority(SIGNED), "Provider(\"metal\")");
        assert_eq!(authority(&SIGNED.replace("v2:", "v1:")), "Default");
        assert_eq!(authority(&SIGNED_WITH_ESCAPES.replace("v1:", "v2:")), "Default");
    }

    #[test]
    fn a_token_that_is_signed_already_stays_as_it_is() {
        let again = JoinToken::with_extra_data(&secret(SIGNED), extra_data(&[("a", "b")])).unwrap();
        assert_eq!(again.encode().reveal(), SIGNED);
        let plain = JoinToken::with_extra_data(&secret(KEY), ExtraData::new()).unwrap();
        assert_eq!(plain, JoinToken::Plain(secret(KEY)));
        let long = extra_data(&[("a", "b".repeat(LENGTH_MAX).as_str())]);
        assert_eq!(JoinToken::with_extra_data(&secret(KEY), long), Err(TokenError::TooLong));
    }

    #[test]
    fn a_new_token_is_plain_and_another_one_each_time() {
        let rng = Rng::seeded(1);
        let (one, two) = (JoinToken::generate(&rng), JoinToken::generate(&rng));
        assert_ne!(one, two);
        let text = one.encode();
        assert_eq!(text.reveal().len(), GENERATED_LENGTH);
        assert!(text.reveal().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(JoinToken::decode(&text), Ok(one));
    }

    #[test]
    fn what_no_encoder_writes_is_refused_without_telling_it() {
        let signature = STANDARD.encode([7_u8; SIGNATURE_LENGTH]);
        let body = |extra: &str| signed(&format!(r#"{{"extra_data":{extra},"signature":"{signature}"}}"#));
        assert!(JoinToken::decode(&body(r#"{"a":"b"}"#)).is_ok());
        let damaged = [
            body("null"),
            body(r#"{"a": "b"}"#),
            body(r#"{"b":"1","a":"2"}"#),
            body(r#"{"a":"1","a":"2"}"#),
            body(r#"{"a":1}"#),
            body(r#"{"a":"<"}"#),
            signed(&format!(r#"{{"signature":"{signature}","extra_data":{{"a":"b"}}}}"#)),
            signed(&format!(r#"{{"extra_data":{{"a":"b"}},"signature":"{signature}","more":1}}"#)),
            signed(r#"{"extra_data":{"a":"b"},"signature":"YWJj"}"#),
            signed(r#"{"extra_data":{"a":"b"}}"#),
            secret("v2:"),
            secret("v1:secret"),
            Secret::new(format!("{SIGNED}\n")),
        ];
        for text in &damaged {
            assert_eq!(JoinToken::decode(text), Err(TokenError::Damaged), "{}", text.reveal());
        }
        for text in ["", "v3:secret", "two words", "schlüssel", "line\n"] {
            assert_eq!(JoinToken::decode(&secret(text)), Err(TokenError::Letters), "{text}");
        }
        assert_eq!(JoinToken::decode(&Secret::new("a".repeat(4097))), Err(TokenError::TooLong));
        for error in [TokenError::Letters, TokenError::Damaged, TokenError::TooLong] {
            assert!(error.to_string().contains("take kernel arguments"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", [secret(KEY), secret(SIGNED)].map(|token| JoinToken::decode(&token)));
        assert!(text.contains("Plain(REDACTED)") && text.contains("signature: REDACTED"), "{text}");
    }

    #[test]
    fn what_is_read_is_written_back_the_same() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            for text in [Secret::new(format!("v1:{text}")), signed(&text), Secret::new(text)] {
                if let Ok(token) = JoinToken::decode(&text) {
                    assert_eq!(token.encode(), text);
                }
            }
        });
    }
}
