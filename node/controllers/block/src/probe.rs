//! What is in a volume, by the marks that file systems leave at fixed places.
//!
//! Pure over the first bytes; a mark is believed only with the numbers around it making sense. A member of an array may
//! begin as the array does, so that what its superblock says comes first. What is not recognized may be somebody's all
//! the same: whoever takes a device that nobody set apart for him asks [`is_blank`].

use std::io;

use crate::device::ReadAt;
use crate::gpt;
use crate::md::superblock::{self, Superblock};

/// What is recognized on a member of an array.
pub const MEMBER: &str = "linux_raid_member";
/// Bytes from the start within which all marks are.
const HEAD_BYTES: u64 = 68 * 1024;
/// Bytes at each end of a device that are zero when it holds nothing.
const END_BYTES: u64 = 1 << 20;
/// Formats that are only told from nothing: name, place and mark.
const OTHERS: [(&str, usize, &[u8]); 10] = [
    ("bluestore", 0, b"bluestore block device"),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
    ("bitlocker", 3, b"-FVE-FS-"),
    ("apfs", 32, b"NXSB"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("bcache", 4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    ("bcachefs", 4120, b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
    ("jfs", 32 * 1024, b"JFS1"),
    ("reiserfs", 64 * 1024 + 52, b"ReIsEr"),
];

/// What was recognized.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Name of the format, as clients know it.
    pub name: &'static str,
    /// UUID, in the form that the format's own tools print.
    pub uuid: String,
    /// Label.
    pub label: String,
    /// Sector of the file system.
    pub block_size: u32,
    /// Block of the file system.
    pub filesystem_block_size: u32,
    /// Bytes that it says it covers.
    pub size: u64,
    /// Its making was not finished; nothing can be in it.
    pub is_unfinished: bool,
}

/// Looks at a device of this size.
pub fn probe(device: &(impl ReadAt + ?Sized), size_bytes: u64) -> io::Result<Option<Found>> {
    if let Some(superblock) = superblock::read(device, size_bytes)? {
        return Ok(Some(member(&superblock)));
    }
    let mut head = vec![0; usize::try_from(size_bytes.min(HEAD_BYTES)).map_err(io::Error::other)?];
    device.read_at(&mut head, 0)?;
    Ok(recognize(&head))
}

/// Whether a device of this size holds nothing at all, but perhaps a first partition table that was not finished.
pub fn is_blank(device: &(impl ReadAt + ?Sized), size_bytes: u64) -> io::Result<bool> {
    let length = size_bytes.min(END_BYTES);
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    device.read_at(&mut bytes, 0)?;
    if bytes.iter().any(|byte| *byte != 0) {
        return Ok(false);
    }
    device.read_at(&mut bytes, size_bytes - length)?;
    Ok(bytes.iter().all(|byte| *byte == 0) || gpt::is_begun(&bytes))
}

fn member(superblock: &Superblock) -> Found {
    Found { name: MEMBER, uuid: superblock.plain_uuid(), label: superblock.name.clone(), ..Found::default() }
}

/// A format: gives what it recognizes.
type Format = fn(&[u8]) -> Option<Found>;

/// Recognizes a format by the first bytes of a volume.
pub fn recognize(head: &[u8]) -> Option<Found> {
    const FORMATS: [Format; 12] =
        [xfs, luks, squashfs, lvm, swap, btrfs, ext, erofs, iso9660, vfat, talos_meta, other];
    FORMATS.iter().find_map(|format| format(head))
}

fn xfs(head: &[u8]) -> Option<Found> {
    let block_size = be32(head, 4)?;
    let sector_size = be16(head, 102)?;
    (marked(head, 0, b"XFSB") && block_size.is_power_of_two() && sector_size.is_power_of_two())
        .then_some(())?;
    Some(Found {
        name: "xfs",
        uuid: uuid(head, 32)?,
        label: text(head, 108, 12)?,
        block_size: u32::from(sector_size),
        filesystem_block_size: block_size,
        size: be64(head, 8)?.saturating_mul(u64::from(block_size)),
        is_unfinished: *head.get(126)? != 0,
    })
}

fn ext(head: &[u8]) -> Option<Found> {
    const SUPER: usize = 1024;
    const HAS_JOURNAL: u32 = 0x4;
    const EXTENTS_OR_64BIT: u32 = 0x40 | 0x80;
    let shift = le32(head, SUPER + 24)?;
    (marked(head, SUPER + 56, &[0x53, 0xef]) && shift <= 6).then_some(())?;
    let block_size = 1024 << shift;
    let is_ext4 = le32(head, SUPER + 96)? & EXTENTS_OR_64BIT != 0;
    let has_journal = le32(head, SUPER + 92)? & HAS_JOURNAL != 0;
    let blocks = u64::from(le32(head, SUPER + 4)?) | u64::from(le32(head, SUPER + 0x150)?) << 32;
    Some(Found {
        name: if is_ext4 {
            "ext4"
        } else if has_journal {
            "ext3"
        } else {
            "ext2"
        },
        uuid: uuid(head, SUPER + 104)?,
        label: text(head, SUPER + 120, 16)?,
        block_size,
        filesystem_block_size: block_size,
        size: blocks.saturating_mul(u64::from(block_size)),
        is_unfinished: false,
    })
}

fn squashfs(head: &[u8]) -> Option<Found> {
    marked(head, 0, b"hsqs").then_some(())?;
    Some(Found {
        name: "squashfs",
        filesystem_block_size: le32(head, 12)?,
        size: le64(head, 40)?,
        ..Found::default()
    })
}

fn erofs(head: &[u8]) -> Option<Found> {
    const SUPER: usize = 1024;
    let shift = *head.get(SUPER + 12)?;
    (marked(head, SUPER, &[0xe2, 0xe1, 0xf5, 0xe0]) && (9..=16).contains(&shift)).then_some(())?;
    let block_size = 1 << shift;
    Some(Found {
        name: "erofs",
        uuid: uuid(head, SUPER + 48)?,
        label: text(head, SUPER + 64, 16)?,
        block_size,
        filesystem_block_size: block_size,
        size: u64::from(le32(head, SUPER + 36)?) << shift,
        is_unfinished: false,
    })
}

fn iso9660(head: &[u8]) -> Option<Found> {
    const DESCRIPTOR: usize = 32 * 1024;
    marked(head, DESCRIPTOR, b"\x01CD001").then_some(())?;
    let block_size = u32::from(u16::from_le_bytes(array(head, DESCRIPTOR + 128)?));
    Some(Found {
        name: "iso9660",
        label: text(head, DESCRIPTOR + 40, 32)?,
        block_size,
        filesystem_block_size: block_size,
        size: u64::from(le32(head, DESCRIPTOR + 80)?) * u64::from(block_size),
        ..Found::default()
    })
}

fn vfat(head: &[u8]) -> Option<Found> {
    let is_32 = marked(head, 82, b"FAT32   ");
    let is_small = [b"FAT12   ", b"FAT16   ", b"FAT     "].into_iter().any(|mark| marked(head, 54, mark));
    let sector = u16::from_le_bytes(array(head, 11)?);
    let is_sane = marked(head, 510, &[0x55, 0xaa]) && sector.is_power_of_two() && sector >= 512;
    (is_sane && (is_32 || is_small)).then_some(())?;
    let (serial_at, label_at) = if is_32 { (67, 71) } else { (39, 43) };
    let serial = le32(head, serial_at)?;
    let sectors = match u16::from_le_bytes(array(head, 19)?) {
        0 => le32(head, 32)?,
        sectors => u32::from(sectors),
    };
    let label = text(head, label_at, 11)?;
    Some(Found {
        name: "vfat",
        uuid: format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff),
        label: if label == "NO NAME" { String::new() } else { label },
        block_size: u32::from(sector),
        filesystem_block_size: u32::from(sector) * u32::from(*head.get(13)?),
        size: u64::from(sectors) * u64::from(sector),
        is_unfinished: false,
    })
}

fn btrfs(head: &[u8]) -> Option<Found> {
    const SUPER: usize = 64 * 1024;
    marked(head, SUPER + 64, b"_BHRfS_M").then_some(())?;
    let (uuid, label, size) =
        (uuid(head, SUPER + 32)?, text(head, SUPER + 299, 256)?, le64(head, SUPER + 112)?);
    Some(Found { name: "btrfs", uuid, label, size, ..Found::default() })
}

fn luks(head: &[u8]) -> Option<Found> {
    marked(head, 0, b"LUKS\xba\xbe").then(|| Found { name: "luks", ..Found::default() })
}

/// The label is in one of the first four sectors.
fn lvm(head: &[u8]) -> Option<Found> {
    let is_labelled = (0..4).any(|sector| marked(head, sector * 512, b"LABELONE"));
    is_labelled.then(|| Found { name: "lvm2-pv", ..Found::default() })
}

fn other(head: &[u8]) -> Option<Found> {
    let &(name, ..) = OTHERS.iter().find(|(_, at, mark)| marked(head, *at, mark))?;
    Some(Found { name, ..Found::default() })
}

fn swap(head: &[u8]) -> Option<Found> {
    const PAGE_BYTES: u32 = 4096;
    marked(head, 4086, b"SWAPSPACE2").then_some(())?;
    Some(Found {
        name: "swap",
        uuid: uuid(head, 1036)?,
        label: text(head, 1052, 16)?,
        block_size: PAGE_BYTES,
        filesystem_block_size: PAGE_BYTES,
        size: (u64::from(le32(head, 1028)?) + 1).saturating_mul(u64::from(PAGE_BYTES)),
        is_unfinished: false,
    })
}

fn talos_meta(head: &[u8]) -> Option<Found> {
    marked(head, 0, &[0x5a, 0x4b, 0x3c, 0x2d]).then(|| Found { name: "talosmeta", ..Found::default() })
}

fn marked(head: &[u8], at: usize, mark: &[u8]) -> bool {
    head.get(at..).is_some_and(|rest| rest.starts_with(mark))
}

fn array<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
    head.get(at..at + N)?.try_into().ok()
}

fn be16(head: &[u8], at: usize) -> Option<u16> {
    array(head, at).map(u16::from_be_bytes)
}

fn be32(head: &[u8], at: usize) -> Option<u32> {
    array(head, at).map(u32::from_be_bytes)
}

fn be64(head: &[u8], at: usize) -> Option<u64> {
    array(head, at).map(u64::from_be_bytes)
}

fn le32(head: &[u8], at: usize) -> Option<u32> {
    array(head, at).map(u32::from_le_bytes)
}

fn le64(head: &[u8], at: usize) -> Option<u64> {
    array(head, at).map(u64::from_le_bytes)
}

/// A label: up to the first NUL, without the blanks that fill it.
fn text(head: &[u8], at: usize, length: usize) -> Option<String> {
    let bytes = head.get(at..at + length)?;
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(bytes).trim_end().to_owned())
}

fn uuid(head: &[u8], at: usize) -> Option<String> {
    let hex: String = head.get(at..at + 16)?.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    Some([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "judged by the disk tools of the host")]
mod tests {
    use std::process::Command;

    use super::*;

    /// Formats a file with a program of the workshop and recognizes the result.
    fn made_by(program: &str, arguments: &[&str], size: u64) -> Option<Found> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(size).expect("a volume");
        let Ok(output) = Command::new(program).args(arguments).arg(file.path()).output() else {
            eprintln!("SKIPPED: {program} is not installed");
            return None;
        };
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        probe(file.as_file(), size).expect("read")
    }

    #[test]
    fn file_systems_are_recognized_as_their_makers_made_them() {
        let id = "11111111-2222-4333-8444-555555555555";
        if let Some(found) =
            made_by("mkfs.xfs", &["-q", "-L", "STATE", "-m", &format!("uuid={id}")], 512 << 20)
        {
            assert_eq!((found.name, found.label.as_str(), found.uuid.as_str()), ("xfs", "STATE", id));
            assert_eq!(
                (found.size, found.filesystem_block_size, found.is_unfinished),
                (512 << 20, 4096, false)
            );
        }
        if let Some(found) = made_by("mkfs.ext4", &["-q", "-L", "cache", "-U", id, "-F"], 16 << 20) {
            assert_eq!((found.name, found.label.as_str(), found.uuid.as_str()), ("ext4", "cache", id));
            assert_eq!(found.size, 16 << 20);
        }
        for (bits, size) in [("12", 4 << 20), ("16", 16 << 20), ("32", 64 << 20)] {
            if let Some(found) = made_by("mkfs.vfat", &["-F", bits, "-n", "cidata", "-i", "1234ABCD"], size) {
                assert_eq!(
                    (found.name, found.label.as_str(), found.uuid.as_str()),
                    ("vfat", "cidata", "1234-ABCD")
                );
            }
        }
    }

    #[test]
    fn an_unfinished_file_system_and_a_blank_volume_are_told_apart() {
        let mut head = vec![0; 4096];
        assert_eq!(recognize(&head), None);
        head[..4].copy_from_slice(b"XFSB");
        head[4..8].copy_from_slice(&4096_u32.to_be_bytes());
        head[102..104].copy_from_slice(&512_u16.to_be_bytes());
        head[126] = 1;
        assert!(recognize(&head).is_some_and(|found| found.is_unfinished));
        head[126] = 0;
        assert!(recognize(&head).is_some_and(|found| !found.is_unfinished));
    }

    #[test]
    fn what_is_never_mounted_is_not_taken_for_nothing() {
        for (name, at, mark) in OTHERS {
            let mut head = vec![0; HEAD_BYTES as usize];
            head[at..at + mark.len()].copy_from_slice(mark);
            assert_eq!(recognize(&head).map(|found| found.name), Some(name));
        }
        let mut head = vec![0; 4096];
        head[1536..1544].copy_from_slice(b"LABELONE");
        assert_eq!(recognize(&head).map(|found| found.name), Some("lvm2-pv"));
    }

    #[test]
    fn a_device_is_blank_when_both_ends_are_whatever_is_recognized() {
        const SIZE: usize = 4 << 20;
        let is_blank = |at: Option<usize>| {
            let mut disk = vec![0; SIZE];
            at.into_iter().for_each(|at| disk[at] = 1);
            is_blank(disk.as_slice(), SIZE as u64).expect("read")
        };
        assert!(is_blank(None) && is_blank(Some(2 << 20)));
        for at in [0, (1 << 20) - 1, 3 << 20, SIZE - 1] {
            assert!(!is_blank(Some(at)), "{at}");
        }
        assert!(super::is_blank([0_u8; 0].as_slice(), 0).expect("read"));
    }

    #[test]
    fn a_cd_has_a_label() {
        let mut head = vec![0; 36 * 1024];
        head[32768..32774].copy_from_slice(b"\x01CD001");
        head[32808..32840].copy_from_slice(b"metal-iso                       ");
        head[32896..32898].copy_from_slice(&2048_u16.to_le_bytes());
        head[32848..32852].copy_from_slice(&100_u32.to_le_bytes());
        let found = recognize(&head).expect("a cd");
        assert_eq!((found.name, found.label.as_str(), found.size), ("iso9660", "metal-iso", 204_800));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        bolero::check!().with_type::<(Vec<u8>, u16, u8)>().for_each(|(bytes, length, which)| {
            recognize(bytes);
            let marks: [(usize, &[u8]); 6] = [
                (0, b"XFSB"),
                (1080, &[0x53, 0xef]),
                (1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
                (32768, b"\x01CD001"),
                (82, b"FAT32   "),
                (65600, b"_BHRfS_M"),
            ];
            let (at, mark) = marks[usize::from(*which) % marks.len()];
            let mut head = vec![0; at + mark.len()];
            head[at..].copy_from_slice(mark);
            head.extend(bytes);
            head.truncate(usize::from(*length).max(at + mark.len()));
            recognize(&head);
        });
    }
}
