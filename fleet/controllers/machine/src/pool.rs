//! Connections that are kept, so that callers of the same machine share one.
//!
//! ```text
//! machine, its target, credentials ─▶ the kept connection, if it was made with the same ─▶ Connection
//!                                   └▶ dial, keep
//! ```
//!
//! Bounds: so many connections, and none that nobody asked for lately; each costs some 90 KiB. A connection ends when the last
//! clone of it does; one that is given up here goes on for those who have it.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use corten_base::{Task, spawn};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::connect::{Connection, Dial, DialError, MemberAccess, Stream};

/// Connections that are kept at most.
pub const CONNECTIONS_MAX: usize = 1024;
/// How long a connection is kept that nobody asks for.
pub const IDLE: Duration = Duration::from_secs(60);
/// Between two looks for connections that nobody asks for.
const SWEEP: Duration = Duration::from_secs(10);

/// How a machine is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its address in the tunnel.
    pub address: Ipv6Addr,
    /// Its WireGuard key, base64; another one means that it booted since.
    pub public_key: String,
    /// Name of its cluster; `None` when it is in none.
    pub cluster: Option<String>,
}

/// What a connection was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Terms {
    address: Ipv6Addr,
    public_key: String,
    /// Mark of the credentials; `None` for maintenance.
    mark: Option<[u8; 32]>,
}

struct Entry {
    terms: Terms,
    connection: Connection,
    used: Instant,
}

struct Shared<D> {
    dial: D,
    entries: Mutex<HashMap<String, Entry>>,
}

/// Kept connections.
pub struct Pool<D> {
    shared: Arc<Shared<D>>,
    _sweeper: Task,
}

impl<D> std::fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("connections", &self.shared.entries.lock().len()).finish_non_exhaustive()
    }
}

impl<D: Dial> Pool<D> {
    /// A pool without connections. Must be called inside a runtime.
    pub fn new(dial: D) -> Self {
        let shared = Arc::new(Shared { dial, entries: Mutex::default() });
        let sweeper = spawn("idle connections", sweep(Arc::downgrade(&shared)));
        Self { shared, _sweeper: sweeper }
    }

    /// A connection to a machine: as a member of a cluster with credentials, in maintenance without.
    ///
    /// # Errors
    /// When there is none and none can be made.
    pub async fn get(
        &self,
        machine: &str,
        target: &Target,
        access: Option<&MemberAccess>,
    ) -> Result<Connection, DialError> {
        let terms = Terms {
            address: target.address,
            public_key: target.public_key.clone(),
            mark: access.map(MemberAccess::mark),
        };
        if let Some(connection) = self.kept(machine, &terms) {
            return Ok(connection);
        }
        let connection = match access {
            Some(access) => self.shared.dial.member(target.address, access).await?,
            None => self.shared.dial.maintenance(target.address).await?,
        };
        self.keep(machine, terms, connection.clone());
        Ok(connection)
    }

    /// A connection for one caller alone, which is not kept.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn stream(
        &self,
        address: Ipv6Addr,
        access: Option<&MemberAccess>,
    ) -> Result<Stream, DialError> {
        self.shared.dial.stream(address, access).await
    }

    /// Waits until there is a way to a machine.
    pub async fn way(&self, address: Ipv6Addr) {
        self.shared.dial.way(address).await;
    }

    /// Waits until a machine is heard anew, so that it is worth a call.
    pub async fn heard(&self, address: Ipv6Addr) {
        self.shared.dial.heard(address).await;
    }

    /// Does not hand out the connection of a machine again.
    pub fn forget(&self, machine: &str) {
        self.shared.entries.lock().remove(machine);
    }

    fn kept(&self, machine: &str, terms: &Terms) -> Option<Connection> {
        let mut entries = self.shared.entries.lock();
        let entry = entries.get_mut(machine)?;
        if entry.terms != *terms {
            entries.remove(machine);
            return None;
        }
        entry.used = Instant::now();
        Some(entry.connection.clone())
    }

    fn keep(&self, machine: &str, terms: Terms, connection: Connection) {
        let mut entries = self.shared.entries.lock();
        if entries.len() >= CONNECTIONS_MAX && !entries.contains_key(machine) {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(oldest) = oldest.map(|(machine, _)| machine.clone()) {
                entries.remove(&oldest);
            }
        }
        entries.insert(machine.to_owned(), Entry { terms, connection, used: Instant::now() });
    }
}

async fn sweep<D>(shared: Weak<Shared<D>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.entries.lock().retain(|_, entry| entry.used.elapsed() < IDLE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use corten_base::Secret;
    use tonic::transport::Endpoint;

    use super::*;

    /// Counts how often it was asked for a connection.
    #[derive(Clone, Default)]
    struct Counting(Arc<AtomicUsize>);

    impl Counting {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }

        fn dialed(&self) -> Connection {
            self.0.fetch_add(1, Ordering::SeqCst);
            Connection::new(Endpoint::from_static("http://localhost").connect_lazy())
        }
    }

    impl Dial for Counting {
        async fn maintenance(&self, _: Ipv6Addr) -> Result<Connection, DialError> {
            Ok(self.dialed())
        }
        async fn member(&self, _: Ipv6Addr, _: &MemberAccess) -> Result<Connection, DialError> {
            Ok(self.dialed())
        }
        async fn stream(&self, address: Ipv6Addr, _: Option<&MemberAccess>) -> Result<Stream, DialError> {
            Err(DialError::Silent { address })
        }
    }

    fn target(key: &str) -> Target {
        Target { address: Ipv6Addr::LOCALHOST, public_key: key.to_owned(), cluster: None }
    }

    fn access(key: &str) -> MemberAccess {
        MemberAccess {
            cluster: "prod".to_owned(),
            authorities: Vec::new(),
            certificate: Vec::new(),
            key: Secret::new(key.as_bytes().to_vec()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_shared_until_the_key_of_the_machine_or_the_credentials_change() {
        let counting = Counting::default();
        let pool = Pool::new(counting.clone());
        let mut expected = 0;
        for (target, access, is_new) in [
            (target("boot 1"), None, true),
            (target("boot 1"), None, false),
            (target("boot 2"), None, true),
            (target("boot 2"), Some(access("one")), true),
            (target("boot 2"), Some(access("one")), false),
            (target("boot 2"), Some(access("two")), true),
        ] {
            pool.get("m1", &target, access.as_ref()).await.expect("a connection");
            expected += usize::from(is_new);
            assert_eq!(counting.count(), expected, "{target:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_given_up_and_so_is_the_oldest_of_too_many() {
        let counting = Counting::default();
        let pool = Pool::new(counting.clone());
        for index in 0..=CONNECTIONS_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
            pool.get(&format!("m{index}"), &target("k"), None).await.expect("a connection");
        }
        assert_eq!(pool.shared.entries.lock().len(), CONNECTIONS_MAX);
        assert!(!pool.shared.entries.lock().contains_key("m0"), "it was the oldest");
        tokio::time::sleep(IDLE + SWEEP).await;
        assert!(pool.shared.entries.lock().is_empty());
    }
}
