//! A certificate of the manager's own: an authority that is made once, and what it issues for the names of the manager.
//!
//! ```text
//! folder: ca.crt, ca.key ─(made on the first start)
//!         server.crt, server.key ─▶ names, authority and time still fit? ─▶ kept | issued anew
//! ```
//!
//! Clients trust `ca.crt`; the rest is nobody's business. Half of a certificate's life is left when it is replaced.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use corten_base::fs::{Durability, write_atomic};
use corten_base::{Clock, Rng};
use corten_fleet_settings::TlsFiles;
use corten_pki::{Authority, AuthorityKind, Certificate, Identity, LeafRequest, PkiError, Subject};

/// Kind of the authority: ECDSA, which browsers verify.
const KIND: AuthorityKind = AuthorityKind::Aggregator;
/// How long a certificate is good.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// Mode of keys: for the manager alone.
const PRIVATE: u32 = 0o600;
/// Mode of certificates.
const PUBLIC: u32 = 0o644;

/// Where certificates of our own are kept, and what for.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    /// Folder of the files.
    pub folder: PathBuf,
    /// Host names and addresses under which the manager is reached; at least one.
    pub names: Vec<String>,
    /// Tells when a certificate ends.
    pub clock: Clock,
    /// Makes keys.
    pub rng: Rng,
}

/// A certificate of our own that cannot be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The disk refuses.
    #[error("failed to keep the manager's own certificate in `{}`", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is there cannot be used, or nothing can be made.
    #[error(
        "the certificates in `{}` cannot be used; remove the folder for new ones, which clients must trust",
        path.display()
    )]
    Pki {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: PkiError,
    },
}

/// The texts of a certificate and its key, PEM.
type Pair = (Vec<u8>, Vec<u8>);

impl OwnCertificate {
    /// The files, which are made or made anew where that is needed. Blocks for the disk.
    ///
    /// # Errors
    /// When the disk refuses, or what is there cannot be used.
    pub(super) fn ensure(&self) -> Result<TlsFiles, OwnError> {
        let authority = self.authority()?;
        let files =
            TlsFiles { certificate: self.folder.join("server.crt"), key: self.folder.join("server.key") };
        let found = self.read_pair(&files.certificate, &files.key)?;
        let now = self.clock.now();
        let is_good = found.is_some_and(|(certificate, key)| {
            let pair = Identity::from_pem(&certificate, &key);
            pair.is_ok_and(|pair| is_good(&pair.certificate, authority.certificate(), &self.names, now))
        });
        if !is_good {
            let request = request(&self.names);
            let issued = authority.issue(&request, now, &self.rng).map_err(|source| self.refused(source))?;
            self.write_pair(&files.certificate, &files.key, &issued.certificate, &issued.key)?;
        }
        Ok(files)
    }

    /// The authority, made on the first start.
    fn authority(&self) -> Result<Authority, OwnError> {
        let (certificate, key) = (self.folder.join("ca.crt"), self.folder.join("ca.key"));
        if let Some((certificate, key)) = self.read_pair(&certificate, &key)? {
            return Authority::from_pem(&certificate, &key).map_err(|source| self.refused(source));
        }
        let made = Authority::generate(KIND, self.clock.now(), &self.rng);
        let made = made.map_err(|source| self.refused(source))?;
        self.write_pair(&certificate, &key, made.certificate(), made.key())?;
        tracing::info!(path = %certificate.display(), "made an authority of our own; clients must trust it");
        Ok(made)
    }

    /// Both files; nothing if the certificate is not there, which is written last.
    fn read_pair(&self, certificate: &Path, key: &Path) -> Result<Option<Pair>, OwnError> {
        let disk = |path: &Path, source| OwnError::Disk { path: path.to_owned(), source };
        match std::fs::read(certificate) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(disk(certificate, error)),
            Ok(found) => {
                let key = std::fs::read(key).map_err(|error| disk(key, error))?;
                Ok(Some((found, key)))
            }
        }
    }

    fn write_pair(
        &self,
        certificate_path: &Path,
        key_path: &Path,
        certificate: &Certificate,
        key: &corten_pki::PrivateKey,
    ) -> Result<(), OwnError> {
        let write = |path: &Path, text: &str, mode| {
            let written = write_atomic(path, text.as_bytes(), mode, Durability::Durable);
            written.map_err(|source| OwnError::Disk { path: path.to_owned(), source })
        };
        write(key_path, key.to_pem().reveal(), PRIVATE)?;
        write(certificate_path, &certificate.to_pem(), PUBLIC)
    }

    fn refused(&self, source: PkiError) -> OwnError {
        OwnError::Pki { path: self.folder.clone(), source }
    }
}

/// Whether a certificate can stay in use: ours, for these names, and not in the second half of its life.
fn is_good(certificate: &Certificate, authority: &Certificate, names: &[String], now: SystemTime) -> bool {
    let (dns, addresses) = split(names);
    let is_for = |wanted: &[String], found: &[String]| {
        wanted.iter().collect::<BTreeSet<_>>() == found.iter().collect::<BTreeSet<_>>()
    };
    let is_at = addresses.iter().collect::<BTreeSet<_>>()
        == certificate.ip_addresses().iter().collect::<BTreeSet<_>>();
    let life = certificate.not_after().duration_since(certificate.not_before()).unwrap_or_default();
    let is_fresh = certificate.is_valid_at(now) && certificate.is_valid_at(now + life / 2);
    certificate.verify_issued_by(authority).is_ok()
        && is_for(&dns, certificate.dns_names())
        && is_at
        && is_fresh
}

fn request(names: &[String]) -> LeafRequest {
    let (dns, addresses) = split(names);
    let subject = Subject::common_name(names.first().cloned().unwrap_or_default());
    LeafRequest::server(subject, LIFETIME).with_names(dns, addresses)
}

/// Names for DNS, and addresses.
fn split(names: &[String]) -> (Vec<String>, Vec<IpAddr>) {
    let (mut dns, mut addresses) = (Vec::new(), Vec::new());
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(address) => addresses.push(address),
            Err(_) => dns.push(name.clone()),
        }
    }
    (dns, addresses)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn own(folder: &Path, names: &[&str], clock: &Clock) -> OwnCertificate {
        OwnCertificate {
            folder: folder.join("tls"),
            names: names.iter().map(ToString::to_string).collect(),
            clock: clock.clone(),
            rng: Rng::seeded(1),
        }
    }

    fn served(own: &OwnCertificate) -> Certificate {
        let files = own.ensure().expect("made");
        Certificate::from_pem(&std::fs::read(files.certificate).expect("read")).expect("a certificate")
    }

    #[test]
    fn a_certificate_is_made_once_and_anew_for_other_names_or_in_the_second_half_of_its_life() {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::fixed(1_700_000_000);
        let own = |names| own(folder.path(), names, &clock);
        let first = served(&own(&["fleet.example", "10.0.0.1"]));
        assert_eq!(first.dns_names(), ["fleet.example"]);
        assert_eq!(first.ip_addresses(), ["10.0.0.1".parse::<IpAddr>().expect("an address")]);
        assert_eq!(served(&own(&["10.0.0.1", "fleet.example"])), first, "the same names");
        let other = served(&own(&["fleet.example"]));
        assert_ne!(other, first);
        clock.advance(LIFETIME / 3);
        assert_eq!(served(&own(&["fleet.example"])), other);
        clock.advance(LIFETIME / 3);
        let renewed = served(&own(&["fleet.example"]));
        assert_ne!(renewed, other);
        let authority = std::fs::read(folder.path().join("tls/ca.crt")).expect("read");
        let authority = Certificate::from_pem(&authority).expect("an authority");
        for certificate in [first, other, renewed] {
            certificate.verify_issued_by(&authority).expect("of the one authority");
        }
    }

    #[test]
    fn keys_are_for_the_manager_alone_and_what_is_broken_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = own(folder.path(), &["localhost"], &Clock::fixed(1_700_000_000));
        served(&own);
        for key in ["tls/ca.key", "tls/server.key"] {
            let mode = std::fs::metadata(folder.path().join(key)).expect("metadata").permissions().mode();
            assert_eq!(mode & 0o777, PRIVATE, "{key}");
        }
        std::fs::write(folder.path().join("tls/ca.crt"), "x").expect("written");
        let error = own.ensure().expect_err("refused").to_string();
        assert!(error.contains("remove the folder for new ones"), "{error}");
    }
}
