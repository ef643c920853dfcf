//! Two container machines become a cluster that a template describes. The manager is killed in the middle of it and
//! finishes what it began; then it stays away. Pods do not notice, and what happened meanwhile is told afterwards.
//!
//! ```text
//! template ─▶ manager ─ kill, start ─▶ cluster ─▶ page ─▶ manager stops ─▶ N minutes ─▶ manager starts
//!                                                             pods: a request every 200 ms, none may fail
//!                                                             worker: kubelet dies, events wait ─▶ they arrive
//!                                                             emulated machine: reboots, its log waits ─▶ it arrives
//! ```
//!
//! `--rounds` is how many minutes it stays away, ten without. A container machine shares the kernel's log with its host
//! and sends none, so the log is that of an emulated machine.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::Rng;
use corten_harness::Emulator;
use serde_json::{Value, json};

use crate::cx::{Cx, say};
use crate::fleet::hosted::{Hosted, HostedFiles};
use crate::fleet::members::Members;
use crate::fleet::template::Template;
use crate::fleet::{ASK_MAX, Manager, Security, kind};
use crate::inside;
use crate::streams::{Stream, http};

/// How long machines that boot may take until the manager knows what they are made of.
const JOIN_MAX: Duration = Duration::from_secs(180);
/// Latest moment of the kill, after the manager has begun with the first machine.
const KILL_WITHIN: Duration = Duration::from_secs(8);
/// Pause between two requests for a page.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether the machines still live while the manager is away.
const LOOK: Duration = Duration::from_secs(1);
/// How many minutes the manager is away, unless somebody says otherwise.
const MINUTES: u32 = 10;
/// How long the manager may take to end in order.
const GRACE: Duration = Duration::from_secs(30);
/// How often the worker's kubelet dies while the manager is away.
const UPSETS: u32 = 3;
/// How long machines may take until the manager has heard what they had to tell.
const AGAIN_MAX: Duration = Duration::from_secs(330);
/// Name of the cluster.
const CLUSTER: &str = "e2e";

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let client = cx.fleet_client()?;
    let mut manager = Manager::start(cx.manager(Some(cx.shared_lab()))?, &client, Security::Tls)?;
    let arguments = manager.kernel_arguments()?;
    let options = [cx.member(0, &arguments)?, cx.member(1, &arguments)?];
    let members = Members::join(&manager, &options, JOIN_MAX)?;
    let [control_plane, worker] = members.uuids.as_slice() else {
        anyhow::bail!("{} machines have joined", members.uuids.len())
    };
    let template = Template {
        name: CLUSTER.to_owned(),
        talos_version: members.version.clone(),
        kubernetes_version: corten_config::defaults::KUBERNETES_VERSION.to_owned(),
        control_planes: vec![control_plane.clone()],
        workers: vec![worker.clone()],
        patches: Vec::new(),
    };
    let story = Story {
        files: HostedFiles::write(&template, cx.folder())?,
        template,
        kubectl: cx.kubectl()?.env("HOME", cx.folder()),
        started: Instant::now(),
        pace: cx.mode().pace(),
    };
    killed(cx, &mut manager, &members, &story)?;
    let mut spec = cx.emulator("emulated", &arguments)?;
    (spec.lab, spec.machines) = (Some(cx.shared_lab()), 1);
    let emulator = Emulator::start(&spec)?;
    away(cx, &mut manager, &members, &emulator, &story)?;
    members.cut_power()
}

/// The cluster, while its manager comes and goes.
struct Story {
    template: Template,
    files: HostedFiles,
    kubectl: crate::tool::Tool,
    started: Instant,
    pace: u32,
}

impl Story {
    fn hosted<'a>(&self, manager: &'a Manager, evidence: &'a dyn Fn() -> String) -> Hosted<'a> {
        Hosted {
            manager,
            template: self.template.clone(),
            files: self.files.clone(),
            kubectl: self.kubectl.clone(),
            started: self.started,
            pace: self.pace,
            progress: &say,
            evidence,
        }
    }
}

/// The manager is killed while the cluster is being made, and finishes it.
fn killed(cx: &mut Cx, manager: &mut Manager, members: &Members, story: &Story) -> Result<()> {
    let evidence = || members.evidence();
    story.hosted(manager, &evidence).sync()?;
    let fraction = Rng::seeded(cx.options().seed).fraction();
    manager.until("the manager to begin", ASK_MAX, || {
        let begun = manager.list(kind::CLUSTER_MACHINE_STATUS)?.len();
        ensure!(begun > 0, "no machine of the cluster is known");
        Ok(())
    })?;
    std::thread::sleep(KILL_WITHIN.mul_f64(fraction));
    let was_whole = story.hosted(manager, &evidence).healthy().is_ok();
    manager.fleet.kill()?;
    cx.seconds("killed_seconds", story.started.elapsed().as_secs_f64());
    cx.case("the manager was killed in the middle", || {
        ensure!(!was_whole, "the cluster was whole already; try another --seed");
        Ok(())
    });
    let again = manager.fleet.start_again()?;
    cx.seconds("answers_again_seconds", again.as_secs_f64());
    let hosted = story.hosted(manager, &evidence);
    let healthy = hosted.wait_healthy()?;
    cx.seconds("healthy_seconds", healthy);
    hosted.fetch_kubeconfig()?;
    let ready = hosted.wait_nodes_ready()?;
    cx.seconds("ready_seconds", ready);
    hosted.deploy_hello()?;
    let page = hosted.wait_page()?;
    cx.seconds("http_seconds", page);
    cx.case("the cluster that was begun before the kill serves a page", || hosted.page().map(drop));
    Ok(())
}

/// The manager is away for a while.
fn away(
    cx: &mut Cx,
    manager: &mut Manager,
    members: &Members,
    emulator: &Emulator,
    story: &Story,
) -> Result<()> {
    let evidence = || members.evidence();
    let page = service(&story.hosted(manager, &evidence))?;
    let before = Told::now(manager, members, emulator)?;
    let streams = ["page seen from the control plane", "page seen from the worker"];
    let streams = streams.into_iter().zip(&members.machines).map(|(name, machine)| {
        Stream::start(machine.container()?, name, PAUSE, move |_| http(page).map(drop))
    });
    let streams = streams.collect::<Result<Vec<_>>>()?;
    manager.fleet.stop(GRACE)?;
    let minutes = cx.options().rounds.unwrap_or(MINUTES).max(1);
    say(&format!("the manager is away for {minutes} minutes"));
    absent(members, emulator, Duration::from_secs(60) * minutes)?;
    cx.figure("minutes_away", minutes);
    let tallies: Vec<_> = streams.into_iter().map(|stream| (stream.name(), stream.finish())).collect();
    for (name, tally) in tallies {
        if let Ok(tally) = &tally {
            cx.figure(&format!("{name}: answered"), tally.answered);
            cx.seconds(&format!("{name}: slowest"), tally.slowest.as_secs_f64());
        }
        cx.case(&format!("{name}: not one request failed while the manager was away"), || tally.map(drop));
    }
    let again = manager.fleet.start_again();
    cx.case("the manager comes back to a whole cluster", || {
        again.context("the manager does not start again")?;
        let hosted = story.hosted(manager, &evidence);
        hosted.wait_healthy()?;
        hosted.wait_nodes_ready()?;
        hosted.page().map(drop)
    });
    afterwards(cx, manager, emulator, &before);
    Ok(())
}

/// Lets time pass. Meanwhile the worker's kubelet dies a few times, and the emulated machine reboots.
fn absent(members: &Members, emulator: &Emulator, absence: Duration) -> Result<()> {
    let worker = members.machines.last().context("there is no worker")?.container()?;
    let began = Instant::now();
    emulator.ask(&json!({ "op": "reboot", "machines": 0 }))?;
    for part in 1..=UPSETS + 1 {
        while began.elapsed() < absence * part / (UPSETS + 1) {
            members.check()?;
            std::thread::sleep(LOOK);
        }
        if part <= UPSETS {
            inside::kill(&inside::only(worker, "kubelet")?)?;
        }
    }
    Ok(())
}

/// What the manager had been told before it went away.
struct Told {
    worker: String,
    /// Version of the worker's last word on its stage.
    version: Value,
    emulated: String,
    /// Boot id of the emulated machine.
    boot: String,
}

impl Told {
    fn now(manager: &Manager, members: &Members, emulator: &Emulator) -> Result<Self> {
        let worker = members.uuids.last().context("there is no worker")?.clone();
        let emulated = emulator.uuid(0)?;
        manager.until("the emulated machine to join", JOIN_MAX, || manager.known(&emulated))?;
        Ok(Self { version: version(manager, &worker)?, worker, boot: boot_id(emulator)?, emulated })
    }
}

/// Version of the last word of a machine on its stage: every event that tells another stage is one more.
fn version(manager: &Manager, uuid: &str) -> Result<Value> {
    Ok(manager.get(kind::SNAPSHOT, uuid)?["metadata"]["version"].clone())
}

/// Boot id of the emulated machine, which the first line of its log tells.
fn boot_id(emulator: &Emulator) -> Result<String> {
    let listed = emulator.ask(&json!({ "op": "list", "machines": 0 }))?;
    let id = listed[0]["boot_id"].as_str().map(str::to_owned);
    id.context("the emulated machine has no boot id")
}

/// What happened while the manager was away is told to it when it is back.
fn afterwards(cx: &mut Cx, manager: &Manager, emulator: &Emulator, before: &Told) {
    cx.case("events of the time without the manager arrive afterwards", || {
        let waited = manager.until("the worker's events", AGAIN_MAX, || {
            let now = version(manager, &before.worker)?;
            ensure!(now != before.version, "its snapshot has version {now} as before");
            Ok(())
        });
        waited.map(drop)
    });
    cx.case("the log of the time without the manager arrives afterwards", || {
        let boot = boot_id(emulator)?;
        ensure!(boot != before.boot, "the emulated machine did not reboot");
        let waited = manager.until("the log of that boot", AGAIN_MAX, || {
            let log = manager.run(&["machine-logs", &before.emulated])?;
            ensure!(log.contains(&boot), "it has {} lines, and none of that boot", log.lines().count());
            Ok(())
        });
        waited.map(drop)
    });
}

/// Address and port of the page inside the cluster.
fn service(hosted: &Hosted<'_>) -> Result<SocketAddr> {
    let path = "jsonpath={.spec.clusterIP}";
    let address = hosted.kubectl().run(&["get", "service", "hello", "-o", path])?;
    let address: IpAddr = address.trim().parse().with_context(|| format!("`{address}` is no address"))?;
    Ok(SocketAddr::new(address, 80))
}
