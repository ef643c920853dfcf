//! Installation media: images that are there already, with what machines need to join.
//!
//! ```text
//! folder of an image ─ media.json ─▶ Base ─┐
//! arguments, values of META ─▶ Additions ──┴─plan─▶ pieces: bytes | ranges of the base's files | zeros ─write─▶ medium
//!
//! Uki: the base's, with another command line      Iso: ISO 9660 ▸ El Torito ▸ FAT ▸ UKI as the boot program
//! Kernel, Initramfs, CommandLine: network boot    Disk: the base's, with another EFI system partition and META
//! ```
//!
//! Planning is pure, and the plan of a medium has its own few kilobytes in memory and nothing of the base. The same
//! base and additions give the same bytes: no clock, no random ids.

mod base;
mod fat;
mod iso;
mod manifest;
mod meta;
mod piece;
mod plan;
mod xz;

use std::io;
use std::path::PathBuf;

pub use base::{Base, describe};
pub use manifest::{FileFacts, MANIFEST, Manifest, Place, Source};
pub use piece::{CHUNK, Piece, ZEROS, length, sources, write};
pub use plan::{Additions, COMMAND_LINE_MAX, Medium, command_line, plan};
pub use xz::{Xz, packed_max};

/// A medium that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The folder holds no base.
    #[error("{path} describes no image to make media from: {why}; make it with `cargo xtask image`")]
    Manifest {
        /// The description.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file is not the one that is described.
    #[error("{path} is not the file that media.json beside it describes: {why}; make the image again")]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is different.
        why: String,
    },
    /// A file of the base cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody takes what is written.
    #[error("failed to write the medium")]
    Write(#[source] io::Error),
    /// The kernel would not get its arguments as they are.
    #[error("{0}")]
    Arguments(String),
    /// The values do not fit.
    #[error("META has room for {available} bytes; give it less")]
    Meta {
        /// Bytes there are.
        available: usize,
    },
    /// The kernel image cannot get another command line.
    #[error("the kernel image cannot get another command line: {0}")]
    Kernel(String),
    /// A file system cannot hold its files.
    #[error("{needed} bytes do not fit on a file system of {size}")]
    Room {
        /// Bytes of the files.
        needed: u64,
        /// Bytes of the file system.
        size: u64,
    },
}
