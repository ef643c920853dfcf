//! Settings of the store, and of the backups of the clusters' etcd.

use super::{ANY_DURATION, BYTES, COUNT, INTERVAL, Setting, TEXTS, TICK, WEB, effective, ignored, later};
use crate::kind::Kind;
use crate::settings::StorageKind;

/// Why settings of SQLite are refused.
pub(super) const SQLITE: &str = "SQLite; everything is in the manager's store, leave it out";
const BOLT: &str = "BoltDB; the kind embedded takes its place";
const OWN_ETCD: &str = "an etcd within the manager; the kind embedded takes its place";
const KEYS: &str = "PGP keys for the store; its key is in storage.default.keyFile";
const VAULT: &str = "keys from Vault";
const LIMITS: &str = "limits of what is written to etcd";
const S3: &str = "backups on S3";
const ELECTED: &str = "managers at one etcd always elect the one that leads";

pub(super) const STORAGE: &[Setting] = &[
    effective(
        "storage.default.kind",
        Kind::OneOf(StorageKind::WORDS),
        "embedded",
        "Where resources are kept: in a file of the manager, or in an etcd that somebody else runs, for \
         several managers at once.",
    )
    .flag("storage-kind"),
    effective(
        "storage.default.keyFile",
        Kind::Path,
        "_out/fleet.key",
        "File with the key that opens the store, the same for all managers at one etcd; one that is not \
         there is made together with the store.",
    )
    .flag("storage-key-file"),
    effective("storage.default.embedded.path", Kind::Path, "_out/fleet.redb", "File of the embedded store.")
        .flag("storage-path"),
    later("storage.default.boltdb.path", Kind::Text, "_out/omni.db", BOLT),
    effective(
        "storage.default.etcd.endpoints",
        Kind::List(&WEB),
        "http://localhost:2379",
        "URLs of the members of etcd.",
    )
    .flag("etcd-endpoints"),
    effective(
        "storage.default.etcd.dialKeepAliveTime",
        INTERVAL,
        "30s",
        "How often a silent connection to etcd is checked.",
    )
    .flag("etcd-dial-keepalive-time"),
    effective(
        "storage.default.etcd.dialKeepAliveTimeout",
        Kind::Duration(TICK),
        "5s",
        "How long such a check may take.",
    )
    .flag("etcd-dial-keepalive-timeout"),
    effective(
        "storage.default.etcd.caFile",
        Kind::Path,
        "etcd/ca.crt",
        "File with the authority of etcd's certificates in PEM; read when an endpoint is https.",
    )
    .flag("etcd-ca-path"),
    effective(
        "storage.default.etcd.certFile",
        Kind::Path,
        "etcd/client.crt",
        "File with the manager's certificate for etcd in PEM; read when an endpoint is https.",
    )
    .flag("etcd-client-cert-path"),
    effective(
        "storage.default.etcd.keyFile",
        Kind::Path,
        "etcd/client.key",
        "File with its key in PEM; read when an endpoint is https.",
    )
    .flag("etcd-client-key-path"),
    later("storage.default.etcd.embedded", Kind::Bool, "false", OWN_ETCD).flag("etcd-embedded"),
    later("storage.default.etcd.embeddedDBPath", Kind::Text, "_out/etcd/", OWN_ETCD)
        .flag("etcd-embedded-db-path"),
    later("storage.default.etcd.embeddedUnsafeFsync", Kind::Bool, "false", OWN_ETCD)
        .flag("etcd-embedded-unsafe-fsync"),
    ignored("storage.default.etcd.runElections", Kind::Bool, ELECTED),
    later("storage.default.etcd.privateKeySource", Kind::Text, "", KEYS).flag("private-key-source"),
    later("storage.default.etcd.publicKeyFiles", TEXTS, "", KEYS).flag("public-key-files"),
    later("storage.vault.url", Kind::Text, "", VAULT),
    later("storage.vault.token", Kind::Secret, "", VAULT),
    later("storage.vault.k8sAuthMountPath", Kind::Text, "", VAULT).flag("vault-k8s-auth-mount-path"),
    later("storage.sqlite.path", Kind::Text, "", SQLITE).flag("sqlite-storage-path"),
    later("storage.sqlite.experimentalBaseParams", Kind::Text, "", SQLITE)
        .flag("sqlite-storage-experimental-base-params"),
    later("storage.sqlite.extraParams", Kind::Text, "", SQLITE).flag("sqlite-storage-extra-params"),
    later("storage.sqlite.cachedPoolSize", COUNT, "4", SQLITE),
    later("storage.sqlite.poolSize", COUNT, "64", SQLITE),
    later("storage.sqlite.metrics.refreshInterval", ANY_DURATION, "2m0s", SQLITE)
        .flag("sqlite-metrics-refresh-interval"),
    later("storage.sqlite.metrics.refreshTimeout", ANY_DURATION, "1m0s", SQLITE)
        .flag("sqlite-metrics-refresh-timeout"),
    later("storage.rateLimits.etcd.maxWait", ANY_DURATION, "30s", LIMITS)
        .flag("storage-rate-limits-etcd-max-wait"),
    later("storage.rateLimits.etcd.user.writeBytesPerSecond", BYTES, "0", LIMITS),
    later("storage.rateLimits.etcd.user.writeBytesBurst", BYTES, "0", LIMITS),
    later("storage.rateLimits.etcd.infraProvider.writeBytesPerSecond", BYTES, "0", LIMITS),
    later("storage.rateLimits.etcd.infraProvider.writeBytesBurst", BYTES, "0", LIMITS),
    later("storage.rateLimits.etcd.internal.writeBytesPerSecond", BYTES, "0", LIMITS),
    later("storage.rateLimits.etcd.internal.writeBytesBurst", BYTES, "0", LIMITS),
];

pub(super) const BACKUP: &[Setting] = &[
    effective(
        "etcdBackup.localPath",
        Kind::Path,
        "",
        "Folder for the backups of the clusters' etcd; without it there are none.",
    )
    .flag("etcd-backup-local-path"),
    later("etcdBackup.s3Enabled", Kind::Bool, "false", S3).flag("etcd-backup-s3"),
    effective("etcdBackup.tickInterval", INTERVAL, "1m0s", "How often it is checked which backups are due.")
        .flag("etcd-backup-tick-interval"),
    effective(
        "etcdBackup.minInterval",
        INTERVAL,
        "1h0m0s",
        "Shortest time between two backups that a cluster may ask for.",
    )
    .flag("etcd-backup-min-interval"),
    effective(
        "etcdBackup.maxInterval",
        INTERVAL,
        "24h0m0s",
        "Longest time between two backups that a cluster may ask for.",
    )
    .flag("etcd-backup-max-interval"),
    effective(
        "etcdBackup.jitter",
        ANY_DURATION,
        "10m0s",
        "By how much a backup may be earlier or later, so that not all clusters are backed up at once.",
    )
    .flag("etcd-backup-jitter"),
    later("etcdBackup.uploadLimitMbps", BYTES, "0", S3).flag("etcd-backup-upload-limit-mbps"),
    later("etcdBackup.downloadLimitMbps", BYTES, "0", S3).flag("etcd-backup-download-limit-mbps"),
];
