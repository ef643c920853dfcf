//! What programs say of themselves: the libraries they ask for, and how they may be placed in memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use object::elf::{
    DF_1_NOW, DF_BIND_NOW, DT_FLAGS, DT_FLAGS_1, DT_NEEDED, ET_DYN, FileHeader64, PT_GNU_RELRO,
};
use object::endian::Endianness;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

/// Folders of an unpacked Debian tree that hold libraries, below its multiarch folder too.
const FOLDERS: &[&str] = &["", "systemd"];

/// Names in the program's `DT_NEEDED`; nothing for static programs and files that are not ELF.
///
/// # Errors
/// When the file is ELF but damaged.
pub fn needed(bytes: &[u8]) -> Result<Vec<String>> {
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(Vec::new());
    }
    let header = FileHeader64::<Endianness>::parse(bytes).context("reading the ELF header")?;
    let endian = header.endian()?;
    let sections = header.sections(endian, bytes)?;
    let Some((_, dynamic_link)) = sections.dynamic(endian, bytes)? else { return Ok(Vec::new()) };
    let strings = sections.strings(endian, bytes, dynamic_link)?;
    let mut names = Vec::new();
    for segment in header.program_headers(endian, bytes)? {
        for entry in segment.dynamic(endian, bytes)?.unwrap_or_default() {
            if entry.tag(endian) == DT_NEEDED {
                names.push(String::from_utf8(entry.string(endian, strings)?.to_vec())?);
            }
        }
    }
    Ok(names)
}

/// Whether a program may lie anywhere in memory, and what was relocated of it is read-only before it runs (full RELRO).
///
/// # Errors
/// When the file is not ELF, or damaged.
pub fn is_hardened(bytes: &[u8]) -> Result<bool> {
    let header = FileHeader64::<Endianness>::parse(bytes).context("reading the ELF header")?;
    let endian = header.endian()?;
    let (mut is_read_only, mut is_bound) = (false, false);
    for segment in header.program_headers(endian, bytes)? {
        is_read_only |= segment.p_type(endian) == PT_GNU_RELRO;
        for entry in segment.dynamic(endian, bytes)?.unwrap_or_default() {
            is_bound |= match entry.tag(endian) {
                DT_FLAGS => entry.d_val.get(endian) & u64::from(DF_BIND_NOW) != 0,
                DT_FLAGS_1 => entry.d_val.get(endian) & u64::from(DF_1_NOW) != 0,
                _ => false,
            };
        }
    }
    Ok(header.e_type(endian) == ET_DYN && is_read_only && is_bound)
}

/// The libraries, with theirs, that the programs ask for: paths below `tree`.
///
/// # Errors
/// When a library is not in the tree.
pub fn closure(tree: &Path, multiarch: &str, programs: &[PathBuf]) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<PathBuf> = programs.to_vec();
    while let Some(program) = open.pop() {
        let bytes = std::fs::read(&program).with_context(|| format!("reading `{}`", program.display()))?;
        for name in needed(&bytes).with_context(|| format!("reading `{}`", program.display()))? {
            let Some(path) = locate(tree, multiarch, &name) else {
                bail!("`{}` needs `{name}`, which no package brings", program.display());
            };
            if found.insert(path.clone()) {
                open.push(tree.join(path));
            }
        }
    }
    Ok(found)
}

fn locate(tree: &Path, multiarch: &str, name: &str) -> Option<String> {
    FOLDERS
        .iter()
        .map(|folder| format!("usr/lib/{multiarch}/{folder}/{name}").replace("//", "/"))
        .find(|path| tree.join(path).exists())
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_test_needs_the_c_library() {
        let this = std::fs::read(std::env::current_exe().expect("own path")).expect("own bytes");
        let names = super::needed(&this).expect("needed");
        assert!(names.is_empty() || names.iter().any(|name| name == "libc.so.6"), "{names:?}");
        assert!(super::needed(b"#!/bin/true").expect("not ELF").is_empty());
        assert!(super::needed(b"\x7fELF damaged").is_err());
    }

    #[test]
    fn a_program_of_the_compiler_is_hardened_and_one_at_a_fixed_place_is_not() {
        let mut this = std::fs::read(std::env::current_exe().expect("own path")).expect("own bytes");
        assert!(super::is_hardened(&this).expect("ELF"));
        // The type of the file, `ET_EXEC`.
        this[16] = 2;
        assert!(!super::is_hardened(&this).expect("ELF"));
        assert!(super::is_hardened(b"#!/bin/true").is_err());
    }
}
