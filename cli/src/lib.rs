//! `corten`: the command line for people and programs.
//!
//! ```text
//!  arguments ──clap──▶ Command::run ──▶ Report ──▶ table | JSON | YAML   (stdout)
//!                          │  └── each machine at once: PerNode
//!                          └── progress, warnings, errors                (stderr)
//! ```
//!
//! A command knows the API and nothing about rendering; a report is data; errors name the object, the cause and the
//! way out. stdout is data, stderr is talk. Names, flags and texts are those of `talosctl` where it has them.

mod absent;
mod bundle;
mod cli;
mod command;
mod commands;
mod connect;
mod context;
mod editor;
mod event;
mod failure;
mod fleet;
mod go_mode;
mod jsonpath;
mod kubeconfig;
mod machineconfig;
mod pcap;
mod pernode;
mod resources;
#[cfg(test)]
mod snapshot;
mod status;
mod stream;
mod table;
mod terminal;
mod track;
mod units;

pub use absent::ABSENT;
pub use cli::{command, main};
