//! Certificates that the manager serves clusters with: one of each cluster's own authority, short-lived.
//!
//! ```text
//! authority of a machine ─▶ Configs ─▶ kept: younger than half of its life ─▶ ServerConfig
//!                                  └─▶ issued anew ─────────────────────────────▶
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corten_base::{Clock, Rng};
use corten_config::view::Pair;
use corten_pki::{Authority, Identity, LeafRequest, PkiError, Subject};
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// How long a certificate is valid (fleet.md 1.9).
const LIFETIME: Duration = Duration::from_secs(5 * 60);
/// Who serves (fleet.md 1.9).
const COMMON_NAME: &str = "omni";
/// Certificates that are kept: two of a cluster while its authority is replaced.
const KEPT_MAX: usize = 1024;

/// A certificate that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// The authority of the cluster cannot issue.
    #[error("failed to issue the serving certificate of cluster {0}")]
    Issue(String, #[source] PkiError),
    /// The library does not take it.
    #[error("failed to set up TLS for cluster {0}")]
    Setup(String, #[source] rustls::Error),
}

/// What is served with, and since when.
type Made = (SystemTime, Arc<ServerConfig>);

/// What is served with, by the certificate of the authority.
#[derive(Debug)]
pub(super) struct Configs {
    server: Ipv6Addr,
    kept: Mutex<BTreeMap<Vec<u8>, Made>>,
}

impl Configs {
    /// None yet, for a manager with this address in the tunnel.
    pub fn new(server: Ipv6Addr) -> Self {
        Self { server, kept: Mutex::default() }
    }

    /// What a machine with this authority is served with.
    pub fn of(
        &self,
        cluster: &str,
        authority: &Pair,
        clock: &Clock,
        rng: &Rng,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let now = clock.now();
        if let Some((made, config)) = self.kept.lock().get(&authority.crt)
            && is_young(*made, now)
        {
            return Ok(Arc::clone(config));
        }
        let failed = |error| TlsError::Issue(cluster.to_owned(), error);
        let identity = self.issue(authority, now, rng).map_err(failed)?;
        let config = config(&identity, clock).map_err(|error| TlsError::Setup(cluster.to_owned(), error))?;
        let mut kept = self.kept.lock();
        kept.retain(|_, (made, _)| is_young(*made, now));
        if kept.len() < KEPT_MAX {
            kept.insert(authority.crt.clone(), (now, Arc::clone(&config)));
        }
        Ok(config)
    }

    fn issue(&self, authority: &Pair, now: SystemTime, rng: &Rng) -> Result<Identity, PkiError> {
        let authority = Authority::from_pem(&authority.crt, authority.key.reveal())?;
        let request = LeafRequest::server(Subject::common_name(COMMON_NAME), LIFETIME);
        let request = request.with_names([COMMON_NAME.to_owned()], [IpAddr::V6(self.server)]);
        authority.issue(&request, now, rng)
    }
}

/// Whether a certificate that was made then is served with now; the clock may have been set back since.
fn is_young(made: SystemTime, now: SystemTime) -> bool {
    now.duration_since(made).is_ok_and(|age| age < LIFETIME / 2)
}

fn config(identity: &Identity, clock: &Clock) -> Result<Arc<ServerConfig>, rustls::Error> {
    let (chain, key) = identity.to_rustls();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(ClockTime(clock.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

#[cfg(test)]
mod tests {
    use corten_pki::{AuthorityKind, Certificate};

    use super::*;
    use crate::trustd::tests::pair;

    #[test]
    fn a_certificate_is_of_the_cluster_names_the_manager_and_serves_half_of_its_life() {
        let (clock, rng) = (Clock::fixed(1_700_000_000), Rng::seeded(1));
        let server: Ipv6Addr = "fdae:41e4:649b:9303::1".parse().unwrap();
        let configs = Configs::new(server);
        let authority = Authority::generate(AuthorityKind::Talos, clock.now(), &rng).unwrap();
        let pair = pair(&authority);
        let first = configs.of("prod", &pair, &clock, &rng).unwrap();
        clock.advance(Duration::from_secs(149));
        assert!(Arc::ptr_eq(&first, &configs.of("prod", &pair, &clock, &rng).unwrap()));
        clock.advance(Duration::from_secs(1));
        assert!(!Arc::ptr_eq(&first, &configs.of("prod", &pair, &clock, &rng).unwrap()));
        assert_eq!(configs.kept.lock().len(), 1);

        let issued: Certificate = configs.issue(&pair, clock.now(), &rng).unwrap().certificate;
        issued.verify_issued_by(authority.certificate()).unwrap();
        assert_eq!(issued.ip_addresses(), [IpAddr::V6(server)]);
        assert_eq!(issued.subject(), Subject::common_name("omni"));
        assert_eq!(issued.not_after(), clock.now() + LIFETIME);
    }
}
