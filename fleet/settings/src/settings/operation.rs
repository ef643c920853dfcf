//! Logs, registries, and what is switched on.

use std::path::PathBuf;
use std::time::Duration;

use corten_base::Secret;

use super::services::Services;
use super::words::Level;
use crate::values::Values;

/// Settings of the first factory.
const PRIMARY: &str = "registries.factories.primary";
const PRIMARY_URL: &str = "registries.factories.primary.url";

/// What is logged and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// Least level that the manager logs.
    pub level: Level,
    /// Log lines of machines.
    pub machine: MachineLogs,
    /// Who changed and saw what; nothing when it is not noted.
    pub audit: Option<Audit>,
}

impl Logs {
    pub(super) fn read(values: &Values) -> Self {
        Self {
            level: values.word("logs.level", Level::of),
            machine: MachineLogs::read(values),
            audit: Audit::read(values),
        }
    }
}

/// Log lines of machines. Nothing means without limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineLogs {
    /// How often old ones are removed.
    pub cleanup_interval: Duration,
    /// Age from which one is removed.
    pub cleanup_older_than: Duration,
    /// Most lines of a machine.
    pub max_lines_per_machine: Option<u32>,
    /// Most bytes of all machines together.
    pub max_size: Option<u64>,
    /// Most bytes a second from a machine.
    pub rate_limit: Option<u64>,
    /// Most bytes at once from a machine; nothing means those of a second.
    pub rate_burst: Option<u64>,
}

impl MachineLogs {
    fn read(values: &Values) -> Self {
        Self {
            cleanup_interval: values.duration("logs.machine.storage.cleanupInterval"),
            cleanup_older_than: values.duration("logs.machine.storage.cleanupOlderThan"),
            max_lines_per_machine: values.limit("logs.machine.storage.maxLinesPerMachine"),
            max_size: values.limit("logs.machine.storage.maxSize"),
            rate_limit: values.limit("logs.machine.ingestionRateLimitBytesPerSecond"),
            rate_burst: values.limit("logs.machine.ingestionRateBurstBytes"),
        }
    }
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Age from which an entry is removed.
    pub retention_period: Duration,
    /// Most bytes; nothing means without limit.
    pub max_size: Option<u64>,
}

impl Audit {
    fn read(values: &Values) -> Option<Self> {
        values.is("logs.audit.enabled").then(|| Self {
            retention_period: values.duration("logs.audit.retentionPeriod"),
            max_size: values.limit("logs.audit.maxSize"),
        })
    }
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registries {
    /// Image that installs machines which did not come from a factory, without tag.
    pub talos: String,
    /// Image of the kubelet, without tag.
    pub kubernetes: String,
    /// Image factory.
    pub primary: Factory,
    /// Factory for what the primary one does not have.
    pub secondary: Option<Factory>,
    /// What machines ask instead of other registries.
    pub mirrors: Vec<Mirror>,
}

impl Registries {
    /// A manager that makes media is its own factory, unless another one is named.
    pub(super) fn read(values: &Values, services: &Services, media: &Media) -> Self {
        let mut primary = Factory::read(values, PRIMARY).unwrap_or_default();
        if !media.images.is_empty() && !values.is_given(PRIMARY_URL) {
            primary.url.clone_from(&services.api.advertised_url);
            primary.pxe_url.get_or_insert_with(|| services.machine_api.advertised_url.clone());
        }
        Self {
            talos: values.string("registries.talos"),
            kubernetes: values.string("registries.kubernetes"),
            primary,
            secondary: Factory::read(values, "registries.factories.secondary"),
            mirrors: values.list("registries.mirrors").iter().filter_map(|text| Mirror::read(text)).collect(),
        }
    }
}

/// Installation media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Folders of images; without one no media are made.
    pub images: Vec<PathBuf>,
    /// Most bytes on the disk of media that were made.
    pub max_size: u64,
}

impl Media {
    pub(super) fn read(values: &Values) -> Self {
        Self {
            images: values.list("media.images").into_iter().map(PathBuf::from).collect(),
            max_size: values.number("media.maxSize"),
        }
    }
}

/// An image factory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Factory {
    /// URL, without slash at its end.
    pub url: String,
    /// URL where machines load iPXE scripts; nothing means the host of `url` with `pxe.` before it.
    pub pxe_url: Option<String>,
    /// User and password.
    pub credentials: Option<(String, Secret<String>)>,
}

impl Factory {
    fn read(values: &Values, section: &str) -> Option<Self> {
        let user = values.text(&format!("{section}.username"));
        Some(Self {
            url: values.url(&format!("{section}.url"))?,
            pxe_url: values.url(&format!("{section}.pxeURL")),
            credentials: user.zip(values.secret(&format!("{section}.password"))),
        })
    }
}

/// A registry and what stands in for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Host of the registry, with its port if it has one.
    pub host: String,
    /// URL that is asked instead, without slash at its end.
    pub url: String,
}

impl Mirror {
    fn read(text: &str) -> Option<Self> {
        let (host, url) = text.split_once('=')?;
        Some(Self { host: host.to_owned(), url: url.trim_end_matches('/').to_owned() })
    }
}

/// What is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Versions are offered that are not released yet.
    pub pre_release_versions: bool,
    /// Administrators may have credentials that reach machines past the manager.
    pub break_glass_configs: bool,
    /// Configurations are compressed within their resources.
    pub config_compression: bool,
    /// Files of dictionaries that clients compress texts with.
    pub config_dictionaries: Vec<PathBuf>,
    /// Clusters that somebody else made may be taken over.
    pub cluster_import: bool,
}

impl Features {
    pub(super) fn read(values: &Values) -> Self {
        Self {
            pre_release_versions: values.is("features.enableTalosPreReleaseVersions"),
            break_glass_configs: values.is("features.enableBreakGlassConfigs"),
            config_compression: values.is("features.enableConfigDataCompression"),
            config_dictionaries: values
                .list("features.configDataDictionaries")
                .into_iter()
                .map(PathBuf::from)
                .collect(),
            cluster_import: values.is("features.enableClusterImport"),
        }
    }
}
