//! The schematic itself, and its id.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use corten_config::Problems;
use sha2::{Digest as _, Sha256};

use crate::option::OptionValue;
use crate::{canonical, read};

/// What an image has on top of the plain system (fleet.md 11.1). Printing it for debugging shows its id only, since
/// kernel arguments and the embedded configuration hold secrets.
#[derive(Clone, Default, PartialEq)]
pub struct Schematic {
    /// Whose it is, in a factory that keeps its customers apart; empty otherwise.
    pub owner: String,
    /// What the board needs on top of the plain image.
    pub overlay: Overlay,
    /// The rest.
    pub customization: Customization,
}

/// An overlay: files and a partition layout that a board needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlay {
    /// Container image that holds it, without registry, such as `siderolabs/sbc-raspberrypi`.
    pub image: String,
    /// Name within the image, such as `rpi_generic`.
    pub name: String,
    /// What its installer is told. Keys are printable ASCII.
    pub options: BTreeMap<String, OptionValue>,
}

/// What is added to an image. The order of every list counts.
#[derive(Clone, Default, PartialEq)]
pub struct Customization {
    /// Machine configuration that is in the image, as text.
    pub embedded_machine_configuration: String,
    /// Kernel arguments, one each.
    pub extra_kernel_args: Vec<String>,
    /// What the META partition holds at first.
    pub meta: Vec<MetaValue>,
    /// System extensions, each as `organization/name`.
    pub official_extensions: Vec<String>,
    /// How the image boots.
    pub bootloader: Bootloader,
    /// What of Secure Boot is not as usual.
    pub secure_boot: SecureBoot,
    /// Bytes of a sector of the disk image; 0 means the usual ones.
    pub sector_size: u32,
}

/// A value of the META partition.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MetaValue {
    /// Number of the slot.
    pub key: u8,
    /// What it holds.
    pub value: String,
}

/// What of Secure Boot is not as usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecureBoot {
    /// When the image enrolls its keys, as systemd-boot calls it; empty means as usual.
    pub enroll_keys: String,
    /// The certificates that firmware is usually sold with are enrolled too.
    pub include_well_known_certificates: bool,
}

/// How an image boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bootloader {
    /// As is best for the version and the platform.
    #[default]
    Auto,
    /// systemd-boot for UEFI, GRUB for BIOS.
    DualBoot,
    /// systemd-boot.
    SdBoot,
    /// GRUB.
    Grub,
}

impl Bootloader {
    /// The words of a schematic; the first two mean the same.
    pub(crate) const WORDS: &'static [&'static str] = &["auto", "none", "dual-boot", "sd-boot", "grub"];

    /// What a word means; case does not count.
    pub(crate) fn read(word: &str) -> Option<Self> {
        match word.to_lowercase().as_str() {
            "auto" | "none" => Some(Self::Auto),
            "dual-boot" => Some(Self::DualBoot),
            "sd-boot" => Some(Self::SdBoot),
            "grub" => Some(Self::Grub),
            _ => None,
        }
    }

    /// The word in a canonical text, where the usual one is left out.
    pub(crate) const fn word(self) -> Option<&'static str> {
        match self {
            Self::Auto => None,
            Self::DualBoot => Some("dual-boot"),
            Self::SdBoot => Some("sd-boot"),
            Self::Grub => Some("grub"),
        }
    }
}

impl Schematic {
    /// Reads a schematic, YAML or JSON, strictly: a field that is not known would change nothing, and the id would
    /// silently be that of another image.
    ///
    /// # Errors
    /// Everything that is wrong, with its places.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        read::schematic(text)
    }

    /// The canonical text, with a line end at its end. Reading it gives the same schematic.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical::text(self)
    }

    /// The id: the SHA-256 of the canonical text.
    #[must_use]
    pub fn id(&self) -> SchematicId {
        SchematicId(hex::encode(Sha256::digest(self.canonical())))
    }
}

impl fmt::Debug for Schematic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schematic").field(&self.id().0).finish()
    }
}

/// Id of a schematic: 64 hexadecimal digits, lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchematicId(String);

/// A text that is no id of a schematic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no schematic id; it has 64 hexadecimal digits in lower case")]
pub struct NotAnId(String);

impl SchematicId {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SchematicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SchematicId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let is_id = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_id { Ok(Self(text.to_owned())) } else { Err(NotAnId(text.chars().take(80).collect())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> String {
        Schematic::parse(text).unwrap().id().to_string()
    }

    #[test]
    fn ids_are_those_of_existing_factories() {
        let empty = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
        assert_eq!(Schematic::default().canonical(), "customization: {}\n");
        assert_eq!(Schematic::default().id().as_str(), empty);
        assert_eq!(id("customization: {}"), empty);
        assert_eq!(
            id("customization:\n  extraKernelArgs: [noapic, nolapic]\n"),
            "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c"
        );
        assert_eq!(
            id("customization:\n  meta:\n    - key: 0x0a\n      value: foo\n"),
            "d308a2a5ee2277bed5fbaa104fcbc8d59122abfa737df987a95b4ca763459a7f"
        );
        // These two stand in public documents of the field.
        assert_eq!(
            id("customization: {systemExtensions: {officialExtensions: [siderolabs/qemu-guest-agent]}}"),
            "ce4c980550dd2ab1b17bbf2b08801c7eb59418eafe8f279833297925d67c7515"
        );
        assert_eq!(
            id("overlay: {name: rpi_generic, image: siderolabs/sbc-raspberrypi}"),
            "ee21ef4a5ef808a9b7484cc0dda0f25075021691c8c09a276591eedb638ea1f9"
        );
    }

    #[test]
    fn the_order_of_a_list_counts_and_that_of_keys_does_not() {
        let args = |args: &str| id(&format!("customization: {{extraKernelArgs: [{args}]}}"));
        assert_ne!(args("a, b"), args("b, a"));
        let one = id("{overlay: {name: n, image: i}, customization: {bootloader: grub, meta: []}}");
        let two = id("{customization: {bootloader: GRUB}, overlay: {image: i, name: n}}");
        assert_eq!(one, two);
    }

    #[test]
    fn an_id_is_read_strictly() {
        let id = Schematic::default().id();
        assert_eq!(id.as_str().parse::<SchematicId>(), Ok(id.clone()));
        for wrong in ["", "..", &id.as_str().to_uppercase(), &id.as_str()[1..], &format!("{id}/")] {
            assert!(wrong.parse::<SchematicId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn debugging_shows_no_argument() {
        let schematic = Schematic::parse("customization: {extraKernelArgs: [a=hunter2]}").unwrap();
        assert_eq!(format!("{schematic:?}"), format!("Schematic({:?})", schematic.id().as_str()));
    }
}
