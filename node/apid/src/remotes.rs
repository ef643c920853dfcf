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
            state.upstreams.retain(|_, upstream| upstream.sweep());
        }
        if state.upstreams.len() >= REMOTES_MAX {
            return Err(Status::resource_exhausted(format!("calls go to {REMOTES_MAX} machines already")));
        }
        let destination = Destination::Remote { target: target.to_owned(), port: self.port, tls };
        let upstream = Arc::new(Upstream::new(destination));
        state.upstreams.insert(target.to_owned(), upstream.clone());
        Ok(upstream)
    }

    /// Forgets machines that no connection is open to.
    pub fn sweep(&self) {
        self.state.lock().upstreams.retain(|_, upstream| upstream.sweep());
    }
}

#[cfg(test)]
mod tests {
    use corten_base::Clock;

    use super::*;
    use crate::identity::Identity;
    use crate::tls;

    /// Machines that are dialled with credentials that nobody takes.
    fn remotes() -> Remotes {
        let rng = corten_base::Rng::seeded(1);
        let day = std::time::Duration::from_secs(86_400);
        let request = corten_pki::LeafRequest::client(corten_pki::Subject::common_name("test"), day);
        let own = corten_pki::Identity::self_signed(&request, Clock::system().now(), &rng).expect("a pair");
        let pem = own.certificate.to_pem().into_bytes();
        let key = corten_base::Secret::new(own.key.to_pem().reveal().as_bytes().to_vec());
        let pair = crate::identity::KeyPair { certificates: pem.clone(), key };
        let identity =
            Identity { routing: true, client: Some(pair), accepted_cas: pem, ..Identity::default() };
        let remotes = Remotes::new(1);
        remotes.set_credentials(tls::client(&identity, &Clock::system()).expect("credentials"));
        remotes
    }

    #[test]
    fn names_that_lead_nowhere_make_room_for_others() {
        let remotes = remotes();
        for number in 0..2 * REMOTES_MAX {
            assert!(remotes.get(&format!("nowhere-{number}")).is_ok(), "{number}");
        }
        let known = |name: &str| remotes.get(name).expect("known");
        let first = known("a");
        assert!(Arc::ptr_eq(&first, &known("a")));
        remotes.sweep();
        assert!(!Arc::ptr_eq(&first, &known("a")), "nothing was open to it");
    }
}
