//! Which images may debug a machine: those that one of its trusted keys has signed.
//!
//!     /etc/debug/keys/*.pem (EtcFileConfig) ─┐
//!     signatures beside the image (cosign) ──┴▶ name of the key | why not

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_containerd::Signature;
use serde_json::Value;

/// Folder with the keys, which the configuration writes.
pub const KEYS: &str = "/etc/debug/keys";
/// What a statement about an image says it is.
const STATEMENT: &str = "cosign container image signature";
/// Keys that are tried.
const KEYS_MAX: usize = 32;

/// A public key that is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Name of its file.
    pub name: String,
    spki: Vec<u8>,
}

/// Why an image may not run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// Nobody may sign.
    #[error(
        "no key is trusted to sign images for debugging; apply an EtcFileConfig named debug/keys/NAME.pem with a public key"
    )]
    NoKeys,
    /// It is not signed by a key that is trusted.
    #[error("{image} is not signed by any of the trusted keys: {keys}")]
    Unsigned {
        /// Image by digest.
        image: String,
        /// Names of the keys.
        keys: String,
    },
}

/// The trusted keys of a folder; what is no public key is passed over.
pub fn keys(folder: &Path) -> Vec<Key> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut keys: Vec<Key> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .filter_map(|path| {
            let text = std::fs::read(&path).ok()?;
            let spki = corten_pki::public_key(&text).ok()?;
            Some(Key { name: path.file_stem()?.to_string_lossy().into_owned(), spki })
        })
        .take(KEYS_MAX)
        .collect();
    keys.sort_by(|one, other| one.name.cmp(&other.name));
    keys
}

/// Name of a key that has signed the image with this digest.
///
/// # Errors
/// When no trusted key has.
pub fn check(keys: &[Key], image: &str, digest: &str, signatures: &[Signature]) -> Result<String, Refused> {
    if keys.is_empty() {
        return Err(Refused::NoKeys);
    }
    let about = signatures.iter().filter(|signature| states(&signature.statement, digest));
    let signed = about.filter_map(|signature| {
        let bytes = STANDARD.decode(signature.signature.trim()).ok()?;
        keys.iter().find(|key| corten_pki::verify(&key.spki, &signature.statement, &bytes).is_ok())
    });
    signed.map(|key| key.name.clone()).next().ok_or_else(|| Refused::Unsigned {
        image: image.to_owned(),
        keys: keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Whether a statement is about the image with this digest.
fn states(statement: &[u8], digest: &str) -> bool {
    let Ok(statement) = serde_json::from_slice::<Value>(statement) else { return false };
    let critical = &statement["critical"];
    critical["type"] == STATEMENT && critical["image"]["docker-manifest-digest"] == digest
}

#[cfg(test)]
mod tests {
    use corten_base::Rng;
    use corten_pki::{Algorithm, PrivateKey};

    use super::*;

    const DIGEST: &str = "sha256:1234";

    fn statement(digest: &str) -> Vec<u8> {
        let text = r#"{"critical":{"identity":{"docker-reference":"r"},"image":{"docker-manifest-digest":"DIGEST"},"type":"cosign container image signature"},"optional":null}"#;
        text.replace("DIGEST", digest).into_bytes()
    }

    fn signed(key: &PrivateKey, digest: &str) -> Signature {
        let statement = statement(digest);
        let signature = STANDARD.encode(key.sign(&statement).expect("a signature"));
        Signature { statement, signature }
    }

    #[test]
    fn only_a_trusted_key_and_a_statement_about_this_very_image_count() {
        let generate = |seed| PrivateKey::generate(Algorithm::EcdsaP256, &Rng::seeded(seed)).expect("a key");
        let (own, other) = (generate(1), generate(2));
        let keys = [Key { name: "ours".into(), spki: own.spki().to_vec() }];
        let checked = |signatures: &[Signature]| check(&keys, "r@sha256:1234", DIGEST, signatures);
        assert_eq!(checked(&[signed(&other, DIGEST), signed(&own, DIGEST)]).as_deref(), Ok("ours"));
        let unsigned = Err(Refused::Unsigned { image: "r@sha256:1234".into(), keys: "ours".into() });
        assert_eq!(checked(&[]), unsigned);
        assert_eq!(checked(&[signed(&other, DIGEST)]), unsigned);
        assert_eq!(checked(&[signed(&own, "sha256:5678")]), unsigned, "a signature of another image");
        let mut moved = signed(&own, "sha256:5678");
        moved.statement = statement(DIGEST);
        assert_eq!(checked(&[moved]), unsigned, "a statement that was not signed");
        assert_eq!(check(&[], "r", DIGEST, &[signed(&own, DIGEST)]), Err(Refused::NoKeys));
    }

    #[test]
    fn what_is_no_key_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = PrivateKey::generate(Algorithm::Ed25519, &Rng::seeded(3)).expect("a key");
        let pem = key.public_pem();
        std::fs::write(folder.path().join("ours.pem"), pem).expect("a file");
        std::fs::write(folder.path().join("note.txt"), "x").expect("a file");
        std::fs::write(folder.path().join("broken.pem"), "x").expect("a file");
        let names: Vec<String> = keys(folder.path()).into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["ours"]);
        assert!(keys(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn nothing_makes_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            states(bytes, DIGEST);
        });
    }
}
