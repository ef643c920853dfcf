//! What the manager shows to machines when it passes calls on.
//!
//! ```text
//! ClusterSecrets ─▶ certificate with the role os:impersonator, kept in memory ─▶ TLS with the members of the cluster
//! nothing ────────────────────────────────────────────────────────────────────▶ TLS with machines in maintenance
//! ```
//!
//! An impersonator may do nothing itself: each call says which roles it has, in metadata that nobody but the manager
//! writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corten_base::{Clock, Rng, Secret, chain};
use corten_client::{Credentials, Server, TlsError};
use corten_fleet_cluster::secrets::{self, ClusterSecretsError};
use corten_fleet_resources::secrets::ClusterSecrets;
use corten_resource::{Metadata, State};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tonic::Status;

/// The role of the certificate.
const ROLE: &str = "os:impersonator";
/// How long it is good; it is made anew after half of that.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Clusters whose set-up of TLS is kept.
const CLUSTERS_MAX: usize = 1024;

/// A set-up of TLS, and what it was made of.
struct Held {
    secrets: (u64, SystemTime),
    renewal: SystemTime,
    config: Arc<ClientConfig>,
}

/// Credentials that cannot be made.
#[derive(Debug, thiserror::Error)]
enum IdentityError {
    /// The secrets do not work.
    #[error(transparent)]
    Secrets(#[from] ClusterSecretsError),
    /// The authority does not work.
    #[error("no certificate can be issued for its machines; look at the authority in its secrets")]
    Issue(#[source] corten_config::SecretsError),
    /// TLS does not take them.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What is shown to machines.
pub(crate) struct Impersonator {
    state: State,
    clock: Clock,
    rng: Rng,
    maintenance: Arc<ClientConfig>,
    members: Mutex<BTreeMap<String, Held>>,
}

impl Impersonator {
    /// Nothing is made yet.
    ///
    /// # Errors
    /// When TLS cannot be set up on this host.
    pub(crate) fn new(state: State, clock: Clock, rng: Rng) -> Result<Self, TlsError> {
        let anyone = Credentials { server: Server::Anyone, own: None, clock: clock.clone() };
        Ok(Self { state, clock, rng, maintenance: anyone.config()?, members: Mutex::default() })
    }

    /// TLS with machines in maintenance: neither side proves who it is.
    pub(crate) fn maintenance(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.maintenance)
    }

    /// TLS with the members of a cluster.
    ///
    /// # Errors
    /// `FailedPrecondition` while the cluster has no secrets, or when they do not work.
    pub(crate) fn member(&self, cluster: &str) -> Result<Arc<ClientConfig>, Status> {
        let now = self.clock.now();
        let mut members = self.members.lock();
        let Some(secrets) = self.state.get::<ClusterSecrets>(cluster) else {
            members.remove(cluster);
            return Err(Status::failed_precondition(format!(
                "cluster {cluster:?} has no secrets yet, with which its machines are called; try again in a \
                 moment"
            )));
        };
        let version = version(&secrets.metadata);
        if let Some(held) = members.get(cluster)
            && held.secrets == version
            && held.renewal > now
        {
            return Ok(Arc::clone(&held.config));
        }
        let config = self.make(&secrets, now).map_err(|error| {
            Status::failed_precondition(format!("cluster {cluster:?} cannot be called: {}", chain(&error)))
        })?;
        if members.len() >= CLUSTERS_MAX && !members.contains_key(cluster) {
            members.pop_first();
        }
        let held = Held { secrets: version, renewal: now + LIFETIME / 2, config: Arc::clone(&config) };
        members.insert(cluster.to_owned(), held);
        Ok(config)
    }

    fn make(&self, secrets: &ClusterSecrets, now: SystemTime) -> Result<Arc<ClientConfig>, IdentityError> {
        let bundle = secrets::read(&secrets.data)?;
        let identity = bundle.client(&[ROLE], LIFETIME, now, &self.rng).map_err(IdentityError::Issue)?;
        let mut authorities = bundle.talos.crt.clone();
        // While a rotation runs, some members have a certificate of the other authority.
        if let Some(other) = secrets.extra_certs.as_ref().and_then(|extra| extra.os.as_ref()) {
            authorities.push(b'\n');
            authorities.extend_from_slice(&other.crt);
        }
        let certificate = identity.certificate.to_pem().into_bytes();
        let key = Secret::new(identity.key.to_pem().reveal().clone().into_bytes());
        let credentials = Credentials {
            server: Server::Authorities(authorities),
            own: Some((certificate, key)),
            clock: self.clock.clone(),
        };
        Ok(credentials.config()?)
    }
}

/// What tells one state of a resource from the others: its version, and when it was written.
fn version(metadata: &Metadata) -> (u64, SystemTime) {
    (metadata.version, metadata.updated)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::testing::{CLUSTER, put, put_secrets, store};

    #[test]
    fn a_certificate_is_made_anew_when_half_of_its_life_is_over_or_the_secrets_change() {
        let state = store();
        let clock = state.store().clock().clone();
        let impersonator = Impersonator::new(state.clone(), clock.clone(), Rng::seeded(1)).expect("TLS");
        let status = impersonator.member(CLUSTER).expect_err("no secrets");
        assert_eq!(status.code(), Code::FailedPrecondition);
        put_secrets(&state);
        let first = impersonator.member(CLUSTER).expect("made");
        clock.advance(LIFETIME / 2 - Duration::from_secs(1));
        assert!(Arc::ptr_eq(&first, &impersonator.member(CLUSTER).expect("kept")));
        clock.advance(Duration::from_secs(1));
        let second = impersonator.member(CLUSTER).expect("made anew");
        assert!(!Arc::ptr_eq(&first, &second));
        let secrets = state.get::<ClusterSecrets>(CLUSTER).expect("secrets").spec;
        put(&state, CLUSTER, ClusterSecrets { imported: true, ..secrets }, &[]);
        assert!(!Arc::ptr_eq(&second, &impersonator.member(CLUSTER).expect("made anew")));
    }

    #[test]
    fn secrets_that_do_not_work_are_told() {
        let state = store();
        put(&state, CLUSTER, ClusterSecrets { data: b"{}".to_vec(), ..ClusterSecrets::default() }, &[]);
        let clock = state.store().clock().clone();
        let impersonator = Impersonator::new(state, clock, Rng::seeded(1)).expect("TLS");
        let status = impersonator.member(CLUSTER).expect_err("broken secrets");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains("import the bundle again"), "{}", status.message());
    }
}
