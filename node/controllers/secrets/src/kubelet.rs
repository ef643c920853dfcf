//! What the kubelet needs for its first contact with the API server.
//!
//!     MachineConfig ──▶ KubeletSecrets

use corten_resource::{Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::secrets::KubeletSecrets;

use crate::configuration::{accepted, complete};

/// See the module.
pub struct KubeletBootstrap;

controller!(KubeletBootstrap, "secrets.Kubelet", inputs: [weak MachineConfig], outputs: [exclusive KubeletSecrets]);

impl Transform for KubeletBootstrap {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = complete(view.get(MachineConfig::ACTIVE)) else { return plan };
        let cluster = &config.cluster;
        let endpoint = match config.machine.features.kube_prism_port {
            Some(port) => format!("https://127.0.0.1:{port}"),
            None => cluster.endpoint.clone(),
        };
        let (id, secret) = cluster.token.reveal().split_once('.').unwrap_or_default();
        plan.put(
            KubeletSecrets::ID,
            KubeletSecrets {
                endpoint,
                endpoint_tls_server_name: config.machine.features.kube_prism_server_name.clone(),
                accepted_cas: accepted(cluster.ca.as_ref(), &cluster.accepted_cas),
                bootstrap_token_id: id.to_owned(),
                bootstrap_token_secret: secret.to_owned(),
            },
        );
        plan
    }
}
