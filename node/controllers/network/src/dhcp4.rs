//! DHCP for IPv4: one client per operator, its lease as specifications of layer operator.
//!
//! ```text
//! OperatorSpec@network, LinkStatus ──▶ client per link ──▶ lease ──▶ *Spec@network-config of layer operator
//! ```
//! Until a client has its first answer, what an earlier one left in the state stays: a restart of this program must
//! not take the machine's address away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use corten_base::{Backoff, Rng, Task, spawn};
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::network::{
    AddressSpec, ClientIdentifier, Dhcp4Operator, HostnameSpec, Layer, LinkFlags, LinkSpec, LinkStatus,
    Operator, OperatorSpec, ResolverSpec, RouteSpec, TimeServerSpec, layered_id,
};
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4State};
use tokio::sync::{Notify, watch};

use crate::lease::{Lease, outcome};

/// Clients at one time.
const CLIENTS_MAX: usize = 64;

/// What a client knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// No answer yet since it was started.
    #[default]
    Asking,
    /// A lease.
    Bound(Lease),
    /// The lease ran out and nobody renews it.
    Lost,
}

/// How to run a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    link: String,
    index: u32,
    hardware_addr: Vec<u8>,
    settings: Dhcp4Operator,
}

struct Client {
    job: Job,
    progress: watch::Receiver<Progress>,
    _task: Task,
}

/// Runs the clients.
pub struct Dhcp4 {
    clients: BTreeMap<String, Client>,
    changed: Arc<Notify>,
    rng: Rng,
}

controller!(Dhcp4, "network.Dhcp4",
inputs: [strong OperatorSpec, weak LinkStatus],
outputs: [
    shared AddressSpec in "network-config",
    shared RouteSpec in "network-config",
    shared LinkSpec in "network-config",
    shared HostnameSpec in "network-config",
    shared ResolverSpec in "network-config",
    shared TimeServerSpec in "network-config",
]);

/// Start or end of a client.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Start, in place of the one that is there.
    Start(Job),
    /// End the client of this link.
    Stop(String),
}

impl Dhcp4 {
    /// A controller without clients.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self { clients: BTreeMap::new(), changed: Arc::default(), rng }
    }
}

fn job(operator: &OperatorSpec, link: &LinkStatus) -> Option<Job> {
    let ready = link.flags.contains(LinkFlags::UP) && (link.link_state || !operator.require_up);
    (operator.operator == Operator::Dhcp4 && ready && link.hardware_addr.0.len() == 6).then(|| Job {
        link: operator.link_name.clone(),
        index: link.index,
        hardware_addr: link.hardware_addr.0.clone(),
        settings: operator.dhcp4.clone(),
    })
}

fn put_lease(plan: &mut Plan<Dhcp4, Op>, job: &Job, lease: &Lease) {
    let operator = format!("dhcp4/{}", job.link);
    let id = |id: &str| layered_id(Layer::Operator, &format!("{operator}/{id}"));
    let outcome = outcome(&job.link, &job.settings, lease);
    if let Some(address) = outcome.address {
        plan.put::<AddressSpec>(id(&address.id()), address);
    }
    for route in outcome.routes {
        plan.put::<RouteSpec>(id(&route.id()), route);
    }
    if let Some(link) = outcome.link {
        plan.put::<LinkSpec>(id(&link.name.clone()), link);
    }
    if let Some(hostname) = outcome.hostname {
        plan.put::<HostnameSpec>(id(HostnameSpec::ID), hostname);
    }
    if let Some(resolvers) = outcome.resolvers {
        plan.put::<ResolverSpec>(id(ResolverSpec::ID), resolvers);
    }
    if let Some(servers) = outcome.time_servers {
        plan.put::<TimeServerSpec>(id(TimeServerSpec::ID), servers);
    }
}

fn keep_all(plan: &mut Plan<Dhcp4, Op>) {
    plan.keep::<AddressSpec>();
    plan.keep::<RouteSpec>();
    plan.keep::<LinkSpec>();
    plan.keep::<HostnameSpec>();
    plan.keep::<ResolverSpec>();
    plan.keep::<TimeServerSpec>();
}

impl Driver for Dhcp4 {
    type Observed = BTreeMap<String, (Job, Progress)>;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Self::Observed> {
        let known = |(link, client): (&String, &Client)| {
            (link.clone(), (client.job.clone(), client.progress.borrow().clone()))
        };
        Ok(self.clients.iter().map(known).collect())
    }

    fn plan(&self, view: &View<Self>, clients: &Self::Observed) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let operators = view.list::<OperatorSpec>();
        let wanted = |link: &String| {
            operators.iter().any(|row| row.spec.operator == Operator::Dhcp4 && row.spec.link_name == *link)
        };
        for link in clients.keys().filter(|link| !wanted(link)) {
            plan.op(Op::Stop(link.clone()));
        }
        for operator in operators.iter().take(CLIENTS_MAX) {
            let running = clients.get(&operator.spec.link_name);
            let link = view.get::<LinkStatus>(&operator.spec.link_name);
            // A link that is down for a moment keeps its client, and the client its lease.
            if let Some(job) = link.and_then(|link| job(&operator.spec, &link.spec))
                && running.is_none_or(|(known, _)| *known != job)
            {
                plan.op(Op::Start(job));
            }
        }
        for (job, progress) in clients.values().filter(|(job, _)| wanted(&job.link)) {
            match progress {
                Progress::Bound(lease) => put_lease(&mut plan, job, lease),
                Progress::Lost => {}
                Progress::Asking => keep_all(&mut plan),
            }
        }
        if clients.is_empty() && !operators.is_empty() {
            keep_all(&mut plan);
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Stop(link) => {
                self.clients.remove(&link);
            }
            Op::Start(job) => {
                let (sender, progress) = watch::channel(Progress::Asking);
                let task = spawn("dhcp4", run(job.clone(), sender, self.changed.clone(), self.rng.clone()));
                self.clients.insert(job.link.clone(), Client { job, progress, _task: task });
            }
        }
        Ok(())
    }

    fn sources(&mut self) -> Vec<Source> {
        let changed = self.changed.clone();
        vec![Source::new("leases", move |trigger| {
            let changed = changed.clone();
            async move {
                loop {
                    changed.notified().await;
                    trigger.fire();
                }
            }
        })]
    }
}

/// Asks until the task is dropped; each failure starts anew after a pause.
async fn run(job: Job, progress: watch::Sender<Progress>, changed: Arc<Notify>, rng: Rng) {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
    loop {
        let result = session(&job, &progress, &changed, &mut backoff).await;
        if let Err(error) = result {
            tracing::warn!(link = job.link, error = %format_args!("{error:#}"), "DHCP failed");
        }
        tokio::time::sleep(backoff.next_delay(&rng)).await;
    }
}

async fn session(
    job: &Job,
    progress: &watch::Sender<Progress>,
    changed: &Notify,
    backoff: &mut Backoff,
) -> anyhow::Result<()> {
    let config = config(job)?;
    let mut client = DhcpV4Client::init(config, None).await.context("failed to start the DHCP client")?;
    loop {
        let state = client.run().await.context("failed to get a lease")?;
        let next = match state {
            DhcpV4State::Done(lease) => {
                backoff.reset();
                Progress::Bound(Lease::from(lease.as_ref()))
            }
            DhcpV4State::InitReboot => match &*progress.borrow() {
                Progress::Bound(_) => Progress::Lost,
                before => before.clone(),
            },
            _ => continue,
        };
        if progress.send_if_modified(|known| std::mem::replace(known, next.clone()) != next) {
            changed.notify_one();
        }
    }
}

fn config(job: &Job) -> anyhow::Result<DhcpV4Config> {
    let mut config = DhcpV4Config::new(&job.link);
    config.set_iface_index(job.index);
    config.set_iface_mac_raw(&job.hardware_addr).context("the link has no Ethernet address")?;
    let identifier = &job.settings.client_identifier;
    match identifier.kind {
        ClientIdentifier::None => {}
        ClientIdentifier::Mac => {
            config.use_mac_as_client_id();
        }
        ClientIdentifier::Duid => {
            let duid: corten_resource::HardwareAddr = identifier
                .duid_raw_hex
                .as_bytes()
                .chunks(2)
                .map(String::from_utf8_lossy)
                .collect::<Vec<_>>()
                .join(":")
                .parse()
                .context("the DUID is not hexadecimal")?;
            // Type 255: an identifier of RFC 4361, which carries a DUID.
            config.set_client_id(255, &duid.0);
        }
    }
    Ok(config)
}
