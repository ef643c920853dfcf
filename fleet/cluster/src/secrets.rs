//! The secrets of a cluster as the manager keeps them, and the credentials that follow from them.
//!
//! ```text
//! new | imported | new with the keys of a backup ─▶ ClusterSecrets (JSON) ─read─▶ SecretsBundle ─▶ configurations
//!                                                                                     ├─▶ TalosConfig (os:admin)
//!                                                                                     └─▶ Kubeconfig (system:masters)
//! ```

mod credentials;

use std::time::SystemTime;

use corten_base::{Rng, Secret};
use corten_config::{SecretsBundle, SecretsError};
use corten_fleet_resources::backup::BackupData;
use corten_fleet_resources::secrets::{ClusterSecrets, ImportedClusterSecrets};
use corten_pki::PkiError;

pub use corten_config::secrets::SECRETS_BYTES_MAX;
pub use credentials::{
    CREDENTIALS_LIFETIME, Renewal, kubeconfig, kubeconfig_renewal, renews_at, talosconfig,
    talosconfig_renewal,
};

/// Secrets or credentials that cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterSecretsError {
    /// The bundle is damaged or incomplete, or a key in it is wrong.
    #[error("the secrets cannot be used; import the bundle again, or restore it")]
    Bundle(#[source] SecretsError),
    /// A credential cannot be issued.
    #[error("no credential can be issued for {what}; look at the authority in the secrets of the cluster")]
    Issue {
        /// For what.
        what: &'static str,
        /// Why.
        #[source]
        source: PkiError,
    },
}

/// New secrets of a cluster. The key of service accounts is RSA with 4096 bits and takes a moment.
///
/// # Errors
/// When the cryptographic library refuses.
pub fn generate(now: SystemTime, rng: &Rng) -> Result<ClusterSecrets, ClusterSecretsError> {
    SecretsBundle::generate(now, rng).map(|bundle| write(&bundle)).map_err(ClusterSecretsError::Bundle)
}

/// New secrets of a cluster that starts from a backup: what Kubernetes encrypted must stay readable.
///
/// # Errors
/// When the cryptographic library refuses.
pub fn restore(
    backup: &BackupData,
    now: SystemTime,
    rng: &Rng,
) -> Result<ClusterSecrets, ClusterSecretsError> {
    let mut bundle = SecretsBundle::generate(now, rng).map_err(ClusterSecretsError::Bundle)?;
    bundle.aescbc_secret = Secret::new(backup.aes_cbc_encryption_secret.clone());
    bundle.secretbox_secret = Secret::new(backup.secretbox_encryption_secret.clone());
    Ok(write(&bundle))
}

/// The secrets of a cluster that was made elsewhere.
///
/// # Errors
/// When the bundle is too large, incomplete or wrong.
pub fn import(imported: &ImportedClusterSecrets) -> Result<ClusterSecrets, ClusterSecretsError> {
    let bundle = SecretsBundle::parse(imported.data.as_bytes()).map_err(ClusterSecretsError::Bundle)?;
    Ok(ClusterSecrets { imported: true, ..write(&bundle) })
}

/// Writes a bundle as the manager keeps it.
#[must_use]
pub fn write(bundle: &SecretsBundle) -> ClusterSecrets {
    ClusterSecrets { data: bundle.to_json().reveal().clone(), ..ClusterSecrets::default() }
}

/// Reads the bundle in the `data` of ClusterSecrets or ClusterMachineSecrets.
///
/// # Errors
/// When it is too large, no JSON, incomplete or wrong.
pub fn read(data: &[u8]) -> Result<SecretsBundle, ClusterSecretsError> {
    SecretsBundle::from_json(data).map_err(ClusterSecretsError::Bundle)
}

#[cfg(test)]
mod tests {
    use corten_base::chain;

    use super::*;
    use crate::testing::bundle;

    #[test]
    fn a_bundle_survives_the_store() {
        let secrets = write(bundle());
        assert!(!secrets.imported && secrets.extra_certs.is_none());
        assert_eq!(read(&secrets.data).unwrap(), *bundle());
    }

    #[test]
    fn an_imported_bundle_is_marked() {
        let imported = ImportedClusterSecrets { data: bundle().to_yaml().reveal().clone() };
        let secrets = import(&imported).unwrap();
        assert!(secrets.imported);
        assert_eq!(read(&secrets.data).unwrap(), *bundle());
    }

    #[test]
    fn a_restored_cluster_can_read_what_the_old_one_encrypted() {
        let backup = BackupData {
            aes_cbc_encryption_secret: "YWVz".to_owned(),
            secretbox_encryption_secret: String::new(),
            ..BackupData::default()
        };
        let secrets = restore(&backup, crate::testing::now(), &Rng::seeded(3)).unwrap();
        let restored = read(&secrets.data).unwrap();
        assert_eq!(restored.aescbc_secret.reveal(), "YWVz");
        assert_eq!(restored.secretbox_secret.reveal(), "");
        assert!(restored.talos != bundle().talos);
    }

    #[test]
    fn what_is_broken_is_told_with_the_way_out_and_without_secrets() {
        let error = chain(&read(b"{\"hunter2").unwrap_err());
        assert!(error.contains("restore it") && !error.contains("hunter2"), "{error}");
    }
}
