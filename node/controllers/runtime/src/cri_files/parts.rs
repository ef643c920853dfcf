//! What the user changes of the containerd of Kubernetes: parts of its configuration that are read after ours, and the
//! specification that pods start from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corten_config::view::Cri;
use corten_resource::Object;
use serde_json::{Value, json};

/// Name of the file with the specification that pods start from.
const BASE_SPEC: &str = "base-spec.json";

/// Files below `folder` and their contents.
#[must_use]
pub fn files(folder: &Path, cri: &Cri) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for part in &cri.customizations {
        files.insert(folder.join(format!("{}.part", part.name)), part.content.reveal().clone());
    }
    if !cri.runtime_overrides.is_empty() {
        files.insert(folder.join(BASE_SPEC), overridden(&cri.runtime_overrides).to_string());
    }
    files
}

/// What containerd is told to read of these files: patterns of the parts, and the path of the specification.
#[must_use]
pub fn references(folder: &Path, cri: &Cri) -> (Vec<String>, String) {
    let path = |name: &str| folder.join(name).display().to_string();
    let imports = if cri.customizations.is_empty() { Vec::new() } else { vec![path("*.part")] };
    let base_spec = if cri.runtime_overrides.is_empty() { String::new() } else { path(BASE_SPEC) };
    (imports, base_spec)
}

/// The specification with the user's changes: mappings merge, everything else is replaced.
fn overridden(overrides: &Object) -> Value {
    let mut spec = Value::Object(base_spec());
    overlay(&mut spec, &Value::Object(overrides.clone()));
    spec
}

fn overlay(base: &mut Value, change: &Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                overlay(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change.clone(),
    }
}

/// Capabilities of a container that asks for no others.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The specification that containerd starts from when it is given none; the kubelet's wishes are laid over it.
#[must_use]
pub fn base_spec() -> Object {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({ "type": kind }));
    let spec = json!({
        "ociVersion": corten_containerd::spec::VERSION,
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "cwd": "/",
            "capabilities": { "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "mounts": [
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/run", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "cgroupsPath": "/default",
            "namespaces": namespaces,
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    });
    match spec {
        Value::Object(spec) => spec,
        _ => Object::new(),
    }
}

#[cfg(test)]
mod tests {
    use corten_base::Secret;
    use corten_config::view::Customization;

    use super::*;

    #[test]
    fn nothing_is_read_that_nobody_wrote() {
        let folder = Path::new("/conf.d");
        assert_eq!(references(folder, &Cri::default()), (Vec::new(), String::new()));
        assert!(files(folder, &Cri::default()).is_empty());
    }

    #[test]
    fn changes_are_laid_over_what_pods_start_from() {
        let folder = Path::new("/conf.d");
        let Value::Object(runtime_overrides) = json!({
            "process": { "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }] },
            "linux": { "readonlyPaths": [] },
        }) else {
            panic!("an object")
        };
        let part = Customization { name: "metrics".into(), content: Secret::new("[metrics]".into()) };
        let cri = Cri { runtime_overrides, customizations: vec![part], ..Cri::default() };
        let files = files(folder, &cri);
        assert_eq!(files[&folder.join("metrics.part")], "[metrics]");
        let (imports, base_spec) = references(folder, &cri);
        assert_eq!(
            (imports.as_slice(), base_spec.as_str()),
            (&["/conf.d/*.part".to_owned()][..], "/conf.d/base-spec.json")
        );
        let spec: Value = serde_json::from_str(&files[Path::new(&base_spec)]).expect("JSON");
        assert_eq!(spec["process"]["rlimits"][0]["hard"], 1024);
        assert_eq!(spec["process"]["cwd"], "/", "what is not named stays");
        assert_eq!(
            (&spec["linux"]["readonlyPaths"], &spec["linux"]["cgroupsPath"]),
            (&json!([]), &json!("/default"))
        );
    }
}
