//! The manager itself: its version and features, the media that it offers, and small errands of its own.
//!
//! ```text
//! configuration of the manager ─▶ SysVersion, FeaturesConfig ─▶ clients
//! InstallationMediaConfig (a saved choice) ─▶ schematic ─▶ medium to boot
//! machine leaves its cluster ─▶ DiscoveryAffiliateDeleteTask ─▶ discovery service
//! ```

use std::collections::BTreeMap;

use corten_resource::{Enumeration, Nanos, Record, Resource};

use crate::machine::GrpcTunnelMode;
use crate::views::Architecture;

/// How far the stored resources were brought to newer forms. Singleton `current`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DBVersions.system.sidero.dev", namespace = "default", message)]
pub struct DbVersion {
    /// Number of steps that were taken.
    #[field(1, "version")]
    pub version: u64,
}

impl DbVersion {
    /// Id of the only one.
    pub const ID: &'static str = "current";
}

/// Which manager this is. Singleton `current`; the first thing that clients read.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "SysVersions.system.sidero.dev", namespace = "ephemeral", message)]
pub struct SysVersion {
    /// Version of the program, with `v`. Clients warn when major or minor are not theirs.
    #[field(1, "backendversion")]
    pub backend_version: String,
    /// Name of the account; the contexts of client configurations are named after it.
    #[field(2, "instancename")]
    pub instance_name: String,
    /// Version of the resource protocol. Clients refuse to work with any other than their own.
    #[field(3, "backendapiversion")]
    pub backend_api_version: u32,
}

impl SysVersion {
    /// Id of the only one.
    pub const ID: &'static str = "current";
}

/// It is time to look for client certificates that expire, by the time; it comes ten times in the life of one.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "CertRefreshTicks.system.sidero.dev", namespace = "ephemeral", message)]
pub struct CertRefreshTick {}

/// Limits of backups of etcd.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct EtcdBackupSettings {
    /// How often it is looked whether one is due.
    #[field(1, "tickinterval")]
    pub tick_interval: Nanos,
    /// Shortest interval that a cluster may ask for.
    #[field(2, "mininterval")]
    pub min_interval: Nanos,
    /// Longest interval that a cluster may ask for.
    #[field(3, "maxinterval")]
    pub max_interval: Nanos,
}

/// Product tours in the web interface by Userpilot.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct UserPilotSettings {
    /// Token of the application, which every visitor of a page gets; none without tours.
    #[field(1, "apptoken")]
    pub app_token: String,
}

/// Billing by Stripe.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct StripeSettings {
    /// The account is billed.
    #[field(1, "enabled")]
    pub enabled: bool,
    /// How many machines are paid for at least.
    #[field(2, "mincommit")]
    pub min_commit: u32,
}

/// Statistics of the web interface by PostHog.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PosthogSettings {
    /// Key of the project, which every visitor of a page gets; none without statistics.
    #[field(1, "apikey")]
    pub api_key: String,
    /// Where events are sent, a URL.
    #[field(2, "apihost")]
    pub api_host: String,
}

/// Whose manager this is.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct Account {
    /// A UUID.
    #[field(1, "id")]
    pub id: String,
    /// Name for people.
    #[field(2, "name")]
    pub name: String,
}

/// What this manager can do, for clients to show or hide. Singleton `features-config`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "FeaturesConfigs.omni.sidero.dev", namespace = "default", message)]
pub struct FeaturesConfig {
    /// Services of clusters can be exposed.
    #[field(1, "enableworkloadproxying")]
    pub enable_workload_proxying: bool,
    /// Limits of backups of etcd; absent if there is no place to put them.
    #[field(2, "etcdbackupsettings")]
    pub etcd_backup_settings: Option<EtcdBackupSettings>,
    /// Clusters can use the discovery service of the manager.
    #[field(3, "embeddeddiscoveryservice")]
    pub embedded_discovery_service: bool,
    /// It is written down who did what.
    #[field(4, "auditlogenabled")]
    pub audit_log_enabled: bool,
    /// The image factory, a URL.
    #[field(5, "imagefactorybaseurl")]
    pub image_factory_base_url: String,
    /// Product tours.
    #[field(6, "userpilotsettings")]
    pub user_pilot_settings: Option<UserPilotSettings>,
    /// Billing.
    #[field(7, "stripesettings")]
    pub stripe_settings: Option<StripeSettings>,
    /// Versions of the operating system that are not released yet may be chosen.
    #[field(8, "talosprereleaseversionsenabled")]
    pub talos_pre_release_versions_enabled: bool,
    /// Where the image factory serves network boot, a URL.
    #[field(9, "imagefactorypxebaseurl")]
    pub image_factory_pxe_base_url: String,
    /// Whose manager this is.
    #[field(10, "account")]
    pub account: Option<Account>,
    /// The image factory is of the enterprise edition and scans images for vulnerabilities.
    #[field(11, "isenterpriseimagefactory")]
    pub is_enterprise_image_factory: bool,
    /// Statistics.
    #[field(12, "posthogsettings")]
    pub posthog_settings: Option<PosthogSettings>,
    /// A second image factory for versions that the first one does not have, a URL.
    #[field(13, "secondaryimagefactorybaseurl")]
    pub secondary_image_factory_base_url: String,
    /// Where the second one serves network boot, a URL.
    #[field(14, "secondaryimagefactorypxebaseurl")]
    pub secondary_image_factory_pxe_base_url: String,
}

impl FeaturesConfig {
    /// Id of the only one.
    pub const ID: &'static str = "features-config";
}

/// A medium that older clients can download, by its name.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InstallationMedias.omni.sidero.dev", namespace = "ephemeral", message)]
pub struct InstallationMedia {
    /// Name for people; clients find the medium by a part of it.
    #[field(1, "name")]
    pub name: String,
    /// `amd64` or `arm64`.
    #[field(2, "architecture")]
    pub architecture: String,
    /// What the image factory calls it, such as `iso` or the name of a platform.
    #[field(3, "profile")]
    pub profile: String,
    /// MIME type.
    #[field(6, "contenttype")]
    pub content_type: String,
    /// Begin of the file name at the image factory.
    #[field(7, "srcfileprefix")]
    pub src_file_prefix: String,
    /// Begin of the name under which it is saved.
    #[field(8, "destfileprefix")]
    pub dest_file_prefix: String,
    /// End of both names, without dot.
    #[field(9, "extension")]
    pub extension: String,
    /// There is none for secure boot.
    #[field(11, "nosecureboot")]
    pub no_secure_boot: bool,
    /// Overlay of the board that it is for; empty for others.
    #[field(12, "overlay")]
    pub overlay: String,
    /// Oldest version of the operating system that has it, without `v`; empty if all have.
    #[field(13, "mintalosversion")]
    pub min_talos_version: String,
}

/// A medium for a cloud.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct CloudMedium {
    /// Id of the platform.
    #[field(1, "platform")]
    pub platform: String,
}

/// A medium for a single-board computer.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct SbcMedium {
    /// Id of the board.
    #[field(1, "overlay")]
    pub overlay: String,
    /// Options of the overlay, YAML.
    #[field(2, "overlayoptions")]
    pub overlay_options: String,
}

/// What loads the kernel of a medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Enumeration)]
pub enum Bootloader {
    /// What the version and the architecture usually have.
    #[default]
    #[variant(0, "auto")]
    Auto,
    /// systemd-boot for UEFI and GRUB for BIOS.
    #[variant(1, "dual-boot")]
    Dual,
    /// systemd-boot alone.
    #[variant(2, "sd-boot")]
    SystemdBoot,
    /// GRUB alone.
    #[variant(3, "grub")]
    Grub,
}

/// A medium that a person put together and saved, by a name. For bare metal neither `cloud` nor `sbc` is set.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "InstallationMediaConfigs.omni.sidero.dev", namespace = "default", sensitive, message)]
pub struct InstallationMediaConfig {
    /// Version of the operating system, without `v`.
    #[field(1, "talosversion")]
    pub talos_version: String,
    /// Processor of the machines; must be given.
    #[field(2, "architecture")]
    pub architecture: Architecture,
    /// Names of the system extensions in it.
    #[field(3, "installextensions")]
    pub install_extensions: Vec<String>,
    /// Kernel arguments beside those that let machines join, separated by spaces.
    #[field(4, "kernelargs")]
    pub kernel_args: String,
    /// The cloud that it is for.
    #[field(5, "cloud")]
    pub cloud: Option<CloudMedium>,
    /// The single-board computer that it is for.
    #[field(6, "sbc")]
    pub sbc: Option<SbcMedium>,
    /// Join token in it; empty for the default one at the time of the download.
    #[field(7, "jointoken")]
    pub join_token: String,
    /// It is for secure boot.
    #[field(8, "secureboot")]
    pub secure_boot: bool,
    /// Whether machines that boot it tunnel through gRPC.
    #[field(9, "grpctunnel")]
    pub grpc_tunnel: GrpcTunnelMode,
    /// Labels that machines get when they join.
    #[field(10, "machinelabels")]
    pub machine_labels: BTreeMap<String, String>,
    /// What loads the kernel.
    #[field(11, "bootloader")]
    pub bootloader: Bootloader,
    /// Documents of the machine configuration in it, YAML.
    #[field(12, "embeddedmachineconfig")]
    pub embedded_machine_config: String,
    /// Image factory that makes it, a URL; empty for the first one.
    #[field(13, "imagefactoryurl")]
    pub image_factory_url: String,
}

/// A machine that left its cluster is still announced there, by the id of its affiliate.
///
/// The task goes when the discovery service forgot the affiliate, or after 30 minutes, when it would have by itself.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "DiscoveryAffiliateDeleteTasks.omni.sidero.dev", namespace = "default", message)]
pub struct DiscoveryAffiliateDeleteTask {
    /// Id of the cluster at the discovery service.
    #[field(1, "clusterid")]
    pub cluster_id: String,
    /// The discovery service, a URL, as older versions wrote it.
    #[field(2, "discoveryserviceendpoint")]
    pub discovery_service_endpoint: String,
    /// All discovery services of the cluster, URLs.
    #[field(3, "discoveryserviceendpoints")]
    pub discovery_service_endpoints: Vec<String>,
}
