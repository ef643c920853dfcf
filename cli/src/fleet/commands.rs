//! The commands of `fleet`, one file each; a command with subcommands is one file as well.

pub mod apply;
pub mod audit_log;
pub mod cluster_delete;
pub mod cluster_machine;
pub mod cluster_status;
pub mod cluster_template;
pub mod cluster_verbs;
pub mod config;
pub mod configure;
pub mod delete;
pub mod edit;
pub mod get;
pub mod infra_provider;
pub mod join_token;
pub mod join_token_use;
pub mod kubeconfig;
pub mod machine;
pub mod machine_logs;
pub mod media;
pub mod media_download;
pub mod media_preset;
pub mod service_account;
pub mod support;
pub mod talosconfig;
pub mod user;
