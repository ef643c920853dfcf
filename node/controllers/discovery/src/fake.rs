//! A discovery service in memory, for tests.

use std::sync::Arc;

use anyhow::Context as _;
use corten_api::sidero::discovery::server::{Affiliate, AffiliateUpdateRequest, WatchResponse};
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::connect::Place;
use crate::service::{Service, Session};

/// A service that does as it is told. Clones are the same.
#[derive(Clone, Default)]
pub struct FakeService(Arc<Mutex<House>>);

#[derive(Default)]
struct House {
    is_away: bool,
    opened: Vec<String>,
    updates: Vec<AffiliateUpdateRequest>,
    held: Vec<Affiliate>,
    watchers: Vec<UnboundedSender<WatchResponse>>,
}

/// A session with it.
pub struct FakeSession {
    house: Arc<Mutex<House>>,
    changes: UnboundedReceiver<WatchResponse>,
}

impl FakeService {
    /// Answers nobody from now on, and breaks off all sessions; or answers again.
    pub fn set_away(&self, is_away: bool) {
        let mut house = self.0.lock();
        house.is_away = is_away;
        house.watchers.clear();
    }

    /// Holds exactly this from now on, for those who come.
    pub fn hold(&self, held: Vec<Affiliate>) {
        self.0.lock().held = held;
    }

    /// Tells those who watch.
    pub fn tell(&self, affiliates: Vec<Affiliate>, deleted: bool) {
        let change = WatchResponse { affiliates, deleted };
        self.0.lock().watchers.retain(|watcher| watcher.send(change.clone()).is_ok());
    }

    /// Where sessions were opened, one for each.
    pub fn opened(&self) -> Vec<String> {
        self.0.lock().opened.clone()
    }

    /// What it was told.
    pub fn updates(&self) -> Vec<AffiliateUpdateRequest> {
        self.0.lock().updates.clone()
    }
}

impl Service for FakeService {
    type Session = FakeSession;

    async fn open(&self, place: &Place, _: &str) -> anyhow::Result<FakeSession> {
        let mut house = self.0.lock();
        house.opened.push(place.to_string());
        anyhow::ensure!(!house.is_away, "connection refused");
        let (sender, changes) = unbounded_channel();
        // The receiver is right here.
        let _ = sender.send(WatchResponse { affiliates: house.held.clone(), deleted: false });
        house.watchers.push(sender);
        Ok(FakeSession { house: Arc::clone(&self.0), changes })
    }
}

impl Session for FakeSession {
    async fn update(&mut self, request: AffiliateUpdateRequest) -> anyhow::Result<()> {
        self.house.lock().updates.push(request);
        Ok(())
    }

    async fn next(&mut self) -> anyhow::Result<WatchResponse> {
        self.changes.recv().await.context("it broke off")
    }
}
