//! What versions of the operating system can do.
//!
//! | since | what |
//! |---|---|
//! | 1.10 | the name of the installer image begins with the platform |
//! | 1.11 | image factories serve the client of the version |
//! | 1.12 | images can hold documents; the network has documents |
//! | 1.13 | KubeSpan has a document |
//! | 1.14 | Kubernetes and discovery have documents |
//!
//! A version before a release can do what the release can.

use corten_fleet_resources::views::{Quirks, VersionContract};
use semver::Version;

/// What image factories do for a version; none for a text that is no version.
pub(super) fn quirks(version: &str) -> Option<Quirks> {
    let since = since(version)?;
    Some(Quirks {
        supports_unified_installer: since(10),
        supports_factory_talosctl: since(11),
        supports_embedded_config: since(12),
    })
}

/// Which documents the configurations of a version consist of; none for a text that is no version.
pub(super) fn contract(version: &str) -> Option<VersionContract> {
    let since = since(version)?;
    Some(VersionContract {
        kube_span_multidoc_config: since(13),
        multidoc_kubernetes_config_supported: since(14),
        multidoc_network_config_supported: since(12),
        discovery_service_multidoc_config: since(14),
    })
}

/// Tells whether the version is of a minor release of 1 or of a later one.
fn since(version: &str) -> Option<impl Fn(u64) -> bool> {
    let version = Version::parse(version.strip_prefix('v').unwrap_or(version)).ok()?;
    Some(move |minor| version.major > 1 || (version.major == 1 && version.minor >= minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_can_do_what_its_minor_release_can() {
        assert_eq!(quirks("1.9.5"), Some(Quirks::default()));
        assert!(quirks("v1.10.0-beta.1").is_some_and(|it| it.supports_unified_installer));
        let eleven = quirks("1.11.0").expect("a version");
        assert!(eleven.supports_factory_talosctl && !eleven.supports_embedded_config);
        let found = contract("1.13.8").expect("a version");
        assert!(found.kube_span_multidoc_config && found.multidoc_network_config_supported);
        assert!(!found.multidoc_kubernetes_config_supported);
        assert!(contract("2.0.0").is_some_and(|it| it.discovery_service_multidoc_config));
        assert_eq!((quirks("latest"), contract("")), (None, None));
    }
}
