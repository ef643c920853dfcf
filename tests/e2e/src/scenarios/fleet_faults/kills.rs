//! The manager is killed at random moments while clusters of emulated machines change, and finishes every change.
//!
//! ```text
//! change: template ─▶ client in the background ─▶ [random moment: kill, start] ×n ─▶ the client once more ─▶ the goal
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_harness::Emulator;

use crate::cx::{Cx, say};
use crate::fleet::template::Template;
use crate::fleet::{ASK_MAX, Manager, kind};

/// Kills of all changes together, when nobody says otherwise.
const KILLS: u32 = 50;
/// Latest moment of a kill, after the manager answers.
const WITHIN: Duration = Duration::from_secs(6);
/// How long a change may take after the last kill.
const DONE_MAX: Duration = Duration::from_secs(300);
/// Name of the cluster.
const CLUSTER: &str = "e2e-kills";

/// A change of the cluster: what is told, and what must come of it.
struct Change<'a> {
    name: &'static str,
    /// Commands of the client, in order.
    commands: Vec<Vec<String>>,
    goal: &'a dyn Fn(&Manager) -> Result<()>,
}

/// A manager that is killed.
struct Victim<'a> {
    manager: &'a mut Manager,
    rng: Rng,
    folder: PathBuf,
    kills: u32,
    slowest: Duration,
}

/// Tells the story of a cluster from its creation to its end.
pub fn run(cx: &mut Cx, manager: &mut Manager, emulator: &Emulator, uuids: &[String]) -> Result<()> {
    let kills = cx.options().rounds.unwrap_or(KILLS);
    let shares = [kills.div_ceil(4), (kills + 2) / 4, (kills + 1) / 4, kills / 4];
    let seed = cx.options().seed;
    cx.figure("seed", seed);
    let folder = cx.folder().to_owned();
    let mut victim = Victim { manager, rng: Rng::seeded(seed), folder, kills: 0, slowest: Duration::ZERO };
    let dead = uuids[4].clone();
    let at =
        |indexes: &[usize]| -> Vec<String> { indexes.iter().map(|index| uuids[*index].clone()).collect() };
    let created = cluster(at(&[0]), at(&[3]));
    let scaled = cluster(at(&[0, 1, 2]), at(&[3, 4]));
    let replaced = cluster(at(&[0, 1, 5]), at(&[3, 6]));
    for (name, template, kills) in [("create", &created, shares[0]), ("scale", &scaled, shares[1])] {
        let machines = template.machines();
        let goal = |manager: &Manager| manager.whole(CLUSTER, machines);
        let commands = vec![sync(template, cx)?];
        victim.change(cx, &Change { name, commands, goal: &goal }, kills);
    }
    // The control plane that goes is reset; the worker is dead, and its link is removed by hand.
    emulator.power(4, false)?;
    let machines = replaced.machines();
    let goal = |manager: &Manager| {
        manager.whole(CLUSTER, machines)?;
        let left = manager.list(kind::CLUSTER_MACHINE)?;
        ensure!(left.iter().all(|one| one["metadata"]["id"] != dead.as_str()), "the dead machine is in it");
        ensure!(manager.get(kind::LINK, &dead).is_err(), "the link of the dead machine is there");
        maintenance(manager, &uuids[2..3])
    };
    let remove = ["delete", kind::LINK, &dead].map(str::to_owned).to_vec();
    let commands = vec![sync(&replaced, cx)?, remove];
    victim.change(cx, &Change { name: "replace", commands, goal: &goal }, shares[2]);
    let living: Vec<String> = uuids.iter().filter(|uuid| **uuid != dead).cloned().collect();
    let goal = |manager: &Manager| {
        ensure!(manager.get(kind::CLUSTER, CLUSTER).is_err(), "the cluster is still there");
        ensure!(manager.list(kind::CLUSTER_MACHINE)?.is_empty(), "machines of a cluster are left");
        maintenance(manager, &living)
    };
    let delete = ["cluster", "delete", CLUSTER].map(str::to_owned).to_vec();
    victim.change(cx, &Change { name: "destroy", commands: vec![delete], goal: &goal }, shares[3]);
    let (kills, slowest) = (victim.kills, victim.slowest);
    cx.figure("kills", kills);
    cx.seconds("slowest_start_seconds", slowest.as_secs_f64());
    Ok(())
}

fn cluster(control_planes: Vec<String>, workers: Vec<String>) -> Template {
    Template {
        name: CLUSTER.to_owned(),
        talos_version: corten_base::version::TAG.to_owned(),
        kubernetes_version: corten_config::defaults::KUBERNETES_VERSION.to_owned(),
        control_planes,
        workers,
        patches: Vec::new(),
    }
}

/// The command that hands a template to the manager.
fn sync(template: &Template, cx: &Cx) -> Result<Vec<String>> {
    let folder = cx.folder().join(format!("template-{}", template.machines()));
    std::fs::create_dir_all(&folder).context("cannot make the template's folder")?;
    // Two templates with as many machines are told one after the other.
    let file = template.write(&folder)?.to_string_lossy().into_owned();
    Ok(["cluster", "template", "sync", "--file", &file].map(str::to_owned).to_vec())
}

/// Fails unless all these machines wait for a configuration.
fn maintenance(manager: &Manager, uuids: &[String]) -> Result<()> {
    for uuid in uuids {
        let status = manager.connected(uuid)?;
        ensure!(status["spec"]["maintenance"] == true, "{uuid} is in no maintenance: {}", status["spec"]);
    }
    Ok(())
}

impl Victim<'_> {
    /// Makes a change, with so many kills in the middle of it.
    fn change(&mut self, cx: &mut Cx, change: &Change<'_>, kills: u32) {
        let began = Instant::now();
        let mut result = Ok(());
        for number in 0..kills {
            result = self.kill(change, number);
            if result.is_err() {
                break;
            }
        }
        let name = change.name;
        cx.case(&format!("{name}: finished after {kills} kills of the manager"), || {
            result?;
            self.finish(change)
        });
        cx.seconds(&format!("{name}_seconds"), began.elapsed().as_secs_f64());
    }

    /// One kill, while a client is at work; it loses its manager and ends with it.
    fn kill(&mut self, change: &Change<'_>, number: u32) -> Result<()> {
        let file = self.folder.join(format!("{}-{number}.txt", change.name));
        let command = change.commands.first().context("a change without a command")?;
        let client = self.manager.client().follow(command, &file)?;
        let moment = WITHIN.mul_f64(self.rng.fraction());
        std::thread::sleep(moment);
        self.manager.fleet.kill()?;
        drop(client);
        let again = self.manager.fleet.start_again()?;
        self.kills += 1;
        self.slowest = self.slowest.max(again);
        say(&format!("{}: kill {} after {:.1} s", change.name, self.kills, moment.as_secs_f64()));
        Ok(())
    }

    /// Tells the manager once more what it shall do, and waits until it is done.
    fn finish(&self, change: &Change<'_>) -> Result<()> {
        let mut left: Vec<&Vec<String>> = change.commands.iter().rev().collect();
        self.manager.until(&format!("the end of `{}`", change.name), DONE_MAX, || {
            if let Some(command) = left.last().copied() {
                // What a kill has left half done may be gone already, which is as good.
                let output = self.manager.client().output(command, None, ASK_MAX)?;
                if output.ok {
                    left.pop();
                }
            }
            (change.goal)(self.manager)
        })?;
        Ok(())
    }
}
