//! What is known of every cluster: its affiliates, their data and their endpoints, each with the time when it ends.
//!
//! ```text
//! Update ─▶ update ──┐
//! ids ────▶ delete ──┼─▶ clusters ─▶ affiliates ─▶ data, endpoints ─▶ list
//! time ───▶ collect ─┘        │
//!                             └─▶ Notice: what the watchers of the cluster are told
//! ```
//!
//! Pure: times come in as arguments. Whoever applies the notices to an earlier list has what the list says now. What
//! has ended stays in the list until it is collected, or until the next update of its affiliate.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tonic::Code;

/// Longest id of a cluster or an affiliate, in bytes (fleet.md 12, as the next five).
pub const ID_BYTES_MAX: usize = 256;
/// Most data of an affiliate, in bytes.
pub const DATA_BYTES_MAX: usize = 2048;
/// Longest endpoint, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 32;
/// Most endpoints of an affiliate, and of a request.
pub const AFFILIATE_ENDPOINTS_MAX: usize = 64;
/// Most affiliates of a cluster.
pub const CLUSTER_AFFILIATES_MAX: usize = 1024;
/// Longest time that anything holds without being told again.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 60);
/// Most clusters; our own limit.
pub const CLUSTERS_MAX: usize = 4096;
/// Most affiliates of all clusters together; our own limit. It bounds the memory: one has at most about 8 KiB.
pub const AFFILIATES_MAX: usize = 65_536;

/// What a member tells of an affiliate: itself, or another one whose endpoints it has learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Id of the cluster.
    pub cluster: String,
    /// Id of the affiliate.
    pub affiliate: String,
    /// New data, at most [`DATA_BYTES_MAX`]; absent or empty keeps what is there.
    pub data: Option<Vec<u8>>,
    /// Endpoints to add, of 1 to [`ENDPOINT_BYTES_MAX`] bytes; those that are there live on.
    pub endpoints: Vec<Vec<u8>>,
    /// How long this holds, at most [`TTL_MAX`]. After zero it goes with the next collection.
    pub ttl: Duration,
}

/// An affiliate as the members of its cluster see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affiliate {
    /// Its id.
    pub id: String,
    /// Its data; empty while only its endpoints are known.
    pub data: Vec<u8>,
    /// Its endpoints in the order of arrival, each once.
    pub endpoints: Vec<Vec<u8>>,
}

/// A change of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Affiliates as they are now, new ones and changed ones.
    Updated(Vec<Affiliate>),
    /// Ids of affiliates that are gone.
    Deleted(Vec<String>),
}

/// What the watchers of a cluster are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Id of the cluster.
    pub cluster: String,
    /// What has changed in it.
    pub change: Change,
}

/// Why something is not taken; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// An id is missing.
    #[error("the {what} id is empty; it must be given")]
    EmptyId {
        /// Whose id.
        what: &'static str,
    },
    /// An id is too long.
    #[error("the {what} id has {bytes} bytes; use one of at most {}", ID_BYTES_MAX)]
    LongId {
        /// Whose id.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The data is too long.
    #[error("the data of affiliate `{affiliate}` has {bytes} bytes; tell at most {}", DATA_BYTES_MAX)]
    LongData {
        /// Id of the affiliate.
        affiliate: String,
        /// Length of the data.
        bytes: usize,
    },
    /// An endpoint is empty or too long.
    #[error("an endpoint of affiliate `{affiliate}` has {bytes} bytes; use 1 to {}", ENDPOINT_BYTES_MAX)]
    EndpointLength {
        /// Id of the affiliate.
        affiliate: String,
        /// Length of the endpoint.
        bytes: usize,
    },
    /// The TTL is too long.
    #[error("the TTL for affiliate `{affiliate}` is {ttl:?}; use at most {:?}", TTL_MAX)]
    LongTtl {
        /// Id of the affiliate.
        affiliate: String,
        /// The TTL.
        ttl: Duration,
    },
    /// The affiliate has all the endpoints that it may have.
    #[error("affiliate `{affiliate}` has room for {} endpoints; tell fewer", AFFILIATE_ENDPOINTS_MAX)]
    TooManyEndpoints {
        /// Id of the affiliate.
        affiliate: String,
    },
    /// The cluster has all the affiliates that it may have.
    #[error("cluster `{cluster}` has room for {} affiliates; delete some first", CLUSTER_AFFILIATES_MAX)]
    TooManyAffiliates {
        /// Id of the cluster.
        cluster: String,
    },
    /// There is no room for another cluster.
    #[error("the service has room for {} clusters; delete the affiliates of old ones first", CLUSTERS_MAX)]
    TooManyClusters,
    /// There is no room for another affiliate of any cluster.
    #[error("the service has room for {} affiliates; delete some first", AFFILIATES_MAX)]
    Full,
}

impl RegistryError {
    /// The gRPC code of an answer that tells it.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::EmptyId { .. }
            | Self::LongId { .. }
            | Self::LongData { .. }
            | Self::EndpointLength { .. }
            | Self::LongTtl { .. } => Code::InvalidArgument,
            Self::TooManyEndpoints { .. }
            | Self::TooManyAffiliates { .. }
            | Self::TooManyClusters
            | Self::Full => Code::ResourceExhausted,
        }
    }
}

/// All clusters. A cluster without affiliates is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    pub(crate) clusters: BTreeMap<String, Cluster>,
}

/// The affiliates of a cluster by their id.
pub(crate) type Cluster = BTreeMap<String, Record>;

/// An affiliate as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Empty until its machine has told it.
    pub(crate) data: Vec<u8>,
    /// When the affiliate ends. There is no such time without data: it then lives as long as its endpoints.
    pub(crate) ends: Option<SystemTime>,
    /// In the order of arrival, each once.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// An endpoint as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: SystemTime,
}

impl Registry {
    /// Takes what a member tells; what is known already tells nobody anything.
    ///
    /// # Errors
    /// [`RegistryError`] when it breaks a limit.
    pub fn update(&mut self, update: Update, now: SystemTime) -> Result<Option<Notice>, RegistryError> {
        let Update { cluster, affiliate, data, endpoints, ttl } = update;
        if ttl > TTL_MAX {
            return Err(RegistryError::LongTtl { affiliate, ttl });
        }
        if endpoints.len() > AFFILIATE_ENDPOINTS_MAX {
            return Err(RegistryError::TooManyEndpoints { affiliate });
        }
        check_id("cluster", &cluster)?;
        check_id("affiliate", &affiliate)?;
        let data = data.filter(|data| !data.is_empty());
        if data.is_none() && endpoints.is_empty() {
            return Ok(None);
        }
        let known = self.clusters.get(&cluster).and_then(|affiliates| affiliates.get(&affiliate));
        let mut record = known.cloned().unwrap_or_default();
        let ends = now.checked_add(ttl).unwrap_or(now);
        let is_changed = record.drop_ended(now) | record.merge(data, endpoints, ends);
        let seen = record.seen(&affiliate);
        self.put(&cluster, &affiliate, record)?;
        Ok(is_changed.then(|| Notice { cluster, change: Change::Updated(vec![seen]) }))
    }

    /// Forgets an affiliate; one that is not there tells nobody anything.
    ///
    /// # Errors
    /// [`RegistryError`] when an id is empty or too long.
    pub fn delete(&mut self, cluster: &str, affiliate: &str) -> Result<Option<Notice>, RegistryError> {
        check_id("cluster", cluster)?;
        check_id("affiliate", affiliate)?;
        let Some(affiliates) = self.clusters.get_mut(cluster) else { return Ok(None) };
        let gone = affiliates.remove(affiliate);
        if affiliates.is_empty() {
            self.clusters.remove(cluster);
        }
        let change = Change::Deleted(vec![affiliate.to_owned()]);
        Ok(gone.map(|_| Notice { cluster: cluster.to_owned(), change }))
    }

    /// The affiliates of a cluster in the order of their ids; none when nobody has told of it.
    ///
    /// # Errors
    /// [`RegistryError`] when the id is empty or too long.
    pub fn list(&self, cluster: &str) -> Result<Vec<Affiliate>, RegistryError> {
        check_id("cluster", cluster)?;
        let affiliates = self.clusters.get(cluster).into_iter().flatten();
        Ok(affiliates.map(|(id, record)| record.seen(id)).collect())
    }

    /// Forgets what has ended: at most one deletion and one update for each cluster.
    pub fn collect(&mut self, now: SystemTime) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.clusters.retain(|cluster, affiliates| {
            let changes = collect_cluster(affiliates, now);
            notices.extend(changes.map(|change| Notice { cluster: cluster.clone(), change }));
            !affiliates.is_empty()
        });
        notices
    }

    /// Puts a record in its place, whatever was there.
    ///
    /// # Errors
    /// [`RegistryError`] when it breaks a limit.
    pub(crate) fn put(
        &mut self,
        cluster: &str,
        affiliate: &str,
        record: Record,
    ) -> Result<(), RegistryError> {
        check_id("cluster", cluster)?;
        check_id("affiliate", affiliate)?;
        record.check(affiliate)?;
        self.check_room(cluster, affiliate)?;
        self.clusters.entry(cluster.to_owned()).or_default().insert(affiliate.to_owned(), record);
        Ok(())
    }

    fn check_room(&self, cluster: &str, affiliate: &str) -> Result<(), RegistryError> {
        match self.clusters.get(cluster) {
            Some(affiliates) if affiliates.contains_key(affiliate) => return Ok(()),
            Some(affiliates) if affiliates.len() >= CLUSTER_AFFILIATES_MAX => {
                return Err(RegistryError::TooManyAffiliates { cluster: cluster.to_owned() });
            }
            None if self.clusters.len() >= CLUSTERS_MAX => return Err(RegistryError::TooManyClusters),
            _ => {}
        }
        let affiliates: usize = self.clusters.values().map(BTreeMap::len).sum();
        if affiliates >= AFFILIATES_MAX { Err(RegistryError::Full) } else { Ok(()) }
    }
}

/// What has ended in a cluster, as its watchers are told: first who is gone, then who has fewer endpoints.
fn collect_cluster(affiliates: &mut Cluster, now: SystemTime) -> impl Iterator<Item = Change> + use<> {
    let (mut deleted, mut updated) = (Vec::new(), Vec::new());
    affiliates.retain(|id, record| {
        let is_changed = record.drop_ended(now);
        if record.is_over(now) {
            deleted.push(id.clone());
            return false;
        }
        if is_changed {
            updated.push(record.seen(id));
        }
        true
    });
    let deleted = (!deleted.is_empty()).then_some(Change::Deleted(deleted));
    let updated = (!updated.is_empty()).then_some(Change::Updated(updated));
    deleted.into_iter().chain(updated)
}

/// Whether an id may be one; `what` says whose it is.
///
/// # Errors
/// [`RegistryError`] when it is empty or too long.
pub(crate) fn check_id(what: &'static str, id: &str) -> Result<(), RegistryError> {
    match id.len() {
        0 => Err(RegistryError::EmptyId { what }),
        1..=ID_BYTES_MAX => Ok(()),
        bytes => Err(RegistryError::LongId { what, bytes }),
    }
}

impl Record {
    /// Adds what is told; true when that is news. Several members may tell the same endpoint, the later end counts.
    fn merge(&mut self, data: Option<Vec<u8>>, endpoints: Vec<Vec<u8>>, ends: SystemTime) -> bool {
        let mut is_changed = false;
        if let Some(data) = data {
            is_changed = self.data != data;
            self.data = data;
            self.ends = Some(ends);
        }
        for bytes in endpoints {
            match self.endpoints.iter_mut().find(|known| known.bytes == bytes) {
                Some(known) => known.ends = known.ends.max(ends),
                None => {
                    is_changed = true;
                    self.endpoints.push(Endpoint { bytes, ends });
                }
            }
        }
        is_changed
    }

    /// Drops the endpoints that have ended; true when there were any.
    fn drop_ended(&mut self, now: SystemTime) -> bool {
        let before = self.endpoints.len();
        self.endpoints.retain(|endpoint| endpoint.ends > now);
        self.endpoints.len() != before
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.ends.map_or(self.endpoints.is_empty(), |ends| ends <= now)
    }

    fn check(&self, affiliate: &str) -> Result<(), RegistryError> {
        let affiliate = || affiliate.to_owned();
        if self.data.len() > DATA_BYTES_MAX {
            return Err(RegistryError::LongData { affiliate: affiliate(), bytes: self.data.len() });
        }
        if self.endpoints.len() > AFFILIATE_ENDPOINTS_MAX {
            return Err(RegistryError::TooManyEndpoints { affiliate: affiliate() });
        }
        let mut lengths = self.endpoints.iter().map(|endpoint| endpoint.bytes.len());
        // Members take an endpoint apart by its first byte, and existing ones end with an error when there is none.
        match lengths.find(|bytes| !(1..=ENDPOINT_BYTES_MAX).contains(bytes)) {
            Some(bytes) => Err(RegistryError::EndpointLength { affiliate: affiliate(), bytes }),
            None => Ok(()),
        }
    }

    fn seen(&self, id: &str) -> Affiliate {
        let endpoints = self.endpoints.iter().map(|endpoint| endpoint.bytes.clone()).collect();
        Affiliate { id: id.to_owned(), data: self.data.clone(), endpoints }
    }
}

#[cfg(test)]
mod tests;
