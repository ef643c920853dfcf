//! Certificates, read.

use std::net::IpAddr;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::name::Name;

use crate::authority::Usage;
use crate::extensions::{self, Facts};
use crate::{BUNDLE_CERTIFICATES_MAX, PkiError, Subject, key, name, pem};

/// A certificate and what it says.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    parsed: x509_cert::Certificate,
    facts: Facts,
    spki: Vec<u8>,
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("fingerprint", &self.fingerprint())
            .finish()
    }
}

impl Certificate {
    /// Reads DER.
    pub fn from_der(der: &[u8]) -> Result<Self, PkiError> {
        let parsed = x509_cert::Certificate::from_der(der).map_err(PkiError::decode("certificate"))?;
        let facts = extensions::read(parsed.tbs_certificate.extensions.as_deref().unwrap_or_default())?;
        let spki = parsed.tbs_certificate.subject_public_key_info.to_der();
        let spki = spki.map_err(PkiError::encode("public key"))?;
        Ok(Self { der: der.to_vec(), parsed, facts, spki })
    }

    /// Reads the first certificate of a PEM text.
    pub fn from_pem(text: &[u8]) -> Result<Self, PkiError> {
        Self::from_der(&pem::first("a certificate", text, "CERTIFICATE")?.1)
    }

    /// Reads every certificate of a PEM text; an empty text is an empty bundle.
    pub fn bundle_from_pem(text: &[u8]) -> Result<Vec<Self>, PkiError> {
        let what = "certificates";
        let blocks = pem::blocks(what, text)?;
        if blocks.len() > BUNDLE_CERTIFICATES_MAX {
            return Err(PkiError::Pem {
                what,
                reason: format!("more than {BUNDLE_CERTIFICATES_MAX} blocks"),
            });
        }
        blocks
            .iter()
            .filter(|(label, _)| label == "CERTIFICATE")
            .map(|(_, der)| Self::from_der(der))
            .collect()
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der)
    }

    /// The certificate as DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate for rustls.
    #[must_use]
    pub fn to_rustls(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.der.clone())
    }

    /// Who it is for.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject::decode(&self.parsed.tbs_certificate.subject)
    }

    /// Who issued it.
    #[must_use]
    pub fn issuer(&self) -> Subject {
        Subject::decode(&self.parsed.tbs_certificate.issuer)
    }

    /// Start of validity.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.parsed.tbs_certificate.validity.not_before.to_system_time()
    }

    /// End of validity.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.parsed.tbs_certificate.validity.not_after.to_system_time()
    }

    /// Whether `now` lies within validity, ends included.
    #[must_use]
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.not_before() <= now && now <= self.not_after()
    }

    /// DNS names it may serve.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.facts.dns_names
    }

    /// Addresses it may serve.
    #[must_use]
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.facts.ip_addresses
    }

    /// Whether it may issue others.
    #[must_use]
    pub const fn is_authority(&self) -> bool {
        self.facts.is_authority
    }

    /// What it may be used for, in order.
    #[must_use]
    pub fn usages(&self) -> &[Usage] {
        &self.facts.usages
    }

    /// Whether it is for TLS clients and for nothing else, as Talos demands of API clients.
    #[must_use]
    pub fn is_client_only(&self) -> bool {
        self.facts.usages == [Usage::Client] && self.facts.other_usages == 0
    }

    /// SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// base64(SHA-256(SubjectPublicKeyInfo)): the fingerprint that `--cert-fingerprint` takes.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        STANDARD.encode(Sha256::digest(&self.spki))
    }

    /// Whether `issuer`'s name and key signed this certificate.
    pub fn verify_issued_by(&self, issuer: &Self) -> Result<(), PkiError> {
        let bad = || PkiError::BadSignature { what: "certificate" };
        if !name::same(&self.parsed.tbs_certificate.issuer, issuer.subject_name()) {
            return Err(bad());
        }
        let tbs = self.parsed.tbs_certificate.to_der().map_err(PkiError::encode("certificate"))?;
        let signature = self.parsed.signature.as_bytes().ok_or_else(bad)?;
        key::verify(&issuer.spki, &tbs, signature).map_err(|error| match error {
            PkiError::BadSignature { .. } => bad(),
            other => other,
        })
    }

    pub(crate) const fn subject_name(&self) -> &Name {
        &self.parsed.tbs_certificate.subject
    }

    pub(crate) fn key_id(&self) -> Option<&[u8]> {
        self.facts.key_id.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arbitrary_bytes_are_refused_without_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = Certificate::from_der(bytes);
            let _ = Certificate::bundle_from_pem(bytes);
        });
    }

    #[test]
    fn an_empty_bundle_is_empty_and_a_missing_certificate_is_named() {
        assert_eq!(Certificate::bundle_from_pem(b"").unwrap(), []);
        let error = Certificate::from_pem(b"").unwrap_err().to_string();
        assert_eq!(error, "failed to read a certificate from PEM: no PEM block found");
    }
}
