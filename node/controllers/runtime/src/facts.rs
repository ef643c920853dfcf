//! What is known about the machine from the start and does not change.
//!
//!     kernel, image, firmware ──▶ Version, BootId, KernelCmdline, PlatformMetadata, SecurityState, SbomItems, BootedEntry
//!
//! A machine of a host has the arguments that its launcher gave it in the place of a kernel's; without any the host's
//! are shown.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use corten_base::{Platform, version};
use corten_resource::{Driver, Never, Plan, View, controller};
use corten_resources::runtime::{
    BootId, BootedEntry, KernelCmdline, PlatformMetadata, SbomItem, SecurityState, SelinuxState, Version,
};
use serde::Deserialize;

/// SBOM of the image (SPDX 2.3 JSON).
const SBOM: &str = "/usr/share/spdx/corten.spdx.json";
/// EFI variable that says whether Secure Boot is on: four bytes of attributes, one of value.
const SECURE_BOOT: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// EFI variable that systemd-stub sets.
const STUB_INFO: &str = "/sys/firmware/efi/efivars/StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// EFI variable in which the boot loader says which of its entries it started.
const BOOTED_ENTRY: &str =
    "/sys/firmware/efi/efivars/LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Publishes facts.
pub struct SystemFacts {
    platform: Platform,
    arguments: Option<String>,
}

controller!(SystemFacts, "runtime.Facts",
inputs: [],
outputs: [
    exclusive Version, exclusive BootId, exclusive KernelCmdline, exclusive PlatformMetadata,
    exclusive SecurityState, exclusive SbomItem, exclusive BootedEntry
]);

impl SystemFacts {
    /// For this platform, with the arguments of the launcher.
    pub const fn new(platform: Platform, arguments: Option<String>) -> Self {
        Self { platform, arguments }
    }
}

/// Everything that was read.
pub struct Facts {
    boot_id: String,
    cmdline: String,
    security: SecurityState,
    sbom: BTreeMap<String, SbomItem>,
    booted_entry: Option<String>,
}

impl Driver for SystemFacts {
    type Observed = Facts;
    type Op = Never;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Facts> {
        let kernel = fs::read_to_string("/proc/cmdline")?.trim().to_owned();
        let security = SecurityState {
            secure_boot: fs::read(SECURE_BOOT).is_ok_and(|bytes| bytes.last() == Some(&1)),
            selinux_state: selinux(),
            booted_with_uki: Path::new(STUB_INFO).exists(),
            module_signature_enforced: kernel.split(' ').any(|word| word == "module.sig_enforce=1"),
            ..SecurityState::default()
        };
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Facts {
            boot_id,
            cmdline: self.arguments.clone().unwrap_or(kernel),
            security,
            sbom: fs::read(SBOM).map(|text| sbom(&text)).unwrap_or_default(),
            booted_entry: fs::read(BOOTED_ENTRY).ok().and_then(|variable| efi_text(&variable)),
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
        for (id, item) in &facts.sbom {
            plan.put(id, item.clone());
        }
        if let Some(entry) = &facts.booted_entry {
            plan.put(BootedEntry::ID, BootedEntry { booted_entry: entry.clone() });
        }
        plan
    }

    async fn apply(&mut self, op: Never) -> anyhow::Result<()> {
        match op {}
    }
}

/// The text of an EFI variable: four bytes of attributes, then UTF-16 up to a zero.
fn efi_text(variable: &[u8]) -> Option<String> {
    let units = variable.get(4..)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16(&units).ok().filter(|text| !text.is_empty())
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

/// Packages of an SPDX document by id: the name, with the version where there are several. A document that cannot be
/// read gives no rows.
fn sbom(text: &[u8]) -> BTreeMap<String, SbomItem> {
    let document: Document = serde_json::from_slice(text).unwrap_or_default();
    let mut items = BTreeMap::new();
    for package in document.packages.into_iter().filter(|package| !package.name.is_empty()) {
        let first = items.get(&package.name).map(|item: &SbomItem| &item.version);
        let id = match first {
            Some(version) if *version != package.version_info => {
                format!("{}-{}", package.name, package.version_info)
            }
            _ => package.name.clone(),
        };
        let purls = package.external_refs.into_iter();
        let purls = purls.filter(|reference| reference.reference_type == "purl");
        let item: &mut SbomItem = items.entry(id).or_default();
        (item.name, item.version) = (package.name, package.version_info);
        item.license = package.license_declared;
        item.purls.extend(purls.map(|reference| reference.reference_locator));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_firmware_ends_at_its_zero() {
        let entry = b"\x06\0\0\0v\x001\0.\0e\0f\0i\0\0\0x\0";
        assert_eq!(efi_text(entry).as_deref(), Some("v1.efi"));
        for nothing in [&b""[..], b"\x06\0\0\0", b"\x06\0\0\0\0\0", b"\x06\0\0\0\x00\xd8"] {
            assert_eq!(efi_text(nothing), None);
        }
        bolero::check!().for_each(|bytes: &[u8]| {
            efi_text(bytes);
        });
    }

    #[test]
    fn packages_become_rows_and_nonsense_none() {
        let rows = sbom(
            br#"{"packages":[{"name":"runc","versionInfo":"1.5.2","licenseDeclared":"Apache-2.0"},{}]}"#,
        );
        assert_eq!(rows.len(), 1);
        assert_eq!((rows["runc"].name.as_str(), rows["runc"].version.as_str()), ("runc", "1.5.2"));
        assert!(sbom(b"not json").is_empty());
    }

    #[test]
    fn versions_of_one_package_are_rows_of_their_own() {
        let package = |version: &str, purl: &str| {
            format!(
                r#"{{"name":"sys","versionInfo":"{version}","externalRefs":[{{"referenceType":"purl","referenceLocator":"{purl}"}}]}}"#
            )
        };
        let packages = [package("1", "a"), package("2", "b"), package("1", "c")].join(",");
        let rows = sbom(format!(r#"{{"packages":[{packages}]}}"#).as_bytes());
        assert_eq!(rows.keys().collect::<Vec<_>>(), ["sys", "sys-2"]);
        assert_eq!(rows["sys"].purls, ["a", "c"]);
        assert_eq!((rows["sys-2"].name.as_str(), rows["sys-2"].version.as_str()), ("sys", "2"));
    }
}
