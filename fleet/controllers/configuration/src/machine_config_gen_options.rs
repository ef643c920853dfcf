//! What the configuration of a machine takes from the machine itself: the parts of its installer's reference.
//!
//! ```text
//! MachineStatus (platform, Secure Boot, kind of image) ─────────┐
//! ClusterMachineTalosVersion, or else SchematicConfiguration ───┼─▶ MachineConfigGenOptions
//! TalosVersion (which factory has it), or else the usual one ───┘
//! ```

use corten_fleet_resources::cluster::ClusterMachineTalosVersion;
use corten_fleet_resources::machine::{
    InstallImage, MachineConfigGenOptions, MachineStatus, SchematicConfiguration,
};
use corten_fleet_resources::upgrade::TalosVersion;
use corten_resource::{AnyResource, Concern, ItemTransform, Plan, Spec, View, controller};

use crate::tags::copy_place;

/// Tells what configurations take from machines.
#[derive(Debug)]
pub struct MachineConfigGenOptionsController {
    /// Host of the image factory that is used when a version names none.
    factory_host: String,
}

impl MachineConfigGenOptionsController {
    /// A controller with the URL of the usual image factory.
    #[must_use]
    pub fn new(factory_url: &str) -> Self {
        Self { factory_host: host(factory_url).to_owned() }
    }
}

controller!(MachineConfigGenOptionsController, "MachineConfigGenOptionsController",
    inputs: [weak MachineStatus, weak SchematicConfiguration, weak ClusterMachineTalosVersion,
        weak TalosVersion],
    outputs: [exclusive MachineConfigGenOptions]);

/// Host of a URL, with its port unless that is usual.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

impl ItemTransform for MachineConfigGenOptionsController {
    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == TalosVersion::DEFINITION.kind {
            true => Concern::Everybody,
            false => Concern::by_id(resource),
        }
    }

    fn plan(&self, item: &str, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let Some(status) = view.get::<MachineStatus>(item) else { return plan };
        let permitted = view.get::<ClusterMachineTalosVersion>(item);
        let permitted = permitted.map(|it| (it.talos_version.clone(), it.schematic_id.clone()));
        let wished = view.get::<SchematicConfiguration>(item);
        let wished = wished.map(|it| (it.talos_version.clone(), it.schematic_id.clone()));
        let Some((talos_version, schematic_id)) = permitted.or(wished) else {
            plan.keep::<MachineConfigGenOptions>();
            return plan.waiting("the schematic that the machine is to run");
        };
        let of_version = view.get::<TalosVersion>(&talos_version).map(|it| host(&it.image_factory_url));
        let factory = of_version.filter(|host| !host.is_empty()).unwrap_or(&self.factory_host);
        let platform = status.platform_metadata.as_ref().map(|platform| platform.platform.clone());
        let install_image = InstallImage {
            talos_version,
            schematic_id,
            schematic_initialized: status.schematic.is_some(),
            schematic_invalid: status.schematic.as_ref().is_some_and(|schematic| schematic.invalid),
            platform: platform.unwrap_or_default(),
            security_state: status.security_state.clone(),
            image_factory_host: factory.to_owned(),
        };
        let options = MachineConfigGenOptions { install_image: Some(install_image) };
        plan.put_with(item, options, |metadata| copy_place(&status.metadata, metadata));
        plan
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::{PlatformMetadata, Schematic, SecurityState};
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    #[test]
    fn the_host_of_a_factory_keeps_its_port_and_loses_the_rest() {
        for (url, expected) in [
            ("https://factory.talos.dev", "factory.talos.dev"),
            ("http://u:p@10.0.0.1:8080/path", "10.0.0.1:8080"),
            ("factory.talos.dev/", "factory.talos.dev"),
            ("", ""),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgrade_decides_the_version_before_the_wish_of_the_cluster_does() {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            let controller = MachineConfigGenOptionsController::new("https://factory.talos.dev");
            runtime.register_item_transform(controller);
        });
        let platform_metadata =
            Some(PlatformMetadata { platform: "metal".to_owned(), ..PlatformMetadata::default() });
        let status = MachineStatus {
            platform_metadata,
            schematic: Some(Schematic::default()),
            security_state: Some(SecurityState { secure_boot: true, booted_with_uki: true }),
            ..MachineStatus::default()
        };
        runtime.put(resource("m1", status));
        let (schematic_id, talos_version) = ("ab".to_owned(), "1.14.0".to_owned());
        runtime.put(resource("m1", SchematicConfiguration { schematic_id, talos_version }));
        let version = TalosVersion {
            image_factory_url: "https://other.example:8443/".to_owned(),
            ..TalosVersion::default()
        };
        runtime.put(resource("1.13.2", version));
        runtime.quiet().await;
        let found = || {
            let options = runtime.state().get::<MachineConfigGenOptions>("m1").expect("options");
            options.spec.install_image.expect("an image")
        };
        assert_eq!((found().talos_version.as_str(), found().platform.as_str()), ("1.14.0", "metal"));
        assert_eq!(found().image_factory_host, "factory.talos.dev");
        assert!(found().schematic_initialized && found().security_state.is_some());
        let (talos_version, schematic_id) = ("1.13.2".to_owned(), "cd".to_owned());
        runtime.put(resource("m1", ClusterMachineTalosVersion { talos_version, schematic_id }));
        runtime.quiet().await;
        assert_eq!((found().talos_version.as_str(), found().schematic_id.as_str()), ("1.13.2", "cd"));
        assert_eq!(found().image_factory_host, "other.example:8443");
    }
}
