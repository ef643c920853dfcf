//! Addresses that control planes share: one of them holds each, chosen by etcd.
//!
//! ```text
//! OperatorSpec@network ──▶ candidate (vip_candidate.rs) ──▶ elected ──▶ AddressSpec@network-config of layer operator
//! Service etcd, MachineStatus ──▶ whether this machine may stand
//! ```
//! An address leaves its link before the election is given up, so that no two machines have it; an election that is lost
//! is told with notice, before others can win it. What an earlier life of this program left on a link goes at once: its
//! election ends meanwhile, and another machine may have won the next one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Rng, Secret, Task, spawn};
use corten_resource::{Driver, Plan, Source, View, controller};
use corten_resources::network::{
    AddressSpec, AddressStatus, Layer, LinkStatus, Operator, OperatorSpec, Scope, layered_id,
};
use corten_resources::runtime::{MachineStage, MachineStatus};
use corten_resources::secrets::{EtcdRoot, EtcdSecrets};
use corten_resources::service::Service;
use ipnet::IpNet;
use tokio::sync::{Notify, watch};

use crate::kernel::Sight;
use crate::kernel_addresses::AddressChanges;
use crate::vip_candidate::{Candidacy, Elections, Standing, stand};

/// The service that decides.
const ETCD: &str = "etcd";
/// The service whose traffic the addresses carry.
const KUBELET: &str = "kubelet";
/// Elections that a machine takes part in at one time.
const CANDIDATES_MAX: usize = 16;

/// How long giving an election up may take; it ends by itself a little later.
const YIELD: Duration = Duration::from_secs(5);

struct Candidate {
    identity: corten_etcd::Identity,
    standing: watch::Receiver<Standing>,
    /// Dropping it gives the election up.
    stay: watch::Sender<()>,
    task: Task,
}

/// Takes part in elections.
pub struct Vip<E, K> {
    elections: E,
    kernel: K,
    candidates: BTreeMap<IpAddr, Candidate>,
    changed: Arc<Notify>,
    rng: Rng,
}

controller!(impl<E: Elections, K: Sight + AddressChanges + 'static> Vip<E, K>, "network.Vip",
    inputs: [
        weak OperatorSpec, weak AddressSpec, weak LinkStatus, weak AddressStatus, weak EtcdRoot, weak EtcdSecrets,
        weak Service, weak MachineStatus,
    ],
    outputs: [shared AddressSpec in "network-config"]);

impl<E, K> Vip<E, K> {
    /// A controller over `kernel` that stands nowhere.
    #[must_use]
    pub fn new(elections: E, kernel: K, rng: Rng) -> Self {
        Self { elections, kernel, candidates: BTreeMap::new(), changed: Arc::default(), rng }
    }
}

/// A step in an election.
#[derive(Clone, Debug)]
pub enum Op {
    /// Stand for the address.
    Stand(IpAddr, corten_etcd::Identity),
    /// Give it up.
    Yield(IpAddr),
    /// Take the address away from the link with this index.
    TakeAway(u32, IpNet),
}

/// What there is.
pub struct Seen {
    candidates: BTreeMap<IpAddr, (corten_etcd::Identity, Standing)>,
    /// Addresses of the kernel, with the indexes of their links.
    addresses: Vec<(u32, IpNet)>,
}

/// Who this machine is to etcd.
fn identity<E: Elections, K: Sight + AddressChanges + 'static>(
    view: &View<Vip<E, K>>,
) -> Option<corten_etcd::Identity> {
    let admin = view.get::<EtcdSecrets>(EtcdSecrets::ID)?.spec.etcd_admin.as_ref()?;
    Some(corten_etcd::Identity {
        ca: view.get::<EtcdRoot>(EtcdRoot::ID)?.spec.etcd_ca.as_ref()?.crt.clone(),
        certificate: admin.crt.clone(),
        key: Secret::new(admin.key.clone()),
    })
}

/// What keeps this machine from holding an address; nothing when it may stand.
fn obstacle<E: Elections, K: Sight + AddressChanges + 'static>(
    view: &View<Vip<E, K>>,
) -> Option<&'static str> {
    let service = |id| view.get::<Service>(id).map(|row| &row.spec);
    let stage = view.get::<MachineStatus>("machine").map(|row| row.spec.stage);
    if matches!(
        stage,
        Some(
            MachineStage::Rebooting
                | MachineStage::ShuttingDown
                | MachineStage::Resetting
                | MachineStage::Upgrading
        )
    ) {
        Some("this machine to be back")
    } else if !service(ETCD).is_some_and(|etcd| etcd.running && etcd.healthy) {
        Some("etcd")
    } else if !service(KUBELET).is_some_and(|kubelet| kubelet.running) {
        Some("the kubelet")
    } else {
        None
    }
}

/// Shared addresses that are on a link here, although this machine does not hold them.
fn stale<'a>(
    seen: &'a Seen,
    wanted: impl Iterator<Item = &'a IpAddr>,
    can_stand: impl Fn(&IpAddr) -> bool,
) -> Vec<(u32, IpNet)> {
    let is_ours =
        |ip: &IpAddr| can_stand(ip) && matches!(seen.candidates.get(ip), Some((_, Standing::Elected)));
    let others: Vec<IpNet> =
        wanted.chain(seen.candidates.keys()).filter(|ip| !is_ours(ip)).map(|ip| IpNet::from(*ip)).collect();
    seen.addresses.iter().filter(|(_, address)| others.contains(address)).copied().collect()
}

/// The address as its link gets it: of a network of its own.
fn address(operator: &OperatorSpec, ip: IpAddr) -> AddressSpec {
    let announce_with_arp = operator.vip.gratuitous_arp && ip.is_ipv4();
    let spec = AddressSpec::new(Layer::Operator, &operator.link_name, IpNet::from(ip), Scope::GLOBAL);
    AddressSpec { announce_with_arp, ..spec }
}

impl<E: Elections, K: Sight + AddressChanges + 'static> Driver for Vip<E, K> {
    type Observed = Seen;
    type Op = Op;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        // Most machines share nothing, and links change with every pod.
        let is_shared = view.list::<OperatorSpec>().iter().any(|row| row.spec.operator == Operator::Vip);
        if !is_shared && self.candidates.is_empty() {
            return Ok(Seen { candidates: BTreeMap::new(), addresses: Vec::new() });
        }
        let known = |(ip, candidate): (&IpAddr, &Candidate)| {
            (*ip, (candidate.identity.clone(), candidate.standing.borrow().clone()))
        };
        let candidates = self.candidates.iter().map(known).collect();
        let network = self.kernel.snapshot().await?;
        let place = |row: &AddressStatus| Some((network.links.get(&row.link_name)?.index, row.address));
        Ok(Seen { candidates, addresses: network.addresses.iter().filter_map(place).collect() })
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let candidates = &seen.candidates;
        let operators = view.list::<OperatorSpec>();
        let is_vip = |operator: &OperatorSpec| operator.operator == Operator::Vip;
        let wanted: BTreeMap<IpAddr, &OperatorSpec> = operators
            .iter()
            .filter(|row| is_vip(&row.spec))
            .filter_map(|row| Some((row.spec.vip.ip?, &row.spec)))
            .take(CANDIDATES_MAX)
            .collect();
        let obstacle = obstacle(view);
        let identity = identity(view);
        let can_stand = |ip: &IpAddr| {
            let link = wanted.get(ip).and_then(|operator| view.get::<LinkStatus>(&operator.link_name));
            obstacle.is_none() && link.is_some_and(|link| link.spec.is_operational())
        };
        let stale = stale(seen, wanted.keys(), can_stand);
        for (index, address) in &stale {
            if view.list::<AddressSpec>().iter().any(|row| row.spec.address == *address) {
                plan.missing(format!("{} to leave its link", address.addr()));
            } else {
                plan.op(Op::TakeAway(*index, *address));
            }
        }
        for (ip, (known, standing)) in candidates {
            // Who holds an address does not let go of it for a new certificate.
            let is_renewed = *standing != Standing::Elected
                && identity.as_ref().is_some_and(|identity| identity.certificate != known.certificate);
            let is_on_a_link = stale.iter().any(|(_, address)| address.addr() == *ip);
            if (!can_stand(ip) || is_renewed) && !is_on_a_link {
                plan.op(Op::Yield(*ip));
            }
        }
        for (ip, operator) in &wanted {
            match (candidates.get(ip), &identity) {
                _ if !can_stand(ip) => {
                    let link = format!("link {}", operator.link_name);
                    plan.missing(obstacle.map_or(link, str::to_owned));
                }
                (None, None) => {
                    plan.missing("certificates of etcd");
                }
                (None, Some(identity)) => {
                    plan.op(Op::Stand(*ip, identity.clone()));
                }
                (Some((_, Standing::Elected)), _) => {
                    let spec = address(operator, *ip);
                    plan.put::<AddressSpec>(layered_id(Layer::Operator, &format!("vip/{}", spec.id())), spec);
                }
                (Some((_, Standing::Failed(why))), _) => {
                    plan.missing(format!("etcd to elect who has {ip}: {why}"));
                }
                (Some((_, Standing::Waiting)), _) => {}
            }
        }
        plan
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::TakeAway(index, address) => self.kernel.delete_address(index, address).await?,
            Op::Yield(ip) => {
                if let Some(Candidate { stay, task, .. }) = self.candidates.remove(&ip) {
                    drop(stay);
                    // An etcd that does not answer lets the election end by itself.
                    let _ = tokio::time::timeout(YIELD, task.join()).await;
                }
            }
            Op::Stand(ip, identity) => {
                let (standing, seen) = watch::channel(Standing::Waiting);
                let (stay, leave) = watch::channel(());
                let candidacy = Candidacy {
                    ip,
                    identity: identity.clone(),
                    standing,
                    changed: self.changed.clone(),
                    rng: self.rng.clone(),
                };
                let task = spawn("vip", stand(self.elections.clone(), candidacy, leave));
                self.candidates.insert(ip, Candidate { identity, standing: seen, stay, task });
            }
        }
        Ok(())
    }

    fn sources(&mut self) -> Vec<Source> {
        let changed = self.changed.clone();
        vec![Source::new("elections", move |trigger| {
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

#[cfg(test)]
mod tests;
