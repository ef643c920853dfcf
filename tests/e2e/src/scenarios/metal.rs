//! The image for real hardware starts its own kernel from firmware, finds its disk, and
//! takes a configuration.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::cluster::{ClusterPlan, Files};
use crate::cx::Cx;

/// Tells the story.
pub fn run(cx: &mut Cx) -> Result<()> {
    let options = cx.machine(0)?;
    let plan = ClusterPlan::of(&options);
    let files = Files::write(&plan, cx.folder())?;
    let machine = options.start()?;
    let cluster = cx.cluster(plan, files, &machine, Instant::now())?;
    let maintenance = cluster.wait_maintenance()?;
    cx.seconds("maintenance_seconds", maintenance);
    cx.case("the disk is there", || {
        let disks = cluster.run_insecure(&["get", "disks"])?;
        ensure!(disks.contains("vda"), "the disk is missing:\n{disks}");
        Ok(())
    });
    cluster.apply()?;
    let api = cluster.wait_api()?;
    cx.seconds("api_seconds", api);
    let admin = cluster.admin();
    cx.case("the kernel is the one for hardware", || {
        let version = admin.run(&["read", "/proc/version"])?;
        ensure!(!version.contains("cloud"), "it is the one for virtual machines: {version}");
        let release = admin.run(&["read", "/etc/os-release"])?;
        ensure!(release.contains("VARIANT_ID=metal"), "the image is another: {release}");
        Ok(())
    });
    let grace = cluster.limit(60);
    machine.stop(grace)
}
