//! Who waits until hands are shaken with a machine.
//!
//! ```text
//! enter(address) ─▶ a waiter of that address ◀─wake─ handshake of the peer with that address
//! ```
//!
//! Handshakes come about once in two minutes for each machine, so that waking costs little; who waits no more is
//! forgotten with the next one of the same address.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Waiters by address in the tunnel.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<HashMap<Ipv6Addr, Vec<oneshot::Sender<()>>>>);

/// One who waits.
#[derive(Debug)]
pub struct Waiter(oneshot::Receiver<()>);

impl Waiter {
    /// Waits until hands are shaken.
    pub async fn wait(self) {
        // It is sent, or dropped with the tunnel: whoever waits has to look again either way.
        let _ = self.0.await;
    }
}

impl Waiting {
    /// A waiter for the next handshake with this address, counted from now on.
    pub fn enter(&self, address: Ipv6Addr) -> Waiter {
        let (sender, receiver) = oneshot::channel();
        let mut all = self.0.lock();
        let waiters = all.entry(address).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(sender);
        Waiter(receiver)
    }

    /// Wakes those who wait for this address.
    pub fn wake(&self, address: Ipv6Addr) {
        let waiters = self.0.lock().remove(&address);
        for waiter in waiters.into_iter().flatten() {
            // It may wait no more.
            let _ = waiter.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
    const LIMIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_handshake_wakes_all_who_wait_for_its_address_and_nobody_else() {
        let waiting = Waiting::default();
        let (one, two) = (waiting.enter(ADDRESS), waiting.enter(ADDRESS));
        let other = waiting.enter(Ipv6Addr::LOCALHOST);
        waiting.wake(ADDRESS);
        for waiter in [one, two] {
            assert!(timeout(LIMIT, waiter.wait()).await.is_ok());
        }
        assert!(timeout(LIMIT, other.wait()).await.is_err());
    }

    #[test]
    fn who_waits_no_more_is_forgotten() {
        let waiting = Waiting::default();
        for _ in 0..3 {
            drop(waiting.enter(ADDRESS));
        }
        assert_eq!(waiting.0.lock().get(&ADDRESS).map(Vec::len), Some(1));
        waiting.wake(ADDRESS);
        assert!(waiting.0.lock().is_empty());
    }
}
