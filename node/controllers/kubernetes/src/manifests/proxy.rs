//! kube-proxy in nftables mode.

use std::collections::BTreeMap;

use corten_config::view::Proxy;
use corten_resource::Object;
use corten_resources::kubernetes::BootstrapManifestsConfig;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Rendered, Subject, binding, config_map, resources, service_account};
use crate::arguments::{Arguments, Policy};
use crate::control_plane::pods::into_object;

/// The manifest.
#[must_use]
pub fn manifest(config: &BootstrapManifestsConfig) -> Rendered {
    let mut objects = vec![
        service_account("kube-proxy"),
        binding("kube-proxy", "system:node-proxier", &[Subject::Account("kube-proxy")]),
    ];
    if !config.proxy_config.is_empty() {
        let text = Value::Object(config.proxy_config.clone()).to_string();
        objects.push(config_map(CONFIG_MAP, &json!({ CONFIG_KEY: text })));
    }
    objects.push(daemon_set(config));
    ("10-kube-proxy", objects)
}

/// The config map with the file, and the file's name in it.
const CONFIG_MAP: &str = "kube-proxy-config";
const CONFIG_KEY: &str = "config.conf";
/// Where the file is in the container.
const CONFIG_FOLDER: &str = "/var/lib/kube-proxy";
const KUBECONFIG: &str = "/etc/kubernetes/kubeconfig";

/// How kube-proxy is told what to do.
#[derive(Debug, Default)]
pub struct Configured {
    /// Arguments, the program apart.
    pub arguments: Vec<String>,
    /// Its configuration file; empty when there is none.
    pub file: Object,
    /// Identifies the file; a change restarts the pods.
    pub checksum: String,
}

/// By a file when a document of its own configures it, by arguments otherwise.
#[must_use]
pub fn configured(given: &Proxy, pod_cidrs: &[String]) -> Configured {
    if !given.uses_file {
        let arguments = arguments(pod_cidrs, &given.mode, &given.extra_args);
        return Configured { arguments, ..Configured::default() };
    }
    let file = file(given, pod_cidrs);
    let checksum = hex::encode(&Sha256::digest(Value::Object(file.clone()).to_string())[..]);
    let ours = Arguments::new()
        .with("config", format!("{CONFIG_FOLDER}/{CONFIG_KEY}"))
        .with("hostname-override", "$(NODE_NAME)");
    let policy = |name: &str| if name == "config" { Policy::Refuse } else { Policy::Replace };
    let arguments = ours.clone().merge(&given.extra_args, policy).unwrap_or(ours).render();
    Configured { arguments, file, checksum }
}

/// The user's fields, and ours where the user has none.
fn file(given: &Proxy, pod_cidrs: &[String]) -> Object {
    let mut file = given.config.clone();
    file.insert("apiVersion".into(), json!("kubeproxy.config.k8s.io/v1alpha1"));
    file.insert("kind".into(), json!("KubeProxyConfiguration"));
    file.entry("clusterCIDR").or_insert_with(|| json!(pod_cidrs.join(",")));
    file.entry("mode").or_insert_with(|| json!(given.mode));
    let mut part = |name: &str, key: &str, value: Value, is_ours: bool| {
        let part = file.entry(name).or_insert_with(|| json!({}));
        if let Some(part) = part.as_object_mut()
            && (is_ours || !part.contains_key(key))
        {
            part.insert(key.to_owned(), value);
        }
    };
    part("clientConnection", "kubeconfig", json!(KUBECONFIG), true);
    // Zero leaves the kernel's values: a node may share its kernel with others.
    part("conntrack", "maxPerCore", json!(0), false);
    part("conntrack", "min", json!(0), false);
    part("conntrack", "tcpCloseWaitTimeout", json!("0s"), false);
    part("conntrack", "tcpEstablishedTimeout", json!("0s"), false);
    file
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
        .with("kubeconfig", KUBECONFIG)
        .with("proxy-mode", mode);
    ours.clone().merge(extra, feature_gates).unwrap_or(ours).render()
}

fn daemon_set(config: &BootstrapManifestsConfig) -> Object {
    let labels = json!({ "tier": "node", "k8s-app": "kube-proxy" });
    let mut command = vec!["/usr/local/bin/kube-proxy".to_owned()];
    command.extend(config.proxy_args.iter().cloned());
    let mut set = into_object(json!({
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
    }));
    if !config.proxy_config.is_empty() {
        mount_file(&mut set, &config.proxy_config_checksum);
    }
    set
}

/// Puts the file into the container. Its checksum in the template makes pods follow it.
fn mount_file(set: &mut Object, checksum: &str) {
    let template = &mut set["spec"]["template"];
    template["metadata"]["annotations"] = json!({ "talos.dev/kube-proxy-config-checksum": checksum });
    let pod = &mut template["spec"];
    let volume = json!({ "name": "config", "configMap": { "name": CONFIG_MAP } });
    let mount = json!({ "name": "config", "mountPath": CONFIG_FOLDER, "readOnly": true });
    for (list, item) in [("/volumes", volume), ("/containers/0/volumeMounts", mount)] {
        if let Some(list) = pod.pointer_mut(list).and_then(Value::as_array_mut) {
            list.push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(config: Value) -> Proxy {
        Proxy { uses_file: true, mode: "nftables".into(), config: into_object(config), ..Proxy::default() }
    }

    #[test]
    fn a_document_becomes_a_file_with_the_users_fields_first() {
        let pods = ["10.244.0.0/16".to_owned()];
        let users = json!({ "mode": "iptables", "conntrack": { "min": 7 }, "clientConnection": { "kubeconfig": "/x" } });
        let configured = configured(&given(users), &pods);
        assert_eq!(
            configured.arguments,
            ["--config=/var/lib/kube-proxy/config.conf", "--hostname-override=$(NODE_NAME)"]
        );
        let file = Value::Object(configured.file.clone());
        assert_eq!((&file["mode"], &file["clusterCIDR"]), (&json!("iptables"), &json!("10.244.0.0/16")));
        assert_eq!((&file["conntrack"]["min"], &file["conntrack"]["maxPerCore"]), (&json!(7), &json!(0)));
        assert_eq!(file["clientConnection"]["kubeconfig"], KUBECONFIG);
        let rendered = BootstrapManifestsConfig {
            proxy_config: configured.file,
            proxy_config_checksum: configured.checksum.clone(),
            ..BootstrapManifestsConfig::default()
        };
        let objects = manifest(&rendered).1;
        let set = Value::Object(objects.last().expect("a daemon set").clone());
        let annotations = &set["spec"]["template"]["metadata"]["annotations"];
        assert_eq!(annotations["talos.dev/kube-proxy-config-checksum"], configured.checksum);
        assert_eq!(set["spec"]["template"]["spec"]["volumes"][2]["configMap"]["name"], CONFIG_MAP);
        assert_eq!(objects[2]["metadata"]["name"], CONFIG_MAP);
    }

    #[test]
    fn without_a_document_there_is_no_file() {
        let configured = configured(&Proxy { mode: "nftables".into(), ..Proxy::default() }, &[]);
        assert!(configured.file.is_empty() && configured.checksum.is_empty());
        assert!(configured.arguments.contains(&"--proxy-mode=nftables".to_owned()));
        assert_eq!(manifest(&BootstrapManifestsConfig::default()).1.len(), 3);
    }
}
