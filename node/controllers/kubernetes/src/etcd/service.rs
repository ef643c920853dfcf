//! Says that etcd should run, and how it comes into its cluster.
//!
//! ```text
//! data on disk ──────────────────▶ run            (a reboot)
//! BootstrapIntent ───────────────▶ run as new     (somebody asked for it)
//! other control planes answer ───▶ join as learner, run
//! none of them ──────────────────▶ Waiting for bootstrap
//! EtcdDeparture ─────────────────▶ stay out of it (until a reboot)
//! ```
//!
//! etcd cannot go on where it was interrupted while it founded its cluster: it has a member folder, and no member in
//! it. So a file says that the cluster has not answered yet ([`super::FOUNDING_FILE`]). Until it is gone the API server
//! does not start, and at the next boot what is in the folder is nobody's data: it is removed, and the cluster founded
//! again without another order.
//!
//! ```text
//! BootstrapIntent ─▶ Begin: the file ─▶ etcd runs as new ─▶ healthy ─▶ Found: the file is removed
//! power-on with the file and data ─▶ Discard: the data ─▶ etcd runs as new …
//! ```
//!
//! What was decided is kept for the whole boot ([`EtcdEntry`]): the command line must not change because the data folder filled meanwhile.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use corten_base::Secret;
use corten_base::fs::{Durability, write_atomic};
use corten_base::paths::ETCD_UID;
use corten_resource::{Driver, Plan, View, controller};
use corten_resources::etcd::{EntryKind, EntryMember, EtcdDeparture, EtcdEntry, EtcdPkiStatus, EtcdSpec};
use corten_resources::kubernetes::Endpoint;
use corten_resources::network::NodeAddress;
use corten_resources::secrets::{EtcdRoot, EtcdSecrets};
use corten_resources::service::{
    BootstrapIntent, ContainerMount, ContainerRun, HealthCheck, HealthProbe, Restart, Runner, Service,
    ServiceDirectory, ServiceSpec,
};
use corten_resources::time::TimeStatus;

use super::arguments::{Entry, arguments, peer_urls, url};
use super::{CLIENT_PORT, DATA_FOLDER, FOUNDING_FILE, HEALTH_PORT, PKI_FOLDER, SERVICE};
use crate::control_plane::readiness;
use crate::files::Disk;

/// How often other control planes are tried.
const JOIN_RETRY: Duration = Duration::from_secs(5);

/// See the module.
pub struct EtcdService {
    disk: Disk,
    /// Members that the cluster named when this machine joined.
    joined: Option<Vec<EntryMember>>,
}

impl EtcdService {
    /// A controller that looks for data on `disk`.
    #[must_use]
    pub fn new(disk: Disk) -> Self {
        Self { disk, joined: None }
    }
}

controller!(EtcdService, "etcd.Service",
    inputs: [
        strong EtcdSpec, strong EtcdPkiStatus, strong EtcdRoot, strong EtcdSecrets, weak Endpoint, weak BootstrapIntent,
        weak EtcdEntry, weak EtcdDeparture, weak Service, weak ServiceSpec, weak TimeStatus, weak NodeAddress,
    ],
    outputs: [shared ServiceSpec, exclusive EtcdEntry]);

/// What is known about this machine's membership.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    has_data: bool,
    founding: bool,
    joined: Option<Vec<EntryMember>>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Op {
    /// Remember that a cluster is being founded.
    Begin,
    /// Remove what an interrupted founding left.
    Discard,
    /// Remember that the cluster has answered.
    Found,
    /// Have this machine taken in by a cluster.
    Join(Join),
}

/// Ask the cluster at these addresses to take this machine in.
#[derive(Clone, Debug)]
pub struct Join {
    endpoints: Vec<String>,
    identity: corten_etcd::Identity,
    name: String,
    peer_urls: Vec<String>,
}

impl Driver for EtcdService {
    type Observed = Seen;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Seen> {
        let has_data = match std::fs::read_dir(self.disk.path(DATA_FOLDER).join("member")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            entries => entries?.next().is_some(),
        };
        let founding = self.disk.path(FOUNDING_FILE).exists();
        Ok(Seen { has_data, founding, joined: self.joined.clone() })
    }

    fn plan(&self, view: &View<Self>, seen: &Seen) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let Some(spec) = view.get::<EtcdSpec>(EtcdSpec::ID) else { return plan };
        let has_left = view.get::<EtcdDeparture>(EtcdDeparture::ID).is_some();
        let decided = if has_left { None } else { decide(view, seen) };
        let entry = match decided {
            Some(Decision::Enter(entry)) => Some(entry),
            Some(Decision::First(op)) => {
                plan.op(op);
                plan.keep::<ServiceSpec>().keep::<EtcdEntry>();
                return plan;
            }
            None => None,
        };
        let mut waits = readiness::reasons(view.get(SERVICE), view.get("cri"), view.get(TimeStatus::ID));
        let pki = view.get::<EtcdPkiStatus>(EtcdPkiStatus::ID).filter(|pki| pki.ready);
        if pki.is_none() && !waits.is_empty() {
            waits.push("etcd PKI".to_owned());
        }
        let mut outcome = None;
        if has_left {
            waits.insert(0, "reboot, after leaving the cluster".to_owned());
        } else if entry.is_none() {
            waits.insert(0, "bootstrap".to_owned());
            match joining(view, spec) {
                Some(join) => {
                    plan.op(Op::Join(join));
                }
                None => outcome = Some("bootstrap, or another control plane"),
            }
        }
        let revision = pki.map(|pki| pki.version.clone()).unwrap_or_default();
        match service(spec, entry.as_ref(), revision, waits) {
            Err(refused) => return plan.failed(refused.to_string()),
            Ok(service) => {
                plan.put(SERVICE, service);
            }
        }
        let is_healthy = view.get::<Service>(SERVICE).is_some_and(|service| service.healthy);
        if let Some(entry) = entry {
            // Not before the decision is on record: the file is what it was made from.
            if entry.founding && is_healthy && view.get::<EtcdEntry>(EtcdEntry::ID).is_some() {
                plan.op(Op::Found);
            }
            plan.put(EtcdEntry::ID, entry);
        }
        match outcome {
            Some(what) => plan.waiting(what).again_in(JOIN_RETRY),
            None => plan,
        }
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        let file = self.disk.path(FOUNDING_FILE);
        match op {
            Op::Begin => file
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| write_atomic(&file, b"", 0o600, Durability::Durable))
                .with_context(|| format!("cannot write {}", file.display())),
            Op::Discard => {
                let folder = self.disk.path(DATA_FOLDER).join("member");
                tracing::warn!("a new etcd cluster was interrupted before it worked; it is founded again");
                std::fs::remove_dir_all(&folder)
                    .with_context(|| format!("cannot remove {}", folder.display()))
            }
            Op::Found => remove_durably(&file).with_context(|| format!("cannot remove {}", file.display())),
            Op::Join(join) => {
                self.joined = Some(take_in(&join).await?);
                Ok(())
            }
        }
    }
}

/// A removal that no loss of power undoes.
fn remove_durably(file: &Path) -> io::Result<()> {
    std::fs::remove_file(file)?;
    file.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

/// What follows from what is known.
enum Decision {
    /// etcd runs.
    Enter(EtcdEntry),
    /// This has to happen before.
    First(Op),
}

/// How etcd comes into its cluster, once that is known.
fn decide(view: &View<EtcdService>, seen: &Seen) -> Option<Decision> {
    let enter = |kind, members| {
        Some(Decision::Enter(EtcdEntry { kind, members, founding: seen.founding && kind == EntryKind::New }))
    };
    if let Some(entry) = view.get::<EtcdEntry>(EtcdEntry::ID) {
        return enter(entry.kind, entry.members.clone());
    }
    match (seen.founding, seen.has_data) {
        (true, true) => return Some(Decision::First(Op::Discard)),
        (true, false) => return enter(EntryKind::New, Vec::new()),
        (false, true) => return enter(EntryKind::Present, Vec::new()),
        (false, false) => {}
    }
    if view.get::<BootstrapIntent>(BootstrapIntent::ID).is_some() {
        return Some(Decision::First(Op::Begin));
    }
    seen.joined.clone().and_then(|members| enter(EntryKind::Join, members))
}

/// The request to join, when other control planes are known.
fn joining(view: &View<EtcdService>, spec: &EtcdSpec) -> Option<Join> {
    let mut own: BTreeSet<IpAddr> = spec.advertised_addresses.iter().copied().collect();
    own.extend(
        view.get::<NodeAddress>(NodeAddress::CURRENT).into_iter().flat_map(|addresses| addresses.ips()),
    );
    let others: BTreeSet<IpAddr> = view
        .list::<Endpoint>()
        .iter()
        .flat_map(|endpoint| endpoint.addresses.iter().copied())
        .filter(|address| !own.contains(address))
        .collect();
    let identity = identity(view.get(EtcdRoot::ID)?, view.get::<EtcdSecrets>(EtcdSecrets::ID)?)?;
    (!others.is_empty()).then(|| Join {
        endpoints: others.into_iter().map(|address| url(address, CLIENT_PORT)).collect(),
        identity,
        name: spec.name.clone(),
        peer_urls: peer_urls(spec),
    })
}

/// Who this machine's own tools are to etcd.
#[must_use]
pub fn identity(root: &EtcdRoot, secrets: &EtcdSecrets) -> Option<corten_etcd::Identity> {
    let admin = secrets.etcd_admin.as_ref()?;
    Some(corten_etcd::Identity {
        ca: root.etcd_ca.as_ref()?.crt.clone(),
        certificate: admin.crt.clone(),
        key: Secret::new(admin.key.clone()),
    })
}

/// Joins as a learner. What was left of an earlier life of this machine goes first: its data are gone, so it can never answer again.
async fn take_in(op: &Join) -> anyhow::Result<Vec<EntryMember>> {
    let config = corten_etcd::Config { endpoints: op.endpoints.clone(), identity: op.identity.clone() };
    let client = corten_etcd::Client::new(&config)?;
    for member in client.members().await? {
        let is_own = member.name == op.name || member.peer_urls.iter().any(|url| op.peer_urls.contains(url));
        if is_own {
            client.remove_member(member.id).await?;
        }
    }
    let (own, all) = client.add_learner(&op.peer_urls).await?;
    let mut members = Vec::new();
    for member in all {
        let name = if member.id == own.id { op.name.clone() } else { member.name };
        // A member without a name has not started yet; etcd could not match it in its list.
        if !name.is_empty() {
            members.extend(member.peer_urls.into_iter().map(|url| EntryMember { name: name.clone(), url }));
        }
    }
    Ok(members)
}

fn service(
    spec: &EtcdSpec,
    entry: Option<&EtcdEntry>,
    revision: String,
    waiting_for: Vec<String>,
) -> Result<ServiceSpec, crate::arguments::Refused> {
    let members =
        || entry.iter().flat_map(|entry| &entry.members).map(|m| (m.name.clone(), m.url.clone())).collect();
    let way = match entry.map(|entry| entry.kind) {
        Some(EntryKind::Join) => Entry::Join(members()),
        Some(EntryKind::New) => Entry::New,
        Some(EntryKind::Present) | None => Entry::Present,
    };
    let bind = |path: &str, mode: &str| ContainerMount {
        destination: path.to_owned(),
        kind: "bind".to_owned(),
        source: path.to_owned(),
        options: vec!["rbind".to_owned(), mode.to_owned()],
    };
    let container = ContainerRun {
        namespace: "system".to_owned(),
        image: spec.image.clone(),
        args: arguments(spec, &way)?,
        mounts: vec![bind(DATA_FOLDER, "rw"), bind(PKI_FOLDER, "ro")],
        uid: ETCD_UID,
        gid: ETCD_UID,
        cgroup: "/podruntime/etcd".to_owned(),
        oom_score_adjust: -998,
        directories: vec![ServiceDirectory {
            path: DATA_FOLDER.to_owned(),
            mode: 0o700,
            uid: ETCD_UID,
            gid: ETCD_UID,
        }],
        ..ContainerRun::default()
    };
    Ok(ServiceSpec {
        runner: Runner::Container,
        container,
        waiting_for,
        health: HealthCheck {
            probe: HealthProbe::Http,
            target: format!("http://127.0.0.1:{HEALTH_PORT}/readyz"),
            initial_delay: Duration::from_millis(250),
            period: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
        },
        restart: Restart::Always,
        revision,
        control: true,
        ..ServiceSpec::default()
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::testing::resource;

    use super::*;

    fn spec() -> corten_resource::AnyResource {
        resource(
            EtcdSpec::ID,
            EtcdSpec {
                name: "cp-1".into(),
                advertised_addresses: vec!["10.5.0.2".parse().expect("an address")],
                ..EtcdSpec::default()
            },
        )
    }

    fn plan(more: Vec<corten_resource::AnyResource>, seen: &Seen) -> Plan<EtcdService, Op> {
        let all = std::iter::once(spec()).chain(more);
        EtcdService::new(Disk::machine()).plan(&View::of(all, SystemTime::UNIX_EPOCH), seen)
    }

    fn healthy() -> Vec<corten_resource::AnyResource> {
        vec![
            resource("cri", Service { running: true, healthy: true, unknown: false }),
            resource(EtcdPkiStatus::ID, EtcdPkiStatus { ready: true, version: "1".into() }),
        ]
    }

    #[test]
    fn waits_for_bootstrap_on_an_empty_machine() {
        let plan = plan(healthy(), &Seen::default());
        let service = plan.output::<ServiceSpec>(SERVICE).expect("a specification");
        assert_eq!(service.waiting_for, ["bootstrap"]);
        assert!(plan.output::<EtcdEntry>(EtcdEntry::ID).is_none() && plan.ops().is_empty());
    }

    #[test]
    fn a_machine_that_left_neither_joins_again_nor_founds_a_cluster() {
        let mut inputs = healthy();
        inputs.push(resource(EtcdDeparture::ID, EtcdDeparture {}));
        inputs.push(resource(EtcdEntry::ID, EtcdEntry { kind: EntryKind::New, ..EtcdEntry::default() }));
        let plan = plan(inputs, &Seen { has_data: true, joined: Some(Vec::new()), ..Seen::default() });
        let service = plan.output::<ServiceSpec>(SERVICE).expect("a specification");
        assert_eq!(service.waiting_for, ["reboot, after leaving the cluster"]);
        assert!(plan.output::<EtcdEntry>(EtcdEntry::ID).is_none() && plan.ops().is_empty());
    }

    #[test]
    fn an_intent_starts_a_new_cluster_and_data_start_what_they_are() {
        let mut inputs = healthy();
        inputs.push(resource(BootstrapIntent::ID, BootstrapIntent::default()));
        let before = plan(inputs.clone(), &Seen::default());
        assert!(matches!(before.ops(), [Op::Begin]) && before.output::<EtcdEntry>(EtcdEntry::ID).is_none());
        let first = plan(inputs.clone(), &Seen { founding: true, ..Seen::default() });
        assert_eq!(
            first.output::<ServiceSpec>(SERVICE).expect("a specification").waiting_for,
            Vec::<String>::new()
        );
        assert_eq!(first.output::<EtcdEntry>(EtcdEntry::ID).map(|entry| entry.kind), Some(EntryKind::New));
        let later = plan(healthy(), &Seen { has_data: true, ..Seen::default() });
        assert_eq!(
            later.output::<EtcdEntry>(EtcdEntry::ID).map(|entry| entry.kind),
            Some(EntryKind::Present)
        );
    }

    #[test]
    fn the_command_line_stays_when_the_data_folder_fills() {
        let mut inputs = healthy();
        let members = vec![EntryMember { name: "a".into(), url: "https://10.5.0.1:2380".into() }];
        inputs.push(resource(
            EtcdEntry::ID,
            EtcdEntry { kind: EntryKind::Join, members, ..EtcdEntry::default() },
        ));
        let before = plan(inputs.clone(), &Seen::default());
        let after = plan(inputs, &Seen { has_data: true, ..Seen::default() });
        assert_eq!(before.output::<ServiceSpec>(SERVICE), after.output::<ServiceSpec>(SERVICE));
    }

    #[test]
    fn other_control_planes_are_asked_to_take_us_in() {
        let pem = || Some(corten_resources::secrets::CertificateAndKey::default());
        let mut inputs = healthy();
        inputs.push(resource(EtcdRoot::ID, EtcdRoot { etcd_ca: pem() }));
        inputs.push(resource(EtcdSecrets::ID, EtcdSecrets { etcd_admin: pem(), ..EtcdSecrets::default() }));
        let addresses = ["10.5.0.1", "10.5.0.2"].iter().map(|ip| ip.parse().expect("an address")).collect();
        inputs.push(resource(Endpoint::API_SERVER, Endpoint { addresses, hosts: Vec::new() }));
        let plan = plan(inputs, &Seen::default());
        let [Op::Join(join)] = plan.ops() else { panic!("{:?}", plan.ops()) };
        assert_eq!(join.endpoints, ["https://10.5.0.1:2379"]);
        assert_eq!(join.peer_urls, ["https://10.5.0.2:2380"]);
    }

    #[test]
    fn a_founding_ends_when_the_cluster_answers_and_not_before() {
        let healthy = |healthy| resource(SERVICE, Service { running: true, healthy, unknown: false });
        let entry = resource(EtcdEntry::ID, EtcdEntry { kind: EntryKind::New, ..EtcdEntry::default() });
        let seen = Seen { founding: true, has_data: true, joined: None };
        let early = plan(vec![entry.clone(), healthy(false)], &seen);
        assert!(early.ops().is_empty());
        assert_eq!(early.output::<EtcdEntry>(EtcdEntry::ID).map(|entry| entry.founding), Some(true));
        let answered = plan(vec![entry.clone(), healthy(true)], &seen);
        assert!(matches!(answered.ops(), [Op::Found]), "{:?}", answered.ops());
        let founded = plan(vec![entry, healthy(true)], &Seen { founding: false, ..seen });
        assert!(founded.ops().is_empty());
        assert_eq!(founded.output::<EtcdEntry>(EtcdEntry::ID).map(|entry| entry.founding), Some(false));
    }

    #[test]
    fn what_an_interrupted_founding_left_is_removed_and_founded_again_without_an_order() {
        let left = plan(healthy(), &Seen { founding: true, has_data: true, joined: None });
        assert!(matches!(left.ops(), [Op::Discard]) && left.output::<EtcdEntry>(EtcdEntry::ID).is_none());
        let again = plan(healthy(), &Seen { founding: true, ..Seen::default() });
        assert_eq!(again.output::<EtcdEntry>(EtcdEntry::ID).map(|entry| entry.kind), Some(EntryKind::New));
    }

    #[tokio::test]
    async fn the_mark_of_a_founding_and_its_data_come_and_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::below(folder.path());
        std::fs::create_dir_all(disk.path(DATA_FOLDER).join("member/wal")).expect("a member");
        let (view, mut service) = (View::of([], SystemTime::UNIX_EPOCH), EtcdService::new(disk));
        for (op, founding, has_data) in
            [(Op::Begin, true, true), (Op::Discard, true, false), (Op::Found, false, false)]
        {
            service.apply(op).await.expect("applied");
            let seen = service.observe(&view).await.expect("seen");
            assert_eq!((seen.founding, seen.has_data), (founding, has_data));
        }
    }
}
