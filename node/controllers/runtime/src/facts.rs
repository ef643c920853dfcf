//! What is known about the machine from the start and does not change.
//!
//!     kernel, image ──▶ Version, BootId, KernelCmdline, PlatformMetadata, SecurityState, SbomItems

use std::fs;
use std::path::Path;

use corten_base::{Platform, version};
use corten_resource::{Driver, Never, Plan, View, controller};
use corten_resources::runtime::{
    BootId, KernelCmdline, PlatformMetadata, SbomItem, SecurityState, SelinuxState, Version,
};
use serde::Deserialize;

/// SBOM of the image (SPDX 2.3 JSON).
const SBOM: &str = "/usr/share/spdx/corten.spdx.json";
/// EFI variable that says whether Secure Boot is on: four bytes of attributes, one of value.
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// EFI variable that systemd-stub sets.
const STUB_INFO: &str = "/sys/firmware/efi/efivars/StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Publishes facts.
pub struct SystemFacts {
    platform: Platform,
}

controller!(SystemFacts, "runtime.Facts",
inputs: [],
outputs: [
    exclusive Version, exclusive BootId, exclusive KernelCmdline, exclusive PlatformMetadata,
    exclusive SecurityState, exclusive SbomItem
]);

impl SystemFacts {
    /// For this platform.
    pub const fn new(platform: Platform) -> Self {
        Self { platform }
    }
}

/// Everything that was read.
pub struct Facts {
    boot_id: String,
    cmdline: String,
    security: SecurityState,
    sbom: Vec<SbomItem>,
}

impl Driver for SystemFacts {
    type Observed = Facts;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Facts> {
        let cmdline = fs::read_to_string("/proc/cmdline")?.trim().to_owned();
        let security = SecurityState {
            secure_boot: fs::read(SECURE_BOOT).is_ok_and(|bytes| bytes.last() == Some(&1)),
            selinux_state: selinux(),
            booted_with_uki: Path::new(STUB_INFO).exists(),
            module_signature_enforced: cmdline.split(' ').any(|word| word == "module.sig_enforce=1"),
            ..SecurityState::default()
        };
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Facts {
            boot_id,
            cmdline,
            security,
            sbom: fs::read(SBOM).map(|text| sbom(&text)).unwrap_or_default(),
        })
    }

    fn plan(&self, _: &View<Self>, facts: &Facts) -> Plan<Self> {
        let metadata =
            PlatformMetadata { platform: self.platform.name().to_owned(), ..PlatformMetadata::default() };
        let mut plan = Plan::new();
        plan.put("version", Version { version: version::TAG.to_owned(), name: version::NAME.to_owned() })
            .put("boot-id", BootId { boot_id: facts.boot_id.clone() })
            .put("cmdline", KernelCmdline { cmdline: facts.cmdline.clone() })
            .put("platformmetadata", metadata)
            .put("securitystate", facts.security.clone());
        for item in &facts.sbom {
            plan.put(&item.name, item.clone());
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

fn selinux() -> SelinuxState {
    match fs::read_to_string("/sys/fs/selinux/enforce").as_deref().map(str::trim) {
        Ok("1") => SelinuxState::Enforcing,
        Ok(_) => SelinuxState::Permissive,
        Err(_) => SelinuxState::Disabled,
    }
}

/// What is read of an SPDX document; the rest of it never takes memory.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    packages: Vec<Package>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Package {
    name: String,
    version_info: String,
    license_declared: String,
    external_refs: Vec<Reference>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reference {
    reference_type: String,
    reference_locator: String,
}

/// Packages of an SPDX document; one that cannot be read gives no rows.
fn sbom(text: &[u8]) -> Vec<SbomItem> {
    let document: Document = serde_json::from_slice(text).unwrap_or_default();
    let named = document.packages.into_iter().filter(|package| !package.name.is_empty());
    named
        .map(|package| SbomItem {
            name: package.name,
            version: package.version_info,
            license: package.license_declared,
            purls: package
                .external_refs
                .into_iter()
                .filter(|reference| reference.reference_type == "purl")
                .map(|reference| reference.reference_locator)
                .collect(),
            ..SbomItem::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_become_rows_and_nonsense_none() {
        let rows = sbom(
            br#"{"packages":[{"name":"runc","versionInfo":"1.5.2","licenseDeclared":"Apache-2.0"},{}]}"#,
        );
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].name.as_str(), rows[0].version.as_str()), ("runc", "1.5.2"));
        assert!(sbom(b"not json").is_empty());
    }
}
