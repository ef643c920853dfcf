//! Rules of `ConfigPatch`: a patch that can be read, of nothing that the manager decides itself (fleet.md 3.1).
//!
//! ```text
//! text ─┬▶ patches::forbidden ─▶ fields and documents that are the manager's
//!       └▶ Patch::parse_for ─▶ unknown keys, wrong types
//! ```
//!
//! Which machine gets it is not known here, so everything that Talos reads is accepted. What machines of ours do not
//! support is refused when the configuration of one is made.

use corten_base::chain;
use corten_config::{Audience, Patch};
use corten_fleet_cluster::patches::{self, forbidden};
use corten_fleet_resources::cluster::{Cluster, MachineSet};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, SYSTEM_PATCH};
use corten_resource::{Metadata, Resource};

use super::{View, keep_labels, label};

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
    let unread = |problem| format!("the patch cannot be read: {problem}");
    let patch = patches::Patch::parse(text).map_err(unread)?;
    let findings: Vec<String> = forbidden(&patch).iter().map(ToString::to_string).collect();
    if !findings.is_empty() {
        return Err(findings.join("; "));
    }
    Patch::parse_for(text.as_bytes(), Audience::Manager).map(drop).map_err(|error| chain(&error))
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
    fn what_only_stock_machines_read_is_accepted_and_just_as_strict() {
        let vlan = "apiVersion: v1alpha1\nkind: VLANConfig\nname: a.5\nvlanID: 5\nparent: a\n";
        assert_eq!(check_text(vlan), Ok(()));
        assert_eq!(check_text("machine: {env: {A: b}}"), Ok(()));
        let unknown = refusal(&vlan.replace("vlanID", "vlanId"));
        assert!(unknown.contains("vlanId: unknown key; did you mean \"vlanID\"?"), "{unknown}");
        let kind = refusal(&vlan.replace("VLANConfig", "VlanConfg"));
        assert!(kind.contains("is not registered; did you mean \"VLANConfig\"?"), "{kind}");
    }

    #[test]
    fn everything_that_is_the_managers_is_told_at_once() {
        let refused = refusal("machine: {token: x, install: {disk: /dev/sda}}");
        assert!(
            refused.starts_with("machine.token: ") && refused.contains("; machine.install.disk"),
            "{refused}"
        );
        let pointer = refusal(r#"[{"op": "remove", "path": "/cluster/ca"}]"#);
        assert!(pointer.starts_with("cluster.ca: the manager sets it"), "{pointer}");
        let document = refusal("apiVersion: v1alpha1\nkind: KubeClusterConfig\n");
        assert!(document.starts_with("KubeClusterConfig: the manager writes this document"), "{document}");
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
