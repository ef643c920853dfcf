//! Arguments of kube-apiserver.

use corten_resources::kubernetes::ApiServerConfig;
use corten_resources::secrets::KubernetesRoot;

use super::{API_SERVER, config_folder, secrets_folder};
use crate::arguments::{Arguments, Policy, Refused};

/// Lists that a user adds to, never replaces.
const ADDITIVE: [&str; 5] =
    ["enable-admission-plugins", "feature-gates", "authorization-mode", "api-audiences", "runtime-config"];

/// Arguments that tie the component to the machine's files.
const PROTECTED: [&str; 13] = [
    "etcd-servers",
    "client-ca-file",
    "requestheader-client-ca-file",
    "proxy-client-cert-file",
    "proxy-client-key-file",
    "etcd-cafile",
    "etcd-certfile",
    "etcd-keyfile",
    "kubelet-client-certificate",
    "kubelet-client-key",
    "tls-cert-file",
    "tls-private-key-file",
    "service-account-signing-key-file",
];

fn policy(name: &str) -> Policy {
    if PROTECTED.contains(&name) {
        Policy::Refuse
    } else if ADDITIVE.contains(&name) {
        Policy::Add
    } else {
        Policy::Replace
    }
}

/// The whole command line, program first.
///
/// # Errors
/// When the user sets an argument that must not be set.
pub fn arguments(config: &ApiServerConfig, root: &KubernetesRoot) -> Result<Vec<String>, Refused> {
    let extra = crate::arguments_of(&config.extra_args);
    let own_authorization = extra.contains_key("authorization-mode")
        || extra.keys().any(|k| k.starts_with("authorization-webhook-"));
    let own_authentication = extra.contains_key("authentication-config")
        || extra.keys().any(|k| k == "anonymous-auth" || k.starts_with("oidc-"));
    let mut arguments = base(config, root);
    arguments = if own_authorization {
        arguments.with("authorization-mode", "Node,RBAC")
    } else {
        arguments
            .with("authorization-config", format!("{}/authorization-config.yaml", config_folder(API_SERVER)))
    };
    if config.use_authentication_config && !own_authentication {
        arguments = arguments.with(
            "authentication-config",
            format!("{}/authentication-config.yaml", config_folder(API_SERVER)),
        );
    } else if !extra.contains_key("authentication-config") {
        arguments = arguments.with("anonymous-auth", "false");
    }
    if encrypts(root) {
        arguments = arguments.with(
            "encryption-provider-config",
            format!("{}/encryptionconfig.yaml", secrets_folder(API_SERVER)),
        );
    }
    let arguments = files(arguments).merge(&extra, policy)?;
    Ok(std::iter::once("/usr/local/bin/kube-apiserver".to_owned()).chain(arguments.render()).collect())
}

/// Whether secrets are encrypted at rest.
#[must_use]
pub fn encrypts(root: &KubernetesRoot) -> bool {
    [&root.etcd_encryption_config, &root.secretbox_encryption_secret, &root.aescbc_encryption_secret]
        .iter()
        .any(|text| !text.is_empty())
}

fn base(config: &ApiServerConfig, root: &KubernetesRoot) -> Arguments {
    let dual = config.service_cidrs.iter().any(|subnet| subnet.contains(':'));
    let issuer = if root.issuer_url.is_empty() { &config.control_plane_endpoint } else { &root.issuer_url };
    let audiences = if root.api_audiences.is_empty() { issuer.clone() } else { root.api_audiences.join(",") };
    // The first one issues; tokens of all are accepted.
    let issuers = std::iter::once(issuer).chain(&root.accepted_issuers).cloned();
    Arguments::new()
        .with("advertise-address", config.advertised_address.as_str())
        .with("allow-privileged", "true")
        .with("api-audiences", audiences)
        .with("audit-log-maxage", "30")
        .with("audit-log-maxbackup", "10")
        .with("audit-log-maxsize", "100")
        .with("audit-log-path", format!("{AUDIT_LOG_FOLDER}/kube-apiserver.log"))
        .with("bind-address", if dual { "::" } else { "0.0.0.0" })
        .with("enable-admission-plugins", "NodeRestriction")
        .with("enable-bootstrap-token-auth", "true")
        .with("etcd-servers", config.etcd_servers.join(","))
        .with("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname")
        .with("profiling", "false")
        .with("requestheader-allowed-names", "front-proxy-client")
        .with("requestheader-extra-headers-prefix", "X-Remote-Extra-")
        .with("requestheader-group-headers", "X-Remote-Group")
        .with("requestheader-username-headers", "X-Remote-User")
        .with("secure-port", config.local_port.to_string())
        .with_each("service-account-issuer", issuers)
        .with("service-cluster-ip-range", config.service_cidrs.join(","))
        .with("tls-min-version", "VersionTLS13")
        .with_some(
            "cloud-provider",
            (!config.cloud_provider.is_empty()).then_some(config.cloud_provider.as_str()),
        )
}

/// Where the audit log is on the machine and in the container.
pub const AUDIT_LOG_FOLDER: &str = "/var/log/audit/kube";

fn files(arguments: Arguments) -> Arguments {
    let secret = |name: &str| format!("{}/{name}", secrets_folder(API_SERVER));
    let configuration = |name: &str| format!("{}/{name}", config_folder(API_SERVER));
    arguments
        .with("admission-control-config-file", configuration("admission-control-config.yaml"))
        .with("audit-policy-file", configuration("auditpolicy.yaml"))
        .with("client-ca-file", secret("ca.crt"))
        .with("etcd-cafile", secret("etcd-client-ca.crt"))
        .with("etcd-certfile", secret("etcd-client.crt"))
        .with("etcd-keyfile", secret("etcd-client.key"))
        .with("kubelet-client-certificate", secret("apiserver-kubelet-client.crt"))
        .with("kubelet-client-key", secret("apiserver-kubelet-client.key"))
        .with("proxy-client-cert-file", secret("front-proxy-client.crt"))
        .with("proxy-client-key-file", secret("front-proxy-client.key"))
        .with("requestheader-client-ca-file", secret("aggregator-ca.crt"))
        .with("service-account-key-file", secret("service-account.pub"))
        .with("service-account-signing-key-file", secret("service-account.key"))
        .with("tls-cert-file", secret("apiserver.crt"))
        .with("tls-private-key-file", secret("apiserver.key"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_several_issuers_are_accepted_and_the_first_one_issues() {
        let endpoint = "https://10.5.0.2:6443";
        let config =
            ApiServerConfig { control_plane_endpoint: endpoint.into(), ..ApiServerConfig::default() };
        let of = |root: &KubernetesRoot| {
            let all = arguments(&config, root).expect("valid");
            let named =
                |name: &str| all.iter().filter(|one| one.starts_with(name)).cloned().collect::<Vec<_>>();
            (named("--service-account-issuer="), named("--api-audiences="))
        };
        let alone = of(&KubernetesRoot::default());
        assert_eq!(alone.0, [format!("--service-account-issuer={endpoint}")]);
        assert_eq!(alone.1, [format!("--api-audiences={endpoint}")]);
        let (issuers, audiences) = of(&KubernetesRoot {
            issuer_url: "https://a".into(),
            accepted_issuers: vec!["https://b".into()],
            api_audiences: vec!["x".into(), "y".into()],
            ..KubernetesRoot::default()
        });
        assert_eq!(issuers, ["--service-account-issuer=https://a", "--service-account-issuer=https://b"]);
        assert_eq!(audiences, ["--api-audiences=x,y"]);
    }
}
