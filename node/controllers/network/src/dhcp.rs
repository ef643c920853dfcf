//! DHCP: one client per operator, its lease as specifications of layer operator.
//!
//! ```text
//! OperatorSpec@network, LinkStatus, AddressStatus ──▶ client (dhcp4, dhcp6) ──▶ lease ──▶ *Spec@network-config of layer operator
//! ```
//! Until a client has its first answer, what an earlier one of the same operator left in the state stays: a restart of this
//! program must not take the machine's address away. What others left is no business of it: a link on which nobody ever
//! answers must not keep an address whose lease ran out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, Rng, Task, spawn};
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::network::{
    AddressFlags, AddressSpec, AddressStatus, Dhcp4Operator, Dhcp6Operator, HostnameSpec, Layer, LinkFlags,
    LinkSpec, LinkStatus, Operator, OperatorSpec, ResolverSpec, RouteSpec, TimeServerSpec, layered_id,
};
use tokio::sync::{Notify, watch};

use crate::lease::Outcome;
use crate::{dhcp4, dhcp6};

/// Clients at one time.
const CLIENTS_MAX: usize = 64;

/// What a client knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Progress {
    /// No answer yet since it was started.
    #[default]
    Asking,
    /// A lease, and what it asks for.
    Bound(Box<Outcome>),
    /// The lease ran out and nobody renews it.
    Lost,
}

/// Which protocol is spoken, and how.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// DHCP for IPv4.
    V4(Dhcp4Operator),
    /// DHCP for IPv6, from this address of the link.
    V6(Dhcp6Operator, Ipv6Addr),
}

/// How to run a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The link.
    pub link: String,
    /// Its index.
    pub index: u32,
    /// Its Ethernet address.
    pub hardware_addr: Vec<u8>,
    /// What is spoken.
    pub protocol: Protocol,
}

/// Where a client tells what it knows.
pub struct Report {
    progress: watch::Sender<Progress>,
    changed: Arc<Notify>,
}

impl Report {
    /// What was told last.
    pub fn known(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Tells what is known now.
    pub fn tell(&self, next: Progress) {
        if self.progress.send_if_modified(|known| std::mem::replace(known, next.clone()) != next) {
            self.changed.notify_one();
        }
    }
}

struct Client {
    job: Job,
    progress: watch::Receiver<Progress>,
    _task: Task,
}

/// Runs the clients, by the ids of their operators.
pub struct Dhcp {
    clients: BTreeMap<String, Client>,
    changed: Arc<Notify>,
    rng: Rng,
}

controller!(Dhcp, "network.Dhcp",
inputs: [
    strong OperatorSpec,
    weak LinkStatus,
    weak AddressStatus,
    weak AddressSpec in "network-config",
    weak RouteSpec in "network-config",
    weak LinkSpec in "network-config",
    weak HostnameSpec in "network-config",
    weak ResolverSpec in "network-config",
    weak TimeServerSpec in "network-config",
],
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
    /// Start the client of this operator, in place of the one that is there.
    Start(String, Job),
    /// End it.
    Stop(String),
}

impl Dhcp {
    /// A controller without clients.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        Self { clients: BTreeMap::new(), changed: Arc::default(), rng }
    }
}

const fn is_dhcp(operator: &OperatorSpec) -> bool {
    matches!(operator.operator, Operator::Dhcp4 | Operator::Dhcp6)
}

/// The address of a link that only its neighbours know, when nobody else has it.
fn link_local(link: &str, addresses: &[AddressStatus]) -> Option<Ipv6Addr> {
    let unfit = AddressFlags::TENTATIVE.0 | AddressFlags::DADFAILED.0;
    let fit = addresses.iter().filter(|row| row.link_name == link && row.flags.0 & unfit == 0);
    fit.into_iter().find_map(|row| match row.address.addr() {
        IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
        _ => None,
    })
}

fn job(operator: &OperatorSpec, link: &LinkStatus, addresses: &[AddressStatus]) -> Option<Job> {
    let ready = link.flags.contains(LinkFlags::UP) && (link.link_state || !operator.require_up);
    let protocol = match operator.operator {
        Operator::Dhcp4 => Protocol::V4(operator.dhcp4.clone()),
        Operator::Dhcp6 => Protocol::V6(operator.dhcp6.clone(), link_local(&operator.link_name, addresses)?),
        Operator::Vip => return None,
    };
    (ready && link.hardware_addr.0.len() == 6).then(|| Job {
        link: operator.link_name.clone(),
        index: link.index,
        hardware_addr: link.hardware_addr.0.clone(),
        protocol,
    })
}

fn put_outcome(plan: &mut Plan<Dhcp, Op>, operator: &str, outcome: &Outcome) {
    let outcome = outcome.clone();
    let id = |id: &str| layered_id(Layer::Operator, &format!("{operator}/{id}"));
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

/// Puts again what an earlier client of the operator left.
fn keep(plan: &mut Plan<Dhcp, Op>, view: &View<Dhcp>, operator: &str) {
    let prefix = layered_id(Layer::Operator, &format!("{operator}/"));
    macro_rules! keep {
        ($($spec:ty),*) => {$(
            for row in view.list::<$spec>() {
                if row.metadata.id.starts_with(&prefix) {
                    plan.put::<$spec>(row.metadata.id.clone(), row.spec.clone());
                }
            }
        )*};
    }
    keep!(AddressSpec, RouteSpec, LinkSpec, HostnameSpec, ResolverSpec, TimeServerSpec);
}

impl Driver for Dhcp {
    type Observed = BTreeMap<String, (Job, Progress)>;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Self::Observed> {
        let known = |(operator, client): (&String, &Client)| {
            (operator.clone(), (client.job.clone(), client.progress.borrow().clone()))
        };
        Ok(self.clients.iter().map(known).collect())
    }

    fn plan(&self, view: &View<Self>, clients: &Self::Observed) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let operators: Vec<_> =
            view.list::<OperatorSpec>().into_iter().filter(|row| is_dhcp(&row.spec)).collect();
        let addresses: Vec<_> =
            view.list::<AddressStatus>().into_iter().map(|row| row.spec.clone()).collect();
        let wanted = |operator: &String| operators.iter().any(|row| row.spec.id() == *operator);
        for operator in clients.keys().filter(|operator| !wanted(operator)) {
            plan.op(Op::Stop(operator.clone()));
        }
        for operator in operators.iter().take(CLIENTS_MAX) {
            let running = clients.get(&operator.spec.id());
            let link = view.get::<LinkStatus>(&operator.spec.link_name);
            // A link that is down for a moment keeps its client, and the client its lease.
            if let Some(job) = link.and_then(|link| job(&operator.spec, &link.spec, &addresses))
                && running.is_none_or(|(known, _)| *known != job)
            {
                plan.op(Op::Start(operator.spec.id(), job));
            }
        }
        for operator in operators.iter().map(|row| row.spec.id()) {
            match clients.get(&operator).map(|(_, progress)| progress) {
                Some(Progress::Bound(outcome)) => put_outcome(&mut plan, &operator, outcome),
                Some(Progress::Lost) => {}
                Some(Progress::Asking) | None => keep(&mut plan, view, &operator),
            }
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Stop(operator) => {
                self.clients.remove(&operator);
            }
            Op::Start(operator, job) => {
                let (sender, progress) = watch::channel(Progress::Asking);
                let report = Report { progress: sender, changed: self.changed.clone() };
                let task = spawn("dhcp", run(job.clone(), report, self.rng.clone()));
                self.clients.insert(operator, Client { job, progress, _task: task });
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
async fn run(job: Job, report: Report, rng: Rng) {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
    loop {
        let result = match &job.protocol {
            Protocol::V4(settings) => dhcp4::session(&job, settings, &report, &mut backoff).await,
            Protocol::V6(settings, from) => {
                dhcp6::session(&job, settings, *from, &report, &mut backoff).await
            }
        };
        if let Err(error) = result {
            tracing::warn!(link = job.link, error = %format_args!("{error:#}"), "DHCP failed");
        }
        tokio::time::sleep(backoff.next_delay(&rng)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use corten_resource::testing::{resource, resource_in};
    use corten_resource::{AnyResource, HardwareAddr};
    use corten_resources::network::{CONFIG_NAMESPACE, Scope};

    use super::*;

    fn operator(spec: OperatorSpec) -> AnyResource {
        resource(&spec.id(), spec)
    }

    fn link() -> AnyResource {
        let hardware_addr = HardwareAddr(vec![2, 0, 0, 0, 0, 1]);
        let flags = LinkFlags::UP;
        let link = LinkStatus { index: 2, flags, link_state: true, hardware_addr, ..LinkStatus::default() };
        resource("eth0", link)
    }

    fn address(text: &str, flags: AddressFlags) -> AnyResource {
        let address = text.parse().expect("net");
        let status = AddressStatus { address, flags, link_name: "eth0".into(), ..AddressStatus::default() };
        resource(&status.id(), status)
    }

    fn started(rows: Vec<AnyResource>) -> Vec<(String, Protocol)> {
        let plan = Dhcp::new(Rng::seeded(1)).plan(&View::of(rows, UNIX_EPOCH), &BTreeMap::new());
        let started = |op: &Op| match op {
            Op::Start(operator, job) => Some((operator.clone(), job.protocol.clone())),
            Op::Stop(_) => None,
        };
        plan.ops().iter().filter_map(started).collect()
    }

    #[test]
    fn a_client_without_an_answer_keeps_what_its_operator_left_and_nothing_else() {
        let four = OperatorSpec::dhcp4(Layer::Default, "eth0", Dhcp4Operator::default());
        let six = OperatorSpec::dhcp6(Layer::Configuration, "eth0", Dhcp6Operator::default());
        let address =
            |net: &str| AddressSpec::new(Layer::Operator, "eth0", net.parse().expect("net"), Scope::GLOBAL);
        let id = |operator: &OperatorSpec, net: &str| {
            layered_id(Layer::Operator, &format!("{}/{}", operator.id(), address(net).id()))
        };
        let left = |operator: &OperatorSpec, net: &str| {
            resource_in(CONFIG_NAMESPACE, &id(operator, net), address(net))
        };
        let rows = [
            operator(four.clone()),
            operator(six.clone()),
            left(&four, "10.0.0.5/24"),
            left(&six, "fd00::5/128"),
        ];
        let kept = |progress: [Option<Progress>; 2]| {
            let job = |operator: &OperatorSpec| Job {
                link: "eth0".into(),
                index: 2,
                hardware_addr: vec![2, 0, 0, 0, 0, 1],
                protocol: Protocol::V4(operator.dhcp4.clone()),
            };
            let clients = [&four, &six].into_iter().zip(progress);
            let clients =
                clients.filter_map(|(spec, progress)| progress.map(|known| (spec.id(), (job(spec), known))));
            let view = View::of(rows.clone(), UNIX_EPOCH);
            let plan = Dhcp::new(Rng::seeded(1)).plan(&view, &clients.collect());
            let rows = plan.outputs::<AddressSpec>();
            rows.iter().map(|row| row.metadata.id.clone()).collect::<Vec<_>>()
        };
        let (old4, old6) = (id(&four, "10.0.0.5/24"), id(&six, "fd00::5/128"));
        assert_eq!(kept([None, None]), [old4, old6.clone()], "as after a restart of this program");
        assert_eq!(kept([Some(Progress::Lost), Some(Progress::Asking)]), std::slice::from_ref(&old6));
        let outcome = Outcome { address: Some(address("10.0.0.6/24")), ..Outcome::default() };
        let bound = Progress::Bound(Box::new(outcome));
        assert_eq!(kept([Some(bound), Some(Progress::Asking)]), [id(&four, "10.0.0.6/24"), old6]);
    }

    #[test]
    fn each_operator_of_a_link_has_its_client() {
        let four = OperatorSpec::dhcp4(Layer::Default, "eth0", Dhcp4Operator::default());
        let six = OperatorSpec::dhcp6(Layer::Configuration, "eth0", Dhcp6Operator::default());
        let vip = OperatorSpec::vip(Layer::Configuration, "eth0", IpAddr::from([10, 0, 0, 9]));
        let both = || vec![operator(four.clone()), operator(six.clone()), operator(vip.clone()), link()];
        let only_four = vec![("dhcp4/eth0".to_owned(), Protocol::V4(Dhcp4Operator::default()))];
        assert_eq!(started(both()), only_four, "without an address of the link there is nobody to answer to");
        let with = |flags| {
            [both(), vec![address("fd00::1/64", AddressFlags(0)), address("fe80::1/64", flags)]].concat()
        };
        assert_eq!(started(with(AddressFlags::TENTATIVE)), only_four);
        let from: Ipv6Addr = "fe80::1".parse().expect("ip");
        let six = ("dhcp6/eth0".to_owned(), Protocol::V6(Dhcp6Operator::default(), from));
        assert_eq!(started(with(AddressFlags(0))), [only_four, vec![six]].concat());
    }
}
