//! Two container machines become a cluster that a template describes. The manager is killed in the middle of it and
//! finishes what it began; then it stays away, and pods do not notice.
//!
//! `--rounds` is how many minutes it stays away, one without.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::Rng;

use crate::cx::{Cx, say};
use crate::fleet::hosted::{Hosted, HostedFiles};
use crate::fleet::members::Members;
use crate::fleet::template::Template;
use crate::fleet::{ASK_MAX, Manager, Security, kind};
use crate::streams::{Stream, http};

/// How long machines that boot may take until the manager knows what they are made of.
const JOIN_MAX: Duration = Duration::from_secs(180);
/// Latest moment of the kill, after the manager has begun with the first machine.
const KILL_WITHIN: Duration = Duration::from_secs(8);
/// Pause between two requests for a page.
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is looked whether the machines still live while the manager is away.
const LOOK: Duration = Duration::from_secs(1);
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
    away(cx, &mut manager, &members, &story)?;
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
fn away(cx: &mut Cx, manager: &mut Manager, members: &Members, story: &Story) -> Result<()> {
    let evidence = || members.evidence();
    let page = service(&story.hosted(manager, &evidence))?;
    let minutes = cx.options().rounds.unwrap_or(1);
    let streams = ["page seen from the control plane", "page seen from the worker"];
    let streams = streams.into_iter().zip(&members.machines).map(|(name, machine)| {
        Stream::start(machine.container()?, name, PAUSE, move |_| http(page).map(drop))
    });
    let streams = streams.collect::<Result<Vec<_>>>()?;
    manager.fleet.kill()?;
    say(&format!("the manager is away for {minutes} minutes"));
    let (began, absence) = (Instant::now(), Duration::from_secs(60) * minutes);
    while began.elapsed() < absence {
        members.check()?;
        std::thread::sleep(LOOK);
    }
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
    Ok(())
}

/// Address and port of the page inside the cluster.
fn service(hosted: &Hosted<'_>) -> Result<SocketAddr> {
    let path = "jsonpath={.spec.clusterIP}";
    let address = hosted.kubectl().run(&["get", "service", "hello", "-o", path])?;
    let address: IpAddr = address.trim().parse().with_context(|| format!("`{address}` is no address"))?;
    Ok(SocketAddr::new(address, 80))
}
