//! The registry as bytes, so that a restart of the manager loses nobody.
//!
//! ```text
//! Registry, time ─▶ encode ─▶ StateSnapshot (fleet.md 12) ─▶ decode, time ─▶ Registry
//! ```
//!
//! What is written is the time that everything has left: while the manager is away nobody can renew anything, so that
//! time does not count. Snapshots of the public service's older versions have the time of the end instead; it is read
//! where nothing else is given. Nothing that is read holds longer than if it were told now.
//!
//! Bounds: one cluster at a time is decoded, of at most [`CLUSTER_BYTES_MAX`]; the limits of the registry hold.

use std::time::{Duration, SystemTime};

use corten_api::sidero::discovery::server::{AffiliateSnapshot, ClusterSnapshot, EndpointSnapshot};
use prost::Message as _;
use prost_types::Timestamp;

use crate::convert;
use crate::registry::{Cluster, Endpoint, Record, Registry, RegistryError, TTL_MAX};

/// Largest cluster in a snapshot, in bytes. One that is at all limits has about 7 million.
const CLUSTER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How each cluster begins: field 1, of a length that follows (the protobuf encoding).
const CLUSTER_KEY: u8 = (1 << 3) | 2;

/// Why a snapshot is not taken. Its owner begins with an empty registry then: members tell everything again.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes are no message.
    #[error("the discovery snapshot is damaged; begin without it")]
    Damaged(#[from] prost::DecodeError),
    /// Something else than a cluster stands in it.
    #[error("the discovery snapshot has a field with key {0}, which is no cluster; begin without it")]
    Field(u8),
    /// It is cut off, or a cluster is too large.
    #[error("the discovery snapshot has a cluster of {bytes} bytes, where {most} may be; begin without it")]
    ClusterLength {
        /// Length that the snapshot names.
        bytes: usize,
        /// How many it may have.
        most: usize,
    },
    /// A time that is none.
    #[error("the discovery snapshot has an impossible time for affiliate `{affiliate}`; begin without it")]
    Time {
        /// Id of the affiliate.
        affiliate: String,
    },
    /// It breaks a limit of the registry.
    #[error("the discovery snapshot breaks a limit; begin without it")]
    Limit(#[from] RegistryError),
}

/// The registry as it is at `now`, in bytes; the same registry gives the same bytes.
#[must_use]
pub fn encode(registry: &Registry, now: SystemTime) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, affiliates) in &registry.clusters {
        bytes.push(CLUSTER_KEY);
        bytes.extend(cluster(id, affiliates, now).encode_length_delimited_to_vec());
    }
    bytes
}

/// The registry of a snapshot, which goes on at `now`.
///
/// # Errors
/// [`SnapshotError`] when the bytes are none, or more than the registry takes.
pub fn decode(bytes: &[u8], now: SystemTime) -> Result<Registry, SnapshotError> {
    let mut registry = Registry::default();
    let mut rest = bytes;
    while let Some((key, after)) = rest.split_first() {
        if *key != CLUSTER_KEY {
            return Err(SnapshotError::Field(*key));
        }
        rest = after;
        let length = prost::decode_length_delimiter(&mut rest)?;
        let most = rest.len().min(CLUSTER_BYTES_MAX);
        let parts = rest.split_at_checked(length).filter(|_| length <= most);
        let (message, after) = parts.ok_or(SnapshotError::ClusterLength { bytes: length, most })?;
        rest = after;
        let cluster = ClusterSnapshot::decode(message)?;
        for affiliate in cluster.affiliates {
            let id = affiliate.id.clone();
            let record =
                record(affiliate, now).ok_or_else(|| SnapshotError::Time { affiliate: id.clone() })?;
            registry.put(&cluster.id, &id, record)?;
        }
    }
    Ok(registry)
}

fn cluster(id: &str, affiliates: &Cluster, now: SystemTime) -> ClusterSnapshot {
    let endpoint = |endpoint: &Endpoint| EndpointSnapshot {
        expiration: None,
        data: endpoint.bytes.clone(),
        ttl: left(endpoint.ends, now),
    };
    let affiliate = |(id, record): (&String, &Record)| AffiliateSnapshot {
        id: id.clone(),
        expiration: None,
        data: record.data.clone(),
        endpoints: record.endpoints.iter().map(endpoint).collect(),
        ttl: record.ends.and_then(|ends| left(ends, now)),
    };
    ClusterSnapshot { id: id.to_owned(), affiliates: affiliates.iter().map(affiliate).collect() }
}

/// The time from `now` to the end; zero when that is past.
fn left(ends: SystemTime, now: SystemTime) -> Option<prost_types::Duration> {
    let left = ends.duration_since(now).unwrap_or_default().min(TTL_MAX);
    prost_types::Duration::try_from(left).ok()
}

/// An affiliate from a snapshot; none when a time in it is impossible.
fn record(affiliate: AffiliateSnapshot, now: SystemTime) -> Option<Record> {
    let AffiliateSnapshot { id: _, expiration, data, endpoints, ttl } = affiliate;
    // What has data has an end; without one, nothing would ever collect it.
    let is_endless = ttl.is_none() && expiration.is_none() && data.is_empty();
    let ends = if is_endless { None } else { Some(end(ttl, expiration, now)?) };
    let mut record = Record { data, ends, endpoints: Vec::new() };
    for EndpointSnapshot { expiration, data, ttl } in endpoints {
        let ends = end(ttl, expiration, now)?;
        match record.endpoints.iter_mut().find(|known| known.bytes == data) {
            Some(known) => known.ends = known.ends.max(ends),
            None => record.endpoints.push(Endpoint { bytes: data, ends }),
        }
    }
    Some(record)
}

/// When something ends that has `ttl` left, or else ends at `expiration`, or else now; none when that is impossible.
fn end(
    ttl: Option<prost_types::Duration>,
    expiration: Option<Timestamp>,
    now: SystemTime,
) -> Option<SystemTime> {
    let left = match (ttl, expiration) {
        (Some(ttl), _) => convert::duration(ttl)?,
        (None, Some(at)) => SystemTime::try_from(at).ok()?.duration_since(now).unwrap_or_default(),
        (None, None) => Duration::ZERO,
    };
    now.checked_add(left.min(TTL_MAX))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_api::sidero::discovery::server::StateSnapshot;

    use super::*;
    use crate::registry::{
        AFFILIATE_ENDPOINTS_MAX, CLUSTER_AFFILIATES_MAX, DATA_BYTES_MAX, ENDPOINT_BYTES_MAX, ID_BYTES_MAX,
        Update,
    };

    const NOW: SystemTime = UNIX_EPOCH;

    fn at(seconds: u64) -> SystemTime {
        NOW + Duration::from_secs(seconds)
    }

    fn sample() -> Registry {
        let mut registry = Registry::default();
        let update = |cluster: &str, affiliate: &str, data: Option<&[u8]>, endpoints: &[&[u8]]| Update {
            cluster: cluster.to_owned(),
            affiliate: affiliate.to_owned(),
            data: data.map(<[u8]>::to_vec),
            endpoints: endpoints.iter().map(|bytes| bytes.to_vec()).collect(),
            ttl: Duration::from_millis(1_500),
        };
        registry.update(update("a", "one", Some(b"data"), &[b"x", b"y"]), at(100)).unwrap();
        registry.update(update("a", "two", None, &[b"z"]), at(101)).unwrap();
        registry.update(update("b", "one", Some(b"other"), &[]), at(101)).unwrap();
        registry
    }

    #[test]
    fn a_snapshot_is_a_state_snapshot_and_gives_the_same_registry() {
        let bytes = encode(&sample(), at(101));
        let state = StateSnapshot::decode(bytes.as_slice()).expect("a message");
        let ids: Vec<_> = state.clusters.iter().map(|cluster| cluster.id.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
        assert_eq!(state.encode_to_vec(), bytes);
        assert_eq!(decode(&bytes, at(101)).unwrap(), sample());
        assert_eq!(decode(&[], at(101)).unwrap(), Registry::default());
    }

    #[test]
    fn time_between_the_snapshot_and_the_restart_does_not_count() {
        let mut restored = decode(&encode(&sample(), at(101)), at(5_000)).unwrap();
        assert!(restored.collect(at(5_000)).is_empty());
        assert_eq!(restored.list("a").unwrap(), sample().list("a").unwrap());
        restored.collect(at(5_002));
        assert_eq!(restored, Registry::default());
    }

    #[test]
    fn times_of_old_snapshots_count_without_a_ttl_and_nothing_holds_longer_than_it_may() {
        let timestamp = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let ttl = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let cases = [
            (None, None, Some(at(1_000))),
            (None, timestamp(1_010), Some(at(1_010))),
            (None, timestamp(900), Some(at(1_000))),
            (None, timestamp(1_000_000), Some(at(1_000) + TTL_MAX)),
            (None, timestamp(i64::MAX), Some(at(1_000) + TTL_MAX)),
            (None, timestamp(i64::MIN), None),
            (ttl(5), timestamp(1_010), Some(at(1_005))),
            (ttl(1_000_000), None, Some(at(1_000) + TTL_MAX)),
            (ttl(i64::MIN), None, None),
        ];
        for (ttl, expiration, expected) in cases {
            assert_eq!(end(ttl, expiration, at(1_000)), expected, "{ttl:?} {expiration:?}");
        }
    }

    #[test]
    fn data_without_an_end_goes_with_the_next_collection() {
        let affiliate = AffiliateSnapshot { id: "m".to_owned(), data: vec![1], ..Default::default() };
        let state = ClusterSnapshot { id: "a".to_owned(), affiliates: vec![affiliate] };
        let bytes = StateSnapshot { clusters: vec![state] }.encode_to_vec();
        let mut registry = decode(&bytes, NOW).unwrap();
        assert_eq!(registry.list("a").unwrap().len(), 1);
        assert_eq!(registry.collect(NOW).len(), 1);
    }

    #[test]
    fn a_cluster_at_all_limits_fits() {
        let bytes = |number: usize, length: usize| format!("{number:0length$}").into_bytes();
        let mut registry = Registry::default();
        for number in 0..CLUSTER_AFFILIATES_MAX {
            let ends = NOW + TTL_MAX - Duration::from_nanos(1);
            let endpoint = |number| Endpoint { bytes: bytes(number, ENDPOINT_BYTES_MAX), ends };
            let endpoints = (0..AFFILIATE_ENDPOINTS_MAX).map(endpoint).collect();
            let record = Record { data: bytes(number, DATA_BYTES_MAX), ends: Some(ends), endpoints };
            let id = format!("{number:0length$}", length = ID_BYTES_MAX);
            registry.put(&"c".repeat(ID_BYTES_MAX), &id, record).unwrap();
        }
        assert_eq!(decode(&encode(&registry, NOW), NOW).expect("it fits"), registry);
    }

    #[test]
    fn what_is_no_snapshot_is_refused_and_said_why() {
        let too_long = [&[CLUSTER_KEY][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
        assert!(matches!(decode(&too_long, NOW), Err(SnapshotError::ClusterLength { most: 0, .. })));
        assert!(matches!(decode(b"\x12\x00", NOW), Err(SnapshotError::Field(0x12))));
        assert!(matches!(decode(b"\x0a", NOW), Err(SnapshotError::Damaged(_))));
        assert!(matches!(decode(b"\x0a\x02\x12\x00", NOW), Err(SnapshotError::Limit(_))), "ids are missing");
    }

    /// The database may give back anything; what is read keeps the limits, and is read again as it was.
    #[test]
    fn damaged_snapshots_are_read_or_refused() {
        let whole = encode(&sample(), at(101));
        bolero::check!().with_type::<(Vec<u8>, u8, u8)>().for_each(|(bytes, from, length)| {
            let mut damaged = whole.clone();
            let from = usize::from(*from).min(whole.len());
            let until = (from + usize::from(*length)).min(whole.len());
            drop(damaged.splice(from..until, bytes.iter().copied()));
            if let Ok(registry) = decode(&damaged, at(101)) {
                assert_eq!(decode(&encode(&registry, at(101)), at(101)).expect("readable"), registry);
            }
        });
    }
}
