//! What is given to those who are asked for help: the support bundle, and what the doctor says.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Role, Scene};
use crate::cx::Cx;

/// Files for those who are asked for help.
pub(super) fn check(cx: &mut Cx, scene: &Scene<'_>) -> Result<()> {
    let token = std::fs::read_to_string(&scene.pair.files.controlplane)?;
    let token =
        token.lines().find_map(|line| line.trim().strip_prefix("token: ")).context("no token")?.to_owned();
    let folder = cx.folder().to_owned();
    for client in [&scene.talosctl, &scene.corten] {
        let (tool, name) = (scene.admin(client, Role::ControlPlane), client.name().to_owned());
        let file = folder.join(format!("{name}-support.zip"));
        cx.case(&format!("{name} collects a support bundle"), || {
            let place = file.to_string_lossy().into_owned();
            tool.run_for(&["support", "-O", &place], scene.cluster.limit(300))?;
            let read = read_bundle(&file, &scene.pair.plan.node.to_string())?;
            for name in
                ["dmesg.log", "service-logs/kubelet.log", "resources/machinestatuses.runtime.talos.dev.yaml"]
            {
                ensure!(read.iter().any(|known| known == name), "{name} is not in it");
            }
            Ok(())
        });
    }
    cx.case("no secret stands in the bundle of corten", || {
        let bytes = std::fs::read(folder.join("corten-support.zip"))?;
        let files = corten_bundle::unpack(&bytes, BUNDLE_BYTES_MAX)?;
        for (name, bytes) in files.iter() {
            let text = String::from_utf8_lossy(bytes);
            ensure!(!text.contains(&token) && !text.contains("PRIVATE KEY-----\nM"), "{name} has a secret");
        }
        Ok(())
    });
    cx.case("a machine that is well has nothing to complain of", || {
        let tool = scene.admin(&scene.corten, Role::ControlPlane);
        let output = tool.output(&["doctor", "-o", "json"], None, scene.cluster.limit(120))?;
        let all: Value = serde_json::from_str(&output.stdout).with_context(|| output.stderr.clone())?;
        let findings = all[0]["findings"].as_array().context("nothing was looked for")?;
        // Nothing is around the network of the machines.
        let is_bearable = |id: &Value| id.as_str().is_some_and(|id| corten_diagnose::BEARABLE.contains(&id));
        let wrong: Vec<_> = findings.iter().filter(|finding| !is_bearable(&finding["id"])).collect();
        ensure!(wrong.is_empty(), "{wrong:?}");
        Ok(())
    });
    Ok(())
}

/// Largest bundle that is read.
const BUNDLE_BYTES_MAX: usize = 1 << 30;

/// Files of a machine in a bundle, without its folder.
fn read_bundle(file: &Path, node: &str) -> Result<Vec<String>> {
    let bytes = std::fs::read(file).with_context(|| format!("{} was not written", file.display()))?;
    let files = corten_bundle::unpack(&bytes, BUNDLE_BYTES_MAX)?;
    let prefix = format!("{node}/");
    Ok(files.names().filter_map(|name| name.strip_prefix(&prefix)).map(str::to_owned).collect())
}
