//! Where resources are kept, and the backups of the clusters' etcd.

use std::path::PathBuf;
use std::time::Duration;

use super::words::StorageKind;
use crate::values::Values;

/// Where resources are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// In what.
    pub kind: StorageKind,
    /// File with the key that opens the store.
    pub key_file: PathBuf,
    /// File of the embedded store.
    pub path: PathBuf,
    /// How etcd is reached.
    pub etcd: EtcdStore,
}

impl Storage {
    pub(super) fn read(values: &Values) -> Self {
        Self {
            kind: values.word("storage.default.kind", StorageKind::of),
            key_file: values.path("storage.default.keyFile").unwrap_or_default(),
            path: values.path("storage.default.embedded.path").unwrap_or_default(),
            etcd: EtcdStore::read(values),
        }
    }
}

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdStore {
    /// URLs of its members.
    pub endpoints: Vec<String>,
    /// How often a silent connection is checked.
    pub keep_alive_time: Duration,
    /// How long a check may take.
    pub keep_alive_timeout: Duration,
    /// Its authority, PEM; the files are read when an endpoint is `https`.
    pub ca_file: PathBuf,
    /// Our certificate, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
}

impl EtcdStore {
    fn read(values: &Values) -> Self {
        let path = |path: &str| values.path(path).unwrap_or_default();
        Self {
            endpoints: values.list("storage.default.etcd.endpoints"),
            keep_alive_time: values.duration("storage.default.etcd.dialKeepAliveTime"),
            keep_alive_timeout: values.duration("storage.default.etcd.dialKeepAliveTimeout"),
            ca_file: path("storage.default.etcd.caFile"),
            cert_file: path("storage.default.etcd.certFile"),
            key_file: path("storage.default.etcd.keyFile"),
        }
    }
}

/// Backups of the clusters' etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdBackup {
    /// Folder that they are written to.
    pub local_path: PathBuf,
    /// How often it is checked which are due.
    pub tick_interval: Duration,
    /// Shortest time between two of a cluster.
    pub min_interval: Duration,
    /// Longest time between two of a cluster.
    pub max_interval: Duration,
    /// By how much one may be earlier or later.
    pub jitter: Duration,
}

impl EtcdBackup {
    pub(super) fn read(values: &Values) -> Option<Self> {
        Some(Self {
            local_path: values.path("etcdBackup.localPath")?,
            tick_interval: values.duration("etcdBackup.tickInterval"),
            min_interval: values.duration("etcdBackup.minInterval"),
            max_interval: values.duration("etcdBackup.maxInterval"),
            jitter: values.duration("etcdBackup.jitter"),
        })
    }
}
