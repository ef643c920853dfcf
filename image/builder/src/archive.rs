//! Trees as tar and cpio streams, with owner root and time zero.

use std::io::Write;

use anyhow::{Context, Result, bail};
use tar::{EntryType, Header};

use crate::tree::{Content, Node, Tree};

/// Writes the tree as a tar stream in ustar/GNU format.
///
/// # Errors
/// When a file cannot be read or `out` refuses.
pub fn tar(tree: &Tree, out: impl Write) -> Result<()> {
    let mut builder = tar::Builder::new(out);
    for (path, node) in tree.iter() {
        let mut header = Header::new_gnu();
        header.set_mode(node.mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(node.size()?);
        append(&mut builder, &mut header, path, node).with_context(|| format!("archiving `{path}`"))?;
    }
    builder.into_inner()?.flush()?;
    Ok(())
}

fn append(
    builder: &mut tar::Builder<impl Write>,
    header: &mut Header,
    path: &str,
    node: &Node,
) -> Result<()> {
    match &node.content {
        Content::Folder => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(header, path, std::io::empty())?;
        }
        Content::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(header, path, target)?;
        }
        Content::Bytes(bytes) => builder.append_data(header, path, bytes.as_slice())?,
        Content::Copy(source) => builder.append_data(header, path, std::fs::File::open(source)?)?,
    }
    Ok(())
}

/// Writes the tree as a cpio archive in the `newc` format that the kernel unpacks.
///
/// # Errors
/// When a file cannot be read, is larger than the format can say, or `out` refuses.
pub fn cpio(tree: &Tree, out: &mut impl Write) -> Result<()> {
    for (inode, (path, node)) in (1_u32..).zip(tree.iter()) {
        let (kind, size) = match &node.content {
            Content::Folder => (0o040_000, 0),
            Content::Link(target) => (0o120_000, target.len() as u64),
            Content::Bytes(_) | Content::Copy(_) => (0o100_000, node.size()?),
        };
        let Ok(size) = u32::try_from(size) else { bail!("`{path}` is too large for cpio") };
        cpio_header(out, inode, kind | node.mode, size, path)?;
        match &node.content {
            Content::Link(target) => out.write_all(target.as_bytes())?,
            _ => node.stream(out)?,
        }
        pad(out, size as usize)?;
    }
    cpio_header(out, 0, 0, 0, "TRAILER!!!")?;
    Ok(out.flush()?)
}

/// Header, name and padding of one cpio entry; 110 bytes of header, all numbers eight hex digits.
fn cpio_header(out: &mut impl Write, inode: u32, mode: u32, size: u32, path: &str) -> Result<()> {
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    let name_size = path.len() + 1;
    write!(out, "070701")?;
    for value in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, u32::try_from(name_size)?, 0] {
        write!(out, "{value:08X}")?;
    }
    out.write_all(path.as_bytes())?;
    out.write_all(&[0])?;
    pad(out, 110 + name_size)
}

/// Zeros up to the next multiple of four.
fn pad(out: &mut impl Write, length: usize) -> Result<()> {
    Ok(out.write_all(&[0_u8; 3][..length.next_multiple_of(4) - length])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        tree.file("usr/bin/a", 0o755, *b"hello").link("bin", "usr/bin");
        tree
    }

    #[test]
    fn tar_streams_are_equal_and_owned_by_root() {
        let (mut one, mut two) = (Vec::new(), Vec::new());
        tar(&sample(), &mut one).expect("tar");
        tar(&sample(), &mut two).expect("tar");
        assert_eq!(one, two);
        for entry in tar::Archive::new(one.as_slice()).entries().expect("entries") {
            let entry = entry.expect("entry");
            assert_eq!((entry.header().uid().ok(), entry.header().mtime().ok()), (Some(0), Some(0)));
        }
    }

    #[test]
    fn cpio_entries_are_aligned_and_end_with_the_trailer() {
        let mut bytes = Vec::new();
        cpio(&sample(), &mut bytes).expect("cpio");
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(bytes.windows(6).filter(|window| window == b"070701").count(), 5);
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
