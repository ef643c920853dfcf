//! Looks for secrets in bytes, in every form in which they might stand there.
//!
//! ```text
//! secret ─▶ as it is, hexadecimal, base64 (from each of three places in a longer text) ─▶ Needles ─▶ find(bytes)
//! ```

use std::collections::HashMap;

use corten_config::values::to_base64;

/// Bytes by which needles are looked up; shorter secrets would be found everywhere.
const HEAD: usize = 8;
/// Shortest secret.
const SHORTEST: usize = 16;

/// A form of a secret.
struct Needle {
    secret: String,
    form: &'static str,
    bytes: Vec<u8>,
}

/// All forms of all secrets, by how they begin.
#[derive(Default)]
pub struct Needles {
    by_head: HashMap<[u8; HEAD], Vec<Needle>>,
    secrets: Vec<String>,
    forms: usize,
}

impl Needles {
    /// Adds a secret under a name.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= SHORTEST, "{name} is too short to be looked for");
        self.secrets.push(name.to_owned());
        self.form(name, "as it is", secret.to_vec());
        self.form(name, "hexadecimal", hex::encode(secret).into_bytes());
        self.form(name, "hexadecimal", hex::encode_upper(secret).into_bytes());
        for before in 0..3 {
            let text = to_base64([&vec![0; before][..], secret].concat());
            // Characters that depend on what stands around it.
            let (first, last) = ([0, 2, 3][before], text.len() - 4);
            let text = &text[first..last];
            self.form(name, "base64", text.as_bytes().to_vec());
            let for_urls = text.replace('+', "-").replace('/', "_");
            if for_urls != text {
                self.form(name, "base64 for URLs", for_urls.into_bytes());
            }
        }
    }

    /// Adds an armored key: the whole text, and a line of its content, which stands alone where line feeds are written
    /// in another way. The first line is mostly what kind of key it is.
    pub fn add_pem(&mut self, name: &str, pem: &[u8]) {
        self.add(name, pem);
        let text = String::from_utf8_lossy(pem);
        let lines = text.lines().filter(|line| line.len() >= SHORTEST && !line.starts_with("-----"));
        let lines: Vec<&str> = lines.collect();
        let line = lines.get(1).or(lines.first()).expect("content");
        self.add(&format!("{name}, a line"), line.as_bytes());
    }

    fn form(&mut self, secret: &str, form: &'static str, bytes: Vec<u8>) {
        let head = *bytes.first_chunk::<HEAD>().expect("a needle");
        self.forms += 1;
        self.by_head.entry(head).or_default().push(Needle { secret: secret.to_owned(), form, bytes });
    }

    /// What is found in bytes, each once.
    pub fn find(&self, bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for (index, head) in bytes.windows(HEAD).enumerate() {
            let head: &[u8; HEAD] = head.first_chunk().expect("a window");
            let Some(needles) = self.by_head.get(head) else { continue };
            let here = needles.iter().filter(|needle| bytes[index..].starts_with(&needle.bytes));
            found.extend(here.map(|needle| format!("{} ({})", needle.secret, needle.form)));
        }
        found.sort();
        found.dedup();
        found
    }

    /// Names of the secrets.
    pub fn secrets(&self) -> &[String] {
        &self.secrets
    }

    /// How many forms are looked for.
    pub fn forms(&self) -> usize {
        self.forms
    }
}

#[test]
fn a_secret_is_found_in_every_form() {
    let (secret, after) = (&b"a secret that nobody may ever read"[..], &b" and more"[..]);
    let mut needles = Needles::default();
    needles.add("it", secret);
    let mut texts: Vec<String> =
        ["", "a", "ab", "abc"].map(|before| to_base64([before.as_bytes(), secret, after].concat())).into();
    texts.extend([hex::encode(secret), hex::encode_upper(secret)]);
    for text in texts {
        assert_eq!(needles.find(format!("before {text} after").as_bytes()).len(), 1, "{text}");
    }
    assert_eq!(needles.find(secret), ["it (as it is)"]);
    assert!(needles.find(b"a secret that nobody may ever rea").is_empty());
    assert!(needles.secrets().len() == 1 && needles.forms() >= 6);
}
