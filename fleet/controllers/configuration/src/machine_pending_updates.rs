//! What a machine waits for: another image, another configuration.
//!
//! ```text
//! ClusterMachineConfigStatus (what it has, what runs) ─┐
//! RedactedClusterMachineConfig (what is wanted) ───────┼─▶ MachinePendingUpdates
//! MachineConfigGenOptions (what is to run) ────────────┘
//! ```
//!
//! A machine that took no configuration of its cluster yet waits for nothing: it is being made a member.

use corten_fleet_resources::config::{
    ClusterMachineConfigStatus, MachinePendingUpdates, PendingUpgrade, RedactedClusterMachineConfig,
};
use corten_fleet_resources::machine::{InstallImage, MachineConfigGenOptions};
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, View, controller};

use crate::tags::{copy_place, is_made_of};
use crate::texts::change;

/// Tells what machines wait for.
#[derive(Debug)]
pub struct MachinePendingUpdatesController;

controller!(MachinePendingUpdatesController, "MachinePendingUpdatesController",
    inputs: [weak ClusterMachineConfigStatus, weak RedactedClusterMachineConfig,
        weak MachineConfigGenOptions],
    outputs: [exclusive MachinePendingUpdates]);

impl ItemTransform for MachinePendingUpdatesController {
    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(status) = view.get::<ClusterMachineConfigStatus>(item) else { return plan };
        if status.cluster_machine_config_sha256.is_empty() {
            return plan;
        }
        let image = view.get::<MachineConfigGenOptions>(item);
        let upgrade = image.and_then(|options| upgrade(status, options.install_image.as_ref()?));
        let wanted = view.get::<RedactedClusterMachineConfig>(item);
        let wanted = wanted.filter(|it| !is_made_of(&it.metadata, &status.cluster_machine_config_sha256));
        let config_diff = wanted.map(|wanted| change(&status.redacted_current_machine_config, &wanted.data));
        if upgrade.is_none() && config_diff.is_none() {
            return plan;
        }
        let pending = MachinePendingUpdates {
            upgrade,
            config_diff: config_diff.unwrap_or_default(),
            ..MachinePendingUpdates::default()
        };
        plan.put_with(item, pending, |metadata| copy_place(&status.metadata, metadata));
        plan
    }
}

/// Another image than the one that runs; `None` while either is not known.
#[must_use]
pub fn upgrade(status: &ClusterMachineConfigStatus, wanted: &InstallImage) -> Option<PendingUpgrade> {
    let is_other_version = differs(&status.talos_version, &wanted.talos_version);
    let is_other_schematic = !wanted.schematic_invalid && differs(&status.schematic_id, &wanted.schematic_id);
    (is_other_version || is_other_schematic).then(|| PendingUpgrade {
        from_schematic: status.schematic_id.clone(),
        to_schematic: wanted.schematic_id.clone(),
        from_version: status.talos_version.clone(),
        to_version: wanted.talos_version.clone(),
    })
}

fn differs(runs: &str, wanted: &str) -> bool {
    !runs.is_empty() && !wanted.is_empty() && runs != wanted
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::tags::MADE_OF;

    fn wanted(text: &str, hash: &str) -> AnyResource {
        let spec =
            RedactedClusterMachineConfig { data: text.to_owned(), ..RedactedClusterMachineConfig::default() };
        resource("m1", spec)
            .edit(|metadata| drop(metadata.annotations.insert(MADE_OF.to_owned(), hash.to_owned())))
    }

    fn status(hash: &str, version: &str) -> AnyResource {
        let spec = ClusterMachineConfigStatus {
            cluster_machine_config_sha256: hash.to_owned(),
            redacted_current_machine_config: "a: 1\n".to_owned(),
            talos_version: version.to_owned(),
            schematic_id: "one".to_owned(),
            ..ClusterMachineConfigStatus::default()
        };
        resource("m1", spec)
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_shown_and_a_new_machine_waits_for_nothing() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_item_transform(MachinePendingUpdatesController);
        });
        let image = InstallImage {
            talos_version: "1.14.0".to_owned(),
            schematic_id: "one".to_owned(),
            ..InstallImage::default()
        };
        runtime.put(resource("m1", MachineConfigGenOptions { install_image: Some(image) }));
        let found = || runtime.state().get::<MachinePendingUpdates>("m1").map(|pending| pending.spec);
        for (taken, version, text, diff, has_upgrade) in [
            ("", "1.13.0", "a: 2\n", None, false),
            ("old", "1.14.0", "a: 2\n", Some("+a: 2"), false),
            ("old", "1.14.0", "a: 1\n", Some("only secrets"), false),
            ("new", "1.14.0", "a: 1\n", None, false),
            ("new", "1.13.0", "a: 1\n", Some(""), true),
        ] {
            runtime.put(wanted(text, "new"));
            runtime.put(status(taken, version));
            runtime.quiet().await;
            let pending = found();
            assert_eq!(pending.is_some(), diff.is_some(), "{taken} {version} {text}");
            let Some((pending, diff)) = pending.zip(diff) else { continue };
            assert!(pending.config_diff.contains(diff), "{}", pending.config_diff);
            assert_eq!(pending.upgrade.is_some(), has_upgrade, "{version}");
        }
    }
}
