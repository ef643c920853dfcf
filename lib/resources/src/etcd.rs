//! Resources of etcd: the user's intent, the resolved specification, its certificates' state and the member's identity.

use std::collections::BTreeMap;
use std::net::IpAddr;

use corten_resource::{Enumeration, Record, Resource};

/// Values of one command line argument that may be given several times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct EtcdArgValues {
    /// The values, in order.
    #[field(1, "values")]
    pub values: Vec<String>,
}

/// What the machine configuration asks of etcd.
///
/// Written from the machine configuration on control planes; read by the etcd specification.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdConfigs.etcd.talos.dev", namespace = "etcd")]
pub struct EtcdConfig {
    /// Addresses may be advertised only out of these subnets.
    #[field(1, "advertiseValidSubnets", omitempty)]
    pub advertise_valid_subnets: Vec<String>,
    /// Addresses of these subnets are never advertised.
    #[field(2, "advertiseExcludeSubnets")]
    pub advertise_exclude_subnets: Vec<String>,
    /// Listen only on addresses of these subnets; empty means on all.
    #[field(5, "listenValidSubnets", omitempty)]
    pub listen_valid_subnets: Vec<String>,
    /// Never listen on addresses of these subnets.
    #[field(6, "listenExcludeSubnets")]
    pub listen_exclude_subnets: Vec<String>,
    /// Image of etcd.
    #[field(3, "image")]
    pub image: String,
    /// Further arguments.
    #[field(7, "extraArgs")]
    pub extra_args: BTreeMap<String, EtcdArgValues>,
}

impl EtcdConfig {
    /// Id of the only one.
    pub const ID: &'static str = "etcd";
}

/// Etcd as it will run: addresses resolved.
///
/// Written by the etcd specification controller; read by the etcd service and the certificates.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "EtcdSpecs.etcd.talos.dev",
    namespace = "etcd",
    columns("Name" => "{.name}", "AdvertisedAddresses" => "{.advertisedAddresses}")
)]
pub struct EtcdSpec {
    /// Name of the member: the hostname.
    #[field(1, "name")]
    pub name: String,
    /// Addresses told to other members and clients.
    #[field(2, "advertisedAddresses")]
    pub advertised_addresses: Vec<IpAddr>,
    /// Addresses to listen on for members.
    #[field(5, "listenPeerAddresses")]
    pub listen_peer_addresses: Vec<IpAddr>,
    /// Addresses to listen on for clients.
    #[field(6, "listenClientAddresses")]
    pub listen_client_addresses: Vec<IpAddr>,
    /// Image of etcd.
    #[field(3, "image")]
    pub image: String,
    /// Further arguments.
    #[field(7, "extraArgs")]
    pub extra_args: BTreeMap<String, EtcdArgValues>,
}

impl EtcdSpec {
    /// Id of the only one.
    pub const ID: &'static str = "etcd";
}

/// The files with etcd's certificates and keys are in place.
///
/// Written by the controller that writes the files; read by the etcd service.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(
    kind = "PKIStatuses.etcd.talos.dev",
    namespace = "etcd",
    columns("Ready" => "{.ready}", "Secrets Version" => "{.version}")
)]
pub struct EtcdPkiStatus {
    /// All files are there.
    #[field(1, "ready")]
    pub ready: bool,
    /// Identifies the content of the files.
    #[field(2, "version")]
    pub version: String,
}

impl EtcdPkiStatus {
    /// Id of the only one.
    pub const ID: &'static str = "etcd";
}

/// This machine's membership in the etcd cluster.
///
/// Written after etcd answered who it is; read by clients that remove members.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdMembers.etcd.talos.dev", namespace = "etcd", columns("ID" => "{.memberID}"))]
pub struct EtcdMember {
    /// Member id, 16 hexadecimal digits.
    #[field(1, "memberID")]
    pub member_id: String,
}

impl EtcdMember {
    /// Id of the only one.
    pub const ID: &'static str = "local";
}

/// How this boot's etcd came into its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum EntryKind {
    /// There were data of a member already.
    #[default]
    #[variant(0, "present")]
    Present,
    /// As the first member of a new cluster.
    #[variant(1, "new")]
    New,
    /// As a further member of a running cluster.
    #[variant(2, "join")]
    Join,
}

/// A member as the command line of etcd names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct EntryMember {
    /// Name.
    #[field(1, "name")]
    pub name: String,
    /// Peer URL.
    #[field(2, "url")]
    pub url: String,
}

/// How etcd came into its cluster, kept for the whole boot: its command line must not change because the data folder filled. Ours only.
///
/// Written and read by the etcd service controller.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdEntries.corten.dev", namespace = "etcd", internal)]
pub struct EtcdEntry {
    /// The way.
    #[field(1, "kind")]
    pub kind: EntryKind,
    /// All members with this one, when it joined.
    #[field(2, "members")]
    pub members: Vec<EntryMember>,
    /// The cluster that this member founds has not answered once yet; nobody may write to it.
    #[field(3, "founding")]
    pub founding: bool,
}

impl EtcdEntry {
    /// Id of the only one.
    pub const ID: &'static str = "etcd";
}

/// This machine has left its cluster and stays out until it starts again. Ours only; id `etcd`.
///
/// Written by the API; read by the etcd service controller, which would otherwise join again or found a new cluster.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "EtcdDepartures.corten.dev", namespace = "etcd", internal)]
pub struct EtcdDeparture {}

impl EtcdDeparture {
    /// Id of the only one.
    pub const ID: &'static str = "etcd";
}
