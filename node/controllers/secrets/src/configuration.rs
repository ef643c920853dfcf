//! The machine configuration as this domain reads it.

use std::sync::Arc;

use corten_config::view::{MachineView, Pair};
use corten_resource::Resource;
use corten_resources::config::MachineConfig;
use corten_resources::secrets::{Certificate, CertificateAndKey};

/// The view of a complete configuration; nothing in maintenance.
pub fn complete(resource: Option<&Resource<MachineConfig>>) -> Option<Arc<MachineView>> {
    let config = corten_config::load_cached(&resource?.spec.yaml).ok()?;
    Some(config.view()).filter(|view| view.complete)
}

/// A CA as resources hold it.
pub fn pair(given: &Pair) -> CertificateAndKey {
    CertificateAndKey { crt: given.crt.clone(), key: given.key.reveal().clone() }
}

/// The issuing CA and every further accepted one.
pub fn accepted(issuing: Option<&Pair>, others: &[Vec<u8>]) -> Vec<Certificate> {
    let issuing = issuing.map(|pair| &pair.crt).filter(|crt| !crt.is_empty());
    issuing.into_iter().chain(others).map(|crt| Certificate { crt: crt.clone() }).collect()
}
