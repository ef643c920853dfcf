//! The kubelet's arguments and configuration, as pure functions of what is configured and known.

use std::net::IpAddr;

use corten_resource::Object;
use corten_resources::kubernetes::KubeletConfig;
use serde_json::{Value, json};

use super::{
    BOOTSTRAP_KUBECONFIG, CA_FILE, CONFIG_FILE, CREDENTIAL_PROVIDER_CONFIG, KUBECONFIG, PKI_FOLDER, PORT,
    RESOLV_CONF,
};
use crate::arguments::{Arguments, Policy, Refused};
use crate::control_plane::pods::into_object;
use crate::machine::Machine;

/// What the specification is made of, besides the configuration.
pub struct Inputs<'a> {
    /// Name of the node.
    pub nodename: &'a str,
    /// Addresses of the node; empty lets a cloud provider say.
    pub node_ips: &'a [IpAddr],
    /// Control planes reserve more.
    pub control_plane: bool,
    /// What the machine is.
    pub machine: Machine,
}

/// Fields of the configuration that are ours alone.
const PROTECTED: [&str; 12] = [
    "apiVersion",
    "kind",
    "authentication",
    "authorization",
    "cgroupRoot",
    "staticPodURL",
    "staticPodPath",
    "port",
    "containerRuntimeEndpoint",
    "kubeletCgroups",
    "rotateCertificates",
    "clusterDomain",
];

const REFUSED: [&str; 5] = ["bootstrap-kubeconfig", "kubeconfig", "config", "cert-dir", "hostname-override"];

/// Why there is no specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// An argument that must not be set.
    #[error(transparent)]
    Argument(#[from] Refused),
    /// A field of the configuration that must not be set.
    #[error("kubelet configuration field {0:?} can't be overridden")]
    Field(String),
}

/// The arguments, without the program.
///
/// # Errors
/// When the user sets an argument that must not be set.
pub fn arguments(config: &KubeletConfig, inputs: &Inputs<'_>) -> Result<Vec<String>, Refused> {
    let ips = inputs.node_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let registers = !config.skip_node_registration;
    let provider = !config.credential_provider_config.is_empty();
    let policy = |name: &str| match name {
        "feature-gates" | "node-labels" => Policy::Add,
        name if REFUSED.contains(&name) => Policy::Refuse,
        _ => Policy::Replace,
    };
    let arguments = Arguments::new()
        .with_some("bootstrap-kubeconfig", registers.then_some(BOOTSTRAP_KUBECONFIG))
        .with_some("kubeconfig", registers.then_some(KUBECONFIG))
        .with("config", CONFIG_FILE)
        .with("cert-dir", PKI_FOLDER)
        .with("hostname-override", inputs.nodename)
        .with_some("node-ip", (!ips.is_empty()).then_some(ips))
        .with_some("cloud-provider", config.cloud_provider_external.then_some("external"))
        .with_some("image-credential-provider-config", provider.then_some(CREDENTIAL_PROVIDER_CONFIG))
        .with_some(
            "image-credential-provider-bin-dir",
            provider.then_some("/usr/local/lib/kubelet/credentialproviders"),
        );
    Ok(arguments.merge(&crate::arguments_of(&config.extra_args), policy)?.render())
}

/// A taint as the configuration file wants it; the machine configuration has `value:effect` or `effect`.
fn taint((key, given): (&String, &String)) -> Value {
    match given.split_once(':') {
        Some((value, effect)) => json!({ "key": key, "value": value, "effect": effect }),
        None => json!({ "key": key, "effect": given }),
    }
}

/// The configuration file.
///
/// # Errors
/// When the user sets a field that must not be set.
pub fn configuration(config: &KubeletConfig, inputs: &Inputs<'_>) -> Result<Object, Invalid> {
    if let Some(field) = config.extra_config.keys().find(|field| PROTECTED.contains(&field.as_str())) {
        return Err(Invalid::Field(field.clone()));
    }
    let mut object = base(config, inputs);
    let node = if inputs.machine.shares_kernel { shared_kernel(inputs.machine) } else { own_kernel() };
    object.extend(node);
    if !config.skip_node_registration {
        object.insert("authorization".into(), json!({ "mode": "Webhook" }));
        let authentication = json!({
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": CA_FILE },
        });
        object.insert("authentication".into(), authentication);
    } else {
        object.insert("authorization".into(), json!({ "mode": "AlwaysAllow" }));
        object.insert(
            "authentication".into(),
            json!({ "anonymous": { "enabled": true }, "webhook": { "enabled": false } }),
        );
    }
    if !config.static_pod_list_url.is_empty() {
        object.insert("staticPodURL".into(), json!(config.static_pod_list_url));
        // A local file of a few kilobytes: the control plane's start waits for it, a second is soon enough.
        object.insert("httpCheckFrequency".into(), json!("1s"));
    }
    if !config.register_with_taints.is_empty() {
        let taints: Vec<Value> = config.register_with_taints.iter().map(taint).collect();
        object.insert("registerWithTaints".into(), json!(taints));
    }
    if !config.disable_manifests_directory {
        object.insert("staticPodPath".into(), json!("/etc/kubernetes/manifests"));
    }
    for (field, value) in &config.extra_config {
        overlay(object.entry(field.clone()).or_insert(Value::Null), value);
    }
    Ok(object)
}

fn base(config: &KubeletConfig, inputs: &Inputs<'_>) -> Object {
    let memory = if inputs.control_plane { "512Mi" } else { "384Mi" };
    into_object(json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "port": PORT,
        "containerRuntimeEndpoint": format!("unix://{}", corten_base::paths::CRI_SOCKET),
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns,
        "cgroupRoot": "/",
        "cgroupDriver": "cgroupfs",
        "failSwapOn": false,
        "memorySwap": { "swapBehavior": "NoSwap" },
        "logging": { "format": "json" },
        "makeIPTablesUtilChains": false,
        "nodeStatusUpdateFrequency": "10s",
        "oomScoreAdj": -450,
        "resolvConf": RESOLV_CONF,
        "rotateCertificates": true,
        "seccompDefault": config.default_runtime_seccomp_enabled,
        "serializeImagePulls": false,
        "streamingConnectionIdleTimeout": "5m0s",
        "systemReserved": {
            "cpu": "50m", "memory": memory, "pid": "100", "ephemeral-storage": "256Mi",
        },
        "tlsMinVersion": "VersionTLS13",
        "volumePluginDir": "/var/lib/kubelet/volumeplugins",
        "localStorageCapacityIsolation": true,
    }))
}

/// A machine with its own kernel: cgroup v2 and our own groups.
fn own_kernel() -> Object {
    into_object(json!({
        "kubeletCgroups": "/podruntime/kubelet",
        "featureGates": { "LocalStorageCapacityIsolationFSQuotaMonitoring": false },
    }))
}

/// A machine in namespaces of a host: the disk is the host's, and so may be the generation of cgroups.
fn shared_kernel(machine: Machine) -> Object {
    let mut object = into_object(json!({
        "evictionHard": {
            "memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%",
            "imagefs.available": "1%", "imagefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
    }));
    if !machine.cgroup_v2 {
        object.insert("failCgroupV1".into(), json!(false));
    }
    object
}

/// Lays the user's value over ours: objects merge, everything else replaces.
fn overlay(ours: &mut Value, users: &Value) {
    match (ours, users) {
        (Value::Object(ours), Value::Object(users)) => {
            for (key, value) in users {
                overlay(ours.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (ours, users) => *ours = users.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE_IPS: &[IpAddr] = &[IpAddr::V4(std::net::Ipv4Addr::new(10, 5, 0, 2))];

    fn inputs(machine: Machine) -> Inputs<'static> {
        Inputs { nodename: "talos-1", node_ips: NODE_IPS, control_plane: true, machine }
    }

    fn own() -> Machine {
        Machine { shares_kernel: false, cgroup_v2: true }
    }

    #[test]
    fn arguments_name_the_node_and_its_files() {
        let config = KubeletConfig::default();
        let all = arguments(&config, &inputs(own())).expect("valid");
        for wanted in [
            "--hostname-override=talos-1",
            "--node-ip=10.5.0.2",
            "--kubeconfig=/etc/kubernetes/kubeconfig-kubelet",
        ] {
            assert!(all.iter().any(|argument| argument == wanted), "{wanted} in {all:?}");
        }
    }

    #[test]
    fn taints_are_set_at_registration() {
        let mut config = KubeletConfig::default();
        config.register_with_taints.insert("a".into(), "NoSchedule".into());
        config.register_with_taints.insert("b".into(), "x:NoExecute".into());
        let object = configuration(&config, &inputs(own())).expect("valid");
        let taints = json!([{ "key": "a", "effect": "NoSchedule" }, { "key": "b", "value": "x", "effect": "NoExecute" }]);
        assert_eq!(object["registerWithTaints"], taints);
    }

    #[test]
    fn the_users_fields_merge_and_ours_are_protected() {
        let extra = into_object(json!({ "systemReserved": { "cpu": "1" }, "maxPods": 200 }));
        let mut config = KubeletConfig { extra_config: extra, ..KubeletConfig::default() };
        let object = configuration(&config, &inputs(own())).expect("valid");
        assert_eq!(object["systemReserved"]["cpu"], "1");
        assert_eq!(object["systemReserved"]["memory"], "512Mi");
        assert_eq!(object["maxPods"], 200);
        config.extra_config = into_object(json!({ "port": 1 }));
        assert_eq!(configuration(&config, &inputs(own())), Err(Invalid::Field("port".into())));
    }

    #[test]
    fn a_shared_kernel_with_old_cgroups_is_accepted() {
        let machine = Machine { shares_kernel: true, cgroup_v2: false };
        let object = configuration(&KubeletConfig::default(), &inputs(machine)).expect("valid");
        assert_eq!(object["failCgroupV1"], false);
        assert!(object.get("kubeletCgroups").is_none());
    }
}
