//! Cluster templates: a cluster as a file, kept in step with the resources of the manager.
//!
//! ```text
//!  template file ──load──▶ Template ──translate──▶ desired ─┐
//!   + its files   │  read: strict, with places              ├─plan─▶ creates, updates, deletes ──diff──▶ text
//!                 └▶ validate: all rules at once    actual ─┘
//!  actual ──export──▶ template text, read back
//!  statuses ──status──▶ a tree that is ready or not ──▶ text
//! ```
//!
//! The language is the one that existing templates are written in. It is data (`schema`), checked by the strict reader
//! of `corten_config`. Everything here is a pure function but [`FolderLoader`]; fetching and applying is the caller's.

pub mod diff;
pub mod export;
mod finding;
mod loader;
pub mod model;
mod names;
mod plain;
pub mod plan;
mod read;
mod schema;
pub mod status;
#[cfg(test)]
mod testing;
mod translate;
mod validate;

pub use export::{Export, ExportError, ExportOptions, export};
pub use finding::{FINDINGS_MAX, Finding, Findings};
pub use loader::{FolderLoader, LoadError, Loader, NoFiles};
pub use model::Template;
pub use plain::PlainError;
pub use plan::{Plan, PlanError, Update, plan};
pub use read::load;
pub use status::{Status, Verdict, status};
pub use translate::translate;
