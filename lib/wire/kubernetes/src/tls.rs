//! TLS of the connection: who the server must be and who we are.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::client::Auth;
use crate::error::Error;

/// Trusts exactly `authorities` (PEM) and shows the client certificate of `auth`, if it is one.
pub(crate) fn client_config(authorities: &[u8], auth: &Auth) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities)? {
        roots.add(certificate).map_err(|error| wrong("certificate authority", &error))?;
    }
    if roots.is_empty() {
        return Err(Error::Config("no certificate authority in it".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("TLS provider", &error))?
        .with_root_certificates(roots);
    let mut config = match auth {
        Auth::Certificate { certificate, key } => {
            let key =
                PrivateKeyDer::from_pem_slice(key.reveal()).map_err(|error| wrong("client key", &error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|error| wrong("client certificate", &error))?
        }
        Auth::None | Auth::Token(_) => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
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
