//! What the machine is made of.

use corten_resource::Resource;

/// SMBIOS type 1: the machine as its maker named it. Singleton `systeminformation`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SystemInformations.hardware.talos.dev", namespace = "hardware", aliases("systeminformation"),
    columns("Manufacturer" => "{.manufacturer}", "ProductName" => "{.productName}", "SerialNumber" => "{.serialnumber}", "UUID" => "{.uuid}"))]
pub struct SystemInformation {
    /// Maker.
    #[field(1, "manufacturer", omitempty)]
    pub manufacturer: String,
    /// Product.
    #[field(2, "productName", omitempty)]
    pub product_name: String,
    /// Product version.
    #[field(3, "version", omitempty)]
    pub version: String,
    /// Serial number.
    #[field(4, "serialnumber", omitempty)]
    pub serial_number: String,
    /// Machine UUID, or its override from META.
    #[field(5, "uuid", omitempty)]
    pub uuid: String,
    /// What woke the machine.
    #[field(6, "wakeUpType", omitempty)]
    pub wake_up_type: String,
    /// Stock keeping unit.
    #[field(7, "skuNumber", omitempty)]
    pub sku_number: String,
    /// Firmware version.
    #[field(8, "biosVersion", omitempty)]
    pub bios_version: String,
}

/// SMBIOS type 4: one processor socket.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Processors.hardware.talos.dev", namespace = "hardware", aliases("cpus", "cpu"),
    columns("Manufacturer" => "{.manufacturer}", "Model" => "{.productName}", "Cores" => "{.coreCount}", "Threads" => "{.threadCount}"))]
pub struct Processor {
    /// Socket name.
    #[field(1, "socket", omitempty)]
    pub socket: String,
    /// Maker.
    #[field(2, "manufacturer", omitempty)]
    pub manufacturer: String,
    /// Model.
    #[field(3, "productName", omitempty)]
    pub product_name: String,
    /// Highest speed, MHz.
    #[field(4, "maxSpeedMhz", omitempty)]
    pub max_speed_mhz: u32,
    /// Speed at boot, MHz.
    #[field(5, "bootSpeedMhz", omitempty)]
    pub boot_speed_mhz: u32,
    /// Status bits of SMBIOS.
    #[field(6, "status", omitempty)]
    pub status: u32,
    /// Serial number.
    #[field(7, "serialNumber", omitempty)]
    pub serial_number: String,
    /// Asset tag.
    #[field(8, "assetTag", omitempty)]
    pub asset_tag: String,
    /// Part number.
    #[field(9, "partNumber", omitempty)]
    pub part_number: String,
    /// Cores.
    #[field(10, "coreCount", omitempty)]
    pub core_count: u32,
    /// Cores in use.
    #[field(11, "coreEnabled", omitempty)]
    pub core_enabled: u32,
    /// Threads.
    #[field(12, "threadCount", omitempty)]
    pub thread_count: u32,
}

/// SMBIOS type 17: one memory module.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MemoryModules.hardware.talos.dev", namespace = "hardware", aliases("memorymodules", "ram"),
    columns("Manufacturer" => "{.manufacturer}", "Model" => "{.productName}", "SizeMiB" => "{.sizeMiB}"))]
pub struct MemoryModule {
    /// Size, MiB.
    #[field(1, "sizeMiB", omitempty)]
    pub size_mib: u32,
    /// Slot.
    #[field(2, "deviceLocator", omitempty)]
    pub device_locator: String,
    /// Bank.
    #[field(3, "bankLocator", omitempty)]
    pub bank_locator: String,
    /// Speed, MT/s.
    #[field(4, "speed", omitempty)]
    pub speed: u32,
    /// Maker.
    #[field(5, "manufacturer", omitempty)]
    pub manufacturer: String,
    /// Serial number.
    #[field(6, "serialNumber", omitempty)]
    pub serial_number: String,
    /// Asset tag.
    #[field(7, "assetTag", omitempty)]
    pub asset_tag: String,
    /// Part number.
    #[field(8, "productName", omitempty)]
    pub product_name: String,
}
