//! Where a store is in etcd.
//!
//! ```text
//! /corten-fleet/ACCOUNT/store/head          format, wrapped master key
//!                      /store/rows/PLACE    one resource each
//!                      /locks/start/…       the manager that makes or brings forward the store
//!                      /locks/leader/…      the manager that leads, and those that wait for that
//! ```

use std::fmt::Write as _;

/// Begin of all keys.
const ROOT: &str = "/corten-fleet";

/// The keys of one store.
#[derive(Clone, Debug)]
pub struct Keys {
    root: String,
    rows: Vec<u8>,
}

impl Keys {
    /// Those of the managers of an account.
    pub fn of(account: &str) -> Self {
        let root = format!("{ROOT}/{}", escaped(account));
        Self { rows: format!("{root}/store/rows/").into_bytes(), root }
    }

    /// Begin of all keys, for people.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Begin of everything that is followed.
    pub fn store(&self) -> Vec<u8> {
        format!("{}/store/", self.root).into_bytes()
    }

    /// What makes it a store.
    pub fn head(&self) -> Vec<u8> {
        format!("{}/store/head", self.root).into_bytes()
    }

    /// Begin of all rows.
    pub fn rows(&self) -> &[u8] {
        &self.rows
    }

    /// The row at a place.
    pub fn row(&self, place: &[u8]) -> Vec<u8> {
        [self.rows.as_slice(), place].concat()
    }

    /// The place of a row; nothing for other keys.
    pub fn place<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.strip_prefix(self.rows.as_slice())
    }

    /// Name of a lock.
    pub fn lock(&self, name: &str) -> String {
        format!("{}/locks/{name}", self.root)
    }
}

/// A name in which nothing separates.
fn escaped(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing into a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_of_accounts_are_apart_whatever_the_accounts_are_called() {
        let (one, other) = (Keys::of("a"), Keys::of("a/store/rows"));
        assert_eq!(one.root(), "/corten-fleet/a");
        assert_eq!(other.root(), "/corten-fleet/a%2Fstore%2Frows");
        assert!(!other.head().starts_with(&one.store()));
        let row = one.row(b"default\0Clusters\0x");
        assert_eq!(one.place(&row), Some(b"default\0Clusters\0x".as_slice()));
        assert_eq!(one.place(&one.head()), None);
        assert!(row.starts_with(&one.store()) && !one.lock("leader").as_bytes().starts_with(&one.store()));
    }
}
