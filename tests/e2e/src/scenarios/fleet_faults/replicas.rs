//! Three managers at one etcd of three members: whoever is killed, what was acknowledged stays, and the others answer.
//!
//! ```text
//! client, unmodified ─▶ writes without a pause, at one manager after the other ─▶ ids that were acknowledged
//!    meanwhile: the manager that leads is killed, later the member of etcd that all of them use first
//! ids ─▶ looked for at every manager
//! ```

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use corten_harness::{Fleet, FleetPorts};
use serde_json::json;

use super::stores::well;
use crate::cx::Cx;
use crate::fleet::ASK_MAX;
use crate::fleet::etcd::Etcd;
use crate::tool::Tool;
use crate::wait::patiently;

/// Managers, and members of etcd.
const COUNT: u16 = 3;
/// Between the first ports of two managers.
const STEP: u16 = FleetPorts::COUNT + 10;
/// Ports of other managers of this scenario, before those of these.
const OTHERS: u16 = 4 * STEP;
/// What a manager says that begins to lead.
const LEADS: &str = "this manager leads";
/// How long a manager that was killed may go on to be the leader for the others: a lease of 15 s, and some patience.
const FAILOVER_MAX: Duration = Duration::from_secs(60);
/// How long some writes may take.
const WRITES_MAX: Duration = Duration::from_secs(120);
/// What one write may take.
const WRITE_MAX: Duration = Duration::from_secs(40);
/// Writes at each manager before and after something is killed.
const WRITES: usize = 3;

/// Proves every sentence about managers at one etcd.
pub fn prove(cx: &mut Cx) -> Result<()> {
    let program = cx.component("etcd")?.join("bin/etcd");
    let first = cx.manager(None)?.ports.0 + OTHERS + COUNT * STEP;
    let mut etcd = Etcd::start(&program, &cx.folder().join("etcd"), first, COUNT)?;
    let mut replicas = Replicas::start(cx, &etcd)?;
    let mut kept = Vec::new();
    let mut seconds = 0.0;
    cx.case(
        "the leader is killed under writes: no acknowledged write is lost, others answer and lead",
        || {
            let leader = replicas.leader(&[])?;
            let survivors: Vec<usize> = replicas.all().filter(|number| *number != leader).collect();
            let Replicas { fleets, tools } = &mut replicas;
            let ((), written) = while_writing(tools, "leader", |writes| {
                writes.until_each(&[0, 1, 2], WRITES)?;
                let fleet = fleets.get_mut(leader).context("no such manager")?;
                let killed = Instant::now();
                fleet.kill()?;
                for number in &survivors {
                    well(fleets.get(*number).context("no such manager")?.spec())?;
                }
                let evidence = || evidence(fleets);
                let next = || leader_of(fleets, &[leader]);
                patiently("the next leader", FAILOVER_MAX, evidence, next)?;
                seconds = killed.elapsed().as_secs_f64();
                writes.until_each(&survivors, WRITES)
            })?;
            kept.extend(written);
            replicas.have(&survivors, &kept)
        },
    );
    cx.seconds("failover_seconds", seconds);
    cx.case("the manager that was killed comes back, and shows what it missed", || {
        replicas.start_again()?;
        let everybody: Vec<usize> = replicas.all().collect();
        replicas.have(&everybody, &kept)
    });
    cx.case(
        "a member of etcd is killed under writes: nothing acknowledged is lost, and writes go on",
        || {
            let everybody: Vec<usize> = replicas.all().collect();
            let ((), written) = while_writing(&replicas.tools, "member", |writes| {
                writes.until_each(&everybody, WRITES)?;
                etcd.kill(0)?;
                writes.until_each(&everybody, WRITES)
            })?;
            kept.extend(written);
            replicas.have(&everybody, &kept)
        },
    );
    cx.figure("replica_writes", kept.len());
    Ok(())
}

/// Managers at one store, and a client of each.
struct Replicas {
    fleets: Vec<Fleet>,
    tools: Vec<Tool>,
}

impl Replicas {
    fn start(cx: &Cx, etcd: &Etcd) -> Result<Self> {
        let (mut fleets, mut tools) = (Vec::<Fleet>::new(), Vec::new());
        let client = cx.fleet_client()?;
        for number in 0..COUNT {
            let mut spec = cx.manager(None)?;
            spec.name = format!("replica-{number}");
            spec.folder = cx.folder().join(&spec.name);
            spec.ports = FleetPorts(spec.ports.0 + OTHERS + number * STEP);
            // All of them have the key of the first one, which made the store and its administrator.
            let key = fleets.first().map_or_else(|| spec.store_key(), |first| first.spec().store_key());
            spec.settings.extend(etcd.settings());
            spec.settings.insert("storage.default.keyFile".to_owned(), json!(key));
            let url = spec.api_url();
            fleets.push(Fleet::start(spec)?);
            let administrator = fleets.first().context("no manager")?.administrator()?;
            let tool = client.env("OMNI_ENDPOINT", url).env("OMNI_SERVICE_ACCOUNT_KEY", administrator);
            tools.push(tool);
        }
        Ok(Self { fleets, tools })
    }

    fn all(&self) -> impl Iterator<Item = usize> + use<> {
        0..self.fleets.len()
    }

    /// The manager that leads, which none of `others` is.
    fn leader(&self, others: &[usize]) -> Result<usize> {
        let next = || leader_of(&self.fleets, others);
        patiently("a leader", FAILOVER_MAX, || evidence(&self.fleets), next).map(|(leader, _)| leader)
    }

    /// Starts those that do not run.
    fn start_again(&mut self) -> Result<()> {
        for fleet in self.fleets.iter_mut().filter(|fleet| !fleet.is_running()) {
            fleet.start_again()?;
        }
        Ok(())
    }

    /// Fails unless each of these managers shows everything that was acknowledged.
    fn have(&self, numbers: &[usize], kept: &[Write]) -> Result<()> {
        for number in numbers {
            let tool = self.tools.get(*number).context("no such manager")?;
            let shown = || -> Result<()> {
                let list = tool.run_for(&["jointoken", "list"], ASK_MAX)?;
                let lost: Vec<&Write> = kept.iter().filter(|write| !list.contains(&write.id)).collect();
                ensure!(lost.is_empty(), "manager {number} does not show {lost:?} of {}", kept.len());
                Ok(())
            };
            patiently("all writes to be shown", ASK_MAX, || evidence(&self.fleets), shown)?;
        }
        Ok(())
    }
}

fn evidence(fleets: &[Fleet]) -> String {
    fleets.iter().map(Fleet::evidence).collect()
}

/// The manager that says that it leads and is none of `others`.
fn leader_of(fleets: &[Fleet], others: &[usize]) -> Result<usize> {
    for (number, fleet) in fleets.iter().enumerate().filter(|(number, _)| !others.contains(number)) {
        let log = fs::read(fleet.log()).context("cannot read the log of a manager")?;
        if String::from_utf8_lossy(&log).contains(LEADS) {
            return Ok(number);
        }
    }
    Err(anyhow!("no manager says that it leads"))
}

/// A write that was acknowledged.
#[derive(Clone, Debug)]
struct Write {
    /// The manager that did.
    replica: usize,
    /// The token that was made.
    id: String,
}

/// Writes that are acknowledged while something happens.
struct Writes(Mutex<Vec<Write>>);

impl Writes {
    fn all(&self) -> Vec<Write> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, write: Write) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(write);
    }

    /// Waits until each of these managers has acknowledged so many more.
    fn until_each(&self, replicas: &[usize], count: usize) -> Result<()> {
        let begin = self.all().len();
        let enough = || -> Result<()> {
            let new = self.all().split_off(begin);
            for replica in replicas {
                let found = new.iter().filter(|write| write.replica == *replica).count();
                ensure!(found >= count, "manager {replica} acknowledged {found} writes");
            }
            Ok(())
        };
        patiently("acknowledged writes", WRITES_MAX, String::new, enough).map(drop)
    }
}

/// Has writes end with it, also when what happens meanwhile panics: nobody comes out of the scope before they have.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes join tokens, at one manager after the other and without a pause, while something happens; gives those that
/// were acknowledged. A write that is refused or gets no answer counts for nothing.
fn while_writing<T>(
    tools: &[Tool],
    name: &str,
    happens: impl FnOnce(&Writes) -> Result<T>,
) -> Result<(T, Vec<Write>)> {
    let (writes, is_over) = (Writes(Mutex::default()), AtomicBool::new(false));
    let happened = std::thread::scope(|scope| {
        scope.spawn(|| {
            for (number, (replica, tool)) in tools.iter().enumerate().cycle().enumerate() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                // At most 16 characters.
                let name = format!("{name}{number}");
                let made = tool.output(&["jointoken", "create", &name], None, WRITE_MAX);
                if let Some(output) = made.ok().filter(|output| output.ok) {
                    writes.add(Write { replica, id: output.stdout.trim().to_owned() });
                }
            }
        });
        let _ending = Ending(&is_over);
        happens(&writes)
    });
    Ok((happened?, writes.all()))
}
