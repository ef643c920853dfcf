//! Faults, one after another: each is named with its remedy by `corten doctor` on the machine, and by the same program
//! from the machine's support bundle alone.
//!
//! ```text
//! inject ─▶ doctor MACHINE says so within a minute ─▶ support ─▶ doctor --bundle says the same ─▶ mend
//! ```
//!
//! A fault is a real one: a configuration that is wrong in one place, a process that stands still, a full disk, a client
//! with the wrong papers.

mod stranger;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use corten_harness::cleanup::Cleanup;
use corten_sys::Kernel;
use corten_sys::mount::{Mount, Mounts, Unmount};
use corten_sys::signal;
use serde_json::Value;

use crate::cluster::{Cluster, Files};
use crate::cx::{Cx, say};
use crate::inside;
use crate::machine::Machine;
use crate::pair::Pair;
use crate::tool::Tool;

/// Size of the control plane's EPHEMERAL, which is filled.
const EPHEMERAL_MIB: u64 = 3072;
/// SIGSTOP and SIGCONT.
const STOP: i32 = 19;
const CONTINUE: i32 = 18;
/// What it takes to see a fault, seconds.
const SEEN_MAX: u64 = 180;

/// What every fault needs.
struct Scene<'a> {
    pair: &'a Pair,
    cluster: &'a Cluster<'a>,
    corten: Tool,
    folder: PathBuf,
}

impl Scene<'_> {
    fn control_plane(&self) -> Tool {
        let talosconfig = self.pair.files.talosconfig.to_string_lossy();
        self.corten.with(["--talosconfig", &talosconfig, "--nodes", &self.pair.plan.node.to_string()])
    }

    fn worker(&self) -> Tool {
        self.pair.worker_admin(&self.corten)
    }

    /// Gives a machine a configuration that is changed in one place.
    fn patch(&self, tool: &Tool, patch: &str) -> Result<()> {
        tool.run(&["patch", "machineconfig", "--mode=no-reboot", "--patch", patch]).map(drop)
    }

    /// Gives a machine its first configuration again.
    fn restore(&self, tool: &Tool, file: &Path) -> Result<()> {
        tool.run(&["apply-config", "--mode=no-reboot", "--file", &file.to_string_lossy()]).map(drop)
    }
}

/// Something that was found.
#[derive(Debug)]
struct Found {
    id: String,
    remedies: usize,
    evidence: String,
}

/// What is found, from the program's JSON. That something is wrong makes it fail.
fn findings(tool: &Tool, arguments: &[&str], limit: std::time::Duration) -> Result<Vec<Found>> {
    let command: Vec<&str> =
        ["doctor"].into_iter().chain(arguments.iter().copied()).chain(["-o", "json"]).collect();
    let output = tool.output(&command, None, limit)?;
    let all: Value = serde_json::from_str(&output.stdout)
        .with_context(|| format!("no JSON:\n{}{}", output.stdout, output.stderr))?;
    let findings = all
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|machine| machine["findings"].as_array().cloned().unwrap_or_default());
    let found = findings.map(|finding| Found {
        id: finding["id"].as_str().unwrap_or_default().to_owned(),
        remedies: finding["remedy"].as_array().map_or(0, Vec::len),
        evidence: finding["evidence"].to_string(),
    });
    Ok(found.collect())
}

fn has(found: &[Found], id: &str, evidence: &str) -> Result<()> {
    let is_meant = |finding: &&Found| finding.id == id && finding.evidence.contains(evidence);
    let finding =
        found.iter().find(is_meant).with_context(|| format!("{id} ({evidence}) is not among {found:?}"))?;
    ensure!(finding.remedies > 0, "{id} has no remedy");
    Ok(())
}

/// A fault: what it is, what it is called, who is asked.
struct Fault<'a> {
    what: &'a str,
    id: &'a str,
    tool: Tool,
    /// What its evidence says, where a machine without the fault has the same diagnosis.
    evidence: &'a str,
    /// Arguments of a machine that knows nobody yet.
    insecure: &'a [&'a str],
}

impl<'a> Fault<'a> {
    const fn new(what: &'a str, id: &'a str, tool: Tool) -> Self {
        Self { what, id, tool, evidence: "", insecure: &[] }
    }

    /// Proves that it is found on the machine and in its bundle.
    fn is_found(&self, scene: &Scene<'_>) -> Result<()> {
        let limit = scene.cluster.limit(120);
        scene.cluster.step(self.id, SEEN_MAX, || {
            has(&findings(&self.tool, self.insecure, limit)?, self.id, self.evidence)
        })?;
        let bundle = scene.folder.join(format!("{}.zip", self.id));
        let place = bundle.to_string_lossy().into_owned();
        let command: Vec<&str> =
            ["support", "-O", &place].into_iter().chain(self.insecure.iter().copied()).collect();
        self.tool.output(&command, None, scene.cluster.limit(400))?.success()?;
        let alone = scene.corten.with(["--talosconfig", "/nonexistent"]);
        let found = findings(&alone, &["--bundle", &place], limit)?;
        has(&found, self.id, self.evidence).context("from the bundle")?;
        std::fs::remove_file(&bundle).context("cannot remove the bundle")
    }

    /// Injects it, proves that it is found, and mends it whatever was found.
    fn case(
        self,
        cx: &mut Cx,
        scene: &Scene<'_>,
        inject: impl FnOnce() -> Result<()>,
        mend: impl FnOnce() -> Result<()>,
    ) {
        cx.case(&format!("{} is called {}, with what to do", self.what, self.id), || {
            inject()?;
            let found = self.is_found(scene);
            mend().context("cannot mend it")?;
            found
        });
    }
}

fn nothing() -> Result<()> {
    Ok(())
}

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let _mounted = small_ephemeral(&cx.member(0, "")?.folder)?;
    let pair = Pair::start(cx, |_| {})?;
    let cluster = pair.cluster(cx)?;
    let corten = Tool::new(cx.program("corten")?, "corten").env("HOME", cx.folder());
    let scene = Scene { pair: &pair, cluster: &cluster, corten, folder: cx.folder().to_owned() };
    before(cx, &scene)?;
    joining(cx, &scene)?;
    configuration(cx, &scene);
    standing_still(cx, &scene)?;
    etcd(cx, &scene);
    space(cx, &scene)?;
    stranger::faults(cx, &scene)?;
    cx.case("after all of that the machines are well", || {
        pair.wait_ready(&cluster)?;
        let limit = cluster.limit(120);
        cluster.step("nothing to be wrong", SEEN_MAX, || {
            for tool in [scene.control_plane(), scene.worker()] {
                let mut found = findings(&tool, &[], limit)?;
                // Nothing is around the network of the machines.
                found.retain(|found| !corten_diagnose::BEARABLE.contains(&found.id.as_str()));
                ensure!(found.is_empty(), "{found:?}");
            }
            Ok(())
        })?;
        Ok(())
    });
    let grace = cluster.limit(60);
    drop(cluster);
    pair.stop(grace)
}

/// Before there is a cluster.
fn before(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let cluster = scene.cluster;
    cluster.wait_maintenance()?;
    let node = format!("{}:{}", Ipv4Addr::LOCALHOST, scene.pair.plan.api_port);
    let insecure = ["--insecure", "--nodes", &node];
    let fault = Fault {
        insecure: &insecure,
        ..Fault::new("a machine without a configuration", "configuration-missing", scene.corten.clone())
    };
    fault.case(cx, scene, nothing, nothing);
    cluster.apply()?;
    cluster.wait_api()?;
    Fault::new("a cluster that nobody has bootstrapped", "etcd-not-bootstrapped", scene.control_plane())
        .case(cx, scene, nothing, nothing);
    cluster.bootstrap()?;
    cluster.fetch_kubeconfig()?;
    cluster.wait_node_ready().map(drop)
}

/// A worker that is told wrong things of its cluster.
fn joining(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let (cluster, good) = (scene.cluster, &scene.pair.files.worker);
    let wrong = |patch: &str| -> Result<PathBuf> {
        let file = scene.folder.join("wrong-worker.yaml");
        let text =
            scene.corten.run(&["machineconfig", "patch", &good.to_string_lossy(), "--patch", patch])?;
        crate::cluster::write_secret(&file, &text)?;
        Ok(file)
    };
    let apply = |file: &Path| {
        let file = file.to_string_lossy().into_owned();
        cluster.step("the worker to take a configuration", 60, || {
            scene.pair.ask_worker(&scene.corten, &["apply-config", "--file", &file])
        })
    };
    let worker = scene.worker();
    // A machine that has never had a certificate of its cluster can tell nobody anything: the endpoint is right at first.
    apply(&wrong("cluster:\n  token: abcdef.0123456789abcdef\n")?)?;
    let fault = Fault::new("a worker with a wrong token", "kubelet-refused", worker.clone());
    fault.case(cx, scene, nothing, nothing);
    let endpoint = "cluster:\n  controlPlane:\n    endpoint: https://192.0.2.1:6443\n";
    Fault::new("a worker with a wrong endpoint", "wrong-endpoint", worker.clone()).case(
        cx,
        scene,
        || scene.restore(&worker, &wrong(endpoint)?),
        nothing,
    );
    let subnets = format!("cluster:\n  network:\n    podSubnets: [{}/24]\n", scene.pair.worker_address());
    Fault::new("a worker whose address lies among those of pods", "address-overlap", worker.clone()).case(
        cx,
        scene,
        || scene.restore(&worker, &wrong(&subnets)?),
        || scene.restore(&worker, good),
    );
    scene.pair.wait_ready(cluster).map(drop)
}

/// A configuration that breaks something: what it is, the diagnosis and the patch.
type Patch = (&'static str, &'static str, &'static str);
/// What the evidence of a diagnosis says that the machines have anyway: nothing is around their network.
const SILENT_NAME_SERVER: (&str, &str) = ("dns-failing", "192.0.2.53");

/// Those of a worker.
const WORKER_PATCHES: [Patch; 5] = [
    (
        "a kubelet whose image nobody has",
        "image-not-pulled",
        "machine:\n  kubelet:\n    image: registry.invalid/kubelet:1\n",
    ),
    (
        "a kubelet with an argument that it does not know",
        "kubelet-unwell",
        "machine:\n  kubelet:\n    extraArgs:\n      no-such-flag: \"1\"\n",
    ),
    (
        "a kernel parameter that there is not",
        "kernel-parameter-refused",
        "machine:\n  sysctls:\n    net.ipv4.no_such_parameter: \"1\"\n",
    ),
    ("name servers that are silent", "dns-failing", "machine:\n  network:\n    nameservers: [192.0.2.53]\n"),
    (
        "a discovery service that is silent",
        "discovery-unreachable",
        "cluster:\n  discovery:\n    enabled: true\n    registries:\n      service:\n        endpoint: https://192.0.2.1/\n",
    ),
];

/// Those of a control plane.
const CONTROL_PLANE_PATCHES: [Patch; 2] = [
    (
        "a scheduler with an argument that it does not know",
        "static-pod-crash-loop",
        "cluster:\n  scheduler:\n    extraArgs:\n      no-such-flag: \"1\"\n",
    ),
    (
        "a controller manager whose image nobody has",
        "image-not-pulled",
        "cluster:\n  controllerManager:\n    image: registry.invalid/kube-controller-manager:1\n",
    ),
];

/// Configurations that are wrong in one place.
fn configuration(cx: &mut Cx, scene: &Scene<'_>) {
    let (worker, control_plane) = (scene.worker(), scene.control_plane());
    let ready = || scene.pair.wait_ready(scene.cluster).map(drop);
    let Files { worker: of_worker, controlplane: of_control_plane, .. } = &scene.pair.files;
    let on_worker = WORKER_PATCHES.into_iter().map(|patch| (patch, &worker, of_worker));
    let on_control_plane =
        CONTROL_PLANE_PATCHES.into_iter().map(|patch| (patch, &control_plane, of_control_plane));
    for ((what, id, patch), tool, file) in on_worker.chain(on_control_plane) {
        let evidence = if id == SILENT_NAME_SERVER.0 { SILENT_NAME_SERVER.1 } else { "" };
        Fault { evidence, ..Fault::new(what, id, tool.clone()) }.case(
            cx,
            scene,
            || scene.patch(tool, patch),
            || {
                scene.restore(tool, file)?;
                ready()
            },
        );
    }
    let staged = "machine:\n  nodeLabels:\n    staged: a\n";
    Fault::new("a configuration that waits for a restart", "configuration-staged", worker.clone()).case(
        cx,
        scene,
        || worker.run(&["patch", "machineconfig", "--mode=staged", "--patch", staged]).map(drop),
        || scene.restore(&worker, &scene.pair.files.worker),
    );
    let kubectl = scene.cluster.kubectl();
    Fault::new("a node that is cordoned", "node-cordoned", worker.clone()).case(
        cx,
        scene,
        || kubectl.run(&["cordon", &scene.pair.worker_node(scene.cluster)?]).map(drop),
        || kubectl.run(&["uncordon", &scene.pair.worker_node(scene.cluster)?]).map(drop),
    );
}

/// Processes that stand still.
fn standing_still(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let ready = || scene.pair.wait_ready(scene.cluster).map(drop);
    let send = |machine: &Machine, name: &str, number: i32| -> Result<()> {
        let found = inside::named(machine.container()?, name)?;
        ensure!(!found.is_empty(), "there is no {name}");
        found.iter().try_for_each(|process| Ok(signal::send(process.pid, number)?))
    };
    let (worker, control_plane) = (&scene.pair.worker, &scene.pair.control_plane);
    let rows = [
        ("a kubelet that stands still", "node-not-ready", worker, scene.worker(), "kubelet"),
        ("a containerd that stands still", "service-unwell", worker, scene.worker(), "containerd"),
        (
            "an API server that stands still",
            "kubeprism-down",
            control_plane,
            scene.control_plane(),
            "kube-apiserver",
        ),
        ("an etcd that stands still", "etcd-unwell", control_plane, scene.control_plane(), "etcd"),
    ];
    for (what, id, machine, tool, process) in rows {
        Fault::new(what, id, tool).case(
            cx,
            scene,
            || send(machine, process, STOP),
            || {
                send(machine, process, CONTINUE)?;
                ready()
            },
        );
    }
    Ok(())
}

/// etcd that has reached its quota.
fn etcd(cx: &mut Cx, scene: &Scene<'_>) {
    let (tool, kubectl) = (scene.control_plane(), scene.cluster.kubectl());
    let quota = |bytes: &str| {
        let patch = format!("cluster:\n  etcd:\n    extraArgs:\n      quota-backend-bytes: \"{bytes}\"\n");
        scene.patch(&tool, &patch)
    };
    Fault::new("an etcd that has reached its quota", "etcd-no-space", tool.clone()).case(
        cx,
        scene,
        || {
            quota("1048576")?;
            scene.cluster.step("a write that is refused", 120, || {
                let said = kubectl.refuse(&["create", "namespace", "one-too-many"])?;
                ensure!(said.contains("space"), "{said}");
                Ok(())
            })?;
            Ok(())
        },
        || {
            scene.restore(&tool, &scene.pair.files.controlplane)?;
            scene.cluster.step("the alarm to end", 120, || tool.run(&["etcd", "alarm", "disarm"]))?;
            scene.pair.wait_ready(scene.cluster).map(drop)
        },
    );
}

/// A disk that fills.
fn space(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let file = scene.pair.options[0].folder.join("var/e2e-filler");
    let fill = |leave_mib: u64| -> Result<()> {
        let free = Kernel.usage(file.parent().context("a folder")?)?.available_bytes >> 20;
        let filler = std::fs::OpenOptions::new().create(true).append(true).open(&file)?;
        let begun = filler.metadata()?.len();
        let more = free.saturating_sub(leave_mib) << 20;
        allocate(&filler, begun, more)
    };
    Fault::new("a disk that is nearly full", "disk-nearly-full", scene.control_plane()).case(
        cx,
        scene,
        || fill(EPHEMERAL_MIB / 13),
        nothing,
    );
    Fault::new("a full disk", "disk-full", scene.control_plane()).case(
        cx,
        scene,
        || fill(EPHEMERAL_MIB / 60),
        || std::fs::remove_file(&file).context("cannot make room"),
    );
    scene.pair.wait_ready(scene.cluster).map(drop)
}

/// Takes room from a place on.
fn allocate(file: &std::fs::File, from: u64, bytes: u64) -> Result<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), from, bytes)
        .context("cannot fill the disk")
}

/// A filesystem of its own in place of the control plane's folder, so that it can be filled.
fn small_ephemeral(folder: &Path) -> Result<Cleanup> {
    let folder = folder.join("var");
    std::fs::create_dir_all(&folder).context("cannot make the machine's EPHEMERAL")?;
    let mount = Mount::pseudo("tmpfs", folder.display().to_string());
    Kernel.mount(&mount.options(format!("mode=0755,size={EPHEMERAL_MIB}m").as_str()))?;
    Ok(Cleanup::register(move || {
        if let Err(error) = Kernel.unmount(&folder, Unmount::Lazy) {
            say(&format!("cannot unmount {}: {error}", folder.display()));
        }
    }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_fault_of_the_story_is_in_the_table() {
        let known: Vec<&str> = corten_diagnose::table().map(|diagnosis| diagnosis.id).collect();
        let sources = [include_str!("doctor.rs"), include_str!("doctor/stranger.rs")];
        let ids: std::collections::BTreeSet<&str> =
            sources.iter().flat_map(|source| source.split('"')).filter(|word| known.contains(word)).collect();
        assert!(ids.len() >= 20, "{} faults: {ids:?}", ids.len());
    }
}
