//! Why the manager does not start, or ends: one sentence each, with the way out.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;

use corten_client::TlsError;
use corten_fleet_api::dictionaries::DictionaryError;
use corten_fleet_api::first_start::StartError;
use corten_fleet_api::serve::ServeError;
use corten_fleet_logs::LogError;
use corten_fleet_media::OpenError as MediaError;
use corten_fleet_settings::{ReadError, Wrong};
use corten_fleet_store::OpenError;
use corten_resource::{RegistrationErrors, StateError};
use corten_wireguard::InvalidKey;

use crate::versions::VersionsError;

/// What stands between the sentences of a list.
const CAUSE: &str = "\n  cause: ";

/// Why the manager does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A configuration file.
    #[error(transparent)]
    File(#[from] ReadError),
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] Wrong),
    /// Settings that nothing does.
    #[error(
        "settings that somebody relies on would be ignored; nothing was started{}{}",
        CAUSE,
        .0.join(CAUSE)
    )]
    Effects(Vec<String>),
    /// A table of versions.
    #[error(transparent)]
    Versions(#[from] VersionsError),
    /// The host.
    #[error("this host does not let the manager {what}")]
    Host {
        /// What it does not.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The folder of the store.
    #[error("cannot make the folder {path}; make it, or name another one with storage.default.embedded.path")]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is in the store.
    #[error("cannot begin with what is in the store")]
    Load(#[source] StateError),
    /// The store refuses what every start writes.
    #[error("cannot write to the store")]
    Write(#[source] StateError),
    /// The first start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Logs on the disk.
    #[error("cannot open {what}")]
    Logs {
        /// Which logs.
        what: &'static str,
        /// Why.
        source: LogError,
    },
    /// Installation media.
    #[error("cannot make installation media; mend media.images, or leave it out")]
    Media(#[from] MediaError),
    /// What texts are compressed with.
    #[error(
        "cannot use the dictionaries of features.configDataDictionaries; mend the setting, or leave it out"
    )]
    Dictionaries(#[from] DictionaryError),
    /// The key of the tunnel.
    #[error("the key of the tunnel in the store cannot be used; restore the store from a backup")]
    TunnelKey(#[from] InvalidKey),
    /// The tunnel.
    #[error(
        "cannot open the tunnel to machines at {address} (UDP): {} services.siderolink.wireGuard.endpoint",
        advice(.source)
    )]
    Tunnel {
        /// Where WireGuard was to listen.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// TLS to machines.
    #[error("TLS to machines cannot be set up on this host")]
    Tls(#[from] TlsError),
    /// A listener.
    #[error("cannot serve {name}: {} {setting}", advice_of(.source))]
    Door {
        /// What was to listen.
        name: &'static str,
        /// The setting that says where.
        setting: &'static str,
        /// Why.
        source: Box<ServeError>,
    },
    /// The controllers.
    #[error("the controllers of this program do not go together; this is an error of the program, report it")]
    Controllers(#[from] RegistrationErrors),
    /// The file that others wait for.
    #[error("cannot write {path}, which --ready-file names")]
    Ready {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The writer of the store is gone.
    #[error("the writer of the store ended, and nothing would be kept any more; start the manager again")]
    Keeper,
    /// Another manager is to lead.
    #[error(
        "this manager could not renew its lead in time, and its controllers have stopped before those of \
         another one begin; start it again, and look after its way to etcd if that happens often"
    )]
    Lead,
}

/// What to do about a port; the setting follows.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "another program is there; stop it, or choose another port with",
        ErrorKind::AddrNotAvailable => "this host does not have the address; choose another one with",
        ErrorKind::PermissionDenied => "the port is for privileged programs; choose another one with",
        _ => "see the cause; the port is set by",
    }
}

/// The same for a listener.
fn advice_of(error: &ServeError) -> &'static str {
    match error {
        ServeError::Bind { source, .. } => advice(source),
        ServeError::Tls { .. } => "mend its certificate; the address is set by",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> SocketAddr {
        SocketAddr::from(([0, 0, 0, 0], 8080))
    }

    #[test]
    fn an_address_in_use_is_named_with_its_setting() {
        let taken = ServeError::Bind { address: address(), source: ErrorKind::AddrInUse.into() };
        let source = Box::new(taken);
        let failure = Failure::Door { name: "the API", setting: "services.api.endpoint", source };
        let text = corten_base::chain(&failure);
        assert!(text.starts_with("cannot serve the API: another program is there"), "{text}");
        assert!(text.contains("with services.api.endpoint") && text.contains("0.0.0.0:8080"), "{text}");
        let failure = Failure::Tunnel { address: address(), source: ErrorKind::AddrInUse.into() };
        assert!(failure.to_string().ends_with("with services.siderolink.wireGuard.endpoint"), "{failure}");
    }

    #[test]
    fn settings_that_would_be_ignored_are_listed() {
        let failure = Failure::Effects(vec!["a: because".to_owned(), "b: so".to_owned()]);
        assert_eq!(failure.to_string().lines().count(), 3, "{failure}");
    }
}
