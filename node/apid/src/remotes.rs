//! Other machines: one [`Upstream`] per target, forgotten when idle or when our own certificate changes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ClientConfig;
use tonic::Status;

use crate::dial::{Destination, Upstream};

/// Most machines remembered at a time.
const REMOTES_MAX: usize = 2048;

/// The machines that calls were forwarded to.
pub struct Remotes {
    port: u16,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    tls: Option<Arc<ClientConfig>>,
    upstreams: HashMap<String, Arc<Upstream>>,
}

impl Remotes {
    /// No machines yet; each is dialled on `port`.
    #[must_use]
    pub fn new(port: u16) -> Self {
        Self { port, state: Mutex::default() }
    }

    /// Uses other credentials from now on; calls under way keep their connections.
    pub fn set_credentials(&self, tls: Option<Arc<ClientConfig>>) {
        *self.state.lock() = Known { tls, upstreams: HashMap::new() };
    }

    /// The machine named `target`.
    ///
    /// # Errors
    /// `PermissionDenied` without a client certificate, `ResourceExhausted` above the bound.
    pub fn get(&self, target: &str) -> Result<Arc<Upstream>, Status> {
        let mut state = self.state.lock();
        if let Some(known) = state.upstreams.get(target) {
            return Ok(known.clone());
        }
        let tls = state.tls.clone().ok_or_else(|| Status::permission_denied("no request forwarding"))?;
        if state.upstreams.len() >= REMOTES_MAX {
            return Err(Status::resource_exhausted(format!("calls go to {REMOTES_MAX} machines already")));
        }
        let destination = Destination::Remote { target: target.to_owned(), port: self.port, tls };
        let upstream = Arc::new(Upstream::new(destination));
        state.upstreams.insert(target.to_owned(), upstream.clone());
        Ok(upstream)
    }

    /// Forgets machines that no connection is open to.
    pub async fn sweep(&self) {
        let all: Vec<_> =
            self.state.lock().upstreams.iter().map(|(name, one)| (name.clone(), one.clone())).collect();
        for (name, upstream) in all {
            if !upstream.sweep().await {
                let mut state = self.state.lock();
                if state.upstreams.get(&name).is_some_and(|known| Arc::ptr_eq(known, &upstream)) {
                    state.upstreams.remove(&name);
                }
            }
        }
    }
}
