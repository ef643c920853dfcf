//! A manager and a link in memory, for tests of the controllers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_api::sidero::link::{ProvisionRequest, ProvisionResponse};
use corten_wireguard::PrivateKey;
use parking_lot::Mutex;

use crate::api::JoinApi;
use crate::link::{LinkSettings, LinkState, Links};
use crate::url::ApiAddress;

/// A manager that gives everyone the same answer.
#[derive(Clone)]
pub struct FakeApi(Arc<Mutex<Manager>>);

struct Manager {
    answer: Option<ProvisionResponse>,
    asked: Vec<ProvisionRequest>,
}

impl FakeApi {
    /// A manager with this answer.
    pub fn answering(answer: ProvisionResponse) -> Self {
        Self(Arc::new(Mutex::new(Manager { answer: Some(answer), asked: Vec::new() })))
    }

    /// Has it refuse from now on.
    pub fn refuse(&self) {
        self.0.lock().answer = None;
    }

    /// What it was asked.
    pub fn asked(&self) -> Vec<ProvisionRequest> {
        self.0.lock().asked.clone()
    }

    /// The address of a host with a name of one letter.
    pub fn address(host: &str, port: u16) -> SocketAddr {
        let letter = host.bytes().next().unwrap_or_default();
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, letter)), port)
    }
}

impl JoinApi for FakeApi {
    async fn provision(
        &self,
        _: &ApiAddress,
        request: ProvisionRequest,
    ) -> anyhow::Result<ProvisionResponse> {
        let mut manager = self.0.lock();
        manager.asked.push(request);
        manager.answer.clone().ok_or_else(|| anyhow::anyhow!("refused"))
    }

    async fn resolve(&self, host: &str) -> anyhow::Result<IpAddr> {
        Ok(Self::address(host, 0).ip())
    }
}

/// A link that does what it is told and can be looked at.
#[derive(Clone, Default)]
pub struct FakeLinks(Arc<Mutex<Link>>);

#[derive(Default)]
struct Link {
    state: LinkState,
    endpoints: Vec<Option<SocketAddr>>,
}

impl FakeLinks {
    /// Says since when the peer was heard.
    pub fn hear(&self, age: Option<Duration>) {
        self.0.lock().state.handshake_age = age;
    }

    /// A link of an earlier program with this key.
    pub fn adopt(&self, key: PrivateKey) {
        let mut link = self.0.lock();
        (link.state.exists, link.state.key) = (true, Some(key));
    }

    /// Whether there is a link.
    pub fn exists(&self) -> bool {
        self.0.lock().state.exists
    }

    /// Where the peer was said to be, one for each time.
    pub fn endpoints(&self) -> Vec<Option<SocketAddr>> {
        self.0.lock().endpoints.clone()
    }
}

impl Links for FakeLinks {
    async fn state(&self) -> anyhow::Result<LinkState> {
        Ok(self.0.lock().state.clone())
    }

    async fn set(
        &self,
        _: &PrivateKey,
        settings: &LinkSettings,
        endpoint: Option<SocketAddr>,
    ) -> anyhow::Result<()> {
        let mut link = self.0.lock();
        (link.state.exists, link.state.settings) = (true, Some(settings.clone()));
        link.endpoints.push(endpoint);
        Ok(())
    }

    async fn remove(&self) -> anyhow::Result<()> {
        self.0.lock().state = LinkState::default();
        Ok(())
    }
}
