//! A manager under test with the programs that drive it, and what is asked of it again and again.
//!
//! ```text
//! Manager ── Fleet (harness) ◀── omnictl | corten fleet ── resources as JSON ─▶ compared
//!    │            ▲  └────────── talosctl, kubectl through its proxies
//!    │            └─ machines: containers, QEMU, emulated, or of our own making (wire, stranger)
//!    └─ papers: a certificate for the manager from an authority of our own
//! ```
//!
//! Scenarios ask as users do, by programs; what no program does is in [`wire`] and [`stranger`].

pub mod etcd;
pub mod hosted;
pub mod media;
pub mod members;
pub mod papers;
pub mod stranger;
pub mod template;
pub mod wire;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use corten_harness::{Fleet, FleetSpec};
use serde_json::Value;

use crate::tool::{Output, Tool};
use crate::wait::patiently;
use papers::Papers;

/// What one question to a manager may take.
pub const ASK_MAX: Duration = Duration::from_secs(30);
/// Types of resources, as every client takes them.
pub mod kind {
    /// Machines that may be used.
    pub const MACHINE: &str = "Machines.omni.sidero.dev";
    /// What is known of machines.
    pub const MACHINE_STATUS: &str = "MachineStatuses.omni.sidero.dev";
    /// The last word of machines on their stage.
    pub const SNAPSHOT: &str = "MachineStatusSnapshots.omni.sidero.dev";
    /// Machines with their traffic since the manager started.
    pub const STATUS_LINK: &str = "MachineStatusLinks.omni.sidero.dev";
    /// Machines that were let in.
    pub const LINK: &str = "Links.omni.sidero.dev";
    /// Patches of configurations.
    pub const CONFIG_PATCH: &str = "ConfigPatches.omni.sidero.dev";
    /// Clusters.
    pub const CLUSTER: &str = "Clusters.omni.sidero.dev";
    /// How clusters are.
    pub const CLUSTER_STATUS: &str = "ClusterStatuses.omni.sidero.dev";
    /// Machines of clusters.
    pub const CLUSTER_MACHINE: &str = "ClusterMachines.omni.sidero.dev";
    /// How machines of clusters are.
    pub const CLUSTER_MACHINE_STATUS: &str = "ClusterMachineStatuses.omni.sidero.dev";
}

/// How clients reach the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// In the clear, which tests of the wire need.
    Plain,
    /// With TLS and an authority of our own.
    Tls,
}

/// A manager that runs, with the program that drives it.
#[derive(Debug)]
pub struct Manager {
    /// The manager.
    pub fleet: Fleet,
    papers: Option<Papers>,
    program: Tool,
    client: Tool,
}

impl Manager {
    /// Starts a manager. `program` is a client without access, which it gets here.
    pub fn start(spec: FleetSpec, program: &Tool, security: Security) -> Result<Self> {
        let mut spec = spec;
        let papers = match security {
            Security::Plain => None,
            Security::Tls => {
                let loopback = IpAddr::from([127, 0, 0, 1]);
                Some(Papers::write(&spec.folder.join("papers"), &[loopback])?)
            }
        };
        spec.tls = papers.as_ref().map(|papers| papers.server.clone());
        let fleet = Fleet::start(spec)?;
        let mut manager = Self { fleet, papers, program: program.clone(), client: program.clone() };
        manager.client = manager.access(program, &manager.fleet.administrator()?);
        Ok(manager)
    }

    /// Leaves a detached manager running.
    pub fn leave(self) -> Result<()> {
        self.fleet.detach().map(drop)
    }

    /// A client with an administrator's key.
    #[must_use]
    pub const fn client(&self) -> &Tool {
        &self.client
    }

    /// The client with another key.
    #[must_use]
    pub fn client_of(&self, key: &str) -> Tool {
        self.access(&self.program, key)
    }

    /// The client without any key.
    #[must_use]
    pub fn client_of_nobody(&self) -> Tool {
        self.reach(&self.program)
    }

    /// A program with this key, which finds the manager and believes it.
    #[must_use]
    pub fn access(&self, program: &Tool, key: &str) -> Tool {
        self.reach(program).env("OMNI_SERVICE_ACCOUNT_KEY", key)
    }

    /// A program that finds the manager and believes it.
    #[must_use]
    pub fn reach(&self, program: &Tool) -> Tool {
        let found = program.env("OMNI_ENDPOINT", self.fleet.spec().api_url());
        match &self.papers {
            Some(papers) => found.env("SSL_CERT_FILE", &papers.authority),
            None => found,
        }
    }

    /// File with the authority that clients believe, if there is TLS.
    #[must_use]
    pub fn authority(&self) -> Option<&Path> {
        self.papers.as_ref().map(|papers| papers.authority.as_path())
    }

    /// Where clients reach the API, and where machines join, both on this host's loopback.
    #[must_use]
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let ports = self.fleet.spec().ports;
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        (at(ports.api()), at(ports.machine_api()))
    }

    /// Folder of the manager.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.fleet.spec().folder.clone()
    }

    /// Runs a command of the client and expects success.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.client.run_for(arguments, ASK_MAX)
    }

    /// Runs a command of the client.
    pub fn output(&self, arguments: &[&str], deadline: Duration) -> Result<Output> {
        self.client.output(arguments, None, deadline)
    }

    /// The kernel arguments that let a machine join with the default token.
    pub fn kernel_arguments(&self) -> Result<String> {
        let line = self.run(&["jointoken", "kernel-args"])?.trim().to_owned();
        ensure!(line.contains("siderolink.api="), "these are no arguments to join with: `{line}`");
        Ok(line)
    }

    /// The join token in kernel arguments.
    pub fn token(&self) -> Result<String> {
        let line = self.kernel_arguments()?;
        let token = line.split_whitespace().find_map(|word| word.split_once("jointoken="));
        let token = token.and_then(|(_, rest)| rest.split('&').next()).map(str::to_owned);
        token.context("the kernel arguments have no token")
    }

    /// A resource, as the client shows it.
    pub fn get(&self, kind: &str, id: &str) -> Result<Value> {
        let text = self.run(&["get", kind, id, "-o", "json"])?;
        let found = documents(&text)?.into_iter().next();
        found.with_context(|| format!("the client shows nothing of {kind} {id}"))
    }

    /// All resources of a type.
    pub fn list(&self, kind: &str) -> Result<Vec<Value>> {
        documents(&self.run(&["get", kind, "-o", "json"])?)
    }

    /// Waits until the answer is good; a miss shows what the manager has said.
    pub fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        ask: impl FnMut() -> Result<T>,
    ) -> Result<(T, Duration)> {
        patiently(what, deadline, || self.fleet.evidence(), ask)
    }

    /// UUID of the machine with this address of its own network, once its status tells it.
    pub fn machine_at(&self, address: IpAddr) -> Result<String> {
        let (address, all) = (address.to_string(), self.list(kind::MACHINE_STATUS)?);
        let has_it = |status: &&Value| {
            let own = status["spec"]["network"]["addresses"].as_array().into_iter().flatten();
            let own = own.filter_map(Value::as_str);
            own.map(|text| text.split('/').next().unwrap_or_default()).any(|own| own == address)
        };
        let found = all.iter().find(has_it).and_then(|status| status["metadata"]["id"].as_str());
        let found = found.map(str::to_owned);
        found.with_context(|| format!("none of {} machines tells the address {address}", all.len()))
    }

    /// The status of a machine that is connected.
    pub fn connected(&self, uuid: &str) -> Result<Value> {
        let status = self.get(kind::MACHINE_STATUS, uuid)?;
        ensure!(status["spec"]["connected"] == true, "{uuid} is not connected: {}", status["spec"]);
        Ok(status)
    }

    /// Fails unless a cluster has this many machines and everything about it is well.
    pub fn whole(&self, cluster: &str, machines: usize) -> Result<()> {
        let status = self.get(kind::CLUSTER_STATUS, cluster)?;
        let spec = &status["spec"];
        for flag in ["available", "ready", "kubernetesapiready", "controlplaneready"] {
            ensure!(spec[flag] == true, "{cluster} is not {flag}: {spec}");
        }
        for count in ["total", "healthy"] {
            let counted = &spec["machines"][count];
            ensure!(counted == machines as u64, "{cluster} wants {machines} machines: {spec}");
        }
        Ok(())
    }

    /// The status of a machine that is connected and has told what it is made of. A container machine has no processors
    /// of its own to tell of.
    pub fn known(&self, uuid: &str) -> Result<Value> {
        let status = self.connected(uuid)?;
        let hardware = &status["spec"]["hardware"];
        let arch = hardware["arch"].as_str().unwrap_or_default();
        ensure!(!arch.is_empty(), "{uuid} has no architecture: {hardware}");
        let is_container = status["spec"]["platformmetadata"]["platform"] == "container";
        let processors = hardware["processors"].as_array().map_or(0, Vec::len);
        ensure!(is_container || processors > 0, "{uuid} has no processor: {hardware}");
        let addresses = status["spec"]["network"]["addresses"].as_array().map_or(0, Vec::len);
        ensure!(addresses > 0, "{uuid} has no address: {}", status["spec"]["network"]);
        let version = status["spec"]["talosversion"].as_str().unwrap_or_default();
        ensure!(version.starts_with('v'), "{uuid} has the version `{version}`");
        Ok(status)
    }
}

/// The JSON documents that a client printed one after another.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let all = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    all.collect::<Result<_, _>>().with_context(|| format!("the client does not print JSON: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_need_nothing_between_them() {
        let found = documents("{\n \"a\": 1\n}\n{\"a\": 2}\n").unwrap();
        assert_eq!((found.len(), &found[1]["a"]), (2, &Value::from(2)));
        assert!(documents("").unwrap().is_empty());
        assert!(documents("NAMESPACE   TYPE").is_err());
    }
}
