//! Rules of the machine: identity, installation, kubelet, node metadata, files.

use corten_pki::{Certificate, Identity};

use super::{Rules, Target, cri, is_dns_name, runtime, volumes};
use crate::node::Node;
use crate::problem::Path;
use crate::values;
use crate::view::CUSTOMIZATION_FILE;

pub(super) fn check(rules: &mut Rules<'_>, target: Target) {
    if rules.get(&["machine"]).is_none() {
        return;
    }
    authority(rules);
    install(rules, target);
    kubelet(rules);
    node_metadata(rules, &["machine"], ["nodeLabels", "nodeAnnotations", "nodeTaints"]);
    files(rules);
    volumes::disks(rules);
    cri::seccomp_profiles(rules);
    cri::auths(rules);
    parameters(rules, &["machine", "sysctls"]);
    parameters(rules, &["machine", "sysfs"]);
    runtime::environment(rules, &["machine", "env"]);
    runtime::udev_rules(rules, &["machine", "udev", "rules"]);
    features(rules);
    if rules.text(&["machine", "token"]).is_none() {
        rules.warn(&["machine", "token"], "missing; workers cannot join without it");
    }
}

fn authority(rules: &mut Rules<'_>) {
    let crt = rules.text(&["machine", "ca", "crt"]).is_some();
    let key = rules.text(&["machine", "ca", "key"]).is_some();
    let accepted = !rules.items(&["machine", "acceptedCAs"]).is_empty();
    if !crt && !accepted {
        rules.refuse(&["machine", "ca", "crt"], "missing; a machine needs the Talos CA or acceptedCAs");
    }
    if rules.is_control_plane() && !key {
        rules.refuse(
            &["machine", "ca", "key"],
            "missing; a control plane issues certificates of the Talos API",
        );
    }
    if !rules.is_control_plane() && key {
        rules.refuse(&["machine", "ca", "key"], "not allowed on a worker; only control planes hold the key");
    }
    pair(rules, &["machine", "ca"]);
    certificates(rules, &["machine", "acceptedCAs"]);
}

/// A certificate must be one, and its key must be its own.
pub(super) fn pair(rules: &mut Rules<'_>, keys: &[&str]) {
    let at = |last: &'static str| [keys, &[last]].concat();
    let pem = |rules: &Rules<'_>, last| rules.text(&at(last)).and_then(values::base64);
    let Some(crt) = pem(rules, "crt") else { return };
    if let Err(error) = Certificate::from_pem(&crt) {
        return rules.refuse(&at("crt"), corten_base::chain(&error));
    }
    if let Some(key) = pem(rules, "key")
        && let Err(error) = Identity::from_pem(&crt, &key)
    {
        rules.refuse(&at("key"), corten_base::chain(&error));
    }
}

pub(super) fn certificates(rules: &mut Rules<'_>, keys: &[&str]) {
    let list = keys.join(".");
    for (index, item) in rules.items(keys).iter().enumerate() {
        let crt = item.get("crt").and_then(Node::as_text).and_then(values::base64).unwrap_or_default();
        if let Err(error) = Certificate::from_pem(&crt) {
            let path = format!("{list}[{index}].crt");
            rules.refuse_at(&Path::written(&path), item.at, corten_base::chain(&error));
        }
    }
}

fn install(rules: &mut Rules<'_>, target: Target) {
    let install = ["machine", "install"];
    if rules.get(&install).is_none() {
        if target == Target::Metal {
            rules.refuse(&install, "missing; the machine must be told where to install");
        }
        return;
    }
    let disk = rules.text(&["machine", "install", "disk"]).is_some();
    let selector = rules.get(&["machine", "install", "diskSelector"]).is_some_and(|node| !node.is_zero());
    if !disk && !selector && target == Target::Metal {
        rules.refuse(&["machine", "install", "disk"], "missing; give disk or diskSelector");
    }
    if let Some(size) = rules.text(&["machine", "install", "diskSelector", "size"]) {
        let bare = size.trim_start_matches(['<', '>', '=', ' ']);
        if values::size(bare).is_none() {
            let message = format!("{size:?} is not a size with an optional comparison such as >= 10GB");
            rules.refuse(&["machine", "install", "diskSelector", "size"], message);
        }
    }
}

/// Fields of the KubeletConfiguration that the machine itself decides.
pub(super) const KUBELET_PROTECTED: &[&str] = &[
    "apiVersion",
    "authentication",
    "authorization",
    "cgroupRoot",
    "kind",
    "kubeletCgroups",
    "port",
    "protectKernelDefaults",
    "resolvConf",
    "rotateCertificates",
    "seccompDefault",
    "staticPodPath",
    "staticPodURL",
    "systemCgroups",
];

/// Arguments of the kubelet that the machine itself decides.
pub(super) const KUBELET_ARGS_PROTECTED: &[&str] =
    &["bootstrap-kubeconfig", "kubeconfig", "config", "cert-dir", "hostname-override"];

fn kubelet(rules: &mut Rules<'_>) {
    refuse_keys(rules, &["machine", "kubelet", "extraConfig"], KUBELET_PROTECTED);
    refuse_keys(rules, &["machine", "kubelet", "extraArgs"], KUBELET_ARGS_PROTECTED);
    subnets(rules, &["machine", "kubelet", "nodeIP", "validSubnets"]);
}

/// Keys that must not be set below this value.
pub(super) fn refuse_keys(rules: &mut Rules<'_>, keys: &[&str], protected: &[&str]) {
    let Some(map) = rules.get(keys).and_then(Node::as_map) else { return };
    for entry in map.iter().filter(|entry| protected.contains(&entry.key.as_str())) {
        let path = format!("{}.{}", keys.join("."), entry.key);
        rules.refuse_at(&Path::written(&path), entry.at, "cannot be overridden; the machine decides it");
    }
}

/// Networks, where a leading `!` excludes.
pub(super) fn subnets(rules: &mut Rules<'_>, keys: &[&str]) {
    let list = keys.join(".");
    for (index, item) in rules.items(keys).iter().enumerate() {
        let text = item.as_text().unwrap_or_default();
        if values::address(text.trim_start_matches('!')).is_none() {
            let path = format!("{list}[{index}]");
            let message =
                format!("{text:?} is not a network such as 10.0.0.0/8, with ! in front to exclude it");
            rules.refuse_at(&Path::written(&path), item.at, message);
        }
    }
}

/// Labels, annotations and taints, in this order, below these keys.
pub(super) fn node_metadata(rules: &mut Rules<'_>, section: &[&str], keys: [&str; 3]) {
    let values: [fn(&str) -> Option<String>; 3] = [label_value, |_| None, taint];
    for (key, check) in keys.into_iter().zip(values) {
        let path = [section, &[key]].concat();
        let Some(map) = rules.get(&path).and_then(Node::as_map) else { continue };
        let path = path.join(".");
        let parent = Path::written(&path);
        for entry in map {
            let value = entry.value.as_text().unwrap_or_default();
            let wrong = qualified_name(&entry.key).or_else(|| check(value));
            if let Some(message) = wrong {
                rules.refuse_at(&parent.key(&entry.key), entry.at, message);
            }
        }
    }
}

fn is_name_part(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A Kubernetes qualified name: an optional DNS name and a slash, then a name.
fn qualified_name(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let ok = prefix.is_none_or(is_dns_name) && is_name_part(name);
    (!ok).then(|| format!("{key:?} is not a qualified name such as example.com/name"))
}

fn label_value(value: &str) -> Option<String> {
    let ok = value.is_empty() || is_name_part(value);
    (!ok).then(|| format!("{value:?} is not a label value (letters, digits, - _ and . up to 63)"))
}

fn taint(value: &str) -> Option<String> {
    let (value, effect) = value.split_once(':').unwrap_or(("", value));
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Some(format!(
            "{effect:?} is not an effect; expected NoSchedule, PreferNoSchedule or NoExecute"
        ));
    }
    label_value(value)
}

fn files(rules: &mut Rules<'_>) {
    let machine = Path::ROOT.key("machine");
    let list = machine.key("files");
    for (index, file) in rules.items(&["machine", "files"]).iter().enumerate() {
        let path = list.index(index);
        let target = file.get("path").and_then(Node::as_text).unwrap_or_default();
        let inside = target.starts_with("/var/") && !target.split('/').any(|part| part == "..");
        if target == CUSTOMIZATION_FILE {
            // The one file outside /var that has its own meaning.
            if let Some(content) = file.get("content") {
                cri::part(rules, content, &path.key("content"));
            }
        } else if !inside {
            let message =
                format!("{target:?} is not below /var, the only place for files of a configuration");
            rules.refuse_at(&path.key("path"), file.get("path").unwrap_or(file).at, message);
        }
    }
}

/// Names of kernel parameters; with slashes they are paths, which must stay in their folder.
pub(super) fn parameters(rules: &mut Rules<'_>, keys: &[&str]) {
    let Some(map) = rules.get(keys).and_then(Node::as_map) else { return };
    for entry in map {
        let name = &entry.key;
        let separator = if name.contains('/') { '/' } else { '.' };
        if name.split(separator).any(|part| matches!(part, "" | "." | "..")) {
            let path = format!("{}.{name}", keys.join("."));
            let message =
                format!("{name:?} is not a name such as net.ipv4.ip_forward or net/ipv4/ip_forward");
            rules.refuse_at(&Path::written(&path), entry.at, message);
        }
    }
}

fn features(rules: &mut Rules<'_>) {
    let access = ["machine", "features", "kubernetesTalosAPIAccess", "enabled"];
    if rules.is(&access) && !rules.is_control_plane() {
        rules.refuse(&access, "only control planes can offer the Talos API to pods");
    }
}
