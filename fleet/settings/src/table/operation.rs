//! Settings of the logs, the registries, debugging, and what is switched on and off.

use super::{ANY_DURATION, BYTES, COUNT, INTERVAL, LEVELS, Setting, TEXTS, WEB, effective, later, renamed};
use crate::kind::Kind;

/// Why nothing is left to chance.
const CHANCE: &str = "cleaning logs by chance; it is done when it is due, leave it out";
const CHANGES: &str = "logging every change of a resource";
const STRIPE: &str = "bills through Stripe";
const PROFILING: &str = "servers for debugging";
const FORMATS: Kind = Kind::OneOf(&["text", "json"]);
const FACTORY_URL: &str = "URL of the image factory.";
const FACTORY_PXE: &str = "URL where machines load its iPXE scripts; by default its host with `pxe.` before.";
const FACTORY_USER: &str = "User for the image factory.";
const FACTORY_PASSWORD: &str = "Password of that user.";
const SECOND_URL: &str = "URL of an image factory that is asked for what the primary one does not have.";

pub(super) const LOGS: &[Setting] = &[
    effective("logs.level", LEVELS, "info", "Least level that the manager logs.").flag("log-level"),
    later("logs.format", FORMATS, "text", "log lines as JSON").flag("log-format"),
    later("logs.machine.storage.sqliteTimeout", ANY_DURATION, "30s", super::storage::SQLITE)
        .flag("machine-log-sqlite-timeout"),
    effective(
        "logs.machine.storage.cleanupInterval",
        INTERVAL,
        "30m0s",
        "How often old log lines of machines are removed.",
    )
    .flag("machine-log-cleanup-interval"),
    effective(
        "logs.machine.storage.cleanupOlderThan",
        INTERVAL,
        "720h0m0s",
        "Age from which a log line of a machine is removed.",
    )
    .flag("machine-log-cleanup-older-than"),
    effective(
        "logs.machine.storage.maxLinesPerMachine",
        COUNT,
        "5000",
        "Most log lines that are kept of a machine; 0 means any number.",
    )
    .flag("machine-log-max-lines-per-machine"),
    effective(
        "logs.machine.storage.maxSize",
        BYTES,
        "0",
        "Most bytes of the log lines of all machines together; 0 means any number.",
    )
    .flag("machine-log-max-size"),
    later("logs.machine.storage.cleanupProbability", Kind::Text, "0.01", CHANCE)
        .flag("machine-log-cleanup-probability"),
    effective(
        "logs.machine.ingestionRateLimitBytesPerSecond",
        BYTES,
        "0",
        "Most bytes of log lines a second that are taken from a machine; 0 means any number.",
    )
    .flag("machine-log-ingestion-rate-limit-bps"),
    effective(
        "logs.machine.ingestionRateBurstBytes",
        BYTES,
        "0",
        "Most bytes that are taken at once from a machine that was silent; 0 means those of a second.",
    )
    .flag("machine-log-ingestion-rate-burst-bytes"),
    effective("logs.audit.enabled", Kind::Bool, "true", "Whether it is noted who changed and saw what.")
        .flag("audit-log-enabled"),
    later("logs.audit.sqliteTimeout", ANY_DURATION, "30s", super::storage::SQLITE)
        .flag("audit-log-sqlite-timeout"),
    effective(
        "logs.audit.retentionPeriod",
        INTERVAL,
        "720h0m0s",
        "Age from which an entry of the audit log is removed.",
    )
    .flag("audit-log-retention-period"),
    effective("logs.audit.maxSize", BYTES, "0", "Most bytes of the audit log; 0 means any number.")
        .flag("audit-log-max-size"),
    later("logs.audit.cleanupProbability", Kind::Text, "0.01", CHANCE).flag("audit-log-cleanup-probability"),
    later("logs.resourceLogger.logLevel", LEVELS, "info", CHANGES).flag("log-resource-updates-log-level"),
    later("logs.resourceLogger.types", TEXTS, "", CHANGES).flag("log-resource-updates-types"),
    later("logs.stripe.enabled", Kind::Bool, "false", STRIPE).flag("enable-stripe-reporting"),
    later("logs.stripe.minCommit", COUNT, "0", STRIPE).flag("stripe-minimum-commit"),
];

pub(super) const MEDIA: &[Setting] = &[
    effective(
        "media.images",
        Kind::List(&Kind::Path),
        "",
        "Folders of images that installation media are made from; the manager is then its own image factory, unless another one is named.",
    )
    .flag("media-images"),
    effective("media.maxSize", BYTES, "21474836480", "Most bytes on the disk of media that were made.")
        .flag("media-max-size"),
];

pub(super) const REGISTRIES: &[Setting] = &[
    effective(
        "registries.talos",
        Kind::Text,
        "ghcr.io/siderolabs/installer",
        "Image that installs machines which did not come from an image factory.",
    )
    .flag("talos-installer-registry"),
    effective(
        "registries.kubernetes",
        Kind::Text,
        "ghcr.io/siderolabs/kubelet",
        "Image of the kubelet; its tags are the versions of Kubernetes that are offered.",
    )
    .flag("kubernetes-registry"),
    effective("registries.factories.primary.url", WEB, "https://factory.talos.dev", FACTORY_URL)
        .flag("primary-factory-url"),
    effective("registries.factories.primary.pxeURL", WEB, "", FACTORY_PXE).flag("primary-factory-pxe-url"),
    effective("registries.factories.primary.username", Kind::Text, "", FACTORY_USER)
        .flag("primary-factory-username"),
    effective("registries.factories.primary.password", Kind::Secret, "", FACTORY_PASSWORD)
        .flag("primary-factory-password"),
    effective("registries.factories.secondary.url", WEB, "", SECOND_URL).flag("secondary-factory-url"),
    effective("registries.factories.secondary.pxeURL", WEB, "", FACTORY_PXE)
        .flag("secondary-factory-pxe-url"),
    effective("registries.factories.secondary.username", Kind::Text, "", FACTORY_USER)
        .flag("secondary-factory-username"),
    effective("registries.factories.secondary.password", Kind::Secret, "", FACTORY_PASSWORD)
        .flag("secondary-factory-password"),
    effective(
        "registries.mirrors",
        Kind::List(&Kind::Mirror),
        "",
        "Registries that machines ask instead of others, each as HOST=URL.",
    )
    .flag("registry-mirror"),
    renamed("registries.imageFactoryBaseURL", "registries.factories.primary.url")
        .flag("image-factory-address"),
    renamed("registries.imageFactoryPXEBaseURL", "registries.factories.primary.pxeURL")
        .flag("image-factory-pxe-address"),
    renamed("registries.imageFactoryUsername", "registries.factories.primary.username")
        .flag("image-factory-username"),
    renamed("registries.imageFactoryPassword", "registries.factories.primary.password")
        .flag("image-factory-password"),
];

pub(super) const DEBUG: &[Setting] = &[
    later("debug.server.endpoint", Kind::Text, ":9988", PROFILING).flag("debug-server-endpoint"),
    later("debug.pprof.endpoint", Kind::Text, "", PROFILING).flag("pprof-bind-addr"),
];

pub(super) const FEATURES: &[Setting] = &[
    effective(
        "features.enableTalosPreReleaseVersions",
        Kind::Bool,
        "false",
        "Whether versions are offered that are not released yet.",
    )
    .flag("enable-talos-pre-release-versions"),
    effective(
        "features.enableBreakGlassConfigs",
        Kind::Bool,
        "false",
        "Whether administrators may have credentials that reach machines past the manager.",
    )
    .flag("enable-break-glass-configs"),
    effective(
        "features.enableConfigDataCompression",
        Kind::Bool,
        "true",
        "Whether configurations are compressed within their resources.",
    )
    .flag("config-data-compression-enabled"),
    effective(
        "features.configDataDictionaries",
        Kind::List(&Kind::Path),
        "",
        "Files of zstd dictionaries that clients compress long texts with; that of omnictl is config.1.zdict of its source.",
    )
    .flag("config-data-dictionaries"),
    effective(
        "features.enableClusterImport",
        Kind::Bool,
        "true",
        "Whether clusters that somebody else made may be taken over.",
    )
    .flag("enable-cluster-import"),
    later(
        "features.disableControllerRuntimeCache",
        Kind::Bool,
        "false",
        "reading past the store in memory, which is the only one",
    )
    .flag("disable-controller-runtime-cache"),
];
