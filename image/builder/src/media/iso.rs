//! ISO 9660 with an EFI boot image (El Torito): a disc that UEFI starts, and a stick when it is written to one.
//!
//! ```text
//! sector 0   a table of one partition, for sticks: the boot image       17  boot record ─▶ 22
//!        16  volume: root folder ─▶ 21                                  18  end of the descriptors
//!        19  table of folders, in both orders of bytes                  21  root folder: BOOT.CAT, EFI.IMG
//!        22  boot catalog ─▶ 512                                        512 boot image, a FAT file system, to the end
//! ```
//!
//! A boot image of 32 MiB and more has no length in the catalog; firmware takes what follows to the end (UEFI 2.10,
//! 13.3.2.1). The formats: ECMA-119; El Torito 1.0.

use super::MediaError;
use super::piece::{Piece, length};

/// Bytes of a sector.
const SECTOR: usize = 2048;
/// Sectors of a disk in one of a disc.
const DISK_SECTORS: u32 = 4;
/// Name of the volume and of who wrote it.
const NAME: &[u8] = b"CORTEN";
/// Where descriptors begin.
const DESCRIPTORS: u32 = 16;
const TABLE_LITTLE: u32 = 19;
const TABLE_BIG: u32 = 20;
const ROOT: u32 = 21;
const CATALOG: u32 = 22;
/// Where the boot image begins: a mebibyte, as partitions do.
const IMAGE: u32 = 512;
/// Bytes of the table with the root folder alone.
const TABLE_BYTES: u32 = 10;
/// The first of January 1980 in a folder, UTC: as in the boot image.
const DATE: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];
/// No date in a descriptor.
const NO_DATE: [u8; 17] = *b"0000000000000000\0";
/// A record of a folder.
const FOLDER: u8 = 2;
/// Type of EFI system partitions in a partition table.
const EFI: u8 = 0xef;
/// A place that has no cylinder.
const NO_CYLINDER: [u8; 3] = [0xfe, 0xff, 0xff];

/// The pieces of a disc with this boot image, whose length is a multiple of a sector.
pub fn pieces(image: Vec<Piece>) -> Result<Vec<Piece>, MediaError> {
    let bytes = length(&image);
    let most = u64::from(u32::MAX);
    let size = u32::try_from(bytes).map_err(|_| MediaError::Room { needed: bytes, size: most })?;
    let mut head = Vec::with_capacity((CATALOG as usize + 1) * SECTOR);
    for (sector, contents) in [
        (0, partition_table(size)),
        (DESCRIPTORS, volume(size)),
        (DESCRIPTORS + 1, boot_record()),
        (DESCRIPTORS + 2, descriptor(255)),
        (TABLE_LITTLE, folders(u32::to_le_bytes, u16::to_le_bytes)),
        (TABLE_BIG, folders(u32::to_be_bytes, u16::to_be_bytes)),
        (ROOT, root(size)),
        (CATALOG, catalog(size)),
    ] {
        head.resize(sector as usize * SECTOR, 0);
        head.extend(contents);
    }
    let begin = u64::from(IMAGE) * SECTOR as u64;
    let gap = begin.saturating_sub(head.len() as u64);
    let mut all = vec![Piece::Bytes(head), Piece::Zeros(gap)];
    all.extend(image);
    Ok(all)
}

/// Sectors of a disc.
fn sectors(bytes: u32) -> u32 {
    bytes.div_ceil(SECTOR as u32)
}

/// The first sector, as firmware reads it on a stick.
fn partition_table(size: u32) -> Vec<u8> {
    let mut sector = vec![0; 446];
    sector.push(0);
    sector.extend(NO_CYLINDER);
    sector.push(EFI);
    sector.extend(NO_CYLINDER);
    sector.extend((IMAGE * DISK_SECTORS).to_le_bytes());
    sector.extend(sectors(size).saturating_mul(DISK_SECTORS).to_le_bytes());
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// An empty descriptor of a type.
fn descriptor(kind: u8) -> Vec<u8> {
    let mut descriptor = vec![kind];
    descriptor.extend(*b"CD001\x01");
    descriptor
}

/// The descriptor of the volume.
fn volume(size: u32) -> Vec<u8> {
    let mut volume = descriptor(1);
    volume.push(0);
    volume.extend([b' '; 32]);
    volume.extend(filled(NAME, 32));
    volume.extend([0; 8]);
    volume.extend(both(IMAGE + sectors(size)));
    volume.extend([0; 32]);
    volume.extend(both_short(1));
    volume.extend(both_short(1));
    volume.extend(both_short(SECTOR as u16));
    volume.extend(both(TABLE_BYTES));
    volume.extend(TABLE_LITTLE.to_le_bytes());
    volume.extend([0; 4]);
    volume.extend(TABLE_BIG.to_be_bytes());
    volume.extend([0; 4]);
    volume.extend(record(&[0], ROOT, SECTOR as u32, FOLDER));
    // Names of people and of files about the volume: none.
    volume.extend([b' '; 623]);
    for _ in 0..4 {
        volume.extend(NO_DATE);
    }
    volume.push(1);
    volume
}

/// The descriptor that leads to the boot catalog.
fn boot_record() -> Vec<u8> {
    let mut record = descriptor(0);
    record.extend(*b"EL TORITO SPECIFICATION");
    record.resize(71, 0);
    record.extend(CATALOG.to_le_bytes());
    record
}

/// The table of folders, which has the root alone.
fn folders(long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut table = vec![1, 0];
    table.extend(long(ROOT));
    table.extend(short(1));
    table.extend([0, 0]);
    table
}

/// The root folder.
fn root(size: u32) -> Vec<u8> {
    let sector = SECTOR as u32;
    [
        record(&[0], ROOT, sector, FOLDER),
        record(&[1], ROOT, sector, FOLDER),
        record(b"BOOT.CAT;1", CATALOG, sector, 0),
        record(b"EFI.IMG;1", IMAGE, size, 0),
    ]
    .concat()
}

/// A record of a folder.
fn record(name: &[u8], sector: u32, bytes: u32, flags: u8) -> Vec<u8> {
    let mut record = vec![0];
    record.extend(both(sector));
    record.extend(both(bytes));
    record.extend(DATE);
    record.extend([flags, 0, 0]);
    record.extend(both_short(1));
    record.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    record.extend(name);
    // The length of a record, which comes first, is even.
    if record.len().is_multiple_of(2) {
        record.push(0);
    }
    let length = u8::try_from(record.len() + 1).unwrap_or(u8::MAX);
    [&[length][..], &record[..]].concat()
}

/// The boot catalog: for EFI, with one image that is not an emulated disk.
fn catalog(size: u32) -> Vec<u8> {
    let mut check = vec![1, EFI, 0, 0];
    check.extend(filled(NAME, 24));
    check.extend([0, 0, 0x55, 0xaa]);
    let words = check.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let sum = words.fold(0_u16, u16::wrapping_add);
    // All words together are zero.
    check[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    let sectors = sectors(size).saturating_mul(DISK_SECTORS);
    let mut entry = vec![0x88, 0, 0, 0, 0, 0];
    entry.extend(u16::try_from(sectors).unwrap_or(0).to_le_bytes());
    entry.extend(IMAGE.to_le_bytes());
    entry.resize(SECTOR - check.len(), 0);
    [check, entry].concat()
}

/// A text that is filled up with spaces.
fn filled(text: &[u8], length: usize) -> Vec<u8> {
    let mut filled = text.to_vec();
    filled.resize(length, b' ');
    filled
}

/// A number in both orders of bytes.
fn both(number: u32) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

/// The same for a short one.
fn both_short(number: u16) -> Vec<u8> {
    [number.to_le_bytes(), number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::media::piece::tests::bytes;

    fn disc(mebibytes: u64) -> Vec<u8> {
        let image = vec![Piece::Bytes(b"FAT".to_vec()), Piece::Zeros((mebibytes << 20) - 3)];
        bytes(&pieces(image).expect("a disc"))
    }

    fn at(disc: &[u8], sector: u32) -> &[u8] {
        &disc[sector as usize * SECTOR..(sector as usize + 1) * SECTOR]
    }

    #[test]
    fn firmware_finds_the_boot_image_by_the_catalog_and_on_a_stick_by_the_table() {
        let disc = disc(1);
        assert_eq!(disc.len(), (IMAGE as usize * SECTOR) + (1 << 20));
        assert_eq!(at(&disc, 17)[..30], *b"\0CD001\x01EL TORITO SPECIFICATION");
        assert_eq!(at(&disc, 17)[71..75], CATALOG.to_le_bytes());
        let catalog = at(&disc, CATALOG);
        let words = catalog[..32].chunks(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
        assert_eq!(words.fold(0, u16::wrapping_add), 0);
        assert_eq!((catalog[0], catalog[1], catalog[30], catalog[31]), (1, EFI, 0x55, 0xaa));
        assert_eq!(catalog[32..44], *b"\x88\0\0\0\0\0\0\x08\0\x02\0\0");
        assert!(at(&disc, IMAGE).starts_with(b"FAT"));
        assert_eq!(disc[446 + 4], EFI);
        assert_eq!(disc[446 + 8..446 + 16], *b"\0\x08\0\0\0\x08\0\0");
        assert_eq!(disc[510..512], [0x55, 0xaa]);
    }

    #[test]
    fn a_large_boot_image_reaches_to_the_end() {
        let disc = disc(33);
        assert_eq!(at(&disc, CATALOG)[38..40], [0, 0]);
    }

    #[test]
    fn the_volume_knows_its_size_and_its_root() {
        let disc = disc(1);
        let volume = at(&disc, DESCRIPTORS);
        assert_eq!(volume[80..84], 1024_u32.to_le_bytes());
        assert_eq!(volume[84..88], 1024_u32.to_be_bytes());
        assert_eq!(volume[156], 34, "length of the root's record");
        assert_eq!(volume[158..162], ROOT.to_le_bytes());
        assert_eq!((volume[813], volume[881]), (b'0', 1));
        let root = at(&disc, ROOT);
        assert_eq!((root[0], root[34]), (34, 34));
        assert_eq!(root[68 + 33..68 + 43], *b"BOOT.CAT;1");
        let image = 68 + usize::from(root[68]);
        assert_eq!(root[image + 33..image + 42], *b"EFI.IMG;1");
        assert_eq!(root[image + 10..image + 14], (1_u32 << 20).to_le_bytes());
    }

    /// What a program of the host says of a disc; nothing if there is no such program.
    #[expect(clippy::disallowed_methods, reason = "a test asks a program of the host")]
    fn ask(test: &str, program: &str, package: &str, args: &[&str]) -> Option<String> {
        let Ok(output) = Command::new(program).args(args).output() else {
            eprintln!("skipped: {test}: there is no {program} (Debian's {package})");
            return None;
        };
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{program}: {said}");
        Some(said)
    }

    fn on_disk(folder: &tempfile::TempDir) -> String {
        let path = folder.path().join("disc.iso");
        std::fs::write(&path, disc(33)).expect("written");
        path.display().to_string()
    }

    #[test]
    fn isoinfo_finds_volume_files_and_boot_catalog() {
        let folder = tempfile::tempdir().expect("a folder");
        let disc = on_disk(&folder);
        for (what, parts) in [
            ("-d", ["Volume id: CORTEN", "El Torito VD version 1 found"]),
            ("-l", ["BOOT.CAT;1", "EFI.IMG;1"]),
        ] {
            let test = "isoinfo_finds_volume_files_and_boot_catalog";
            let Some(said) = ask(test, "isoinfo", "genisoimage", &[what, "-i", &disc]) else { return };
            for part in parts {
                assert!(said.contains(part), "{part}\n{said}");
            }
        }
    }

    #[test]
    fn xorriso_finds_an_efi_boot_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let disc = on_disk(&folder);
        let args = ["-indev", &disc, "-report_el_torito", "plain"];
        let Some(said) = ask("xorriso_finds_an_efi_boot_image", "xorriso", "xorriso", &args) else { return };
        assert!(said.contains("UEFI"), "{said}");
    }
}
