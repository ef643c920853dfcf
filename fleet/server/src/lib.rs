//! `corten-fleet`: the manager as one program. What `fleet/` has is put together here, and nothing is decided.
//!
//! ```text
//! flags, files ─▶ cli ─▶ settings ─▶ effects (what nothing does yet is refused, or told)
//!                          │
//!                          ▼
//!                        wire ─┬─ storage ─▶ key file ─▶ embedded store, or one in etcd ─▶ State, Keeper
//!                              ├─ tunnel ─▶ child without privilege; siderolink: services for machines
//!                              ├─ controllers ─▶ runtime ─▶ leader: on one manager at a time
//!                              ├─ logs, audit, events, discovery: from machines and callers to the disk
//!                              └─ doors ─▶ API, machine API, metrics, local resources
//!                          │
//!                          ▼
//!                        serve ─▶ first start ─▶ ready ─▶ SIGTERM ─▶ doors, controllers, logs, store, in this order
//! ```
//!
//! Invariants:
//! - Every setting is a row of `effects`: it reaches the place that does it, or whoever sets it is told so.
//! - What listens is open before the first administrator's key is made, so that a start that fails gives no key away.
//! - What was acknowledged is kept: the store is closed last.

mod audit;
mod authorities;
mod cli;
mod controllers;
mod discovery;
mod doors;
mod effects;
mod endpoints;
mod events;
mod expired_keys;
mod failure;
mod keep;
mod leader;
mod local;
mod logging;
mod machine_logs;
mod notices;
mod outside;
mod paths;
mod publish;
mod ready;
mod records;
mod serve;
mod siderolink;
mod storage;
mod versions;
mod wire;

pub use cli::main;
