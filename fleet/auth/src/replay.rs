//! Memory of the calls that were seen, so that one which changes something cannot be made again by others.
//!
//! ```text
//! Verified, now ─▶ Replays ─▶ First | Again
//! ```
//!
//! A signed call is taken for five minutes before and after its time, so each is remembered for ten. Only what was
//! verified comes in here, so that nobody without a key can fill the memory; when it is full, the oldest is forgotten,
//! and its key signs nothing more that is as old.
//!
//! What is remembered is the nonce of the signature, since the rest of it can be written in several ways. A client that
//! puts nothing random into its signatures makes the same one for equal calls of one second, and its second call counts
//! as a replay. What an earlier run of the manager saw is in no memory; [`Mark`](crate::Mark) tells that.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use crate::signature::{Verified, WINDOW};

/// How long a call is remembered: as long as it can be taken, if its time is as far ahead of ours as may be.
const MEMORY: Duration = Duration::from_secs(2 * WINDOW.as_secs());

/// What stands for a call.
type Mark = [u8; SHA256_OUTPUT_LEN];

/// Whether a call was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It was not.
    First,
    /// It was: the same key made the same signature.
    Again,
}

/// The calls that were seen in the last ten minutes.
#[derive(Debug)]
pub struct Replays {
    capacity: usize,
    seen: HashSet<Mark>,
    /// Oldest first.
    by_age: VecDeque<Seen>,
    /// Keys of which calls were forgotten before their time: the last second of these.
    floors: HashMap<String, u64>,
}

/// A call that was seen.
#[derive(Debug)]
struct Seen {
    when: SystemTime,
    mark: Mark,
    /// Id of its key.
    key: String,
    /// When it was signed.
    at: u64,
}

impl Replays {
    /// A memory for so many calls, at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let (seen, by_age, floors) = (HashSet::new(), VecDeque::new(), HashMap::new());
        Self { capacity: capacity.max(1), seen, by_age, floors }
    }

    /// Whether this call was seen before; it is remembered from now on.
    pub fn see(&mut self, call: &Verified, now: SystemTime) -> Sight {
        self.forget(now);
        let mark = mark(call);
        let is_below = self.floors.get(&call.fingerprint).is_some_and(|floor| call.at <= *floor);
        if is_below || !self.seen.insert(mark) {
            return Sight::Again;
        }
        self.by_age.push_back(Seen { when: now, mark, key: call.fingerprint.clone(), at: call.at });
        if self.by_age.len() > self.capacity
            && let Some(Seen { key, at, .. }) = self.forget_oldest()
        {
            let floor = self.floors.entry(key).or_default();
            *floor = at.max(*floor);
        }
        Sight::First
    }

    /// How many calls are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    fn forget(&mut self, now: SystemTime) {
        while self.by_age.front().is_some_and(|seen| seen.when + MEMORY < now) {
            self.forget_oldest();
        }
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.floors.retain(|_, floor| floor.saturating_add(MEMORY.as_secs()) >= seconds);
    }

    fn forget_oldest(&mut self) -> Option<Seen> {
        let oldest = self.by_age.pop_front()?;
        self.seen.remove(&oldest.mark);
        Some(oldest)
    }
}

/// A hash of key and nonce: of one size, however long fingerprints are.
fn mark(call: &Verified) -> Mark {
    let mut context = Context::new(&SHA256);
    context.update(call.nonce.as_bytes());
    context.update(call.fingerprint.as_bytes());
    let digest = context.finish();
    let bytes: &[u8] = digest.as_ref();
    let mut mark = [0; SHA256_OUTPUT_LEN];
    mark.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    mark
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_base::Rng;

    use super::*;
    use crate::identity::ServiceAccount;
    use crate::key::{Key, ServiceAccountKey};

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000)
    }

    /// Calls of one key that differ in their nonces.
    fn calls(count: u64) -> Vec<Verified> {
        let account = ServiceAccount::Plain("ci".to_owned());
        let account = ServiceAccountKey::generate(&account, MEMORY, &Rng::seeded(0), now()).expect("a key");
        let key = Key::Pgp(Box::new(account.public().expect("public")));
        let call = |seed| {
            let signature = account.sign(b"call", &Rng::seeded(seed), now()).expect("signed");
            let nonce = key.verify(b"call", &signature, now()).expect("valid");
            let (identity, fingerprint) = ("ci".to_owned(), key.id().to_owned());
            Verified { identity, fingerprint, nonce, at: 1_700_000_000 }
        };
        (0..count).map(call).collect()
    }

    #[test]
    fn a_call_is_seen_once_per_key() {
        let mut replays = Replays::new(8);
        let calls = calls(2);
        assert!(replays.is_empty());
        for call in &calls {
            assert_eq!(replays.see(call, now()), Sight::First);
            assert_eq!(replays.see(call, now()), Sight::Again);
        }
        let other = Verified { fingerprint: "other".to_owned(), ..calls[0].clone() };
        assert_eq!(replays.see(&other, now()), Sight::First);
        assert_eq!(replays.len(), 3);
    }

    #[test]
    fn a_call_is_remembered_as_long_as_it_could_be_taken() {
        let mut replays = Replays::new(8);
        let call = &calls(1)[0];
        assert_eq!(replays.see(call, now()), Sight::First);
        assert_eq!(replays.see(call, now() + MEMORY), Sight::Again);
        assert_eq!(replays.see(call, now() + MEMORY + Duration::from_secs(1)), Sight::First);
        assert_eq!(replays.len(), 1);
    }

    #[test]
    fn a_full_memory_forgets_the_oldest_and_takes_nothing_more_of_its_key_that_is_as_old() {
        let mut replays = Replays::new(2);
        let mut calls = calls(4);
        for (call, later) in calls.iter_mut().zip(0..) {
            call.at += later;
        }
        for call in &calls[..3] {
            assert_eq!(replays.see(call, now()), Sight::First);
        }
        assert_eq!(replays.len(), 2);
        for call in &calls[..3] {
            assert_eq!(replays.see(call, now()), Sight::Again);
        }
        let other = Verified { fingerprint: "other".to_owned(), ..calls[0].clone() };
        assert_eq!(replays.see(&other, now()), Sight::First, "other keys are not held back");
        assert_eq!(replays.see(&calls[3], now()), Sight::First, "and neither is what is newer");
        let much_later = now() + MEMORY * 2;
        assert_eq!(replays.see(&calls[0], much_later), Sight::First, "it would not be taken any more");
        assert_eq!(replays.floors.len(), 0);
    }
}
