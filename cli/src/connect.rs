//! From flags and contexts to machines that can be asked, all at once.

use std::future::Future;

use clap::Args;
use corten_api::Envelope;
use corten_client::Client;
use futures::StreamExt as _;
use tonic::Response;

use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};
use crate::pernode::PerNode;

/// Machines asked at the same time.
const PARALLEL_MAX: usize = 64;

/// Flags of the commands that work before a machine has a configuration.
#[derive(Args, Clone, Debug, Default)]
pub struct Maintenance {
    /// Talk to machines without configuration: no client certificate, any server certificate.
    #[arg(short, long)]
    pub insecure: bool,
    /// With --insecure: accept only a server certificate with one of these fingerprints, as the console shows them.
    #[arg(long, value_delimiter = ',', value_name = "FINGERPRINT", requires = "insecure")]
    pub cert_fingerprint: Vec<String>,
}

/// A machine and the way to it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Node {
    /// As it was named.
    pub name: String,
    /// Calls go to this machine.
    pub client: Client,
}

/// The machines that a command is for; at least one.
#[derive(Clone, Debug)]
pub struct Targets(pub Vec<Node>);

impl Cx {
    /// The machines that flags or the context name.
    pub fn targets(&self) -> Result<Targets, Failure> {
        let client = self.client()?;
        let from_context = || -> Result<Vec<String>, Failure> {
            let config = self.talosconfig()?;
            let context =
                config.context(self.globals.context.as_deref()).or_fail("cannot find the machines")?;
            Ok(context.nodes.clone())
        };
        let names = if self.globals.nodes.is_empty() { from_context()? } else { self.globals.nodes.clone() };
        if names.is_empty() {
            return Err(Failure::new("cannot tell which machines are meant")
                .because("nodes are not set for the command")
                .way_out(
                    "name them with -n ADDRESS, or once and for all with `corten config node ADDRESS…`",
                ));
        }
        let node = |name: String| Node { client: client.node(&name), name };
        Ok(Targets(names.into_iter().map(node).collect()))
    }

    /// The machines, which may be in maintenance if the flags say so.
    pub fn targets_in(&self, maintenance: &Maintenance) -> Result<Targets, Failure> {
        if !maintenance.insecure {
            return self.targets();
        }
        let node = |name: &String| {
            let client = Client::insecure(name, &maintenance.cert_fingerprint, &self.clock);
            let client = client.or_fail(format!("cannot connect to {name}"))?;
            Ok(Node { name: name.clone(), client })
        };
        if self.globals.nodes.is_empty() {
            return Err(Failure::new("cannot tell which machines are meant")
                .because("--insecure connects to each machine directly")
                .way_out("name them with -n ADDRESS"));
        }
        Ok(Targets(self.globals.nodes.iter().map(node).collect::<Result<_, Failure>>()?))
    }

    /// Machines that a command names itself, which may be in maintenance if the flags say so.
    pub fn targets_named(&self, names: &[String], maintenance: &Maintenance) -> Result<Targets, Failure> {
        let globals = crate::context::Globals { nodes: names.to_vec(), ..self.globals.clone() };
        Self { globals, ..self.clone() }.targets_in(maintenance)
    }

    /// The connection of the context, for calls that are for whoever answers.
    pub fn client(&self) -> Result<Client, Failure> {
        let config = self.talosconfig()?;
        let object = "cannot use the context";
        let context = config.context(self.globals.context.as_deref()).or_fail(object)?;
        if context.endpoints.is_empty() && self.globals.endpoints.is_empty() {
            return Err(Failure::new(object).because("no endpoint is known").way_out(
                "name one with -e ADDRESS, or once and for all with `corten config endpoint ADDRESS…`",
            ));
        }
        let client = Client::from_context(context, &self.globals.endpoints, &self.clock);
        let client = client.map_err(|error| Cause::new(corten_base::chain(&error))).or_fail(object)?;
        Ok(match &self.globals.cluster {
            Some(cluster) => client.tagged("context", cluster),
            None => client,
        })
    }
}

impl Targets {
    /// Asks every machine at the same time. `what` completes the sentence "cannot … 10.5.0.2": `read the memory of`.
    pub async fn each<T, F>(self, what: &str, call: impl Fn(Node) -> F) -> PerNode<T>
    where
        F: Future<Output = Result<T, Cause>>,
    {
        let one = |node: Node| {
            let name = node.name.clone();
            let call = call(node);
            async move {
                let result = call.await.or_fail(format!("cannot {what} {name}"));
                (name, result)
            }
        };
        let calls: Vec<_> = self.0.into_iter().map(one).collect();
        PerNode(futures::stream::iter(calls).buffered(PARALLEL_MAX).collect().await)
    }

    /// The only machine, for commands that make no sense for several.
    pub fn one(mut self, what: &str) -> Result<Node, Failure> {
        match (self.0.len(), self.0.pop()) {
            (1, Some(node)) => Ok(node),
            (count, _) => Err(Failure::new(format!("cannot {what} on {count} machines at once"))
                .because("it is for one machine")
                .way_out("name that machine with -n ADDRESS")),
        }
    }
}

/// The one message of an answer.
pub fn only<R: Envelope>(answer: Response<R>) -> Result<R::Message, Cause> {
    answer.into_inner().only().ok_or_else(|| Cause::new("the machine answered with nothing"))
}
