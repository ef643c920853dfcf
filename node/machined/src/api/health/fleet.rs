//! The machines of the cluster and the ways to ask them.
//!
//! Which machines there are is found out again for each attempt: from the request, or from the members together
//! with the Kubernetes nodes. Machines are asked as a reader, with the certificate that apid forwards calls with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use corten_api::cluster::ClusterInfo;
use corten_base::{Clock, Secret, chain};
use corten_client::{Client, Credentials, Endpoints, Server};
use corten_kubernetes::{ApiResource, Kubeconfig, ListOptions, Object};
use corten_resource::State;
use corten_resources::cluster::Member;
use corten_resources::secrets::{ApiCertificate, KubernetesSecrets};
use futures::{FutureExt as _, StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::objects;

const APID_PORT: u16 = 50000;
/// Machines asked at once.
const PARALLEL: usize = 16;
/// One machine's answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Nodes are a second opinion on which machines there are; it is not waited for long.
const NODES: Duration = Duration::from_secs(5);
/// Role that reading needs.
const READER: &str = "os:reader";

/// A machine of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// Name of its Kubernetes node; empty when it is not known.
    pub(super) node: String,
    /// Its addresses, the one to ask first.
    pub(super) addresses: Vec<IpAddr>,
    /// Whether etcd and the control plane run there.
    pub(super) is_control_plane: bool,
}

impl Machine {
    /// What people call it.
    pub(super) fn label(&self) -> String {
        self.addresses.first().map_or_else(|| self.node.clone(), ToString::to_string)
    }

    /// Whether any of these addresses is its own.
    pub(super) fn has_any(&self, addresses: &[IpAddr]) -> bool {
        addresses.iter().any(|address| self.addresses.contains(address))
    }
}

/// Which machines a check is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    ControlPlanes,
}

/// A machine that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// Its API.
    pub(super) api: Client,
    /// What is known of it.
    pub(super) machine: Machine,
}

/// The cluster as a check sees it.
pub(super) struct Fleet {
    state: State,
    clock: Clock,
    expected: ClusterInfo,
    connections: Mutex<BTreeMap<String, Client>>,
}

impl Fleet {
    pub(super) fn new(state: State, clock: Clock, expected: ClusterInfo) -> Self {
        Self { state, clock, expected, connections: Mutex::default() }
    }

    /// Resources of this machine.
    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// Whether the request says which machines there should be.
    pub(super) fn is_given(&self) -> bool {
        !self.expected.control_plane_nodes.is_empty() || !self.expected.worker_nodes.is_empty()
    }

    /// The machines there should be.
    pub(super) async fn machines(&self, which: Which) -> anyhow::Result<Vec<Machine>> {
        let members = self.members();
        let mut machines = if self.is_given() {
            given(&self.expected, &members)
        } else {
            let nodes = timeout(NODES, self.objects(&ApiResource::nodes(), None, "")).await;
            with_nodes(members, &nodes.unwrap_or_else(|_| Ok(Vec::new())).unwrap_or_default())
        };
        ensure!(machines.iter().any(|machine| machine.is_control_plane), "no control plane is known yet");
        if which == Which::ControlPlanes {
            machines.retain(|machine| machine.is_control_plane);
        }
        Ok(machines)
    }

    fn members(&self) -> Vec<Machine> {
        let to_machine = |member: corten_resource::Resource<Member>| Machine {
            node: member.metadata.id.clone(),
            is_control_plane: member.spec.machine_type.is_control_plane(),
            addresses: member.spec.addresses,
        };
        self.state.list::<Member>().into_iter().map(to_machine).collect()
    }

    /// Asks machines at once and returns what they answered; the error names each machine that did not.
    pub(super) async fn ask<T, F, A>(&self, which: Which, question: F) -> anyhow::Result<Vec<(Machine, T)>>
    where
        T: Send,
        F: Fn(Asked) -> A + Send + Sync,
        A: Future<Output = anyhow::Result<T>> + Send,
    {
        let machines = self.machines(which).await?;
        let question = &question;
        let answers = machines.into_iter().map(|machine| {
            async move {
                let answer = async { question(self.connect(&machine)?).await };
                let answer = match timeout(ANSWER, answer).await {
                    Ok(answer) => answer,
                    Err(_) => Err(anyhow::anyhow!("no answer within {ANSWER:?}")),
                };
                (machine, answer)
            }
            .boxed()
        });
        let answers: Vec<_> = stream::iter(answers).buffered(PARALLEL).collect().await;
        let (mut good, mut missing) = (Vec::new(), Vec::new());
        for (machine, answer) in answers {
            match answer {
                Ok(answer) => good.push((machine, answer)),
                Err(error) => missing.push(format!("{}: {}", machine.label(), chain(error.as_ref()))),
            }
        }
        ensure!(missing.is_empty(), "{}", missing.join("; "));
        Ok(good)
    }

    /// Asks machines whether something holds.
    pub(super) async fn each<F, A>(&self, which: Which, question: F) -> anyhow::Result<()>
    where
        F: Fn(Asked) -> A + Send + Sync,
        A: Future<Output = anyhow::Result<()>> + Send,
    {
        self.ask(which, question).await.map(drop)
    }

    /// The machine's API; connections are kept for the next check.
    fn connect(&self, machine: &Machine) -> anyhow::Result<Asked> {
        let label = machine.label();
        if let Some(api) = self.connections.lock().get(&label) {
            return Ok(Asked { api: api.clone(), machine: machine.clone() });
        }
        let endpoints = if machine.addresses.is_empty() {
            Endpoints::parse([machine.node.as_str()], APID_PORT)
        } else {
            Endpoints::parse(machine.addresses.iter().map(ToString::to_string), APID_PORT)
        };
        let channel = endpoints?.connect(&self.credentials()?)?;
        let api = Client::new(channel).with_roles(&[READER]);
        self.connections.lock().insert(label, api.clone());
        Ok(Asked { api, machine: machine.clone() })
    }

    fn credentials(&self) -> anyhow::Result<Credentials> {
        let certificates = self.state.get::<ApiCertificate>(ApiCertificate::ID);
        let certificates = certificates.context("this machine has no certificates for apid yet")?;
        let Some(own) = &certificates.client else {
            bail!("this machine has no client certificate for apid yet")
        };
        let cas =
            certificates.accepted_cas.iter().map(|ca| ca.crt.as_slice()).collect::<Vec<_>>().join(&b'\n');
        Ok(Credentials {
            server: Server::Authorities(cas),
            own: Some((own.crt.clone(), Secret::new(own.key.clone()))),
            clock: self.clock.clone(),
        })
    }

    /// Objects of a Kubernetes resource.
    pub(super) async fn objects(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        labels: &str,
    ) -> anyhow::Result<Vec<Object>> {
        let api = self.kubernetes().await?.api(resource, namespace);
        Ok(api.list(&ListOptions::labels(labels)).await?.items)
    }

    /// One object, or none.
    pub(super) async fn object(
        &self,
        resource: &ApiResource,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Option<Object>> {
        Ok(self.kubernetes().await?.api(resource, Some(namespace)).find(name).await?)
    }

    /// The API server of this machine, or the one that the request names, as administrator.
    async fn kubernetes(&self) -> anyhow::Result<corten_kubernetes::Client> {
        let secrets = self.state.get::<KubernetesSecrets>(KubernetesSecrets::ID);
        let secrets = secrets.context("this machine has no credentials for the Kubernetes API yet")?;
        let mut kubeconfig = Kubeconfig::parse(&secrets.localhost_admin_kubeconfig)?;
        if !self.expected.force_endpoint.is_empty() {
            kubeconfig.server = server(&self.expected.force_endpoint);
        }
        let config = kubeconfig.config(Path::new("/")).await?;
        let resolver: corten_kubernetes::Resolver =
            Arc::new(|name| async move { corten_client::resolve::lookup(&name).await }.boxed());
        Ok(corten_kubernetes::Client::with_resolver(&config, resolver)?)
    }
}

/// A server's URL from what people write.
fn server(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}

/// The machines that the request names, with what their members tell about them.
fn given(expected: &ClusterInfo, members: &[Machine]) -> Vec<Machine> {
    let machine = |name: &String, is_control_plane| {
        let address = name.parse::<IpAddr>().ok();
        let known = members.iter().find(|member| match address {
            Some(address) => member.addresses.contains(&address),
            None => member.node == *name,
        });
        let mut machine = known.cloned().unwrap_or_default();
        match address {
            Some(address) => {
                machine.addresses.retain(|other| *other != address);
                machine.addresses.insert(0, address);
            }
            None => machine.node.clone_from(name),
        }
        Machine { is_control_plane, ..machine }
    };
    let planes = expected.control_plane_nodes.iter().map(|name| machine(name, true));
    planes.chain(expected.worker_nodes.iter().map(|name| machine(name, false))).collect()
}

/// The members and every Kubernetes node that is none of them.
fn with_nodes(mut machines: Vec<Machine>, nodes: &[Object]) -> Vec<Machine> {
    for node in nodes {
        let found = objects::machine_of(node);
        if !machines.iter().any(|known| known.node == found.node || known.has_any(&found.addresses)) {
            machines.push(found);
        }
    }
    machines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(node: &str, addresses: &[&str], is_control_plane: bool) -> Machine {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        Machine { node: node.into(), addresses, is_control_plane }
    }

    #[test]
    fn the_request_decides_roles_and_the_address_to_ask() {
        let members = [machine("a", &["10.0.0.1", "fd00::1"], true), machine("b", &["10.0.0.2"], false)];
        let expected = ClusterInfo {
            control_plane_nodes: vec!["fd00::1".into()],
            worker_nodes: vec!["b".into(), "10.0.0.9".into()],
            ..ClusterInfo::default()
        };
        assert_eq!(
            given(&expected, &members),
            [
                machine("a", &["fd00::1", "10.0.0.1"], true),
                machine("b", &["10.0.0.2"], false),
                machine("", &["10.0.0.9"], false)
            ]
        );
    }

    #[test]
    fn nodes_that_nobody_announced_count_too() {
        let node = |name: &str, address: &str| {
            let address = json!({"type": "InternalIP", "address": address});
            json!({"metadata": {"name": name}, "status": {"addresses": [address]}})
        };
        let members = vec![machine("a", &["10.0.0.1"], true)];
        let machines = with_nodes(members, &[node("a.example", "10.0.0.1"), node("b", "10.0.0.2")]);
        assert_eq!(machines, [machine("a", &["10.0.0.1"], true), machine("b", &["10.0.0.2"], false)]);
    }

    #[test]
    fn an_endpoint_needs_no_scheme() {
        assert_eq!(server("10.0.0.1:6443"), "https://10.0.0.1:6443");
        assert_eq!(server("https://api.example:6443"), "https://api.example:6443");
    }
}
