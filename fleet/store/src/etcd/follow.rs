//! What happens in etcd becomes visible here, in its order, whoever did it.
//!
//! ```text
//! all rows at a revision ─▶ known, loaded
//! watch from there ─▶ changes ─▶ known, Mirror ─▶ shown: everything up to this revision is visible
//!    └ lost ─▶ a new connection, from where it was      └ forgotten ─▶ all rows again ─▶ what was missed
//! ```

use std::time::Duration;

use corten_base::{Backoff, chain};
use corten_etcd::{AlarmKind, Change as Event, Error, News};
use corten_resource::{AnyResource, Mirror, Shown, StateError};
use tokio::time::timeout;

use super::Shared;
use super::known::{Entry, Found, Known, Step, difference};
use super::pages::Pages;

/// Between the first attempts to follow again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Between attempts that have failed often.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long etcd may take to begin a watch.
const BEGIN_MAX: Duration = Duration::from_secs(15);
/// How often a full database is asked whether it has room again.
const FULL_EVERY: Duration = Duration::from_secs(5);

/// Why following ended.
enum Ended {
    /// The connection, or its member.
    Lost(String),
    /// The history from where it was is forgotten.
    Forgotten,
    /// This program must not go on.
    ForGood(&'static str),
}

/// What is said when the head is another one.
pub const FORWARD: &str = "a newer program brings the store in etcd forward; start that program instead";
const BACKWARD: &str =
    "etcd was set back to an older state; start the manager again, and it goes on with what is there";
const BEHEADED: &str = "the head of the store in etcd was removed; restore etcd from a backup";

impl Shared {
    /// Everything that is kept, and from which revision it is to be followed.
    pub async fn load(&self) -> Result<Vec<AnyResource>, StateError> {
        let failed = |error: Error| {
            StateError::Unavailable(format!("the store in {} cannot be read: {}", self.place, chain(&error)))
        };
        let (mut all, mut known) = (Vec::new(), Known::new());
        let mut pages = Pages::new(self.client(), self.keys.rows());
        while let Some(page) = pages.next().await.map_err(failed)? {
            for pair in page {
                let place = self.keys.place(&pair.key).unwrap_or_default();
                let resource = self.rows.read(place, &pair.value).map_err(|error| {
                    let text = format!("the store in {} cannot be used: {}", self.place, chain(&error));
                    StateError::Unavailable(text)
                })?;
                known.insert(place.into(), Entry::new(pair.created, pair.modified, Some(&resource)));
                all.push(resource);
            }
        }
        *self.known.lock() = known;
        self.shown.send_replace(pages.revision());
        Ok(all)
    }

    /// Shows what happens for as long as that is possible.
    pub async fn follow(&self, mirror: &Mirror) {
        let mut waits = Backoff::new(RETRY_FIRST, RETRY_MAX);
        loop {
            let ended = match self.follow_once(mirror, &mut waits).await {
                Ended::Forgotten => match self.read_again(mirror).await {
                    Ok(()) => continue,
                    Err(error) => Ended::Lost(chain(&error)),
                },
                ended => ended,
            };
            match ended {
                Ended::ForGood(why) => {
                    tracing::error!(store = self.place, "{why}");
                    return;
                }
                Ended::Lost(why) => {
                    tracing::warn!(store = self.place, why, "etcd is not followed now");
                    self.trouble.lock().lose(why);
                }
                Ended::Forgotten => {}
            }
            tokio::time::sleep(waits.next_delay(&self.rng)).await;
            self.redial();
        }
    }

    async fn follow_once(&self, mirror: &Mirror, waits: &mut Backoff) -> Ended {
        let client = self.client();
        let head = match client.page(&self.keys.head(), None, 1, 0).await {
            Ok(head) => head,
            Err(error) => return Ended::Lost(chain(&error)),
        };
        let shown = *self.shown.borrow();
        match head.pairs.first() {
            _ if head.revision < shown => return Ended::ForGood(BACKWARD),
            None => return Ended::ForGood(BEHEADED),
            Some(pair) if pair.modified != self.head => return Ended::ForGood(FORWARD),
            Some(_) => {}
        }
        let mut watch = match timeout(BEGIN_MAX, client.follow(&self.keys.store(), shown + 1)).await {
            Ok(Ok(watch)) => watch,
            Ok(Err(error)) => return Ended::Lost(chain(&error)),
            Err(_) => return Ended::Lost("etcd does not begin a watch".to_owned()),
        };
        self.trouble.lock().find();
        waits.reset();
        loop {
            match watch.news().await {
                Ok(Some(News::Changes(changes))) => {
                    if let Err(why) = self.apply(changes, mirror) {
                        return Ended::ForGood(why);
                    }
                }
                Ok(Some(News::Compacted(_))) => return Ended::Forgotten,
                Ok(None) => return Ended::Lost("etcd ended the watch".to_owned()),
                Err(error) => return Ended::Lost(chain(&error)),
            }
        }
    }

    /// Makes changes visible, in their order.
    fn apply(&self, events: Vec<Event>, mirror: &Mirror) -> Result<(), &'static str> {
        let mut known = self.known.lock();
        let (mut all, mut newest) = (Vec::new(), 0);
        for event in events {
            let (pair, is_gone) = match event {
                Event::Put(pair) => (pair, false),
                Event::Deleted(pair) => (pair, true),
            };
            newest = newest.max(pair.modified);
            match self.keys.place(&pair.key) {
                None if pair.key == self.keys.head() && is_gone => return Err(BEHEADED),
                None if pair.key == self.keys.head() && pair.modified != self.head => return Err(FORWARD),
                None => {}
                Some(place) if is_gone => all.extend(self.gone(&mut known, place)),
                Some(place) => {
                    let (created, modified) = (pair.created, pair.modified);
                    let found = Found { place: place.to_vec(), created, modified, value: pair.value };
                    all.extend(self.put(&mut known, &found));
                }
            }
        }
        mirror.show(all);
        drop(known);
        self.shown.send_modify(|shown| *shown = newest.max(*shown));
        Ok(())
    }

    /// Notes a row, and gives what it shows. One that cannot be read is told; what was visible of it stays.
    fn put(&self, known: &mut Known, found: &Found) -> Option<Shown> {
        let read = self.rows.read(&found.place, &found.value);
        let entry = Entry::new(found.created, found.modified, read.as_ref().ok());
        known.insert(found.place.as_slice().into(), entry);
        match read {
            Ok(resource) => Some(Shown::Put(resource)),
            Err(error) => {
                let why = chain(&error);
                let text = format!("the store in {} has something that is of no use: {why}", self.place);
                tracing::error!("{text}");
                self.trouble.lock().cannot_read(text);
                None
            }
        }
    }

    /// Forgets a row, and gives what that shows.
    fn gone(&self, known: &mut Known, place: &[u8]) -> Option<Shown> {
        known.remove(place);
        self.rows.pointer(place).map(Shown::Gone)
    }

    /// Reads everything, and shows what was missed.
    pub async fn read_again(&self, mirror: &Mirror) -> Result<(), Error> {
        let mut pages = Pages::new(self.client(), self.keys.rows());
        let mut all = Vec::new();
        while let Some(page) = pages.next().await? {
            let known = self.known.lock();
            for pair in page {
                let place = self.keys.place(&pair.key).unwrap_or_default().to_vec();
                let (created, modified) = (pair.created, pair.modified);
                let is_known = known.get(place.as_slice()).is_some_and(|entry| entry.modified == modified);
                let value = if is_known { Vec::new() } else { pair.value };
                all.push(Found { place, created, modified, value });
            }
        }
        let mut known = self.known.lock();
        let steps = difference(&known, &all);
        tracing::info!(store = self.place, count = steps.len(), "read everything again; this was missed");
        let mut shown = Vec::with_capacity(steps.len());
        for step in steps {
            match step {
                Step::Gone(place) => shown.extend(self.gone(&mut known, &place)),
                Step::Put(index) => {
                    shown.extend(all.get(index).and_then(|found| self.put(&mut known, found)));
                }
            }
        }
        mirror.show(shown);
        drop(known);
        self.shown.send_modify(|shown| *shown = pages.revision().max(*shown));
        Ok(())
    }

    /// Asks a full database whether it has room again; for ever.
    pub async fn ask_when_full(&self) {
        loop {
            tokio::time::sleep(FULL_EVERY).await;
            if self.trouble.lock().is_full() {
                let Ok(alarms) = self.client().alarms().await else { continue };
                let is_full = alarms.iter().any(|alarm| alarm.kind == AlarmKind::NoSpace);
                self.trouble.lock().set_full(is_full);
            }
        }
    }
}
