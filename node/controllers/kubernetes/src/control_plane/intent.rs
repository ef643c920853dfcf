//! What the machine configuration asks of the control plane, as resources.
//!
//!     MachineConfig ──▶ APIServerConfigs, ControllerManagerConfigs, SchedulerConfigs, AdmissionControlConfigs, AuditPolicyConfigs,
//!                       AuthenticationConfigs, AuthorizationConfigs, EtcdEncryptionConfigs

use std::sync::Arc;

use corten_config::view::MachineView;
use corten_resource::{Object, Plan, Transform, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::kubernetes::{
    AdmissionControlConfig, AdmissionPlugin, ApiServerConfig, AuditPolicyConfig, AuthenticationConfig,
    AuthorizationConfig, Authorizer, ControllerManagerConfig, EtcdEncryptionConfig, SchedulerConfig,
};
use serde_json::json;

use super::config_files::structured_version;
use super::pods::into_object;
use crate::configuration;
use crate::etcd;

/// See the module.
pub struct ControlPlaneConfig;

controller!(ControlPlaneConfig, "k8s.ControlPlaneConfig",
inputs: [weak MachineConfig],
outputs: [
    shared ApiServerConfig, shared ControllerManagerConfig, shared SchedulerConfig, exclusive AdmissionControlConfig,
    exclusive AuditPolicyConfig, exclusive AuthenticationConfig, exclusive AuthorizationConfig,
    exclusive EtcdEncryptionConfig,
]);

impl Transform for ControlPlaneConfig {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(config) = configuration::control_plane(view.get(MachineConfig::ACTIVE)) else { return plan };
        let api_server = api_server(&config);
        let image = api_server.image.clone();
        plan.put(ApiServerConfig::ID, api_server)
            .put(ControllerManagerConfig::ID, controller_manager(&config))
            .put(SchedulerConfig::ID, scheduler(&config))
            .put(AdmissionControlConfig::ID, admission(&config))
            .put(AuditPolicyConfig::ID, AuditPolicyConfig { config: audit(&config) })
            .put(AuthenticationConfig::ID, AuthenticationConfig { config: authentication(&config, &image) })
            .put(AuthorizationConfig::ID, AuthorizationConfig { config: authorizers(&config), image });
        let encryption = config.cluster.etcd_encryption.reveal();
        if !encryption.is_empty() {
            plan.put(EtcdEncryptionConfig::ID, EtcdEncryptionConfig { configuration: encryption.clone() });
        }
        plan
    }
}

fn subnets(given: &[ipnet::IpNet]) -> Vec<String> {
    given.iter().map(ToString::to_string).collect()
}

fn cloud_provider(config: &MachineView) -> String {
    if config.cluster.external_cloud_provider { "external".into() } else { String::new() }
}

fn api_server(config: &Arc<MachineView>) -> ApiServerConfig {
    let given = &config.cluster.api_server;
    ApiServerConfig {
        image: given.image.clone(),
        cloud_provider: cloud_provider(config),
        control_plane_endpoint: config.cluster.endpoint.clone(),
        etcd_servers: vec![format!("https://127.0.0.1:{}", etcd::CLIENT_PORT)],
        local_port: given.port.into(),
        service_cidrs: subnets(&config.cluster.network.service_subnets),
        extra_args: configuration::arguments(&given.extra_args),
        args: Vec::new(),
        extra_volumes: configuration::volumes(&given.extra_volumes),
        environment_variables: given.env.clone(),
        advertised_address: "$(POD_IP)".into(),
        resources: configuration::resources(&given.resources),
        startup_probes_enabled: given.startup_probes,
        use_authentication_config: true,
    }
}

fn controller_manager(config: &Arc<MachineView>) -> ControllerManagerConfig {
    let given = &config.cluster.controller_manager;
    ControllerManagerConfig {
        enabled: !config.machine.controller_manager_disabled,
        image: given.image.clone(),
        cloud_provider: cloud_provider(config),
        pod_cidrs: subnets(&config.cluster.network.pod_subnets),
        service_cidrs: subnets(&config.cluster.network.service_subnets),
        extra_args: configuration::arguments(&given.extra_args),
        extra_volumes: configuration::volumes(&given.extra_volumes),
        environment_variables: given.env.clone(),
        resources: configuration::resources(&given.resources),
        node_cidr_mask_size_ipv4: mask(config.cluster.network.node_mask_ipv4),
        node_cidr_mask_size_ipv6: mask(config.cluster.network.node_mask_ipv6),
        ..ControllerManagerConfig::default()
    }
}

fn mask(given: Option<u8>) -> i64 {
    given.unwrap_or_default().into()
}

fn scheduler(config: &Arc<MachineView>) -> SchedulerConfig {
    let given = &config.cluster.scheduler;
    SchedulerConfig {
        enabled: !config.machine.scheduler_disabled,
        image: given.image.clone(),
        extra_args: configuration::arguments(&given.extra_args),
        config: given.config.clone(),
        extra_volumes: configuration::volumes(&given.extra_volumes),
        environment_variables: given.env.clone(),
        resources: configuration::resources(&given.resources),
        ..SchedulerConfig::default()
    }
}

fn admission(config: &MachineView) -> AdmissionControlConfig {
    let plugin = |plugin: &corten_config::view::AdmissionPlugin| AdmissionPlugin {
        name: plugin.name.clone(),
        configuration: plugin.configuration.clone(),
    };
    AdmissionControlConfig { config: config.cluster.api_server.admission.iter().map(plugin).collect() }
}

fn audit(config: &MachineView) -> Object {
    let given = &config.cluster.api_server.audit_policy;
    if !given.is_empty() {
        return given.clone();
    }
    into_object(
        json!({ "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{ "level": "Metadata" }] }),
    )
}

/// What the user gave. Without it nobody is anonymous, except towards the paths that the kubelet probes.
fn authentication(config: &MachineView, image: &str) -> Object {
    let mut object = config.cluster.api_server.authentication.clone();
    if object.is_empty() {
        let paths: Vec<_> =
            ["/livez", "/readyz", "/healthz"].iter().map(|path| json!({ "path": path })).collect();
        object.insert("anonymous".into(), json!({ "enabled": true, "conditions": paths }));
    }
    let version = structured_version(image, 34);
    object.insert("apiVersion".into(), json!(format!("apiserver.config.k8s.io/{version}")));
    object.insert("kind".into(), json!("AuthenticationConfiguration"));
    object
}

/// The user's authorizers. Those of `v1alpha1` stand beside Node and RBAC, which documents name themselves.
fn authorizers(config: &MachineView) -> Vec<Authorizer> {
    let given = &config.cluster.api_server.authorizers;
    let built_in =
        |kind: &str| Authorizer { kind: kind.into(), name: kind.to_lowercase(), ..Authorizer::default() };
    let own: &[&str] = if config.cluster.api_server.only_given_authorizers { &[] } else { &["Node", "RBAC"] };
    let is_given = |kind: &str| given.iter().any(|one| one.kind == kind);
    let missing = own.iter().filter(|kind| !is_given(kind)).map(|kind| built_in(kind));
    let given = given.iter().map(|one| Authorizer {
        kind: one.kind.clone(),
        name: one.name.clone(),
        webhook: one.webhook.clone(),
    });
    missing.chain(given).collect()
}
