//! What is computed for the one who asks, at the time of asking; nothing of it is stored.
//!
//! ```text
//! caller and AccessPolicy ─▶ CurrentUser, Permissions, ClusterPermissions
//! tables of the operating system ─▶ platforms, boards, Quirks, VersionContract
//! metrics of a cluster ─▶ KubernetesUsage
//! ```

mod permissions;
mod platform;

use std::collections::BTreeMap;

use corten_resource::{Record, Resource};

pub use permissions::{ClusterPermissions, CurrentUser, Permissions};
pub use platform::{
    Architecture, BootMethod, CloudPlatformConfig, MetalPlatformConfig, Quirks, SbcConfig, VersionContract,
};

/// Values that a label has.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct LabelValues {
    /// Sorted, each once.
    #[field(1, "items")]
    pub items: Vec<String>,
}

/// Labels that resources of a type have now, by the type; input fields offer them.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "LabelsCompletions.omni.sidero.dev", namespace = "virtual", message)]
pub struct LabelsCompletion {
    /// Key to values.
    #[field(1, "items")]
    pub items: BTreeMap<String, LabelValues>,
}

/// Where clients outside reach the manager. Singleton `current`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "AdvertisedEndpoints.omni.sidero.dev", namespace = "virtual", message)]
pub struct AdvertisedEndpoints {
    /// The API, a URL.
    #[field(1, "grpcapiurl")]
    pub grpc_api_url: String,
}

impl AdvertisedEndpoints {
    /// Id of the only one.
    pub const ID: &'static str = "current";
}

/// How much of something the pods of a cluster claim, and how much there is.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct ResourceUsage {
    /// Sum of the requests of all pods.
    #[field(1, "requests")]
    pub requests: f64,
    /// Sum of the limits of all pods; may be more than there is.
    #[field(2, "limits")]
    pub limits: f64,
    /// What all nodes have.
    #[field(3, "capacity")]
    pub capacity: f64,
}

/// How many pods there are and can be.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct PodUsage {
    /// Pods that are there.
    #[field(1, "count")]
    pub count: i32,
    /// Pods that all nodes can have.
    #[field(3, "capacity")]
    pub capacity: i32,
}

/// How full a cluster is, by the cluster; computed again and again while somebody watches.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "KubernetesUsages.omni.sidero.dev", namespace = "virtual", message)]
pub struct KubernetesUsage {
    /// Processors, in cores.
    #[field(1, "cpu")]
    pub cpu: Option<ResourceUsage>,
    /// Memory, in bytes.
    #[field(2, "mem")]
    pub mem: Option<ResourceUsage>,
    /// Ephemeral storage, in bytes.
    #[field(3, "storage")]
    pub storage: Option<ResourceUsage>,
    /// Pods.
    #[field(4, "pods")]
    pub pods: Option<PodUsage>,
}

/// When people of the maker can be met.
#[derive(Clone, Debug, Default, PartialEq, Record)]
pub struct OfficeHours {
    /// What it is called.
    #[field(1, "summary")]
    pub summary: String,
    /// What it is about.
    #[field(2, "description")]
    pub description: String,
    /// Time zone of the begin, a name of the IANA database.
    #[field(3, "dtstarttzid")]
    pub dtstart_tzid: String,
    /// Time zone of the end, a name of the IANA database.
    #[field(4, "dtendtzid")]
    pub dtend_tzid: String,
    /// Begin of the first meeting in UTC.
    #[field(5, "dtstartutc")]
    pub dtstart_utc: String,
    /// End of the first meeting in UTC.
    #[field(6, "dtendutc")]
    pub dtend_utc: String,
    /// How it repeats, a rule of iCalendar (RFC 5545).
    #[field(7, "rrule")]
    pub rrule: String,
    /// Where it is held, a URL.
    #[field(8, "meeturl")]
    pub meet_url: String,
}

/// Which help the account has. Singleton `support`.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "Supports.omni.sidero.dev", namespace = "virtual", message)]
pub struct Support {
    /// There is a contract, so the web interface shows how to ask for help.
    #[field(1, "supportenabled")]
    pub support_enabled: bool,
    /// When people of the maker can be met; absent when there is none.
    #[field(2, "officehours")]
    pub office_hours: Option<OfficeHours>,
}

impl Support {
    /// Id of the only one.
    pub const ID: &'static str = "support";
}
