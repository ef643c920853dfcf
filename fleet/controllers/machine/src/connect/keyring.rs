//! What the manager calls members of clusters with, and which machine is a member of which cluster.
//!
//! ```text
//! ClusterMachine, else MachineSetNode (label) ─▶ name of the cluster ─▶ TalosConfig ─▶ MemberAccess
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use corten_base::Secret;
use corten_fleet_resources::cluster::{ClusterMachine, MachineSetNode};
use corten_fleet_resources::labels;
use corten_fleet_resources::secrets::TalosConfig;
use corten_resource::State;
use sha2::{Digest as _, Sha256};

/// Credentials for the members of one cluster: those of an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAccess {
    /// Name of the cluster.
    pub cluster: String,
    /// Authorities of the members, PEM.
    pub authorities: Vec<u8>,
    /// Certificate of the manager, PEM.
    pub certificate: Vec<u8>,
    /// Its key, PEM.
    pub key: Secret<Vec<u8>>,
}

/// A `TalosConfig` that is none.
#[derive(Debug, thiserror::Error)]
#[error("field {field} of TalosConfig {cluster} is not base64; delete the resource to have it made anew")]
pub struct InvalidAccess {
    cluster: String,
    field: &'static str,
    #[source]
    source: base64::DecodeError,
}

impl MemberAccess {
    /// Reads the credentials of a cluster.
    ///
    /// # Errors
    /// When a field is not base64.
    pub fn read(cluster: &str, config: &TalosConfig) -> Result<Self, InvalidAccess> {
        let decode = |field, text: &str| {
            let invalid = |source| InvalidAccess { cluster: cluster.to_owned(), field, source };
            STANDARD.decode(text).map_err(invalid)
        };
        Ok(Self {
            cluster: cluster.to_owned(),
            authorities: decode("ca", &config.ca)?,
            certificate: decode("crt", &config.crt)?,
            key: Secret::new(decode("key", &config.key)?),
        })
    }

    /// Differs when the credentials do.
    pub(crate) fn mark(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let key = self.key.reveal().as_slice();
        for part in [self.cluster.as_bytes(), self.authorities.as_slice(), self.certificate.as_slice(), key] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// Where credentials and memberships are looked up at the moment of a call. Implemented for the store.
///
/// Controllers over machines do not read these types as inputs: a change of one cluster's credentials would have every
/// machine of every cluster planned anew.
pub trait Keyring: Send + Sync + 'static {
    /// What members of a cluster are called with; `None` while the cluster has no credentials.
    fn access(&self, cluster: &str) -> Option<MemberAccess>;
    /// Name of the cluster that a machine is in.
    fn cluster_of(&self, machine: &str) -> Option<String>;
}

impl Keyring for State {
    fn access(&self, cluster: &str) -> Option<MemberAccess> {
        let config = self.get::<TalosConfig>(cluster)?;
        let access = MemberAccess::read(cluster, &config.spec);
        if let Err(error) = &access {
            tracing::warn!(cluster, error = corten_base::chain(error), "no member can be called");
        }
        access.ok()
    }

    fn cluster_of(&self, machine: &str) -> Option<String> {
        let member = self.get::<ClusterMachine>(machine).map(|member| member.metadata.labels);
        let labels =
            member.or_else(|| self.get::<MachineSetNode>(machine).map(|node| node.metadata.labels))?;
        labels.get(labels::CLUSTER).cloned()
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{resource, state};

    use super::*;

    fn config(key: &str) -> TalosConfig {
        let encode = |text: &str| STANDARD.encode(text);
        TalosConfig { ca: encode("ca"), crt: encode("crt"), key: encode(key) }
    }

    #[test]
    fn the_cluster_of_a_machine_leads_to_its_credentials() {
        let state = state(corten_fleet_resources::registry());
        state.put("", "prod", config("one")).expect("put");
        let node = resource("m1", MachineSetNode {}).edit(|metadata| {
            metadata.labels.insert(labels::CLUSTER.to_owned(), "prod".to_owned());
        });
        state.put_any("", node).expect("put");
        assert_eq!(state.cluster_of("m1").as_deref(), Some("prod"));
        assert_eq!(state.cluster_of("m2"), None);
        assert_eq!(state.access("prod").expect("credentials").key.reveal(), b"one");
        assert!(state.access("test").is_none());
    }

    #[test]
    fn other_credentials_have_another_mark() {
        let mark = |key| MemberAccess::read("prod", &config(key)).expect("base64").mark();
        assert_eq!(mark("one"), mark("one"));
        assert_ne!(mark("one"), mark("two"));
        assert!(MemberAccess::read("prod", &TalosConfig { ca: "?".into(), ..config("one") }).is_err());
    }
}
