//! Rules of `ConfigPatch`: a patch that can be read, of nothing that the manager decides itself (fleet.md 3.1).
//!
//! ```text
//! text ─┬▶ JSON values ─▶ places that are forbidden, documents that are forbidden
//!       └▶ Patch::parse ─▶ unknown keys, wrong types
//! ```
//!
//! A list is a JSON patch: its pointers lead to places, and a place above a forbidden one is looked into.

use corten_config::{Patch, yaml};
use corten_fleet_resources::cluster::{Cluster, MachineSet};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, SYSTEM_PATCH};
use corten_resource::{Metadata, Resource};
use serde_json::Value;

use super::{View, keep_labels, label};

/// Places that the manager fills itself, or that would give the cluster away.
const PLACES: &[&[&str]] = &[
    &["cluster", "clusterName"],
    &["cluster", "id"],
    &["cluster", "controlPlane", "endpoint"],
    &["cluster", "token"],
    &["cluster", "secret"],
    &["cluster", "aescbcEncryptionSecret"],
    &["cluster", "secretboxEncryptionSecret"],
    &["cluster", "ca"],
    &["cluster", "acceptedCAs"],
    &["cluster", "serviceAccount"],
    &["cluster", "aggregatorCA", "key"],
    &["cluster", "etcd", "ca", "key"],
    &["machine", "token"],
    &["machine", "ca"],
    &["machine", "type"],
    &["machine", "acceptedCAs"],
    &["machine", "install", "disk"],
    &["machine", "install", "extensions"],
];
/// Documents that the manager writes itself.
const DOCUMENTS: &[&str] = &[
    "UnattendedInstallConfig",
    "DiscoveryIdentity",
    "KubeClusterConfig",
    "KubeEtcdEncryptionConfig",
    "KubeAPIServerCAConfig",
    "KubeAggregatorCAConfig",
];
/// Where pods are given roles of the machine API.
const POD_ROLES: &[&str] = &["machine", "features", "kubernetesTalosAPIAccess", "allowedRoles"];
/// The role that they cannot have.
const ADMIN: &str = "os:admin";

pub(super) fn check(
    view: &View,
    stored: Option<&Resource<ConfigPatch>>,
    new: &Resource<ConfigPatch>,
) -> Result<(), String> {
    check_system(&new.metadata)?;
    if let Some(stored) = stored {
        check_system(&stored.metadata)?;
        keep_labels(&stored.metadata, &new.metadata, &[CLUSTER])?;
    }
    check_target(view, &new.metadata)?;
    if stored.is_some_and(|stored| stored.data == new.data) { Ok(()) } else { check_text(&new.data) }
}

pub(super) fn check_destroy(_: &View, stored: &Resource<ConfigPatch>) -> Result<(), String> {
    check_system(&stored.metadata)
}

/// Whether this is a patch that people may give.
///
/// # Errors
/// When it cannot be read, does not follow the schema, or touches what the manager decides itself.
pub fn check_text(text: &str) -> Result<(), String> {
    let values = yaml::parse(text).map_err(|problem| format!("the patch cannot be read: {problem}"))?;
    values.iter().try_for_each(|value| match value {
        Value::Array(operations) => operations.iter().try_for_each(check_operation),
        document => check_document(document),
    })?;
    Patch::parse(text.as_bytes()).map(drop).map_err(|error| corten_base::chain(&error))
}

/// What the manager makes is not for people.
fn check_system(metadata: &Metadata) -> Result<(), String> {
    if metadata.labels.contains_key(SYSTEM_PATCH) {
        return Err(format!("patches with the label {SYSTEM_PATCH} are the manager's own"));
    }
    Ok(())
}

/// Whether what the patch is for stays.
fn check_target(view: &View, metadata: &Metadata) -> Result<(), String> {
    let (cluster, set) = (label(metadata, CLUSTER), label(metadata, MACHINE_SET));
    if view.get::<Cluster>(cluster).is_some_and(|found| found.metadata.is_tearing_down()) {
        return Err(format!("cluster {cluster:?} is being destroyed"));
    }
    if view.get::<MachineSet>(set).is_some_and(|found| found.metadata.is_tearing_down()) {
        return Err(format!("machine set {set:?} is being destroyed"));
    }
    Ok(())
}

fn check_document(document: &Value) -> Result<(), String> {
    if let Some(kind) = document.get("kind").and_then(Value::as_str)
        && DOCUMENTS.contains(&kind)
    {
        return Err(format!("documents {kind} are the manager's own; leave it out"));
    }
    if let Some(place) = PLACES.iter().find(|place| within(document, place).is_some()) {
        return Err(forbidden(place));
    }
    check_pod_roles(document, &[])
}

/// One operation of a JSON patch: where it writes and what, and where it takes that from. Whoever writes above a place
/// replaces it as well.
fn check_operation(operation: &Value) -> Result<(), String> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    if text("op") == Some("test") {
        return Ok(());
    }
    for pointer in ["path", "from"].into_iter().filter_map(text) {
        let steps: Vec<String> =
            pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        if let Some(place) = PLACES.iter().find(|place| steps.starts_with(place)) {
            return Err(forbidden(place));
        }
        if let Some(place) = PLACES.iter().find(|place| place.starts_with(&steps)) {
            let place = place.join(".");
            return Err(format!("{pointer:?} holds {place}, which is the manager's; name what is in it"));
        }
        check_pod_roles(operation.get("value").unwrap_or(&Value::Null), &steps)?;
    }
    Ok(())
}

fn check_pod_roles(value: &Value, at: &[&str]) -> Result<(), String> {
    let roles = match (POD_ROLES.strip_prefix(at), at.strip_prefix(POD_ROLES)) {
        (Some(rest), _) => within(value, rest),
        (None, Some(_)) => Some(value),
        (None, None) => None,
    };
    let is_admin = |role: &Value| role.as_str() == Some(ADMIN);
    let has_admin = match roles {
        Some(Value::Array(roles)) => roles.iter().any(is_admin),
        Some(role) => is_admin(role),
        None => false,
    };
    if has_admin {
        return Err(format!("{}: pods cannot have the role {ADMIN}", POD_ROLES.join(".")));
    }
    Ok(())
}

fn within<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter().try_fold(value, |value, key| value.get(key))
}

fn forbidden(place: &[&str]) -> String {
    format!("{} is the manager's to decide; leave it out", place.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fleet, with};
    use crate::validate::testing;

    fn refusal(text: &str) -> String {
        check_text(text).err().unwrap_or_default()
    }

    #[test]
    fn a_patch_is_read_strictly() {
        assert_eq!(check_text("machine:\n  network:\n    hostname: a\n"), Ok(()));
        assert_eq!(check_text(r#"[{"op": "add", "path": "/machine/sysctls", "value": {"a": "1"}}]"#), Ok(()));
        for text in ["machine: [", "machine:\n  netwrok: {}\n", "- op: paint\n  path: /machine\n"] {
            assert!(check_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_place_of_the_manager_is_refused_in_both_kinds_of_patch() {
        for place in PLACES {
            let name = place.join(".");
            let document =
                place.iter().rev().fold("x".to_owned(), |inner, key| format!("{{{key}: {inner}}}"));
            assert!(refusal(&document).starts_with(&name), "{document}: {}", refusal(&document));
            let pointer = place.join("/");
            for operation in [
                format!(r#"[{{"op": "replace", "path": "/{pointer}", "value": "x"}}]"#),
                format!(r#"[{{"op": "remove", "path": "/{pointer}/x"}}]"#),
                format!(r#"[{{"op": "copy", "from": "/{pointer}", "path": "/machine/x"}}]"#),
            ] {
                assert!(refusal(&operation).starts_with(&name), "{operation}: {}", refusal(&operation));
            }
        }
        for pointer in ["", "/cluster", "/machine/install"] {
            let operation = format!(r#"[{{"op": "add", "path": "{pointer}", "value": {{}}}}]"#);
            assert!(refusal(&operation).contains("name what is in it"), "{operation}");
        }
    }

    #[test]
    fn documents_of_the_manager_and_administrators_among_pods_are_refused() {
        for kind in DOCUMENTS {
            let text = format!("apiVersion: v1alpha1\nkind: {kind}\n");
            assert!(refusal(&text).contains("are the manager's own"), "{kind}");
        }
        let access = |roles: &str| {
            let access = format!("{{enabled: true, allowedRoles: {roles}}}");
            format!("machine: {{features: {{kubernetesTalosAPIAccess: {access}}}}}")
        };
        assert!(refusal(&access("[os:reader, os:admin]")).contains("pods cannot have the role os:admin"));
        assert!(!refusal(&access("[os:reader]")).contains("pods"));
        let path = "/machine/features/kubernetesTalosAPIAccess/allowedRoles/-";
        let text = format!(r#"[{{"op": "add", "path": "{path}", "value": "os:admin"}}]"#);
        assert!(refusal(&text).contains("pods cannot have"), "{text}");
    }

    #[test]
    fn a_patch_is_not_for_what_goes_and_not_the_managers() {
        let fleet = Fleet::new();
        let patch = || ConfigPatch { data: "machine: {}\n".to_owned(), ..ConfigPatch::default() };
        fleet.put("prod", Cluster::default());
        let pointer = fleet.state.get::<Cluster>("prod").expect("stored").metadata.pointer();
        fleet.state.add_finalizer(&pointer, "x").expect("held");
        fleet.state.remove_any("", &pointer).expect("torn down");
        testing::check(
            &fleet,
            with("p", patch(), &[(CLUSTER, "prod")]),
            "cluster \"prod\" is being destroyed",
        );
        testing::check(&fleet, with("p", patch(), &[(CLUSTER, "lab")]), "");
        testing::check(&fleet, with("p", patch(), &[(SYSTEM_PATCH, "")]), "are the manager's own");
        fleet.put_with("s", patch(), &[(SYSTEM_PATCH, "")]);
        testing::check(&fleet, with("s", patch(), &[]), "are the manager's own");
        testing::check_destroy::<ConfigPatch>(&fleet, "s", "are the manager's own");
        fleet.put_with("p", patch(), &[(CLUSTER, "lab")]);
        testing::check(&fleet, with("p", patch(), &[(CLUSTER, "prod")]), "cluster cannot be changed");
    }

    #[test]
    fn no_text_makes_the_check_fall() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = check_text(&String::from_utf8_lossy(bytes));
        });
    }
}
