//! A cluster behind a manager: from a template to a page that a pod serves, by the programs that users have.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Manager;
use super::template::Template;
use crate::tool::Tool;
use crate::wait::patiently;
use crate::workload;

/// Files of a cluster's operator.
#[derive(Clone, Debug)]
pub struct HostedFiles {
    /// The template.
    pub template: PathBuf,
    /// For kubectl through the manager.
    pub kubeconfig: PathBuf,
    /// For talosctl through the manager.
    pub talosconfig: PathBuf,
}

/// A cluster behind a manager.
pub struct Hosted<'a> {
    /// Its manager.
    pub manager: &'a Manager,
    /// What it shall be.
    pub template: Template,
    /// Its files.
    pub files: HostedFiles,
    /// kubectl, without options.
    pub kubectl: Tool,
    /// When everything began.
    pub started: Instant,
    /// How much longer than on bare metal everything may take.
    pub pace: u32,
    /// Is told each step, when it begins and when it is done.
    pub progress: &'a dyn Fn(&str),
    /// Logs of its machines.
    pub evidence: &'a dyn Fn() -> String,
}

impl std::fmt::Debug for Hosted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hosted").field("template", &self.template).finish_non_exhaustive()
    }
}

impl HostedFiles {
    /// Writes the template into a folder, in which the other files will be.
    pub fn write(template: &Template, folder: &Path) -> Result<Self> {
        Ok(Self {
            template: template.write(folder)?,
            kubeconfig: folder.join("kubeconfig"),
            talosconfig: folder.join("talosconfig"),
        })
    }
}

impl Hosted<'_> {
    /// A time limit in seconds of real hardware, longer where machines are slow.
    #[must_use]
    pub fn limit(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds) * self.pace
    }

    /// Runs a step until it succeeds and gives the seconds since everything began.
    pub fn step<T>(&self, what: &str, seconds: u64, ask: impl FnMut() -> Result<T>) -> Result<f64> {
        (self.progress)(&format!("waiting for {what}"));
        let evidence = || (self.evidence)() + &self.manager.fleet.evidence();
        patiently(what, self.limit(seconds), evidence, ask)?;
        let now = self.started.elapsed().as_secs_f64();
        (self.progress)(&format!("{what}: after {now:.1} s"));
        Ok(now)
    }

    /// Hands the template to the manager. A manager that is away in the middle is asked again.
    pub fn sync(&self) -> Result<f64> {
        let file = self.files.template.to_string_lossy();
        self.step("the template to be taken", 120, || {
            self.manager.run(&["cluster", "template", "sync", "--file", &file])
        })
    }

    /// Fails unless the manager says that the cluster is whole.
    pub fn healthy(&self) -> Result<()> {
        self.manager.whole(&self.template.name, self.template.machines())
    }

    /// The manager says that the cluster is whole.
    pub fn wait_healthy(&self) -> Result<f64> {
        self.step("the cluster to be whole", 300, || self.healthy())
    }

    /// Fetches a kubeconfig with a token for a program.
    pub fn fetch_kubeconfig(&self) -> Result<f64> {
        let file = self.files.kubeconfig.to_string_lossy();
        let cluster = format!("--cluster={}", self.template.name);
        let groups = "--groups=system:masters";
        let program = ["--service-account", "--user=e2e", groups, "--ttl=24h", "--merge=false", "--force"];
        self.step("the kubeconfig", 60, || {
            self.manager.run(&[&["kubeconfig", cluster.as_str()][..], &program[..], &[&*file]].concat())
        })
    }

    /// Fetches a talosconfig.
    pub fn fetch_talosconfig(&self) -> Result<f64> {
        let file = self.files.talosconfig.to_string_lossy();
        let cluster = format!("--cluster={}", self.template.name);
        self.step("the talosconfig", 60, || {
            self.manager.run(&["talosconfig", &cluster, "--merge=false", "--force", &file])
        })
    }

    /// kubectl through the manager's proxy.
    #[must_use]
    pub fn kubectl(&self) -> Tool {
        let found = self.manager.reach(&self.kubectl);
        found.with(["--kubeconfig", &self.files.kubeconfig.to_string_lossy()])
    }

    /// Kubernetes says that all nodes are Ready, asked through the proxy.
    pub fn wait_nodes_ready(&self) -> Result<f64> {
        let kubectl = self.kubectl();
        let path = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
        let wanted = vec!["True"; self.template.machines()].join(" ");
        self.step("Ready nodes", 180, || {
            let status = kubectl.run_for(&["get", "nodes", "-o", path], self.limit(10))?;
            ensure!(status == wanted, "the status of Ready is `{status}`");
            Ok(())
        })
    }

    /// Runs the hello pod, its service, and a pod that asks it.
    pub fn deploy_hello(&self) -> Result<f64> {
        let kubectl = self.kubectl();
        let objects = format!("{}---\n{}", workload::HELLO, workload::PROBE);
        self.step("the pods to be accepted", 120, || kubectl.feed(&["apply", "-f", "-"], &objects))
    }

    /// A pod gets a page from the hello pod by the name of its service, which is a ClusterIP.
    pub fn wait_page(&self) -> Result<f64> {
        self.step("a page from the pod through its service", 180, || self.page())
    }

    /// The page as the asking pod sees it now.
    pub fn page(&self) -> Result<String> {
        let page = self.kubectl().run_for(&["logs", "probe", "--tail=1"], self.limit(10))?;
        ensure!(page.starts_with("hello from hello"), "the probe saw `{}`", page.trim());
        Ok(page)
    }

    /// Everything, from machines that have joined to the page.
    pub fn bring_up(&self) -> Result<Vec<(&'static str, f64)>> {
        self.sync()?;
        let healthy = self.wait_healthy()?;
        self.fetch_kubeconfig()?;
        let ready = self.wait_nodes_ready()?;
        self.deploy_hello()?;
        let http = self.wait_page()?;
        Ok(vec![("healthy_seconds", healthy), ("ready_seconds", ready), ("http_seconds", http)])
    }
}
