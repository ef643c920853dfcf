//! A machine goes from a blank disk to serving a pod and comes back after a reboot, driven by stock clients only.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use corten_harness::Lab;

use crate::cluster::{ALLOW_PODS_ON_CONTROL_PLANES, Cluster, ClusterPlan, Files, NO_TIME_SERVER};
use crate::cx::{Cx, say};
use crate::machine::{Machine, MachineOptions, Mode};
use crate::ntp::TimeServer;
use crate::tool::Tool;
use crate::wait::until;
use crate::workload;

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let node = Node::tell(cx)?;
    let cluster = node.cluster(cx)?;
    let grace = cluster.limit(60);
    if node.options.mode == Mode::Qemu {
        reboot(cx, &cluster)?;
        health(&cluster)?;
        return node.machine.stop(grace);
    }
    // Containers are not rebooted through the API; their power can go.
    let pod = pod_uid(&cluster.kubectl())?;
    say("power off and on");
    let Node { options, plan, files, machine, .. } = node;
    machine.stop(grace)?;
    let machine = options.start()?;
    let cluster = cx.cluster(plan, files, &machine, Instant::now())?;
    serve_again(cx, &cluster, &pod)?;
    health(&cluster)?;
    machine.stop(grace)
}

/// A machine whose first boot was told: a pod serves, everything was asked, and a patch was applied.
#[derive(Debug)]
pub struct Node {
    /// What it was started from.
    pub options: MachineOptions,
    /// Its cluster.
    pub plan: ClusterPlan,
    /// What its operator keeps.
    pub files: Files,
    /// The machine.
    pub machine: Machine,
    started: Instant,
    time: TimeServer,
}

impl Node {
    /// The story up to the reboot.
    pub fn tell(cx: &mut Cx) -> Result<Self> {
        let options = cx.machine(0)?;
        let lab = options.lab();
        let mut plan = ClusterPlan::of(&options);
        plan.patches.retain(|patch| patch != NO_TIME_SERVER);
        plan.patches.push(format!("machine:\n  time:\n    servers: [{}]\n", lab.gateway));
        let files = generate(cx, &plan)?;
        let started = Instant::now();
        let machine = options.start()?;
        let time = TimeServer::start(&Lab::open(&lab)?, lab.gateway)?;
        let node = Self { options, plan, files, machine, started, time };
        let cluster = node.cluster(cx)?;
        first_boot(cx, &cluster)?;
        ask_everything(&cluster, cx.folder(), &node.time)?;
        patch_without_reboot(&cluster)?;
        drop(cluster);
        Ok(node)
    }

    /// Its cluster, with the clients of this run.
    pub fn cluster(&self, cx: &Cx) -> Result<Cluster<'_>> {
        cx.cluster(self.plan.clone(), self.files.clone(), &self.machine, self.started)
    }
}

/// `gen config` with patches that are shown.
fn generate(cx: &Cx, plan: &ClusterPlan) -> Result<Files> {
    let client = cx.client()?;
    let folder = cx.folder();
    let mut patches = vec![ALLOW_PODS_ON_CONTROL_PLANES.to_owned()];
    patches.extend(plan.patches.iter().cloned());
    let files = Files::at(folder);
    let secrets = folder.join("secrets.yaml").to_string_lossy().into_owned();
    client.run(&["gen", "secrets", "--output-file", &secrets])?;
    let (endpoint, out) = (plan.endpoint(), folder.to_string_lossy().into_owned());
    let mut arguments: Vec<String> =
        ["gen", "config", &plan.name, &endpoint, "--with-secrets", &secrets].map(str::to_owned).into();
    let disk = if cx.mode() == Mode::Qemu { "/dev/vda" } else { "/dev/sda" };
    for (option, value) in [
        ("--output", out.as_str()),
        ("--kubernetes-version", &plan.kubernetes_version),
        ("--additional-sans", "127.0.0.1"),
        ("--install-disk", disk),
    ] {
        arguments.extend([option.to_owned(), value.to_owned()]);
    }
    for (number, patch) in patches.iter().enumerate() {
        say(&format!("patch:\n{patch}"));
        let file = folder.join(format!("patch-{number}.yaml"));
        std::fs::write(&file, patch).context("cannot write a patch")?;
        arguments.extend(["--config-patch".to_owned(), format!("@{}", file.display())]);
    }
    client.run(&arguments)?;
    let talosconfig = files.talosconfig.to_string_lossy().into_owned();
    let config = client.with(["--talosconfig", &talosconfig, "config"]);
    config.run(&["endpoint", &format!("127.0.0.1:{}", plan.api_port)])?;
    config.run(&["node", &plan.node.to_string()])?;
    Ok(files)
}

fn first_boot(cx: &mut Cx, cluster: &Cluster<'_>) -> Result<()> {
    let maintenance = cluster.wait_maintenance()?;
    cx.seconds("maintenance_seconds", maintenance);
    let disks = cluster.run_insecure(&["get", "disks"])?;
    if cx.mode() == Mode::Qemu {
        ensure!(disks.contains("vda"), "the disk is missing:\n{disks}");
    }
    cluster.apply()?;
    let api = cluster.wait_api()?;
    cx.seconds("api_seconds", api);
    cluster.bootstrap()?;
    cluster.fetch_kubeconfig()?;
    let ready = cluster.wait_node_ready()?;
    cx.seconds("ready_seconds", ready);
    cluster.deploy_hello()?;
    let http = cluster.wait_http()?;
    cx.seconds("http_seconds", http);
    health(cluster)
}

/// Asked of the machine, and of every service from here.
fn health(cluster: &Cluster<'_>) -> Result<()> {
    let admin = cluster.admin();
    let limit = cluster.limit(120);
    let wait = format!("--wait-timeout={}s", limit.as_secs());
    let patience = limit + cluster.limit(10);
    say("health, asked of the machine");
    admin.run_for(&["health", &wait], patience)?;
    say("health, asked from here");
    let node = cluster.plan.node.to_string();
    let kubernetes = format!("127.0.0.1:{}", cluster.plan.kubernetes_port);
    let explicit = ["--server=false", "--control-plane-nodes", &node, "--k8s-endpoint", &kubernetes];
    admin.with(["health", &wait]).run_for(&explicit, patience)?;
    Ok(())
}

/// One answer, and what must be in it.
fn expect(tool: &Tool, arguments: &[&str], wanted: &[&str]) -> Result<String> {
    let text = tool.run(arguments)?;
    for word in wanted {
        ensure!(text.contains(word), "`{}` does not show `{word}`:\n{text}", arguments.join(" "));
    }
    Ok(text)
}

fn ask_everything(cluster: &Cluster<'_>, folder: &Path, time: &TimeServer) -> Result<()> {
    let admin = cluster.admin();
    let node = cluster.plan.node.to_string();
    expect(&admin, &["get", "members"], &["HOSTNAME", &node])?;
    expect(&admin, &["get", "machinestatus"], &["machine", "running", "true"])?;
    let services = expect(&admin, &["services"], &["apid", "etcd", "kubelet", "machined", "trustd"])?;
    for line in services.lines().skip(1) {
        ensure!(line.contains("Running") || line.contains("Finished"), "a service is not up:\n{services}");
    }
    expect(&admin, &["get", "services"], &["etcd", "kubelet"])?;
    let pods = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    expect(&admin, &["get", "staticpods"], &pods)?;
    expect(&admin, &["get", "rd"], &["members.cluster.talos.dev", "services.v1alpha1.talos.dev"])?;
    expect(&admin, &["get", "staticpods", "-o", "yaml"], &["kind: Pod", "namespace: k8s"])?;
    for service in ["machined", "kubelet", "etcd"] {
        let text = admin.run(&["logs", service, "--tail", "20"])?;
        ensure!(!text.trim().is_empty(), "the log of {service} is empty");
    }
    expect(&admin, &["read", "/etc/os-release"], &["NAME="])?;
    expect(&admin, &["ls", "-l", "/var"], &["lib", "log"])?;
    expect(&admin, &["memory"], &["TOTAL", "AVAILABLE"])?;
    expect(&admin, &["mounts"], &["/var"])?;
    expect(&admin, &["version"], &["Server:", "Tag:"])?;
    expect(&admin, &["time"], &["NTP-SERVER", "SERVER-TIME"])?;
    ensure!(time.answers() > 0, "nobody asked the time server");
    follow(cluster, &admin, folder)
}

/// What does not end by itself.
fn follow(cluster: &Cluster<'_>, admin: &Tool, folder: &Path) -> Result<()> {
    let node = cluster.plan.node.to_string();
    let endless: [(&str, &[&str], &str); 3] = [
        ("dmesg", &["dmesg", "-f"], &node),
        ("events", &["events", "--tail", "-1"], "machined"),
        ("logs", &["logs", "-f", "kubelet"], &node),
    ];
    for (name, arguments, wanted) in endless {
        let mut follower = admin.follow(arguments, &folder.join(format!("{name}.txt")))?;
        until(cluster.machine, name, cluster.limit(20), || {
            follower.check_alive()?;
            ensure!(follower.text()?.contains(wanted), "`{wanted}` did not come");
            Ok(())
        })?;
    }
    Ok(())
}

/// A label in the machine's configuration arrives in Kubernetes, and nothing starts again.
fn patch_without_reboot(cluster: &Cluster<'_>) -> Result<()> {
    let patch = "machine:\n  nodeLabels:\n    e2e.corten/patched: \"yes\"\n";
    say(&format!("patch machineconfig:\n{patch}"));
    let boots = cluster.machine.boots()?;
    let before = boot_id(cluster)?;
    cluster.admin().run(&["patch", "machineconfig", "--mode=no-reboot", "--patch", patch])?;
    let kubectl = cluster.kubectl();
    cluster.step("the new label on the node", 60, || {
        let nodes = kubectl.run(&["get", "nodes", "-l", "e2e.corten/patched=yes", "-o", "name"])?;
        ensure!(nodes.starts_with("node/"), "no node has it");
        Ok(())
    })?;
    ensure!(boot_id(cluster)? == before && cluster.machine.boots()? == boots, "the machine has rebooted");
    Ok(())
}

fn boot_id(cluster: &Cluster<'_>) -> Result<String> {
    cluster.admin().run(&["read", "/proc/sys/kernel/random/boot_id"])
}

/// A reboot that the client waits for.
fn reboot(cx: &mut Cx, cluster: &Cluster<'_>) -> Result<()> {
    let pod = pod_uid(&cluster.kubectl())?;
    let began = Instant::now();
    let limit = cluster.limit(120);
    let timeout = format!("--timeout={}s", limit.as_secs());
    say("reboot --wait");
    cluster.admin().run_for(&["reboot", "--wait", &timeout], limit + cluster.limit(10))?;
    cx.seconds("reboot_seconds", began.elapsed().as_secs_f64());
    serve_again(cx, cluster, &pod)
}

fn pod_uid(kubectl: &Tool) -> Result<String> {
    kubectl.run(&["get", "pod", "hello", "-o", "jsonpath={.metadata.uid}"])
}

/// After a start the same pod serves again, which a new probe sees.
fn serve_again(cx: &mut Cx, cluster: &Cluster<'_>, pod: &str) -> Result<()> {
    let began = Instant::now();
    let kubectl = cluster.kubectl();
    cluster.wait_node_ready()?;
    cluster.step("the old probe to be gone", 60, || {
        kubectl.run(&["delete", "pod", "probe", "--ignore-not-found", "--grace-period=1"])
    })?;
    cluster.step("a new probe", 60, || kubectl.feed(&["apply", "-f", "-"], workload::PROBE))?;
    cluster.step("a page after the start", 120, || cluster.page())?;
    cx.seconds("again_http_seconds", began.elapsed().as_secs_f64());
    ensure!(pod_uid(&kubectl)? == pod, "another pod serves");
    Ok(())
}
