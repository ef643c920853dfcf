//! The account, and who may do what at first.

use std::path::PathBuf;
use std::time::Duration;

use corten_api::fleet::Role;

use crate::values::Values;

/// Which manager it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Tells managers apart that keep their resources in one etcd.
    pub id: String,
    /// Name for people, as in the contexts of kubeconfigs.
    pub name: String,
    /// Most machines that may join; nothing means any number.
    pub max_registered_machines: Option<u32>,
}

impl Account {
    pub(super) fn read(values: &Values) -> Self {
        Self {
            id: values.string("account.id"),
            name: values.string("account.name"),
            max_registered_machines: values.limit("account.maxRegisteredMachines"),
        }
    }
}

/// Who may do what at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// E-mail addresses of administrators that the first start makes.
    pub initial_users: Vec<String>,
    /// E-mail address of a user that every start makes an administrator.
    pub recovery_admin: Option<String>,
    /// Nothing may be changed.
    pub suspended: bool,
    /// How often expired keys are removed.
    pub key_pruning_interval: Duration,
    /// Service account that the first start makes, if it makes one.
    pub initial_service_account: Option<InitialServiceAccount>,
    /// Most users; nothing means any number.
    pub max_users: Option<u32>,
    /// Most service accounts; nothing means any number.
    pub max_service_accounts: Option<u32>,
}

impl Auth {
    pub(super) fn read(values: &Values) -> Self {
        Self {
            initial_users: values.list("auth.initialUsers"),
            recovery_admin: values.text("auth.recoveryAdmin"),
            suspended: values.is("auth.suspended"),
            key_pruning_interval: values.duration("auth.keyPruner.interval"),
            initial_service_account: InitialServiceAccount::read(values),
            max_users: values.limit("auth.limits.maxUsers"),
            max_service_accounts: values.limit("auth.limits.maxServiceAccounts"),
        }
    }
}

/// The first service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialServiceAccount {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// File that its key is written to.
    pub key_path: PathBuf,
    /// How long its key is good.
    pub lifetime: Duration,
}

impl InitialServiceAccount {
    fn read(values: &Values) -> Option<Self> {
        values.is("auth.initialServiceAccount.enabled").then(|| Self {
            name: values.string("auth.initialServiceAccount.name"),
            role: values.word("auth.initialServiceAccount.role", |word| word.parse().ok()),
            key_path: values.path("auth.initialServiceAccount.keyPath").unwrap_or_default(),
            lifetime: values.duration("auth.initialServiceAccount.lifetime"),
        })
    }
}
