//! Public key infrastructure of a cluster: keys, certificate authorities, leaf certificates, requests.
//!
//! Certificates are written and read with the ASN.1 types of `x509-cert` and signed by aws-lc, because a
//! client certificate may carry several organizations (roles) and an issuer's name must be repeated byte
//! for byte; both are beyond the usual generators. Types of either library stay inside this crate.
//!
//! Time and randomness come in by parameter. RSA keys alone take their randomness from aws-lc itself.
//! Private keys cannot be printed.

mod authority;
mod certificate;
mod csr;
mod der;
mod error;
mod extensions;
mod key;
mod name;
mod pem;

pub use authority::{Authority, AuthorityKind, Backdate, Identity, LeafRequest, Usage};
pub use certificate::Certificate;
pub use csr::{CertificateRequest, RequestTemplate};
pub use error::PkiError;
pub use key::{Algorithm, PrivateKey, public_key, verify};
pub use name::Subject;

/// Largest PEM text this crate reads; a bundle of a few hundred certificates.
pub const PEM_BYTES_MAX: usize = 1 << 20;

/// Most certificates in one bundle.
pub const BUNDLE_CERTIFICATES_MAX: usize = 512;
