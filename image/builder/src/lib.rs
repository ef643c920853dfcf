//! Images: `profile → plan → bytes`.
//!
//! A [`Profile`] says what is wanted, [`Parts`] say where programs are, and the planning functions
//! turn both into trees of files, sections and partitions that are plain data. Only the writers at
//! the end touch the disk. The same inputs give the same bytes: no clock, no random ids, fixed
//! owners and times, sorted names.
//!
//! ```text
//! Parts ─▶ root::plan ─▶ Tree ─┬▶ folder (container machines)
//!                              └▶ squashfs ─▶ initramfs ─▶ UKI ─▶ ESP ─▶ disk
//! Parts ─▶ images::plan ─▶ OCI layout ─▶ image cache
//! what is there ─▶ media::plan ─▶ the same with join data: ISO, disk, UKI, files for network boot
//! ```
//!
//! Building needs no root and mounts nothing.

pub mod archive;
pub mod audit;
pub mod debian;
pub mod disk;
pub mod elf;
pub mod esp;
pub mod images;
pub mod initramfs;
pub mod media;
pub mod modules;
pub mod oci;
pub mod profile;
pub mod root;
pub mod sbom;
pub mod squashfs;
pub mod tool;
pub mod tree;
pub mod uki;

pub use debian::Debian;
pub use profile::{Flavour, Profile};
pub use root::Parts;
pub use tool::Tool;
pub use tree::Tree;
