//! Issues certificates, and keeps those that still serve.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use corten_base::Rng;
use corten_pki::{Authority, Certificate, LeafRequest, PkiError, PrivateKey};
use corten_resources::secrets::CertificateAndKey;

/// Life of serving certificates of the machine API.
pub const DAY: Duration = Duration::from_secs(24 * 3600);
/// Life of certificates inside a cluster.
pub const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A published certificate may stay until half of its life is over.
const RENEW_AFTER: u32 = 2;

/// Issues against one CA at one moment.
pub struct Issuer<'a> {
    authority: Authority,
    now: SystemTime,
    rng: &'a Rng,
    /// Earliest moment at which something must be renewed.
    renewal: Option<SystemTime>,
}

impl<'a> Issuer<'a> {
    /// An issuer for a CA.
    pub fn new(ca: &CertificateAndKey, now: SystemTime, rng: &'a Rng) -> Result<Self, PkiError> {
        Ok(Self { authority: Authority::from_pem(&ca.crt, &ca.key)?, now, rng, renewal: None })
    }

    /// The current certificate when it is what is wanted, else a new one.
    pub fn keep_or_issue(
        &mut self,
        current: Option<&CertificateAndKey>,
        wanted: &LeafRequest,
    ) -> Result<CertificateAndKey, PkiError> {
        self.keep_or_issue_with(None, current, wanted)
    }

    /// The same, but a new certificate is for the key of the current one: its fingerprint stays.
    pub fn keep_or_issue_for_key(
        &mut self,
        current: Option<&CertificateAndKey>,
        wanted: &LeafRequest,
    ) -> Result<CertificateAndKey, PkiError> {
        let key = current.and_then(|pair| PrivateKey::from_pem(&pair.key).ok());
        self.keep_or_issue_with(key, current, wanted)
    }

    fn keep_or_issue_with(
        &mut self,
        key: Option<PrivateKey>,
        current: Option<&CertificateAndKey>,
        wanted: &LeafRequest,
    ) -> Result<CertificateAndKey, PkiError> {
        let kept = current.filter(|pair| serves(pair, wanted, self.authority.certificate(), self.now));
        let pair = match kept {
            Some(pair) => pair.clone(),
            None => {
                let identity = match key {
                    Some(key) => self.authority.issue_for(key, wanted, self.now, self.rng)?,
                    None => self.authority.issue(wanted, self.now, self.rng)?,
                };
                CertificateAndKey {
                    crt: identity.certificate.to_pem().into_bytes(),
                    key: identity.key.to_pem().reveal().clone().into_bytes(),
                }
            }
        };
        let renewal = renewal(&Certificate::from_pem(&pair.crt)?);
        self.renewal = Some(self.renewal.map_or(renewal, |other| other.min(renewal)));
        Ok(pair)
    }

    /// How long nothing needs to be renewed.
    pub fn quiet_for(&self) -> Duration {
        let until = |renewal: SystemTime| renewal.duration_since(self.now).unwrap_or_default();
        self.renewal.map(until).unwrap_or(DAY).max(Duration::from_secs(1))
    }
}

/// When a certificate should be replaced.
pub fn renewal(certificate: &Certificate) -> SystemTime {
    let life = certificate.not_after().duration_since(certificate.not_before()).unwrap_or_default();
    certificate.not_before() + life / RENEW_AFTER
}

/// Whether a pair is what is wanted, from this CA, and young enough.
pub fn serves(pair: &CertificateAndKey, wanted: &LeafRequest, ca: &Certificate, now: SystemTime) -> bool {
    let (Ok(certificate), Ok(key)) = (Certificate::from_pem(&pair.crt), PrivateKey::from_pem(&pair.key))
    else {
        return false;
    };
    certificate.spki() == key.spki()
        && certificate.subject() == wanted.subject
        && same_names(&certificate, &wanted.dns_names, &wanted.ip_addresses)
        && certificate.usages() == wanted.usages
        && certificate.is_valid_at(now)
        && now < renewal(&certificate)
        && certificate.verify_issued_by(ca).is_ok()
}

/// Whether a certificate carries exactly these names, in any order.
pub fn same_names(certificate: &Certificate, dns: &[String], ips: &[IpAddr]) -> bool {
    let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    let addresses = |all: &[IpAddr]| all.iter().copied().collect::<BTreeSet<_>>();
    set(certificate.dns_names()) == set(dns) && addresses(certificate.ip_addresses()) == addresses(ips)
}

#[cfg(test)]
mod tests {
    use corten_pki::{AuthorityKind, Subject};

    use super::*;

    fn ca(rng: &Rng, now: SystemTime) -> CertificateAndKey {
        let authority = Authority::generate(AuthorityKind::Kubernetes, now, rng).expect("a CA");
        CertificateAndKey {
            crt: authority.certificate().to_pem().into_bytes(),
            key: authority.key().to_pem().reveal().clone().into_bytes(),
        }
    }

    #[test]
    fn a_certificate_is_kept_until_something_asks_for_another() {
        let (rng, now) = (Rng::seeded(3), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let authority = ca(&rng, now);
        let wanted = |name: &str| {
            LeafRequest::server(Subject::common_name("kube-apiserver"), YEAR)
                .with_names([name.to_owned()], [])
        };
        let issue =
            |ca: &CertificateAndKey, current: Option<&CertificateAndKey>, name: &str, now: SystemTime| {
                Issuer::new(ca, now, &rng)
                    .expect("an issuer")
                    .keep_or_issue(current, &wanted(name))
                    .expect("a certificate")
            };
        let first = issue(&authority, None, "a", now);
        assert_eq!(issue(&authority, Some(&first), "a", now + YEAR / 3), first);
        assert_ne!(issue(&authority, Some(&first), "b", now), first, "another name");
        assert_ne!(issue(&authority, Some(&first), "a", now + YEAR * 2 / 3), first, "old");
        assert_ne!(issue(&authority, Some(&first), "a", now - YEAR), first, "the clock went back");
        assert_ne!(issue(&ca(&rng, now), Some(&first), "a", now), first, "another CA");
    }

    #[test]
    fn a_fingerprint_can_outlive_a_change_of_names() {
        let (rng, now) = (Rng::seeded(3), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let authority = ca(&rng, now);
        let wanted = |name: &str| {
            LeafRequest::server(Subject::common_name("maintenance"), YEAR).with_names([name.to_owned()], [])
        };
        let mut issuer = Issuer::new(&authority, now, &rng).expect("an issuer");
        let first = issuer.keep_or_issue_for_key(None, &wanted("a")).expect("a certificate");
        let second = issuer.keep_or_issue_for_key(Some(&first), &wanted("b")).expect("a certificate");
        let fingerprint =
            |pair: &CertificateAndKey| Certificate::from_pem(&pair.crt).expect("a certificate").fingerprint();
        assert_ne!(first.crt, second.crt);
        assert_eq!(fingerprint(&first), fingerprint(&second));
    }
}
