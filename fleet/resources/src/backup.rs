//! etcd: who is removed from it, how it is backed up, and what a restore needs.
//!
//! ```text
//! Cluster, ClusterSecrets, EtcdBackupEncryption ─▶ BackupData (outlives the cluster)
//! BackupData or EtcdManualBackup ─▶ snapshot of a machine ─▶ store ─▶ EtcdBackup
//!                                           └─▶ EtcdBackupStatus ─▶ EtcdBackupOverallStatus
//! EtcdBackupS3Config ─▶ store ─▶ EtcdBackupStoreStatus
//! ```

use std::time::SystemTime;

use corten_resource::{Enumeration, Nanos, Resource};

/// What the last audit that found something did, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdAuditResults.omni.sidero.dev", namespace = "default", message)]
pub struct EtcdAuditResult {
    /// Members that it removed, since no machine of the cluster stands behind them; in rising order.
    #[field(1, "etcdmemberids")]
    pub etcd_member_ids: Vec<u64>,
}

/// The key of a cluster's backups, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdBackupEncryptions.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct EtcdBackupEncryption {
    /// 32 random bytes.
    #[field(1, "encryptionkey")]
    pub encryption_key: Vec<u8>,
}

/// Everything that backups of a cluster and restores from them need, by the cluster. It stays when the cluster goes.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BackupDatas.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct BackupData {
    /// Time between two backups; absent when only those on demand are made.
    #[field(1, "interval")]
    pub interval: Option<Nanos>,
    /// UUID of the cluster, which names its folder in the store.
    #[field(2, "clusteruuid")]
    pub cluster_uuid: String,
    /// Key of the backups, 32 bytes.
    #[field(3, "encryptionkey")]
    pub encryption_key: Vec<u8>,
    /// Key with which Kubernetes encrypts its secrets in etcd by AES-CBC, base64; empty when it does not.
    #[field(4, "aescbcencryptionsecret")]
    pub aes_cbc_encryption_secret: String,
    /// Key with which Kubernetes encrypts its secrets in etcd by secretbox, base64; empty when it does not.
    #[field(5, "secretboxencryptionsecret")]
    pub secretbox_encryption_secret: String,
}

/// A backup in the store, by the cluster and its time in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdBackups.omni.sidero.dev", namespace = "external", message)]
pub struct EtcdBackup {
    /// When it was made.
    #[field(1, "createdat")]
    pub created_at: Option<SystemTime>,
    /// Name of the object in the cluster's folder, which a restore asks for.
    #[field(2, "snapshot")]
    pub snapshot: String,
    /// Size of the object in bytes.
    #[field(3, "size")]
    pub size: u64,
}

/// How a backup went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum EtcdBackupState {
    /// None was tried yet.
    #[default]
    #[variant(0, "unknown")]
    Unknown,
    /// It is in the store.
    #[variant(1, "ok")]
    Ok,
    /// It failed.
    #[variant(2, "error")]
    Error,
    /// It runs.
    #[variant(3, "running")]
    Running,
}

/// How the last backup of a cluster went, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdBackupStatuses.omni.sidero.dev", namespace = "metrics", message)]
pub struct EtcdBackupStatus {
    /// How it went.
    #[field(1, "status")]
    pub status: EtcdBackupState,
    /// Why it failed; empty when it did not.
    #[field(2, "error")]
    pub error: String,
    /// When one succeeded last.
    #[field(3, "lastbackuptime")]
    pub last_backup_time: Option<SystemTime>,
    /// When one was tried last.
    #[field(4, "lastbackupattempt")]
    pub last_backup_attempt: Option<SystemTime>,
}

/// How backups go on the whole. Singleton `etcdbackup-overall-status`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdBackupOverallStatuses.omni.sidero.dev", namespace = "metrics", message)]
pub struct EtcdBackupOverallStatus {
    /// Which kind of store is in use.
    #[field(1, "configurationname")]
    pub configuration_name: String,
    /// Why the store cannot be used; empty when it can.
    #[field(2, "configurationerror")]
    pub configuration_error: String,
    /// The last backup of any cluster.
    #[field(3, "lastbackupstatus")]
    pub last_backup_status: Option<EtcdBackupStatus>,
}

impl EtcdBackupOverallStatus {
    /// Id of the only one.
    pub const ID: &'static str = "etcdbackup-overall-status";
}

/// Whether the store can be used. Singleton `etcdbackup-store-status`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdBackupStoreStatuses.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct EtcdBackupStoreStatus {
    /// Which kind of store is in use.
    #[field(1, "configurationname")]
    pub configuration_name: String,
    /// Why it cannot be used; empty when it can.
    #[field(2, "configurationerror")]
    pub configuration_error: String,
}

impl EtcdBackupStoreStatus {
    /// Id of the only one.
    pub const ID: &'static str = "etcdbackup-store-status";
}

/// The wish for a backup, by the cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdManualBackups.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct EtcdManualBackup {
    /// When it is to be made: within a minute of now when written, and dropped when ten minutes late.
    #[field(1, "backupat")]
    pub backup_at: Option<SystemTime>,
}

/// The bucket of the store, when it is one of S3. Singleton `etcd-backup-s3-conf`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdBackupS3Configs.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct EtcdBackupS3Config {
    /// Name of the bucket.
    #[field(1, "bucket")]
    pub bucket: String,
    /// Region of the bucket.
    #[field(2, "region")]
    pub region: String,
    /// URL of the service; empty for that of Amazon.
    #[field(3, "endpoint")]
    pub endpoint: String,
    /// Id of the key; empty when the machine that the manager runs on has a role.
    #[field(4, "accesskeyid")]
    pub access_key_id: String,
    /// The key.
    #[field(5, "secretaccesskey")]
    pub secret_access_key: String,
    /// Token of a session, when the key is one that ends.
    #[field(6, "sessiontoken")]
    pub session_token: String,
}

impl EtcdBackupS3Config {
    /// Id of the only one.
    pub const ID: &'static str = "etcd-backup-s3-conf";
}
