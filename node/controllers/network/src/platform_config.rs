//! What the platform says about the network, in one place.
//!
//! ```text
//! *Spec@network-config of layer platform, PlatformMetadata ──▶ PlatformConfig `active`
//! ```
//! A platform that gives nothing has an empty one. What is kept for a start without the platform is `adopt`'s business.

use corten_resource::{Plan, Spec, Transform, View, controller};
use corten_resources::network::{
    AddressSpec, HostnameSpec, Layer, LinkSpec, OperatorSpec, PlatformConfig, ResolverSpec, RouteSpec,
    TimeServerSpec,
};
use corten_resources::runtime::PlatformMetadata;

/// Publishes what the platform says.
#[derive(Debug)]
pub struct PlatformPublish;

controller!(PlatformPublish, "network.PlatformPublish",
inputs: [
    weak AddressSpec in "network-config",
    weak LinkSpec in "network-config",
    weak RouteSpec in "network-config",
    weak HostnameSpec in "network-config",
    weak ResolverSpec in "network-config",
    weak TimeServerSpec in "network-config",
    weak OperatorSpec in "network-config",
    weak PlatformMetadata,
],
outputs: [shared PlatformConfig]);

/// The specifications of the platform.
fn of_platform<S: Spec>(view: &View<PlatformPublish>, layer: impl Fn(&S) -> Layer) -> Vec<S>
where
    PlatformPublish: corten_resource::Reads<S>,
{
    let rows = view.list::<S>().into_iter().map(|row| &row.spec);
    rows.filter(|spec| layer(spec) == Layer::Platform).cloned().collect()
}

impl Transform for PlatformPublish {
    fn plan(&self, view: &View<Self>) -> Plan<Self> {
        let mut plan = Plan::new();
        let metadata = view.list::<PlatformMetadata>();
        let config = PlatformConfig {
            addresses: of_platform::<AddressSpec>(view, |spec| spec.layer),
            links: of_platform::<LinkSpec>(view, |spec| spec.layer),
            routes: of_platform::<RouteSpec>(view, |spec| spec.layer),
            hostnames: of_platform::<HostnameSpec>(view, |spec| spec.layer),
            resolvers: of_platform::<ResolverSpec>(view, |spec| spec.layer),
            time_servers: of_platform::<TimeServerSpec>(view, |spec| spec.layer),
            operators: of_platform::<OperatorSpec>(view, |spec| spec.layer),
            metadata: metadata.first().map(|row| row.spec.clone()),
            ..PlatformConfig::default()
        };
        plan.put::<PlatformConfig>(PlatformConfig::ACTIVE, config);
        plan
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::{resource, resource_in};
    use corten_resources::network::{CONFIG_NAMESPACE, layered_id};

    use super::*;

    #[test]
    fn only_the_platforms_layer_is_its_word() {
        let link = |layer, name: &str| {
            resource_in(CONFIG_NAMESPACE, &layered_id(layer, name), LinkSpec::up(layer, name))
        };
        let metadata = PlatformMetadata { platform: "container".into(), ..PlatformMetadata::default() };
        let resources = [
            link(Layer::Platform, "eth0"),
            link(Layer::Configuration, "eth1"),
            resource("platformmetadata", metadata.clone()),
        ];
        let plan = PlatformPublish.plan(&View::of(resources, UNIX_EPOCH));
        let config = plan.output::<PlatformConfig>(PlatformConfig::ACTIVE).expect("a configuration");
        assert_eq!(config.links, [LinkSpec::up(Layer::Platform, "eth0")]);
        assert_eq!(config.metadata, Some(metadata));
        assert!(config.addresses.is_empty());
    }
}
