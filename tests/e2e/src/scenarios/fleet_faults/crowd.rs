//! One client or machine misbehaves, and nobody else is the worse for it.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_harness::Emulator;
use corten_sys::procfs;
use corten_sys::signal::{self, number};
use serde_json::{Value, json};

use super::raw::{KIND, Raw, class, in_order, metadata};
use super::{JOIN_MAX, waiting};
use crate::cx::Cx;
use crate::fleet::{ASK_MAX, Manager, kind};
use crate::tool::Follower;

/// What an answer may take while somebody misbehaves.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Watchers that do not read.
const WATCHERS: usize = 20;
/// Id of what they watch.
const WATCHED: &str = "e2e-watched";
/// Changes of it that they do not read.
const CHANGES: usize = 300;
/// Bytes of each change.
const CHANGE_BYTES: usize = 12 * 1024;
/// Lines a second of a flood, some 120 MB a minute.
const FLOOD_LINES: u32 = 6000;
/// How long a flood lasts.
const FLOOD: Duration = Duration::from_secs(30);
/// How omnictl begins what it says itself.
const OF_CLIENT: &str = "[WARN] ";
/// By how much the manager may grow while somebody misbehaves.
const GROWTH_MAX_BYTES: u64 = 128 << 20;
/// Lines of a machine that are kept (`logs.machine.storage.maxLinesPerMachine`).
const LINES_KEPT: usize = 5000;
/// How long something is watched that must not happen.
const WATCH: Duration = Duration::from_secs(20);
/// Strangers at each port.
const STRANGERS: usize = 50;
/// Bytes that each of them sends.
const NOISE: usize = 1024;
/// Seconds by which a machine's clock is late.
const SKEW_S: i64 = -7200;

/// Proves every sentence about crowds. The last machines are those that misbehave.
pub fn run(cx: &mut Cx, manager: &Manager, emulator: &Emulator, uuids: &[String]) {
    watchers(cx, manager);
    noise(cx, manager);
    let last = uuids.len().saturating_sub(1);
    let numbers = u32::try_from(last).map(|last| [last, last.saturating_sub(1)]).unwrap_or_default();
    let [flooding, late] = numbers;
    flood(cx, manager, emulator, flooding, uuids);
    cx.case("a machine whose clock is two hours late is managed like any other", || {
        let uuid = emulator.uuid(late)?;
        emulator.faults(late, &json!({ "clock_skew_s": SKEW_S }))?;
        emulator.ask(&json!({ "op": "reboot", "machines": late }))?;
        waiting::until(manager, "the late machine", JOIN_MAX, || manager.known(&uuid).map(drop))?;
        emulator.faults(late, &json!({ "clock_skew_s": 0 }))
    });
    liar(cx, manager, emulator);
}

/// The manager answers within a few seconds.
fn answers(manager: &Manager) -> Result<()> {
    let output = manager.output(&["get", kind::MACHINE_STATUS, "-o", "json"], ANSWER_MAX)?;
    output.success().map(drop)
}

fn watchers(cx: &mut Cx, manager: &Manager) {
    let folder = cx.folder().to_owned();
    let mut growth = 0;
    cx.case("20 watchers that do not read hurt nobody, and memory stays bounded", || {
        let mut watched = Raw::administrator(manager)?.create(class(WATCHED), "")?;
        let follow = |number: usize| -> Result<Follower> {
            let file = folder.join(format!("watcher-{number}.txt"));
            manager.client().follow(&["get", KIND, "--watch", "-o", "yaml"], &file)
        };
        let all = (0..WATCHERS).map(follow).collect::<Result<Vec<_>>>()?;
        for watcher in &all {
            waiting::until(manager, "a watch to begin", ASK_MAX, || {
                ensure!(watcher.text()?.contains(WATCHED), "it has told nothing");
                Ok(())
            })?;
            signal::send(watcher.pid(), number::STOP)?;
        }
        let (raw, before) = (Raw::administrator(manager)?, memory(manager)?);
        for round in 0..CHANGES {
            let text = format!("{round} {}", "x".repeat(CHANGE_BYTES));
            metadata(&mut watched).annotations.insert("e2e".to_owned(), text);
            watched = raw.update(watched, in_order())?;
        }
        answers(manager)?;
        growth = memory(manager)?.saturating_sub(before);
        ensure!(growth <= GROWTH_MAX_BYTES, "it grew by {} MiB", growth >> 20);
        raw.remove(WATCHED)?;
        Ok(())
    });
    cx.figure("watchers_growth_bytes", growth);
}

/// Strangers at every port who speak no protocol, and do not hang up.
fn noise(cx: &mut Cx, manager: &Manager) {
    let rng = Rng::seeded(cx.options().seed);
    cx.case("noise at every port, from strangers who stay, hurts nobody", || {
        let ports = manager.fleet.spec().ports;
        let mut strangers = Vec::new();
        for port in ports.tcp() {
            for _ in 0..STRANGERS {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
                let mut stream = stream.with_context(|| format!("cannot connect to port {port}"))?;
                stream.set_write_timeout(Some(ANSWER_MAX))?;
                // The manager may hang up at any byte.
                let _ = stream.write_all(&rng.bytes::<NOISE>());
                strangers.push(stream);
            }
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot open a socket")?;
        for _ in 0..STRANGERS {
            let at = (Ipv4Addr::LOCALHOST, ports.wireguard());
            socket.send_to(&rng.bytes::<NOISE>(), at).context("cannot send to the tunnel")?;
        }
        answers(manager)?;
        drop(strangers);
        answers(manager)
    });
}

/// Memory of the manager with all that it has started, bytes.
fn memory(manager: &Manager) -> Result<u64> {
    let mut sum = 0;
    for pid in manager.fleet.processes()? {
        sum += procfs::pss_bytes(pid)?;
    }
    Ok(sum)
}

fn flood(cx: &mut Cx, manager: &Manager, emulator: &Emulator, number: u32, uuids: &[String]) {
    let file = cx.folder().join("flood.txt");
    let mut growth = 0;
    cx.case("a flood of logs of one machine hurts nobody, and memory stays bounded", || {
        let uuid = emulator.uuid(number)?;
        let before = memory(manager)?;
        emulator.faults(number, &json!({ "log_flood": FLOOD_LINES }))?;
        let follow = ["machine-logs", uuid.as_str(), "--follow", "--tail", "1"];
        let mut follower = manager.client().follow(&follow, &file)?;
        let (began, mut most) = (Instant::now(), 0);
        while began.elapsed() < FLOOD {
            answers(manager)?;
            most = most.max(memory(manager)?);
            follower.check_alive()?;
        }
        growth = most.saturating_sub(before);
        ensure!(growth <= GROWTH_MAX_BYTES, "it grew by {} MiB", growth >> 20);
        let other = uuids.first().context("no other machine")?;
        let text = manager.run(&["machine-logs", other, "--tail", "1"])?;
        ensure!(!text.trim().is_empty(), "the log of another machine is empty");
        let followed = follower.text()?;
        ensure!(followed.lines().count() > LINES_KEPT, "the follower saw {} lines", followed.lines().count());
        complete(&followed).context("what the follower saw")
    });
    cx.figure("flood_growth_bytes", growth);
    cx.case("what is kept of a flood is its end, without a gap, up to the stated number of lines", || {
        let uuid = emulator.uuid(number)?;
        emulator.faults(number, &json!({ "log_flood": 0 }))?;
        let text = waiting::until(manager, "the end of the flood", ASK_MAX, || {
            let text = manager.run(&["machine-logs", &uuid])?;
            let count = text.lines().count();
            ensure!(count <= LINES_KEPT, "{count} lines are kept");
            ensure!(count > LINES_KEPT / 2, "only {count} lines are kept");
            Ok(text)
        })?;
        complete(&text)
    });
}

/// Fails if lines of a flood are missing between others. Every burst counts from 0. What a client says itself is passed
/// over.
fn complete(log: &str) -> Result<()> {
    let mut last: Option<u64> = None;
    // The last line may be cut off where the client was.
    let lines: Vec<&str> = log.lines().collect();
    let whole = lines.iter().take(lines.len().saturating_sub(1));
    for line in whole.filter(|line| !line.starts_with(OF_CLIENT)) {
        let value: Value = serde_json::from_str(line).with_context(|| format!("`{line}` is no JSON"))?;
        let text = value["msg"].as_str().unwrap_or_default();
        let index = text.strip_prefix("flood ").and_then(|rest| rest.split(':').next()?.parse().ok());
        let Some(index) = index else { continue };
        let is_next = last.is_none_or(|last| index == last + 1 || index == 0);
        ensure!(is_next, "line {index} comes after line {}", last.unwrap_or_default());
        last = Some(index);
    }
    ensure!(last.is_some(), "no line of the flood is there");
    Ok(())
}

/// A machine that takes over name and network card of another, without its token, does not become that machine.
fn liar(cx: &mut Cx, manager: &Manager, emulator: &Emulator) {
    cx.case("a machine that claims to be an installed one, card and all, does not take its place", || {
        let added = emulator.add(2, None)?;
        let [honest, liar] = added.as_slice() else { anyhow::bail!("{} machines were added", added.len()) };
        let kept = keeps_its_place(manager, emulator, *honest, *liar);
        emulator.ask(&json!({ "op": "remove", "machines": added }))?;
        kept
    });
}

fn keeps_its_place(manager: &Manager, emulator: &Emulator, honest: u32, liar: u32) -> Result<()> {
    waiting::until(manager, "both machines, as themselves", JOIN_MAX, || {
        manager.known(&emulator.uuid(liar)?)?;
        manager.known(&emulator.uuid(honest)?).map(drop)
    })?;
    let uuid = emulator.uuid(honest)?;
    let status = manager.known(&uuid)?;
    let links = status["spec"]["network"]["networklinks"].as_array().cloned().unwrap_or_default();
    let mut cards = links.iter().filter_map(|link| link["hardwareaddress"].as_str());
    let card = cards.find(|card| !card.is_empty()).context("the honest one has no card")?;
    let key = || -> Result<Value> { Ok(manager.get(kind::LINK, &uuid)?["spec"]["nodepublickey"].clone()) };
    let before = key()?;
    emulator.faults(liar, &json!({ "uuid": uuid, "mac": card }))?;
    emulator.ask(&json!({ "op": "lose_meta", "machines": liar }))?;
    emulator.ask(&json!({ "op": "reboot", "machines": liar }))?;
    let began = Instant::now();
    while began.elapsed() < WATCH {
        ensure!(key()? == before, "the link of {uuid} has the key of the liar");
        manager.connected(&uuid)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_a_flood_is_seen() {
        let log = |indexes: &[u64]| -> String {
            let line = |index: &u64| format!("{{\"msg\":\"flood {index}: x\"}}\n");
            indexes.iter().map(line).chain(["{\"msg\":\"up\"}\n".to_owned(), "{\"m".to_owned()]).collect()
        };
        assert!(complete(&log(&[598, 599, 0, 1, 2])).is_ok());
        assert!(complete(&format!("[WARN] other version\n{}", log(&[0, 1]))).is_ok());
        assert!(complete(&log(&[0, 1, 3])).is_err());
        assert!(complete(&log(&[])).is_err());
    }
}
