//! The secrets of a cluster as the manager keeps them, and the credentials that follow from them.
//!
//! ```text
//! new | imported | new with the keys of a backup ─▶ ClusterSecrets (JSON) ─read─▶ SecretsBundle ─▶ configurations
//!                                                                                     ├─▶ TalosConfig (os:admin)
//!                                                                                     └─▶ Kubeconfig (system:masters)
//! ```
//!
//! The JSON has the keys of `secrets.yaml` (node.md 4.5). Keys are read in any case, since other programs write them
//! with capitals.

mod credentials;

use std::time::SystemTime;

use corten_base::{Rng, Secret};
use corten_config::{Problem, SecretsBundle, SecretsError, yaml};
use corten_fleet_resources::backup::BackupData;
use corten_fleet_resources::secrets::{ClusterSecrets, ImportedClusterSecrets};
use corten_pki::PkiError;
use serde_json::Value;

pub use credentials::{
    CREDENTIALS_LIFETIME, Renewal, kubeconfig, kubeconfig_renewal, renews_at, talosconfig,
    talosconfig_renewal,
};

/// Largest bundle, bytes. One with RSA keys everywhere has a quarter of it.
pub const SECRETS_BYTES_MAX: usize = 256 << 10;

/// Secrets or credentials that cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterSecretsError {
    /// More bytes than any bundle has.
    #[error("the secrets have {0} bytes, and at most {max} are read; restore them", max = SECRETS_BYTES_MAX)]
    TooLarge(usize),
    /// No JSON.
    #[error("the secrets are no JSON; they are damaged, restore them")]
    Json(#[source] serde_json::Error),
    /// The bundle is incomplete, or a key in it is wrong.
    #[error("the secrets cannot be used; import the bundle again, or restore it")]
    Bundle(#[source] SecretsError),
    /// The bundle that was made cannot be written.
    #[error("the new secrets cannot be written; the program is mistaken")]
    Write(#[source] Problem),
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
    let bundle = SecretsBundle::generate(now, rng).map_err(ClusterSecretsError::Bundle)?;
    write(&bundle)
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
    write(&bundle)
}

/// The secrets of a cluster that was made elsewhere.
///
/// # Errors
/// When the bundle is too large, incomplete or wrong.
pub fn import(imported: &ImportedClusterSecrets) -> Result<ClusterSecrets, ClusterSecretsError> {
    let bytes = imported.data.as_bytes();
    check_size(bytes)?;
    let bundle = SecretsBundle::parse(bytes).map_err(ClusterSecretsError::Bundle)?;
    Ok(ClusterSecrets { imported: true, ..write(&bundle)? })
}

/// Writes a bundle as the manager keeps it.
///
/// # Errors
/// Never for a bundle that was read or made here.
pub fn write(bundle: &SecretsBundle) -> Result<ClusterSecrets, ClusterSecretsError> {
    let documents = yaml::parse(bundle.to_yaml().reveal()).map_err(ClusterSecretsError::Write)?;
    let value = documents.into_iter().next().unwrap_or_default();
    let data = serde_json::to_vec(&value).map_err(ClusterSecretsError::Json)?;
    Ok(ClusterSecrets { data, ..ClusterSecrets::default() })
}

/// Reads the bundle in the `data` of ClusterSecrets or ClusterMachineSecrets.
///
/// # Errors
/// When it is too large, no JSON, incomplete or wrong.
pub fn read(data: &[u8]) -> Result<SecretsBundle, ClusterSecretsError> {
    check_size(data)?;
    let value: Value = serde_json::from_slice(data).map_err(ClusterSecretsError::Json)?;
    let text = yaml::render(&with_lower_case_keys(value));
    SecretsBundle::parse(text.as_bytes()).map_err(ClusterSecretsError::Bundle)
}

fn check_size(bytes: &[u8]) -> Result<(), ClusterSecretsError> {
    if bytes.len() > SECRETS_BYTES_MAX { Err(ClusterSecretsError::TooLarge(bytes.len())) } else { Ok(()) }
}

/// What is in lists is no part of a bundle and is left as it is.
fn with_lower_case_keys(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter().map(|(key, value)| (key.to_lowercase(), with_lower_case_keys(value))).collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use corten_base::chain;

    use super::*;
    use crate::testing::bundle;

    #[test]
    fn a_bundle_survives_the_store() {
        let secrets = write(bundle()).unwrap();
        assert!(!secrets.imported && secrets.extra_certs.is_none());
        assert_eq!(read(&secrets.data).unwrap(), *bundle());
        assert!(serde_json::from_slice::<Value>(&secrets.data).unwrap().get("certs").is_some());
    }

    #[test]
    fn keys_with_capitals_are_read() {
        let text = String::from_utf8(write(bundle()).unwrap().data).unwrap();
        let text = text.replace("\"cluster\"", "\"Cluster\"").replace("\"id\"", "\"Id\"");
        let text = text.replace("\"k8saggregator\"", "\"K8sAggregator\"");
        assert!(text.contains("\"K8sAggregator\"") && text.contains("\"Id\""));
        assert_eq!(read(text.as_bytes()).unwrap(), *bundle());
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
    fn what_is_too_large_or_broken_is_refused_without_telling_secrets() {
        assert!(matches!(read(&vec![b' '; SECRETS_BYTES_MAX + 1]), Err(ClusterSecretsError::TooLarge(_))));
        for text in ["", "[]", "{\"cluster\":{\"secret\":\"hunter2\"}}", "{\"hunter2"] {
            let error = chain(&read(text.as_bytes()).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn any_bytes_are_secrets_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = read(bytes);
        });
    }
}
