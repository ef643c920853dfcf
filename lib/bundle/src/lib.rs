//! Support bundles: what a machine tells of itself, in an archive without secrets, and what can be read from one.
//!
//! ```text
//! machine's API ─▶ machine::collect ─files─▶ Sink ─▶ Known::redact ─▶ Archive ─▶ bytes
//!                                                                                  │
//!                  Facts ◀─ facts::of ◀─files─ archive::unpack ◀───────────────────┘
//! ```
//!
//! The command line and the manager collect with the same code, into the layout of `talosctl support`: a folder for each
//! machine with `dmesg.log`, `service-logs/`, `resources/`, … Ours are `vitals.yaml`, which diagnoses are made from, and
//! a manifest of what is missing. A diagnosis of a machine goes through these files as well: what was found on the
//! machine is what is found in its bundle.
//!
//! Invariants:
//! 1. Specifications of types that hold secrets, and of those that people write as they want, are not in any file.
//! 2. Every file, every question and every archive that is read has a bound.
//! 3. What cannot be had costs a line, and not the bundle.

pub mod archive;
pub mod document;
pub mod facts;
pub mod graph;
pub mod known;
pub mod kubernetes;
mod lines;
pub mod machine;
pub mod table;

pub use archive::{Archive, Files, Packed, segment, unpack};
pub use document::Documents;
pub use known::Known;
pub use lines::Tail;
