//! The machine's end of the tunnel, as the machine tells it, and as its kernel does where this host can look inside.
//!
//! ```text
//! talosctl ─▶ manager ─▶ tunnel ─▶ machine: LinkStatus, SiderolinkStatus
//! container machine: /sys/class/net in it, `wg show` in its network
//! ```
//!
//! A QEMU machine has a kernel of its own, with WireGuard, and no shell in which `wg` could be run. There the machine
//! reads what `wg show` reads, by the same calls of its kernel, and the manager sees the other half of each handshake.

use std::fs;
use std::net::IpAddr;

use anyhow::{Context, Result, anyhow, ensure};
use corten_harness::ContainerMachine;
use serde_json::Value;

use crate::cx::{Cx, say};
use crate::fleet::{ASK_MAX, Manager, documents, kind};
use crate::inside;
use crate::machine::{Machine, Mode};
use crate::tool::Tool;

/// Name of the link, and what its largest packet has, bytes (fleet.md 1.2).
const LINK: &str = "siderolink";
const MTU: u64 = 1280;
/// What the kernel calls its own WireGuard.
const WIREGUARD: &str = "wireguard";
/// Types of a machine's resources.
const LINK_STATUS: &str = "LinkStatuses.net.talos.dev";
const SIDEROLINK_STATUS: &str = "SiderolinkStatuses.siderolink.talos.dev";

/// A machine of our image that has joined.
#[derive(Clone, Copy, Debug)]
pub struct Joined<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Its UUID.
    pub uuid: &'a str,
    /// Its address in the network that it shares with the manager.
    pub address: IpAddr,
}

/// Proves what is so with the link of a machine; `when` ends the sentences.
pub fn prove(cx: &mut Cx, manager: &Manager, joined: Joined<'_>, when: &str) {
    let talosctl = talosctl(cx, manager, joined.uuid);
    let has_own_kernel = cx.mode() == Mode::Qemu;
    let mut found = Value::Null;
    cx.case(&format!("the machine has the link `{LINK}` with room for {MTU} bytes {when}"), || {
        let talosctl = talosctl.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        let (link, _) = manager.until("the link", ASK_MAX, || shown(talosctl, LINK_STATUS, LINK))?;
        ensure!(link["mtu"].as_u64() == Some(MTU), "its MTU is {}", link["mtu"]);
        let is_kernels = link["kind"] == WIREGUARD;
        ensure!(is_kernels || !has_own_kernel, "the kernel of the image has no WireGuard: {}", link["kind"]);
        found = link["kind"].clone();
        Ok(())
    });
    cx.figure("link_kind", found);
    cx.case(&format!("the machine and the manager have shaken hands, as both of them tell {when}"), || {
        let talosctl = talosctl.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        manager.until("the machine to be connected", ASK_MAX, || {
            let status = shown(talosctl, SIDEROLINK_STATUS, "siderolink-status")?;
            ensure!(status["connected"] == true && status["linkName"] == LINK, "{status}");
            let link = manager.get(kind::LINK, joined.uuid)?;
            let last = link["spec"]["lastendpoint"].as_str().unwrap_or_default();
            let is_there = last.starts_with(&format!("{}:", joined.address));
            ensure!(link["spec"]["connected"] == true && is_there, "{}", link["spec"]);
            Ok(())
        })?;
        Ok(())
    });
    if let Machine::Container(container) = joined.machine {
        look_inside(cx, container, when);
    }
}

/// talosctl that asks a machine through its manager, with an administrator's key.
fn talosctl(cx: &Cx, manager: &Manager, uuid: &str) -> Result<Tool> {
    let config = cx.folder().join("talosconfig");
    let config = config.to_string_lossy();
    manager.run(&["talosconfig", "--merge=false", "--force", &config])?;
    let talosctl = cx.talosctl()?.env("HOME", cx.folder());
    let talosctl = manager.access(&talosctl, &manager.fleet.administrator()?);
    Ok(talosctl.with(["--talosconfig", &*config, "--nodes", uuid]))
}

/// What a machine says in one of its resources.
fn shown(talosctl: &Tool, kind: &str, id: &str) -> Result<Value> {
    let text = talosctl.run_for(&["get", kind, id, "-o", "json"], ASK_MAX)?;
    let found = documents(&text)?.into_iter().next();
    let mut found = found.with_context(|| format!("the machine shows nothing of {kind} {id}"))?;
    Ok(found["spec"].take())
}

/// What the kernel of this host says about the link in the machine's network.
fn look_inside(cx: &mut Cx, container: &ContainerMachine, when: &str) {
    let mut is_kernels = false;
    cx.case(&format!("this host sees the link in the machine's network {when}"), || {
        let folder = container.root()?.join("sys/class/net").join(LINK);
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mtu = read("mtu")?;
        ensure!(mtu.trim() == MTU.to_string(), "its MTU is {}", mtu.trim());
        is_kernels = read("uevent")?.lines().any(|line| line == format!("DEVTYPE={WIREGUARD}"));
        Ok(())
    });
    if !is_kernels {
        say("this host's kernel has no WireGuard; the machine's is in user space, where `wg` sees nothing");
        return;
    }
    let wg = cx.component("debian/wireguard-tools");
    let wg = wg.map(|folder| Tool::new(folder.join("tree/usr/bin/wg"), "wg"));
    cx.case(&format!("the kernel has shaken hands with the manager, as `wg show` tells {when}"), || {
        let wg = wg?;
        let ask = move || wg.run(&["show", LINK, "latest-handshakes"]);
        let text =
            inside::spawn_inside(container, ask)?.join().map_err(|_| anyhow!("a thread panicked"))???;
        let last = text.split_whitespace().nth(1).and_then(|seconds| seconds.parse::<u64>().ok());
        ensure!(last.is_some_and(|seconds| seconds > 0), "wg shows `{text}`");
        Ok(())
    });
}
