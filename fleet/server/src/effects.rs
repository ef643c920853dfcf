//! Where each setting takes effect, in one table: nothing that somebody sets is silently forgotten.
//!
//! ```text
//! settings that differ from their defaults ─▶ row ─┬▶ Place: nothing to tell
//!                                                  ├▶ Nowhere: a warning by name
//!                                                  └▶ Harmful: the start is refused, by name
//! ```
//!
//! A test compares the table with that of the settings: one without a row is red, and so is a row without a setting.

use std::collections::BTreeSet;

use Effect::{Harmful, Nowhere, Place};

/// What a setting does in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It takes effect there: a module of this program, or the crate that it is handed to.
    Place(&'static str),
    /// Nothing does it yet. What there is goes on without it.
    Nowhere(&'static str),
    /// Nothing does it yet, and whoever sets it relies on it.
    Harmful(&'static str),
}

const NO_BACKUPS: &str = "this program makes no backups of the clusters' etcd yet; leave etcdBackup out, and \
                          make them with talosctl etcd snapshot";
const NO_IMPORT: &str = "no cluster can be taken over yet";
const NO_MIRRORS: &str = "machines are not told of mirrors yet; a ConfigPatch with RegistryMirrorConfig does";
const ALWAYS_WAITED_FOR: &str = "machines are always waited for, and never called where they were last";
const ALWAYS_PLAIN: &str = "configurations are always kept in plain; those that come compressed are read";
const OWN_TABLE: &str = "versions of Kubernetes come from a table that --versions extends, from no registry";
const API: &str = "corten-fleet-api";
const CONFIGURATION: &str = "corten-fleet-controllers-configuration";
const MEDIA: &str = "corten-fleet-media";
const FACTORIES: &str = "corten-fleet-api (FeaturesConfig), versions";
const LOGINS: &str = "publish (ImageFactoryAuth)";
const LOAD_BALANCER: &str = "corten-fleet-controllers-cluster";
const LOGS: &str = "machine_logs";
const OUTSIDE: &str = "outside";
const PROXY: &str = "corten-fleet-proxy";
const SIDEROLINK: &str = "siderolink";
const STORAGE: &str = "storage";
const WIRE: &str = "wire";

/// Every setting that the table of settings calls effective, in its order.
pub const EFFECTS: &[(&str, Effect)] = &[
    ("account.id", Place(API)),
    ("account.name", Place(API)),
    ("account.maxRegisteredMachines", Place(SIDEROLINK)),
    ("services.api.endpoint", Place(OUTSIDE)),
    ("services.api.advertisedURL", Place(API)),
    ("services.api.certFile", Place(OUTSIDE)),
    ("services.api.keyFile", Place(OUTSIDE)),
    ("services.api.ownCertificate", Place("doors")),
    ("services.metrics.endpoint", Place(OUTSIDE)),
    ("services.metrics.certFile", Place(OUTSIDE)),
    ("services.metrics.keyFile", Place(OUTSIDE)),
    ("services.kubernetesProxy.endpoint", Place(OUTSIDE)),
    ("services.kubernetesProxy.advertisedURL", Place(PROXY)),
    ("services.kubernetesProxy.certFile", Place(OUTSIDE)),
    ("services.kubernetesProxy.keyFile", Place(OUTSIDE)),
    ("services.kubernetesProxy.oidcCacheBaseDir", Place(PROXY)),
    ("services.kubernetesProxy.oidcCacheIsolation", Place(PROXY)),
    ("services.siderolink.wireGuard.endpoint", Place(WIRE)),
    ("services.siderolink.wireGuard.advertisedEndpoint", Place("endpoints")),
    ("services.siderolink.joinTokensMode", Place(SIDEROLINK)),
    ("services.siderolink.disableLastEndpoint", Nowhere(ALWAYS_WAITED_FOR)),
    ("services.siderolink.useGRPCTunnel", Place(SIDEROLINK)),
    ("services.siderolink.eventSinkPort", Place(SIDEROLINK)),
    ("services.siderolink.logServerPort", Place(SIDEROLINK)),
    ("services.siderolink.tunnelStack", Place(WIRE)),
    ("services.machineAPI.endpoint", Place(OUTSIDE)),
    ("services.machineAPI.advertisedURL", Place(SIDEROLINK)),
    ("services.machineAPI.certFile", Place(OUTSIDE)),
    ("services.machineAPI.keyFile", Place(OUTSIDE)),
    ("services.localResourceService.enabled", Place(OUTSIDE)),
    ("services.localResourceService.port", Place(OUTSIDE)),
    ("services.embeddedDiscoveryService.enabled", Place(WIRE)),
    ("services.embeddedDiscoveryService.port", Place(SIDEROLINK)),
    ("services.embeddedDiscoveryService.snapshotsEnabled", Place("discovery")),
    ("services.embeddedDiscoveryService.snapshotsInterval", Place("discovery")),
    ("services.embeddedDiscoveryService.logLevel", Place("logging")),
    ("services.loadBalancer.minPort", Place(LOAD_BALANCER)),
    ("services.loadBalancer.maxPort", Place(LOAD_BALANCER)),
    ("services.loadBalancer.dialTimeout", Place(LOAD_BALANCER)),
    ("services.loadBalancer.keepAlivePeriod", Place(LOAD_BALANCER)),
    ("services.loadBalancer.tcpUserTimeout", Place(LOAD_BALANCER)),
    ("services.loadBalancer.healthCheckInterval", Place(LOAD_BALANCER)),
    ("services.loadBalancer.healthCheckTimeout", Place(LOAD_BALANCER)),
    ("auth.initialUsers", Place(API)),
    ("auth.recoveryAdmin", Place(API)),
    ("auth.suspended", Place(API)),
    ("auth.keyPruner.interval", Place("expired_keys")),
    ("auth.initialServiceAccount.enabled", Place(API)),
    ("auth.initialServiceAccount.name", Place(API)),
    ("auth.initialServiceAccount.role", Place(API)),
    ("auth.initialServiceAccount.keyPath", Place(API)),
    ("auth.initialServiceAccount.lifetime", Place(API)),
    ("auth.limits.maxUsers", Place(API)),
    ("auth.limits.maxServiceAccounts", Place(API)),
    ("logs.level", Place("logging")),
    ("logs.machine.storage.cleanupInterval", Place(LOGS)),
    ("logs.machine.storage.cleanupOlderThan", Place(LOGS)),
    ("logs.machine.storage.maxLinesPerMachine", Place(LOGS)),
    ("logs.machine.storage.maxSize", Place(LOGS)),
    ("logs.machine.ingestionRateLimitBytesPerSecond", Place(SIDEROLINK)),
    ("logs.machine.ingestionRateBurstBytes", Place(SIDEROLINK)),
    ("logs.audit.enabled", Place("records")),
    ("logs.audit.retentionPeriod", Place("audit")),
    ("logs.audit.maxSize", Place("audit")),
    ("storage.default.kind", Place(STORAGE)),
    ("storage.default.keyFile", Place(STORAGE)),
    ("storage.default.embedded.path", Place(STORAGE)),
    ("storage.default.etcd.endpoints", Place(STORAGE)),
    ("storage.default.etcd.dialKeepAliveTime", Place(STORAGE)),
    ("storage.default.etcd.dialKeepAliveTimeout", Place(STORAGE)),
    ("storage.default.etcd.caFile", Place(STORAGE)),
    ("storage.default.etcd.certFile", Place(STORAGE)),
    ("storage.default.etcd.keyFile", Place(STORAGE)),
    ("etcdBackup.localPath", Harmful(NO_BACKUPS)),
    ("etcdBackup.tickInterval", Nowhere(NO_BACKUPS)),
    ("etcdBackup.minInterval", Nowhere(NO_BACKUPS)),
    ("etcdBackup.maxInterval", Nowhere(NO_BACKUPS)),
    ("etcdBackup.jitter", Nowhere(NO_BACKUPS)),
    ("registries.talos", Place(CONFIGURATION)),
    ("registries.kubernetes", Nowhere(OWN_TABLE)),
    ("registries.factories.primary.url", Place(FACTORIES)),
    ("registries.factories.primary.pxeURL", Place(FACTORIES)),
    ("registries.factories.primary.username", Place(LOGINS)),
    ("registries.factories.primary.password", Place(LOGINS)),
    ("registries.factories.secondary.url", Place(FACTORIES)),
    ("registries.factories.secondary.pxeURL", Place(FACTORIES)),
    ("registries.factories.secondary.username", Place(LOGINS)),
    ("registries.factories.secondary.password", Place(LOGINS)),
    ("registries.mirrors", Nowhere(NO_MIRRORS)),
    ("media.images", Place(MEDIA)),
    ("media.maxSize", Place(MEDIA)),
    ("features.enableTalosPreReleaseVersions", Place("versions")),
    ("features.enableBreakGlassConfigs", Place(API)),
    ("features.enableConfigDataCompression", Nowhere(ALWAYS_PLAIN)),
    ("features.configDataDictionaries", Place(API)),
    ("features.enableClusterImport", Nowhere(NO_IMPORT)),
];

/// What is to be told of settings that differ from their defaults: warnings, in the order of the table.
///
/// # Errors
/// One sentence for each that it would do harm to go on with.
pub fn judge(changed: &BTreeSet<&str>) -> Result<Vec<String>, Vec<String>> {
    let (mut warnings, mut refusals) = (Vec::new(), Vec::new());
    for (path, effect) in EFFECTS.iter().filter(|(path, _)| changed.contains(path)) {
        match effect {
            Place(_) => {}
            Nowhere(why) => warnings.push(format!("{path} has no effect yet: {why}")),
            Harmful(why) => refusals.push(format!("{path}: {why}")),
        }
    }
    if refusals.is_empty() { Ok(warnings) } else { Err(refusals) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use corten_fleet_settings::{Support, all_settings};

    use super::*;

    #[test]
    fn every_setting_that_is_called_effective_has_a_row_and_every_row_a_setting() {
        let effective = all_settings().filter(|setting| setting.support == Support::Effective);
        let settings: Vec<&str> = effective.map(|setting| setting.path).collect();
        let rows: Vec<&str> = EFFECTS.iter().map(|(path, _)| *path).collect();
        assert_eq!(rows, settings);
    }

    #[test]
    fn a_place_in_this_program_is_a_module_of_it() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let manifest = include_str!("../Cargo.toml");
        for (path, effect) in EFFECTS {
            let Place(place) = effect else { continue };
            let name = place.split(' ').next().unwrap_or_default();
            let is_module = sources.join(format!("{name}.rs")).exists();
            let is_crate = manifest.contains(&format!("{name}.workspace = true"));
            assert!(is_module || is_crate, "{path}: {place} is neither a module nor a crate");
        }
    }

    #[test]
    fn what_nothing_does_is_told_and_what_would_do_harm_is_refused() {
        let changed = BTreeSet::from(["account.name", "registries.mirrors", "logs.level"]);
        let warnings = judge(&changed).expect("a start");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with("registries.mirrors has no effect yet: "), "{warnings:?}");
        let changed = BTreeSet::from(["etcdBackup.localPath", "storage.default.kind", "registries.mirrors"]);
        let refusals = judge(&changed).expect_err("no start");
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        assert!(refusals[0].starts_with("etcdBackup.localPath: "), "{refusals:?}");
        assert_eq!(judge(&BTreeSet::new()), Ok(Vec::new()));
    }
}
