//! Where the manager keeps its files: all beside its store.
//!
//! ```text
//! storage.default.embedded.path = _out/fleet.redb
//!    └▶ _out/logs  _out/audit  _out/tls  _out/media  _out/discovery.snapshot
//! ```

use std::io;
use std::path::{Path, PathBuf, absolute};

use corten_fleet_settings::Settings;

/// The files and folders of one manager, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Folder of all of them.
    pub folder: PathBuf,
    /// The embedded store.
    pub store: PathBuf,
    /// The key that opens it.
    pub key: PathBuf,
    /// Folder of the logs of machines.
    pub logs: PathBuf,
    /// Folder of the audit log.
    pub audit: PathBuf,
    /// Folder of a certificate of our own.
    pub certificate: PathBuf,
    /// What the discovery service knew last.
    pub discovery: PathBuf,
    /// Folder of installation media that were made.
    pub media: PathBuf,
}

impl Paths {
    /// The paths that follow from the settings. Relative ones are below the current folder.
    ///
    /// # Errors
    /// When there is no current folder.
    pub fn of(settings: &Settings) -> io::Result<Self> {
        let store = absolute(&settings.storage.path)?;
        let folder = store.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self {
            key: absolute(&settings.storage.key_file)?,
            logs: folder.join("logs"),
            audit: folder.join("audit"),
            certificate: folder.join("tls"),
            discovery: folder.join("discovery.snapshot"),
            media: folder.join("media"),
            folder,
            store,
        })
    }

    /// Certificate of our own authority, which clients trust.
    pub fn authority(&self) -> PathBuf {
        self.certificate.join("ca.crt")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_beside_the_store() {
        let mut settings = Settings::default();
        settings.storage.path = PathBuf::from("/srv/fleet/store");
        settings.storage.key_file = PathBuf::from("/etc/fleet.key");
        let paths = Paths::of(&settings).expect("a current folder");
        assert_eq!(paths.key, Path::new("/etc/fleet.key"));
        for path in [&paths.logs, &paths.audit, &paths.certificate, &paths.discovery, &paths.media] {
            assert_eq!(path.parent(), Some(Path::new("/srv/fleet")), "{}", path.display());
        }
        settings.storage.path = PathBuf::from("store");
        assert!(Paths::of(&settings).expect("a current folder").store.is_absolute());
    }
}
