//! The configuration of the manager: its file and its flags (fleet.md 2.12).
//!
//! ```text
//!            ┌──▶ arguments (clap, --help) ─▶ command line ─┐
//! SETTINGS ──┼──▶ keys of the file ─────────▶ files ────────┼─▶ flag over later file over earlier file over default
//!  (one      ├──▶ defaults ─────────────────────────────────┘                   │
//!  table)    └──▶ page (handbook)                                               ▼
//!                                     Settings, typed ◀── checks of values together ─▶ all errors at once, with places
//! ```
//! A name stands once, in the table. What the manager does not do yet is in the table too, so that setting it is
//! refused by name and not ignored. Apart from [`File::read`] everything here is pure.

mod check;
mod file;
mod flags;
mod kind;
mod load;
mod page;
mod settings;
mod table;
mod values;

pub use file::{File, ReadError};
pub use flags::{arguments, paths};
pub use kind::Kind;
pub use load::{Loaded, Wrong, load};
pub use page::page;
pub use settings::{
    Account, Api, Audit, Auth, EmbeddedDiscoveryService, EtcdBackup, EtcdStore, Factory, Features,
    InitialServiceAccount, JoinTokensMode, KubernetesProxy, Level, Listener, LoadBalancer,
    LocalResourceService, Logs, MachineApi, MachineLogs, Mirror, Registries, Services, Settings, Siderolink,
    Storage, StorageKind, TlsFiles, TunnelStack,
};
pub use table::{Setting, Support, all_settings};
