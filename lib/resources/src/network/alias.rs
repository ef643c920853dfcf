//! Other names of links, and when the kernel's links are to be read again.

use corten_resource::Resource;

/// Another name for a link; the id is that of the link in the kernel.
///
/// Written from the configuration; read by the controller that gives links their names.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LinkAliasSpecs.net.talos.dev", namespace = "network", columns("Alias" => "{.alias}"))]
pub struct LinkAliasSpec {
    /// The name.
    #[field(1, "alias")]
    pub alias: String,
}

/// Something about links changed of which the kernel notifies nobody; the id says what.
///
/// Written by controllers that change such things; read by the one that publishes links.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "LinkRefreshes.net.talos.dev",
    namespace = "network",
    columns("Generation" => "{.generation}")
)]
pub struct LinkRefresh {
    /// How often it changed.
    #[field(1, "generation")]
    pub generation: i64,
}

impl LinkRefresh {
    /// Id of changes of WireGuard.
    pub const WIREGUARD: &'static str = "wireguard";
    /// Id of changes of Ethernet devices.
    pub const ETHERNET: &'static str = "ethernet";
}
