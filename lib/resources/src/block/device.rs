//! Block devices and the names by which they are found.

use corten_resource::Resource;

/// A block device as the kernel shows it; the id is the kernel name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BlockDevices.block.talos.dev", namespace = "runtime",
    columns("Type" => "{.type}", "PartitionName" => "{.partitionName}", "Generation" => "{.generation}", "Parent" => "{.parent}"))]
pub struct BlockDevice {
    /// `disk` or `partition`.
    #[field(1, "type")]
    pub kind: String,
    /// Major number.
    #[field(2, "major")]
    pub major: i64,
    /// Minor number.
    #[field(3, "minor")]
    pub minor: i64,
    /// Label of the partition.
    #[field(4, "partitionName", omitempty)]
    pub partition_name: String,
    /// Number of the partition, from 1.
    #[field(5, "partitionNumber", omitempty)]
    pub partition_number: i64,
    /// Path below `/sys`.
    #[field(7, "devicePath")]
    pub device_path: String,
    /// How often it was seen to be another or to have changed, from 1.
    #[field(6, "generation")]
    pub generation: i64,
    /// Kernel name of the disk.
    #[field(8, "parent", omitempty)]
    pub parent: String,
    /// Kernel names of the devices that it is made of.
    #[field(9, "secondaries", omitempty)]
    pub secondaries: Vec<String>,
}

/// Links below `/dev/disk` that lead to a device; the id is its kernel name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BlockSymlinks.block.talos.dev", namespace = "runtime", columns("Symlinks" => "{.paths}"))]
pub struct BlockSymlink {
    /// The links.
    #[field(1, "paths")]
    pub paths: Vec<String>,
}

/// Somebody changed what is on disks and asks to look again. Singleton `refresh`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DiscoveryRefreshRequests.block.talos.dev", namespace = "runtime", columns("Request" => "{.request}"))]
pub struct DiscoveryRefreshRequest {
    /// Counts requests.
    #[field(1, "request")]
    pub request: i64,
}

impl DiscoveryRefreshRequest {
    /// Id of the only one.
    pub const ID: &'static str = "refresh";
}

/// Which request to look again was the last that was answered. Singleton `refresh`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DiscoveryRefreshStatuses.block.talos.dev", namespace = "runtime", columns("Request" => "{.request}"))]
pub struct DiscoveryRefreshStatus {
    /// The request.
    #[field(1, "request")]
    pub request: i64,
}
