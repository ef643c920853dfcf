//! What is left of a boot: after its power went, after it was shut down in order, and after its kernel has panicked, the
//! next boot says how it ended and has its logs. An image that nobody has signed does not debug the machine.
//!
//! Only an emulated machine panics: one in a container has the kernel of its host.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cluster::{Cluster, ClusterPlan, Files};
use crate::cx::{Cx, say};
use crate::machine::{Machine, Mode};
use crate::tool::Tool;

/// A public key; nobody has its private one.
const KEY: &str = "\
apiVersion: v1alpha1
kind: EtcFileConfig
name: debug/keys/e2e.pem
contents: |
  -----BEGIN PUBLIC KEY-----
  MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE85Pq6UwJNzNzgQyayQDEFuaW0VsE
  6mm+CkC1HYu55hCDq1cV4n8d0uHqT1KaFt0Hh+9CzlpjuZ/GRICDI56bBg==
  -----END PUBLIC KEY-----
";

/// Has the kernel take an interrupt that nobody expects for its end.
const PANIC_ON_INTERRUPT: &str = "unknown_nmi_panic";

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let mut options = cx.machine(0)?;
    if cx.mode() == Mode::Qemu {
        options.kernel_arguments = vec![PANIC_ON_INTERRUPT.to_owned()];
    }
    let plan = ClusterPlan::of(&options);
    let files = Files::write(&plan, cx.folder())?;
    let machine = options.start()?;
    {
        let cluster = cx.cluster(plan.clone(), files.clone(), &machine, Instant::now())?;
        cluster.bring_up()?;
        wait_for_ends(&cluster, &["running"])?;
        unsigned_is_refused(cx, &cluster)?;
        wait_for_disk(&cluster)?;
    }
    say("the power goes");
    machine.cut_power()?;
    let machine = options.start()?;
    {
        let cluster = cx.cluster(plan.clone(), files.clone(), &machine, Instant::now())?;
        wait_for_ends(&cluster, &["power-loss", "running"])?;
        logs_are_there(cx, &cluster)?;
    }
    let grace = cx.cluster(plan.clone(), files.clone(), &machine, Instant::now())?.limit(60);
    machine.stop(grace)?;
    let machine = options.start()?;
    {
        let cluster = cx.cluster(plan, files, &machine, Instant::now())?;
        wait_for_ends(&cluster, &["power-loss", "requested", "running"])?;
        let boots = boots(&cluster)?;
        let reason = boots.get(1).map(|boot| boot["reason"].as_str().unwrap_or_default().to_owned());
        ensure!(
            reason.is_some_and(|reason| reason.contains("at the machine")),
            "who asked is not told: {boots:?}"
        );
        if cx.mode() == Mode::Qemu {
            panics(&machine, &cluster)?;
        }
    }
    machine.stop(grace)
}

/// Specifications of the boots that the machine knows, the oldest first.
fn boots(cluster: &Cluster<'_>) -> Result<Vec<Value>> {
    let text = cluster.admin().run(&["get", "bootrecords", "-o", "json"])?;
    let boots = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let specs = boots.map(|boot| Ok(boot.context("no JSON")?["spec"].clone()));
    specs.collect()
}

fn wait_for_ends(cluster: &Cluster<'_>, expected: &[&str]) -> Result<()> {
    let ask = || {
        let boots = boots(cluster)?;
        let ends: Vec<&str> = boots.iter().filter_map(|boot| boot["end"].as_str()).collect();
        ensure!(ends == expected, "{ends:?} instead of {expected:?}");
        Ok(())
    };
    cluster.step(&format!("boots that ended {expected:?}"), 180, ask).map(drop)
}

/// What machined has said so far is on the disk.
fn wait_for_disk(cluster: &Cluster<'_>) -> Result<()> {
    let kept = || {
        let on_disk = cluster.admin().run(&["logs", "machined@0"])?;
        ensure!(on_disk.contains("the machine is running"), "not all is written yet");
        Ok(())
    };
    cluster.step("the logs to be on the disk", 60, kept).map(drop)
}

/// The kernel panics and starts the machine again: its last words are kept, and the logs of before.
fn panics(machine: &Machine, cluster: &Cluster<'_>) -> Result<()> {
    wait_for_disk(cluster)?;
    say("the kernel panics");
    machine.qemu()?.qmp()?.interrupt()?;
    wait_for_ends(cluster, &["power-loss", "requested", "panic", "running"])?;
    let boots = boots(cluster)?;
    let reason = boots.get(2).map(|boot| boot["reason"].as_str().unwrap_or_default().to_owned());
    ensure!(reason.is_some_and(|reason| reason.contains("NMI")), "why is not told: {boots:?}");
    for (log, words) in [
        ("panic@-1", "Kernel panic"),
        ("kernel@-1", "Linux version"),
        ("console@-1", "machined: "),
        ("machined@-1", "the machine is running"),
    ] {
        let text = cluster.admin().run(&["logs", log])?;
        ensure!(text.contains(words), "{words:?} is not in {log}:\n{text}");
    }
    Ok(())
}

/// Logs of the boot before are readable, those of its kernel too where the kernel is the machine's own.
fn logs_are_there(cx: &Cx, cluster: &Cluster<'_>) -> Result<()> {
    let admin = cluster.admin();
    let log = |name: &str| admin.run(&["logs", name]);
    let machined = log("machined@-1")?;
    ensure!(machined.contains("task starts"), "machined@-1:\n{machined}");
    for service in ["etcd@-1", "kubelet@-1", "apid@-1", "etcd@1"] {
        ensure!(!log(service)?.is_empty(), "{service} is empty");
    }
    let before = log("etcd@-1")?;
    let last = before.lines().rfind(|line| !line.is_empty()).context("etcd@-1 has no lines")?;
    // There is no log of a service that has not been started yet.
    cluster.step("the log of etcd", 120, || {
        ensure!(log("etcd")?.contains(last), "it forgets what was before the power went");
        Ok(())
    })?;
    if cx.mode() == Mode::Qemu {
        let kernel = log("kernel@-1")?;
        ensure!(kernel.contains("Linux version"), "kernel@-1:\n{kernel}");
        ensure!(log("console@-1")?.contains("machined: "), "the console says nothing");
    }
    admin.refuse(&["logs", "etcd@99"])?;
    Ok(())
}

/// Without a key nobody debugs, with one nobody without a signature; neither leaves a mark.
fn unsigned_is_refused(cx: &Cx, cluster: &Cluster<'_>) -> Result<()> {
    let talosconfig = cluster.files.talosconfig.to_string_lossy();
    let corten = Tool::new(cx.program("corten")?, "corten");
    let corten = corten.with(["--talosconfig", &talosconfig, "--nodes", &cluster.plan.node.to_string()]);
    let images = corten.run(&["image", "--namespace", "system", "list", "-o", "json"])?;
    let images: Value = serde_json::from_str(&images).context("no JSON")?;
    let image = images[0]["name"].as_str().context("the machine has no image")?.to_owned();
    let debug = ["debug", &image, "--namespace", "system"];
    let refused = corten.refuse(&debug)?;
    ensure!(refused.contains("no key is trusted"), "{refused}");
    let patch = cx.folder().join("debug-key.yaml");
    std::fs::write(&patch, KEY).context("cannot write a patch")?;
    corten.run(&["patch", "machineconfig", "--patch", &format!("@{}", patch.display())])?;
    let ask = || {
        let refused = corten.refuse(&debug)?;
        ensure!(refused.contains("is not signed by any of the trusted keys: e2e"), "{refused}");
        Ok(())
    };
    cluster.step("the key to be trusted", 60, ask)?;
    let touched = corten.run(&["get", "touched", "-o", "json"])?;
    ensure!(!touched.contains("signedBy"), "a session that was refused left a mark:\n{touched}");
    Ok(())
}
