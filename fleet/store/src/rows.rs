//! Resources as rows, the same wherever they are kept: a place that shows the type alone, a value that is sealed.
//!
//! ```text
//! place: namespace 0 type 0 base64url( sealed id )        value: Sealer( envelope of the resource ), bound to the place
//! ```
//!
//! An id may be a secret: that of a join token is the token. Ids are sealed so that the same id is always the same place
//! (AES-256-GCM-SIV without a nonce, RFC 8452: that two places are equal is all it gives away), and that a place leads
//! back to its id.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use corten_base::{Rng, Secret};
use corten_resource::envelope::{self, EnvelopeError};
use corten_resource::{AnyResource, Pointer, Registry, StateError};

use crate::sealer::{KEY_BYTES, SealError, Sealer};

/// Where the wrapped master key stands, which is part of what is authenticated.
const MASTER_KEY: &[u8] = b"master-key";
/// What the key of ids is derived for.
const IDS: &str = "ids of rows";

/// A row that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{name} cannot be read; {}", .source.way_out())]
pub struct RowError {
    /// Namespace, type and sealed id, with slashes between.
    pub name: String,
    /// Why.
    pub source: Unreadable,
}

/// Why a row cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Its value does not open.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// What is in it is no resource.
    #[error(transparent)]
    Content(#[from] EnvelopeError),
}

impl Unreadable {
    /// What to do about it.
    #[must_use]
    pub const fn way_out(&self) -> &'static str {
        match self {
            Self::Sealed(error) => error.way_out(),
            Self::Content(_) => "restore the store from a backup",
        }
    }
}

/// Makes rows of resources and resources of rows, with the master key of a store.
#[derive(Debug)]
pub struct Rows {
    sealer: Sealer,
    /// Seals ids.
    ids: LessSafeKey,
    /// Makes the keys of what is kept beside the store.
    derivation: hmac::Key,
    registry: Registry,
}

impl Rows {
    /// Rows under a master key.
    ///
    /// # Errors
    /// Never with a key of this length, as far as the library says.
    pub fn new(master: &Secret<[u8; KEY_BYTES]>, rng: Rng, registry: Registry) -> Result<Self, SealError> {
        let derivation = hmac::Key::new(hmac::HMAC_SHA256, master.reveal());
        let ids = UnboundKey::new(&AES_256_GCM_SIV, derived(&derivation, IDS).reveal());
        let ids = LessSafeKey::new(ids.map_err(|_| SealError::Refused)?);
        Ok(Self { sealer: Sealer::new(master, rng)?, ids, derivation, registry })
    }

    /// What seals the values.
    pub const fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// A key for a purpose, the same as long as the master key is (HMAC-SHA256 of the purpose).
    pub fn key_for(&self, purpose: &str) -> Secret<[u8; KEY_BYTES]> {
        derived(&self.derivation, purpose)
    }

    /// Where a resource is.
    ///
    /// # Errors
    /// When its id is too long for any place.
    pub fn place(&self, pointer: &Pointer) -> Result<Vec<u8>, StateError> {
        let kind = [pointer.namespace.as_bytes(), &[0], pointer.kind.as_bytes(), &[0]].concat();
        let mut id = pointer.id.as_bytes().to_vec();
        let sealed = self.ids.seal_in_place_append_tag(no_nonce(), Aad::from(&kind), &mut id);
        sealed.map_err(|_| StateError::Invalid(format!("the id of {pointer} is too long")))?;
        Ok([kind, URL_SAFE_NO_PAD.encode(id).into_bytes()].concat())
    }

    /// What is at a place; nothing when it is none of this store.
    #[must_use]
    pub fn pointer(&self, place: &[u8]) -> Option<Pointer> {
        let end = place.iter().rposition(|byte| *byte == 0)?;
        let (kind, id) = place.split_at_checked(end + 1)?;
        let mut id = URL_SAFE_NO_PAD.decode(id).ok()?;
        let id = self.ids.open_in_place(no_nonce(), Aad::from(kind), &mut id).ok()?;
        let (namespace, kind) = std::str::from_utf8(kind).ok()?.strip_suffix('\0')?.split_once('\0')?;
        Some(Pointer::new(namespace, kind, std::str::from_utf8(id).ok()?))
    }

    /// The value of a resource.
    ///
    /// # Errors
    /// When it is too large for any value.
    pub fn write(&self, resource: &AnyResource) -> Result<Vec<u8>, StateError> {
        let pointer = resource.pointer();
        let sealed = self.sealer.seal(&self.place(&pointer)?, &envelope::encode(resource));
        let refused = |why: &SealError| format!("{pointer} cannot be kept: {}", corten_base::chain(why));
        sealed.map_err(|error| StateError::Invalid(refused(&error)))
    }

    /// The resource of a row.
    ///
    /// # Errors
    /// When the value does not open, or no resource is in it.
    pub fn read(&self, place: &[u8], value: &[u8]) -> Result<AnyResource, RowError> {
        let content = self.sealer.open(place, value).map_err(|error| unreadable(place, error))?;
        envelope::decode(&content, &self.registry).map_err(|error| unreadable(place, error))
    }
}

/// An error that names its row.
pub fn unreadable(place: &[u8], source: impl Into<Unreadable>) -> RowError {
    RowError { name: name(place), source: source.into() }
}

/// The nonce of every id: equal ids are to have equal places.
fn no_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn derived(derivation: &hmac::Key, purpose: &str) -> Secret<[u8; KEY_BYTES]> {
    let tag = hmac::sign(derivation, purpose.as_bytes());
    let mut key = [0; KEY_BYTES];
    for (byte, derived) in key.iter_mut().zip(tag.as_ref()) {
        *byte = *derived;
    }
    Secret::new(key)
}

/// What is at a place as the first programs wrote it, with the id in clear; nothing when it is none.
pub fn clear_pointer(place: &[u8]) -> Option<Pointer> {
    let text = std::str::from_utf8(place).ok()?;
    let mut parts = text.splitn(3, '\0');
    Some(Pointer::new(parts.next()?, parts.next()?, parts.next()?))
}

/// A place for people; the id stays sealed, because it may be a secret.
fn name(place: &[u8]) -> String {
    String::from_utf8_lossy(place).replace('\0', "/")
}

/// A new master key.
pub fn new_master(rng: &Rng) -> Secret<[u8; KEY_BYTES]> {
    Secret::new(rng.bytes())
}

/// A master key as it is kept: sealed with the key of a key file.
///
/// # Errors
/// Never with keys of this length, as far as the library says.
pub fn wrap(
    wrapping: &Secret<[u8; KEY_BYTES]>,
    master: &Secret<[u8; KEY_BYTES]>,
    rng: &Rng,
) -> Result<Vec<u8>, SealError> {
    Sealer::new(wrapping, rng.clone())?.seal(MASTER_KEY, master.reveal())
}

/// The master key that was wrapped; nothing with another key than that.
pub fn unwrap(
    wrapping: &Secret<[u8; KEY_BYTES]>,
    wrapped: &[u8],
    rng: &Rng,
) -> Option<Secret<[u8; KEY_BYTES]>> {
    let master = Sealer::new(wrapping, rng.clone()).ok()?.open(MASTER_KEY, wrapped).ok()?;
    <[u8; KEY_BYTES]>::try_from(master.as_slice()).ok().map(Secret::new)
}

#[cfg(test)]
mod tests {
    use corten_resource::conformance::{self, ConformanceThing};

    use super::*;

    fn rows(byte: u8) -> Rows {
        Rows::new(&Secret::new([byte; KEY_BYTES]), Rng::seeded(1), conformance::registry()).expect("a key")
    }

    #[test]
    fn a_resource_comes_back_from_its_row_and_what_does_not_is_named_with_the_way_out() {
        let thing = AnyResource::new("conformance", "a/b", ConformanceThing { text: "x".to_owned() });
        let at = rows(1).place(&thing.pointer()).expect("a place");
        assert_eq!(rows(1).pointer(&at), Some(thing.pointer()));
        assert_eq!(rows(1).pointer(b"no place"), None);
        assert_eq!(rows(2).pointer(&at), None, "of another store");
        let value = rows(1).write(&thing).expect("written");
        assert_eq!(rows(1).read(&at, &value).expect("read"), thing);
        let text = rows(2).read(&at, &value).expect_err("another key").to_string();
        assert!(text.starts_with("conformance/ConformanceThings.corten.dev/"), "{text}");
        assert!(text.contains("it came from another store"), "{text}");
        let no_resource = rows(1).sealer().seal(&at, b"\xff").expect("sealed");
        assert!(matches!(
            rows(1).read(&at, &no_resource),
            Err(RowError { source: Unreadable::Content(_), .. })
        ));
    }

    #[test]
    fn an_id_has_one_place_which_does_not_show_it_and_no_other_type_shares() {
        let pointer = |kind: &str, id: &str| Pointer::new("default", kind, id);
        let at = rows(1).place(&pointer("JoinTokens", "secret")).expect("a place");
        assert_eq!(rows(1).place(&pointer("JoinTokens", "secret")).expect("a place"), at);
        assert!(!at.windows(6).any(|part| part == b"secret"));
        let sealed = at.strip_prefix(b"default\0JoinTokens\0").expect("its type");
        assert_eq!(rows(1).pointer(&[b"default\0Others\0".as_slice(), sealed].concat()), None);
        assert_eq!(clear_pointer(b"default\0Others\0a/b"), Some(pointer("Others", "a/b")));
    }

    #[test]
    fn fuzz_any_bytes_are_a_place_or_none() {
        let rows = rows(1);
        bolero::check!().for_each(|bytes: &[u8]| drop((rows.pointer(bytes), clear_pointer(bytes))));
    }

    #[test]
    fn a_master_key_comes_back_with_its_key_alone() {
        let rng = Rng::seeded(1);
        let (key, other) = (Secret::new([1; KEY_BYTES]), Secret::new([2; KEY_BYTES]));
        let master = new_master(&rng);
        let wrapped = wrap(&key, &master, &rng).expect("wrapped");
        assert!(unwrap(&key, &wrapped, &rng).is_some_and(|found| found == master));
        assert!(unwrap(&other, &wrapped, &rng).is_none());
        let old = Sealer::new(&key, rng.clone()).expect("a key").seal_without_id(MASTER_KEY, master.reveal());
        assert!(unwrap(&key, &old, &rng).is_some_and(|found| found == master), "of the first programs");
    }
}
