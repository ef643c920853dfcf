//! CoreDNS: names inside the cluster, everything else forwarded to the machine's resolver.

use corten_resource::Object;
use corten_resources::kubernetes::BootstrapManifestsConfig;
use serde_json::{Value, json};

use super::{Rendered, Subject, binding, config_map, role, service_account};
use crate::control_plane::pods::into_object;

/// Deployment and service as two manifests.
#[must_use]
pub fn manifests(config: &BootstrapManifestsConfig) -> Vec<Rendered> {
    let rules: &[(&[&str], &[&str], &[&str])] = &[
        (&[""], &["endpoints", "services", "pods", "namespaces"], &["list", "watch"]),
        (&[""], &["nodes"], &["get"]),
        (&["discovery.k8s.io"], &["endpointslices"], &["list", "watch"]),
    ];
    let objects = vec![
        service_account("coredns"),
        role("system:coredns", rules),
        binding("system:coredns", "system:coredns", &[Subject::Account("coredns")]),
        config_map("coredns", &json!({ "Corefile": corefile(&config.cluster_domain) })),
        deployment(config),
    ];
    vec![("11-core-dns", objects), ("11-core-dns-svc", vec![service(config)])]
}

fn corefile(domain: &str) -> String {
    let lines = [
        ".:53 {",
        "    errors",
        "    health {",
        "        lameduck 5s",
        "    }",
        "    ready",
        "    log . {",
        "        class error",
        "    }",
        "    prometheus :9153",
        &format!("    kubernetes {domain} in-addr.arpa ip6.arpa {{"),
        "        pods insecure",
        "        fallthrough in-addr.arpa ip6.arpa",
        "        ttl 30",
        "    }",
        "    forward . /etc/resolv.conf {",
        "        max_concurrent 1000",
        "    }",
        "    cache 30 {",
        &format!("        disable success {domain}"),
        &format!("        disable denial {domain}"),
        "    }",
        "    loop",
        "    reload",
        "    loadbalance",
        "}",
        "",
    ];
    lines.join("\n")
}

fn deployment(config: &BootstrapManifestsConfig) -> Object {
    let labels = json!({ "k8s-app": "kube-dns" });
    into_object(json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "coredns",
            "namespace": "kube-system",
            "labels": { "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS" },
        },
        "spec": {
            "replicas": 2,
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } },
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "serviceAccountName": "coredns",
                    "priorityClassName": "system-cluster-critical",
                    "dnsPolicy": "Default",
                    "nodeSelector": { "kubernetes.io/os": "linux" },
                    "tolerations": [
                        { "key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule" },
                        { "key": "node.cloudprovider.kubernetes.io/uninitialized", "operator": "Exists", "effect": "NoSchedule" },
                    ],
                    "affinity": { "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{
                        "weight": 100,
                        "podAffinityTerm": {
                            "labelSelector": { "matchExpressions": [{ "key": "k8s-app", "operator": "In", "values": ["kube-dns"] }] },
                            "topologyKey": "kubernetes.io/hostname",
                        },
                    }] } },
                    "containers": [container(config)],
                    "volumes": [{
                        "name": "config-volume",
                        "configMap": { "name": "coredns", "items": [{ "key": "Corefile", "path": "Corefile" }] },
                    }],
                },
            },
        },
    }))
}

fn container(config: &BootstrapManifestsConfig) -> Value {
    let probe =
        |path: &str, port: u16| json!({ "httpGet": { "path": path, "port": port, "scheme": "HTTP" } });
    let mut liveness = probe("/health", 8080);
    liveness["initialDelaySeconds"] = json!(60);
    liveness["timeoutSeconds"] = json!(5);
    liveness["failureThreshold"] = json!(5);
    let mut readiness = probe("/ready", 8181);
    readiness["periodSeconds"] = json!(2);
    json!({
        "name": "coredns",
        "image": config.core_dns_image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "resources": { "limits": { "memory": "170Mi" }, "requests": { "cpu": "100m", "memory": "70Mi" } },
        "env": [{ "name": "GOMEMLIMIT", "value": "161MiB" }],
        "volumeMounts": [{ "name": "config-volume", "mountPath": "/etc/coredns", "readOnly": true }],
        "ports": [
            { "containerPort": 53, "name": "dns", "protocol": "UDP" },
            { "containerPort": 53, "name": "dns-tcp", "protocol": "TCP" },
            { "containerPort": 9153, "name": "metrics", "protocol": "TCP" },
        ],
        "livenessProbe": liveness,
        "readinessProbe": readiness,
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "add": ["NET_BIND_SERVICE"], "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
    })
}

fn service(config: &BootstrapManifestsConfig) -> Object {
    let ips: Vec<&str> = [config.dns_service_ip.as_str(), config.dns_service_ipv6.as_str()]
        .into_iter()
        .filter(|ip| !ip.is_empty())
        .collect();
    let families: Vec<&str> = ips.iter().map(|ip| if ip.contains(':') { "IPv6" } else { "IPv4" }).collect();
    let port = |name: &str, port: u16, protocol: &str| json!({ "name": name, "port": port, "protocol": protocol, "targetPort": port });
    into_object(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "annotations": { "prometheus.io/port": "9153", "prometheus.io/scrape": "true" },
            "labels": { "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS" },
        },
        "spec": {
            "selector": { "k8s-app": "kube-dns" },
            "clusterIP": ips.first().copied().unwrap_or_default(),
            "clusterIPs": ips,
            "ipFamilies": families,
            "ipFamilyPolicy": if ips.len() > 1 { "RequireDualStack" } else { "SingleStack" },
            "ports": [port("dns", 53, "UDP"), port("dns-tcp", 53, "TCP"), port("metrics", 9153, "TCP")],
        },
    }))
}
