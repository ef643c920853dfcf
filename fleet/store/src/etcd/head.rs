//! What makes a store in etcd: its format and its wrapped master key, in one key. Whoever writes compares it, so that a
//! program stops writing when a newer one brings the store forward.

use corten_base::{Rng, Secret};
use corten_etcd::{Client, Error, KeyValue, Txn};
use corten_resource::Registry;

use super::keys::Keys;
use super::pages::Pages;
use crate::error::OpenError;
use crate::key::KeyFile;
use crate::migration::{Format, NEWEST, Step, bring_forward, names};
use crate::rows::{self, Rows, unreadable};
use crate::sealer::KEY_BYTES;

/// Separates the format from the key.
const SEPARATOR: u8 = b'\n';

/// The content of the head.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Head {
    format: Vec<u8>,
    master_key: Vec<u8>,
}

impl Head {
    fn read(bytes: &[u8]) -> Self {
        let mut parts = bytes.splitn(2, |byte| *byte == SEPARATOR);
        let mut part = || parts.next().unwrap_or_default().to_vec();
        Self { format: part(), master_key: part() }
    }

    fn bytes(format: Format, master_key: &[u8]) -> Vec<u8> {
        [format.text().as_bytes(), &[SEPARATOR], master_key].concat()
    }
}

/// An open store.
#[derive(Debug)]
pub struct Opened {
    /// Reads and writes its rows.
    pub rows: Rows,
    /// Revision of its head.
    pub revision: i64,
}

/// What a store is opened with. Whoever opens one holds the lock for that.
pub struct Opening<'a> {
    /// A connection to etcd.
    pub client: &'a Client,
    /// Where the store is.
    pub keys: &'a Keys,
    /// The same for people.
    pub place: &'a str,
    /// The key that opens it.
    pub key: &'a KeyFile,
    /// Types of the resources.
    pub registry: Registry,
    /// Source of keys.
    pub rng: &'a Rng,
}

impl Opening<'_> {
    /// Opens the store; one that is not there is made, and one of an older program is brought forward.
    ///
    /// # Errors
    /// When the key does not fit, a newer program wrote it, something in it cannot be read, or etcd fails.
    pub async fn open(self) -> Result<Opened, OpenError> {
        let found = self.client.get(self.keys.head()).await.map_err(|source| self.failed(source))?;
        match found {
            Some(pair) => self.enter(pair).await,
            None => self.make().await,
        }
    }

    fn failed(&self, source: Error) -> OpenError {
        OpenError::Etcd { place: self.place.to_owned(), source }
    }

    fn rows(&self, master: &Secret<[u8; KEY_BYTES]>) -> Result<Rows, OpenError> {
        let rows = Rows::new(master, self.rng.clone(), self.registry.clone());
        rows.map_err(|source| OpenError::Sealer { place: self.place.to_owned(), source })
    }

    /// Makes a new store, with a new key unless there is one.
    async fn make(self) -> Result<Opened, OpenError> {
        let (left, _) = self.client.list(self.keys.rows(), 1).await.map_err(|source| self.failed(source))?;
        if !left.is_empty() {
            return Err(OpenError::Headless { place: self.place.to_owned() });
        }
        let wrapping = if self.key.path().exists() { self.key.read()? } else { self.key.create(self.rng)? };
        let master = rows::new_master(self.rng);
        let place = || self.place.to_owned();
        let wrapped = rows::wrap(&wrapping, &master, self.rng);
        let wrapped = wrapped.map_err(|source| OpenError::Sealer { place: place(), source })?;
        let head = self.keys.head();
        let made = Txn::new().if_absent(head.clone()).put(head, Head::bytes(Format::newest(), &wrapped), 0);
        let revision = self.write(made).await?;
        Ok(Opened { rows: self.rows(&master)?, revision })
    }

    async fn enter(self, pair: KeyValue) -> Result<Opened, OpenError> {
        let head = Head::read(&pair.value);
        let unknown = || OpenError::Format {
            place: self.place.to_owned(),
            format: String::from_utf8_lossy(&head.format).into_owned(),
        };
        let format = Format::read(&head.format).ok_or_else(unknown)?;
        let steps = format.due().ok_or_else(unknown)?;
        let wrapping = self.key.read()?;
        let key = self.key.path();
        let wrong = || OpenError::WrongKey { key: key.to_owned(), place: self.place.to_owned() };
        let master = rows::unwrap(&wrapping, &head.master_key, self.rng).ok_or_else(wrong)?;
        let rows = self.rows(&master)?;
        let mut revision = pair.modified;
        if !steps.is_empty() {
            tracing::info!(store = self.place, steps = names(steps), "a store of an older program");
            let begun = Format { number: NEWEST, from: Some(format.from.unwrap_or(format.number)) };
            revision = self.change_head(begun, &head.master_key, revision).await?;
            self.migrate(steps, &rows).await?;
            revision = self.change_head(Format::newest(), &head.master_key, revision).await?;
        }
        Ok(Opened { rows, revision })
    }

    async fn change_head(&self, format: Format, master_key: &[u8], revision: i64) -> Result<i64, OpenError> {
        let head = self.keys.head();
        let value = Head::bytes(format, master_key);
        self.write(Txn::new().if_modified_at(head.clone(), revision).put(head, value, 0)).await
    }

    async fn write(&self, change: Txn) -> Result<i64, OpenError> {
        let written = self.client.commit(change).await.map_err(|source| self.failed(source))?;
        let disturbed = || Error::Answer("another program has changed its head; start again".to_owned());
        written.ok_or_else(|| self.failed(disturbed()))
    }

    /// Brings every row through these steps, each in one transaction: it is in etcd once, at its old place or at its
    /// new one. Whoever is interrupted does it again from the beginning. Managers that know the former head follow
    /// nothing from then on, and see no row go.
    async fn migrate(&self, steps: &[Step], rows: &Rows) -> Result<(), OpenError> {
        let mut pages = Pages::new(self.client.clone(), self.keys.rows());
        while let Some(page) = pages.next().await.map_err(|source| self.failed(source))? {
            for pair in page {
                let place = self.keys.place(&pair.key).unwrap_or_default();
                let newer = bring_forward(steps, rows, place, &pair.value).map_err(|error| {
                    OpenError::Row { place: self.place.to_owned(), source: unreadable(place, error) }
                })?;
                let Some(newer) = newer else { continue };
                let key = self.keys.row(&newer.place);
                let unchanged = Txn::new().if_modified_at(pair.key.clone(), pair.modified);
                // etcd refuses a transaction that removes and sets the same key.
                let left = if key == pair.key { unchanged } else { unchanged.delete(pair.key) };
                self.write(left.put(key, newer.value, 0)).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_any_bytes_are_one() {
        let bytes = Head::bytes(Format::newest(), b"key\nwith a break");
        let head = Head::read(&bytes);
        assert_eq!(head.format, b"2");
        assert_eq!(head.master_key, b"key\nwith a break");
        assert_eq!(Head::read(b""), Head { format: Vec::new(), master_key: Vec::new() });
    }

    #[test]
    fn fuzz_any_bytes_are_a_head() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let head = Head::read(bytes);
            assert!(head.format.len() + head.master_key.len() <= bytes.len());
        });
    }
}
