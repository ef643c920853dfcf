//! What an image that media are made from says of itself, in `media.json` beside its files.

use std::collections::BTreeMap;

use corten_base::Arch;
use serde::{Deserialize, Serialize};

use super::meta;

/// Name of the description.
pub const MANIFEST: &str = "media.json";
/// The only form of the description so far.
const FORMAT: u32 = 1;
/// Places of partitions are multiples of this, bytes.
const SECTOR: u64 = 512;
/// Longest version, platform and file name, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Hexadecimal digits of a SHA-256.
const HASH_DIGITS: usize = 64;

/// A file that media are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The kernel.
    Kernel,
    /// The initramfs, a plain archive.
    Initramfs,
    /// Kernel, initramfs and command line in one EFI program.
    Uki,
    /// The boot loader, an EFI program.
    Boot,
    /// A disk with an EFI system partition and META.
    Disk,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Kernel, Self::Initramfs, Self::Uki, Self::Boot, Self::Disk];

    /// Its name in the folder.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Kernel => "vmlinuz",
            Self::Initramfs => "initramfs.cpio",
            Self::Uki => "corten.efi",
            Self::Boot => "systemd-boot.efi",
            Self::Disk => "disk.raw",
        }
    }
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its contents, hexadecimal.
    pub sha256: String,
}

/// A partition of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Where it begins, bytes from the beginning of the disk.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

impl Place {
    /// Where it ends. A manifest that was read has none beyond its disk.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// The description of an image that media are made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Form of this description.
    format: u32,
    /// Version as clients see it, without `v`.
    pub version: String,
    /// Processor, such as `amd64`.
    arch: String,
    /// Platform that its command line names, such as `metal`.
    pub platform: String,
    /// Its command line, to which media add.
    pub command_line: String,
    /// Settings of the boot loader.
    pub loader: String,
    /// Name of the kernel image on the EFI system partition.
    pub uki_name: String,
    /// The EFI system partition.
    pub efi: Place,
    /// META.
    pub meta: Place,
    /// All files.
    files: BTreeMap<Source, FileFacts>,
}

/// What a description is made from.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Version, without `v`.
    pub version: String,
    /// Processor.
    pub arch: Arch,
    /// Platform.
    pub platform: String,
    /// Command line.
    pub command_line: String,
    /// Settings of the boot loader.
    pub loader: String,
    /// Name of the kernel image.
    pub uki_name: String,
    /// The EFI system partition.
    pub efi: Place,
    /// META.
    pub meta: Place,
    /// All files.
    pub files: BTreeMap<Source, FileFacts>,
}

impl Manifest {
    /// A description of these facts.
    ///
    /// # Errors
    /// What makes no sense in them.
    pub fn of(facts: Facts) -> Result<Self, String> {
        let Facts { version, arch, platform, command_line, loader, uki_name, efi, meta, files } = facts;
        let arch = arch.as_str().to_owned();
        let format = FORMAT;
        let manifest =
            Self { format, version, arch, platform, command_line, loader, uki_name, efi, meta, files };
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads a description.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The text that [`Manifest::read`] reads.
    #[must_use]
    pub fn text(&self) -> String {
        // Texts and numbers under texts are JSON in any case.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Processor.
    #[must_use]
    pub fn arch(&self) -> Arch {
        arch(&self.arch).unwrap_or(Arch::Amd64)
    }

    /// Length of a file; all are described.
    #[must_use]
    pub fn bytes(&self, source: Source) -> u64 {
        self.files.get(&source).map_or(0, |facts| facts.bytes)
    }

    /// What is known of a file; all are described.
    #[must_use]
    pub fn file(&self, source: Source) -> Option<&FileFacts> {
        self.files.get(&source)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("it has format {}, and this program knows {FORMAT}", self.format));
        }
        arch(&self.arch).ok_or_else(|| format!("{:?} is no processor that is known", self.arch))?;
        for (what, text) in
            [("version", &self.version), ("platform", &self.platform), ("name", &self.uki_name)]
        {
            if !is_name(text) {
                return Err(format!("{text:?} is no {what}"));
            }
        }
        if [&self.command_line, &self.loader].iter().any(|text| text.contains('\0')) {
            return Err("a text of it has a zero in it".to_owned());
        }
        for source in Source::ALL {
            let facts = self.files.get(&source);
            let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let is_hash = |hash: &str| hash.len() == HASH_DIGITS && hash.bytes().all(is_digit);
            if !facts.is_some_and(|facts| facts.bytes > 0 && is_hash(&facts.sha256)) {
                return Err(format!("length and SHA-256 of {} are missing", source.file_name()));
            }
        }
        self.check_places()
    }

    /// The EFI system partition comes before META, and both are on the disk.
    fn check_places(&self) -> Result<(), String> {
        let (efi, meta) = (self.efi, self.meta);
        let is_placed = |place: Place| {
            let is_aligned = place.offset.is_multiple_of(SECTOR) && place.bytes.is_multiple_of(SECTOR);
            is_aligned && place.bytes > 0 && place.offset.checked_add(place.bytes).is_some()
        };
        let is_ordered = efi.end() <= meta.offset && meta.end() <= self.bytes(Source::Disk);
        if is_placed(efi) && is_placed(meta) && is_ordered && meta.bytes >= meta::BYTES as u64 {
            Ok(())
        } else {
            Err("EFI and META are not behind each other on the disk, or META is too small".to_owned())
        }
    }
}

fn arch(text: &str) -> Option<Arch> {
    [Arch::Amd64, Arch::Arm64].into_iter().find(|arch| arch.as_str() == text)
}

/// Letters, digits, points, dashes: what is safe in a path, a URL and a file name.
fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A description of files of these lengths; the disk has EFI from 1 MiB on and META behind it.
    fn manifest(lengths: [u64; 5], efi: u64) -> Manifest {
        let files = Source::ALL.into_iter().zip(lengths);
        let facts = |bytes| FileFacts { bytes, sha256: "0".repeat(HASH_DIGITS) };
        Manifest::of(Facts {
            version: "1.14.1".to_owned(),
            arch: Arch::Amd64,
            platform: "metal".to_owned(),
            command_line: "talos.platform=metal quiet".to_owned(),
            loader: "timeout 0\neditor no\n".to_owned(),
            uki_name: "Corten-0.1.0.efi".to_owned(),
            efi: Place { offset: 1 << 20, bytes: efi },
            meta: Place { offset: (1 << 20) + efi, bytes: 1 << 20 },
            files: files.map(|(source, bytes)| (source, facts(bytes))).collect(),
        })
        .expect("a description")
    }

    fn usual() -> Manifest {
        manifest([1, 2, 3, 4, 45 << 20], 40 << 20)
    }

    #[test]
    fn a_description_is_read_as_it_was_written() {
        assert_eq!(Manifest::read(usual().text().as_bytes()), Ok(usual()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = usual().text();
        for (from, to, message) in [
            ("\"format\": 1", "\"format\": 2", "this program knows 1"),
            ("amd64", "vax", "\"vax\" is no processor"),
            ("\"1.14.1\"", "\"../1\"", "\"../1\" is no version"),
            ("\"Corten-0.1.0.efi\"", "\"a/b\"", "\"a/b\" is no name"),
            ("\"offset\": 1048576", "\"offset\": 1048577", "behind each other"),
            ("\"offset\": 1048576", "\"offset\": 18446744073709551104", "behind each other"),
            ("\"boot\"", "\"bout\"", "unknown variant"),
            ("\"loader\"", "\"louder\"", "unknown field"),
            ("\"bytes\": 4,", "\"bytes\": 0,", "systemd-boot.efi are missing"),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            let wrong = Manifest::read(text.replace(from, to).as_bytes()).expect_err(to);
            assert!(wrong.contains(message), "{to}: {wrong}");
        }
    }

    #[test]
    fn any_bytes_are_a_description_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(manifest) = Manifest::read(bytes) {
                assert!(manifest.meta.end() <= manifest.bytes(Source::Disk));
            }
        });
    }
}
