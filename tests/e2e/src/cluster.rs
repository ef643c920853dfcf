//! The steps from a machine in maintenance to a page served by a pod, as one machine that is its own cluster. Used by
//! scenarios and by `cargo xtask up`.
//!
//! The machine is driven by a client program with talosctl's command line and by kubectl, over ports of the loopback.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_base::{Clock, Rng};
use corten_client::TalosConfig;
use corten_config::schema::LATER_KINDS;
use corten_config::{Config, Contract, GenerateOptions, Patch, SecretsBundle};

use crate::machine::{Machine, MachineOptions, Mode};
use crate::tool::{Output, Tool};
use crate::wait::until;
use crate::workload;

/// Lets pods run on the only machine.
pub const ALLOW_PODS_ON_CONTROL_PLANES: &str = "cluster:\n  allowSchedulingOnControlPlanes: true\n";

/// The same in the form of documents.
const ALLOW_PODS_BY_DOCUMENT: &str = "\
apiVersion: v1alpha1
kind: KubeNodeConfig
taints:
  node-role.kubernetes.io/control-plane:
    $patch: delete
";

/// For a machine whose network has no time server; its hardware clock is right.
pub const NO_TIME_SERVER: &str = "machine:\n  time:\n    disabled: true\n";

/// For an emulated machine, on which a busy minute outlasts every lease: a component that loses the election against
/// nobody ends, and what it did is begun again.
pub const NO_ELECTIONS: &str = r#"cluster:
  controllerManager:
    extraArgs:
      leader-elect: "false"
  scheduler:
    extraArgs:
      leader-elect: "false"
"#;

/// Both in the form of documents.
const BY_DOCUMENTS: &str = r#"apiVersion: v1alpha1
kind: TimeSyncConfig
enabled: false
---
apiVersion: v1alpha1
kind: KubeControllerManagerConfig
extraArgs:
  leader-elect: "false"
---
apiVersion: v1alpha1
kind: KubeSchedulerConfig
extraArgs:
  leader-elect: "false"
"#;

/// The form of configurations in which documents stand for what earlier ones have fields for: those would be refused
/// beside them.
const DOCUMENTS: Contract = Contract::new(1, 14);

/// What a new one-machine cluster shall be like.
#[derive(Clone, Debug)]
pub struct ClusterPlan {
    /// Name of the cluster.
    pub name: String,
    /// Kind of its machine.
    pub mode: Mode,
    /// Address that the machine has on its own network.
    pub node: Ipv4Addr,
    /// Port of 127.0.0.1 that leads to the machine API.
    pub api_port: u16,
    /// Port of 127.0.0.1 that leads to the Kubernetes API.
    pub kubernetes_port: u16,
    /// Kubernetes version, without `v`.
    pub kubernetes_version: String,
    /// Of which release the form of its configurations is.
    pub contract: Contract,
    /// Further patches of the control plane, applied in order.
    pub patches: Vec<String>,
    /// Patches of workers, applied in order.
    pub worker_patches: Vec<String>,
}

impl ClusterPlan {
    /// The cluster of that machine.
    #[must_use]
    pub fn of(options: &MachineOptions) -> Self {
        Self {
            name: options.name.clone(),
            mode: options.mode,
            node: options.address(),
            api_port: options.api_port,
            kubernetes_port: options.kubernetes_port,
            kubernetes_version: corten_config::defaults::KUBERNETES_VERSION.to_owned(),
            contract: Contract::OURS,
            patches: match options.mode {
                Mode::Container => Vec::new(),
                Mode::Qemu => vec![NO_TIME_SERVER.to_owned(), NO_ELECTIONS.to_owned()],
            },
            worker_patches: match options.mode {
                Mode::Container => Vec::new(),
                Mode::Qemu => vec![NO_TIME_SERVER.to_owned()],
            },
        }
    }

    /// The same cluster, configured by documents wherever there are some.
    #[must_use]
    pub fn by_documents(self) -> Self {
        let patches = match self.mode {
            Mode::Container => Vec::new(),
            Mode::Qemu => vec![BY_DOCUMENTS.to_owned()],
        };
        Self { contract: DOCUMENTS, patches, ..self }
    }

    /// URL of the Kubernetes API inside of the cluster.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://{}:{}", self.node, crate::machine::KUBERNETES_PORT)
    }
}

/// Files that a cluster's operator keeps.
#[derive(Clone, Debug)]
pub struct Files {
    /// Machine configuration of a control plane.
    pub controlplane: PathBuf,
    /// Machine configuration of a worker.
    pub worker: PathBuf,
    /// For talosctl and corten.
    pub talosconfig: PathBuf,
    /// For kubectl.
    pub kubeconfig: PathBuf,
}

impl Files {
    /// The places in a folder; nothing is written.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self {
            controlplane: folder.join("controlplane.yaml"),
            worker: folder.join("worker.yaml"),
            talosconfig: folder.join("talosconfig"),
            kubeconfig: folder.join("kubeconfig"),
        }
    }

    /// Makes new secrets and writes the configuration of the machine and of its client.
    pub fn write(plan: &ClusterPlan, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let files = Self::at(folder);
        let (now, rng) = (Clock::system().now(), Rng::kernel());
        let secrets = SecretsBundle::generate(now, &rng).context("cannot make secrets")?;
        let mut options = GenerateOptions::new(plan.name.as_str(), plan.endpoint());
        options.kubernetes_version.clone_from(&plan.kubernetes_version);
        options.additional_sans = vec![Ipv4Addr::LOCALHOST.to_string()];
        options.discovery = false;
        options.contract = plan.contract;
        let generated = corten_config::generate::generate(&options, &secrets);
        let by_document = plan.contract.has_kubernetes_documents();
        let own = [if by_document { ALLOW_PODS_BY_DOCUMENT } else { ALLOW_PODS_ON_CONTROL_PLANES }];
        let patches = plan.patches.iter().map(String::as_str);
        write_patched(&files.controlplane, generated.controlplane.reveal(), own.into_iter().chain(patches))?;
        write_patched(
            &files.worker,
            generated.worker.reveal(),
            plan.worker_patches.iter().map(String::as_str),
        )?;
        let endpoint = format!("{}:{}", Ipv4Addr::LOCALHOST, plan.api_port);
        let client = corten_config::generate::talosconfig(&plan.name, &[endpoint], &secrets, now, &rng);
        let mut client = TalosConfig::parse(client.context("cannot make a talosconfig")?.reveal())?;
        for context in client.contexts.values_mut() {
            context.nodes = vec![plan.node.to_string()];
        }
        write_secret(&files.talosconfig, &client.to_yaml())?;
        Ok(files)
    }
}

/// Writes a configuration after patches.
pub fn write_patched<'a>(path: &Path, text: &str, patches: impl Iterator<Item = &'a str>) -> Result<()> {
    let config = Config::parse(without_later_kinds(text).as_bytes())
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let patches = patches.map(|patch| Patch::parse(patch.as_bytes())).collect::<Result<Vec<_>, _>>();
    let config = config.patched(&patches.context("cannot read a patch")?).context("cannot apply a patch")?;
    write_secret(path, config.text())
}

/// A configuration without documents that only releases to come have an effect for.
fn without_later_kinds(text: &str) -> String {
    let is_known =
        |document: &&str| !LATER_KINDS.iter().any(|kind| document.contains(&format!("kind: {kind}\n")));
    text.split("---\n").filter(is_known).collect::<Vec<_>>().join("---\n")
}

/// Writes a file that only its owner can read.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let write = || options.open(path)?.write_all(text.as_bytes());
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Seconds from the start of the machine to each step of a bring-up.
#[derive(Clone, Debug, Default)]
pub struct Figures(pub Vec<(&'static str, f64)>);

/// A machine, its files and the clients that drive it.
pub struct Cluster<'a> {
    /// What the cluster is like.
    pub plan: ClusterPlan,
    /// Where its files are.
    pub files: Files,
    /// The machine.
    pub machine: &'a Machine,
    /// A client of the machine API with talosctl's command line, without options.
    pub client: Tool,
    /// kubectl, without options.
    pub kubectl: Tool,
    /// When the machine was switched on.
    pub started: Instant,
    /// Is told each step, when it begins and when it is done.
    pub progress: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Cluster<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl Cluster<'_> {
    /// The machine's client with an administrator's credentials.
    #[must_use]
    pub fn admin(&self) -> Tool {
        let talosconfig = self.files.talosconfig.to_string_lossy();
        self.client.with(["--talosconfig", &talosconfig, "--nodes", &self.plan.node.to_string()])
    }

    /// kubectl with an administrator's credentials.
    #[must_use]
    pub fn kubectl(&self) -> Tool {
        self.kubectl.with(["--kubeconfig", &self.files.kubeconfig.to_string_lossy()])
    }

    /// Options of a command to a machine that knows nobody yet.
    #[must_use]
    pub fn insecure(&self) -> [String; 3] {
        let node = format!("{}:{}", Ipv4Addr::LOCALHOST, self.plan.api_port);
        ["--insecure".to_owned(), "--nodes".to_owned(), node]
    }

    /// A time limit in seconds of real hardware, longer where machines are slow.
    #[must_use]
    pub fn limit(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds) * self.plan.mode.pace()
    }

    /// Runs a step until it succeeds and gives the seconds since the machine was switched on.
    pub fn step<T>(&self, what: &str, seconds: u64, ask: impl FnMut() -> Result<T>) -> Result<f64> {
        (self.progress)(&format!("waiting for {what}"));
        until(self.machine, what, self.limit(seconds), ask)?;
        let now = self.started.elapsed().as_secs_f64();
        (self.progress)(&format!("{what}: {now:.1} s after power-on"));
        Ok(now)
    }

    /// The machine answers without credentials.
    pub fn wait_maintenance(&self) -> Result<f64> {
        self.step("maintenance", 60, || self.run_insecure(&["get", "disks"]))
    }

    /// Sends the configuration to a machine in maintenance.
    pub fn apply(&self) -> Result<()> {
        let file = self.files.controlplane.to_string_lossy();
        self.run_insecure(&["apply-config", "--file", &file]).map(drop)
    }

    /// The machine answers to its administrator.
    pub fn wait_api(&self) -> Result<f64> {
        let admin = self.admin();
        self.step("the API with the cluster's credentials", 60, || self.ask(&admin, &["version"]))
    }

    /// Starts etcd. A machine that is not ready for it says so and is asked again.
    pub fn bootstrap(&self) -> Result<f64> {
        let admin = self.admin();
        self.step("bootstrap", 60, || {
            let output = admin.output(&["bootstrap"], None, self.limit(10))?;
            let is_done = output.ok || output.stderr.contains("AlreadyExists");
            if is_done { Ok(()) } else { output.success().map(drop) }
        })
    }

    /// Fetches the administrator's kubeconfig and points it to the forwarded port.
    pub fn fetch_kubeconfig(&self) -> Result<f64> {
        let admin = self.admin();
        let file = self.files.kubeconfig.to_string_lossy().into_owned();
        let at = self.step("the kubeconfig", 60, || {
            self.ask(&admin, &["kubeconfig", &file, "--force", "--merge=false"])
        })?;
        let kubectl = self.kubectl();
        let name = kubectl.run(&["config", "view", "-o", "jsonpath={.clusters[0].name}"])?;
        let server = format!("--server=https://{}:{}", Ipv4Addr::LOCALHOST, self.plan.kubernetes_port);
        kubectl.run(&["config", "set-cluster", &name, &server])?;
        Ok(at)
    }

    /// Kubernetes says that its node is Ready.
    pub fn wait_node_ready(&self) -> Result<f64> {
        let kubectl = self.kubectl();
        let path = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
        self.step("a Ready node", 120, || {
            let status = self.ask(&kubectl, &["get", "nodes", "-o", path])?;
            ensure!(status == "True", "the status of Ready is `{status}`");
            Ok(())
        })
    }

    /// Runs the hello pod and its service.
    pub fn deploy_hello(&self) -> Result<f64> {
        let kubectl = self.kubectl();
        self.step("the hello pod to be accepted", 60, || kubectl.feed(&["apply", "-f", "-"], workload::HELLO))
    }

    /// A pod gets a page from the hello pod by the name of its service. Gives the page and when it came.
    pub fn wait_http(&self) -> Result<f64> {
        let kubectl = self.kubectl();
        self.step("the probe pod to be accepted", 60, || {
            kubectl.feed(&["apply", "-f", "-"], workload::PROBE)
        })?;
        self.step("a page from the pod through its service", 120, || self.page())
    }

    /// The page as the probe pod sees it now.
    pub fn page(&self) -> Result<String> {
        let page = self.ask(&self.kubectl(), &["logs", "probe", "--tail=1"])?;
        ensure!(page.starts_with("hello from hello"), "the probe saw `{}`", page.trim());
        Ok(page)
    }

    /// Everything, from power-on to the page.
    pub fn bring_up(&self) -> Result<Figures> {
        let maintenance = self.wait_maintenance()?;
        self.apply()?;
        let api = self.wait_api()?;
        self.bootstrap()?;
        self.fetch_kubeconfig()?;
        let ready = self.wait_node_ready()?;
        self.deploy_hello()?;
        let http = self.wait_http()?;
        Ok(Figures(vec![
            ("maintenance_seconds", maintenance),
            ("api_seconds", api),
            ("ready_seconds", ready),
            ("http_seconds", http),
        ]))
    }

    /// Runs a command against a machine in maintenance.
    pub fn run_insecure(&self, arguments: &[&str]) -> Result<String> {
        self.output_insecure(arguments)?.success()
    }

    /// The same, also for commands that fail.
    pub fn output_insecure(&self, arguments: &[&str]) -> Result<Output> {
        let insecure = self.insecure();
        let all: Vec<&str> = arguments.iter().copied().chain(insecure.iter().map(String::as_str)).collect();
        self.client.output(&all, None, self.limit(10))
    }

    /// One question that need not be answered yet.
    fn ask(&self, tool: &Tool, arguments: &[&str]) -> Result<String> {
        tool.run_for(arguments, self.limit(10))
    }
}
