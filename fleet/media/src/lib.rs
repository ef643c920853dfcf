//! The manager as an image factory for its own machines (fleet.md 11): media with join data, made of images that are
//! there, kept for a while, served over HTTP.
//!
//! ```text
//!  CreateSchematic (fleet/api), POST /schematics ─▶ Schematics: sealed files
//!                                                       │
//!  GET /image/ID/VERSION/NAME ─▶ order (pure) ─▶ Bases ─┴▶ Cache ─┬─ there ─────────────────────────┬▶ whole | range
//!                                                                 └─ one at a time: plan, write, hash ┘
//!  GET /pxe/ID/VERSION/TARGET ─▶ order (pure) ─▶ script
//! ```
//!
//! Invariants:
//! - The same schematic, version and name give the same bytes for ever: media follow from their base alone, and a base
//!   of which media were made once is not used any more when it is another one.
//! - Everything has a bound: the cache, what is posted, the length of a schematic. One medium is made at a time.
//! - Schematics hold join tokens and are on the disk sealed only. Media hold them in clear, as their readers need them:
//!   the cache is the manager's alone, like what is downloaded is its owner's.
//! - Whoever knows the id of a schematic may have its media: a machine that boots from the network can show nothing
//!   else. The id of one with a join token follows from the token, so that it is no easier to guess.

mod bases;
mod cache;
mod factory;
mod hashed;
mod ipxe;
mod management;
mod order;
mod schematics;
mod serve;
mod trouble;

pub use bases::BasesError;
pub use factory::{Factory, OpenError, Options};
pub use trouble::{Cause, Trouble};
