//! kube-proxy in nftables mode.

use std::collections::BTreeMap;

use corten_resource::Object;
use corten_resources::kubernetes::BootstrapManifestsConfig;
use serde_json::json;

use super::{Rendered, Subject, binding, resources, service_account};
use crate::arguments::{Arguments, Policy};
use crate::control_plane::pods::into_object;

/// The manifest.
#[must_use]
pub fn manifest(config: &BootstrapManifestsConfig) -> Rendered {
    let objects = vec![
        service_account("kube-proxy"),
        binding("kube-proxy", "system:node-proxier", &[Subject::Account("kube-proxy")]),
        daemon_set(config),
    ];
    ("10-kube-proxy", objects)
}

/// Arguments, the user's over ours.
#[must_use]
pub fn arguments(pod_cidrs: &[String], mode: &str, extra: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let feature_gates = |name: &str| if name == "feature-gates" { Policy::Add } else { Policy::Replace };
    let ours = Arguments::new()
        .with("cluster-cidr", pod_cidrs.join(","))
        // Zero leaves the kernel's values: a node may share its kernel with others.
        .with("conntrack-max-per-core", "0")
        .with("conntrack-min", "0")
        .with("conntrack-tcp-timeout-close-wait", "0s")
        .with("conntrack-tcp-timeout-established", "0s")
        .with("hostname-override", "$(NODE_NAME)")
        .with("kubeconfig", "/etc/kubernetes/kubeconfig")
        .with("proxy-mode", mode);
    ours.clone().merge(extra, feature_gates).unwrap_or(ours).render()
}

fn daemon_set(config: &BootstrapManifestsConfig) -> Object {
    let labels = json!({ "tier": "node", "k8s-app": "kube-proxy" });
    let mut command = vec!["/usr/local/bin/kube-proxy".to_owned()];
    command.extend(config.proxy_args.iter().cloned());
    into_object(json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "kube-proxy", "namespace": "kube-system", "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "hostNetwork": true,
                    "priorityClassName": "system-cluster-critical",
                    "serviceAccountName": "kube-proxy",
                    "tolerations": [
                        { "effect": "NoSchedule", "operator": "Exists" },
                        { "effect": "NoExecute", "operator": "Exists" },
                    ],
                    "containers": [{
                        "name": "kube-proxy",
                        "image": config.proxy_image,
                        "command": command,
                        "env": [
                            { "name": "NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
                            { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                        ],
                        "resources": resources(&[], &config.proxy_resources),
                        "securityContext": { "privileged": true },
                        "volumeMounts": [
                            { "name": "lib-modules", "mountPath": "/lib/modules", "readOnly": true },
                            { "name": "kubeconfig", "mountPath": "/etc/kubernetes", "readOnly": true },
                        ],
                    }],
                    "volumes": [
                        { "name": "lib-modules", "hostPath": { "path": "/lib/modules" } },
                        { "name": "kubeconfig", "configMap": { "name": "kubeconfig-in-cluster" } },
                    ],
                },
            },
        },
    }))
}
