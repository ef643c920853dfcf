//! Which pieces a medium has.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::manifest::{Manifest, Place, Source};
use super::piece::{Piece, length};
use super::{Base, MediaError, fat, iso, meta};
use crate::{esp, uki};

/// Longest command line that kernels take, bytes: 2048 with the zero at its end (x86 and ARM).
pub const COMMAND_LINE_MAX: usize = 2047;

/// What a machine boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// The kernel, for network boot.
    Kernel,
    /// The initramfs, for network boot.
    Initramfs,
    /// The command line for both.
    CommandLine,
    /// All three as an EFI program.
    Uki,
    /// A disc or stick.
    Iso,
    /// A disk.
    Disk,
}

/// What a medium has beside its base.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Additions {
    /// Kernel arguments, in order, after those of the base.
    pub arguments: Vec<String>,
    /// What META holds at first, by tag. Of all media only disks have one.
    pub meta: BTreeMap<u8, Vec<u8>>,
}

/// The kernel's command line with these arguments at its end.
///
/// # Errors
/// When an argument has a line end or the like, or all of them are longer than a kernel takes. No message has an
/// argument in it.
pub fn command_line(manifest: &Manifest, arguments: &[String]) -> Result<String, MediaError> {
    let is_wrong = |argument: &&String| argument.trim().is_empty() || argument.contains(char::is_control);
    if let Some(wrong) = arguments.iter().find(is_wrong) {
        let name: String = wrong.split('=').next().unwrap_or_default().chars().take(32).collect();
        let text = format!("the kernel argument {name:?} is empty or has control characters; leave it out");
        return Err(MediaError::Arguments(text));
    }
    let line = std::iter::once(manifest.command_line.as_str()).chain(arguments.iter().map(String::as_str));
    let line = line.collect::<Vec<_>>().join(" ");
    if line.len() > COMMAND_LINE_MAX {
        return Err(MediaError::Arguments(format!(
            "the kernel takes {COMMAND_LINE_MAX} bytes of arguments, and these are {}; leave some out",
            line.len()
        )));
    }
    Ok(line)
}

/// The pieces of a medium.
///
/// # Errors
/// When the additions do not fit.
pub fn plan(base: &Base, medium: Medium, additions: &Additions) -> Result<Vec<Piece>, MediaError> {
    let manifest = base.manifest();
    if medium != Medium::Disk && !additions.meta.is_empty() {
        let text = "values of META, such as labels, are on disks only; leave them out, or take a disk image";
        return Err(MediaError::Arguments(text.to_owned()));
    }
    match medium {
        Medium::Kernel => Ok(vec![whole(manifest, Source::Kernel)]),
        Medium::Initramfs => Ok(vec![whole(manifest, Source::Initramfs)]),
        Medium::CommandLine => {
            let line = command_line(manifest, &additions.arguments)?;
            Ok(vec![Piece::Bytes(line.into_bytes())])
        }
        Medium::Uki => unified(base, additions),
        Medium::Iso => {
            let (name, _) = esp::boot_names(manifest.arch());
            let program = entry(format!("EFI/BOOT/{name}"), unified(base, additions)?);
            let size = fat::size_for(length(&program.contents));
            let id = serial(base, additions);
            let volume = fat::Volume { size, id, label: "CORTEN", hidden_sectors: 0 };
            iso::pieces(fat::pieces(&volume, vec![program])?)
        }
        Medium::Disk => disk(base, additions),
    }
}

/// The kernel image with its own command line.
fn unified(base: &Base, additions: &Additions) -> Result<Vec<Piece>, MediaError> {
    let manifest = base.manifest();
    let line = command_line(manifest, &additions.arguments)?;
    let bytes = manifest.bytes(Source::Uki);
    let changed = uki::with_command_line(base.head(), bytes, &line)
        .map_err(|error| MediaError::Kernel(format!("{error:#}")))?;
    let offset = changed.head.len() as u64;
    let rest = Piece::File { source: Source::Uki, offset, length: bytes.saturating_sub(offset) };
    Ok(vec![Piece::Bytes(changed.head), rest, Piece::Bytes(changed.tail)])
}

/// The disk of the base with another EFI system partition and META.
fn disk(base: &Base, additions: &Additions) -> Result<Vec<Piece>, MediaError> {
    let manifest = base.manifest();
    let (fallback, own) = esp::boot_names(manifest.arch());
    let boot = || vec![whole(manifest, Source::Boot)];
    let files = vec![
        entry(format!("EFI/BOOT/{fallback}"), boot()),
        entry(format!("EFI/systemd/{own}"), boot()),
        entry(format!("EFI/Linux/{}", manifest.uki_name), unified(base, additions)?),
        entry("loader/loader.conf".to_owned(), vec![Piece::Bytes(manifest.loader.clone().into_bytes())]),
    ];
    let volume = fat::Volume {
        size: manifest.efi.bytes,
        id: serial(base, additions),
        label: "EFI",
        // A partition that begins beyond what the number can tell is told to begin nowhere.
        hidden_sectors: u32::try_from(manifest.efi.offset / 512).unwrap_or_default(),
    };
    let (efi, meta_place) = (manifest.efi, manifest.meta);
    let mut all = vec![between(0, efi.offset)];
    all.extend(fat::pieces(&volume, files)?);
    all.push(between(efi.end(), meta_place.offset));
    all.extend(meta_of(meta_place, additions)?);
    all.push(between(meta_place.end(), manifest.bytes(Source::Disk)));
    Ok(all)
}

/// META: as it is in the base, or with values.
fn meta_of(place: Place, additions: &Additions) -> Result<Vec<Piece>, MediaError> {
    if additions.meta.is_empty() {
        return Ok(vec![between(place.offset, place.end())]);
    }
    let mut all = meta::pieces(&additions.meta)?;
    all.push(Piece::Zeros(place.bytes.saturating_sub(length(&all))));
    Ok(all)
}

fn entry(path: String, contents: Vec<Piece>) -> fat::Entry {
    fat::Entry { path, contents }
}

fn whole(manifest: &Manifest, source: Source) -> Piece {
    Piece::File { source, offset: 0, length: manifest.bytes(source) }
}

/// A part of the base's disk.
const fn between(begin: u64, end: u64) -> Piece {
    Piece::File { source: Source::Disk, offset: begin, length: end.saturating_sub(begin) }
}

/// Serial number of a file system: it follows from what is on it.
fn serial(base: &Base, additions: &Additions) -> u32 {
    let hash = Sha256::new().chain_update(base.fingerprint()).chain_update(additions.arguments.join("\0"));
    let hash: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, ..] = hash;
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::base::tests::base;
    use crate::media::{self, Xz};

    fn joining() -> Additions {
        let arguments = ["siderolink.api=grpc://10.0.0.1:8090?jointoken=abc", "console=ttyS1"];
        Additions { arguments: arguments.map(str::to_owned).to_vec(), meta: BTreeMap::new() }
    }

    fn written(base: &Base, medium: Medium, additions: &Additions) -> Vec<u8> {
        let pieces = plan(base, medium, additions).expect("a plan");
        let mut out = Vec::new();
        media::write(&pieces, base, &mut out).expect("written");
        assert_eq!(out.len() as u64, length(&pieces));
        out
    }

    fn holds(haystack: &[u8], needle: &[u8]) -> bool {
        haystack.windows(needle.len()).any(|window| window == needle)
    }

    #[test]
    fn every_medium_with_a_command_line_has_the_arguments_and_is_the_same_each_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = base(folder.path());
        let line = command_line(base.manifest(), &joining().arguments).expect("a line");
        assert!(line.starts_with("talos.platform=metal ") && line.ends_with(" console=ttyS1"), "{line}");
        for medium in [Medium::CommandLine, Medium::Uki, Medium::Iso] {
            let one = written(&base, medium, &joining());
            assert!(holds(&one, line.as_bytes()), "{medium:?}");
            assert!(one == written(&base, medium, &joining()), "{medium:?} is another one");
        }
        assert_eq!(written(&base, Medium::Kernel, &joining()), [b'k'; 70_000]);
        assert_eq!(written(&base, Medium::Initramfs, &joining()), [b'i'; 200_000]);
    }

    #[test]
    fn a_disk_is_that_of_the_base_but_for_efi_and_meta() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = base(folder.path());
        let before = std::fs::read(base.path(Source::Disk)).expect("a disk");
        let mut additions = joining();
        let plain = written(&base, Medium::Disk, &additions);
        additions.meta.insert(12, b"machineLabels: {}\n".to_vec());
        let labelled = written(&base, Medium::Disk, &additions);
        let (efi, meta) = (base.manifest().efi, base.manifest().meta);
        let at = |byte: u64| usize::try_from(byte).expect("small");
        let range = |begin: u64, end: u64| at(begin)..at(end);
        for disk in [&plain, &labelled] {
            assert_eq!(disk.len(), before.len());
            for (begin, end) in [(0, efi.offset), (meta.end(), before.len() as u64)] {
                assert!(disk[range(begin, end)] == before[range(begin, end)], "{begin} to {end}");
            }
            let partition = &disk[range(efi.offset, efi.end())];
            assert!(partition[..512].ends_with(&[0x55, 0xaa]));
            assert!(holds(&partition[..1 << 20], b"boot loader") && holds(partition, b"jointoken=abc"));
        }
        assert!(plain[range(meta.offset, meta.end())] == before[range(meta.offset, meta.end())]);
        assert!(holds(&labelled[range(meta.offset, meta.end())], b"machineLabels"));
    }

    #[test]
    fn a_disk_can_be_packed_to_what_it_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = base(folder.path());
        let pieces = plan(&base, Medium::Disk, &joining()).expect("a plan");
        let mut xz = Xz::new(Vec::<u8>::new()).expect("memory");
        media::write(&pieces, &base, &mut xz).expect("written");
        let packed = xz.finish().expect("memory").len();
        assert!((270_000..2 << 20).contains(&packed), "{packed}");
    }

    #[test]
    fn what_a_kernel_or_a_medium_does_not_take_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = base(folder.path());
        let refused = |medium, arguments: &[&str], meta: &[(u8, &str)]| {
            let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            let meta = meta.iter().map(|(tag, value)| (*tag, value.as_bytes().to_vec())).collect();
            plan(&base, medium, &Additions { arguments, meta }).expect_err("refused").to_string()
        };
        let error = refused(Medium::Uki, &["secret=hunter2\nboot"], &[]);
        assert!(error.contains("\"secret\"") && !error.contains("hunter2"), "{error}");
        let error = refused(Medium::Iso, &[&"a".repeat(2048)], &[]);
        assert!(error.contains("takes 2047 bytes"), "{error}");
        let error = refused(Medium::Iso, &[], &[(12, "x")]);
        assert!(error.contains("on disks only"), "{error}");
    }
}
