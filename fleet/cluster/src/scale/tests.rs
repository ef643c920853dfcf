//! One test for each rule.

use corten_fleet_resources::cluster::RollingUpdateConfig;
use proptest::prelude::*;

use super::*;
use crate::quorum::Member;

fn node(id: &str) -> Node<'_> {
    Node { id, is_locked: false, is_tearing_down: false }
}

fn machine(id: &str) -> Machine<'_> {
    Machine { id, is_tearing_down: false, is_released: false, is_forced: false }
}

fn leaving_machine(id: &str) -> Machine<'_> {
    Machine { is_tearing_down: true, ..machine(id) }
}

/// Healthy members with the ids 1, 2, … for these machines.
fn etcd(machines: &[&str]) -> Etcd {
    let identities = (1..).zip(machines).map(|(id, machine)| ((*machine).to_owned(), id)).collect();
    let member = |(id, _): (u64, &&str)| Member { id, is_learner: false, is_healthy: true };
    Etcd { members: (1..).zip(machines).map(member).collect(), identities }
}

fn control_plane_set<'a>(etcd: &'a Etcd, nodes: &[&'a str], machines: Vec<Machine<'a>>) -> Set<'a> {
    Set {
        role: Role::ControlPlane,
        control_plane: ControlPlane { is_reachable: true, etcd: Some(etcd) },
        nodes: nodes.iter().map(|id| node(id)).collect(),
        machines,
        is_tearing_down: false,
        is_locked: false,
        deletions_max: None,
    }
}

fn worker_set<'a>(nodes: &[&'a str], machines: Vec<Machine<'a>>) -> Set<'a> {
    Set {
        role: Role::Worker,
        control_plane: ControlPlane { is_reachable: false, etcd: None },
        nodes: nodes.iter().map(|id| node(id)).collect(),
        machines,
        is_tearing_down: false,
        is_locked: false,
        deletions_max: None,
    }
}

fn create(id: &str) -> Operation {
    Operation::Create(id.to_owned())
}

fn tear_down(id: &str) -> Operation {
    Operation::TearDown(id.to_owned())
}

fn destroy(id: &str) -> Operation {
    Operation::Destroy(id.to_owned())
}

/// What is held, as `machine: reason`.
fn held(plan: &Plan) -> Vec<String> {
    plan.held.iter().map(|held| format!("{}: {}", held.machine, held.reason)).collect()
}

#[test]
fn a_set_that_is_as_wanted_is_left_alone() {
    let etcd = etcd(&["a"]);
    let plan = plan(&control_plane_set(&etcd, &["a"], vec![machine("a")]));
    assert!(plan.is_settled() && plan.config_updates_allowed && plan.should_reset_graceful);
}

#[test]
fn a_control_plane_grows_before_it_shrinks() {
    let etcd = etcd(&["a"]);
    let plan = plan(&control_plane_set(&etcd, &["c", "b"], vec![machine("a")]));
    assert_eq!(plan.operations, [create("b"), create("c")]);
    assert_eq!(held(&plan), ["a: new control planes come in first; it leaves after them"]);
    assert!(!plan.config_updates_allowed);
}

#[test]
fn what_left_is_destroyed_before_another_one_leaves() {
    let etcd = etcd(&["b", "c"]);
    let gone = Machine { is_released: true, ..leaving_machine("a") };
    let plan = plan(&control_plane_set(&etcd, &["c"], vec![gone, machine("b"), machine("c")]));
    assert_eq!(plan.operations, [destroy("a")]);
    assert_eq!(plan.held.len(), 1);
}

#[test]
fn while_a_control_plane_leaves_no_other_one_does() {
    let etcd = etcd(&["a", "b", "c"]);
    let machines = vec![leaving_machine("a"), machine("b"), machine("c")];
    let plan = plan(&control_plane_set(&etcd, &["c"], machines));
    assert!(plan.operations.is_empty());
    assert_eq!(held(&plan), ["b: control plane a is leaving; only one leaves at a time"]);
}

#[test]
fn one_control_plane_leaves_at_a_time() {
    let etcd = etcd(&["a", "b", "c"]);
    let plan = plan(&control_plane_set(&etcd, &["c"], vec![machine("b"), machine("a"), machine("c")]));
    assert_eq!(plan.operations, [tear_down("a")]);
    assert_eq!(held(&plan), ["b: another control plane leaves first; only one leaves at a time"]);
}

#[test]
fn a_control_plane_leaves_only_when_etcd_allows_it() {
    let mut ill = etcd(&["a", "b", "c"]);
    ill.members.iter_mut().filter(|member| member.id == 3).for_each(|member| member.is_healthy = false);
    let machines = || vec![machine("a"), machine("b"), machine("c")];
    let set = control_plane_set(&ill, &["b", "c"], machines());
    assert_eq!(held(&plan(&set)), ["a: etcd member c is not healthy; repair it, or remove it first"]);
    let well = etcd(&["a", "b", "c"]);
    let unreachable = ControlPlane { is_reachable: false, etcd: Some(&well) };
    let set = Set { control_plane: unreachable, ..control_plane_set(&well, &["b", "c"], machines()) };
    assert!(held(&plan(&set))[0].contains("no API server"));
    let silent = ControlPlane { is_reachable: true, etcd: None };
    let set = Set { control_plane: silent, ..control_plane_set(&well, &["b", "c"], machines()) };
    assert!(held(&plan(&set))[0].contains("etcd does not answer"));
}

#[test]
fn the_dead_control_plane_of_three_can_leave() {
    let mut ill = etcd(&["a", "b", "c"]);
    ill.members.iter_mut().filter(|member| member.id == 1).for_each(|member| member.is_healthy = false);
    let plan = plan(&control_plane_set(&ill, &["b", "c"], vec![machine("a"), machine("b"), machine("c")]));
    assert_eq!(plan.operations, [tear_down("a")]);
}

#[test]
fn a_forced_removal_waits_for_nothing() {
    let forced = Machine { is_forced: true, ..machine("a") };
    let well = etcd(&["a", "b"]);
    let silent = ControlPlane { is_reachable: false, etcd: None };
    let machines = vec![forced, machine("b"), leaving_machine("c")];
    let set = Set { control_plane: silent, ..control_plane_set(&well, &["b"], machines) };
    assert_eq!(plan(&set).operations, [tear_down("a")]);
    let mut set = worker_set(&[], vec![forced, leaving_machine("c")]);
    set.deletions_max = Some(1);
    assert_eq!(plan(&set).operations, [tear_down("a")]);
}

#[test]
fn workers_come_and_go_at_once() {
    let gone = Machine { is_released: true, ..leaving_machine("d") };
    let plan = plan(&worker_set(&["a", "b"], vec![machine("c"), gone, machine("e")]));
    assert_eq!(plan.operations, [create("a"), create("b"), destroy("d"), tear_down("c"), tear_down("e")]);
    assert!(plan.held.is_empty() && plan.config_updates_allowed);
}

#[test]
fn workers_leave_as_many_at_a_time_as_the_set_says() {
    let machines = vec![leaving_machine("a"), machine("b"), machine("c"), machine("d")];
    let set = Set { deletions_max: Some(2), ..worker_set(&[], machines) };
    let plan = plan(&set);
    assert_eq!(plan.operations, [tear_down("b")]);
    assert_eq!(plan.held.iter().map(|held| held.machine.as_str()).collect::<Vec<_>>(), ["c", "d"]);
    assert!(held(&plan)[0].contains("2 machines of the set leave at a time"));
}

#[test]
fn locked_machines_stay_and_say_so() {
    let mut set = worker_set(&[], vec![machine("a"), machine("b")]);
    set.nodes = vec![Node { is_locked: true, is_tearing_down: true, ..node("a") }];
    let plan = plan(&set);
    assert_eq!(plan.operations, [tear_down("b")]);
    assert_eq!(held(&plan), ["a: it is locked; unlock it"]);
}

#[test]
fn nothing_of_a_locked_cluster_changes() {
    let set = Set { is_locked: true, ..worker_set(&["a"], vec![machine("b")]) };
    let plan = plan(&set);
    assert!(plan.operations.is_empty() && !plan.config_updates_allowed);
    assert_eq!(plan.held.len(), 2);
}

#[test]
fn a_machine_that_is_wanted_again_leaves_first() {
    let plan = plan(&worker_set(&["a"], vec![leaving_machine("a")]));
    assert!(plan.operations.is_empty());
    assert_eq!(held(&plan), ["a: it is still leaving; it comes in again once it is reset"]);
    let gone = Machine { is_released: true, ..leaving_machine("a") };
    assert_eq!(super::plan(&worker_set(&["a"], vec![gone])).operations, [destroy("a")]);
}

#[test]
fn a_set_that_goes_away_lets_all_go_at_once() {
    let etcd = Etcd::default();
    let gone = Machine { is_released: true, ..leaving_machine("c") };
    let machines = vec![machine("b"), machine("a"), gone, leaving_machine("d")];
    let set = Set { is_tearing_down: true, is_locked: true, ..control_plane_set(&etcd, &["a"], machines) };
    let plan = plan(&set);
    assert_eq!(plan.operations, [tear_down("a"), tear_down("b"), destroy("c")]);
    assert!(!plan.should_reset_graceful);
}

#[test]
fn a_rolling_strategy_without_a_number_means_one() {
    let rolling =
        |max_parallelism| UpdateStrategyConfig { rolling: Some(RollingUpdateConfig { max_parallelism }) };
    assert_eq!(parallelism(UpdateStrategy::Unset, Some(&rolling(5)), None), None);
    assert_eq!(parallelism(UpdateStrategy::Unset, None, Some(1)), Some(1));
    assert_eq!(parallelism(UpdateStrategy::Rolling, None, None), Some(1));
    assert_eq!(parallelism(UpdateStrategy::Rolling, Some(&rolling(0)), None), Some(1));
    assert_eq!(parallelism(UpdateStrategy::Rolling, Some(&rolling(3)), None), Some(3));
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn any_machine() -> impl Strategy<Value = Machine<'static>> {
    (0..5_usize, any::<bool>(), any::<bool>()).prop_map(|(index, is_tearing_down, is_released)| Machine {
        id: NAMES[index],
        is_tearing_down,
        is_released: is_tearing_down && is_released,
        is_forced: false,
    })
}

fn any_machines() -> impl Strategy<Value = Vec<Machine<'static>>> {
    prop::collection::vec(any_machine(), 0..6).prop_map(|mut machines| {
        machines.sort_by_key(|machine| machine.id);
        machines.dedup_by_key(|machine| machine.id);
        machines
    })
}

proptest! {
    #[test]
    fn at_most_one_control_plane_leaves_and_never_against_etcd(
        wanted in prop::sample::subsequence(NAMES.to_vec(), 0..=5),
        machines in any_machines(),
        healthy in prop::collection::vec(any::<bool>(), 5),
    ) {
        let mut etcd = etcd(&NAMES);
        etcd.members.iter_mut().zip(healthy).for_each(|(member, is_healthy)| member.is_healthy = is_healthy);
        let is_leaving = machines.iter().any(|machine| machine.is_tearing_down && !machine.is_released);
        let plan = plan(&control_plane_set(&etcd, &wanted, machines));
        let left: Vec<&str> = forced(&plan).collect();
        prop_assert!(left.len() <= 1 && (left.is_empty() || !is_leaving));
        for machine in left {
            prop_assert!(!wanted.contains(&machine) && can_scale_down(&etcd, machine).is_ok());
        }
        prop_assert!(plan.held.iter().all(|held| held.reason.contains(';')), "{:?}", plan.held);
    }

    #[test]
    fn workers_never_leave_faster_than_the_limit(
        wanted in prop::sample::subsequence(NAMES.to_vec(), 0..=5),
        machines in any_machines(),
        most in 1..4_usize,
    ) {
        let is_leaving = |machine: &&Machine<'_>| machine.is_tearing_down && !machine.is_released;
        let before = machines.iter().filter(is_leaving).count();
        let set = Set { deletions_max: Some(most), ..worker_set(&wanted, machines) };
        let after = before + forced(&plan(&set)).count();
        prop_assert!(after <= most.max(before));
    }
}
