//! Values of the registry and messages of the wire.

use std::time::Duration;

use corten_api::sidero::discovery::server as wire;

use crate::registry::{Affiliate, Change};

/// An affiliate as a message.
pub fn affiliate(affiliate: Affiliate) -> wire::Affiliate {
    let Affiliate { id, data, endpoints } = affiliate;
    wire::Affiliate { id, data, endpoints }
}

/// A change as a message. Of what is gone only the ids are told.
pub fn change(change: Change) -> wire::WatchResponse {
    let gone = |id| wire::Affiliate { id, ..Default::default() };
    let (affiliates, deleted) = match change {
        Change::Updated(affiliates) => (affiliates.into_iter().map(affiliate).collect(), false),
        Change::Deleted(ids) => (ids.into_iter().map(gone).collect(), true),
    };
    wire::WatchResponse { affiliates, deleted }
}

/// A duration from a message; none when it is negative or has more than a second of nanoseconds.
pub fn duration(message: prost_types::Duration) -> Option<Duration> {
    let (seconds, nanos) = (u64::try_from(message.seconds).ok()?, u32::try_from(message.nanos).ok()?);
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_neither_negative_nor_more_than_its_parts() {
        let check = |seconds, nanos| duration(prost_types::Duration { seconds, nanos });
        assert_eq!(check(1, 500), Some(Duration::new(1, 500)));
        assert_eq!(check(i64::MAX, 999_999_999), Some(Duration::new(i64::MAX.unsigned_abs(), 999_999_999)));
        for (seconds, nanos) in [(-1, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000)] {
            assert_eq!(check(seconds, nanos), None, "{seconds} s, {nanos} ns");
        }
    }

    #[test]
    fn of_a_deletion_only_ids_are_told() {
        let told = change(Change::Deleted(vec!["a".to_owned()]));
        assert!(told.deleted);
        assert_eq!(told.affiliates, [wire::Affiliate { id: "a".to_owned(), ..Default::default() }]);
    }
}
