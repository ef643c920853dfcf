//! Clients with the wrong papers, and machines that are not there.

use std::net::Ipv4Addr;

use anyhow::Result;

use super::{Fault, Scene, nothing};
use crate::cluster::Files;
use crate::cx::Cx;

/// A port of the loopback where nothing listens.
const NOBODY: u16 = 1;

/// Each is found from what the client itself sees.
pub(super) fn faults(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let node = scene.pair.plan.node.to_string();
    let nowhere = format!("{}:{NOBODY}", Ipv4Addr::LOCALHOST);
    let away = scene.control_plane().with(["--endpoints", &nowhere]);
    Fault::new("a machine that is not there", "unreachable", away).case(cx, scene, nothing, nothing);
    let foreign = Files::write(&scene.pair.plan, &scene.folder.join("foreign"))?;
    let stranger =
        scene.corten.with(["--talosconfig", &foreign.talosconfig.to_string_lossy(), "--nodes", &node]);
    Fault::new("a client of another cluster", "identity-refused", stranger).case(cx, scene, nothing, nothing);
    let papers = scene.folder.join("short").to_string_lossy().into_owned();
    scene.control_plane().run(&["config", "new", &papers, "--roles", "os:admin", "--crt-ttl", "2s"])?;
    let endpoint = format!("{}:{}", Ipv4Addr::LOCALHOST, scene.pair.plan.api_port);
    let late = scene.corten.with(["--talosconfig", &papers, "--endpoints", &endpoint, "--nodes", &node]);
    Fault::new("a client whose certificate has expired", "certificate-expired", late).case(
        cx, scene,
        // The certificate is over before the first question that is not answered for it.
        nothing, nothing,
    );
    Ok(())
}
