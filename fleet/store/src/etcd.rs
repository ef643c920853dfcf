//! The store in an etcd that somebody else runs, for several managers at once.
//!
//! ```text
//!             ┌────────── etcd ──────────┐
//! manager ──▶ │ transaction: rows are as  │ ──▶ watch ──▶ Mirror ──▶ memory of every manager ──▶ reads, watches
//!   (memory)  │ they were, so is the head │
//!             └──────────────────────────┘
//! ```
//!
//! Invariants:
//! - Ids and values are sealed as in the embedded store; nothing but types and namespaces is in etcd in clear.
//! - A change is kept when nobody was faster with that resource, and acknowledged when it is visible here.
//! - Every manager shows what happens in the order in which it happened in etcd; one that missed something reads
//!   everything again and shows what it missed.
//! - A manager that is older than the store writes nothing.

mod commit;
mod election;
mod follow;
mod head;
mod keys;
mod known;
mod pages;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Rng, Secret};
use corten_etcd::{Client, Error, Identity, Lookup, Remote};
use corten_resource::{Answer, AnyResource, Backing, Change, Kept, Mirror, Registry, Tending};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::OpenError;
use crate::key::KeyFile;
use crate::rows::Rows;
use crate::sealer::KEY_BYTES;
pub use election::{Candidate, Lead, NOTICE, Starting};
use head::{Opened, Opening};
use keys::Keys;
use known::Known;
use trouble::Trouble;

/// How etcd is reached, and which store in it is meant.
#[derive(Clone, Debug)]
pub struct EtcdOptions {
    /// `http://HOST:PORT` or `https://HOST:PORT` of its members.
    pub endpoints: Vec<String>,
    /// Account of the managers; one etcd may have stores of several.
    pub account: String,
    /// How often a silent connection is checked; not below five seconds.
    pub keep_alive: Duration,
    /// How long such a check may take.
    pub keep_alive_timeout: Duration,
    /// Its authority, PEM; the files are read when an endpoint is `https`.
    pub ca_file: PathBuf,
    /// Our certificate, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Finds hosts.
    pub lookup: Lookup,
}

impl EtcdOptions {
    fn remote(&self) -> Result<Remote, OpenError> {
        let is_tls = self.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"));
        Ok(Remote {
            endpoints: self.endpoints.clone(),
            identity: if is_tls { Some(self.identity()?) } else { None },
            keep_alive: self.keep_alive,
            keep_alive_timeout: self.keep_alive_timeout,
            lookup: self.lookup,
        })
    }

    fn identity(&self) -> Result<Identity, OpenError> {
        let read = |path: &PathBuf, setting: &'static str| {
            let failed = |source| OpenError::Certificate { path: path.clone(), setting, source };
            std::fs::read(path).map_err(failed)
        };
        Ok(Identity {
            ca: read(&self.ca_file, "storage.default.etcd.caFile")?,
            certificate: read(&self.cert_file, "storage.default.etcd.certFile")?,
            key: Secret::new(read(&self.key_file, "storage.default.etcd.keyFile")?),
        })
    }
}

/// An open store in etcd.
#[derive(Debug)]
pub struct Etcd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Mutex<Client>,
    keys: Keys,
    /// What it is called in messages.
    place: String,
    rows: Rows,
    /// Revision of the head that this program knows.
    head: i64,
    known: Mutex<Known>,
    /// Everything up to this revision is visible here.
    shown: watch::Sender<i64>,
    trouble: Mutex<Trouble>,
    rng: Rng,
}

impl Etcd {
    /// Opens the store; one that is not there is made, with a new key unless there is one. A store of an older program is
    /// brought forward. Others wait until [`Starting::done`].
    ///
    /// # Errors
    /// When etcd is out of reach, a newer program wrote the store, or the key does not fit.
    pub async fn open(
        options: &EtcdOptions,
        key: &KeyFile,
        registry: Registry,
        rng: &Rng,
    ) -> Result<(Self, Starting), OpenError> {
        let keys = Keys::of(&options.account);
        let place = format!("etcd ({}, below {})", options.endpoints.join(", "), keys.root());
        let failed = |source: Error| OpenError::Etcd { place: place.clone(), source };
        let client = Client::remote(&options.remote()?).map_err(failed)?;
        let starting = Starting::wait(&client, &keys, rng).await.map_err(failed)?;
        let opening = Opening { client: &client, keys: &keys, place: &place, key, registry, rng };
        let Opened { rows, revision } = match opening.open().await {
            Ok(opened) => opened,
            Err(error) => {
                starting.done().await;
                return Err(error);
            }
        };
        let shared = Shared {
            client: Mutex::new(client),
            keys,
            place,
            rows,
            head: revision,
            known: Mutex::default(),
            shown: watch::Sender::new(0),
            trouble: Mutex::default(),
            rng: rng.clone(),
        };
        Ok((Self(Arc::new(shared)), starting))
    }

    /// A key for what a manager keeps beside the store, the same for the same purpose on all of them. It tells nothing of
    /// the key of the store (HMAC-SHA256 of the purpose).
    #[must_use]
    pub fn key_for(&self, purpose: &str) -> Secret<[u8; KEY_BYTES]> {
        self.0.rows.key_for(purpose)
    }

    /// This manager among those that would lead.
    #[must_use]
    pub fn candidate(&self) -> Candidate {
        Candidate::new(self.0.client(), &self.0.keys, &self.0.rng)
    }
}

impl Shared {
    fn client(&self) -> Client {
        self.client.lock().clone()
    }

    /// Goes to another member.
    fn redial(&self) {
        let mut client = self.client.lock();
        // The same settings made a client before.
        if let Ok(again) = client.redialled() {
            *client = again;
        }
    }

    /// Follows etcd for as long as that is possible.
    async fn tend(&self, mirror: Mirror) {
        tokio::select! {
            () = self.follow(&mirror) => {}
            () = self.ask_when_full() => {}
        }
    }
}

impl Backing for Etcd {
    fn load(&self) -> Answer<'_, Vec<AnyResource>> {
        Box::pin(self.0.load())
    }

    fn commit(&self, changes: Vec<Change>) -> Kept<'_> {
        Box::pin(async move { self.0.keep(&changes).await })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn tend(&self, mirror: Mirror) -> Tending<'_> {
        Box::pin(self.0.tend(mirror))
    }

    fn trouble(&self) -> Option<String> {
        self.0.trouble.lock().text(&self.0.place)
    }
}
