//! Schematics of the image factory: what an image has on top of the plain system, and by which id it is known.
//!
//! ```text
//! text (YAML or JSON) ──parse──▶ Schematic ──canonical──▶ text ──SHA-256──▶ SchematicId
//! join arguments + Wish ─compose─▶ Schematic
//! Schematic of a machine + wanted extensions and arguments ──adjusted──▶ Schematic
//! file name ◀──▶ Asset, Target, InstallerImage
//! ```
//! Everything here is pure. The id depends on every byte of the canonical text, so that text is written exactly as
//! existing factories write it (Go's YAML library, version 4, with four spaces); what cannot be written so is refused.

mod asset;
mod canonical;
mod compose;
mod option;
mod read;
mod scalar;
mod schematic;

pub use asset::{
    Asset, AssetError, Compression, DiskFormat, InstallerImage, NAME_BYTES_MAX, Platform, Target, storage_key,
};
pub use compose::{
    EXTENSIONS_MAX, KERNEL_ARG_BYTES_MAX, KERNEL_ARGS_MAX, META_KEYS, PROTECTED_KERNEL_ARGS, Wish, WishError,
    compose, is_protected, merge_extensions, merge_kernel_args,
};
pub use option::OptionValue;
pub use read::{LIST_MAX, OPTION_KEY_BYTES_MAX, SCHEMATIC_BYTES_MAX};
pub use schematic::{
    Bootloader, Customization, MetaValue, NotAnId, Overlay, Schematic, SchematicId, SecureBoot,
};
