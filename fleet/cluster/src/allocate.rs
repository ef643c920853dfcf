//! Which machines come into a set that takes them from a class, and which one leaves it (fleet.md 4.4).
//!
//! ```text
//! machines ─fit─▶ candidates, by id ──┐
//! class, count ───────────────────────┼─allocate─▶ MachineSetNodes to create | one to tear down | why neither
//! nodes of the set ───────────────────┘
//! ```
//!
//! Only nodes that a class chose are taken away again; what a person put in stays.

use std::fmt;
use std::time::SystemTime;

use corten_fleet_resources::cluster::{AllocationKind, MachineAllocation};
use corten_fleet_resources::labels::{self, machine_status};

use crate::{Labels, Role, TalosVersion};

/// Since this minor release a machine that is not installed may come from another minor release than its cluster.
const FREE_SINCE: (u64, u64) = (1, 13);

/// A machine as it may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Its UUID.
    pub id: &'a str,
    /// Labels of its status.
    pub labels: &'a Labels,
    /// Version that runs on it, with or without `v`.
    pub talos_version: &'a str,
    /// Its provider or a person wants it left alone.
    pub is_cordoned: bool,
    /// It is going away.
    pub is_tearing_down: bool,
}

/// How a class tells its machines.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// By labels: whether one of its [`Selector`](corten_resource::Selector)s holds for these.
    Labels(&'a dyn Fn(&Labels) -> bool),
    /// They are made for the machine set with this id.
    Requests(&'a str),
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels(_) => f.write_str("Labels"),
            Self::Requests(set) => f.debug_tuple("Requests").field(set).finish(),
        }
    }
}

/// A machine set that takes its machines from a class.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// What it takes, and how many.
    pub allocation: &'a MachineAllocation,
    /// How its class tells machines.
    pub source: Source<'a>,
    /// Version that the cluster is to run.
    pub talos_version: &'a str,
    /// Nothing of the cluster is changed.
    pub is_locked: bool,
    /// The set or its cluster is going away.
    pub is_tearing_down: bool,
}

/// A machine that is in the set.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// UUID of the machine.
    pub id: &'a str,
    /// When it came in.
    pub created: SystemTime,
    /// A class chose it, so a class may take it away.
    pub is_managed: bool,
    /// A person wants it neither updated nor removed.
    pub is_locked: bool,
    /// It is leaving.
    pub is_tearing_down: bool,
    /// Its tunnel is up; false also when the machine is gone from the manager.
    pub is_connected: bool,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// Machines to put into the set.
    pub create: Vec<String>,
    /// The machine to take out of it; never more than one at a time.
    pub tear_down: Option<String>,
    /// Why it is not as wanted yet, and what would change that; absent when it is.
    pub reason: Option<String>,
}

impl Allocation {
    fn waiting(reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..Self::default() }
    }
}

/// Whether a machine may come into a set.
///
/// # Errors
/// Why not, for people who look for their machine.
pub fn fit(machine: &Machine<'_>, set: &Set<'_>) -> Result<(), String> {
    let has = |label: &str| machine.labels.contains_key(label);
    let is_of_class = match set.source {
        Source::Labels(selects) => !has(labels::NO_MANUAL_ALLOCATION) && selects(machine.labels),
        Source::Requests(id) => machine.labels.get(labels::MACHINE_REQUEST_SET).is_some_and(|set| set == id),
    };
    let rules = [
        (is_of_class, "it is not of the class"),
        (!machine.is_tearing_down, "it is being removed"),
        (!machine.is_cordoned, "it is cordoned; end that to use it"),
        (has(machine_status::AVAILABLE), "it is in a cluster"),
        (has(machine_status::READY_TO_USE), "it is not connected"),
        (has(machine_status::REPORTING_EVENTS), "its events have not arrived yet"),
    ];
    if let Some((_, reason)) = rules.iter().find(|(holds, _)| !holds) {
        return Err((*reason).to_owned());
    }
    version_fits(machine, set.talos_version)
}

/// No downgrade; and what is not installed yet cannot jump between minor releases before 1.13.
fn version_fits(machine: &Machine<'_>, wanted: &str) -> Result<(), String> {
    let read = |text: &str| TalosVersion::parse(text).map_err(|error| error.to_string());
    let (runs, wanted) = (read(machine.talos_version)?, read(wanted)?);
    if runs > wanted {
        return Err(format!(
            "it runs {runs}, and the cluster {wanted}; upgrade the cluster, or start an older image"
        ));
    }
    let is_installed = machine.labels.contains_key(machine_status::INSTALLED);
    let is_free = runs.minor() >= FREE_SINCE && wanted.minor() >= FREE_SINCE;
    if is_installed || is_free || runs.minor() == wanted.minor() {
        return Ok(());
    }
    Err(format!(
        "it runs {runs} and is not installed; start it with an image of the minor release of {wanted}"
    ))
}

/// Brings a set closer to what its class is to give it.
#[must_use]
pub fn allocate(set: &Set<'_>, machines: &[Machine<'_>], nodes: &[Node<'_>]) -> Allocation {
    if set.is_tearing_down {
        return Allocation::default();
    }
    let running = nodes.iter().filter(|node| !node.is_tearing_down).count();
    let wanted = match set.allocation.allocation_kind {
        AllocationKind::Static => usize::try_from(set.allocation.machine_count).unwrap_or(usize::MAX),
        AllocationKind::Unlimited => usize::MAX,
    };
    if set.is_locked && running != wanted {
        return Allocation::waiting("the cluster is locked; unlock it to change its machines");
    }
    if running > wanted {
        return shrink(nodes, running - wanted);
    }
    let missing = wanted - running;
    let mut create: Vec<String> = machines
        .iter()
        .filter(|machine| !nodes.iter().any(|node| node.id == machine.id) && fit(machine, set).is_ok())
        .map(|machine| machine.id.to_owned())
        .collect();
    create.sort();
    create.truncate(missing);
    let short = missing - create.len();
    let is_short = short > 0 && wanted != usize::MAX;
    let class = &set.allocation.name;
    let reason = is_short.then(|| format!("{short} more machines of {class} are needed; free or add some"));
    Allocation { create, tear_down: None, reason }
}

/// Takes one machine away: first those that are not reached, then the one that came first.
fn shrink(nodes: &[Node<'_>], surplus: usize) -> Allocation {
    if let Some(leaving) = nodes.iter().find(|node| node.is_tearing_down) {
        return Allocation::waiting(format!("{surplus} machines are too many; {} leaves first", leaving.id));
    }
    let may_leave = nodes.iter().filter(|node| node.is_managed && !node.is_locked);
    match may_leave.min_by_key(|node| (node.is_connected, node.created, node.id)) {
        Some(node) => Allocation { tear_down: Some(node.id.to_owned()), ..Allocation::default() },
        None => Allocation::waiting(format!(
            "{surplus} machines are too many, and each is locked or put in by hand; unlock or remove one"
        )),
    }
}

/// How many machines a provider is to make for a set: as many as are wanted, but none is taken away before its node is.
#[must_use]
pub fn requested(allocation: &MachineAllocation, nodes: usize) -> i32 {
    let wanted = i32::try_from(allocation.machine_count).unwrap_or(i32::MAX);
    wanted.max(i32::try_from(nodes).unwrap_or(i32::MAX))
}

/// A machine request of a request set.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its id.
    pub id: &'a str,
    /// When it was made.
    pub created: SystemTime,
    /// What its machine is in a cluster; `None` while it is in none.
    pub used_as: Option<Role>,
}

/// The request to give up when a set has too many: one that nobody uses, else one of a worker, the first of its kind.
#[must_use]
pub fn surplus_request<'a>(requests: &[Request<'a>]) -> Option<&'a str> {
    let rank = |request: &&Request<'a>| match request.used_as {
        None => 0,
        Some(Role::Worker) => 1,
        Some(Role::ControlPlane) => 2,
    };
    let first = requests.iter().min_by_key(|request| (rank(request), request.created, request.id));
    first.map(|request| request.id)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::testing;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// What a machine that can be chosen has.
    const READY: [&str; 3] =
        [machine_status::AVAILABLE, machine_status::READY_TO_USE, machine_status::REPORTING_EVENTS];

    /// Labels of a machine that can be chosen, and further ones.
    fn ready(more: &[&str]) -> Labels {
        READY.iter().chain(more).map(|label| ((*label).to_owned(), String::new())).collect()
    }

    fn machine<'a>(id: &'a str, labels: &'a Labels) -> Machine<'a> {
        Machine { id, labels, talos_version: "v1.12.0", is_cordoned: false, is_tearing_down: false }
    }

    fn every(_: &Labels) -> bool {
        true
    }

    fn allocation(count: u32) -> MachineAllocation {
        MachineAllocation { name: "big".to_owned(), machine_count: count, ..MachineAllocation::default() }
    }

    fn set(allocation: &MachineAllocation) -> Set<'_> {
        Set {
            allocation,
            source: Source::Labels(&every),
            talos_version: "1.12.4",
            is_locked: false,
            is_tearing_down: false,
        }
    }

    fn node(id: &str, age: u64) -> Node<'_> {
        Node {
            id,
            created: at(1000 - age),
            is_managed: true,
            is_locked: false,
            is_tearing_down: false,
            is_connected: true,
        }
    }

    #[test]
    fn a_candidate_is_available_ready_and_heard() {
        let wanted = allocation(1);
        let labels = ready(&[]);
        assert_eq!(fit(&machine("a", &labels), &set(&wanted)), Ok(()));
        for missing in READY {
            let mut labels = labels.clone();
            labels.remove(missing);
            assert!(fit(&machine("a", &labels), &set(&wanted)).is_err(), "{missing}");
        }
        let cordoned = Machine { is_cordoned: true, ..machine("a", &labels) };
        assert!(fit(&cordoned, &set(&wanted)).unwrap_err().contains("cordoned"));
        let none = |_: &Labels| false;
        let other = Set { source: Source::Labels(&none), ..set(&wanted) };
        assert!(fit(&machine("a", &labels), &other).is_err());
    }

    #[test]
    fn machines_made_on_request_are_for_their_set_only() {
        let wanted = allocation(1);
        let mut labels = ready(&[labels::NO_MANUAL_ALLOCATION]);
        labels.extend(testing::labels(&[(labels::MACHINE_REQUEST_SET, "prod-workers")]));
        assert!(fit(&machine("a", &labels), &set(&wanted)).is_err());
        let of = |id| Set { source: Source::Requests(id), ..set(&wanted) };
        assert_eq!(fit(&machine("a", &labels), &of("prod-workers")), Ok(()));
        assert!(fit(&machine("a", &labels), &of("prod-control-planes")).is_err());
    }

    #[test]
    fn versions_never_go_down_and_only_installed_machines_change_minor_releases() {
        let wanted = allocation(1);
        let (blank, installed) = (ready(&[]), ready(&[machine_status::INSTALLED]));
        for (runs, cluster, is_installed, fits) in [
            ("v1.12.0", "1.12.4", false, true),
            ("v1.12.5", "1.12.4", false, false),
            ("v1.12.5", "1.12.4", true, false),
            ("v1.11.0", "1.12.4", false, false),
            ("v1.11.0", "1.12.4", true, true),
            ("v1.13.0", "1.14.0", false, true),
            ("v1.12.0", "1.14.0", false, false),
            ("nonsense", "1.14.0", false, false),
        ] {
            let labels = if is_installed { &installed } else { &blank };
            let machine = Machine { talos_version: runs, ..machine("a", labels) };
            let set = Set { talos_version: cluster, ..set(&wanted) };
            assert_eq!(fit(&machine, &set).is_ok(), fits, "{runs} in {cluster}, installed: {is_installed}");
        }
    }

    #[test]
    fn missing_machines_are_taken_by_id_and_the_shortage_is_told() {
        let labels = ready(&[]);
        let machines = [machine("c", &labels), machine("a", &labels), machine("b", &labels)];
        let plan = allocate(&set(&allocation(3)), &machines, &[node("b", 1)]);
        let create = vec!["a".to_owned(), "c".to_owned()];
        assert_eq!(plan, Allocation { create, ..Allocation::default() });
        let plan = allocate(&set(&allocation(5)), &machines, &[]);
        assert_eq!(plan.create.len(), 3);
        assert_eq!(plan.reason.unwrap(), "2 more machines of big are needed; free or add some");
    }

    #[test]
    fn without_a_limit_everything_that_fits_is_taken_and_nothing_is_missed() {
        let labels = ready(&[]);
        let unlimited = MachineAllocation { allocation_kind: AllocationKind::Unlimited, ..allocation(0) };
        let machines = [machine("a", &labels), machine("b", &labels)];
        let plan = allocate(&set(&unlimited), &machines, &[]);
        assert_eq!((plan.create.len(), plan.tear_down, plan.reason), (2, None, None));
    }

    #[test]
    fn those_that_are_not_reached_leave_first_and_then_the_oldest() {
        let (old, older) = (node("a", 5), node("b", 9));
        let lost = Node { is_connected: false, ..node("c", 1) };
        let leaves = |nodes: &[Node<'_>]| allocate(&set(&allocation(1)), &[], nodes).tear_down;
        assert_eq!(leaves(&[old, older, lost]).as_deref(), Some("c"));
        assert_eq!(leaves(&[old, older]).as_deref(), Some("b"));
    }

    #[test]
    fn one_machine_leaves_at_a_time() {
        let leaving = Node { is_tearing_down: true, ..node("a", 1) };
        let plan = allocate(&set(&allocation(1)), &[], &[leaving, node("b", 2), node("c", 3)]);
        assert_eq!(plan.tear_down, None);
        assert!(plan.reason.unwrap().contains("a leaves first"));
    }

    #[test]
    fn locked_machines_and_those_put_in_by_hand_stay() {
        let locked = Node { is_locked: true, ..node("a", 9) };
        let own = Node { is_managed: false, ..node("b", 8) };
        let plan = allocate(&set(&allocation(0)), &[], &[locked, own]);
        assert_eq!(plan.tear_down, None);
        assert!(plan.reason.unwrap().contains("unlock or remove one"));
        let plan = allocate(&set(&allocation(0)), &[], &[locked, own, node("c", 1)]);
        assert_eq!(plan.tear_down.as_deref(), Some("c"));
    }

    #[test]
    fn a_locked_cluster_keeps_its_machines() {
        let (labels, wanted) = (ready(&[]), allocation(1));
        let locked = Set { is_locked: true, ..set(&wanted) };
        for nodes in [vec![], vec![node("a", 1), node("b", 2)]] {
            let plan = allocate(&locked, &[machine("x", &labels)], &nodes);
            assert!(plan.create.is_empty() && plan.tear_down.is_none() && plan.reason.is_some());
        }
    }

    #[test]
    fn requests_are_given_up_unused_ones_first_then_workers() {
        let request = |id, age: u64, used_as| Request { id, created: at(1000 - age), used_as };
        let all = [
            request("cp", 9, Some(Role::ControlPlane)),
            request("w1", 5, Some(Role::Worker)),
            request("w2", 6, Some(Role::Worker)),
            request("free", 1, None),
        ];
        assert_eq!(surplus_request(&all), Some("free"));
        assert_eq!(surplus_request(&all[..3]), Some("w2"));
        assert_eq!(surplus_request(&all[..1]), Some("cp"));
        assert_eq!(surplus_request(&[]), None);
    }

    #[test]
    fn no_machine_is_unmade_before_it_left_the_set() {
        assert_eq!((requested(&allocation(5), 3), requested(&allocation(2), 3)), (5, 3));
    }
}
