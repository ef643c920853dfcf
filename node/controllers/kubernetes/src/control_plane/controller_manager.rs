//! Arguments of kube-controller-manager.

use corten_resources::kubernetes::ControllerManagerConfig;

use super::{CONTROLLER_MANAGER, secrets_folder};
use crate::arguments::{Arguments, Policy, Refused};

const PROTECTED: [&str; 7] = [
    "cluster-signing-cert-file",
    "cluster-signing-key-file",
    "authentication-kubeconfig",
    "authorization-kubeconfig",
    "kubeconfig",
    "root-ca-file",
    "service-account-private-key-file",
];

fn policy(name: &str) -> Policy {
    match name {
        "controllers" | "feature-gates" => Policy::Add,
        name if PROTECTED.contains(&name) => Policy::Refuse,
        _ => Policy::Replace,
    }
}

/// The whole command line, program first.
///
/// # Errors
/// When the user sets an argument that must not be set.
pub fn arguments(config: &ControllerManagerConfig) -> Result<Vec<String>, Refused> {
    let secret = |name: &str| format!("{}/{name}", secrets_folder(CONTROLLER_MANAGER));
    let mask = |size: i64| (size > 0).then(|| size.to_string());
    let dual = config.pod_cidrs.len() > 1;
    let (v4, v6) = (mask(config.node_cidr_mask_size_ipv4), mask(config.node_cidr_mask_size_ipv6));
    let only_v6 = config.pod_cidrs.first().is_some_and(|subnet| subnet.contains(':'));
    let arguments = Arguments::new()
        .with("allocate-node-cidrs", "true")
        .with("authentication-kubeconfig", secret("kubeconfig"))
        .with("authorization-kubeconfig", secret("kubeconfig"))
        .with("bind-address", "127.0.0.1")
        .with("cluster-cidr", config.pod_cidrs.join(","))
        .with("cluster-signing-cert-file", secret("ca.crt"))
        .with("cluster-signing-key-file", secret("ca.key"))
        .with("configure-cloud-routes", "false")
        .with("controllers", "*,tokencleaner")
        // Its controllers start one after another, each with a service account of its own; at the usual 20 requests a
        // second that alone is six seconds.
        .with("kube-api-burst", "200")
        .with("kube-api-qps", "100")
        .with("kubeconfig", secret("kubeconfig"))
        .with("leader-elect", "true")
        .with_some(
            "node-cidr-mask-size",
            if dual {
                None
            } else if only_v6 {
                v6.clone()
            } else {
                v4.clone()
            },
        )
        .with_some("node-cidr-mask-size-ipv4", if dual { v4 } else { None })
        .with_some("node-cidr-mask-size-ipv6", if dual { v6 } else { None })
        .with("profiling", "false")
        .with("root-ca-file", secret("ca-bundle.crt"))
        .with("service-account-private-key-file", secret("service-account.key"))
        .with("service-cluster-ip-range", config.service_cidrs.join(","))
        .with("tls-min-version", "VersionTLS13")
        .with("use-service-account-credentials", "true")
        .with_some(
            "cloud-provider",
            (!config.cloud_provider.is_empty()).then_some(config.cloud_provider.as_str()),
        )
        .merge(&crate::arguments_of(&config.extra_args), policy)?;
    Ok(std::iter::once("/usr/local/bin/kube-controller-manager".to_owned())
        .chain(arguments.render())
        .collect())
}
