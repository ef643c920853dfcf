//! The machine as a running system: stage, services' surroundings, kernel parameters and modules, META.

mod evidence;
mod machine;
mod system;

use std::collections::BTreeMap;

use corten_resource::{Enumeration, Record, Resource};

pub use evidence::{BootEnd, BootRecord, DebugSession};
pub use machine::{MachineStage, MachineStatus, MachineStatusStatus, UnmetCondition};
pub use system::{
    AcquireConfigSpec, AcquireConfigStatus, BootedEntry, Environment, ExtensionCompatibility,
    ExtensionConstraint, ExtensionMetadata, ExtensionServiceConfig, ExtensionServiceConfigFile,
    ExtensionServiceConfigStatus, ExtensionStatus, ImageFactorySchematic, LoadedKernelModule,
    MachineResetSignal, OomAction, RebootRequest, ServicePid, UnattendedInstallPhase,
    UnattendedInstallStatus,
};

/// How apid listens and authenticates. Singleton `apid`; read by apid alone.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "APIServiceConfigs.runtime.talos.dev", namespace = "runtime")]
pub struct ApiServiceConfig {
    /// `host:port`; empty host means all addresses.
    #[field(1, "listenAddress")]
    pub listen_address: String,
    /// Requests for other machines are refused.
    #[field(2, "nodeRoutingDisabled")]
    pub node_routing_disabled: bool,
    /// Every peer is a reader, peers on the SideroLink network are administrators.
    #[field(3, "readonlyRoleMode")]
    pub readonly_role_mode: bool,
    /// Clients need no certificate.
    #[field(4, "skipVerifyingClientCert")]
    pub skip_verifying_client_cert: bool,
}

/// The kernel's boot id. Singleton `boot-id`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "BootIDs.runtime.talos.dev", namespace = "runtime", columns("BootID" => "{.bootID}"))]
pub struct BootId {
    /// UUID of this boot.
    #[field(1, "bootID")]
    pub boot_id: String,
}

/// Whether devices have settled. Singleton `devices`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DevicesStatuses.runtime.talos.dev", namespace = "runtime", columns("Ready" => "{.ready}"))]
pub struct DevicesStatus {
    /// udev has handled the coldplug events.
    #[field(1, "ready")]
    pub ready: bool,
}

/// A warning about the machine that lasts; the id names the check.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Diagnostics.runtime.talos.dev", namespace = "runtime",
    columns("Message" => "{.message}", "Details" => "{.details}"))]
pub struct Diagnostic {
    /// What is wrong, in one sentence.
    #[field(1, "message")]
    pub message: String,
    /// Facts and ways out.
    #[field(2, "details")]
    pub details: Vec<String>,
}

/// `/proc/cmdline`. Singleton `cmdline`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KernelCmdlines.runtime.talos.dev", namespace = "runtime", aliases("cmdline"), columns("Cmdline" => "{.cmdline}"))]
pub struct KernelCmdline {
    /// The whole line.
    #[field(1, "cmdline")]
    pub cmdline: String,
}

/// A kernel module to load; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KernelModuleSpecs.runtime.talos.dev", namespace = "runtime")]
pub struct KernelModuleSpec {
    /// Module.
    #[field(1, "string")]
    pub name: String,
    /// `key=value` parameters.
    #[field(2, "parameters")]
    pub parameters: Vec<String>,
}

/// A kernel parameter that should have a value; the id is `proc.sys.…` or `sys.…`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KernelParamSpecs.runtime.talos.dev", namespace = "runtime")]
pub struct KernelParamSpec {
    /// Value as written to the file.
    #[field(1, "value")]
    pub value: String,
    /// A kernel without the parameter is no error.
    #[field(2, "ignoreErrors")]
    pub ignore_errors: bool,
}

/// A kernel parameter that Corten sets unless the configuration says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KernelParamDefaultSpecs.runtime.talos.dev", namespace = "runtime")]
pub struct KernelParamDefaultSpec {
    /// Value as written to the file.
    #[field(1, "value")]
    pub value: String,
    /// A kernel without the parameter is no error.
    #[field(2, "ignoreErrors")]
    pub ignore_errors: bool,
}

/// A kernel parameter as the kernel shows it.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KernelParamStatuses.runtime.talos.dev", namespace = "runtime", aliases("sysctls", "kernelparameters", "kernelparams"),
    columns("Current" => "{.current}", "Default" => "{.default}", "Unsupported" => "{.unsupported}"))]
pub struct KernelParamStatus {
    /// Value now.
    #[field(1, "current")]
    pub current: String,
    /// Value before we set it.
    #[field(2, "default")]
    pub default: String,
    /// This kernel does not have it, or does not let us set it.
    #[field(3, "unsupported")]
    pub unsupported: bool,
}

/// Where the maintenance service listens. Singleton `maintenance`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MaintenanceServiceConfigs.runtime.talos.dev", namespace = "runtime",
    columns("Listen Address" => "{.listenAddress}", "Reachable Addresses" => "{.reachableAddresses}"))]
pub struct MaintenanceServiceConfig {
    /// `host:port`.
    #[field(1, "listenAddress")]
    pub listen_address: String,
    /// Addresses under which a person reaches it.
    #[field(2, "reachableAddresses")]
    pub reachable_addresses: Vec<std::net::IpAddr>,
}

/// Presence means that the machine waits for a configuration. Singleton `maintenance`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MaintenanceServiceRequests.runtime.talos.dev", namespace = "runtime")]
pub struct MaintenanceServiceRequest {}

/// One META tag; the id is its number as `0x06`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MetaKeys.runtime.talos.dev", namespace = "runtime", aliases("meta"), columns("Value" => "{.value}"))]
pub struct MetaKey {
    /// Value.
    #[field(1, "value")]
    pub value: String,
}

/// META has been read. Singleton `meta-loaded`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MetaLoads.runtime.talos.dev", namespace = "runtime")]
pub struct MetaLoaded {
    /// Read.
    #[field(1, "done")]
    pub done: bool,
}

/// A mount that belongs to the system.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MountStatuses.runtime.talos.dev", namespace = "runtime", aliases("mounts"),
    columns("Source" => "{.source}", "Target" => "{.target}", "Filesystem Type" => "{.filesystemType}"))]
pub struct MountStatus {
    /// Device.
    #[field(1, "source")]
    pub source: String,
    /// Mount point.
    #[field(2, "target")]
    pub target: String,
    /// File system.
    #[field(3, "filesystemType")]
    pub filesystem_type: String,
    /// Options in effect.
    #[field(4, "options")]
    pub options: Vec<String>,
    /// Below it is an encrypted device.
    #[field(5, "encrypted")]
    pub encrypted: bool,
    /// How it is encrypted.
    #[field(6, "encryptionProviders", omitempty)]
    pub encryption_providers: Vec<String>,
}

/// What the platform says about this machine. Singleton `platformmetadata`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "PlatformMetadatas.talos.dev", namespace = "runtime",
    columns("Platform" => "{.platform}", "Type" => "{.instanceType}", "Region" => "{.region}", "Zone" => "{.zone}"))]
pub struct PlatformMetadata {
    /// Platform name.
    #[field(1, "platform", omitempty)]
    pub platform: String,
    /// Host name from the platform.
    #[field(2, "hostname", omitempty)]
    pub hostname: String,
    /// Region.
    #[field(3, "region", omitempty)]
    pub region: String,
    /// Zone.
    #[field(4, "zone", omitempty)]
    pub zone: String,
    /// Instance type.
    #[field(5, "instanceType", omitempty)]
    pub instance_type: String,
    /// Instance id.
    #[field(6, "instanceId", omitempty)]
    pub instance_id: String,
    /// Provider id for the Node object.
    #[field(7, "providerId", omitempty)]
    pub provider_id: String,
    /// Spot instance.
    #[field(8, "spot", omitempty)]
    pub spot: bool,
    /// Name in the platform's network.
    #[field(9, "internalDNS", omitempty)]
    pub internal_dns: String,
    /// Name for the world.
    #[field(10, "externalDNS", omitempty)]
    pub external_dns: String,
    /// Tags of the instance.
    #[field(11, "tags", omitempty)]
    pub tags: BTreeMap<String, String>,
}

/// Truths about the machine's protection. Singleton `securitystate`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SecurityStates.talos.dev", namespace = "runtime",
    columns("SecureBoot" => "{.secureBoot}", "SELinuxState" => "{.selinuxState}", "BootedWithUKI" => "{.bootedWithUKI}"))]
pub struct SecurityState {
    /// Firmware enforced signatures at this boot.
    #[field(1, "secureBoot")]
    pub secure_boot: bool,
    /// Whose key signed the UKI.
    #[field(2, "ukiSigningKeyFingerprint", omitempty)]
    pub uki_signing_key_fingerprint: String,
    /// Whose key signed the PCR policy.
    #[field(3, "pcrSigningKeyFingerprint", omitempty)]
    pub pcr_signing_key_fingerprint: String,
    /// SELinux mode.
    #[field(4, "selinuxState", omitempty)]
    pub selinux_state: SelinuxState,
    /// Booted from a UKI.
    #[field(5, "bootedWithUKI", omitempty)]
    pub booted_with_uki: bool,
    /// FIPS 140 mode.
    #[field(6, "fipsState", omitempty)]
    pub fips_state: FipsState,
    /// The kernel loads signed modules only.
    #[field(7, "moduleSignatureEnforced", omitempty)]
    pub module_signature_enforced: bool,
}

/// Whether cryptography is restricted to FIPS 140.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum FipsState {
    /// It is not.
    #[default]
    #[variant(0, "disabled")]
    Disabled,
    /// It is.
    #[variant(1, "enabled")]
    Enabled,
    /// It is, and anything else fails.
    #[variant(2, "enabled, strict")]
    Strict,
}

/// Mode of SELinux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum SelinuxState {
    /// Not active.
    #[default]
    #[variant(0, "disabled")]
    Disabled,
    /// Logs only.
    #[variant(1, "enabled, permissive")]
    Permissive,
    /// In force.
    #[variant(2, "enabled, enforcing")]
    Enforcing,
}

/// Names of the running system. Singleton `version`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Versions.runtime.talos.dev", namespace = "runtime", columns("Version" => "{.version}"))]
pub struct Version {
    /// Version.
    #[field(1, "version")]
    pub version: String,
    /// Name.
    #[field(2, "name")]
    pub name: String,
}

/// One third-party part of the image.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SBOMItems.talos.dev", namespace = "runtime",
    columns("Version" => "{.version}", "License" => "{.license}"))]
pub struct SbomItem {
    /// Name.
    #[field(1, "name")]
    pub name: String,
    /// Version.
    #[field(2, "version")]
    pub version: String,
    /// SPDX licence expression.
    #[field(3, "license", omitempty)]
    pub license: String,
    /// CPE names.
    #[field(4, "cpes", omitempty)]
    pub cpes: Vec<String>,
    /// Package URLs.
    #[field(5, "purls", omitempty)]
    pub purls: Vec<String>,
    /// From an extension.
    #[field(6, "extension", omitempty)]
    pub extension: bool,
}

/// How far the sequencer has come in this boot; ours, so that a new machined goes on where the old one was.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SequencerPositions.corten.dev", namespace = "runtime", internal)]
pub struct SequencerPosition {
    /// Sequence that runs or has run last.
    #[field(1, "sequence")]
    pub sequence: String,
    /// Phases of it that are finished.
    #[field(2, "phasesDone")]
    pub phases_done: u32,
    /// The whole sequence is finished.
    #[field(3, "finished")]
    pub finished: bool,
    /// Actor whose request started it; empty at boot.
    #[field(4, "actor")]
    pub actor: String,
    /// Stage of the machine that follows from it.
    #[field(5, "stage")]
    pub stage: MachineStage,
}

/// Which services may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum GateOpenness {
    /// Those that every stage needs.
    #[default]
    #[variant(0, "early")]
    Early,
    /// All.
    #[variant(1, "all")]
    All,
    /// The machine is going down: those that every stage needs, nothing new.
    #[variant(2, "going")]
    Going,
}

/// The gate in front of services. Ours, journalled by the service manager. Singleton `services`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ServiceGates.corten.dev", namespace = "runtime", internal)]
pub struct ServiceGate {
    /// How far it is open.
    #[field(1, "openness")]
    pub openness: GateOpenness,
}

/// A module of the running kernel; the id is its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KernelModuleStatuses.runtime.talos.dev", namespace = "runtime", aliases("module", "modules"),
    columns("Type" => "{.type}", "State" => "{.state}", "Size" => "{.size}"))]
pub struct KernelModuleStatus {
    /// `dynamic` or `builtin`.
    #[field(1, "type")]
    pub kind: String,
    /// Bytes.
    #[field(2, "size")]
    pub size: i64,
    /// Users.
    #[field(3, "referenceCount")]
    pub reference_count: i64,
    /// Modules that use it.
    #[field(4, "dependencies", omitempty)]
    pub dependencies: Vec<String>,
    /// `Live`, `Loading` or `Unloading`.
    #[field(5, "state")]
    pub state: String,
    /// Always hidden.
    #[field(6, "address")]
    pub address: String,
}

/// A value of META that no volume holds yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Record)]
pub struct MetaValue {
    /// Tag, one byte.
    #[field(1, "key")]
    pub key: u32,
    /// Value.
    #[field(2, "value")]
    pub value: Vec<u8>,
}

/// META was written since it was read. Ours. Singleton `meta`.
///
/// Written by who changes META; read by who publishes it.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "MetaChanges.corten.dev", namespace = "runtime", internal)]
pub struct MetaChange {
    /// How often.
    #[field(1, "count")]
    pub count: u64,
    /// What was written while the machine has no META volume; kept for this boot, and written to one that appears.
    #[field(2, "pending")]
    pub pending: Vec<MetaValue>,
}

impl MetaChange {
    /// Id of the only one.
    pub const ID: &'static str = "meta";
}

/// What is to be wiped by a reset that somebody asked for. The id is that of the actor.
///
/// Written by the API; read by the sequencer, also by that of a machined that was started meanwhile. Ours only.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ResetIntents.corten.dev", namespace = "runtime", internal)]
pub struct ResetIntent {
    /// The machine leaves etcd first.
    #[field(1, "graceful")]
    pub graceful: bool,
    /// Volumes, in the order in which they are wiped.
    #[field(2, "volumes")]
    pub volumes: Vec<String>,
}
