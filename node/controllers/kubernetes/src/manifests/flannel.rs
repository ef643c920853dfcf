//! Flannel: pod traffic between nodes over VXLAN, masquerading through nftables.
//!
//! The daemon only makes the tunnel and writes its subnet file; each machine renders the CNI configuration from that file itself, so the
//! image needs neither a shell nor a plugin.

use corten_resource::Object;
use corten_resources::kubernetes::BootstrapManifestsConfig;
use serde_json::{Value, json};

use super::{Rendered, Subject, binding, config_map, resources, role, service_account};
use crate::control_plane::pods::into_object;

/// The manifest.
#[must_use]
pub fn manifest(config: &BootstrapManifestsConfig) -> Rendered {
    let rules: &[(&[&str], &[&str], &[&str])] = &[
        (&[""], &["pods"], &["get"]),
        (&[""], &["nodes"], &["get", "list", "watch"]),
        (&[""], &["nodes/status"], &["patch"]),
    ];
    let objects = vec![
        role("flannel", rules),
        binding("flannel", "flannel", &[Subject::Account("flannel")]),
        service_account("flannel"),
        config_map("kube-flannel-cfg", &json!({ "net-conf.json": network(config).to_string() })),
        daemon_set(config),
    ];
    ("05-flannel", objects)
}

fn network(config: &BootstrapManifestsConfig) -> Value {
    let mut backend = config.flannel_backend_extra_config.clone();
    backend.insert("Type".into(), json!(config.flannel_backend_type));
    if config.flannel_backend_port != 0 {
        backend.insert("Port".into(), json!(config.flannel_backend_port));
    }
    if config.flannel_backend_mtu != 0 {
        backend.insert("MTU".into(), json!(config.flannel_backend_mtu));
    }
    let v4 = config.pod_cidrs.iter().find(|subnet| !subnet.contains(':'));
    let v6 = config.pod_cidrs.iter().find(|subnet| subnet.contains(':'));
    let mut network = json!({ "EnableNFTables": true, "Backend": backend });
    match v4 {
        Some(subnet) => network["Network"] = json!(subnet),
        None => network["EnableIPv4"] = json!(false),
    }
    if let Some(subnet) = v6 {
        network["EnableIPv6"] = json!(true);
        network["IPv6Network"] = json!(subnet);
    }
    network
}

fn daemon_set(config: &BootstrapManifestsConfig) -> Object {
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mut environment = vec![
        field("POD_NAME", "metadata.name"),
        field("POD_NAMESPACE", "metadata.namespace"),
        field("POD_IP", "status.podIP"),
        json!({ "name": "EVENT_QUEUE_DEPTH", "value": "5000" }),
        json!({ "name": "CONT_WHEN_CACHE_NOT_READY", "value": "false" }),
    ];
    if !config.flannel_kube_service_host.is_empty() {
        environment
            .push(json!({ "name": "KUBERNETES_SERVICE_HOST", "value": config.flannel_kube_service_host }));
        environment
            .push(json!({ "name": "KUBERNETES_SERVICE_PORT", "value": config.flannel_kube_service_port }));
    }
    let mut args = vec!["--ip-masq".to_owned(), "--kube-subnet-mgr".to_owned()];
    args.extend(config.flannel_extra_args.iter().cloned());
    if !args.iter().any(|arg| arg.trim_start_matches('-').starts_with("iface")) {
        // The address that Kubernetes knows the node by. Flannel's own choice needs a default route, which not every
        // network has.
        args.push("--iface=$(POD_IP)".to_owned());
    }
    let labels = json!({ "tier": "node", "k8s-app": "flannel" });
    into_object(json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "kube-flannel", "namespace": "kube-system", "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "hostNetwork": true,
                    "priorityClassName": "system-node-critical",
                    "serviceAccountName": "flannel",
                    "tolerations": [
                        { "effect": "NoSchedule", "operator": "Exists" },
                        { "effect": "NoExecute", "operator": "Exists" },
                    ],
                    "containers": [{
                        "name": "kube-flannel",
                        "image": config.flannel_image,
                        "command": ["/opt/bin/flanneld"],
                        "args": args,
                        "env": environment,
                        "resources": resources(&[("cpu", "100m"), ("memory", "50Mi")], &config.flannel_resources),
                        "securityContext": { "privileged": false, "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] } },
                        "volumeMounts": [
                            { "name": "run", "mountPath": "/run/flannel" },
                            { "name": "flannel-cfg", "mountPath": "/etc/kube-flannel/" },
                        ],
                    }],
                    "volumes": [
                        { "name": "run", "hostPath": { "path": "/run/flannel", "type": "DirectoryOrCreate" } },
                        { "name": "flannel-cfg", "configMap": { "name": "kube-flannel-cfg" } },
                    ],
                },
            },
        },
    }))
}
