//! What the machine is made of.

use std::time::Duration;

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

/// A function of a PCI device; the id is its address.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PCIDevices.hardware.talos.dev", namespace = "hardware", aliases("devices", "device"),
    columns("Class" => "{.class}", "Subclass" => "{.subclass}", "Vendor" => "{.vendor}", "Product" => "{.product}", "Driver" => "{.driver}"))]
pub struct PciDevice {
    /// Name of its class.
    #[field(1, "class", omitempty)]
    pub class: String,
    /// Name of its subclass.
    #[field(2, "subclass", omitempty)]
    pub subclass: String,
    /// Name of its maker.
    #[field(3, "vendor", omitempty)]
    pub vendor: String,
    /// Name of the product.
    #[field(4, "product", omitempty)]
    pub product: String,
    /// Class, as `0x02`.
    #[field(5, "class_id")]
    pub class_id: String,
    /// Subclass, as `0x00`.
    #[field(6, "subclass_id")]
    pub subclass_id: String,
    /// Maker, as `0x8086`.
    #[field(7, "vendor_id")]
    pub vendor_id: String,
    /// Product, as `0x1533`.
    #[field(8, "product_id")]
    pub product_id: String,
    /// Driver that it is bound to.
    #[field(9, "driver", omitempty)]
    pub driver: String,
}

/// Another driver that a PCI function should have; the id is its address.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PCIDriverRebindConfigs.runtime.talos.dev", namespace = "hardware",
    columns("Target Driver" => "{.targetDriver}"))]
pub struct PciDriverRebindConfig {
    /// Its address.
    #[field(1, "pciID")]
    pub pci_id: String,
    /// The driver.
    #[field(2, "targetDriver")]
    pub target_driver: String,
}

/// A PCI function that has the driver it should have; the id is its address.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PCIDriverRebindStatuses.runtime.talos.dev", namespace = "hardware", aliases("pcidriverrebinds"),
    columns("Target Driver" => "{.targetDriver}"))]
pub struct PciDriverRebindStatus {
    /// Its address.
    #[field(1, "pciID")]
    pub pci_id: String,
    /// The driver.
    #[field(2, "targetDriver")]
    pub target_driver: String,
}

/// A core as the kernel sees it; the id is `SOCKET-CORE`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "CPUCores.hardware.talos.dev", namespace = "hardware", aliases("cpucore", "cpucores"),
    columns("Socket" => "{.socket}", "Core" => "{.coreID}", "Logical CPUs" => "{.logicalCPUs}", "Model" => "{.modelName}"))]
pub struct CpuCore {
    /// Socket that it is in.
    #[field(1, "socket", omitempty)]
    pub socket: String,
    /// Number of the core in its socket.
    #[field(2, "coreID", omitempty)]
    pub core_id: String,
    /// Numbers of its threads.
    #[field(3, "logicalCPUs", omitempty)]
    pub logical_cpus: Vec<u32>,
    /// Maker.
    #[field(4, "vendorID", omitempty)]
    pub vendor_id: String,
    /// Family.
    #[field(5, "cpuFamily", omitempty)]
    pub cpu_family: String,
    /// Number of the model.
    #[field(6, "model", omitempty)]
    pub model: String,
    /// Name of the model.
    #[field(7, "modelName", omitempty)]
    pub model_name: String,
    /// Stepping.
    #[field(8, "stepping", omitempty)]
    pub stepping: String,
    /// Version of the microcode.
    #[field(9, "microcode", omitempty)]
    pub microcode: String,
    /// Size of the cache.
    #[field(10, "cacheSize", omitempty)]
    pub cache_size: String,
    /// Cores of the socket.
    #[field(11, "coresPerSocket", omitempty)]
    pub cores_per_socket: u32,
    /// Threads of the socket.
    #[field(12, "threadsPerSocket", omitempty)]
    pub threads_per_socket: u32,
    /// What it can do.
    #[field(13, "flags", omitempty)]
    pub flags: Vec<String>,
    /// What is known to be wrong with it.
    #[field(14, "bugs", omitempty)]
    pub bugs: Vec<String>,
    /// How fast it counts, as the kernel measured.
    #[field(15, "bogoMips", omitempty)]
    pub bogo_mips: f64,
    /// Bits of addresses.
    #[field(16, "addressSizes", omitempty)]
    pub address_sizes: String,
}

/// A register of the TPM was extended; the id is its number.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PCRStatuses.hardware.talos.dev", namespace = "hardware")]
pub struct PcrStatus {}

/// The watchdog that should be armed. Singleton `timer`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "WatchdogTimerConfigs.runtime.talos.dev", namespace = "runtime",
    columns("Device" => "{.device}", "Timeout" => "{.timeout}"))]
pub struct WatchdogTimerConfig {
    /// `/dev/…`.
    #[field(1, "device")]
    pub device: String,
    /// After how long a silent machine restarts.
    #[field(2, "timeout")]
    pub timeout: Duration,
}

impl WatchdogTimerConfig {
    /// Id of the only one.
    pub const ID: &'static str = "timer";
}

/// The watchdog that is armed. Singleton `timer`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "WatchdogTimerStatuses.runtime.talos.dev", namespace = "runtime",
    columns("Device" => "{.device}", "Timeout" => "{.timeout}"))]
pub struct WatchdogTimerStatus {
    /// `/dev/…`.
    #[field(1, "device")]
    pub device: String,
    /// After how long a silent machine restarts, as the watchdog says.
    #[field(2, "timeout")]
    pub timeout: Duration,
    /// How often it is told that the machine is alive.
    #[field(3, "feedInterval")]
    pub feed_interval: Duration,
}
