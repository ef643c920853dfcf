//! Configuration files of the control plane. They are JSON, which every reader of YAML accepts.

use corten_resource::Object;
use corten_resources::kubernetes::{
    AdmissionControlConfig, AuditPolicyConfig, AuthenticationConfig, AuthorizationConfig, SchedulerConfig,
};
use serde_json::{Value, json};

use super::{API_SERVER, SCHEDULER, config_folder, scheduler, user_of};
use crate::files::{File, Owner};
use crate::images;

/// What the files are made of.
pub struct Inputs<'a> {
    /// Admission plugins.
    pub admission: &'a AdmissionControlConfig,
    /// Audit policy.
    pub audit: &'a AuditPolicyConfig,
    /// Authentication, where it is configured by a file.
    pub authentication: Option<&'a AuthenticationConfig>,
    /// Authorizers.
    pub authorization: &'a AuthorizationConfig,
    /// Scheduler.
    pub scheduler: &'a SchedulerConfig,
}

/// All files, of all components.
#[must_use]
pub fn files(inputs: &Inputs<'_>) -> Vec<File> {
    let mut all = vec![
        file(API_SERVER, "admission-control-config.yaml", admission(inputs.admission)),
        file(API_SERVER, "auditpolicy.yaml", Value::Object(inputs.audit.config.clone())),
        file(API_SERVER, "authorization-config.yaml", authorization(inputs.authorization)),
        file(SCHEDULER, "scheduler-config.yaml", Value::Object(scheduler::configuration(inputs.scheduler))),
    ];
    if let Some(authentication) = inputs.authentication {
        all.push(file(
            API_SERVER,
            "authentication-config.yaml",
            Value::Object(authentication.config.clone()),
        ));
    }
    all
}

fn file(component: &str, name: &str, content: Value) -> File {
    let path = format!("{}/{name}", config_folder(component));
    File::new(path, content.to_string().into_bytes(), 0o400, Owner::both(user_of(component)))
}

fn admission(config: &AdmissionControlConfig) -> Value {
    let plugin = |plugin: &corten_resources::kubernetes::AdmissionPlugin| json!({ "name": plugin.name, "path": "", "configuration": plugin.configuration });
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": config.config.iter().map(plugin).collect::<Vec<_>>(),
    })
}

fn authorization(config: &AuthorizationConfig) -> Value {
    let authorizer = |one: &corten_resources::kubernetes::Authorizer| {
        let mut object = Object::new();
        object.insert("type".into(), json!(one.kind));
        object.insert("name".into(), json!(one.name));
        if !one.webhook.is_empty() {
            object.insert("webhook".into(), Value::Object(one.webhook.clone()));
        }
        object
    };
    json!({
        "apiVersion": format!("apiserver.config.k8s.io/{}", structured_version(&config.image, 32)),
        "kind": "AuthorizationConfiguration",
        "authorizers": config.config.iter().map(authorizer).collect::<Vec<_>>(),
    })
}

/// Version of a structured configuration file that graduated with Kubernetes 1.`stable_since`.
#[must_use]
pub fn structured_version(image: &str, stable_since: u32) -> &'static str {
    match images::minor_version(image) {
        Some(version) if version < (1, stable_since) => "v1beta1",
        _ => "v1",
    }
}
