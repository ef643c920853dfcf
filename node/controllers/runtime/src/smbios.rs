//! SMBIOS tables (DMTF DSP0134) as the kernel exports them: a pure parser that believes nothing.

use corten_resources::hardware::{MemoryModule, Processor, SystemInformation};

/// Structures read; far more than any machine has.
const STRUCTURES_MAX: usize = 4096;

/// One structure: its type, its formatted area with header, its strings.
struct Structure<'a> {
    kind: u8,
    area: &'a [u8],
    strings: Vec<&'a [u8]>,
}

impl Structure<'_> {
    fn byte(&self, offset: usize) -> u8 {
        self.area.get(offset).copied().unwrap_or_default()
    }

    fn word(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.byte(offset), self.byte(offset + 1)])
    }

    fn dword(&self, offset: usize) -> u32 {
        u32::from_le_bytes([
            self.byte(offset),
            self.byte(offset + 1),
            self.byte(offset + 2),
            self.byte(offset + 3),
        ])
    }

    /// The string whose number stands at `offset`.
    fn text(&self, offset: usize) -> String {
        let number = usize::from(self.byte(offset));
        let text =
            number.checked_sub(1).and_then(|index| self.strings.get(index)).copied().unwrap_or_default();
        String::from_utf8_lossy(text).trim().to_owned()
    }
}

fn structures(mut table: &[u8]) -> Vec<Structure<'_>> {
    let mut found = Vec::new();
    while let (Some(kind), Some(length)) = (table.first(), table.get(1)) {
        let length = usize::from(*length);
        let (Some(area), Some(rest)) = (table.get(..length), table.get(length..)) else { break };
        if length < 4 || found.len() >= STRUCTURES_MAX {
            break;
        }
        let (strings, next) = strings(rest);
        found.push(Structure { kind: *kind, area, strings });
        table = next;
    }
    found
}

/// Strings up to an empty one, and what follows.
fn strings(mut rest: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut strings = Vec::new();
    loop {
        let Some(end) = rest.iter().position(|byte| *byte == 0) else { return (strings, &[]) };
        let (text, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        if text.is_empty() {
            let next = if strings.is_empty() { rest.get(1..).unwrap_or_default() } else { rest };
            return (strings, next);
        }
        strings.push(text);
    }
}

/// What the tables say.
#[derive(Debug, Default, PartialEq)]
pub struct Tables {
    /// Types 0 and 1.
    pub system: SystemInformation,
    /// Type 4.
    pub processors: Vec<Processor>,
    /// Type 17.
    pub memory: Vec<MemoryModule>,
}

/// Reads `/sys/firmware/dmi/tables/DMI`.
pub fn parse(table: &[u8]) -> Tables {
    let mut tables = Tables::default();
    for structure in structures(table) {
        match structure.kind {
            0 => tables.system.bios_version = structure.text(5),
            1 => {
                let bios_version = std::mem::take(&mut tables.system.bios_version);
                tables.system = SystemInformation { bios_version, ..system(&structure) };
            }
            4 => tables.processors.push(processor(&structure)),
            17 => tables.memory.push(memory(&structure)),
            _ => {}
        }
    }
    tables
}

fn system(structure: &Structure<'_>) -> SystemInformation {
    SystemInformation {
        manufacturer: structure.text(4),
        product_name: structure.text(5),
        version: structure.text(6),
        serial_number: structure.text(7),
        uuid: uuid(structure.area.get(8..24).unwrap_or_default()),
        wake_up_type: wake_up(structure.byte(24)).to_owned(),
        sku_number: structure.text(25),
        ..SystemInformation::default()
    }
}

/// The first three fields are little-endian (DSP0134 7.2.1).
fn uuid(raw: &[u8]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let hex: Vec<String> =
        order.iter().filter_map(|index| raw.get(*index)).map(|byte| format!("{byte:02x}")).collect();
    let part = |range: std::ops::Range<usize>| hex.get(range).map(<[String]>::concat).unwrap_or_default();
    if hex.len() < 16 {
        return String::new();
    }
    format!("{}-{}-{}-{}-{}", part(0..4), part(4..6), part(6..8), part(8..10), part(10..16))
}

const fn wake_up(code: u8) -> &'static str {
    match code {
        3 => "APM Timer",
        4 => "Modem Ring",
        5 => "LAN Remote",
        6 => "Power Switch",
        7 => "PCI PME#",
        8 => "AC Power Restored",
        1 => "Other",
        _ => "Unknown",
    }
}

fn processor(structure: &Structure<'_>) -> Processor {
    let wide = |narrow: usize, wide: usize| match structure.byte(narrow) {
        0xff => u32::from(structure.word(wide)),
        count => u32::from(count),
    };
    Processor {
        socket: structure.text(4),
        manufacturer: structure.text(7),
        product_name: structure.text(16),
        max_speed_mhz: structure.word(20).into(),
        boot_speed_mhz: structure.word(22).into(),
        status: structure.byte(24).into(),
        serial_number: structure.text(32),
        asset_tag: structure.text(33),
        part_number: structure.text(34),
        core_count: wide(35, 42),
        core_enabled: wide(36, 44),
        thread_count: wide(37, 46),
    }
}

fn memory(structure: &Structure<'_>) -> MemoryModule {
    let size_mib = match structure.word(12) {
        0xffff => 0,
        0x7fff => structure.dword(28) & 0x7fff_ffff,
        size if size & 0x8000 != 0 => u32::from(size & 0x7fff) / 1024,
        size => u32::from(size),
    };
    MemoryModule {
        size_mib,
        device_locator: structure.text(16),
        bank_locator: structure.text(17),
        speed: structure.word(21).into(),
        manufacturer: structure.text(23),
        serial_number: structure.text(24),
        asset_tag: structure.text(25),
        product_name: structure.text(26),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Vec<u8> {
        let mut bytes = vec![1, 27, 0, 0, 1, 2, 0, 0];
        bytes.extend([
            0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
        ]);
        bytes.extend([6, 0, 0]);
        bytes.extend(b"QEMU\0Standard PC\0\0");
        let mut module = vec![17, 40, 0, 0];
        module.resize(40, 0);
        module[12..14].copy_from_slice(&2048u16.to_le_bytes());
        module[16] = 1;
        bytes.extend(module);
        bytes.extend(b"DIMM 0\0\0");
        bytes.extend([127, 4, 0, 0, 0, 0]);
        bytes
    }

    #[test]
    fn a_machine_is_recognized() {
        let tables = parse(&table());
        assert_eq!(tables.system.manufacturer, "QEMU");
        assert_eq!(tables.system.uuid, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(tables.system.wake_up_type, "Power Switch");
        assert_eq!(tables.memory.len(), 1);
        assert_eq!((tables.memory[0].size_mib, tables.memory[0].device_locator.as_str()), (2048, "DIMM 0"));
    }

    #[test]
    fn any_bytes_are_survived() {
        bolero::check!().for_each(|bytes| {
            let _ = parse(bytes);
        });
    }
}
