//! TLS of the connection: both sides show certificates of the cluster's own authority.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::client::Identity;
use crate::error::Error;

pub(crate) fn client_config(identity: &Identity) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&identity.ca)? {
        roots.add(certificate).map_err(|error| wrong("certificate authority", &error))?;
    }
    if roots.is_empty() {
        return Err(Error::Config("no certificate authority in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(identity.key.reveal()).map_err(|error| wrong("key", &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("TLS provider", &error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&identity.certificate)?, key)
        .map_err(|error| wrong("certificate", &error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong("certificate", &error))
}

fn wrong(what: &str, error: &dyn std::error::Error) -> Error {
    Error::Config(format!("{what}: {error}"))
}
