//! The front door as a newcomer uses it: `cargo xtask up` and `down`, and what they leave on the host: nothing.
//!
//! The program that tells this scenario is the one that is told about: it starts itself.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_sys::signal::{self, number};
use serde_json::Value;

use crate::cx::{Cx, say};
use crate::host::{MARK, Snapshot};
use crate::machine::{API_PORT, Mode};
use crate::tool::{Follower, Tool};
use crate::wait::POLL;

/// The first `up` may have to build everything from nothing.
const COLD_MAX: Duration = Duration::from_secs(60 * 60);
/// A later one only starts a machine.
const WARM_MAX: Duration = Duration::from_secs(15 * 60);
/// What `down` and an interrupted `up` may take.
const DOWN_MAX: Duration = Duration::from_secs(120);
/// A step of building that has nothing to build.
const NOTHING_BUILT_MAX: f64 = 2.0;
/// Control groups, interfaces and zombies are taken away by the kernel a little later than their processes.
const SETTLE_MAX: Duration = Duration::from_secs(15);
/// What `up` says when it starts to wait for a machine, and for its API: moments to interrupt it.
const MOMENTS: [&str; 3] = ["waiting for maintenance", "waiting for bootstrap", "waiting for a Ready node"];
/// Folders in the home folder where cargo, Go and the kit keep what they need again.
const CACHES: [&str; 4] = [".cache", ".cargo", ".config/go", "go"];
/// A user who is nobody.
const NOBODY: u32 = 65_534;

/// Tells the scenario.
pub fn run(cx: &mut Cx) -> Result<()> {
    let door = Door::find(cx)?;
    let running = door.xtask.output(&["down"], None, DOWN_MAX)?.success()?;
    ensure!(running.is_empty(), "`down` speaks on standard output: {running}");
    let before = door.look();

    lacking_hosts(cx, &door);
    let first = door.up(COLD_MAX);
    cx.case("`up` ends with a Ready node and a page", || first.as_ref().map(|_| ()).map_err(copy));
    if let Ok(first) = &first {
        for name in ["ready_seconds", "http_seconds", "total_seconds"] {
            cx.seconds(&format!("first_{name}"), first[name].as_f64().unwrap_or_default());
        }
    }
    cx.case("`up` with a machine that is up already says so", || {
        let said = door.xtask.output(&door.arguments(), None, DOWN_MAX)?.failure()?;
        ensure!(said.contains("up already") && said.contains("cargo xtask down"), "{said}");
        Ok(())
    });
    cx.case("`down` leaves nothing", || {
        door.down()?;
        door.nothing_left(&before)
    });

    let second = door.up(WARM_MAX);
    cx.case("a second `up` builds nothing", || nothing_built(second.as_ref().map_err(copy)?));
    if let Ok(second) = &second {
        cx.seconds("second_total_seconds", second["total_seconds"].as_f64().unwrap_or_default());
    }
    cx.case("`down` leaves nothing again", || {
        door.down()?;
        door.nothing_left(&before)
    });

    for moment in MOMENTS {
        cx.case(&format!("Ctrl-C while `up` is {moment} leaves nothing"), || {
            door.interrupt(moment)?;
            door.nothing_left(&before)
        });
    }
    cx.case("an `up` that is killed leaves nothing", || {
        let up = door.up_until(MOMENTS[1])?;
        signal::send(up.pid(), number::KILL)?;
        drop(up);
        door.nothing_left(&before)
    });
    Ok(())
}

fn copy(error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}

/// `up` says in one sentence what a host lacks, before it starts anything.
fn lacking_hosts(cx: &mut Cx, door: &Door) {
    cx.case("a port that is taken is named", || {
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, API_PORT)).context("cannot take the port")?;
        let said = door.xtask.output(&door.arguments(), None, DOWN_MAX)?.failure()?;
        ensure!(said.contains(&format!("Port {API_PORT} of 127.0.0.1 is taken.")), "{said}");
        Ok(())
    });
    if door.mode == Mode::Container {
        cx.case("a user who is not root is told so", || {
            let said = door.up_as_nobody()?;
            ensure!(said.contains("Container machines need root"), "{said}");
            Ok(())
        });
    }
}

/// Every step of building took no time.
fn nothing_built(report: &Value) -> Result<()> {
    let steps = report["build_seconds"].as_object().context("`up --json` tells no steps of building")?;
    ensure!(!steps.is_empty(), "`up --json` tells no steps of building");
    let long: Vec<String> = steps
        .iter()
        .filter(|(_, seconds)| seconds.as_f64().is_none_or(|seconds| seconds > NOTHING_BUILT_MAX))
        .map(|(step, seconds)| format!("{step} took {seconds} s"))
        .collect();
    ensure!(long.is_empty(), "{}", long.join("; "));
    Ok(())
}

/// `cargo xtask`, as it was started for this scenario.
struct Door {
    xtask: Tool,
    mode: Mode,
    /// The repository's target folder, in which things may stay.
    target: PathBuf,
    /// Where the output of what runs in the background goes.
    output: PathBuf,
}

impl Door {
    fn find(cx: &Cx) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let target = cx.options().repository.join("target");
        Ok(Self {
            xtask: Tool::new(program, "xtask").env(MARK, "1"),
            mode: cx.mode(),
            target,
            output: cx.folder().join("up.txt"),
        })
    }

    fn arguments(&self) -> Vec<&'static str> {
        match self.mode {
            Mode::Container => vec!["up", "--json", "--container"],
            Mode::Qemu => vec!["up", "--json"],
        }
    }

    /// Brings a machine up and gives the object that it prints last.
    fn up(&self, deadline: Duration) -> Result<Value> {
        let output = self.xtask.output(&self.arguments(), None, deadline)?;
        let line = output.stdout.lines().next_back().unwrap_or_default().to_owned();
        let said = output.success()?;
        let report: Value = serde_json::from_str(&line).with_context(|| format!("no object: {said}"))?;
        ensure!(report["ok"] == true, "`up` says: {report}");
        Ok(report)
    }

    fn down(&self) -> Result<()> {
        self.xtask.run_for(&["down"], DOWN_MAX).map(drop)
    }

    /// An `up` in the background that has come to a moment.
    fn up_until(&self, moment: &str) -> Result<Follower> {
        let mut up = self.xtask.follow(&self.arguments(), &self.output)?;
        let start = Instant::now();
        while !up.text()?.contains(moment) {
            up.check_alive()?;
            ensure!(start.elapsed() < WARM_MAX, "`up` never said `{moment}`:\n{}", up.text()?);
            std::thread::sleep(POLL);
        }
        Ok(up)
    }

    /// Ctrl-C in the middle of an `up`.
    fn interrupt(&self, moment: &str) -> Result<()> {
        let up = self.up_until(moment)?;
        signal::send(up.pid(), number::INTERRUPT)?;
        let said = up.finish(DOWN_MAX).err().context("`up` succeeded although it was interrupted")?;
        let said = format!("{said:#}");
        ensure!(!said.contains("did not end"), "{said}");
        Ok(())
    }

    fn up_as_nobody(&self) -> Result<String> {
        let program = std::env::current_exe()?;
        let output = Command::new(program)
            .args(self.arguments())
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::null())
            .output()
            .context("cannot start this program as nobody")?;
        ensure!(!output.status.success(), "`up` succeeded for nobody");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn look(&self) -> Snapshot {
        let home = std::env::home_dir().unwrap_or_default();
        let mut allowed: Vec<PathBuf> = CACHES.iter().map(|name| home.join(name)).collect();
        allowed.push(self.target.clone());
        Snapshot::take(&allowed)
    }

    /// Fails with everything that is on the host and was not, or the other way round.
    fn nothing_left(&self, before: &Snapshot) -> Result<()> {
        let start = Instant::now();
        loop {
            let changes = before.changes(&self.look(), std::process::id());
            if changes.is_empty() {
                break;
            }
            ensure!(start.elapsed() < SETTLE_MAX, "{}", changes.join("; "));
            std::thread::sleep(POLL);
        }
        say(&format!("the host is as before after {:.1} s", start.elapsed().as_secs_f64()));
        let registered = std::fs::read_dir(self.target.join("machines"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        let registered: Vec<_> = registered.filter(|path| path.extension().is_some()).collect();
        ensure!(registered.is_empty(), "machines are still registered: {registered:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_step_that_took_long_has_built_something() {
        let report =
            |seconds: f64| json!({ "build_seconds": { "image container": seconds, "packages": 0.1 } });
        assert!(nothing_built(&report(1.9)).is_ok());
        let error = nothing_built(&report(2.1)).unwrap_err().to_string();
        assert_eq!(error, "image container took 2.1 s");
        assert!(nothing_built(&json!({ "ok": true })).is_err());
    }
}
