//! The shortest story: from a blank disk to a Ready node, by stock clients only.

use std::time::Instant;

use anyhow::Result;

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
    cluster.apply()?;
    let api = cluster.wait_api()?;
    cx.seconds("api_seconds", api);
    cluster.bootstrap()?;
    cluster.fetch_kubeconfig()?;
    let ready = cluster.wait_node_ready()?;
    cx.seconds("ready_seconds", ready);
    machine.cut_power()
}
