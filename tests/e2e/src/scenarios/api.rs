//! Every node command of `talosctl`, unmodified, on a control plane and a worker, and the same by `corten`: what it
//! prints is what the machine is, standard error is empty where nothing is wrong, and what is not done yet is refused by
//! name.
//!
//! ```text
//! methods: what talosctl has no command for ─▶ a client that is generated for Talos's programs
//! rows: a command, where it works, words of its answer ─▶ both programs, both machines ─▶ a case each
//! files, streams, etcd, changes ─▶ what needs a name that the machine gave, or leaves something behind
//! ```

mod evidence;
mod methods;
mod rows;

use anyhow::{Context, Result, ensure};
use corten_harness::Lab;
use serde_json::Value;

use self::rows::{COMMANDS, Forms, Role, Row};
use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::ntp::TimeServer;
use crate::pair::Pair;
use crate::tool::{Output, Tool};

/// How a container machine refuses what is its kernel's.
const NOT_IN_CONTAINER: &str = "method is not supported in container mode";

/// Both programs, each with both machines.
struct Scene<'a> {
    pair: &'a Pair,
    cluster: &'a Cluster<'a>,
    /// The client of Talos.
    talosctl: Tool,
    /// Our own.
    corten: Tool,
}

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let lab = cx.member(0, "")?.lab();
    let pair = Pair::start(cx, |plan| {
        let servers = format!("machine:\n  time:\n    servers: [{}]\n", lab.gateway);
        plan.patches.push(servers.clone());
        plan.worker_patches.push(servers);
    })?;
    let _time = TimeServer::start(&Lab::open(&lab)?, lab.gateway)?;
    pair.bring_up(cx)?;
    let cluster = pair.cluster(cx)?;
    cluster.deploy_hello()?;
    cluster.wait_http()?;
    let home =
        |tool: Tool| tool.env("HOME", cx.folder()).env("KUBECONFIG", cx.folder().join("no-kubeconfig"));
    let (talosctl, corten) = (home(cx.talosctl()?), home(Tool::new(cx.program("corten")?, "corten")));
    let scene = Scene { pair: &pair, cluster: &cluster, talosctl, corten };
    every_command(cx, &scene);
    methods::check(cx, &scene, &lab.gateway.to_string())?;
    forms(cx, &scene);
    files(cx, &scene)?;
    containers(cx, &scene);
    etcd(cx, &scene);
    streams(cx, &scene)?;
    configuration(cx, &scene)?;
    evidence::check(cx, &scene)?;
    images(cx, &scene)?;
    refusals(cx, &scene)?;
    restarts(cx, &scene);
    cx.figure("commands", COMMANDS.len());
    let grace = cluster.limit(60);
    drop(cluster);
    pair.stop(grace)
}

impl Scene<'_> {
    /// The program for the machine of a role.
    fn admin(&self, client: &Tool, role: Role) -> Tool {
        match role {
            Role::ControlPlane => {
                let talosconfig = self.pair.files.talosconfig.to_string_lossy();
                client.with(["--talosconfig", &talosconfig, "--nodes", &self.pair.plan.node.to_string()])
            }
            Role::Worker => self.pair.worker_admin(client),
        }
    }

    fn each(&self) -> impl Iterator<Item = (Tool, Role)> {
        let programs = [self.talosctl.clone(), self.corten.clone()];
        let both = programs.into_iter().flat_map(|client| Role::ALL.map(|role| (client.clone(), role)));
        both.map(|(client, role)| (self.admin(&client, role), role))
    }
}

/// The answer of a command with which nothing is wrong.
fn quiet(output: Output) -> Result<String> {
    ensure!(output.stderr.trim().is_empty(), "`{}` said:\n{}", output.line, output.stderr);
    output.success()
}

fn has(text: &str, words: &[&str]) -> Result<()> {
    let missing: Vec<&&str> = words.iter().filter(|word| !text.contains(**word)).collect();
    ensure!(missing.is_empty(), "{missing:?} is not in:\n{text}");
    Ok(())
}

/// Each command of the table, by both programs on both machines.
fn every_command(cx: &mut Cx, scene: &Scene<'_>) {
    for Row { command, only, words, is_theirs } in COMMANDS {
        for (tool, role) in scene.each() {
            let name = tool.name().to_owned();
            if name == "talosctl" && !is_theirs {
                continue;
            }
            cx.case(&format!("{name} {} on a {}", command.join(" "), role.name()), || {
                let output = tool.output(command, None, scene.cluster.limit(60))?;
                match only {
                    Some(where_to) if *where_to != role => {
                        let said = output.failure()?;
                        has(&said, &["only available on control plane nodes"])
                    }
                    _ => has(&quiet(output)?, words),
                }
            });
        }
    }
}

/// What programs read: the forms of `get`, and of every command of our own.
fn forms(cx: &mut Cx, scene: &Scene<'_>) {
    for (tool, role) in scene.each() {
        let name = tool.name().to_owned();
        cx.case(&format!("{name} get prints every form of a resource of a {}", role.name()), || {
            let ask = |form: &str| -> Result<String> {
                quiet(tool.output(&["get", "hostname", "-o", form], None, scene.cluster.limit(30))?)
            };
            let json: Value = serde_json::from_str(&ask("json")?).context("get -o json is no JSON")?;
            let hostname = json["spec"]["hostname"].as_str().context("no hostname")?.to_owned();
            ensure!(json["metadata"]["type"] == "HostnameStatuses.net.talos.dev", "{json}");
            has(&ask("yaml")?, &[&format!("hostname: {hostname}")])?;
            has(&ask("jsonpath={.spec.hostname}")?, &[&hostname])?;
            has(&ask("table")?, &["NAMESPACE", "HostnameStatus", &hostname])
        });
    }
    // An answer without words may well be an empty one.
    let has_rows = |row: &&Row| Forms::of(row.command) == Forms::All && !row.words.is_empty();
    for Row { command, only, .. } in COMMANDS.iter().filter(has_rows) {
        for role in Role::ALL.into_iter().filter(|role| only.is_none_or(|only| only == *role)) {
            let tool = scene.admin(&scene.corten, role);
            cx.case(&format!("corten {} as JSON of a {}", command.join(" "), role.name()), || {
                let command: Vec<&str> = command.iter().copied().chain(["--output", "json"]).collect();
                let text = quiet(tool.output(&command, None, scene.cluster.limit(60))?)?;
                let all: Value = serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
                // `version` tells what the client is, too.
                let rows = all.get("server").unwrap_or(&all).as_array();
                let first = rows.and_then(|rows| rows.first()).context("nothing is in it")?;
                ensure!(first["node"].is_string() && first.get("error").is_none(), "{first}");
                Ok(())
            });
        }
    }
}

/// Files: what is listed is what is read and copied.
fn files(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let folder = cx.folder().join("files");
    std::fs::create_dir_all(&folder)?;
    for (number, (tool, role)) in scene.each().enumerate() {
        let name = tool.name().to_owned();
        let into = folder.join(number.to_string());
        cx.case(&format!("{name} reads and copies the same file of a {}", role.name()), || {
            has(&tool.run(&["read", "/etc/os-release"])?, &["ID=", "VERSION_ID="])?;
            // A regular file; what a link leads to is not copied.
            let (file, place) = ("/etc/cri/containerd.toml", into.to_string_lossy().into_owned());
            let read = tool.run(&["read", file])?;
            has(&read, &["version = "])?;
            tool.run(&["copy", file, &place])?;
            let copied =
                std::fs::read_to_string(into.join("containerd.toml")).context("nothing was copied")?;
            ensure!(copied == read, "copied:\n{copied}\nread:\n{read}");
            has(&tool.run(&["list", "-l", "/etc"])?, &["os-release"])?;
            has(&tool.run(&["usage", "-a", "-d", "1", "/etc"])?, &["os-release"])?;
            let sum = tool.run(&["usage", "-d", "0", "/etc"])?;
            ensure!(sum.lines().count() == 2 && sum.trim_end().ends_with(" ."), "not the sum alone:\n{sum}");
            Ok(())
        });
    }
    let control_plane = |client: &Tool| scene.admin(client, Role::ControlPlane);
    cx.case("both programs list the same files", || {
        let names = |tool: Tool| -> Result<Vec<String>> {
            let text = tool.run(&["list", "/etc/cri"])?;
            let mut names: Vec<String> = text
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().last())
                .map(str::to_owned)
                .collect();
            names.sort();
            Ok(names)
        };
        let (theirs, ours) = (names(control_plane(&scene.talosctl))?, names(control_plane(&scene.corten))?);
        ensure!(theirs == ours && theirs.len() > 1, "{theirs:?} and {ours:?}");
        Ok(())
    });
    Ok(())
}

/// Containers of both namespaces, their logs and statistics, and a restart.
fn containers(cx: &mut Cx, scene: &Scene<'_>) {
    for (tool, role) in scene.each() {
        let name = tool.name().to_owned();
        cx.case(&format!("{name} shows pods, their logs and statistics on a {}", role.name()), || {
            let list = tool.run(&["containers", "-k"])?;
            let id = container(&list, "kube-flannel").context("no container of flannel")?;
            has(&tool.run(&["stats", "-k"])?, &["kube-flannel"])?;
            ensure!(!tool.run(&["logs", "-k", &id, "--tail", "5"])?.is_empty(), "{id} has said nothing");
            Ok(())
        });
    }
    let tool = scene.admin(&scene.talosctl, Role::Worker);
    cx.case("a container that is restarted is another one", || {
        let before = container(&tool.run(&["containers", "-k"])?, "kube-proxy").context("no kube-proxy")?;
        tool.run(&["restart", "-k", &before])?;
        scene.cluster.step("another container", 60, || {
            let now = container(&tool.run(&["containers", "-k"])?, "kube-proxy").context("no kube-proxy")?;
            ensure!(now != before, "it is still {before}");
            Ok(())
        })?;
        scene.pair.wait_ready(scene.cluster).map(drop)
    });
}

/// The id of a running container whose name has this word, from the table of containers.
fn container(table: &str, word: &str) -> Option<String> {
    let line =
        table.lines().find(|line| line.contains("└─") && line.contains(word) && line.contains("RUNNING"))?;
    line.split_whitespace()
        .find(|cell| cell.contains(word) && cell.matches(':').count() >= 2)
        .map(str::to_owned)
}

/// etcd: what both programs say of it is the same, and a snapshot is a whole one.
fn etcd(cx: &mut Cx, scene: &Scene<'_>) {
    let admin = |client: &Tool| scene.admin(client, Role::ControlPlane);
    let folder = cx.folder().to_owned();
    for client in [&scene.talosctl, &scene.corten] {
        let (tool, name) = (admin(client), client.name().to_owned());
        cx.case(&format!("{name} saves a snapshot of etcd"), || {
            let file = folder.join(format!("{name}.snapshot"));
            tool.run(&["etcd", "snapshot", &file.to_string_lossy()])?;
            let size = std::fs::metadata(&file).context("no snapshot was written")?.len();
            ensure!(size > 20_480 && size % 512 == 32, "it has {size} bytes");
            Ok(())
        });
        cx.case(&format!("{name} defragments etcd, and ends alarms that there are not"), || {
            tool.run(&["etcd", "defrag"])?;
            tool.run(&["etcd", "alarm", "disarm"])?;
            has(&tool.run(&["etcd", "members"])?, &["2380"])
        });
        cx.case(&format!("{name} lets etcd go back to the version before, and changes its mind"), || {
            let enable = tool.run(&["etcd", "downgrade", "enable", "3.6"])?;
            has(&enable, &["downgrade enable success"])?;
            has(&tool.run(&["etcd", "downgrade", "cancel"])?, &["downgrade cancel success"])
        });
        cx.case(&format!("{name} removes no member that there is not"), || {
            let said = tool.refuse(&["etcd", "remove-member", "00000000000000ff"])?;
            has(&said, &["NotFound"])
        });
    }
}

/// What goes on until somebody ends it, and what is asked of the whole cluster.
fn streams(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let folder = cx.folder().join("streams");
    std::fs::create_dir_all(&folder)?;
    let files = |name: &str| folder.join(name);
    for (number, (tool, role)) in scene.each().enumerate() {
        let name = tool.name().to_owned();
        cx.case(&format!("{name} follows events and logs of a {}", role.name()), || {
            let followed: [(&[&str], &str); 3] = [
                (&["get", "services", "--watch"], "kubelet"),
                (&["events", "--tail", "-1"], "machine."),
                (&["logs", "-f", "kubelet"], "kubelet"),
            ];
            for (index, (command, word)) in followed.into_iter().enumerate() {
                let mut follower = tool.follow(command, &files(&format!("{number}-{index}.txt")))?;
                scene.cluster.step(&format!("{} to say something", command.join(" ")), 30, || {
                    has(&follower.text()?, &[word])
                })?;
                follower.check_alive()?;
            }
            Ok(())
        });
        cx.case(&format!("{name} captures packets of a {}", role.name()), || {
            let place = files(&format!("{number}.pcap"));
            let command = ["pcap", "-i", "eth0", "--duration", "3s", "-o", &place.to_string_lossy()];
            tool.output(&command, None, scene.cluster.limit(30))?.success()?;
            let bytes = std::fs::read(&place).context("nothing was captured")?;
            ensure!(
                bytes.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]) && bytes.len() > 40,
                "{} bytes",
                bytes.len()
            );
            Ok(())
        });
        cx.case(&format!("{name} makes a client for a reader on a {}", role.name()), || {
            let place = files(&format!("{number}.talosconfig")).to_string_lossy().into_owned();
            let command = ["config", "new", &place, "--roles", "os:reader", "--crt-ttl", "1h"];
            if role == Role::Worker {
                return has(&tool.refuse(&command)?, &["only available on control plane nodes"]);
            }
            tool.run(&command)?;
            has(&std::fs::read_to_string(&place)?, &["context:"])
        });
    }
    for client in [&scene.talosctl, &scene.corten] {
        let (tool, name) = (scene.admin(client, Role::ControlPlane), client.name().to_owned());
        cx.case(&format!("{name} finds the cluster healthy"), || {
            tool.run_for(&["health", "--wait-timeout", "2m"], scene.cluster.limit(150)).map(drop)
        });
    }
    for client in [&scene.talosctl, &scene.corten] {
        let (tool, name) = (scene.admin(client, Role::ControlPlane), client.name().to_owned());
        cx.case(&format!("{name} reads control groups through files"), || {
            has(&tool.run(&["cgroups", "--preset", "memory"])?, &["NAME", "podruntime"])
        });
    }
    Ok(())
}

/// The configuration: shown, patched, edited, tried, META.
fn configuration(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let editor = cx.folder().join("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/zone: a/zone: b/' \"$1\"\n")?;
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let kubectl = scene.cluster.kubectl();
    for client in [&scene.talosctl, &scene.corten] {
        let (tool, name) =
            (scene.admin(client, Role::Worker).env("EDITOR", &editor), client.name().to_owned());
        cx.case(&format!("{name} patches and edits the configuration, and it takes effect"), || {
            let zone = |wanted: &str| {
                scene.cluster.step("the label", 60, || {
                    let labels =
                        kubectl.run(&["get", "nodes", "-l", &format!("zone={wanted}"), "-o", "name"])?;
                    ensure!(labels.lines().count() == 1, "nodes with zone={wanted}: {labels}");
                    Ok(())
                })
            };
            let patch = "machine:\n  nodeLabels:\n    zone: a\n";
            tool.run(&["patch", "machineconfig", "--mode=no-reboot", "--patch", patch])?;
            zone("a")?;
            tool.run(&["edit", "machineconfig", "--mode=no-reboot"])?;
            zone("b")?;
            let patch = "machine:\n  nodeLabels:\n    $patch: delete\n";
            tool.run(&["patch", "machineconfig", "--mode=no-reboot", "--patch", patch])?;
            let patch = r#"[{"op": "remove", "path": "/machine/nodeLabels"}]"#;
            // Which of the documents it means is not said.
            has(&tool.refuse(&["patch", "machineconfig", "--patch", patch])?, &["not supported", "document"])
        });
        let (tool, file) = (scene.admin(client, Role::ControlPlane), scene.pair.files.controlplane.clone());
        cx.case(&format!("{name} tells what a configuration would change"), || {
            let output = tool.output(
                &["apply-config", "--dry-run", "--file", &file.to_string_lossy()],
                None,
                scene.cluster.limit(30),
            )?;
            has(&(output.stdout.clone() + &output.stderr), &["Dry run summary"])?;
            output.success().map(drop)
        });
        cx.case(&format!("{name} writes META and reads it"), || {
            let tool = scene.admin(client, Role::Worker);
            tool.run(&["meta", "write", "0x0c", "e2e"])?;
            has(&tool.run(&["get", "meta", "0x0c"])?, &["e2e"])?;
            tool.run(&["meta", "delete", "0x0c"])?;
            has(&tool.refuse(&["meta", "delete", "0x0c"])?, &["NotFound"])
        });
    }
    Ok(())
}

/// What a container machine does not do, and what belongs to later versions, says so as Talos does or by its name.
fn refusals(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let file = cx.folder().join("talosctl.snapshot").to_string_lossy().into_owned();
    // One that the machine can pull, which both programs do first.
    let image = scene
        .admin(&scene.talosctl, Role::ControlPlane)
        .run(&["get", "kubeletspec", "-o", "jsonpath={.spec.image}"])?
        .trim()
        .to_owned();
    let (leader, worker) = (Role::ControlPlane, Role::Worker);
    let refused: [(&str, Role, &[&str], &str); 11] = [
        ("an upgrade", leader, &["upgrade", "--image", &image], "upgrade is not supported in container mode"),
        ("a rollback", leader, &["rollback"], NOT_IN_CONTAINER),
        ("a restart", worker, &["reboot", "--wait=false"], NOT_IN_CONTAINER),
        ("to turn off", worker, &["shutdown", "--wait=false"], NOT_IN_CONTAINER),
        ("to wipe a disk that there is not", worker, &["wipe", "disk", "vdz"], "NotFound"),
        ("to reset all", worker, &["reset", "--reboot", "--wait=false"], "Reset of the whole disk"),
        ("a second bootstrap", leader, &["bootstrap"], "AlreadyExists"),
        ("recovery of etcd", leader, &["bootstrap", "--recover-from", &file], "recover_etcd"),
        ("to give up etcd's lead", leader, &["etcd", "forfeit-leadership"], "no other member"),
        ("etcd on a worker", worker, &["etcd", "members"], "only available on control plane nodes"),
        ("to stop machined", worker, &["service", "machined", "stop"], "machined"),
    ];
    for client in [&scene.talosctl, &scene.corten] {
        for (what, role, command, word) in refused {
            let tool = scene.admin(client, role);
            cx.case(&format!("{} is refused {what}", tool.name()), || {
                let output = tool.output(command, None, scene.cluster.limit(120))?;
                has(&output.failure()?, &[word])
            });
        }
    }
    for (what, command) in
        [("upgrade-k8s", ["upgrade-k8s", "--to", "1.99.0"]), ("rotate-ca", ["rotate-ca", "--output", "x"])]
    {
        let tool = scene.admin(&scene.corten, Role::ControlPlane);
        cx.case(&format!("corten refuses {what} by its name"), || {
            has(&tool.refuse(&command)?, &[what, "not implemented"])
        });
    }
    let tool = scene.admin(&scene.talosctl, Role::ControlPlane);
    cx.case("talosctl changes nothing when it is asked to upgrade Kubernetes to what there is not", || {
        tool.refuse(&["upgrade-k8s", "--to", "1.99.0", "--dry-run"])?;
        scene.pair.wait_ready(scene.cluster).map(drop)
    });
    Ok(())
}

/// Images come and go, and whoever asks gets a kubeconfig.
fn images(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let image = scene.pair.worker_admin(&scene.talosctl).run(&[
        "get",
        "kubeletspec",
        "-o",
        "jsonpath={.spec.image}",
    ])?;
    let image = image.trim();
    for client in [&scene.talosctl, &scene.corten] {
        let tool = scene.admin(client, Role::Worker);
        cx.case(&format!("{} pulls an image and removes it", tool.name()), || {
            tool.run_for(&["image", "pull", image], scene.cluster.limit(120))?;
            has(&tool.run(&["image", "list"])?, &[image])?;
            tool.run(&["image", "remove", image])?;
            let left = tool.run(&["image", "list"])?;
            ensure!(!left.lines().any(|line| line.split_whitespace().any(|cell| cell == image)), "{left}");
            Ok(())
        });
        let tool = scene.admin(client, Role::ControlPlane);
        let place = cx.folder().join(format!("{}.kubeconfig", tool.name()));
        cx.case(&format!("{} fetches a kubeconfig", tool.name()), || {
            tool.run(&["kubeconfig", &place.to_string_lossy(), "--merge=false"])?;
            let text = std::fs::read_to_string(&place).context("no kubeconfig was written")?;
            has(&text, &["clusters:", &scene.pair.plan.endpoint(), "client-certificate-data:"])
        });
    }
    Ok(())
}

/// A service that is restarted, and a reset that ends a machine's part in the cluster.
fn restarts(cx: &mut Cx, scene: &Scene<'_>) {
    for client in [&scene.talosctl, &scene.corten] {
        let tool = scene.admin(client, Role::Worker);
        cx.case(&format!("{} restarts the kubelet", tool.name()), || {
            has(&tool.run(&["service", "kubelet", "restart"])?, &["kubelet"])?;
            scene.cluster.step("the kubelet to run again", 60, || {
                has(&tool.run(&["service", "kubelet"])?, &["STATE", "Running"])
            })?;
            scene.pair.wait_ready(scene.cluster).map(drop)
        });
    }
    cx.case("corten resets the worker, which waits for a configuration again", || {
        let tool = scene.admin(&scene.corten, Role::Worker);
        let command = ["reset", "--reboot", "--wait=false", "--system-labels-to-wipe", "STATE,EPHEMERAL"];
        tool.run_for(&command, scene.cluster.limit(60))?;
        scene.pair.worker.container()?.wait_for_boot(2, scene.cluster.limit(180))?;
        let client = &scene.talosctl;
        scene
            .cluster
            .step("the worker in maintenance again", 120, || {
                let stage = scene
                    .pair
                    .ask_worker(client, &["get", "machinestatus", "-o", "jsonpath={.spec.stage}"])?;
                ensure!(stage.contains("maintenance"), "its stage is {stage}");
                Ok(())
            })
            .map(drop)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_container_is_found_in_the_table_of_either_program() {
        let table = "NODE       NAMESPACE   ID                                          IMAGE   PID   STATUS\n\
                     10.5.0.2   k8s.io      kube-system/kube-proxy-x                    pause   12    SANDBOX_READY\n\
                     10.5.0.2   k8s.io      └─ kube-system/kube-proxy-x:kube-proxy:0ab1 proxy   13    CONTAINER_RUNNING\n";
        assert_eq!(
            container(table, "kube-proxy").as_deref(),
            Some("kube-system/kube-proxy-x:kube-proxy:0ab1")
        );
        assert_eq!(container(table, "coredns"), None);
    }
}
