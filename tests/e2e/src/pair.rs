//! A control plane and a worker of one cluster, each a machine in the same network, driven over ports of the loopback.
//!
//! ```text
//! client ─▶ port of the control plane ─▶ its apid ─┬▶ its machined
//!                                                  └▶ apid of the worker
//! ```

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cluster::{Cluster, ClusterPlan, Files};
use crate::cx::Cx;
use crate::machine::{Machine, MachineOptions};
use crate::tool::Tool;

/// Two machines, switched on and not configured yet.
#[derive(Debug)]
pub struct Pair {
    /// How they were started: the control plane, the worker.
    pub options: [MachineOptions; 2],
    /// What the cluster is like.
    pub plan: ClusterPlan,
    /// Files of its operator.
    pub files: Files,
    /// The control plane.
    pub control_plane: Machine,
    /// The worker.
    pub worker: Machine,
    started: Instant,
}

impl Pair {
    /// Switches both on; `change` may change what the cluster shall be like.
    pub fn start(cx: &Cx, change: impl FnOnce(&mut ClusterPlan)) -> Result<Self> {
        let options = [cx.member(0, "")?, cx.member(1, "")?];
        let mut plan = ClusterPlan::of(&options[0]);
        change(&mut plan);
        let files = Files::write(&plan, cx.folder())?;
        let started = Instant::now();
        let (control_plane, worker) = (options[0].start()?, options[1].start()?);
        Ok(Self { options, plan, files, control_plane, worker, started })
    }

    /// The control plane with its clients.
    pub fn cluster<'a>(&'a self, cx: &Cx) -> Result<Cluster<'a>> {
        cx.cluster(self.plan.clone(), self.files.clone(), &self.control_plane, self.started)
    }

    /// The worker's address in the network of both.
    #[must_use]
    pub fn worker_address(&self) -> Ipv4Addr {
        self.options[1].address()
    }

    /// Asks the worker in maintenance, over its own port. The options stand behind the command, which has to know them.
    pub fn ask_worker(&self, client: &Tool, arguments: &[&str]) -> Result<String> {
        let node = format!("{}:{}", Ipv4Addr::LOCALHOST, self.options[1].api_port);
        let all: Vec<&str> = arguments.iter().copied().chain(["--insecure", "--nodes", &node]).collect();
        client.run(&all)
    }

    /// The administrator's client of the worker, through the control plane.
    #[must_use]
    pub fn worker_admin(&self, client: &Tool) -> Tool {
        let talosconfig = self.files.talosconfig.to_string_lossy();
        client.with(["--talosconfig", &talosconfig, "--nodes", &self.worker_address().to_string()])
    }

    /// From two machines in maintenance to two Ready nodes.
    pub fn bring_up(&self, cx: &Cx) -> Result<()> {
        let cluster = self.cluster(cx)?;
        cluster.wait_maintenance()?;
        cluster.apply()?;
        let client = &cluster.client;
        cluster.step("maintenance of the worker", 60, || self.ask_worker(client, &["get", "disks"]))?;
        let file = self.files.worker.to_string_lossy().into_owned();
        let apply = ["apply-config", "--file", &file];
        cluster.step("the worker to take its configuration", 60, || self.ask_worker(client, &apply))?;
        cluster.wait_api()?;
        cluster.bootstrap()?;
        cluster.fetch_kubeconfig()?;
        let worker = self.worker_admin(&cluster.client);
        cluster.step("the worker through the control plane", 60, || worker.run(&["version"]))?;
        self.wait_ready(&cluster).map(drop)
    }

    /// Kubernetes says that both nodes are Ready.
    pub fn wait_ready(&self, cluster: &Cluster<'_>) -> Result<f64> {
        let kubectl = cluster.kubectl();
        let path = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
        cluster.step("two Ready nodes", 180, || {
            let status = kubectl.run(&["get", "nodes", "-o", path])?;
            ensure!(status == "True True", "the status of Ready is `{status}`");
            Ok(())
        })
    }

    /// Name of the worker's node.
    pub fn worker_node(&self, cluster: &Cluster<'_>) -> Result<String> {
        let text = self.worker_admin(&cluster.client).run(&[
            "get",
            "nodename",
            "-o",
            "jsonpath={.spec.nodename}",
        ])?;
        text.lines().next().map(|line| line.trim().to_owned()).context("the worker has no name")
    }

    /// Presses the power buttons.
    pub fn stop(self, grace: std::time::Duration) -> Result<()> {
        self.worker.stop(grace)?;
        self.control_plane.stop(grace)
    }
}
