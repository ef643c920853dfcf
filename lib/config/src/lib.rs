//! Machine configuration: the language of Talos, read strictly, merged, validated and shown to controllers.
//!
//! ```text
//!  bytes ──read──▶ nodes ──document──▶ Config ──validate──▶ problems, all at once, with places
//!                    ▲                   │ ├──▶ view: typed, defaults filled in  (controllers)
//!   patches ──merge──┘                   │ ├──▶ redacted text, diffs            (people)
//!                                        │ └──▶ the bytes exactly as given      (disk, API)
//! ```
//!
//! The language is data (`schema`): decoding, merging, redaction and canonical order walk the same tables.
//! This crate knows neither the kernel nor the network; it makes clusters' secrets with `corten_pki`.

pub mod config;
mod contract;
pub mod decode;
pub mod defaults;
pub mod diff;
pub mod document;
pub mod generate;
mod json;
pub mod link_selector;
mod merge;
pub mod node;
pub mod oom;
pub mod patch;
pub mod problem;
pub mod read;
mod reader;
mod redact;
pub mod scalar;
pub mod schema;
pub mod secrets;
pub mod selector;
pub mod validate;
pub mod values;
pub mod view;
pub mod write;
pub mod yaml;

pub use config::{Config, is_complete, load_cached};
pub use contract::{Contract, NotAContract};
pub use document::{Document, DocumentId};
pub use generate::{GenerateOptions, Generated};
pub use patch::{Patch, PatchError};
pub use problem::{Problem, Problems};
pub use redact::REDACTED;
pub use schema::Audience;
pub use secrets::{SecretsBundle, SecretsError};
pub use validate::Target;
pub use view::MachineView;
