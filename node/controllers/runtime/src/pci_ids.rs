//! Names of makers, products and classes of PCI devices: the list that the PCI ID project keeps
//! (<https://pci-ids.ucw.cz>), as Debian installs it.
//!
//! ```text
//! 8086  Intel Corporation            C 02  Network controller
//! <tab>1533  I210 …                  <tab>00  Ethernet controller
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};

/// What tells a function's kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ids {
    /// Maker.
    pub vendor: u16,
    /// Product of the maker.
    pub product: u16,
    /// Class.
    pub class: u8,
    /// Subclass of the class.
    pub subclass: u8,
}

/// Names of one function; empty when they are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Maker.
    pub vendor: String,
    /// Product.
    pub product: String,
    /// Class.
    pub class: String,
    /// Subclass.
    pub subclass: String,
}

/// Where in the list a line is.
#[derive(Clone, Copy, Debug)]
enum Section {
    Vendor(u16),
    Class(u8),
    Other,
}

/// Reads the names of some functions; the list is far larger than what is wanted of it.
pub fn read(list: impl BufRead, wanted: &BTreeSet<Ids>) -> io::Result<BTreeMap<Ids, Names>> {
    let mut names: BTreeMap<Ids, Names> = wanted.iter().map(|ids| (*ids, Names::default())).collect();
    let mut section = Section::Other;
    for line in list.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if line.starts_with('#') || line.trim().is_empty() || line.starts_with("\t\t") {
            continue;
        }
        match line.strip_prefix('\t') {
            Some(entry) => entry_of(section, entry, &mut names),
            None => section = section_of(&line, &mut names),
        }
    }
    Ok(names)
}

fn section_of(line: &str, names: &mut BTreeMap<Ids, Names>) -> Section {
    if let Some(class) = line.strip_prefix("C ") {
        let Some((class, name)) = numbered(class).and_then(|(id, name)| Some((u8::try_from(id).ok()?, name)))
        else {
            return Section::Other;
        };
        let of_class = names.iter_mut().filter(|(ids, _)| ids.class == class);
        of_class.for_each(|(_, names)| name.clone_into(&mut names.class));
        return Section::Class(class);
    }
    let Some((vendor, name)) = numbered(line) else { return Section::Other };
    let of_vendor = names.iter_mut().filter(|(ids, _)| ids.vendor == vendor);
    of_vendor.for_each(|(_, names)| name.clone_into(&mut names.vendor));
    Section::Vendor(vendor)
}

fn entry_of(section: Section, entry: &str, names: &mut BTreeMap<Ids, Names>) {
    let Some((id, name)) = numbered(entry) else { return };
    for (ids, names) in names.iter_mut() {
        match section {
            Section::Vendor(vendor) if ids.vendor == vendor && ids.product == id => {
                name.clone_into(&mut names.product);
            }
            Section::Class(class) if ids.class == class && u16::from(ids.subclass) == id => {
                name.clone_into(&mut names.subclass);
            }
            _ => {}
        }
    }
}

/// A hexadecimal number, two blanks, a name.
fn numbered(text: &str) -> Option<(u16, &str)> {
    let (id, name) = text.split_once("  ")?;
    Some((u16::from_str_radix(id, 16).ok()?, name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
# comment
1af4  Red Hat, Inc.
\t1000  Virtio network device
\t\t01de fffb  Propolis Virtio network device
8086  Intel Corporation
\t1000  82542 Gigabit Ethernet Controller (Fiber)

C 01  Mass storage controller
\t00  SCSI storage controller
C 02  Network controller
\t00  Ethernet controller
\t\t01  something
";

    #[test]
    fn names_are_those_of_the_maker_and_the_class() {
        let network = Ids { vendor: 0x1af4, product: 0x1000, class: 2, subclass: 0 };
        let unknown = Ids { vendor: 0x8086, product: 0xffff, class: 1, subclass: 9 };
        let names = read(LIST.as_bytes(), &[network, unknown].into()).expect("read");
        let expected = Names {
            vendor: "Red Hat, Inc.".to_owned(),
            product: "Virtio network device".to_owned(),
            class: "Network controller".to_owned(),
            subclass: "Ethernet controller".to_owned(),
        };
        assert_eq!(names[&network], expected);
        assert_eq!(
            (names[&unknown].vendor.as_str(), names[&unknown].product.as_str()),
            ("Intel Corporation", "")
        );
        assert_eq!(names[&unknown].subclass, "");
    }

    #[test]
    fn no_list_makes_it_panic() {
        let wanted = BTreeSet::from([Ids::default(), Ids { class: 2, ..Ids::default() }]);
        bolero::check!().for_each(|bytes: &[u8]| drop(read(bytes, &wanted)));
    }
}
