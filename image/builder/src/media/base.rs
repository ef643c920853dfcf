//! The folder of an image that media are made from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use corten_base::version;
use sha2::{Digest as _, Sha256};

use super::manifest::{Facts, FileFacts, MANIFEST, Manifest, Place, Source};
use super::{CHUNK, MediaError};
use crate::disk::{self, Partition};
use crate::esp;
use crate::profile::Profile;

/// Longest description that is read, bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 16;
/// Bytes at the beginning of a kernel image that hold its headers, and room for more.
const HEAD_BYTES: u64 = 1 << 16;

/// An image that media are made from.
#[derive(Clone, Debug)]
pub struct Base {
    folder: PathBuf,
    manifest: Manifest,
    fingerprint: String,
    head: Vec<u8>,
}

impl Base {
    /// Opens the folder of an image, as `cargo xtask image` leaves it. Lengths are compared; contents are when it is
    /// asked for ([`Base::verify`]).
    ///
    /// # Errors
    /// When the folder has no description, or not the files that are described.
    pub fn open(folder: &Path) -> Result<Self, MediaError> {
        let path = folder.join(MANIFEST);
        let wrong = |why: String| MediaError::Manifest { path: path.clone(), why };
        let text = beginning(&path, MANIFEST_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
        let manifest = Manifest::read(&text).map_err(wrong)?;
        let mut base = Self {
            folder: folder.to_owned(),
            manifest,
            fingerprint: hex::encode(Sha256::digest(&text)),
            head: Vec::new(),
        };
        for source in Source::ALL {
            base.check_length(source)?;
        }
        let path = base.path(Source::Uki);
        let head = beginning(&path, HEAD_BYTES);
        base.head = head.map_err(|source| MediaError::Read { path, source })?;
        Ok(base)
    }

    /// Its description.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of its description, and so of everything in it; hexadecimal.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The first bytes of its kernel image, with the headers.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Path of a file.
    #[must_use]
    pub fn path(&self, source: Source) -> PathBuf {
        self.folder.join(source.file_name())
    }

    /// Compares the contents of a file with what is described. Reads all of it.
    ///
    /// # Errors
    /// When they are others, or cannot be read.
    pub fn verify(&self, source: Source) -> Result<(), MediaError> {
        let path = self.path(source);
        let found = facts(&path).map_err(|source| MediaError::Read { path: path.clone(), source })?;
        if self.manifest.file(source) == Some(&found) {
            return Ok(());
        }
        let why = format!("it has {} bytes with the SHA-256 {}", found.bytes, found.sha256);
        Err(MediaError::Changed { path, why })
    }

    fn check_length(&self, source: Source) -> Result<(), MediaError> {
        let path = self.path(source);
        let metadata = path.metadata();
        let found = metadata.map_err(|source| MediaError::Read { path: path.clone(), source })?.len();
        let described = self.manifest.bytes(source);
        if found == described {
            return Ok(());
        }
        Err(MediaError::Changed { path, why: format!("it has {found} bytes instead of {described}") })
    }
}

/// Describes the image in a folder, so that media can be made from it: writes `media.json`, and the boot loader beside
/// it. `partitions` are those of its disk.
///
/// # Errors
/// When a file is missing or cannot be written.
pub fn describe(
    folder: &Path,
    profile: &Profile,
    boot: &[u8],
    partitions: &[Partition],
) -> anyhow::Result<()> {
    std::fs::write(folder.join(Source::Boot.file_name()), boot)?;
    let places: Vec<(&str, Place)> = partitions
        .iter()
        .zip(disk::places(partitions))
        .map(|(partition, (offset, bytes))| (partition.label, Place { offset, bytes }))
        .collect();
    let place = |label: &str| {
        let found = places.iter().find(|(known, _)| *known == label).map(|(_, place)| *place);
        found.ok_or_else(|| anyhow::anyhow!("the disk has no partition {label}"))
    };
    let described = |source: Source| facts(&folder.join(source.file_name())).map(|facts| (source, facts));
    let files = Source::ALL.into_iter().map(described).collect::<io::Result<BTreeMap<_, _>>>()?;
    let facts = Facts {
        version: version::TAG.trim_start_matches('v').to_owned(),
        arch: profile.arch,
        platform: profile.platform.clone(),
        command_line: profile.cmdline(),
        loader: esp::loader(profile),
        uki_name: profile.uki_name(),
        efi: place("EFI")?,
        meta: place("META")?,
        files,
    };
    let manifest = Manifest::of(facts).map_err(anyhow::Error::msg)?;
    Ok(std::fs::write(folder.join(MANIFEST), manifest.text())?)
}

/// Length and hash of a file.
fn facts(path: &Path) -> io::Result<FileFacts> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer, mut bytes) = (Sha256::new(), vec![0; CHUNK], 0);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(FileFacts { bytes, sha256: hex::encode(hash.finalize()) });
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
    }
}

/// The first bytes of a file, or all of a shorter one.
fn beginning(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use corten_base::Arch;

    use super::*;
    use crate::profile::Flavour;
    use crate::uki;

    /// A small base in a folder: real headers, made-up contents. Gives what its files hold.
    pub(crate) fn base(folder: &Path) -> Base {
        let profile = Profile::new(Flavour::Cloud, Arch::Amd64);
        let unified = uki::assemble(uki::Parts {
            stub: uki::tests::stub(),
            linux: vec![b'k'; 70_000],
            initrd: vec![b'i'; 200_000],
            cmdline: profile.cmdline(),
            os_release: profile.os_release(),
            uname: "6.12".to_owned(),
        });
        let write = |source: Source, bytes: &[u8]| {
            std::fs::write(folder.join(source.file_name()), bytes).expect("written");
        };
        write(Source::Kernel, &[b'k'; 70_000]);
        write(Source::Initramfs, &[b'i'; 200_000]);
        write(Source::Uki, &unified.expect("assembled"));
        let partitions = ["EFI", "META"].map(|label| Partition {
            label,
            kind: disk::LINUX_DATA,
            size: if label == "EFI" { 40 << 20 } else { disk::META_SIZE },
            contents: None,
        });
        disk::write(&folder.join(Source::Disk.file_name()), "test", &partitions).expect("a disk");
        describe(folder, &profile, b"boot loader", &partitions).expect("described");
        Base::open(folder).expect("a base")
    }

    #[test]
    fn a_folder_is_opened_as_it_was_described_and_a_changed_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = base(folder.path());
        assert_eq!(base.manifest().efi, Place { offset: 1 << 20, bytes: 40 << 20 });
        assert_eq!(base.manifest().version, version::TAG.trim_start_matches('v'));
        for source in Source::ALL {
            base.verify(source).expect("unchanged");
        }
        std::fs::write(base.path(Source::Kernel), vec![b'x'; 70_000]).expect("written");
        let error = base.verify(Source::Kernel).expect_err("changed").to_string();
        assert!(error.contains("vmlinuz is not the file"), "{error}");
        std::fs::write(base.path(Source::Kernel), b"short").expect("written");
        let error = Base::open(folder.path()).expect_err("shorter").to_string();
        assert!(error.contains("it has 5 bytes instead of 70000"), "{error}");
        std::fs::remove_file(folder.path().join(MANIFEST)).expect("removed");
        let error = Base::open(folder.path()).expect_err("no description").to_string();
        assert!(error.contains("media.json describes no image"), "{error}");
    }
}
