//! The store of the manager: key file, embedded store, and the one that keeps what is decided.
//!
//! ```text
//! key file ─▶ Embedded (one file) ─▶ State in memory ◀─ everybody
//!                 └─▶ keys of the logs       └─ Keeper ─▶ Embedded
//! ```

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::pin::Pin;
use std::sync::Arc;

use corten_base::{Clock, Rng, Secret, spawn};
use corten_fleet_resources::namespace::{DEFAULT, INFRA_PROVIDER, INFRA_PROVIDER_PREFIX};
use corten_fleet_store::{Embedded, KeyFile};
use corten_resource::{MemoryStore, Registry, State, StateOptions};

use crate::controllers;
use crate::failure::Failure;
use crate::paths::Paths;

/// Mode of a folder that the manager makes: what is in it is its own.
const FOLDER_MODE: u32 = 0o700;
/// Tells the key of the logs of machines from others.
const MACHINE_LOGS: &str = "logs of machines";
/// Tells the key of the audit log from others.
const AUDIT_LOG: &str = "audit log";

/// Ends when nothing is kept any more; dropping it ends it.
pub type Keeping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Keys for what is kept beside the store.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Of the logs of machines.
    pub logs: Secret<[u8; 32]>,
    /// Of the audit log.
    pub audit: Secret<[u8; 32]>,
}

/// An open store that keeps what is decided.
pub struct Stored {
    /// The resources.
    pub state: State,
    /// Whoever keeps them.
    pub keeping: Keeping,
    /// Keys that are as old as the store.
    pub keys: Keys,
}

/// Opens the store, or makes it. Blocks for the disk, which is fine before anything is served.
///
/// # Errors
/// When it cannot be opened or read, with the way out.
pub async fn open(paths: &Paths, clock: &Clock, rng: &Rng) -> Result<Stored, Failure> {
    let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&paths.folder);
    made.map_err(|source| Failure::Folder { path: paths.folder.clone(), source })?;
    let registry = registry();
    let key = KeyFile::at(&paths.key);
    let embedded = Embedded::open(&paths.store, &key, registry.clone(), rng)?;
    let keys = Keys { logs: embedded.key_for(MACHINE_LOGS), audit: embedded.key_for(AUDIT_LOG) };
    let options = StateOptions { clock: clock.clone(), rng: rng.clone(), ..StateOptions::default() };
    let opened = MemoryStore::backed(registry, options, Arc::new(embedded), is_kept).await;
    let (store, keeper) = opened.map_err(Failure::Load)?;
    let keeper = spawn("keeper", keeper.run());
    let keeping = Box::pin(async move {
        let _ = keeper.join().await;
    });
    Ok(Stored { state: State::over(store), keeping, keys })
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
    use corten_fleet_settings::Settings;
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
        open(&paths, &Clock::fixed(1_700_000_000), &Rng::kernel()).await
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
        let Stored { state, keeping, keys } = opened(&folder).await.expect("made");
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
