//! Bad input and faults: every sentence of the promise is a case, and a machine that was told nonsense is none the worse.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_harness::cleanup::Cleanup;
use corten_harness::preflight;
use corten_sys::Kernel;
use corten_sys::mount::{Mount, Mounts, Unmount};
use corten_sys::signal;

use crate::cluster::{Cluster, ClusterPlan, Files, write_secret};
use crate::cx::{Cx, say};
use crate::machine::MachineOptions;
use crate::tool::{Follower, Tool};
use crate::wait::until;
use crate::workload;

/// Size of the EPHEMERAL that is filled.
const EPHEMERAL_MIB: u64 = 3072;
/// Messages larger than this are refused on both sides.
const MESSAGE_MAX: usize = 32 << 20;
/// What a client has read at least when an answer has begun: more than its own files.
const BEGUN_BYTES: u64 = 512 << 10;
/// SIGSTOP.
const STOP: i32 = 19;
/// Moments of the first boot at which the power goes, in milliseconds after power-on.
const CUTS_MS: [u64; 5] = [50, 250, 700, 1500, 3000];

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    host_faults(cx)?;
    power_faults(cx)?;
    let options = cx.machine(0)?;
    let _mounted = small_ephemeral(&options)?;
    let plan = ClusterPlan::of(&options);
    let files = Files::write(&plan, cx.folder())?;
    let started = Instant::now();
    let machine = options.start()?;
    let cluster = cx.cluster(plan, files, &machine, started)?;
    cluster.wait_maintenance()?;
    wrong_configurations(cx, &cluster, "in maintenance")?;
    cluster.bring_up()?;
    wrong_configurations(cx, &cluster, "of a running machine")?;
    strangers(cx, &cluster)?;
    rude_clients(cx, &cluster)?;
    missing_image(cx, &cluster);
    full_ephemeral(cx, &cluster, &options.folder.join("var"));
    let grace = cluster.limit(60);
    machine.stop(grace)
}

/// A host that lacks something is told in one sentence, before anything is started.
fn host_faults(cx: &mut Cx) -> Result<()> {
    let options = cx.machine(9)?;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, options.api_port)).context("cannot take a port")?;
    cx.case("a taken port gives one sentence that names it", || {
        let misses = preflight::ports(&[options.api_port]);
        ensure!(misses.len() == 1 && misses[0].contains(&options.api_port.to_string()), "{misses:?}");
        let refused = options.start().err().context("a machine was started on a taken port")?;
        ensure!(format!("{refused:#}").contains(&options.api_port.to_string()), "{refused:#}");
        Ok(())
    });
    drop(taken);
    cx.case("a missing image names the command that makes it", || {
        let mut without = options.clone();
        without.image = "/nonexistent".into();
        let refused = without.start().err().context("a machine was started without an image")?;
        ensure!(format!("{refused:#}").contains("cargo xtask image"), "{refused:#}");
        Ok(())
    });
    cx.case("a missing package is named", || {
        let refused = corten_harness::qemu::find_uefi(Path::new("/nonexistent")).err();
        let refused = refused.context("there was firmware")?;
        ensure!(format!("{refused:#}").contains("package ovmf"), "{refused:#}");
        Ok(())
    });
    cx.case("this host's kernel has what a machine needs", || {
        let missing = preflight::container_machine();
        ensure!(missing.is_empty(), "{missing:?}");
        Ok(())
    });
    Ok(())
}

/// The power goes at moments of the first boot, and the machine comes up all the same.
fn power_faults(cx: &mut Cx) -> Result<()> {
    let options = cx.machine(1)?;
    let plan = ClusterPlan::of(&options);
    let files = Files::write(&plan, &options.folder.join("client"))?;
    for moment in CUTS_MS {
        let machine = options.start()?;
        let cluster = cx.cluster(plan.clone(), files.clone(), &machine, Instant::now())?;
        let moment = Duration::from_millis(moment);
        while cluster.started.elapsed() < moment {
            // The configuration is sent as soon as the machine takes it; that it does not yet is no fault.
            let _ = cluster.apply();
        }
        machine.cut_power()?;
    }
    let machine = options.start()?;
    let cluster = cx.cluster(plan, files, &machine, Instant::now())?;
    let sentence = format!("after {} losses of power in its first boot the machine serves", CUTS_MS.len());
    cx.case(&sentence, || {
        resume(&cluster)?;
        cluster.deploy_hello()?;
        cluster.wait_http().map(drop)
    });
    machine.cut_power()
}

/// From whatever a loss of power has left to a Ready node.
pub(super) fn resume(cluster: &Cluster<'_>) -> Result<()> {
    let admin = cluster.admin();
    cluster.step("the machine to take or have its configuration", 120, || {
        if admin.run_for(&["version"], cluster.limit(10)).is_ok() { Ok(()) } else { cluster.apply() }
    })?;
    cluster.wait_api()?;
    cluster.bootstrap()?;
    cluster.fetch_kubeconfig()?;
    cluster.wait_node_ready()?;
    Ok(())
}

fn wrong_configurations(cx: &mut Cx, cluster: &Cluster<'_>, when: &str) -> Result<()> {
    let good = std::fs::read_to_string(&cluster.files.controlplane)?;
    let one_more = |line: &str| good.replacen("\nmachine:\n", &format!("\nmachine:\n{line}\n"), 1);
    let indent = good.lines().skip_while(|line| *line != "machine:").nth(1).unwrap_or_default();
    let indent = " ".repeat(indent.len() - indent.trim_start().len());
    let kind = "---\napiVersion: v1alpha1\nkind: HostnameConfig\nauto: stable\n";
    let wrong = [
        ("an unknown key", one_more(&format!("{indent}nonsense: 1")), vec!["nonsense", "line"]),
        ("a wrong type", one_more(&format!("{indent}sysctls: [a, b]")), vec!["sysctls", "line"]),
        ("a missing CA", without_ca(&good), vec!["ca"]),
        ("two documents of one kind", format!("{good}\n{kind}{kind}"), vec!["HostnameConfig", "line"]),
        (
            "two mistakes, both told,",
            one_more(&format!("{indent}nonsense: 1\n{indent}sysctls: [a, b]")),
            vec!["nonsense", "sysctls"],
        ),
    ];
    let before = state(cluster, when)?;
    for (what, text, wanted) in wrong {
        let file = cx.folder().join("wrong.yaml");
        write_secret(&file, &text)?;
        cx.case(&format!("{what} in a configuration {when} is refused with its place"), || {
            let said = send(cluster, &file, when)?.failure()?;
            for word in wanted {
                ensure!(said.contains(word), "`{word}` is not in: {said}");
            }
            ensure!(said.contains("InvalidArgument"), "the code is another: {said}");
            Ok(())
        });
    }
    let after = state(cluster, when)?;
    cx.case(&format!("wrong configurations {when} change nothing"), || {
        ensure!(before == after, "before:\n{before}\nafter:\n{after}");
        Ok(())
    });
    Ok(())
}

fn send(cluster: &Cluster<'_>, file: &Path, when: &str) -> Result<crate::tool::Output> {
    let file = file.to_string_lossy();
    let command = ["apply-config", "--file", &file];
    match when {
        "in maintenance" => cluster.output_insecure(&command),
        _ => cluster.admin().output(&command, None, cluster.limit(20)),
    }
}

/// The machine's stage, and its configuration if it has one.
fn state(cluster: &Cluster<'_>, when: &str) -> Result<String> {
    if when == "in maintenance" {
        return cluster.run_insecure(&["get", "machinestatus", "-o", "jsonpath={.spec}"]);
    }
    let admin = cluster.admin();
    let stage = admin.run(&["get", "machinestatus", "-o", "jsonpath={.spec}"])?;
    Ok(stage + &admin.run(&["get", "machineconfig", "v1alpha1", "-o", "yaml"])?)
}

/// The configuration without `machine.ca`.
fn without_ca(good: &str) -> String {
    let mut lines = Vec::new();
    let (mut in_machine, mut ca_indent) = (false, None);
    for line in good.lines() {
        let indent = line.len() - line.trim_start().len();
        if indent == 0 {
            in_machine = line.starts_with("machine:");
        }
        if ca_indent.is_some_and(|ca| indent > ca) {
            continue;
        }
        ca_indent = (in_machine && ca_indent.is_none() && line.trim_start() == "ca:").then_some(indent);
        if ca_indent.is_none() {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

/// Who is not entitled gets the code that Talos gives.
fn strangers(cx: &mut Cx, cluster: &Cluster<'_>) -> Result<()> {
    let folder = cx.folder().to_owned();
    let foreign = Files::write(&cluster.plan, &folder.join("foreign"))?;
    cx.case("a client with a foreign CA is not talked to", || {
        let config = foreign.talosconfig.to_string_lossy();
        let said = cluster.client.with(["--talosconfig", &config]).refuse(&["version"])?;
        ensure!(said.contains("Unavailable"), "{said}");
        Ok(())
    });
    cx.case("a client without a certificate is not talked to", || {
        let said = cluster.output_insecure(&["version"])?.failure()?;
        ensure!(said.contains("Unavailable"), "{said}");
        Ok(())
    });
    let reader = folder.join("reader").to_string_lossy().into_owned();
    cluster.admin().run(&["config", "new", &reader, "--roles", "os:reader"])?;
    let endpoint = format!("127.0.0.1:{}", cluster.plan.api_port);
    let node = cluster.plan.node.to_string();
    let reader = cluster.client.with(["--talosconfig", &reader, "--endpoints", &endpoint, "--nodes", &node]);
    cx.case("a reader may read", || reader.run(&["version"]).map(drop));
    let file = cluster.files.controlplane.to_string_lossy().into_owned();
    let denied: [(&str, &[&str]); 4] = [
        ("reboot", &["reboot", "--wait=false"]),
        ("bootstrap", &["bootstrap"]),
        ("change the configuration", &["apply-config", "--file", &file]),
        ("see secrets", &["get", "osrootsecrets"]),
    ];
    for (what, arguments) in denied {
        cx.case(&format!("a reader may not {what}"), || {
            let said = reader.refuse(arguments)?;
            ensure!(said.contains("PermissionDenied"), "{said}");
            Ok(())
        });
    }
    Ok(())
}

/// One client's manners are no other client's trouble.
fn rude_clients(cx: &mut Cx, cluster: &Cluster<'_>) -> Result<()> {
    let admin = cluster.admin();
    let folder = cx.folder().to_owned();
    let large = folder.join("large.yaml");
    let good = std::fs::read_to_string(&cluster.files.controlplane)?;
    write_secret(&large, &format!("{good}\n# {}\n", "x".repeat(MESSAGE_MAX)))?;
    cx.case("an oversize message is refused", || {
        let said = send(cluster, &large, "of a running machine")?.failure()?;
        ensure!(said.contains("ResourceExhausted"), "{said}");
        serves(&admin)
    });
    std::fs::remove_file(&large)?;
    let slow: Vec<_> = (0..20)
        .map(|number| admin.follow(&["dmesg", "-f"], &folder.join(format!("slow-{number}.txt"))))
        .collect::<Result<_>>()?;
    cx.case("20 readers that stand still hurt nobody", || {
        for reader in &slow {
            signal::send(reader.pid(), STOP)?;
        }
        serves(&admin)
    });
    drop(slow);
    cx.case("20 readers of files that stand still in the middle hurt nobody", || {
        let commands: [&[&str]; 2] = [&["list", "--recurse", "/"], &["copy", "/usr", "-"]];
        let stalled =
            commands.iter().cycle().take(20).enumerate().map(|(number, command)| -> Result<Follower> {
                let mut reader = admin.follow(command, &folder.join(format!("stalled-{number}.txt")))?;
                reader.wait_received(BEGUN_BYTES, cluster.limit(20))?;
                signal::send(reader.pid(), STOP)?;
                Ok(reader)
            });
        let mut stalled = stalled.collect::<Result<Vec<Follower>>>()?;
        serves(&admin)?;
        stalled.iter_mut().try_for_each(Follower::check_alive)
    });
    cx.case("streams whose client has said all and only listens go on", || {
        let mut events = admin.follow(&["events", "--tail", "-1"], &folder.join("events.txt"))?;
        until(cluster.machine, "events", cluster.limit(20), || {
            ensure!(!events.text()?.is_empty(), "no event came");
            Ok(())
        })?;
        serves(&admin)?;
        events.check_alive()
    });
    cx.case("connections that say nothing hurt nobody", || {
        let address = (Ipv4Addr::LOCALHOST, cluster.plan.api_port);
        let silent: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(address)).collect();
        serves(&admin)?;
        drop(silent);
        serves(&admin)
    });
    Ok(())
}

/// The machine answers within a few seconds: what it knows, what it asks the kernel for, and what stands in files.
fn serves(admin: &Tool) -> Result<()> {
    let questions: [&[&str]; 5] = [
        &["version"],
        &["logs", "machined", "--tail", "1"],
        &["mounts"],
        &["get", "disks"],
        &["read", "/proc/uptime"],
    ];
    questions.iter().try_for_each(|question| admin.run_for(question, Duration::from_secs(10)).map(drop))
}

/// An image that no source has is named, and so is what helps.
fn missing_image(cx: &mut Cx, cluster: &Cluster<'_>) {
    let admin = cluster.admin();
    cx.case("an image that no source has is named, and what helps too", || {
        let image = "registry.invalid/nothing:1";
        let patch = format!("machine:\n  kubelet:\n    image: {image}\n");
        admin.run(&["patch", "machineconfig", "--mode=no-reboot", "--patch", &patch])?;
        let told = until(cluster.machine, "the missing image to be told", cluster.limit(60), || {
            let said = admin.run(&["service", "kubelet"])?;
            ensure!(said.contains(image) && said.contains("mirror"), "{said}");
            Ok(())
        });
        let good = format!("ghcr.io/siderolabs/kubelet:v{}", cluster.plan.kubernetes_version);
        let patch = format!("machine:\n  kubelet:\n    image: {good}\n");
        admin.run(&["patch", "machineconfig", "--mode=no-reboot", "--patch", &patch])?;
        told?;
        until(cluster.machine, "the kubelet with its image again", cluster.limit(60), || {
            let said = admin.run(&["service", "kubelet"])?;
            ensure!(said.contains("Running"), "{said}");
            Ok(())
        })?;
        cluster.wait_node_ready().map(drop)
    });
}

/// A filesystem of its own in place of the machine's folder, so that it can be filled.
fn small_ephemeral(options: &MachineOptions) -> Result<Cleanup> {
    let folder = options.folder.join("var");
    std::fs::create_dir_all(&folder).context("cannot make the machine's EPHEMERAL")?;
    let mount = Mount::pseudo("tmpfs", folder.display().to_string());
    Kernel.mount(&mount.options(format!("mode=0755,size={EPHEMERAL_MIB}m").as_str()))?;
    Ok(Cleanup::register(move || {
        if let Err(error) = Kernel.unmount(&folder, Unmount::Lazy) {
            say(&format!("cannot unmount {}: {error}", folder.display()));
        }
    }))
}

fn full_ephemeral(cx: &mut Cx, cluster: &Cluster<'_>, ephemeral: &Path) {
    let admin = cluster.admin();
    let file = ephemeral.join("e2e-filler");
    cx.case("a full EPHEMERAL leaves API and logs alive", || {
        let filled = fill(&file).context("cannot fill EPHEMERAL")?;
        say(&format!("{} MiB written until EPHEMERAL was full", filled >> 20));
        // Not for long: a kubelet that sees this evicts pods, and takes no new ones for minutes.
        serves(&admin)?;
        let questions: [&[&str]; 3] =
            [&["services"], &["dmesg", "--tail"], &["logs", "kubelet", "--tail", "5"]];
        questions.iter().try_for_each(|question| admin.run(question).map(drop))
    });
    cx.case("with room again the node is Ready and serves", || {
        std::fs::remove_file(&file)?;
        cluster.wait_node_ready()?;
        let kubectl = cluster.kubectl();
        kubectl.run(&["delete", "pod", "probe", "--ignore-not-found", "--grace-period=1"])?;
        cluster.step("a new probe", 60, || kubectl.feed(&["apply", "-f", "-"], workload::PROBE))?;
        cluster.step("a page", 120, || cluster.page()).map(drop)
    });
}

/// Writes until there is no room; gives how much fitted.
fn fill(path: &Path) -> Result<u64> {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    let block = vec![0x5a_u8; 1 << 20];
    let mut written = 0;
    while written < EPHEMERAL_MIB << 20 {
        match file.write(&block) {
            Ok(count) => written += count as u64,
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(written),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ca_of_the_machine_alone_is_taken_out() {
        let text = "version: v1alpha1\nmachine:\n  ca:\n    crt: a\n    key: b\n  token: t\ncluster:\n  ca:\n    crt: c\n";
        let expected = "version: v1alpha1\nmachine:\n  token: t\ncluster:\n  ca:\n    crt: c\n";
        assert_eq!(without_ca(text), expected);
    }
}
