//! Arguments and configuration file of kube-scheduler.

use corten_resource::Object;
use corten_resources::kubernetes::SchedulerConfig;
use serde_json::json;

use super::{SCHEDULER, config_folder, secrets_folder};
use crate::arguments::{Arguments, Policy, Refused};

const PROTECTED: [&str; 4] =
    ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig", "config"];

fn policy(name: &str) -> Policy {
    match name {
        "feature-gates" => Policy::Add,
        name if PROTECTED.contains(&name) => Policy::Refuse,
        _ => Policy::Replace,
    }
}

/// The whole command line, program first.
///
/// # Errors
/// When the user sets an argument that must not be set.
pub fn arguments(config: &SchedulerConfig) -> Result<Vec<String>, Refused> {
    let kubeconfig = format!("{}/kubeconfig", secrets_folder(SCHEDULER));
    let arguments = Arguments::new()
        .with("authentication-kubeconfig", kubeconfig.as_str())
        .with("authentication-tolerate-lookup-failure", "false")
        .with("authorization-kubeconfig", kubeconfig.as_str())
        .with("bind-address", "127.0.0.1")
        .with("config", format!("{}/scheduler-config.yaml", config_folder(SCHEDULER)))
        .with("leader-elect", "true")
        .with("profiling", "false")
        .with("tls-min-version", "VersionTLS13")
        .merge(&crate::arguments_of(&config.extra_args), policy)?;
    Ok(std::iter::once("/usr/local/bin/kube-scheduler".to_owned()).chain(arguments.render()).collect())
}

/// The configuration file: the user's fields, our connection.
#[must_use]
pub fn configuration(config: &SchedulerConfig) -> Object {
    let mut file = config.config.clone();
    file.entry("apiVersion").or_insert_with(|| json!("kubescheduler.config.k8s.io/v1"));
    file.insert("kind".into(), json!("KubeSchedulerConfiguration"));
    let kubeconfig = format!("{}/kubeconfig", secrets_folder(SCHEDULER));
    file.insert("clientConnection".into(), json!({ "kubeconfig": kubeconfig }));
    file
}
