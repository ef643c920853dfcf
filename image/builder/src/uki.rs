//! Unified kernel images: systemd's stub with kernel, command line and initramfs as PE sections.
//!
//! Sections are appended behind those of the stub and the headers corrected; nothing of the stub
//! itself changes. The stub reserves room for section headers, so no byte has to move.

use anyhow::{Result, bail, ensure};

/// Contents that are data.
const DATA: u32 = 0x4000_0040;
/// Contents that are run.
const CODE: u32 = 0x6000_0020;
/// Bytes of one section header.
const HEADER: usize = 40;
/// PE32+, the format of 64-bit programs.
const PE32_PLUS: u16 = 0x020b;
/// Name of the section with the command line.
const COMMAND_LINE: &str = ".cmdline";
/// What the section is called when another one takes its place; nobody looks for it.
const REPLACED: &[u8; 8] = b".cmdold\0";
/// Longest command line that a section takes, bytes.
const COMMAND_LINE_MAX: usize = 1 << 16;

/// A section to append.
#[derive(Clone, Debug)]
pub struct Section {
    /// Name with its dot, at most eight bytes.
    pub name: &'static str,
    /// Contents.
    pub data: Vec<u8>,
}

/// What a kernel image is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// systemd's stub.
    pub stub: Vec<u8>,
    /// Kernel.
    pub linux: Vec<u8>,
    /// Initramfs.
    pub initrd: Vec<u8>,
    /// Command line.
    pub cmdline: String,
    /// os-release, from which the boot menu takes its title.
    pub os_release: String,
    /// `uname -r`.
    pub uname: String,
}

/// Assembles the image.
///
/// # Errors
/// When the stub is not a PE program or has no room for the sections.
pub fn assemble(parts: Parts) -> Result<Vec<u8>> {
    let text = |name, text: String| Section { name, data: text.into_bytes() };
    append(
        parts.stub,
        &[
            text(".osrel", parts.os_release),
            text(COMMAND_LINE, parts.cmdline),
            text(".uname", parts.uname),
            Section { name: ".linux", data: parts.linux },
            Section { name: ".initrd", data: parts.initrd },
        ],
    )
}

/// A kernel image with another command line, by what is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Stands in the place of the image's first bytes.
    pub head: Vec<u8>,
    /// Follows the image's last byte.
    pub tail: Vec<u8>,
}

/// Gives an assembled image another command line. `head` are its first bytes, with all headers; `length` is that of
/// all. The section that it has gets another name and a new one is appended, so that no byte has to move.
///
/// # Errors
/// When this is no such image, or there is no room for another header.
pub fn with_command_line(head: &[u8], length: u64, command_line: &str) -> Result<Changed> {
    ensure!(command_line.len() <= COMMAND_LINE_MAX, "the command line is too long");
    let headers = Headers::read(head)?;
    let at = headers.table_at + headers.count * HEADER;
    ensure!(headers.room(head)? > 0, "the image has no room for another section");
    ensure!(head.len() >= headers.optional_at + 68, "the image's headers are too short");
    let address = headers.end_of_memory(head)?;
    let Some(begin) = length.checked_next_multiple_of(u64::from(headers.file_alignment)) else {
        bail!("the image is too long");
    };
    let size = u32::try_from(command_line.len())?;
    let raw = size.next_multiple_of(headers.file_alignment);
    let end = u64::from(address) + u64::from(size.next_multiple_of(headers.section_alignment));
    let mut changed = head.to_vec();
    for index in 0..headers.count {
        let name = headers.table_at + index * HEADER;
        if changed.get(name..name + 8) == Some(COMMAND_LINE.as_bytes()) {
            changed[name..name + 8].copy_from_slice(REPLACED);
        }
    }
    write_header(&mut changed, at, COMMAND_LINE, [size, address, raw, u32::try_from(begin)?])?;
    let count = u16::try_from(headers.count + 1)?;
    changed[headers.count_at..headers.count_at + 2].copy_from_slice(&count.to_le_bytes());
    let data_size = read32(head, headers.optional_at + 8)?.saturating_add(raw);
    write32(&mut changed, headers.optional_at + 8, data_size);
    write32(&mut changed, headers.optional_at + 56, u32::try_from(end)?);
    write32(&mut changed, headers.optional_at + 64, 0);
    let mut tail = vec![0; usize::try_from(begin - length)?];
    tail.extend_from_slice(command_line.as_bytes());
    tail.resize(tail.len() + (raw - size) as usize, 0);
    Ok(Changed { head: changed, tail })
}

/// Places of the fields that have to be read or corrected.
struct Headers {
    count_at: usize,
    optional_at: usize,
    table_at: usize,
    count: usize,
    section_alignment: u32,
    file_alignment: u32,
}

/// Appends the sections.
fn append(mut image: Vec<u8>, sections: &[Section]) -> Result<Vec<u8>> {
    let headers = Headers::read(&image)?;
    let mut address = headers.end_of_memory(&image)?;
    ensure!(
        headers.room(&image)? >= sections.len(),
        "the stub has no room for {} more sections",
        sections.len()
    );
    image.resize(image.len().next_multiple_of(headers.file_alignment as usize), 0);
    let mut data_size = read32(&image, headers.optional_at + 8)?;
    for (index, section) in sections.iter().enumerate() {
        let size = u32::try_from(section.data.len())?;
        let offset = u32::try_from(image.len())?;
        image.extend_from_slice(&section.data);
        image.resize(image.len().next_multiple_of(headers.file_alignment as usize), 0);
        let raw = u32::try_from(image.len())? - offset;
        let at = headers.table_at + (headers.count + index) * HEADER;
        write_header(&mut image, at, section.name, [size, address, raw, offset])?;
        data_size = data_size.saturating_add(raw);
        address = address.saturating_add(size.next_multiple_of(headers.section_alignment));
    }
    ensure!(address < u32::MAX, "the image is larger than PE can address");
    let count = u16::try_from(headers.count + sections.len())?;
    image[headers.count_at..headers.count_at + 2].copy_from_slice(&count.to_le_bytes());
    write32(&mut image, headers.optional_at + 8, data_size);
    write32(&mut image, headers.optional_at + 56, address);
    write32(&mut image, headers.optional_at + 64, 0);
    Ok(image)
}

impl Headers {
    fn read(image: &[u8]) -> Result<Self> {
        ensure!(image.starts_with(b"MZ"), "the stub is not a PE program");
        let pe = read32(image, 0x3c)? as usize;
        let optional_at = pe + 24;
        if image.get(pe..pe + 4) != Some(b"PE\0\0") || read16(image, optional_at)? != PE32_PLUS {
            bail!("the stub is not a 64-bit PE program");
        }
        let headers = Self {
            count_at: pe + 6,
            optional_at,
            table_at: optional_at + read16(image, pe + 20)? as usize,
            count: read16(image, pe + 6)? as usize,
            section_alignment: read32(image, optional_at + 32)?,
            file_alignment: read32(image, optional_at + 36)?,
        };
        let sane = |alignment: u32| alignment.is_power_of_two() && alignment <= 1 << 16;
        ensure!(
            sane(headers.section_alignment) && sane(headers.file_alignment),
            "the stub's alignments make no sense"
        );
        Ok(headers)
    }

    /// Section headers that fit before the first section's contents.
    fn room(&self, image: &[u8]) -> Result<usize> {
        let end = (read32(image, self.optional_at + 60)? as usize).min(image.len());
        let used = self.table_at + self.count * HEADER;
        let free = image.get(used..end).unwrap_or_default();
        Ok(free.chunks_exact(HEADER).take_while(|header| header.iter().all(|&byte| byte == 0)).count())
    }

    /// First free address behind all sections.
    fn end_of_memory(&self, image: &[u8]) -> Result<u32> {
        let mut end = 0;
        for index in 0..self.count {
            let at = self.table_at + index * HEADER;
            let (size, address) = (read32(image, at + 8)?, read32(image, at + 12)?);
            end = end.max(address.saturating_add(size));
        }
        match end.checked_next_multiple_of(self.section_alignment) {
            Some(end) => Ok(end),
            None => bail!("the stub's sections end beyond what PE can address"),
        }
    }
}

/// Writes one section header; the numbers are virtual size, address, size in the file, offset.
fn write_header(image: &mut [u8], at: usize, name: &str, numbers: [u32; 4]) -> Result<()> {
    ensure!(name.len() <= 8, "`{name}` is too long for a section");
    image[at..at + HEADER].fill(0);
    image[at..at + name.len()].copy_from_slice(name.as_bytes());
    for (index, number) in numbers.into_iter().enumerate() {
        write32(image, at + 8 + index * 4, number);
    }
    write32(image, at + 36, if name == ".linux" { CODE } else { DATA });
    Ok(())
}

fn read16(image: &[u8], at: usize) -> Result<u16> {
    match image.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => Ok(u16::from_le_bytes(*bytes)),
        None => bail!("the stub ends too early"),
    }
}

fn read32(image: &[u8], at: usize) -> Result<u32> {
    match image.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(bytes) => Ok(u32::from_le_bytes(*bytes)),
        None => bail!("the stub ends too early"),
    }
}

fn write32(image: &mut [u8], at: usize, value: u32) {
    image[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest program that [`append`] accepts: one section, room for more headers.
    pub(crate) fn stub() -> Vec<u8> {
        let mut image = vec![0_u8; 1536];
        image[..2].copy_from_slice(b"MZ");
        write32(&mut image, 0x3c, 0x80);
        image[0x80..0x84].copy_from_slice(b"PE\0\0");
        image[0x86] = 1;
        image[0x94] = 240;
        let optional = 0x80 + 24;
        image[optional..optional + 2].copy_from_slice(&PE32_PLUS.to_le_bytes());
        write32(&mut image, optional + 32, 4096);
        write32(&mut image, optional + 36, 512);
        write32(&mut image, optional + 60, 1024);
        let table = optional + 240;
        write_header(&mut image, table, ".text", [100, 4096, 512, 1024]).expect("header");
        image
    }

    #[test]
    fn appended_sections_do_not_overlap_and_keep_their_contents() {
        let sections = [
            Section { name: ".cmdline", data: b"quiet".to_vec() },
            Section { name: ".linux", data: vec![7; 5000] },
        ];
        let image = append(stub(), &sections).expect("append");
        let headers = Headers::read(&image).expect("headers");
        assert_eq!(headers.count, 3);
        let field = |index: usize, field: usize| {
            read32(&image, headers.table_at + index * HEADER + field).expect("field")
        };
        assert_eq!((field(1, 12), field(2, 12)), (8192, 12288), "addresses");
        let offset = field(2, 20) as usize;
        assert_eq!(&image[offset..offset + 5000], &[7; 5000]);
        assert_eq!(read32(&image, headers.optional_at + 56).expect("size of image"), 20480);
    }

    #[test]
    fn a_full_header_is_refused() {
        let sections = vec![Section { name: ".x", data: vec![1] }; 20];
        assert!(append(stub(), &sections).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut image = bytes.to_vec();
            if let Some(start) = image.get_mut(..2) {
                start.copy_from_slice(b"MZ");
            }
            drop(append(image, &[Section { name: ".linux", data: vec![1] }]));
        });
    }

    /// Name, address, size and contents of each section.
    pub(crate) fn sections(image: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let headers = Headers::read(image).expect("headers");
        let section = |index: usize| {
            let at = headers.table_at + index * HEADER;
            let [size, address, _, offset] =
                [8, 12, 16, 20].map(|field| read32(image, at + field).expect("a field"));
            let name = String::from_utf8_lossy(&image[at..at + 8]).trim_end_matches('\0').to_owned();
            let begin = offset as usize;
            (name, address, image[begin..begin + size as usize].to_vec())
        };
        (0..headers.count).map(section).collect()
    }

    #[test]
    fn another_command_line_is_the_only_one_and_nothing_else_moves() {
        let data = |name, data: &[u8]| Section { name, data: data.to_vec() };
        let parts = [data(".cmdline", b"quiet"), data(".linux", &[7; 5000])];
        let image = append(stub(), &parts).expect("an image");
        let line = "quiet siderolink.api=grpc://fleet ".repeat(40);
        // Headers are in the first bytes; the rest is never looked at.
        let changed = with_command_line(&image[..1536], image.len() as u64, &line).expect("changed");
        let whole = [&changed.head[..], &image[1536..], &changed.tail[..]].concat();
        let (before, after) = (sections(&image), sections(&whole));
        assert_eq!(after.len(), before.len() + 1);
        assert_eq!(after[1].0, ".cmdold");
        assert_eq!(after[2], before[2]);
        let (name, address, contents) = &after[3];
        assert_eq!((name.as_str(), contents.as_slice()), (".cmdline", line.as_bytes()));
        assert!(*address >= before[2].1 + 5000 && address % 4096 == 0, "{address}");
        let again = with_command_line(&whole[..1536], whole.len() as u64, "quiet").expect("changed");
        let again = [&again.head[..], &whole[1536..], &again.tail[..]].concat();
        let lines: Vec<_> = sections(&again).into_iter().filter(|(name, ..)| name == ".cmdline").collect();
        assert!(lines.len() == 1 && lines[0].2 == b"quiet", "{lines:?}");
    }

    #[test]
    fn no_bytes_make_a_change_panic() {
        bolero::check!().with_type::<(Vec<u8>, u64)>().for_each(|(bytes, length)| {
            let mut image = stub();
            for (place, byte) in image[0x80..].iter_mut().zip(bytes) {
                *place = *byte;
            }
            drop(with_command_line(&image, *length, "quiet"));
        });
    }
}
