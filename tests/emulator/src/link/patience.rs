//! When a machine gives its peer up (fleet.md 1.2).

use std::time::Duration;

/// What follows from a look at the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The peer is there, or has not had its time yet.
    Stay,
    /// The next endpoint is tried.
    Next(usize),
    /// All endpoints were tried: the manager is asked again.
    AskAgain,
}

/// Looks at the peer: `age` since the last handshake, `since` the endpoint was taken, which is number `index` of
/// `count`. Every endpoint gets the whole of `patience`.
#[must_use]
pub fn look(
    age: Option<Duration>,
    since: Duration,
    patience: Duration,
    index: usize,
    count: usize,
) -> Verdict {
    let silent = age.map_or(since, |age| age.min(since));
    if silent < patience {
        Verdict::Stay
    } else if index + 1 < count {
        Verdict::Next(index + 1)
    } else {
        Verdict::AskAgain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(275);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_peer_that_shook_hands_lately_stays() {
        assert_eq!(look(Some(seconds(274)), seconds(9000), PATIENCE, 0, 1), Verdict::Stay);
        assert_eq!(look(None, seconds(274), PATIENCE, 0, 1), Verdict::Stay);
    }

    #[test]
    fn every_endpoint_has_its_time_and_then_the_manager_is_asked() {
        assert_eq!(look(None, seconds(275), PATIENCE, 0, 2), Verdict::Next(1));
        assert_eq!(look(Some(seconds(400)), seconds(100), PATIENCE, 1, 2), Verdict::Stay);
        assert_eq!(look(Some(seconds(600)), seconds(300), PATIENCE, 1, 2), Verdict::AskAgain);
        assert_eq!(look(None, seconds(300), PATIENCE, 0, 0), Verdict::AskAgain, "a stream has no endpoint");
    }
}
