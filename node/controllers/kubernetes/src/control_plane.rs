//! The control plane on this machine: files, arguments and static pods of its three components.
//!
//!     machine configuration ──▶ *Configs (intent) ──▶ arguments ──▶ final *Configs
//!     *Configs + secrets ──▶ files ──▶ ConfigStatus, SecretStatus ──▶ StaticPods ──▶ the data plane's list ──▶ kubelet

pub mod api_server;
pub mod config_files;
pub mod controller_manager;
pub mod intent;
pub mod pods;
pub mod probe;
pub mod publish;
pub mod readiness;
pub mod render;
pub mod scheduler;
pub mod secret_files;
pub mod static_pods;
pub mod user_pods;

/// Folder of a component's keys and certificates.
#[must_use]
pub fn secrets_folder(component: &str) -> String {
    format!("{}/kubernetes/{component}", corten_base::paths::SECRETS)
}

/// Folder of a component's configuration files.
#[must_use]
pub fn config_folder(component: &str) -> String {
    format!("{}/kubernetes/{component}", corten_base::paths::CONFIG)
}

/// kube-apiserver.
pub const API_SERVER: &str = "kube-apiserver";
/// kube-controller-manager.
pub const CONTROLLER_MANAGER: &str = "kube-controller-manager";
/// kube-scheduler.
pub const SCHEDULER: &str = "kube-scheduler";

/// User (and group) that a component runs as.
#[must_use]
pub fn user_of(component: &str) -> u32 {
    match component {
        API_SERVER => 65_534,
        CONTROLLER_MANAGER => 65_535,
        _ => 65_536,
    }
}
