//! Certificate authorities and what they issue.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_base::Rng;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::der::asn1::{BitString, GeneralizedTime, UtcTime};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::{Algorithm, Certificate, CertificateRequest, PkiError, PrivateKey, Subject, extensions};

/// Lifetime of the authorities of a cluster.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// UTCTime ends with 2049 (RFC 5280, 4.1.2.5).
const UTC_TIME_END: Duration = Duration::from_secs(2_524_608_000);

/// The authorities that a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityKind {
    /// The Talos API: Ed25519, O=talos.
    Talos,
    /// Kubernetes: ECDSA P-256, O=kubernetes.
    Kubernetes,
    /// etcd: ECDSA P-256, O=etcd.
    Etcd,
    /// The front proxy of aggregated API servers: ECDSA P-256, CN=front-proxy.
    Aggregator,
}

impl AuthorityKind {
    fn subject(self) -> Subject {
        match self {
            Self::Talos => Subject::organizations(["talos"]),
            Self::Kubernetes => Subject::organizations(["kubernetes"]),
            Self::Etcd => Subject::organizations(["etcd"]),
            Self::Aggregator => Subject::common_name("front-proxy"),
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::Talos => Algorithm::Ed25519,
            Self::Kubernetes | Self::Etcd | Self::Aggregator => Algorithm::EcdsaP256,
        }
    }
}

/// What a leaf may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// TLS server.
    Server,
    /// TLS client.
    Client,
}

/// How far before now validity starts, so that machines with late clocks accept fresh certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backdate(pub Duration);

impl Default for Backdate {
    fn default() -> Self {
        Self(Duration::from_secs(5 * 60))
    }
}

/// What a leaf certificate shall say.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// Who it is for.
    pub subject: Subject,
    /// DNS names it may serve.
    pub dns_names: Vec<String>,
    /// Addresses it may serve.
    pub ip_addresses: Vec<IpAddr>,
    /// What it may be used for.
    pub usages: Vec<Usage>,
    /// How long from now it is valid.
    pub lifetime: Duration,
    /// How far before now validity starts.
    pub backdate: Backdate,
}

impl LeafRequest {
    /// A client certificate.
    #[must_use]
    pub fn client(subject: Subject, lifetime: Duration) -> Self {
        Self::new(subject, vec![Usage::Client], lifetime)
    }

    /// A server certificate; names follow with [`LeafRequest::with_names`].
    #[must_use]
    pub fn server(subject: Subject, lifetime: Duration) -> Self {
        Self::new(subject, vec![Usage::Server], lifetime)
    }

    /// A certificate for both sides, as etcd members use between each other.
    #[must_use]
    pub fn peer(subject: Subject, lifetime: Duration) -> Self {
        Self::new(subject, vec![Usage::Server, Usage::Client], lifetime)
    }

    fn new(subject: Subject, usages: Vec<Usage>, lifetime: Duration) -> Self {
        let (dns_names, ip_addresses, backdate) = (Vec::new(), Vec::new(), Backdate::default());
        Self { subject, dns_names, ip_addresses, usages, lifetime, backdate }
    }

    /// The same with these names.
    #[must_use]
    pub fn with_names(
        mut self,
        dns: impl IntoIterator<Item = String>,
        ips: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        self.dns_names.extend(dns);
        self.ip_addresses.extend(ips);
        self
    }
}

/// A certificate with its private key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: Certificate,
    /// Its key.
    pub key: PrivateKey,
}

impl Identity {
    /// Reads a pair and checks that it is one.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, PkiError> {
        let pair = Self { certificate: Certificate::from_pem(certificate)?, key: PrivateKey::from_pem(key)? };
        if pair.certificate.spki() == pair.key.spki() { Ok(pair) } else { Err(PkiError::KeyMismatch) }
    }

    /// A self-signed server certificate, for machines that have no authority yet.
    pub fn self_signed(request: &LeafRequest, now: SystemTime, rng: &Rng) -> Result<Self, PkiError> {
        let key = PrivateKey::ed25519(rng)?;
        let names = extensions::names(&request.dns_names, &request.ip_addresses)?;
        let subject = request.subject.encode()?;
        let certificate = sign(
            Contents {
                issuer: subject.clone(),
                subject,
                spki: key.spki(),
                validity: validity(request, now)?,
                extensions: extensions::leaf(&request.usages, false, names, None)?,
            },
            &key,
            rng,
        )?;
        Ok(Self { certificate, key })
    }

    /// Certificate and key for rustls.
    #[must_use]
    pub fn to_rustls(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (vec![self.certificate.to_rustls()], self.key.to_rustls())
    }
}

/// A certificate authority that can issue.
#[derive(Clone, Debug)]
pub struct Authority(Identity);

impl Authority {
    /// A new authority of a cluster, valid for ten years.
    pub fn generate(kind: AuthorityKind, now: SystemTime, rng: &Rng) -> Result<Self, PkiError> {
        let key = PrivateKey::generate(kind.algorithm(), rng)?;
        let subject = kind.subject().encode()?;
        let key_id = &Sha256::digest(key.spki())[..20];
        let contents = Contents {
            issuer: subject.clone(),
            subject,
            spki: key.spki(),
            validity: Validity { not_before: time(now)?, not_after: time(later(now, AUTHORITY_LIFETIME)?)? },
            extensions: extensions::authority(key_id)?,
        };
        let certificate = sign(contents, &key, rng)?;
        Ok(Self(Identity { certificate, key }))
    }

    /// Reads an authority from its PEM pair.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, PkiError> {
        let pair = Identity::from_pem(certificate, key)?;
        if pair.certificate.is_authority() { Ok(Self(pair)) } else { Err(PkiError::NotAnAuthority) }
    }

    /// Its certificate.
    #[must_use]
    pub const fn certificate(&self) -> &Certificate {
        &self.0.certificate
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> &PrivateKey {
        &self.0.key
    }

    /// Issues a certificate with a new key of the authority's own kind (ECDSA P-256 under an RSA authority).
    pub fn issue(&self, request: &LeafRequest, now: SystemTime, rng: &Rng) -> Result<Identity, PkiError> {
        let key = match self.0.key.algorithm() {
            Algorithm::Ed25519 => PrivateKey::ed25519(rng)?,
            Algorithm::EcdsaP256 | Algorithm::Rsa => PrivateKey::ecdsa_p256(rng)?,
        };
        self.issue_for(key, request, now, rng)
    }

    /// Issues a certificate for a key that exists already, so that its fingerprint stays.
    pub fn issue_for(
        &self,
        key: PrivateKey,
        request: &LeafRequest,
        now: SystemTime,
        rng: &Rng,
    ) -> Result<Identity, PkiError> {
        let certificate = self.sign_leaf(request, key.spki(), now, rng)?;
        Ok(Identity { certificate, key })
    }

    /// Issues a server certificate for a request, as trustd does: names and common name as asked,
    /// organizations (roles) never, usage server only.
    pub fn sign_server_request(
        &self,
        request: &CertificateRequest,
        lifetime: Duration,
        now: SystemTime,
        rng: &Rng,
    ) -> Result<Certificate, PkiError> {
        let subject = Subject::common_name(request.subject().common_name.clone());
        let leaf = LeafRequest::server(subject, lifetime)
            .with_names(request.dns_names().to_vec(), request.ip_addresses().to_vec());
        self.sign_leaf(&leaf, request.spki(), now, rng)
    }

    fn sign_leaf(
        &self,
        request: &LeafRequest,
        spki: &[u8],
        now: SystemTime,
        rng: &Rng,
    ) -> Result<Certificate, PkiError> {
        let names = extensions::names(&request.dns_names, &request.ip_addresses)?;
        let key_encipherment = self.0.key.algorithm() != Algorithm::Ed25519;
        let key_id = self.0.certificate.key_id();
        let contents = Contents {
            issuer: self.0.certificate.subject_name().clone(),
            subject: request.subject.encode()?,
            spki,
            validity: validity(request, now)?,
            extensions: extensions::leaf(&request.usages, key_encipherment, names, key_id)?,
        };
        sign(contents, &self.0.key, rng)
    }
}

struct Contents<'a> {
    issuer: Name,
    subject: Name,
    spki: &'a [u8],
    validity: Validity,
    extensions: Vec<Extension>,
}

fn sign(contents: Contents<'_>, key: &PrivateKey, rng: &Rng) -> Result<Certificate, PkiError> {
    let encode = PkiError::encode("certificate");
    // Positive and never empty: the top bit is cleared, the next one set.
    let mut serial: [u8; 16] = rng.bytes();
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let algorithm = AlgorithmIdentifierOwned::from_der(&key.algorithm().signature_identifier());
    let algorithm = algorithm.map_err(&encode)?;
    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(&serial).map_err(&encode)?,
        signature: algorithm.clone(),
        issuer: contents.issuer,
        validity: contents.validity,
        subject: contents.subject,
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(contents.spki).map_err(&encode)?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(contents.extensions),
    };
    let signature = key.sign(&tbs_certificate.to_der().map_err(&encode)?)?;
    let signature = BitString::from_bytes(&signature).map_err(&encode)?;
    let certificate = x509_cert::Certificate { tbs_certificate, signature_algorithm: algorithm, signature };
    Certificate::from_der(&certificate.to_der().map_err(&encode)?)
}

fn validity(request: &LeafRequest, now: SystemTime) -> Result<Validity, PkiError> {
    let start =
        now.checked_sub(request.backdate.0).filter(|start| *start >= UNIX_EPOCH).unwrap_or(UNIX_EPOCH);
    Ok(Validity { not_before: time(start)?, not_after: time(later(now, request.lifetime)?)? })
}

fn later(now: SystemTime, by: Duration) -> Result<SystemTime, PkiError> {
    now.checked_add(by).ok_or(PkiError::Time)
}

fn time(at: SystemTime) -> Result<Time, PkiError> {
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| PkiError::Time)?;
    let since = Duration::from_secs(since.as_secs());
    if since < UTC_TIME_END {
        UtcTime::from_unix_duration(since).map(Time::UtcTime).map_err(|_| PkiError::Time)
    } else {
        GeneralizedTime::from_unix_duration(since).map(Time::GeneralTime).map_err(|_| PkiError::Time)
    }
}

#[cfg(test)]
mod tests;
