//! Keys of callers that have ended go: they open nothing any more, and there is a new one for each log-in.
//!
//! ```text
//! PublicKey (expiration) ──each interval──▶ over? ─▶ removed
//! ```

use std::time::{Duration, SystemTime};

use corten_base::{Clock, chain};
use corten_fleet_resources::auth::PublicKey;
use corten_resource::State;
use tokio::time::{MissedTickBehavior, interval};

/// Removes keys that have ended, each `every`, for ever.
pub async fn run(state: State, clock: Clock, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        remove(&state, clock.now());
    }
}

fn remove(state: &State, now: SystemTime) {
    let is_over = |key: &PublicKey| key.expiration.is_some_and(|end| end <= now);
    for key in state.list::<PublicKey>().iter().filter(|key| is_over(&key.spec)) {
        match state.remove::<PublicKey>(&key.metadata.owner, key.id()) {
            Ok(()) => tracing::info!(key = key.id(), "removed a key that has ended"),
            Err(error) => tracing::warn!(key = key.id(), error = chain(&error), "an ended key stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing;

    use super::*;

    #[test]
    fn only_keys_that_have_ended_go() {
        let state = testing::state(corten_fleet_resources::registry());
        let now = state.store().clock().now();
        let (past, future) = (now - Duration::from_secs(1), now + Duration::from_secs(1));
        for (id, expiration) in [("past", Some(past)), ("future", Some(future)), ("none", None)] {
            state.put("", id, PublicKey { expiration, ..PublicKey::default() }).expect("put");
        }
        remove(&state, now);
        let left = state.list::<PublicKey>();
        assert_eq!(left.iter().map(|key| key.id()).collect::<Vec<_>>(), ["future", "none"]);
    }
}
