//! The brain dies ten times, stands still for a minute, and both containerds die: no workload and no service notices.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_harness::{ContainerMachine, wait_for};
use corten_sys::signal;
use serde_json::Value;

use crate::cluster::{Cluster, ClusterPlan, Files};
use crate::cx::{Cx, say};
use crate::inside::{self, Process};
use crate::streams::{self, Stream};
use crate::wait::until;
use crate::workload;

/// Kills of machined in all.
const KILLS: usize = 10;
/// How soon the machine has to answer again.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long the brain stands still.
const STILL: Duration = Duration::from_secs(60);
/// Sockets of the two containerds.
const CRI: &str = corten_base::paths::CRI_SOCKET;
const SYSTEM: &str = corten_base::paths::CONTAINERD_SOCKET;
/// Address of the cluster's name servers.
const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let options = cx.machine(0)?;
    let plan = ClusterPlan::of(&options);
    let files = Files::write(&plan, cx.folder())?;
    let started = Instant::now();
    let machine = options.start()?;
    let cluster = cx.cluster(plan, files, &machine, started)?;
    let brain = Brain { container: machine.container()?, cluster: &cluster };
    let mut answers = Vec::new();
    boot_with_kills(&brain, &mut answers)?;
    let before = Snapshot::take(&brain)?;
    let streams = start_streams(&brain)?;
    let log = cluster.admin();
    let mut followed = Vec::new();
    for number in answers.len()..=KILLS {
        let follower =
            log.follow(&["logs", "-f", "kubelet"], &cx.folder().join(format!("log-{number}.txt")))?;
        until(&machine, "a followed log", cluster.limit(20), || {
            ensure!(!follower.text()?.is_empty(), "it says nothing");
            Ok(())
        })?;
        followed.push(follower);
        if number < KILLS {
            answers.push(brain.kill(number, Client::Admin)?);
        }
    }
    cx.case("ten kills, and an answer to version within five seconds of each", || {
        let slow: Vec<f64> =
            answers.iter().copied().filter(|took| *took > ANSWER_MAX.as_secs_f64()).collect();
        ensure!(
            answers.len() == KILLS && slow.is_empty(),
            "of {} answers these were late: {slow:?}",
            answers.len()
        );
        Ok(())
    });
    cx.case("a brain that stands still for a minute is not missed", || stand_still(&brain));
    cx.case("the containerd of Kubernetes dies and comes back", || kill_containerd(&brain, CRI));
    let sentence = "the containerd of the system, started by an image pull, dies and comes back";
    cx.case(sentence, || on_demand_containerd(&brain));
    finish_streams(cx, streams);
    cx.case("container ids, start times, annotations and pids are what they were", || {
        let after = Snapshot::take(&brain)?;
        ensure!(before == after, "before {before:#?}\nafter {after:#?}");
        Ok(())
    });
    cx.case("a followed log has no gap", || {
        let whole = log.run(&["logs", "kubelet"])?;
        followed.iter().try_for_each(|follower| check_complete(&follower.text()?, &whole))
    });
    let slowest = answers.iter().fold(0.0_f64, |slowest, answer| slowest.max(*answer));
    cx.figure("kills", answers.len());
    cx.seconds("slowest_version_seconds", slowest);
    drop(followed);
    let grace = cluster.limit(60);
    machine.stop(grace)
}

/// Nobody's request has failed.
fn finish_streams(cx: &mut Cx, streams: Vec<Stream>) {
    for stream in streams {
        let name = stream.name();
        let mut tally = None;
        cx.case(&format!("no failure among the requests `{name}`"), || {
            tally = Some(stream.finish()?);
            Ok(())
        });
        if let Some(tally) = tally {
            cx.figure(&format!("{name}_answered"), tally.answered);
            cx.seconds(&format!("{name}_slowest_seconds"), tally.slowest.as_secs_f64());
        }
    }
}

/// The containerd that only runs while somebody needs it: killed it comes back with what it has, and a new brain finds it.
fn on_demand_containerd(brain: &Brain<'_>) -> Result<()> {
    let admin = brain.cluster.admin();
    ensure!(find_containerd(brain, SYSTEM)?.is_none(), "it runs before anybody needs it");
    admin.run(&["image", "pull", "--namespace", "inmem", workload::IMAGE])?;
    kill_containerd(brain, SYSTEM)?;
    let images = admin.run(&["image", "list", "--namespace", "inmem"])?;
    ensure!(images.contains(workload::IMAGE), "the pulled image is not there any more:\n{images}");
    adopt_containerd(brain)
}

/// The machine whose brain is killed.
struct Brain<'a> {
    container: &'a ContainerMachine,
    cluster: &'a Cluster<'a>,
}

impl Brain<'_> {
    /// Kills machined and gives the seconds until the machine answers again.
    fn kill(&self, number: usize, client: Client) -> Result<f64> {
        let machined = self.machined()?;
        inside::kill(&machined)?;
        let killed = Instant::now();
        self.wait_for_another(&machined)?;
        until(self.cluster.machine, "an answer to version", Duration::from_secs(30), || {
            self.version(client)
        })?;
        let took = killed.elapsed();
        say(&format!("kill {}: version answered after {:.2} s", number + 1, took.as_secs_f64()));
        Ok(took.as_secs_f64())
    }

    fn version(&self, client: Client) -> Result<String> {
        match client {
            Client::Stranger => self.cluster.run_insecure(&["version"]),
            Client::Admin => self.cluster.admin().run_for(&["version"], Duration::from_secs(3)),
        }
    }

    fn machined(&self) -> Result<Process> {
        let evidence = || self.container.evidence();
        wait_for("machined", Duration::from_secs(30), evidence, || {
            inside::only(self.container, "machined").ok()
        })
    }

    fn wait_for_another(&self, old: &Process) -> Result<()> {
        let evidence = || self.container.evidence();
        wait_for("machined to start again", Duration::from_secs(30), evidence, || {
            inside::only(self.container, "machined").ok().filter(|new| new != old).map(drop)
        })
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Client {
    /// Someone without credentials, as a machine in maintenance answers.
    Stranger,
    /// The machine's administrator.
    Admin,
}

/// To a served page, with kills on the way: at power-on, in maintenance, after the configuration, at bootstrap, and
/// while Kubernetes starts.
fn boot_with_kills(brain: &Brain<'_>, answers: &mut Vec<f64>) -> Result<()> {
    let cluster = brain.cluster;
    answers.push(brain.kill(0, Client::Stranger)?);
    cluster.wait_maintenance()?;
    answers.push(brain.kill(1, Client::Stranger)?);
    cluster.apply()?;
    cluster.wait_api()?;
    answers.push(brain.kill(2, Client::Admin)?);
    cluster.bootstrap()?;
    answers.push(brain.kill(3, Client::Admin)?);
    let evidence = || brain.container.evidence();
    wait_for("kube-apiserver", cluster.limit(60), evidence, || {
        inside::only(brain.container, "kube-apiserver").ok()
    })?;
    answers.push(brain.kill(4, Client::Admin)?);
    cluster.fetch_kubeconfig()?;
    cluster.wait_node_ready()?;
    cluster.deploy_hello()?;
    cluster.wait_http()?;
    Ok(())
}

/// What must be the same before and after.
#[derive(Debug, PartialEq)]
struct Snapshot {
    /// Container ids and start times, by pod and container.
    containers: BTreeMap<String, String>,
    /// Annotations of static pods.
    annotations: BTreeMap<String, Value>,
    services: Vec<Process>,
}

impl Snapshot {
    fn take(brain: &Brain<'_>) -> Result<Self> {
        let text = brain.cluster.kubectl().run(&["get", "pods", "--all-namespaces", "-o", "json"])?;
        let list: Value = serde_json::from_str(&text).context("kubectl's answer is not JSON")?;
        let (mut containers, mut annotations) = (BTreeMap::new(), BTreeMap::new());
        for pod in list["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            if pod["spec"]["restartPolicy"] != "Always" {
                // The probe has done its work, and ends when it likes.
                continue;
            }
            for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
                let started = &status["state"]["running"]["startedAt"];
                let key = format!("{name}/{}", status["name"].as_str().unwrap_or_default());
                containers.insert(key, format!("{} {started}", status["containerID"]));
            }
            if pod["metadata"]["annotations"].get("kubernetes.io/config.source").is_some() {
                annotations.insert(name.to_owned(), pod["metadata"]["annotations"].clone());
            }
        }
        ensure!(annotations.len() >= 3, "there are {} static pods", annotations.len());
        let services = ["etcd", "kubelet"].map(|name| inside::only(brain.container, name));
        Ok(Self { containers, annotations, services: services.into_iter().collect::<Result<_>>()? })
    }
}

fn start_streams(brain: &Brain<'_>) -> Result<Vec<Stream>> {
    let kubectl = brain.cluster.kubectl();
    let ip = kubectl.run(&["get", "service", "hello", "-o", "jsonpath={.spec.clusterIP}"])?;
    let page = SocketAddr::new(ip.parse().with_context(|| format!("`{ip}` is no address"))?, 80);
    kubectl.run(&["create", "configmap", "e2e-beat"])?;
    let prism = kubectl.with(["--server=https://127.0.0.1:7445"]);
    let inside = brain.cluster.plan.endpoint();
    let direct = kubectl.with([format!("--server={inside}")]);
    let name = "hello.default.svc.cluster.local";
    let (often, seldom) = (Duration::from_millis(50), Duration::from_millis(200));
    let container = brain.container;
    Ok(vec![
        Stream::start(container, "http", often, move |_| streams::http(page).map(drop))?,
        Stream::start(container, "dns", often, move |count| {
            let address = streams::dns((DNS, 53).into(), name, count as u16)?;
            ensure!(SocketAddr::new(address.into(), 80) == page, "{name} is {address}");
            Ok(())
        })?,
        Stream::start(container, "etcd_writes", seldom, move |count| streams::write(&direct, count))?,
        Stream::start(container, "kubeprism", seldom, move |_| streams::ready(&prism))?,
    ])
}

/// A brain that does nothing is not missed, and comes back as if nothing had been.
fn stand_still(brain: &Brain<'_>) -> Result<()> {
    const STOP: i32 = 19;
    const CONTINUE: i32 = 18;
    let machined = brain.machined()?;
    say(&format!("machined stands still for {} s", STILL.as_secs()));
    signal::send(machined.pid, STOP)?;
    let began = Instant::now();
    let evidence = || brain.container.evidence();
    let waited = wait_for("the minute to pass", STILL * 2, evidence, || {
        let is_over = began.elapsed() >= STILL;
        let is_changed = inside::only(brain.container, "machined").is_ok_and(|now| now != machined);
        (is_over || is_changed).then_some(())
    });
    // It may have been replaced by init, which is allowed.
    let _ = signal::send(machined.pid, CONTINUE);
    waited?;
    until(brain.cluster.machine, "an answer to version", ANSWER_MAX, || brain.version(Client::Admin))?;
    Ok(())
}

/// The main process of the containerd with this socket.
fn find_containerd(brain: &Brain<'_>, socket: &str) -> Result<Option<Process>> {
    let of_socket = |process: &Process| process.arguments.contains(&format!("--address {socket}"));
    Ok(inside::named(brain.container, "containerd")?.into_iter().find(of_socket))
}

/// Kills the main process of the containerd with this socket and waits until it works again.
fn kill_containerd(brain: &Brain<'_>, socket: &str) -> Result<()> {
    let old =
        find_containerd(brain, socket)?.with_context(|| format!("no containerd listens on {socket}"))?;
    inside::kill(&old)?;
    let evidence = || brain.container.evidence();
    wait_for("containerd to start again", brain.cluster.limit(30), evidence, || {
        find_containerd(brain, socket).ok().flatten().filter(|new| new.pid != old.pid)
    })?;
    let kubectl = brain.cluster.kubectl();
    let again = "kubectl to reach containers again";
    brain.cluster.step(again, 60, || {
        kubectl.run(&["exec", "hello", "--", "/usr/bin/hello", "get", "http://127.0.0.1:8080/"])
    })?;
    brain.cluster.wait_node_ready()?;
    Ok(())
}

/// A new machined takes the system's containerd over as it is.
fn adopt_containerd(brain: &Brain<'_>) -> Result<()> {
    let before = find_containerd(brain, SYSTEM)?;
    brain.kill(KILLS, Client::Admin)?;
    until(brain.cluster.machine, "the service containerd", Duration::from_secs(30), || {
        let service = brain.cluster.admin().run(&["service", "containerd"])?;
        ensure!(service.contains("Running"), "it is not adopted:\n{service}");
        Ok(())
    })?;
    let after = find_containerd(brain, SYSTEM)?;
    ensure!(before == after, "before {before:?}, after {after:?}");
    Ok(())
}

/// What was followed is a piece of the log without a gap. The client names the machine before each line.
fn check_complete(followed: &str, whole: &str) -> Result<()> {
    let is_end = |line: &&str| line.starts_with("ERROR: ") || line.starts_with("error: ");
    let followed: Vec<&str> = followed.lines().filter(|line| !is_end(line)).collect();
    let whole: Vec<&str> = whole.lines().collect();
    let Some(first) = followed.first() else { return Ok(()) };
    let start =
        whole.iter().position(|line| line == first).context("the followed log begins with a strange line")?;
    // The last line may have been cut off with the stream.
    for (offset, line) in followed.iter().enumerate().take(followed.len().saturating_sub(1)) {
        let there = whole.get(start + offset);
        ensure!(there == Some(line), "the followed log has `{line}` where the log has {there:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_in_a_followed_log_are_found() {
        let whole = "n: a\nn: b\nn: c\nn: d\n";
        check_complete("n: b\nn: c\nn: d\n", whole).unwrap();
        check_complete("n: a\nn: b\nn: c", whole).unwrap();
        check_complete("", whole).unwrap();
        check_complete("n: a\nERROR: rpc error: code = Unavailable\n", whole).unwrap();
        check_complete("n: a\nn: c\nn: d\n", whole).unwrap_err();
        check_complete("n: x\n", whole).unwrap_err();
    }
}
