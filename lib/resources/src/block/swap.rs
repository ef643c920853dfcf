//! Swap, and compressed memory in front of it.

use corten_resource::Resource;

/// Swap in use; the id is the device.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SwapStatuses.block.talos.dev", namespace = "runtime", aliases("swap", "swaps"),
    columns("Device" => "{.device}", "Size" => "{.sizeHuman}", "Used" => "{.usedHuman}", "Priority" => "{.priority}"))]
pub struct SwapStatus {
    /// `/dev/…`.
    #[field(1, "device")]
    pub device: String,
    /// Bytes.
    #[field(2, "size")]
    pub size: u64,
    /// Size for people.
    #[field(3, "sizeHuman")]
    pub size_human: String,
    /// Bytes in use.
    #[field(4, "used")]
    pub used: u64,
    /// What is in use, for people.
    #[field(5, "usedHuman")]
    pub used_human: String,
    /// The highest is used first.
    #[field(6, "priority")]
    pub priority: i32,
    /// `partition` or `file`.
    #[field(7, "type")]
    pub kind: String,
}

/// Counters of compressed memory. Singleton `zswap`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ZswapStatuses.block.talos.dev", namespace = "runtime",
    columns("Total Size" => "{.totalSizeHuman}", "Stored Pages" => "{.storedPages}", "Written Back" => "{.writtenBackPages}", "Pool Limit Hit" => "{.poolLimitHit}"))]
pub struct ZswapStatus {
    /// Bytes that it takes.
    #[field(1, "totalSize")]
    pub total_size: u64,
    /// The same for people.
    #[field(2, "totalSizeHuman")]
    pub total_size_human: String,
    /// Pages in it.
    #[field(3, "storedPages")]
    pub stored_pages: u64,
    /// How often it was full.
    #[field(4, "poolLimitHit")]
    pub pool_limit_hit: u64,
    /// Pages refused because nothing could be reclaimed.
    #[field(5, "rejectReclaimFail")]
    pub reject_reclaim_fail: u64,
    /// Pages refused because there was no memory for them.
    #[field(6, "rejectAllocFail")]
    pub reject_alloc_fail: u64,
    /// Pages refused because there was no memory for their descriptions.
    #[field(7, "rejectKmemcacheFail")]
    pub reject_kmemcache_fail: u64,
    /// Pages refused because compressing failed.
    #[field(8, "rejectCompressFail")]
    pub reject_compress_fail: u64,
    /// Pages refused because they do not compress.
    #[field(9, "rejectCompressPoor")]
    pub reject_compress_poor: u64,
    /// Pages written to swap after all.
    #[field(10, "writtenBackPages")]
    pub written_back_pages: u64,
}

impl ZswapStatus {
    /// Id of the only one.
    pub const ID: &'static str = "zswap";
}
