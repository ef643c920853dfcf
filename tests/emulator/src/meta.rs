//! META of a machine: small values by key, which survive everything but the loss of the system disk (node.md 5.6).

use std::collections::BTreeMap;

use tonic::{Code, Status};

/// Key of what the manager gave the machine to be known by.
pub const UNIQUE_TOKEN: u8 = 0x10;
/// Key of a UUID that takes the place of the firmware's.
pub const UUID_OVERRIDE: u8 = 0x0f;

/// Bytes that fit: one of the two copies on the partition, without its frame.
const SIZE_MAX: usize = 256 * 1024 - 44;
/// Bytes that a value takes besides its own: tag and size.
const ENTRY: usize = 8;

/// The values by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta(BTreeMap<u8, String>);

/// A write or delete that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// Keys are bytes.
    #[error("META key {0} does not fit into one byte")]
    Key(u32),
    /// Values are texts here.
    #[error("the value of META key {0:#04x} is not UTF-8")]
    Value(u8),
    /// There is no room.
    #[error("META is full; delete a key first")]
    Full,
    /// There is no such key.
    #[error("META key {0:#04x} does not exist")]
    Absent(u8),
}

impl From<MetaError> for Status {
    fn from(error: MetaError) -> Self {
        let code = match error {
            MetaError::Key(_) | MetaError::Value(_) => Code::InvalidArgument,
            MetaError::Full => Code::ResourceExhausted,
            MetaError::Absent(_) => Code::NotFound,
        };
        Self::new(code, error.to_string())
    }
}

impl Meta {
    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: u8) -> Option<&str> {
        self.0.get(&key).map(String::as_str)
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// Writes a value.
    ///
    /// # Errors
    /// When the key is none, the value no text, or there is no room.
    pub fn write(&mut self, key: u32, value: &[u8]) -> Result<u8, MetaError> {
        let key = u8::try_from(key).map_err(|_| MetaError::Key(key))?;
        let value = std::str::from_utf8(value).map_err(|_| MetaError::Value(key))?;
        let others = self.0.iter().filter(|(other, _)| **other != key);
        let used: usize = others.map(|(_, value)| value.len() + ENTRY).sum();
        if used + value.len() + ENTRY > SIZE_MAX {
            return Err(MetaError::Full);
        }
        self.0.insert(key, value.to_owned());
        Ok(key)
    }

    /// Deletes a value.
    ///
    /// # Errors
    /// When the key is none, or there is nothing under it.
    pub fn delete(&mut self, key: u32) -> Result<u8, MetaError> {
        let key = u8::try_from(key).map_err(|_| MetaError::Key(key))?;
        self.0.remove(&key).map(|_| key).ok_or(MetaError::Absent(key))
    }

    /// Loses everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether the manager is to be called again after a change of this key.
#[must_use]
pub const fn is_identity(key: u8) -> bool {
    matches!(key, UNIQUE_TOKEN | UUID_OVERRIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_replaced_and_deleted() {
        let mut meta = Meta::default();
        assert_eq!(meta.write(0x10, b"a"), Ok(0x10));
        assert_eq!(meta.write(0x10, b"b"), Ok(0x10));
        assert_eq!(meta.get(UNIQUE_TOKEN), Some("b"));
        assert_eq!(meta.delete(0x10), Ok(0x10));
        assert_eq!(meta.delete(0x10), Err(MetaError::Absent(0x10)));
    }

    #[test]
    fn refusals_have_the_codes_that_clients_know() {
        let mut meta = Meta::default();
        let code = |error: MetaError| Status::from(error).code();
        assert_eq!(meta.write(256, b"").map_err(code), Err(Code::InvalidArgument));
        assert_eq!(meta.write(1, &vec![b'x'; SIZE_MAX]).map_err(code), Err(Code::ResourceExhausted));
        assert_eq!(meta.delete(1).map_err(code), Err(Code::NotFound));
        assert!(is_identity(15) && is_identity(16) && !is_identity(6));
    }
}
