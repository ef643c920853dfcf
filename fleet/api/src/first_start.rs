//! What there is after a start: what clients read first, and on the first one who may come in.
//!
//! ```text
//! Settings ─┬─(every start)─▶ SysVersion, FeaturesConfig, AuthConfig, EulaAcceptance, recovery administrator
//!           └─(first start)─▶ users, service account ─▶ file with its key
//!                             join token, the default one
//!                             DBVersion: done
//! ```
//!
//! Every step can be taken again, so that a start that was cut off is repeated as a whole.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use corten_api::fleet::Role;
use corten_base::blocking::BlockingError;
use corten_base::fs::{Durability, write_atomic};
use corten_base::{Clock, Rng, blocking};
use corten_fleet_auth::{Email, KeyError, ServiceAccount, ServiceAccountKey};
use corten_fleet_resources::auth::{AuthConfig, EulaAcceptance, Identity, User};
use corten_fleet_resources::link::{DefaultJoinToken, JoinToken, SiderolinkConfig};
use corten_fleet_resources::system::{Account, DbVersion, EtcdBackupSettings, FeaturesConfig, SysVersion};
use corten_fleet_settings::{InitialServiceAccount, Settings};
use corten_resource::{Nanos, Resource, Spec, State, StateError};

use crate::accounts::{self, AccountError};
use crate::audit::NoAudit;
use crate::caller::Caller;
use crate::management::DEFAULT_JOIN_TOKEN;
use crate::writer::Writer;

/// Version of the API that the manager speaks, as clients compare it with their own: they warn of another minor.
pub const API_LEVEL: &str = "v1.10.4";
/// Version of the resource protocol; released clients work with no other.
pub const BACKEND_API_VERSION: u32 = 2;
/// Number of steps by which the store has been brought to its form.
const STORE_VERSION: u64 = 1;
/// Name of the first join token, at most 16 characters.
const FIRST_TOKEN: &str = "initial token";
/// How long writing the key may take.
const DISK_DEADLINE: Duration = Duration::from_secs(10);

/// A start that failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store refuses.
    #[error("failed to prepare the store")]
    Store(#[from] StateError),
    /// An account of the configuration cannot be made.
    #[error("failed to make the account {name:?} of the configuration: {why}")]
    Account {
        /// Its name or address.
        name: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The key of the service account cannot be made.
    #[error("failed to make the key of the first service account; check auth.initialServiceAccount.lifetime")]
    Key(#[from] KeyError),
    /// The key cannot be handed over.
    #[error("failed to write the key of the first service account to `{}`", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk did not answer.
    #[error("failed to write the key of the first service account in time")]
    Blocked(#[from] BlockingError),
}

/// What makes a start.
#[derive(Debug)]
pub struct Start<'a> {
    /// The store.
    pub state: &'a State,
    /// The configuration.
    pub settings: &'a Settings,
    /// Now.
    pub clock: &'a Clock,
    /// Makes keys, ids and tokens.
    pub rng: &'a Rng,
}

impl Start<'_> {
    /// Prepares the store, before anything is served.
    ///
    /// # Errors
    /// When the store or the disk refuses, or the configuration names an account that cannot be.
    pub async fn prepare(&self) -> Result<(), StartError> {
        self.describe()?;
        self.recover().await?;
        if self.state.get::<DbVersion>(DbVersion::ID).is_none() {
            self.people().await?;
            if let Some(account) = &self.settings.auth.initial_service_account {
                self.program(account).await?;
            }
            self.join_token()?;
            self.put(DbVersion::ID, DbVersion { version: STORE_VERSION })?;
        }
        self.state.store().settled().await;
        Ok(())
    }

    /// What clients read to know the manager.
    fn describe(&self) -> Result<(), StateError> {
        let name = &self.settings.account.name;
        let version = SysVersion {
            backend_version: API_LEVEL.to_owned(),
            instance_name: name.clone(),
            backend_api_version: BACKEND_API_VERSION,
        };
        self.put(SysVersion::ID, version)?;
        self.put(FeaturesConfig::ID, features(self.settings))?;
        let auth = AuthConfig {
            suspended: self.settings.auth.suspended,
            has_initial_user: !self.settings.auth.initial_users.is_empty(),
            ..AuthConfig::default()
        };
        self.put(AuthConfig::ID, auth)?;
        if self.state.get::<EulaAcceptance>(EulaAcceptance::ID).is_none() {
            // Nothing has to be accepted here, but released clients do not go on without it.
            let accepted = EulaAcceptance { accepted_by_name: name.clone(), ..EulaAcceptance::default() };
            self.put(EulaAcceptance::ID, accepted)?;
        }
        Ok(())
    }

    /// Gives the administrator back who was lost.
    async fn recover(&self) -> Result<(), StartError> {
        let Some(address) = &self.settings.auth.recovery_admin else { return Ok(()) };
        let email = Email::parse(address).map_err(|error| refused(address, error.into()))?;
        let Some(identity) = self.state.get::<Identity>(email.as_str()) else {
            let text = "there is no such user to be made an administrator";
            tracing::warn!(email = %email, "{text}");
            return Ok(());
        };
        let change = |user: &mut Resource<User>| user.spec.role = Role::Admin.to_string();
        self.writer(&Caller::default()).change::<User>(&identity.user_id, change).await?;
        Ok(())
    }

    async fn people(&self) -> Result<(), StartError> {
        let nobody = Caller::default();
        for address in &self.settings.auth.initial_users {
            let email = Email::parse(address).map_err(|error| refused(address, error.into()))?;
            match accounts::open(self.writer(&nobody), self.rng, &email, Role::Admin, None).await {
                Ok(_) | Err(AccountError::Exists(_)) => {}
                Err(error) => return Err(refused(address, error)),
            }
        }
        Ok(())
    }

    /// The first service account. Its key is in the file before it works, and one that was made before ends.
    async fn program(&self, wish: &InitialServiceAccount) -> Result<(), StartError> {
        let account = ServiceAccount::parse(&wish.name).map_err(|error| refused(&wish.name, error.into()))?;
        let key = ServiceAccountKey::generate(&account, wish.lifetime, self.rng, self.clock.now())?;
        let (text, path) = (key.encode()?, wish.key_path.clone());
        let write = move || {
            let written = write_atomic(&path, text.reveal().as_bytes(), 0o600, Durability::Durable);
            written.map_err(|source| StartError::KeyFile { path, source })
        };
        blocking(DISK_DEADLINE, write).await??;
        let (nobody, public) = (Caller::default(), key.public()?);
        let writer = self.writer(&nobody);
        match accounts::close(writer, &account.email()).await {
            Ok(()) | Err(AccountError::Missing(_)) => {}
            Err(error) => return Err(refused(&wish.name, error)),
        }
        let opened = accounts::open(writer, self.rng, &account.email(), wish.role, Some(&public)).await;
        opened.map_err(|error| refused(&wish.name, error))?;
        tracing::info!(path = %wish.key_path.display(), "the first service account has its key in this file");
        Ok(())
    }

    /// The token of the first machines, which is kept if there is one.
    fn join_token(&self) -> Result<(), StateError> {
        if self.state.get::<DefaultJoinToken>(DEFAULT_JOIN_TOKEN).is_some() {
            return Ok(());
        }
        let known = self.state.get::<SiderolinkConfig>(SiderolinkConfig::ID);
        let known = known.map(|config| config.initial_join_token.clone()).filter(|token| !token.is_empty());
        let made = || corten_fleet_link::JoinToken::generate(self.rng).encode().reveal().clone();
        let token_id = known.unwrap_or_else(made);
        self.put(&token_id, JoinToken { name: FIRST_TOKEN.to_owned(), ..JoinToken::default() })?;
        self.put(DEFAULT_JOIN_TOKEN, DefaultJoinToken { token_id })
    }

    fn put<S: Spec>(&self, id: &str, spec: S) -> Result<(), StateError> {
        self.state.put("", id, spec).map(drop)
    }

    fn writer<'a>(&'a self, caller: &'a Caller) -> Writer<'a> {
        Writer { state: self.state, audit: &NoAudit, caller }
    }
}

fn refused(name: &str, error: AccountError) -> StartError {
    StartError::Account { name: name.to_owned(), why: corten_base::chain(&error) }
}

/// What clients show or hide.
fn features(settings: &Settings) -> FeaturesConfig {
    let nanos = |duration: Duration| Nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
    let factory = &settings.registries.primary;
    let second = settings.registries.secondary.clone().unwrap_or_default();
    FeaturesConfig {
        etcd_backup_settings: settings.etcd_backup.as_ref().map(|backup| EtcdBackupSettings {
            tick_interval: nanos(backup.tick_interval),
            min_interval: nanos(backup.min_interval),
            max_interval: nanos(backup.max_interval),
        }),
        embedded_discovery_service: settings.services.embedded_discovery_service.is_some(),
        audit_log_enabled: settings.logs.audit.is_some(),
        image_factory_base_url: factory.url.clone(),
        talos_pre_release_versions_enabled: settings.features.pre_release_versions,
        image_factory_pxe_base_url: pxe_url(&factory.url, factory.pxe_url.as_deref()),
        account: Some(Account { id: settings.account.id.clone(), name: settings.account.name.clone() }),
        secondary_image_factory_pxe_base_url: pxe_url(&second.url, second.pxe_url.as_deref()),
        secondary_image_factory_base_url: second.url,
        ..FeaturesConfig::default()
    }
}

/// Where an image factory serves network boot: as it is given, or its host with `pxe.` before it.
fn pxe_url(url: &str, given: Option<&str>) -> String {
    match (given, url.split_once("://")) {
        (Some(given), _) => given.to_owned(),
        (None, Some((scheme, host))) => format!("{scheme}://pxe.{host}"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use corten_base::Secret;
    use corten_fleet_resources::auth::PublicKey;

    use super::*;
    use crate::caller::Directory;
    use crate::testing::{Fleet, HOUR};

    fn settings(folder: &Path) -> Settings {
        let mut settings = Settings::default();
        settings.auth.initial_users = vec!["Kim@example.com".to_owned()];
        settings.auth.initial_service_account = Some(InitialServiceAccount {
            name: "automation".to_owned(),
            role: Role::Admin,
            key_path: folder.join("out/key"),
            lifetime: HOUR,
        });
        settings
    }

    async fn start(fleet: &Fleet, settings: &Settings, seed: u64) {
        let rng = Rng::seeded(seed);
        let start = Start { state: &fleet.state, settings, clock: &fleet.clock, rng: &rng };
        start.prepare().await.expect("prepared");
    }

    #[tokio::test]
    async fn the_first_start_lets_a_program_in_and_machines_join() {
        let (fleet, folder) = (Fleet::new(), tempfile::tempdir().expect("a folder"));
        let settings = settings(folder.path());
        start(&fleet, &settings, 1).await;
        let path = folder.path().join("out/key");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = Secret::new(std::fs::read_to_string(&path).expect("read"));
        let key = ServiceAccountKey::decode(&text).expect("a key");
        let directory = Directory::new(fleet.state.clone());
        let signer = directory.signer(key.public().expect("public").id(), fleet.clock.now()).expect("works");
        assert_eq!(signer.email.as_str(), "automation@serviceaccount.omni.sidero.dev");
        assert_eq!(signer.role, Role::Admin);
        let default = fleet.state.get::<DefaultJoinToken>(DEFAULT_JOIN_TOKEN).expect("a default");
        assert_eq!(fleet.state.get::<JoinToken>(&default.token_id).expect("a token").name, FIRST_TOKEN);
        assert!(fleet.state.get::<Identity>("kim@example.com").is_some());
    }

    #[tokio::test]
    async fn clients_find_a_version_that_they_go_on_with() {
        let (fleet, folder) = (Fleet::new(), tempfile::tempdir().expect("a folder"));
        start(&fleet, &settings(folder.path()), 1).await;
        let version = fleet.state.get::<SysVersion>(SysVersion::ID).expect("a version");
        assert_eq!((version.backend_api_version, version.instance_name.as_str()), (2, "default"));
        assert!(fleet.state.get::<EulaAcceptance>(EulaAcceptance::ID).is_some());
        let auth = fleet.state.get::<AuthConfig>(AuthConfig::ID).expect("a configuration");
        assert!(auth.has_initial_user && !auth.suspended && auth.oidc.is_none());
        let features = fleet.state.get::<FeaturesConfig>(FeaturesConfig::ID).expect("features");
        assert!(features.embedded_discovery_service && features.etcd_backup_settings.is_none());
        assert_eq!(features.account.as_ref().map(|account| account.name.as_str()), Some("default"));
    }

    #[tokio::test]
    async fn a_later_start_makes_nothing_anew_but_the_recovery_administrator() {
        let (fleet, folder) = (Fleet::new(), tempfile::tempdir().expect("a folder"));
        let mut settings = settings(folder.path());
        start(&fleet, &settings, 1).await;
        let keys =
            || fleet.state.list::<PublicKey>().iter().map(|key| key.id().to_owned()).collect::<Vec<_>>();
        let before = keys();
        let kim = fleet.state.get::<Identity>("kim@example.com").expect("kim").user_id.clone();
        fleet.put(&kim, User { role: "Reader".to_owned(), ..User::default() });
        start(&fleet, &settings, 2).await;
        assert_eq!(keys(), before);
        assert_eq!(accounts::role_of(&fleet.state, &kim), Role::Reader);
        settings.auth.recovery_admin = Some("kim@example.com".to_owned());
        start(&fleet, &settings, 3).await;
        assert_eq!(accounts::role_of(&fleet.state, &kim), Role::Admin);
    }

    #[tokio::test]
    async fn a_start_that_was_cut_off_is_repeated_with_a_new_key() {
        let (fleet, folder) = (Fleet::new(), tempfile::tempdir().expect("a folder"));
        let settings = settings(folder.path());
        start(&fleet, &settings, 1).await;
        fleet.state.remove::<DbVersion>("", DbVersion::ID).expect("as if it had not come so far");
        start(&fleet, &settings, 2).await;
        let text = std::fs::read_to_string(folder.path().join("out/key")).expect("read");
        let key = ServiceAccountKey::decode(&Secret::new(text)).expect("a key").public().expect("public");
        let keys = fleet.state.list::<PublicKey>();
        assert_eq!(keys.iter().map(Resource::id).collect::<Vec<_>>(), [key.id()]);
        assert_eq!(fleet.state.list::<JoinToken>().len(), 1);
    }

    #[test]
    fn network_boot_is_beside_the_image_factory() {
        assert_eq!(pxe_url("https://factory.talos.dev", None), "https://pxe.factory.talos.dev");
        assert_eq!(pxe_url("https://a", Some("http://b")), "http://b");
        assert_eq!(pxe_url("", None), "");
    }
}
