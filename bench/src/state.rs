//! `bench state`: resources over gRPC, ours beside those of cosi-project/runtime, the Go state that Talos is made of.
//!
//! ```text
//! processor 0: corten-bench state, or statepeer serve  ◀─ unix socket ─  processor 1: statepeer drive
//! ```
//!
//! Both keep 10,000 resources of the same type with the same content in memory, fill both encodings of each, and keep
//! the same number of events for watchers that are behind. The client is one Go program that knows bytes only; it sends
//! the same bytes to both and decodes nothing. No policy and no TLS is in the way on either side.
//!
//! **Not the same**: the Go state has its default settings but for the history; Go's collector runs when it likes, and
//! its memory is taken as it is after the load. Ours gives back what it does not need as the machine's programs do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::fleet_join::meter;
use crate::peers::{Driver, Goal, MEASURED, OTHERS, Peer, Row, report};
use crate::{Report, say};

/// Events that are kept for watchers; what ours keeps.
const HISTORY: &str = "1024";
/// Resources.
const ITEMS: u64 = 10_000;
/// Calls for one resource.
const GETS: u64 = 60_000;
/// Changes.
const UPDATES: u64 = 30_000;
/// Lists of all resources.
const LISTS: u64 = 50;
/// Watchers, and changes that each is told of.
const WATCHERS: u64 = 1_000;
const CHANGES: u64 = 200;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Root of the repository.
    pub repository: PathBuf,
    /// `corten-bench`, as it is released.
    pub ours: PathBuf,
    /// `statepeer`.
    pub peer: PathBuf,
    /// How often both sides are measured.
    pub rounds: u16,
}

/// The rows, in the order in which a round fills them.
fn rows() -> [Row; 6] {
    [
        Row::new("create", "calls per processor second", Goal::Times(2.0)),
        Row::new("memory", "bytes with 10,000 resources", Goal::Part(0.25)),
        Row::new("get", "calls per processor second", Goal::Times(2.0)),
        Row::new("update", "calls per processor second", Goal::Times(2.0)),
        Row::new("list", "resources per proc. second", Goal::Times(5.0)),
        Row::new("watch", "events per processor second", Goal::Times(5.0)),
    ]
}

/// Runs the benchmark. What was found before a failure is in the report too.
pub fn run(options: &Options) -> Result<Report> {
    meter::stay_on(OTHERS)?;
    let folder = options.repository.join("target/bench/state");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut rows = rows();
    let failure = rounds(options, &folder, &mut rows).err().map(|error| format!("{error:#}"));
    if failure.is_none() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(report(&rows, failure))
}

fn rounds(options: &Options, folder: &Path, rows: &mut [Row]) -> Result<()> {
    for number in 0..options.rounds {
        say(&format!("round {} of {}: the Go state", number + 1, options.rounds));
        let theirs = round(folder, &options.peer, |socket| vec!["serve", socket, HISTORY], &options.peer)?;
        say(&format!("round {} of {}: ours", number + 1, options.rounds));
        let ours = round(folder, &options.ours, |socket| vec!["state", socket], &options.peer)?;
        for (row, (ours, theirs)) in rows.iter_mut().zip(ours.into_iter().zip(theirs)) {
            row.ours.push(ours);
            row.theirs.push(theirs);
        }
    }
    Ok(())
}

/// One side from its start to its end: a figure for each row.
fn round(
    folder: &Path,
    side: &Path,
    arguments: impl FnOnce(&str) -> Vec<&str>,
    client: &Path,
) -> Result<[f64; 6]> {
    let (socket, log) = (folder.join("state.sock"), folder.join("log.txt"));
    if socket.exists() {
        fs::remove_file(&socket).context("cannot remove a socket of before")?;
    }
    let socket = socket.to_string_lossy().into_owned();
    let peer = Peer::start(side, &arguments(&socket), MEASURED, &log)?;
    let mut driver = Driver::start(client, &["drive", &socket], &log)?;
    let create = driver.measure(&peer, "create", ITEMS)?;
    let memory = peer.bytes()? as f64;
    let get = driver.measure(&peer, "get", GETS)?;
    let update = driver.measure(&peer, "update", UPDATES)?;
    let list = driver.measure(&peer, "list", LISTS)?;
    driver.ask("open", WATCHERS)?;
    let watch = driver.measure(&peer, "change", CHANGES)?;
    driver.ask("close", 0)?;
    Ok([create, memory, get, update, list, watch])
}
