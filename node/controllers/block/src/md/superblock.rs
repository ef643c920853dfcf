//! What a member says of its array: the superblock of version 1 (md(4), `mdp_superblock_1` of the kernel's interface).

use std::io;

use crate::device::ReadAt;

/// What is read at each place, bytes: the superblock with the roles of as many members as there can be.
const BLOCK_BYTES: usize = 4096;
const MAGIC: u32 = 0xa92b_4efc;
/// Fixed part, bytes; two bytes for each member follow.
const FIXED_BYTES: usize = 256;
/// Where the checksum is.
const CHECKSUM_AT: usize = 216;
const SECTOR_BYTES: u64 = 512;

/// What a member says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Superblock {
    /// Identity of the array, as `mdadm` writes it.
    pub uuid: String,
    /// Name of the array, which may begin with the host that made it and a colon.
    pub name: String,
    /// Level, such as `raid1`.
    pub level: String,
    /// Format of the metadata: `1.0`, `1.1` or `1.2`.
    pub metadata: &'static str,
    /// Members that the array should have.
    pub raid_devices: u32,
}

impl Superblock {
    /// Identity of the array in the form of other identities.
    pub fn plain_uuid(&self) -> String {
        let digits = self.uuid.replace(':', "");
        let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
        [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
    }

    /// Name of the array, without the host that made it.
    pub fn short_name(&self) -> &str {
        self.name.split_once(':').map_or(self.name.as_str(), |(_, name)| name)
    }
}

/// Looks for a superblock on a device of this size.
pub fn read(device: &(impl ReadAt + ?Sized), size_bytes: u64) -> io::Result<Option<Superblock>> {
    let sectors = size_bytes / SECTOR_BYTES;
    // At the end it begins at a multiple of 4 KiB, 8 to 12 KiB before the end.
    let end = sectors.saturating_sub(16) & !7;
    for (metadata, sector) in [("1.2", 8), ("1.1", 0), ("1.0", end)] {
        let start = sector * SECTOR_BYTES;
        if start + BLOCK_BYTES as u64 > size_bytes {
            continue;
        }
        let mut block = vec![0; BLOCK_BYTES];
        device.read_at(&mut block, start)?;
        if let Some(superblock) = parse(&block, sector, metadata) {
            return Ok(Some(superblock));
        }
    }
    Ok(None)
}

/// The superblock that begins with these bytes and says that it is in this sector.
fn parse(block: &[u8], sector: u64, metadata: &'static str) -> Option<Superblock> {
    let is_ours = u32_at(block, 0)? == MAGIC && u32_at(block, 4)? == 1 && u64_at(block, 144)? == sector;
    let roles = usize::try_from(u32_at(block, 220)?).ok()?;
    let bytes = block.get(..FIXED_BYTES.checked_add(roles.checked_mul(2)?)?)?;
    (is_ours && checksum(bytes)? == u32_at(block, CHECKSUM_AT)?).then_some(())?;
    let name = block.get(32..64)?.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Superblock {
        uuid: uuid(block.get(16..32)?),
        name: String::from_utf8_lossy(name).into_owned(),
        level: level(i32::from_le_bytes(array(block, 72)?)),
        metadata,
        raid_devices: u32_at(block, 92)?,
    })
}

/// The sum of all words but its own, its upper half added to its lower one.
fn checksum(bytes: &[u8]) -> Option<u32> {
    let mut sum = 0_u64;
    for (at, word) in (0..).step_by(4).zip(bytes.chunks(4)) {
        let mut padded = [0; 4];
        padded.get_mut(..word.len())?.copy_from_slice(word);
        if at != CHECKSUM_AT {
            sum += u64::from(u32::from_le_bytes(padded));
        }
    }
    u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).ok()
}

/// Four groups of four bytes.
fn uuid(bytes: &[u8]) -> String {
    let groups =
        bytes.chunks(4).map(|group| group.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    groups.collect::<Vec<_>>().join(":")
}

fn level(number: i32) -> String {
    match number {
        -1 => "linear".to_owned(),
        number => format!("raid{number}"),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "judged by mdadm")]
pub mod tests {
    use std::path::Path;

    use corten_image_builder::Tool;

    use super::*;
    use crate::probe;

    const SIZE: usize = 8 << 20;

    /// A member of an array of two, with its superblock in this sector.
    pub fn member(sector: u64) -> Vec<u8> {
        let mut disk = vec![0; SIZE];
        let block = &mut disk[(sector * SECTOR_BYTES) as usize..][..BLOCK_BYTES];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_le_bytes());
        put(4, &1_u32.to_le_bytes());
        put(16, &[0x0a; 16]);
        put(32, b"host:data");
        put(72, &1_i32.to_le_bytes());
        put(80, &4096_u64.to_le_bytes());
        put(92, &2_u32.to_le_bytes());
        put(128, &2048_u64.to_le_bytes());
        put(136, &4096_u64.to_le_bytes());
        put(144, &sector.to_le_bytes());
        put(220, &2_u32.to_le_bytes());
        put(258, &1_u16.to_le_bytes());
        let sum = checksum(&block[..FIXED_BYTES + 4]).expect("a sum");
        block[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        disk
    }

    #[test]
    fn every_place_is_looked_at_and_what_was_changed_is_not_believed() {
        let end = (SIZE as u64 / SECTOR_BYTES - 16) & !7;
        for (sector, metadata) in [(8, "1.2"), (0, "1.1"), (end, "1.0")] {
            let mut disk = member(sector);
            let found = read(disk.as_slice(), SIZE as u64).expect("read").expect(metadata);
            let expected = Superblock {
                uuid: "0a0a0a0a:0a0a0a0a:0a0a0a0a:0a0a0a0a".to_owned(),
                name: "host:data".to_owned(),
                level: "raid1".to_owned(),
                metadata,
                raid_devices: 2,
            };
            assert_eq!((found.short_name(), &found), ("data", &expected));
            assert_eq!(found.plain_uuid(), "0a0a0a0a-0a0a-0a0a-0a0a-0a0a0a0a0a0a");
            let probed = probe::probe(disk.as_slice(), SIZE as u64).expect("read").expect("recognized");
            assert_eq!((probed.name, probed.label.as_str()), ("linux_raid_member", "host:data"));
            disk[(sector * SECTOR_BYTES) as usize + 92] = 3;
            assert_eq!(read(disk.as_slice(), SIZE as u64).expect("read"), None);
        }
        for size in [0, 1, 4096, 8192] {
            assert_eq!(read(&vec![0; size][..], size as u64).expect("read"), None);
        }
    }

    #[test]
    fn mdadm_reads_the_same() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), member(8)).expect("a member");
        let Some(tree) = std::env::var_os("CORTEN_DEBIAN") else {
            eprintln!("skipped: mdadm_reads_the_same: CORTEN_DEBIAN names no folder with mdadm");
            return;
        };
        let mut mdadm = Tool::new(Path::new(&tree), "usr/sbin/mdadm", "mdadm");
        mdadm.command().arg("--examine").arg("--export").arg(file.path());
        let text = mdadm.run().expect("mdadm knows it");
        for line in ["MD_LEVEL=raid1", "MD_DEVICES=2", "MD_UUID=0a0a0a0a:0a0a0a0a:0a0a0a0a:0a0a0a0a"] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        bolero::check!().with_type::<(Vec<u8>, u32, u8)>().for_each(|(bytes, roles, at)| {
            let mut block = vec![0; BLOCK_BYTES];
            block[..4].copy_from_slice(&MAGIC.to_le_bytes());
            block[4] = 1;
            block[220..224].copy_from_slice(&roles.to_le_bytes());
            for (index, byte) in bytes.iter().enumerate() {
                block[(usize::from(*at) + index) % BLOCK_BYTES] = *byte;
            }
            let sum =
                usize::try_from(*roles).ok().and_then(|roles| FIXED_BYTES.checked_add(roles.checked_mul(2)?));
            if let Some(sum) = sum.and_then(|length| checksum(block.get(..length)?)) {
                block[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
            }
            parse(&block, 0, "1.1");
            parse(bytes, 8, "1.2");
        });
    }
}
