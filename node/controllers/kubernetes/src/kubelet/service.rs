//! The kubelet's files and container.

use std::time::Duration;

use corten_base::paths;
use corten_kubernetes::Kubeconfig;
use corten_kubernetes::kubeconfig::Material;
use corten_resources::kubernetes::{KubeletSpec, Mount};
use corten_resources::network::{HostDnsConfig, ResolverStatus};
use corten_resources::secrets::KubeletSecrets;
use corten_resources::service::{
    ContainerMount, ContainerRun, HealthCheck, HealthProbe, Restart, Runner, ServiceDirectory, ServiceSpec,
};
use serde_json::Value;

use super::{
    BOOTSTRAP_KUBECONFIG, CA_FILE, CONFIG_FILE, CREDENTIAL_PROVIDER_CONFIG, PKI_FOLDER, RESOLV_CONF,
};
use crate::control_plane::{API_SERVER, api_server, user_of};
use crate::files::{self, File, Owner};

/// Most servers that a resolver asks.
const SERVERS_MAX: usize = 3;

/// The files that the kubelet reads, except its own identity.
#[must_use]
pub fn files(spec: &KubeletSpec, secrets: &KubeletSecrets) -> Vec<File> {
    let file = |path: &str, content: Vec<u8>, mode: u32| File::new(path, content, mode, Owner::ROOT);
    let cas: Vec<u8> = secrets.accepted_cas.iter().flat_map(|ca| ca.crt.clone()).collect();
    let token = format!("{}.{}", secrets.bootstrap_token_id, secrets.bootstrap_token_secret);
    let bootstrap = bootstrap_kubeconfig(secrets, &cas, &token);
    let mut all = vec![
        file(CONFIG_FILE, Value::Object(spec.config.clone()).to_string().into_bytes(), 0o600),
        file(CA_FILE, cas, 0o400),
        file(BOOTSTRAP_KUBECONFIG, bootstrap.into_bytes(), 0o600),
    ];
    if !spec.credential_provider_config.is_empty() {
        let content = Value::Object(spec.credential_provider_config.clone()).to_string();
        all.push(file(CREDENTIAL_PROVIDER_CONFIG, content.into_bytes(), 0o600));
    }
    all
}

fn bootstrap_kubeconfig(secrets: &KubeletSecrets, cas: &[u8], token: &str) -> String {
    let config = Kubeconfig {
        cluster: "local".into(),
        user: "kubelet".into(),
        context: "local".into(),
        server: secrets.endpoint.clone(),
        server_name: secrets.endpoint_tls_server_name.clone(),
        ca: Material::inline(cas),
        token: Material::inline(token),
        ..Kubeconfig::default()
    };
    config.render().reveal().clone()
}

/// What pods that use the machine's resolver are told: the host's resolver at its address for pods, or the servers themselves. The loopback
/// address that the machine uses would be the pod's own there.
#[must_use]
pub fn resolv_conf(host: Option<&HostDnsConfig>, resolvers: Option<&ResolverStatus>) -> File {
    let for_pods = host.filter(|host| host.enabled).map(|host| {
        host.service_host_dns_address.into_iter().chain(host.service_host_dns_address_v6).collect::<Vec<_>>()
    });
    let upstream = || resolvers.map(|resolvers| resolvers.dns_servers.clone()).unwrap_or_default();
    let servers = for_pods.filter(|servers| !servers.is_empty()).unwrap_or_else(upstream);
    let mut text: String =
        servers.iter().take(SERVERS_MAX).map(|server| format!("nameserver {server}\n")).collect();
    if let Some(resolvers) = resolvers.filter(|resolvers| !resolvers.search_domains.is_empty()) {
        text.push_str(&format!("search {}\n", resolvers.search_domains.join(" ")));
    }
    File::new(RESOLV_CONF, text, 0o644, Owner::ROOT)
}

/// The kubelet as a service.
#[must_use]
pub fn service(spec: &KubeletSpec, files: &[File], waiting_for: Vec<String>) -> ServiceSpec {
    let mut args = vec!["/usr/local/bin/kubelet".to_owned()];
    args.extend(spec.args.iter().cloned());
    let container = ContainerRun {
        namespace: "system".into(),
        image: spec.image.clone(),
        args,
        mounts: mounts().into_iter().chain(spec.extra_mounts.iter().map(extra_mount)).collect(),
        privileged: true,
        host_pid: true,
        cgroup: "/podruntime/kubelet".into(),
        oom_score_adjust: -900,
        rootfs_propagation: "shared".into(),
        directories: directories(),
        ..ContainerRun::default()
    };
    ServiceSpec {
        runner: Runner::Container,
        container,
        waiting_for,
        health: HealthCheck {
            probe: HealthProbe::Http,
            target: "http://127.0.0.1:10248/healthz".into(),
            initial_delay: Duration::from_secs(2),
            period: Duration::from_secs(5),
            timeout: Duration::from_millis(500),
        },
        restart: Restart::Always,
        revision: files::version(files),
        control: true,
        ..ServiceSpec::default()
    }
}

fn mounts() -> Vec<ContainerMount> {
    let bind = |source: &str, destination: &str, options: &[&str]| ContainerMount {
        destination: destination.into(),
        kind: "bind".into(),
        source: source.into(),
        options: std::iter::once("rbind").chain(options.iter().copied()).map(Into::into).collect(),
    };
    let both = |path: &str, options: &[&str]| bind(path, path, options);
    vec![
        both("/dev", &["rshared", "rw"]),
        both("/sys", &["rshared", "rw"]),
        both("/lib/modules", &["ro"]),
        both("/etc/machine-id", &["ro"]),
        both("/etc/os-release", &["ro"]),
        both("/etc/hosts", &["ro"]),
        both("/etc/resolv.conf", &["ro"]),
        both("/etc/kubernetes", &["rshared", "rw"]),
        both("/etc/cni", &["rshared", "rw"]),
        bind("/run", "/run", &["rshared", "rw"]),
        bind("/run", "/var/run", &["rshared", "rw"]),
        both(paths::IMAGE_STORE, &["rshared", "rw"]),
        both("/var/lib/kubelet", &["rshared", "rw"]),
        // Volumes for workloads, also those that are mounted later.
        both("/var/mnt", &["rshared", "rw"]),
        both("/var/log/containers", &["rw"]),
        both("/var/log/pods", &["rw"]),
    ]
}

fn extra_mount(mount: &Mount) -> ContainerMount {
    ContainerMount {
        destination: mount.destination.clone(),
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        options: mount.options.clone(),
    }
}

fn directories() -> Vec<ServiceDirectory> {
    let folder =
        |path: &str, mode: u32| ServiceDirectory { path: path.into(), mode, ..ServiceDirectory::default() };
    let audit = user_of(API_SERVER);
    vec![
        folder("/var/lib/kubelet", 0o700),
        folder(PKI_FOLDER, 0o700),
        folder("/var/lib/kubelet/volumeplugins", 0o700),
        folder("/var/mnt", 0o755),
        folder("/var/log/containers", 0o755),
        folder("/var/log/pods", 0o755),
        // The audit log is written by kube-apiserver, which is nobody in particular.
        ServiceDirectory { path: api_server::AUDIT_LOG_FOLDER.into(), mode: 0o700, uid: audit, gid: audit },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_told_of_a_resolver_that_they_can_reach() {
        let text = |host: Option<&HostDnsConfig>, resolvers: &ResolverStatus| {
            String::from_utf8(resolv_conf(host, Some(resolvers)).content).expect("text")
        };
        let ip = |text: &str| text.parse().expect("an address");
        let resolvers = ResolverStatus {
            dns_servers: vec![ip("10.0.0.1")],
            search_domains: vec!["x.example".into()],
            ..ResolverStatus::default()
        };
        let host = HostDnsConfig {
            enabled: true,
            service_host_dns_address: Some(ip("169.254.116.108")),
            ..HostDnsConfig::default()
        };
        assert_eq!(text(Some(&host), &resolvers), "nameserver 169.254.116.108\nsearch x.example\n");
        assert_eq!(text(None, &resolvers), "nameserver 10.0.0.1\nsearch x.example\n");
        let for_machine_only = HostDnsConfig { enabled: true, ..HostDnsConfig::default() };
        assert_eq!(text(Some(&for_machine_only), &resolvers), "nameserver 10.0.0.1\nsearch x.example\n");
    }
}
