//! One task for each connected machine, and what they all may use.
//!
//! ```text
//! MachineStatusController ─watch, unwatch, forget─▶ Watches ─owns─▶ one watch for each machine ─▶ Board
//! ```
//!
//! What a machine costs here, in memory, as long as it is connected and answers:
//!
//! | part                                       | KiB     |
//! |--------------------------------------------|---------|
//! | TLS: keys, the buffer that it reads into   | 8 – 10  |
//! | up to 18 streams                           | 2       |
//! | task, timers, entries                      | 6       |
//! | what it says (`Observed`)                  | 3 – 6   |
//!
//! One that does not answer costs about 1 KiB, one that is not connected nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_base::{Rng, Task, spawn};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::watch::{Feed, Means, watch};
use crate::board::{Board, Sight};
use crate::pool::Target;

/// Machines that are watched at most, unless somebody says otherwise.
pub const MACHINES_MAX: usize = 16_384;
/// Machines that are being connected to at once: a handshake costs a millisecond of a processor.
const CONNECTING_MAX: usize = 64;

/// Watches machines. Implemented by tasks over the network and by a recording fake.
pub trait Watching: Send + Sync + 'static {
    /// What is seen of a machine.
    fn sight(&self, machine: &str) -> Sight;

    /// Watches a machine from now on, and so: an earlier watch of it ends.
    ///
    /// # Errors
    /// When too many are watched.
    fn watch(&self, machine: &str, target: &Target) -> anyhow::Result<()>;

    /// Ends the watch of a machine; its last stage stays known.
    fn unwatch(&self, machine: &str);

    /// Ends the watch of a machine and forgets all about it.
    fn forget(&self, machine: &str);
}

/// Watches of machines; they end with it.
pub struct Watches<F> {
    means: Arc<Means<F>>,
    machines_max: usize,
    tasks: Mutex<BTreeMap<String, Task>>,
}

impl<F> std::fmt::Debug for Watches<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watches").field("machines", &self.tasks.lock().len()).finish_non_exhaustive()
    }
}

impl<F: Feed> Watches<F> {
    /// Watches of no machine, of at most `machines_max` later.
    #[must_use]
    pub fn new(feed: F, board: Arc<Board>, rng: Rng, machines_max: usize) -> Self {
        let means = Means { feed, board, permits: Semaphore::new(CONNECTING_MAX), rng };
        Self { means: Arc::new(means), machines_max, tasks: Mutex::default() }
    }
}

impl<F: Feed> Watching for Watches<F> {
    fn sight(&self, machine: &str) -> Sight {
        self.means.board.sight(machine)
    }

    fn watch(&self, machine: &str, target: &Target) -> anyhow::Result<()> {
        let mut tasks = self.tasks.lock();
        anyhow::ensure!(
            tasks.contains_key(machine) || tasks.len() < self.machines_max,
            "the manager watches {} machines and no more; remove some, or start it with a higher limit",
            self.machines_max
        );
        let ticket = self.means.board.begin(machine, target)?;
        let task = spawn("machine watch", watch(Arc::clone(&self.means), ticket, target.clone()));
        tasks.insert(machine.to_owned(), task);
        Ok(())
    }

    fn unwatch(&self, machine: &str) {
        self.tasks.lock().remove(machine);
        self.means.board.end(machine);
    }

    fn forget(&self, machine: &str) {
        self.tasks.lock().remove(machine);
        self.means.board.forget(machine);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use corten_resource::testing::state;

    use super::super::observed::Event;
    use super::super::watch::Listen;
    use super::*;
    use crate::board::{Reach, types};

    /// Counts connections that are open.
    #[derive(Clone, Default)]
    struct Open(Arc<AtomicUsize>);

    struct Silent(Open);

    impl Drop for Silent {
        fn drop(&mut self) {
            self.0.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Listen for Silent {
        async fn next(&mut self) -> anyhow::Result<Event> {
            std::future::pending().await
        }
    }

    impl Feed for Open {
        type Listen = Silent;
        async fn open(&self, _: &str, _: &Target) -> Result<(Reach, Silent), Reach> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok((Reach::Maintenance, Silent(self.clone())))
        }
    }

    fn target(key: &str) -> Target {
        Target { address: Ipv6Addr::LOCALHOST, public_key: key.to_owned(), cluster: None }
    }

    async fn settle() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_has_one_watch_and_there_are_not_more_than_allowed() {
        let mut registry = corten_fleet_resources::registry();
        types(&mut registry);
        let (open, board) = (Open::default(), Arc::new(Board::new(state(registry))));
        let watches = Watches::new(open.clone(), board, Rng::seeded(1), 1);
        let count = || open.0.load(Ordering::SeqCst);
        watches.watch("m1", &target("one")).expect("room");
        settle().await;
        watches.watch("m1", &target("two")).expect("the same machine");
        settle().await;
        assert_eq!(count(), 1);
        assert_eq!(watches.sight("m1").target, Some(target("two")));
        let error = watches.watch("m2", &target("one")).expect_err("too many").to_string();
        assert!(error.starts_with("the manager watches 1 machines"), "{error}");
        watches.forget("m1");
        settle().await;
        assert_eq!(count(), 0);
        watches.watch("m2", &target("one")).expect("room again");
        drop(watches);
        settle().await;
        assert_eq!(count(), 0, "watches end with their owner");
    }
}
