//! What a patch may not change: what the manager owns, and what would let pods rule the cluster.
//!
//! The same list holds for a patch that somebody writes and for one that is about to be applied.

use std::fmt;

use corten_config::node::{Node, Position, Value};
use corten_config::{Problem, read};

/// Key that gives an order instead of a value.
pub(crate) const DIRECTIVE: &str = "$patch";
/// The role that nothing in a cluster may have.
pub(crate) const FORBIDDEN_ROLE: &str = "os:admin";

/// The manager gives all machines of a cluster the same.
const OWNED: &str = "the manager sets it for the whole cluster; remove it from the patch";
const TYPE: &str = "the machine set decides it; put the machine into another set";
const DISK: &str = "the manager chooses the disk; write a MachineInstallDiskConfig for the machine";
const EXTENSIONS: &str = "the image has the extensions; write an ExtensionsConfiguration";
const ISSUER: &str = "private keys of authorities stay with the manager; remove it from the patch";
const ROLE: &str = "os:admin is not for pods; allow os:reader, or os:operator at most";
const DOCUMENT: &str = "the manager writes this document; remove it from the patch";

/// Fields of the document without `kind`.
const FIELDS: &[(&[&str], &str)] = &[
    (&["cluster", "clusterName"], OWNED),
    (&["cluster", "id"], OWNED),
    (&["cluster", "controlPlane", "endpoint"], OWNED),
    (&["cluster", "token"], OWNED),
    (&["cluster", "secret"], OWNED),
    (&["cluster", "aescbcEncryptionSecret"], OWNED),
    (&["cluster", "secretboxEncryptionSecret"], OWNED),
    (&["cluster", "ca"], OWNED),
    (&["cluster", "acceptedCAs"], OWNED),
    (&["cluster", "serviceAccount"], OWNED),
    (&["cluster", "aggregatorCA", "key"], ISSUER),
    (&["cluster", "etcd", "ca", "key"], ISSUER),
    (&["machine", "token"], OWNED),
    (&["machine", "ca"], OWNED),
    (&["machine", "type"], TYPE),
    (&["machine", "acceptedCAs"], OWNED),
    (&["machine", "install", "disk"], DISK),
    (&["machine", "install", "extensions"], EXTENSIONS),
];

/// Roles that pods may ask for.
const ROLES: &[&str] = &["machine", "features", "kubernetesTalosAPIAccess", "allowedRoles"];

/// Kinds that no patch may have.
const KINDS: &[&str] = &[
    "UnattendedInstallConfig",
    "DiscoveryIdentity",
    "DiscoveryIdentityConfig",
    "KubeClusterConfig",
    "KubeEtcdEncryptionConfig",
    "KubeAPIServerCAConfig",
    "KubeAggregatorCAConfig",
];

/// Something that a patch may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The field, or the kind of the document.
    pub field: String,
    /// Why it may not, and what to do instead.
    pub message: &'static str,
    /// Where in the text.
    pub at: Position,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)?;
        if self.at.line != 0 {
            write!(f, " (line {}, column {})", self.at.line, self.at.column)?;
        }
        Ok(())
    }
}

/// A patch as it is written: parts of documents, or a JSON patch.
#[derive(Clone, Debug)]
pub struct Patch(Vec<Node>);

impl Patch {
    /// Reads the YAML of a patch, bounded as configurations are.
    ///
    /// # Errors
    /// When it is no YAML or too large.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        read::documents(text).map(Self)
    }
}

/// Everything in a patch that is not allowed, in the order of the list.
#[must_use]
pub fn forbidden(patch: &Patch) -> Vec<Finding> {
    let mut findings = Vec::new();
    for node in &patch.0 {
        match &node.value {
            Value::List(operations) => operations.iter().for_each(|one| operation(one, &mut findings)),
            _ => document(node, &mut findings),
        }
    }
    findings
}

fn document(node: &Node, findings: &mut Vec<Finding>) {
    let Some(kind) = node.get("kind").and_then(Node::as_text) else {
        for &(field, message) in FIELDS {
            if let Some(value) = changed(node, field) {
                findings.push(Finding { field: field.join("."), message, at: value.at });
            }
        }
        if let Some(role) = node.at_path(ROLES).and_then(forbidden_role) {
            findings.push(Finding { field: ROLES.join("."), message: ROLE, at: role.at });
        }
        return;
    };
    if KINDS.contains(&kind) {
        findings.push(Finding { field: kind.to_owned(), message: DOCUMENT, at: node.at });
        return;
    }
    if let Some(role) = node.get("allowedRoles").and_then(forbidden_role) {
        findings.push(Finding { field: format!("{kind}: allowedRoles"), message: ROLE, at: role.at });
    }
    issuing_keys(node, kind, findings);
}

/// What changes a field: its new value, or the order to take away what it is in.
fn changed<'a>(node: &'a Node, field: &[&str]) -> Option<&'a Node> {
    let mut here = node;
    for key in field {
        if here.get(DIRECTIVE).is_some() {
            return Some(here);
        }
        here = here.get(key)?;
    }
    Some(here)
}

/// The first text in a value that is the role which nothing may have.
fn forbidden_role(value: &Node) -> Option<&Node> {
    match &value.value {
        Value::List(items) => items.iter().find_map(forbidden_role),
        Value::Map(map) => map.iter().find_map(|entry| forbidden_role(&entry.value)),
        Value::Scalar(scalar) => (scalar.text == FORBIDDEN_ROLE).then_some(value),
    }
}

/// Private keys of anything that issues certificates, wherever a document has one.
fn issuing_keys(value: &Node, kind: &str, findings: &mut Vec<Finding>) {
    match &value.value {
        Value::List(items) => items.iter().for_each(|item| issuing_keys(item, kind, findings)),
        Value::Map(map) => {
            for entry in map {
                let key = entry.value.get("key").filter(|_| entry.key.to_lowercase().contains("issuing"));
                if let Some(key) = key {
                    let field = format!("{kind}: {}.key", entry.key);
                    findings.push(Finding { field, message: ISSUER, at: key.at });
                }
                issuing_keys(&entry.value, kind, findings);
            }
        }
        Value::Scalar(_) => {}
    }
}

/// One operation of a JSON patch. It changes a field if it names it, a part of it, or what it is in.
fn operation(node: &Node, findings: &mut Vec<Finding>) {
    let text = |key: &str| node.get(key).and_then(Node::as_text);
    if text("op") == Some("test") {
        return;
    }
    for key in ["path", "from"] {
        let Some(pointer) = text(key) else { continue };
        let steps = steps(pointer);
        for &(field, message) in FIELDS.iter().filter(|(field, _)| overlaps(&steps, field)) {
            findings.push(Finding { field: field.join("."), message, at: node.at });
        }
        let role = node.get("value").filter(|_| overlaps(&steps, ROLES)).and_then(forbidden_role);
        if let Some(role) = role {
            findings.push(Finding { field: ROLES.join("."), message: ROLE, at: role.at });
        }
    }
}

/// The keys of a JSON pointer (RFC 6901).
fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// Whether one way is the begin of the other.
fn overlaps(steps: &[String], field: &[&str]) -> bool {
    steps.iter().zip(field).all(|(step, key)| step == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<String> {
        forbidden(&Patch::parse(text).unwrap()).into_iter().map(|finding| finding.field).collect()
    }

    #[test]
    fn every_forbidden_field_is_found() {
        for (field, _) in FIELDS {
            let around = |inner: String, key: &&str| format!("{{{key}: {inner}}}");
            let nested = field.iter().rev().fold("{x: 1}".to_owned(), around);
            assert_eq!(fields(&nested), [field.join(".")], "{nested}");
            let pointer = format!("[{{op: replace, path: /{}, value: x}}]", field.join("/"));
            assert_eq!(fields(&pointer), [field.join(".")], "{pointer}");
        }
    }

    #[test]
    fn deleting_a_forbidden_field_changes_it_too() {
        assert_eq!(fields("machine: {token: {$patch: delete}}"), ["machine.token"]);
        assert_eq!(fields("machine: {install: {$patch: delete}}").len(), 2);
        assert_eq!(fields("machine: {$patch: delete}").len(), 6);
        assert_eq!(fields("[{op: remove, path: /machine/ca/crt}]"), ["machine.ca"]);
        assert_eq!(fields("[{op: remove, path: /machine/install}]").len(), 2);
        assert_eq!(fields("[{op: replace, path: '', value: {}}]").len(), FIELDS.len());
    }

    #[test]
    fn what_is_moved_or_copied_from_a_forbidden_field_is_found() {
        let copy = "[{op: copy, from: /machine/token, path: /machine/nodeLabels/token}]";
        assert_eq!(fields(copy), ["machine.token"]);
    }

    #[test]
    fn everything_else_is_allowed() {
        for text in [
            "machine: {install: {wipe: true, image: x}}\ncluster: {proxy: {disabled: true}}",
            "cluster: {aggregatorCA: {crt: YQ==}, etcd: {ca: {crt: YQ==}}}",
            "cluster: {controlPlane: {localAPIServerPort: 6443}}",
            "machine: {features: {kubernetesTalosAPIAccess: {enabled: true, allowedRoles: [os:reader]}}}",
            "machine: {token: null}",
            "[{op: add, path: /machine/sysctls/a.b, value: '1'}, {op: test, path: /machine/token, value: x}]",
            "kind: VLANConfig\nname: a\ntoken: x\n",
            "kind: KubeTalosAPIAccessConfig\nallowedRoles: [os:reader]\n",
        ] {
            assert!(fields(text).is_empty(), "{text} {:?}", fields(text));
        }
    }

    #[test]
    fn documents_of_the_manager_are_found_by_kind() {
        for kind in KINDS {
            assert_eq!(fields(&format!("kind: {kind}\n")), [(*kind).to_owned()]);
        }
    }

    #[test]
    fn pods_may_not_become_administrators() {
        let role = "machine.features.kubernetesTalosAPIAccess.allowedRoles";
        let access = "{kubernetesTalosAPIAccess: {allowedRoles: [os:reader, os:admin]}}";
        assert_eq!(fields(&format!("machine: {{features: {access}}}")), [role]);
        assert_eq!(fields(&format!("[{{op: add, path: /machine/features, value: {access}}}]")), [role]);
        let document = "kind: KubeTalosAPIAccessConfig\nallowedRoles: [os:admin]\n";
        assert_eq!(fields(document), ["KubeTalosAPIAccessConfig: allowedRoles"]);
    }

    #[test]
    fn keys_of_issuers_are_found_in_any_document() {
        let text = "kind: KubeControllerManagerConfig\nissuingCA: {cert: a, key: b}\n";
        assert_eq!(fields(text), ["KubeControllerManagerConfig: issuingCA.key"]);
    }

    #[test]
    fn a_finding_says_where_and_what_to_do() {
        let patch = Patch::parse("machine:\n  install:\n    disk: /dev/sda\n").unwrap();
        let text: Vec<String> = forbidden(&patch).iter().map(ToString::to_string).collect();
        assert_eq!(text, [format!("machine.install.disk: {DISK} (line 3, column 11)")]);
    }

    #[test]
    fn any_patch_is_judged_without_panic() {
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Ok(patch) = Patch::parse(text) {
                let _ = forbidden(&patch);
            }
        });
    }
}
