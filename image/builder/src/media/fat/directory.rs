//! Entries of folders: 32 bytes each, with long names in entries of their own before.

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 32;
/// Entry of a file.
pub const ARCHIVE: u8 = 0x20;
/// Entry of a folder.
pub const FOLDER: u8 = 0x10;
/// Entry with the label of the file system.
pub const VOLUME: u8 = 0x08;
/// Names of a folder itself and of the one that it is in.
pub const NO_NAME: [&ShortName; 2] = [b".          ", b"..         "];

/// Entry with a part of a long name.
const LONG: u8 = 0x0f;
/// Letters of a long name in an entry.
const LONG_LETTERS: usize = 13;
/// Marks the entry with the end of a long name.
const LONG_END: u8 = 0x40;
/// The first of January 1980, the first day that the format knows.
const DAY: [u8; 2] = [0x21, 0];

/// Eight letters of a name and three of its ending, filled up with spaces.
pub type ShortName = [u8; 11];

/// How many entries something with this name takes.
pub fn slots(name: &str) -> usize {
    if is_short(name) { 1 } else { 1 + name.encode_utf16().count().div_ceil(LONG_LETTERS) }
}

/// All entries of something with this name; `number` tells it apart from the others in its folder, from 1 on.
pub fn named(name: &str, number: usize, attributes: u8, cluster: u32, size: u32) -> Vec<u8> {
    let short = short(name, number);
    let mut entries = if is_short(name) { Vec::new() } else { long(name, &short) };
    entries.extend(entry(&short, attributes, cluster, size));
    entries
}

/// One entry.
pub fn entry(name: &ShortName, attributes: u8, cluster: u32, size: u32) -> [u8; ENTRY_BYTES] {
    let [low, high] = [cluster & 0xffff, cluster >> 16].map(u32::to_le_bytes);
    let mut entry = [0; ENTRY_BYTES];
    for (at, bytes) in [
        (0, &name[..]),
        (11, &[attributes][..]),
        (16, &DAY[..]),
        (18, &DAY[..]),
        (20, &high[..2]),
        (24, &DAY[..]),
        (26, &low[..2]),
        (28, &size.to_le_bytes()[..]),
    ] {
        super::put(&mut entry, at, bytes);
    }
    entry
}

/// A label, or a short name without ending, filled up with spaces.
pub fn padded(text: &str) -> ShortName {
    let mut name = [b' '; 11];
    for (place, byte) in name.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    name
}

/// Whether a name needs no entries of its own.
fn is_short(name: &str) -> bool {
    let (base, ending) = split(name);
    let is_plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
    };
    (1..=8).contains(&base.len()) && ending.len() <= 3 && is_plain(base) && is_plain(ending)
}

fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((name, ""))
}

/// The name itself, or a short one that stands for it.
fn short(name: &str, number: usize) -> ShortName {
    let (base, ending) = split(name);
    let letters = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_uppercase()).collect()
    };
    let (base, ending) = if is_short(name) {
        (base.to_owned(), ending.to_owned())
    } else {
        let tail = format!("~{number}");
        let room = 8_usize.saturating_sub(tail.len());
        let base: String = letters(base).chars().take(room).collect();
        (base + &tail, letters(ending).chars().take(3).collect())
    };
    padded(&format!("{base:8.8}{ending}"))
}

/// The entries of a long name, the last part first.
fn long(name: &str, short: &ShortName) -> Vec<u8> {
    let letters: Vec<u16> = name.encode_utf16().collect();
    let parts: Vec<&[u16]> = letters.chunks(LONG_LETTERS).collect();
    let sum = checksum(short);
    let entry = |(order, part): (u8, &&[u16])| {
        // A name that ends within an entry ends with a zero; the rest is filled up with ones.
        let filled = part.iter().copied().chain([0]).chain(std::iter::repeat(u16::MAX)).take(LONG_LETTERS);
        let letters: Vec<u8> = filled.flat_map(u16::to_le_bytes).collect();
        let end = if usize::from(order) == parts.len() { LONG_END } else { 0 };
        let mut entry = [0; ENTRY_BYTES];
        super::put(&mut entry, 0, &[order | end]);
        super::put(&mut entry, 1, &letters[..10]);
        super::put(&mut entry, 11, &[LONG, 0, sum]);
        super::put(&mut entry, 14, &letters[10..22]);
        super::put(&mut entry, 28, &letters[22..]);
        entry
    };
    let entries: Vec<_> = (1..).zip(&parts).map(entry).collect();
    entries.into_iter().rev().flatten().collect()
}

/// Ties the entries of a long name to the short one.
fn checksum(short: &ShortName) -> u8 {
    short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_stay_and_others_get_a_short_one_beside() {
        for (name, slots_of, short_of) in [
            ("BOOTX64.EFI", 1, "BOOTX64 EFI"),
            ("EFI", 1, "EFI        "),
            ("Linux", 2, "LINUX~3    "),
            ("loader.conf", 2, "LOADER~3CON"),
            ("systemd-bootx64.efi", 3, "SYSTEM~3EFI"),
            ("Corten-0.1.0.efi", 3, "CORTEN~3EFI"),
        ] {
            assert_eq!(slots(name), slots_of, "{name}");
            assert_eq!(String::from_utf8_lossy(&short(name, 3)), short_of);
            assert_eq!(named(name, 3, ARCHIVE, 1, 1).len(), slots_of * ENTRY_BYTES, "{name}");
        }
    }

    #[test]
    fn a_long_name_is_written_from_its_end() {
        let entries = named("loader.conf", 1, ARCHIVE, 0x0001_0002, 7);
        assert_eq!(entries[0], 0x41);
        assert_eq!(entries[1..11], *b"l\0o\0a\0d\0e\0");
        assert_eq!(entries[28..32], [0, 0, 0xff, 0xff]);
        assert_eq!(entries[32 + 20..32 + 22], [1, 0], "the cluster's upper half");
        assert_eq!(entries[32 + 26..], [2, 0, 7, 0, 0, 0]);
        let two = named("systemd-bootx64.efi", 1, ARCHIVE, 2, 7);
        assert_eq!((two[0], two[32]), (0x42, 1));
    }

    #[test]
    fn any_name_is_told_by_as_many_entries_as_were_planned() {
        bolero::check!().with_type::<String>().for_each(|name| {
            let length = name.encode_utf16().count();
            if (1..=255).contains(&length) {
                assert_eq!(named(name, 9, FOLDER, 2, 0).len(), slots(name) * ENTRY_BYTES);
            }
        });
    }
}
