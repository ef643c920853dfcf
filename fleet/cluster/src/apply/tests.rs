//! The decision table, row by row, and what holds in every row.

use proptest::prelude::*;

use super::*;

/// A member of a cluster that has what is wanted.
const WELL: View<'_> = View {
    is_tearing_down: false,
    is_connected: true,
    is_schematic_ready: true,
    provider: None,
    has_system_disk: true,
    is_cluster_locked: false,
    is_locked: false,
    config_updates_allowed: true,
    stage: MachineStage::Running,
    is_maintenance: false,
    was_configured: true,
    wanted_sha256: "new",
    taken_sha256: "new",
    is_drifting: false,
    is_other_image: false,
    restart: Restart::None,
    config_slot: Availability::Free,
    upgrade_slot: Availability::Free,
};

/// The same with an older configuration.
const OUTDATED: View<'_> = View { taken_sha256: "old", ..WELL };

/// A machine in maintenance that has nothing yet.
const NEW: View<'_> = View {
    stage: MachineStage::Maintenance,
    is_maintenance: true,
    was_configured: false,
    taken_sha256: "",
    has_system_disk: false,
    ..WELL
};

/// Step and slot in short: `skip` with the begin of its reason.
fn check(view: View<'_>, expected: &str, slot: Option<Slot>) {
    let decision = decide(&view);
    let step = match &decision.step {
        Step::Skip(reason) => format!("skip: {reason}"),
        other => format!("{other:?}").to_lowercase(),
    };
    assert!(step.starts_with(expected), "{step} is not {expected}\n{view:?}");
    assert_eq!(decision.slot, slot, "{view:?}");
}

#[test]
fn what_is_wanted_is_left_alone() {
    check(WELL, "done", None);
    check(View { config_slot: Availability::Held, ..WELL }, "done", None);
}

#[test]
fn the_gate_says_why_nothing_is_done() {
    let provider = |is_ready_to_use, is_installed| Some(Provider { is_ready_to_use, is_installed });
    check(View { is_tearing_down: true, ..OUTDATED }, "skip: it leaves", None);
    check(View { is_connected: false, ..OUTDATED }, "skip: it is not connected", None);
    check(View { is_schematic_ready: false, ..OUTDATED }, "skip: its schematic", None);
    check(View { provider: provider(false, true), ..OUTDATED }, "skip: its provider", None);
    check(View { provider: provider(true, false), ..OUTDATED }, "skip: what it said of its disks", None);
    check(View { provider: provider(true, true), ..OUTDATED }, "apply", Some(Slot::Config));
    check(View { provider: provider(true, false), ..NEW }, "apply", None);
    check(View { is_cluster_locked: true, ..OUTDATED }, "skip: the cluster is locked", None);
    check(View { wanted_sha256: "", ..OUTDATED }, "skip: there is no configuration", None);
}

#[test]
fn a_lock_counts_after_the_first_configuration() {
    check(View { is_locked: true, ..OUTDATED }, "skip: it is locked", None);
    check(View { is_locked: true, is_other_image: true, ..WELL }, "skip: it is locked", None);
    check(View { is_locked: true, ..NEW }, "apply", None);
    assert!(decide(&View { is_locked: true, ..OUTDATED }).is_locked_update);
    assert!(!decide(&View { is_locked: true, ..WELL }).is_locked_update);
}

#[test]
fn only_machines_that_boot_run_or_wait_are_changed() {
    check(View { stage: MachineStage::Booting, ..OUTDATED }, "apply", Some(Slot::Config));
    for stage in [
        MachineStage::Unknown,
        MachineStage::Installing,
        MachineStage::Rebooting,
        MachineStage::ShuttingDown,
        MachineStage::Resetting,
        MachineStage::Upgrading,
        MachineStage::Maintenance,
    ] {
        check(View { stage, ..OUTDATED }, "skip: its stage is", None);
    }
    check(View { stage: MachineStage::Running, ..NEW }, "skip: its stage is", None);
}

#[test]
fn a_new_machine_gets_its_configuration_without_a_slot() {
    let taken = Availability::Taken;
    let busy = View { config_slot: taken, upgrade_slot: taken, config_updates_allowed: false, ..NEW };
    check(busy, "apply", None);
    check(View { is_other_image: true, ..busy }, "lifecycle", None);
}

#[test]
fn a_machine_that_lost_its_configuration_gets_it_again() {
    check(View { stage: MachineStage::Maintenance, is_maintenance: true, ..WELL }, "apply", None);
}

#[test]
fn the_image_goes_before_the_configuration() {
    check(View { is_other_image: true, ..OUTDATED }, "lifecycle", Some(Slot::Upgrade));
    let busy = View { is_other_image: true, upgrade_slot: Availability::Taken, ..OUTDATED };
    check(busy, "skip: other machines of its set are upgraded", None);
}

#[test]
fn a_machine_that_holds_the_other_slot_gives_it_back() {
    let holds = View { config_slot: Availability::Held, is_other_image: true, ..OUTDATED };
    check(holds, "lifecycle", Some(Slot::Upgrade));
    check(View { upgrade_slot: Availability::Held, ..OUTDATED }, "apply", Some(Slot::Config));
}

#[test]
fn configurations_wait_for_their_slot_and_for_the_set() {
    check(View { config_slot: Availability::Taken, ..OUTDATED }, "skip: other machines", None);
    check(View { config_slot: Availability::Held, ..OUTDATED }, "apply", Some(Slot::Config));
    check(View { config_updates_allowed: false, ..OUTDATED }, "skip: its set grows", None);
}

#[test]
fn drift_is_applied_again() {
    check(View { is_drifting: true, ..WELL }, "apply", Some(Slot::Config));
}

#[test]
fn a_slot_is_kept_until_the_machine_is_back_and_verified() {
    let awaited = View { restart: Restart::Awaited, config_slot: Availability::Held, ..OUTDATED };
    check(awaited, "skip: it restarts", Some(Slot::Config));
    check(View { is_connected: false, ..awaited }, "skip: it is not connected", Some(Slot::Config));
    check(View { stage: MachineStage::Rebooting, ..awaited }, "skip: its stage", Some(Slot::Config));
    check(View { restart: Restart::Done, ..awaited }, "verify", Some(Slot::Config));
    let upgraded = View { restart: Restart::Done, upgrade_slot: Availability::Held, ..WELL };
    check(upgraded, "verify", Some(Slot::Upgrade));
}

#[test]
fn a_machine_that_came_back_empty_gets_its_configuration_again() {
    let back = View { stage: MachineStage::Maintenance, is_maintenance: true, ..OUTDATED };
    check(View { restart: Restart::Done, ..back }, "apply", None);
}

#[test]
fn only_another_boot_proves_a_restart() {
    for (before, now, restart) in [
        ("", "", Restart::None),
        ("", "b", Restart::None),
        ("a", "", Restart::Awaited),
        ("a", "a", Restart::Awaited),
        ("a", "b", Restart::Done),
    ] {
        assert_eq!(Restart::of(before, now), restart, "{before:?} {now:?}");
    }
}

#[test]
fn a_hash_is_recorded_only_without_a_restart() {
    let now = taken(Answer::NoReboot, "new", "boot");
    assert_eq!((now.sha256.as_deref(), now.pre_reboot_boot_id.as_str()), (Some("new"), ""));
    let later = taken(Answer::Reboot, "new", "boot");
    assert_eq!((later.sha256, later.pre_reboot_boot_id.as_str()), (None, "boot"));
}

fn any_availability() -> impl Strategy<Value = Availability> {
    prop::sample::select(vec![Availability::Held, Availability::Free, Availability::Taken])
}

fn any_restart() -> impl Strategy<Value = Restart> {
    prop::sample::select(vec![Restart::None, Restart::Awaited, Restart::Done])
}

fn any_stage() -> impl Strategy<Value = MachineStage> {
    prop::sample::select(vec![
        MachineStage::Unknown,
        MachineStage::Booting,
        MachineStage::Maintenance,
        MachineStage::Running,
        MachineStage::Rebooting,
    ])
}

fn any_view() -> impl Strategy<Value = View<'static>> {
    let flags = prop::collection::vec(any::<bool>(), 11);
    (flags, any_stage(), any_restart(), any_availability(), any_availability()).prop_map(
        |(flags, stage, restart, config_slot, upgrade_slot)| View {
            is_tearing_down: flags[0] && flags[1],
            is_connected: flags[2] || flags[3],
            is_locked: flags[4] && flags[5],
            config_updates_allowed: flags[6],
            is_maintenance: stage == MachineStage::Maintenance,
            was_configured: flags[7],
            taken_sha256: if flags[8] { "new" } else { "old" },
            is_drifting: flags[9],
            is_other_image: flags[10],
            stage,
            restart,
            config_slot,
            upgrade_slot,
            ..WELL
        },
    )
}

proptest! {
    #[test]
    fn members_change_only_with_the_right_slot_and_nobody_takes_what_others_have(view in any_view()) {
        let Decision { step, slot, .. } = decide(&view);
        let is_member = view.was_configured && !view.is_maintenance;
        match step {
            Step::Apply => prop_assert_eq!(slot, is_member.then_some(Slot::Config)),
            Step::Lifecycle => prop_assert_eq!(slot, is_member.then_some(Slot::Upgrade)),
            Step::Done => prop_assert_eq!(slot, None),
            Step::Verify | Step::Skip(_) => {}
        }
        if slot == Some(Slot::Config) {
            prop_assert!(view.config_slot != Availability::Taken);
        }
        if slot == Some(Slot::Upgrade) {
            prop_assert!(view.upgrade_slot != Availability::Taken);
        }
    }

    #[test]
    fn nothing_is_done_while_something_differs(view in any_view()) {
        if decide(&view).step == Step::Done {
            prop_assert!(!view.is_drifting && !view.is_other_image);
            prop_assert_eq!(view.taken_sha256, view.wanted_sha256);
        }
    }
}
