//! A thin client of etcd: members and maintenance for running it, keys, leases and a lock for using it.
//!
//! ```text
//! Config, Remote (URLs, TLS) ─▶ Client ─▶ members, status, alarms, snapshot   (of the member that answers)
//!                                 ├─▶ get, put, delete, pages, transactions, watch
//!                                 └─▶ Lock: one holder in the cluster, for as long as its lease lives
//! ```
//!
//! - Several URLs are tried in order, at the first call and whenever the connection is lost; calls about one
//!   member (status, defragment, snapshot) use a client with one URL.
//! - Every call has a limit in time, every answer one in bytes.
//! - A lock that cannot be renewed is lost, and its holder is told, with notice if it asks for that.

mod client;
mod cluster;
mod error;
mod keys;
mod lock;
mod maintenance;
mod tls;
mod watch;
mod wire;

pub use client::{Client, Config, Identity, Looked, Lookup, Remote};
pub use cluster::Member;
pub use error::Error;
pub use keys::{KeyValue, Outcome, Page, Txn};
pub use lock::Lock;
pub use maintenance::{Alarm, AlarmKind, Downgrade, Status};
pub use watch::{Change, News, Watch};
