//! The three static pods as objects. Pure: the same inputs give the same text, and only a changed pod restarts.

use std::collections::BTreeMap;

use corten_resource::Object;
use corten_resources::kubernetes::{ExtraVolume, Resources};
use serde_json::{Value, json};

use super::{API_SERVER, CONTROLLER_MANAGER, api_server, config_folder, secrets_folder, user_of};

/// What differs between the pods.
pub struct Component<'a> {
    /// Name of the component, its pod and its container.
    pub name: &'static str,
    /// Image.
    pub image: &'a str,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment from the configuration.
    pub environment: &'a BTreeMap<String, String>,
    /// Volumes from the configuration.
    pub volumes: &'a [ExtraVolume],
    /// Requests and limits from the configuration.
    pub resources: &'a Resources,
    /// Port of its health endpoints.
    pub port: i64,
    /// Whether a probe of its own guards the start.
    pub startup_probe: bool,
    /// What a restart depends on.
    pub versions: Versions,
}

/// What the pod was rendered from; the kubelet restarts a pod whose annotations changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// Version of the component's `*Configs` resource; clients that upgrade compare it.
    pub config: String,
    /// Identifies the files with secrets.
    pub secrets: String,
    /// Identifies the configuration files.
    pub config_files: String,
}

/// The pod.
#[must_use]
pub fn pod(component: &Component<'_>) -> Object {
    let name = component.name;
    let labels = json!({
        "tier": "control-plane",
        "k8s-app": name,
        "component": name,
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": "control-plane",
        "app.kubernetes.io/managed-by": "Talos",
    });
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "kube-system",
            "annotations": {
                "talos.dev/config-version": component.versions.config,
                "talos.dev/secrets-version": component.versions.secrets,
                "talos.dev/config-file-version": component.versions.config_files,
            },
            "labels": labels,
        },
        "spec": {
            "priority": 2_000_000_000,
            "priorityClassName": "system-cluster-critical",
            "hostNetwork": true,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": user_of(name),
                "runAsGroup": user_of(name),
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [container(component)],
            "volumes": volumes(component),
        },
    });
    into_object(pod)
}

/// The object that a `json!({…})` literal is.
#[must_use]
pub fn into_object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

fn container(component: &Component<'_>) -> Value {
    let mut capabilities = json!({ "drop": ["ALL"] });
    if component.port < 1024 {
        capabilities["add"] = json!(["NET_BIND_SERVICE"]);
    }
    let mut container = json!({
        "name": component.name,
        "image": component.image,
        "command": component.command,
        "env": environment(component),
        "resources": resources(component),
        "volumeMounts": mounts(component),
        "securityContext": { "allowPrivilegeEscalation": false, "capabilities": capabilities },
    });
    // The API server answers these paths without credentials only where the authentication file says so, and its
    // kubelet must not be able to kill it during a long start: a startup probe goes before the liveness probe.
    let probes = probes(component.name);
    for (field, path, period, failures) in
        probes.into_iter().filter(|(field, ..)| component.startup_probe || *field != STARTUP)
    {
        container[field] = json!({
            "httpGet": { "host": "127.0.0.1", "port": component.port, "path": path, "scheme": "HTTPS" },
            "periodSeconds": period,
            "failureThreshold": failures,
            "timeoutSeconds": 15,
        });
    }
    container
}

const STARTUP: &str = "startupProbe";

fn probes(component: &str) -> Vec<(&'static str, &'static str, u32, u32)> {
    if component == API_SERVER {
        vec![
            (STARTUP, "/livez", 2, 150),
            ("livenessProbe", "/livez", 10, 8),
            ("readinessProbe", "/readyz", 2, 3),
        ]
    } else {
        vec![(STARTUP, "/healthz", 2, 150), ("livenessProbe", "/healthz", 10, 8)]
    }
}

fn environment(component: &Component<'_>) -> Value {
    let mut all = Vec::new();
    if component.name == API_SERVER {
        all.push(json!({ "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }));
    }
    let limit = component.resources.limits.get("memory").and_then(|quantity| bytes(quantity));
    if let Some(limit) = limit.filter(|_| !component.environment.contains_key("GOMEMLIMIT")) {
        all.push(json!({ "name": "GOMEMLIMIT", "value": (limit / 20 * 19).to_string() }));
    }
    all.extend(component.environment.iter().map(|(name, value)| json!({ "name": name, "value": value })));
    Value::Array(all)
}

/// Bytes of a quantity as memory limits are usually written; nothing for anything else.
fn bytes(quantity: &str) -> Option<u64> {
    const UNITS: [(&str, u32, u32); 8] = [
        ("Ki", 2, 10),
        ("Mi", 2, 20),
        ("Gi", 2, 30),
        ("Ti", 2, 40),
        ("k", 10, 3),
        ("M", 10, 6),
        ("G", 10, 9),
        ("T", 10, 12),
    ];
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, base, power)| {
            Some((quantity.strip_suffix(unit)?, u64::from(*base).checked_pow(*power)?))
        })
        .unwrap_or((quantity, 1));
    number.parse::<u64>().ok()?.checked_mul(factor)
}

fn resources(component: &Component<'_>) -> Value {
    let defaults: &[(&str, &str)] = match component.name {
        API_SERVER => &[("cpu", "200m"), ("memory", "512Mi")],
        CONTROLLER_MANAGER => &[("cpu", "50m"), ("memory", "256Mi")],
        _ => &[("cpu", "10m"), ("memory", "64Mi")],
    };
    let Resources { requests, limits } = component.resources;
    let mut all: BTreeMap<&str, &str> = defaults.iter().copied().collect();
    all.extend(requests.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    if limits.is_empty() { json!({ "requests": all }) } else { json!({ "requests": all, "limits": limits }) }
}

fn mounts(component: &Component<'_>) -> Value {
    let name = component.name;
    let mut all = vec![
        json!({ "name": "secrets", "mountPath": secrets_folder(name), "readOnly": true }),
        json!({ "name": "config", "mountPath": config_folder(name), "readOnly": true }),
    ];
    if name == API_SERVER {
        all.push(json!({ "name": "audit", "mountPath": api_server::AUDIT_LOG_FOLDER, "readOnly": false }));
    }
    all.extend(
        component
            .volumes
            .iter()
            .map(|v| json!({ "name": v.name, "mountPath": v.mount_path, "readOnly": v.read_only })),
    );
    Value::Array(all)
}

fn volumes(component: &Component<'_>) -> Value {
    let folder = |name: &str, path: &str| json!({ "name": name, "hostPath": { "path": path } });
    let mut all = vec![
        folder("secrets", &secrets_folder(component.name)),
        folder("config", &config_folder(component.name)),
    ];
    if component.name == API_SERVER {
        all.push(folder("audit", api_server::AUDIT_LOG_FOLDER));
    }
    all.extend(component.volumes.iter().map(|volume| folder(&volume.name, &volume.host_path)));
    Value::Array(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        assert_eq!(bytes("512Mi"), Some(512 << 20));
        assert_eq!(bytes("1G"), Some(1_000_000_000));
        assert_eq!(bytes("77"), Some(77));
        assert_eq!(bytes("0.5Gi"), None);
    }
}
