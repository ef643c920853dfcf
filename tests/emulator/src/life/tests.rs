use proptest::prelude::*;

use super::*;
use crate::profile::Profile;

const APPLY: Call = Call::Apply { complete: true, installs: true, mode: Mode::Auto };

/// Lets time pass until nothing happens by itself any more.
fn settle(life: &mut Life, ready: bool) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..8 {
        let before = life.clone();
        effects.extend(life.elapse(ready));
        if *life == before {
            return effects;
        }
    }
    panic!("{life:?} does not settle");
}

fn call(life: &mut Life, call: Call) -> Result<Answer, Refusal> {
    life.call(call, Profile::V14)
}

fn running() -> Life {
    let mut life = Life::new(false);
    settle(&mut life, true);
    call(&mut life, APPLY).expect("applied");
    settle(&mut life, true);
    life
}

#[test]
fn a_fresh_machine_waits_then_installs_reboots_and_runs() {
    let mut life = Life::new(false);
    assert_eq!(settle(&mut life, true), [Effect::Boot]);
    assert_eq!((life.stage(), life.is_configured()), (Stage::Maintenance, false));
    assert_eq!(call(&mut life, APPLY), Ok(Answer::Applied(Mode::NoReboot)));
    assert_eq!(life.stage(), Stage::Installing);
    assert_eq!(settle(&mut life, true), [Effect::Installed, Effect::Boot]);
    assert_eq!((life.stage(), life.boots()), (Stage::Running, 2));
}

#[test]
fn an_installed_machine_runs_its_first_configuration_without_reboot_since_1_14() {
    let mut life = Life::new(true);
    settle(&mut life, true);
    assert_eq!(call(&mut life, APPLY), Ok(Answer::Applied(Mode::NoReboot)));
    settle(&mut life, true);
    assert_eq!((life.stage(), life.boots()), (Stage::Running, 1));
    let mut older = Life::new(true);
    settle(&mut older, true);
    assert_eq!(older.call(APPLY, Profile::V13), Ok(Answer::Applied(Mode::Reboot)));
    settle(&mut older, true);
    assert_eq!((older.stage(), older.boots()), (Stage::Running, 2));
}

#[test]
fn a_configured_machine_boots_until_its_cluster_is_there() {
    let mut life = running();
    call(&mut life, Call::Reboot).expect("reboots");
    settle(&mut life, false);
    assert_eq!((life.stage(), life.boots()), (Stage::Booting, 3));
    settle(&mut life, true);
    assert_eq!(life.stage(), Stage::Running);
}

#[test]
fn partial_documents_count_in_maintenance_only() {
    let partial = Call::Apply { complete: false, installs: false, mode: Mode::Auto };
    let mut life = Life::new(false);
    settle(&mut life, true);
    assert_eq!(call(&mut life, partial), Ok(Answer::Applied(Mode::NoReboot)));
    assert_eq!(life.stage(), Stage::Maintenance);
    assert_eq!(call(&mut running(), partial), Err(Refusal::Incomplete));
}

#[test]
fn the_mode_reboot_is_gone_since_1_14() {
    let reboot = Call::Apply { complete: true, installs: true, mode: Mode::Reboot };
    assert_eq!(call(&mut running(), reboot), Err(Refusal::RebootMode));
    let mut older = running();
    assert_eq!(older.call(reboot, Profile::V12), Ok(Answer::Applied(Mode::Reboot)));
    assert_eq!(older.stage(), Stage::Rebooting);
}

#[test]
fn a_reset_of_state_leads_to_maintenance_and_keeps_the_system_and_meta() {
    let mut life = running();
    let wipe = Wipe { state: true, ephemeral: true, ..Wipe::default() };
    call(&mut life, Call::Reset(Reset { graceful: true, reboot: true, wipe })).expect("resets");
    assert_eq!(call(&mut life, Call::Reboot), Err(Refusal::Busy(Stage::Resetting)));
    assert_eq!(settle(&mut life, true), [Effect::Leave, Effect::Wiped(wipe), Effect::Boot]);
    assert_eq!((life.stage(), life.disk().installed), (Stage::Maintenance, true));
    assert!(!wipe.takes_meta());
}

#[test]
fn only_one_system_is_written_at_a_time() {
    let mut life = Life::new(false);
    settle(&mut life, true);
    assert_eq!(call(&mut life, Call::BeginUpgrade), Err(Refusal::NotInstalled));
    call(&mut life, Call::BeginInstall).expect("begins");
    assert_eq!(call(&mut life, Call::BeginInstall), Err(Refusal::Busy(Stage::Maintenance)));
    assert_eq!(call(&mut life, Call::Reboot), Err(Refusal::Busy(Stage::Upgrading)));
    call(&mut life, Call::EndWrite).expect("ends");
    assert_eq!(call(&mut life, Call::BeginInstall), Err(Refusal::Installed));
    call(&mut life, Call::Reboot).expect("reboots");
}

fn any_wipe() -> impl Strategy<Value = Wipe> {
    any::<(bool, bool, bool, bool)>().prop_map(|(system_disk, state, ephemeral, meta)| Wipe {
        system_disk,
        state,
        ephemeral,
        meta,
    })
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Reboot),
        Just(Mode::Auto),
        Just(Mode::NoReboot),
        Just(Mode::Staged),
        Just(Mode::Try)
    ]
}

fn any_call() -> impl Strategy<Value = Call> {
    let apply = (any::<bool>(), any::<bool>(), any_mode())
        .prop_map(|(complete, installs, mode)| Call::Apply { complete, installs, mode });
    let reset = (any::<bool>(), any::<bool>(), any_wipe())
        .prop_map(|(graceful, reboot, wipe)| Call::Reset(Reset { graceful, reboot, wipe }));
    prop_oneof![
        4 => apply,
        2 => reset,
        1 => Just(Call::Reboot),
        1 => Just(Call::Shutdown),
        1 => Just(Call::Upgrade),
        1 => Just(Call::BeginInstall),
        1 => Just(Call::BeginUpgrade),
        1 => Just(Call::EndWrite),
        1 => Just(Call::PowerOff),
        1 => Just(Call::PowerOn),
    ]
}

/// A call, or time that passes with or without the cluster.
fn any_step() -> impl Strategy<Value = Result<Call, bool>> {
    prop_oneof![3 => any_call().prop_map(Ok), 5 => any::<bool>().prop_map(Err)]
}

/// What holds of every life at every moment.
fn holds(life: &Life) {
    let disk = life.disk();
    assert!(!disk.configured || disk.installed, "a configuration is on an installed disk: {life:?}");
    match life.stage() {
        Stage::Running => assert!(life.is_configured() && disk.installed, "{life:?}"),
        Stage::Maintenance => assert!(!life.is_configured(), "{life:?}"),
        _ => {}
    }
}

proptest! {
    #[test]
    fn a_life_keeps_its_invariants_and_settles(
        installed in any::<bool>(),
        profile in prop::sample::select(Profile::ALL.to_vec()),
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let mut life = Life::new(installed);
        for step in steps {
            let before = life.clone();
            match step {
                Ok(call) => {
                    if life.call(call, profile).is_err() {
                        prop_assert_eq!(&life, &before, "a refused call changes nothing");
                    }
                    prop_assert_eq!(life.boots(), before.boots(), "no call boots by itself");
                }
                Err(ready) => {
                    let boots = life.elapse(ready).contains(&Effect::Boot);
                    prop_assert_eq!(life.boots() > before.boots(), boots);
                    prop_assert_eq!(boots, before.stage() == Stage::Down);
                }
            }
            holds(&life);
        }
        settle(&mut life, true);
        holds(&life);
        prop_assert!(matches!(life.stage(), Stage::Off | Stage::Maintenance | Stage::Running), "{:?}", life);
    }
}
