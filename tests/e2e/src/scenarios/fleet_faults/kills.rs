//! The manager is killed at random moments while clusters of emulated machines change, and finishes every change.
//!
//! ```text
//! change: commands ─▶ client in the background ─▶ [random moment: a write, kill, start] ×n ─▶ all commands ─▶ the goal
//! ```

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_harness::Emulator;

use super::{DONE_MAX, cluster, maintenance, waiting};
use crate::cx::{Cx, say};
use crate::fleet::template::Template;
use crate::fleet::{Manager, kind};

/// Kills of all changes together, when nobody says otherwise.
const KILLS: u32 = 50;
/// Latest moment of a kill, after the manager answers. Machines take ten seconds and more to be heard again.
const WITHIN: Duration = Duration::from_secs(15);
/// What a command may take until the other ones have their turn: some wait for what another one sets free.
const TURN_MAX: Duration = Duration::from_secs(10);
/// Name of the cluster.
const CLUSTER: &str = "e2e-kills";

/// A change of the cluster: what is told, and what must come of it.
struct Change<'a> {
    name: &'static str,
    /// Commands of the client, in any order.
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
    /// Join tokens, each made in the moment before a kill.
    written: Vec<String>,
}

/// Tells the story of a cluster from its creation to its end.
pub fn run(cx: &mut Cx, manager: &mut Manager, emulator: &Emulator, uuids: &[String]) -> Result<()> {
    let kills = cx.options().rounds.unwrap_or(KILLS);
    let shares = [kills.div_ceil(4), (kills + 2) / 4, (kills + 1) / 4, kills / 4];
    let mut victim = Victim::new(cx, manager);
    let dead = uuids[4].clone();
    let at =
        |indexes: &[usize]| -> Vec<String> { indexes.iter().map(|index| uuids[*index].clone()).collect() };
    let created = named(at(&[0]), at(&[3]));
    let scaled = named(at(&[0, 1, 2]), at(&[3, 4]));
    let replaced = named(at(&[0, 1, 5]), at(&[3, 6]));
    for (name, template, kills) in [("create", &created, shares[0]), ("scale", &scaled, shares[1])] {
        let machines = template.machines();
        let goal = |manager: &Manager| manager.whole(CLUSTER, machines);
        let commands = vec![sync(template, cx, name)?];
        victim.change(cx, &Change { name, commands, goal: &goal }, kills);
    }
    // The control plane that goes is reset; the worker is dead, and its link is removed by hand.
    emulator.power(&[4], false)?;
    let machines = replaced.machines();
    let goal = |manager: &Manager| {
        manager.whole(CLUSTER, machines)?;
        let left = manager.list(kind::CLUSTER_MACHINE)?;
        ensure!(left.iter().all(|one| one["metadata"]["id"] != dead.as_str()), "the dead machine is in it");
        ensure!(manager.get(kind::LINK, &dead).is_err(), "the link of the dead machine is there");
        maintenance(manager, &uuids[2..3])
    };
    let remove = ["delete", kind::LINK, &dead].map(str::to_owned).to_vec();
    let commands = vec![sync(&replaced, cx, "replace")?, remove];
    victim.change(cx, &Change { name: "replace", commands, goal: &goal }, shares[2]);
    let living: Vec<String> = uuids.iter().filter(|uuid| **uuid != dead).cloned().collect();
    let goal = |manager: &Manager| {
        ensure!(manager.get(kind::CLUSTER, CLUSTER).is_err(), "the cluster is still there");
        ensure!(manager.list(kind::CLUSTER_MACHINE)?.is_empty(), "machines of a cluster are left");
        maintenance(manager, &living)
    };
    let delete = ["cluster", "delete", CLUSTER].map(str::to_owned).to_vec();
    victim.change(cx, &Change { name: "destroy", commands: vec![delete], goal: &goal }, shares[3]);
    victim.finish(cx);
    Ok(())
}

fn named(control_planes: Vec<String>, workers: Vec<String>) -> Template {
    Template { name: CLUSTER.to_owned(), ..cluster(control_planes, workers) }
}

/// The command that hands a template to the manager; `change` names the template's folder.
fn sync(template: &Template, cx: &Cx, change: &str) -> Result<Vec<String>> {
    let folder = cx.folder().join(format!("template-{change}"));
    std::fs::create_dir_all(&folder).context("cannot make the template's folder")?;
    let file = template.write(&folder)?.to_string_lossy().into_owned();
    Ok(["cluster", "template", "sync", "--file", &file].map(str::to_owned).to_vec())
}

impl<'a> Victim<'a> {
    fn new(cx: &mut Cx, manager: &'a mut Manager) -> Self {
        let seed = cx.options().seed;
        cx.figure("seed", seed);
        let (rng, folder) = (Rng::seeded(seed), cx.folder().to_owned());
        Self { manager, rng, folder, kills: 0, slowest: Duration::ZERO, written: Vec::new() }
    }

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
            self.complete(change)
        });
        cx.seconds(&format!("{name}_seconds"), began.elapsed().as_secs_f64());
    }

    /// One kill, while a client is at work; it loses its manager and ends with it.
    fn kill(&mut self, change: &Change<'_>, number: u32) -> Result<()> {
        let name = change.name;
        let file = self.folder.join(format!("{name}-{number}.txt"));
        let turn = number as usize % change.commands.len().max(1);
        let command = change.commands.get(turn).context("a change without a command")?;
        let client = self.manager.client().follow(command, &file)?;
        let moment = WITHIN.mul_f64(self.rng.fraction());
        std::thread::sleep(moment);
        let token = self.manager.run(&["jointoken", "create", &format!("e2e-{name}-{number}")])?;
        self.manager.fleet.kill()?;
        self.written.push(token.trim().to_owned());
        drop(client);
        let again = self.manager.fleet.start_again()?;
        self.kills += 1;
        self.slowest = self.slowest.max(again);
        say(&format!("{name}: kill {} after {:.1} s", self.kills, moment.as_secs_f64()));
        Ok(())
    }

    /// Tells the manager once more what it shall do, and waits until it is done. Every command has its turns until it
    /// succeeds. One that fails because a kill came after all that it wanted is as good, so the goal alone decides.
    fn complete(&self, change: &Change<'_>) -> Result<()> {
        let mut left: Vec<&Vec<String>> = change.commands.iter().collect();
        let what = format!("the end of `{}`", change.name);
        waiting::until(self.manager, &what, DONE_MAX, || {
            let mut said = String::new();
            left.retain(|command| {
                let output = self.manager.client().output(command.as_slice(), None, TURN_MAX);
                let failure = output.and_then(|output| output.success()).err();
                said.extend(failure.iter().map(|error| format!("\n{error:#}")));
                failure.is_some()
            });
            (change.goal)(self.manager).with_context(|| format!("what its commands say:{said}"))
        })
    }

    /// Nothing that was acknowledged before a kill is lost.
    fn finish(self, cx: &mut Cx) {
        cx.case("every join token that was made in the moment before a kill is there", || {
            let listed = self.manager.run(&["jointoken", "list"])?;
            let lost: Vec<_> = self.written.iter().filter(|token| !listed.contains(token.as_str())).collect();
            ensure!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), self.written.len());
            Ok(())
        });
        cx.figure("kills", self.kills);
        cx.seconds("slowest_start_seconds", self.slowest.as_secs_f64());
    }
}
