//! Secrets that are known, and how they are found in a text and taken out of it.
//!
//! ```text
//! store of the manager, configuration of a machine ─▶ tokens, keys, passwords ─▶ Known, by their first bytes
//! text ─▶ known secrets ─▶ private keys in PEM ─▶ line by line: words such as `token`, keys in base64, JWTs ─▶ text
//! ```
//!
//! A secret is looked for as it is, in base64 and in hex; one in PEM by the lines of its body. What is not known, such
//! as a password that somebody put into an argument, is recognized by what stands around it, as in logs
//! ([`corten_base::redact`]).

mod configuration;
mod patterns;

pub use configuration::secrets as of_configuration;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::Secret;

use patterns::MASK;

/// How many first bytes lead to a secret, which is also the length of the shortest one that is looked for.
const HEAD: usize = 8;
/// Shortest line of a body in PEM that is looked for; the last one may be padding alone.
const PEM_LINE_MIN: usize = 16;
/// Every pair of bytes.
const PAIRS: usize = 1 << 16;

type Head = [u8; HEAD];

/// A text that is to stand nowhere.
struct Needle {
    text: Secret<Vec<u8>>,
    /// Whose secret it is, for people.
    what: Arc<str>,
}

/// Secrets, to be looked for in texts. Nothing of them is ever printed.
pub struct Known {
    needles: HashMap<Head, Vec<Needle>>,
    /// Whether a secret begins with a pair of bytes; most do not, so that most places are passed at once.
    pairs: Vec<bool>,
    /// What was added already: the secrets of a cluster are those of each of its machines.
    seen: HashSet<Vec<u8>>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("secrets", &self.seen.len()).finish_non_exhaustive()
    }
}

impl Default for Known {
    fn default() -> Self {
        Self { needles: HashMap::new(), pairs: vec![false; PAIRS], seen: HashSet::new() }
    }
}

impl Known {
    /// Looks for this secret too, in all of its forms. One of less than 8 bytes is looked for by nobody: it stands
    /// in every text.
    pub fn add(&mut self, what: &str, secret: &[u8]) {
        let secret = secret.trim_ascii();
        if secret.len() < HEAD || !self.seen.insert(secret.to_vec()) {
            return;
        }
        let what: Arc<str> = what.into();
        if patterns::is_private_key(secret) {
            let lines = secret.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let is_body = |line: &&[u8]| line.len() >= PEM_LINE_MIN && !line.starts_with(b"-----");
            for line in lines.filter(is_body) {
                self.note(&what, line);
            }
        } else if std::str::from_utf8(secret).is_ok() {
            self.note(&what, secret);
        } else {
            self.note(&what, hex::encode(secret).as_bytes());
        }
        for encoded in encoded(secret) {
            self.note(&what, encoded.as_bytes());
        }
    }

    fn note(&mut self, what: &Arc<str>, text: &[u8]) {
        let Some((head, pair)) = head(text).zip(pair(text)) else { return };
        if let Some(begins) = self.pairs.get_mut(pair) {
            *begins = true;
        }
        let needle = Needle { text: Secret::new(text.to_vec()), what: Arc::clone(what) };
        self.needles.entry(head).or_default().push(needle);
    }

    /// The longest secret that begins here.
    fn at(&self, text: &[u8]) -> Option<&Needle> {
        if !self.pairs.get(pair(text)?).copied().unwrap_or_default() {
            return None;
        }
        let needles = self.needles.get(&head(text)?)?;
        let fitting = needles.iter().filter(|needle| text.starts_with(needle.text.reveal()));
        fitting.max_by_key(|needle| needle.text.reveal().len())
    }

    /// Whose secret stands in a text; none if none does. For those who look whether any got out.
    #[must_use]
    pub fn find(&self, text: &[u8]) -> Option<&str> {
        let mut places = (0..text.len()).filter_map(|from| self.at(text.get(from..)?));
        places.next().map(|needle| &*needle.what)
    }

    /// The text without secrets: those that are known, and what looks like one.
    #[must_use]
    pub fn redact(&self, text: &[u8]) -> Vec<u8> {
        patterns::mask(&self.mask(text))
    }

    /// The text without those that are known.
    fn mask(&self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((first, others)) = rest.split_first() {
            if let Some(needle) = self.at(rest) {
                out.extend_from_slice(MASK);
                rest = rest.get(needle.text.reveal().len()..).unwrap_or_default();
            } else {
                out.push(*first);
                rest = others;
            }
        }
        out
    }
}

/// How a secret stands in base64: by itself, and in the middle of something longer. What depends on its neighbours is
/// left out.
fn encoded(secret: &[u8]) -> impl Iterator<Item = String> {
    [(0, 0), (1, 2), (2, 3)].into_iter().flat_map(move |(before, first)| {
        let text = STANDARD.encode([&vec![0; before][..], secret].concat());
        let own = text.get(first..text.len().saturating_sub(4)).unwrap_or_default().to_owned();
        let for_urls = own.replace('+', "-").replace('/', "_");
        let is_other = for_urls != own;
        [Some(own), is_other.then_some(for_urls)].into_iter().flatten()
    })
}

fn head(text: &[u8]) -> Option<Head> {
    text.first_chunk().copied()
}

fn pair(text: &[u8]) -> Option<usize> {
    text.first_chunk().map(|pair| usize::from(u16::from_le_bytes(*pair)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "w7uVuW3zbVKIYQuzEcyetAHeYMeo5q2L9RvkAVfCfSCD";
    const PEM: &str = "-----BEGIN EC PRIVATE KEY-----\n\
                       MHcCAQEEIBnotAkeyButLooksLikeOneToEverybodyAAAAAAAAAAAAAAAAAAAAA\n\
                       AwEHoUQDQgAEnotAkeyEither\n\
                       -----END EC PRIVATE KEY-----\n";

    fn known() -> Known {
        let mut known = Known::default();
        known.add("join token", TOKEN.as_bytes());
        known.add("key of prod", PEM.as_bytes());
        known.add("key of a disk", &[0xff; 32]);
        known.add("short", b"abc");
        known
    }

    #[test]
    fn a_secret_is_found_in_all_of_its_forms_and_its_owner_is_told() {
        let known = known();
        let encoded = STANDARD.encode(PEM);
        let wrapped = PEM.replace('\n', "\n      ");
        for (text, whose) in [
            (format!("a {TOKEN} b"), "join token"),
            (STANDARD.encode(TOKEN), "join token"),
            (STANDARD.encode(format!("{{\"token\":\"{TOKEN}\"}}")), "join token"),
            (format!("key: {encoded}"), "key of prod"),
            (wrapped, "key of prod"),
            ("ff".repeat(32), "key of a disk"),
            (STANDARD.encode([0xff_u8; 32]), "key of a disk"),
        ] {
            assert_eq!(known.find(text.as_bytes()), Some(whose), "{text}");
            let redacted = known.redact(text.as_bytes());
            assert_eq!(known.find(&redacted), None, "{}", String::from_utf8_lossy(&redacted));
        }
        assert_eq!(known.find(b"abc, and w7uVuW3zbVK alone"), None);
    }

    #[test]
    fn the_rest_of_a_text_stays_as_it_is() {
        let text = format!("one {TOKEN} two\n{TOKEN}{TOKEN}\nthree");
        let redacted = known().redact(text.as_bytes());
        assert_eq!(String::from_utf8_lossy(&redacted), "one REDACTED two\nREDACTEDREDACTED\nthree");
    }

    #[test]
    fn fuzz_no_text_around_a_secret_saves_it() {
        let known = known();
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = [bytes, TOKEN.as_bytes(), bytes].concat();
            assert_eq!(known.find(&known.redact(&text)), None);
        });
    }
}
