//! Credentials that go around the manager, for when it does not help: an administrator's certificate of the cluster.
//!
//! ```text
//! ClusterTaint, kept ─▶ audit ─▶ certificate from the authority of the cluster ─▶ file with addresses of the machines
//! ```
//!
//! The cluster stays marked until both of its authorities were replaced: nothing else takes such credentials back.

use std::collections::BTreeMap;

use corten_base::chain;
use corten_client::TalosConfig;
use corten_client::talosconfig::Context;
use corten_config::SecretsBundle;
use corten_fleet_cluster::secrets::{self, ClusterSecretsError};
use corten_fleet_resources::cluster::{ClusterMachine, ClusterMachineIdentity, ClusterTaint};
use corten_fleet_resources::kubernetes::LoadBalancerConfig;
use corten_fleet_resources::labels::{self, annotation};
use corten_fleet_resources::secrets::{CertificateAuthorities, ClusterSecrets};
use corten_resource::{
    AnyResource, Metadata, Pointer, Resource, Spec as _, State, StateError, Store as _, UpdateOptions,
};
use jiff::Timestamp;
use tonic::Status;

use super::ClusterCredentials;

/// Port of the Kubernetes API unless the configuration of the cluster says otherwise.
const KUBERNETES_PORT: u16 = 6443;

/// The secrets of a cluster, and where its control plane is.
struct Opened {
    bundle: SecretsBundle,
    extra: CertificateAuthorities,
    /// Addresses of the machines of the control plane, at least one.
    addresses: Vec<String>,
}

impl ClusterCredentials {
    /// A talosconfig for the machines themselves.
    pub(super) async fn talosconfig_around(&self, cluster: &str, email: &str) -> Result<Vec<u8>, Status> {
        let Opened { bundle, extra, addresses } = open(&self.state, cluster)?;
        self.taint(cluster, email).await?;
        let made = secrets::talosconfig(&bundle, extra.os.as_ref(), self.clock.now(), &self.rng);
        let made = made.map_err(|error| unusable(cluster, &error))?;
        let context = Context {
            endpoints: addresses.clone(),
            nodes: addresses,
            ca: made.ca,
            crt: made.crt,
            key: made.key,
            ..Context::default()
        };
        let name = self.name_around(cluster);
        let contexts = [(name.clone(), context)].into();
        Ok(TalosConfig { context: name, contexts }.to_yaml().into_bytes())
    }

    /// A kubeconfig for a machine of the control plane itself.
    pub(super) async fn kubeconfig_around(&self, cluster: &str, email: &str) -> Result<Vec<u8>, Status> {
        let Opened { bundle, extra, addresses } = open(&self.state, cluster)?;
        self.taint(cluster, email).await?;
        let address = addresses.first().map(String::as_str).unwrap_or_default();
        let endpoint = endpoint(address, port(&self.state, cluster));
        let (name, now) = (self.name_around(cluster), self.clock.now());
        let made = secrets::kubeconfig(&name, &endpoint, &bundle, extra.k8s.as_ref(), now, &self.rng);
        Ok(made.map_err(|error| unusable(cluster, &error))?.data)
    }

    /// Never the name of the way through the manager, so that neither replaces the other in a file.
    fn name_around(&self, cluster: &str) -> String {
        format!("{}-{cluster}-break-glass", self.options.name)
    }

    /// Marks a cluster before the first credential of it is given away.
    async fn taint(&self, cluster: &str, email: &str) -> Result<(), Status> {
        let now =
            Timestamp::try_from(self.clock.now()).map_err(|error| Status::internal(error.to_string()))?;
        let marked = mark(&self.state, cluster, &now.to_string()).await;
        let marked = marked.map_err(|error| {
            Status::unavailable(format!("cluster {cluster:?} cannot be marked for it: {}", chain(&error)))
        })?;
        tracing::warn!(cluster, email, "credentials that go around the manager were given away");
        self.note(marked, cluster, email);
        Ok(())
    }
}

/// What credentials of a cluster are made of.
fn open(state: &State, cluster: &str) -> Result<Opened, Status> {
    let secrets = state.get::<ClusterSecrets>(cluster).ok_or_else(|| {
        Status::failed_precondition(format!("cluster {cluster:?} has no secrets yet; try again in a moment"))
    })?;
    let bundle = secrets::read(&secrets.data).map_err(|error| unusable(cluster, &error))?;
    let addresses = addresses(state, cluster);
    if addresses.is_empty() {
        return Err(Status::failed_precondition(format!(
            "no machine of the control plane of cluster {cluster:?} has told its address yet; wait until one \
             has joined it"
        )));
    }
    Ok(Opened { bundle, extra: secrets.spec.extra_certs.unwrap_or_default(), addresses })
}

/// Addresses of the machines of a control plane beyond the tunnel.
fn addresses(state: &State, cluster: &str) -> Vec<String> {
    let is_one = |member: &AnyResource| {
        let labels = &member.metadata().labels;
        labels.get(labels::CLUSTER).is_some_and(|name| name == cluster)
            && labels.contains_key(labels::ROLE_CONTROL_PLANE)
    };
    let address = |member: &AnyResource| {
        let identity = state.get::<ClusterMachineIdentity>(member.id())?;
        identity.node_ips.first().cloned()
    };
    let definition = ClusterMachine::DEFINITION;
    let members = state.list_any(definition.namespace, definition.kind);
    members.iter().filter(|member| is_one(member)).filter_map(address).collect()
}

/// Port of the Kubernetes API of a cluster.
fn port(state: &State, cluster: &str) -> u16 {
    let config = state.get::<LoadBalancerConfig>(cluster);
    let first = config.and_then(|config| config.endpoints.first().cloned());
    let port = first.and_then(|text| text.rsplit_once(':')?.1.parse().ok());
    port.unwrap_or(KUBERNETES_PORT)
}

fn endpoint(address: &str, port: u16) -> String {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    format!("https://{host}:{port}")
}

/// Puts the mark with the time on a cluster, or renews it.
async fn mark(state: &State, cluster: &str, time: &str) -> Result<AnyResource, StateError> {
    let store = state.store();
    let note = |annotations: &mut BTreeMap<String, String>| {
        annotations.insert(annotation::TAINTED_BY_BREAK_GLASS_TIMESTAMP.to_owned(), time.to_owned());
    };
    let mut taint = Resource::new(cluster, ClusterTaint {});
    note(&mut taint.metadata.annotations);
    let at = Pointer::new(ClusterTaint::DEFINITION.namespace, ClusterTaint::DEFINITION.kind, cluster);
    match store.create(taint.into(), "").await {
        Err(StateError::AlreadyExists(_)) => {
            let owner = store.newest(&at).await?.metadata().owner.clone();
            let renew = |metadata: &mut Metadata| note(&mut metadata.annotations);
            store.modify(&at, &UpdateOptions::any_phase(owner), &renew).await
        }
        other => other,
    }
}

fn unusable(cluster: &str, error: &ClusterSecretsError) -> Status {
    Status::failed_precondition(format!("cluster {cluster:?}: {}", chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_either_family_makes_a_url() {
        assert_eq!(endpoint("10.0.0.1", 6443), "https://10.0.0.1:6443");
        assert_eq!(endpoint("fd00::1", 7443), "https://[fd00::1]:7443");
    }
}
