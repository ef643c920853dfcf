//! The store of the manager: key file, the place that keeps resources, and whoever keeps what is decided.
//!
//! ```text
//! key file ─▶ Embedded (one file) or Etcd ─▶ State in memory ◀─ everybody
//!                 ├─▶ keys of the logs           └─ Keeper ─▶ Embedded, Etcd
//!                 └─▶ etcd: who starts first, who leads
//! ```

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::pin::Pin;
use std::sync::Arc;

use corten_base::{Clock, Rng, Secret, spawn};
use corten_fleet_resources::namespace::{DEFAULT, INFRA_PROVIDER, INFRA_PROVIDER_PREFIX};
use corten_fleet_settings::{Settings, StorageKind};
use corten_fleet_store::{Candidate, Embedded, Etcd, EtcdOptions, KeyFile, Looked, Starting};
use corten_resource::{Backing, MemoryStore, Registry, State, StateOptions};

use crate::controllers;
use crate::failure::Failure;
use crate::paths::Paths;

/// Mode of a folder that the manager makes: what is in it is its own.
const FOLDER_MODE: u32 = 0o700;
/// Tells the key of the logs of machines from others.
const MACHINE_LOGS: &str = "logs of machines";
/// Tells the key of the audit log from others.
const AUDIT_LOG: &str = "audit log";
/// Tells the key of what media are made of from others.
const MEDIA: &str = "media";

/// Ends when nothing is kept any more; dropping it ends it.
pub type Keeping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keys for what is kept beside the store.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Of the logs of machines.
    pub logs: Secret<[u8; 32]>,
    /// Of the audit log.
    pub audit: Secret<[u8; 32]>,
    /// Of what installation media are made of.
    pub media: Secret<[u8; 32]>,
}

impl Keys {
    fn of(key: impl Fn(&str) -> Secret<[u8; 32]>) -> Self {
        Self { logs: key(MACHINE_LOGS), audit: key(AUDIT_LOG), media: key(MEDIA) }
    }
}

/// What managers at one store have between them.
pub struct Shared {
    /// This manager among those that would lead.
    pub candidate: Candidate,
    /// Others wait until this one has made what every store has once.
    pub starting: Starting,
}

/// An open store that keeps what is decided.
pub struct Stored {
    /// The resources.
    pub state: State,
    /// Whoever keeps them.
    pub keeping: Keeping,
    /// Keys that are as old as the store.
    pub keys: Keys,
    /// Nothing for a store of this manager alone.
    pub shared: Option<Shared>,
}

/// A place that is open.
struct Opened {
    backing: Arc<dyn Backing>,
    keys: Keys,
    shared: Option<Shared>,
}

/// Opens the store, or makes it. Blocks for the disk, which is fine before anything is served.
///
/// # Errors
/// When it cannot be opened or read, with the way out.
pub async fn open(settings: &Settings, paths: &Paths, clock: &Clock, rng: &Rng) -> Result<Stored, Failure> {
    let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&paths.folder);
    made.map_err(|source| Failure::Folder { path: paths.folder.clone(), source })?;
    let registry = registry();
    let key = KeyFile::at(&paths.key);
    let Opened { backing, keys, shared } = match settings.storage.kind {
        StorageKind::Embedded => {
            let embedded = Embedded::open(&paths.store, &key, registry.clone(), rng)?;
            let keys = Keys::of(|purpose| embedded.key_for(purpose));
            Opened { backing: Arc::new(embedded), keys, shared: None }
        }
        StorageKind::Etcd => {
            let (etcd, starting) = Etcd::open(&etcd_options(settings), &key, registry.clone(), rng).await?;
            let keys = Keys::of(|purpose| etcd.key_for(purpose));
            let shared = Some(Shared { candidate: etcd.candidate(), starting });
            Opened { backing: Arc::new(etcd), keys, shared }
        }
    };
    let options = StateOptions { clock: clock.clone(), rng: rng.clone(), ..StateOptions::default() };
    let opened = MemoryStore::backed(registry, options, backing, is_kept).await;
    let (store, keeper) = opened.map_err(Failure::Load)?;
    let keeper = spawn("keeper", keeper.run());
    let keeping = Box::pin(async move {
        let _ = keeper.join().await;
    });
    Ok(Stored { state: State::over(store), keeping, keys, shared })
}

fn etcd_options(settings: &Settings) -> EtcdOptions {
    let etcd = &settings.storage.etcd;
    EtcdOptions {
        endpoints: etcd.endpoints.clone(),
        account: settings.account.id.clone(),
        keep_alive: etcd.keep_alive_time,
        keep_alive_timeout: etcd.keep_alive_timeout,
        ca_file: etcd.ca_file.clone(),
        cert_file: etcd.cert_file.clone(),
        key_file: etcd.key_file.clone(),
        lookup,
    }
}

fn lookup(host: String) -> Looked {
    Box::pin(async move { corten_client::resolve::lookup(&host).await })
}

/// Every type that there is: those of the API, and those by which controllers talk to each other.
pub fn registry() -> Registry {
    let mut registry = corten_fleet_resources::registry();
    controllers::types(&mut registry);
    registry
}

/// Whether what is in a namespace outlives the manager. Counters and histories do not: they are counted anew, and
/// would be most of what is written.
fn is_kept(namespace: &str) -> bool {
    [DEFAULT, INFRA_PROVIDER].contains(&namespace) || namespace.starts_with(INFRA_PROVIDER_PREFIX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_fleet_resources::cluster::Cluster;
    use corten_fleet_resources::link::LinkStatus;
    use corten_fleet_store::OpenError;
    use corten_resource::Spec as _;
    use tokio::time::sleep;

    use super::*;
    use crate::keep::keep;

    async fn opened(folder: &tempfile::TempDir) -> Result<Stored, Failure> {
        let mut settings = Settings::default();
        settings.storage.path = folder.path().join("new/fleet.redb");
        settings.storage.key_file = folder.path().join("fleet.key");
        let paths = Paths::of(&settings).expect("paths");
        open(&settings, &paths, &Clock::fixed(1_700_000_000), &Rng::kernel()).await
    }

    #[test]
    fn what_is_made_for_a_moment_is_not_kept() {
        assert!(is_kept(Cluster::DEFINITION.namespace) && is_kept("infra-provider:metal"));
        for namespace in ["ephemeral", "infra-provider-ephemeral", "meta", "metrics", "runtime", "virtual"] {
            assert!(!is_kept(namespace), "{namespace}");
        }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart_and_the_keys_are_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let Stored { state, keeping, keys, shared } = opened(&folder).await.expect("made");
        assert!(shared.is_none(), "it is alone, and leads at once");
        keep(&state, "", "prod", Cluster::default()).await.expect("kept");
        keep(&state, "", "link", LinkStatus::default()).await.expect("written");
        let text = corten_base::chain(&opened(&folder).await.err().expect("in use"));
        assert!(text.contains("is open in another program"), "{text}");
        drop((state, keeping));
        // The task of the keeper holds the store until it has ended.
        let again = loop {
            match opened(&folder).await {
                Ok(again) => break again,
                Err(Failure::Open(OpenError::Busy(_))) => sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        };
        assert!(again.state.get::<Cluster>("prod").is_some());
        assert!(again.state.get::<LinkStatus>("link").is_none(), "in memory only");
        assert!(again.keys.logs == keys.logs && keys.logs != keys.audit);
    }
}
