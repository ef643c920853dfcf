//! The procedure on machines that obey and on machines that do not, and that it always ends.

use proptest::prelude::*;

use super::*;

const WELL: Observed<'_> = Observed {
    reach: Reach::Configured,
    stage: MachineStage::Running,
    role: Role::ControlPlane,
    version: None,
    is_forced: false,
    is_graceful: true,
    is_import_aborted: false,
    elapsed: Duration::ZERO,
    unreachable_for: Duration::ZERO,
    since_reset: None,
};

/// Time between two looks.
const TICK: Duration = Duration::from_secs(30);

/// Steps as words, waits that repeat only once, until the end.
struct Story {
    words: Vec<String>,
    end: End,
}

/// A machine that is looked at every 30 s; `world` says what is seen, and whether a step succeeds.
fn story(world: impl Fn(&Observed<'static>, &Progress) -> (Observed<'static>, Outcome)) -> Story {
    let (mut observed, mut progress, mut words) = (WELL, Progress::default(), Vec::<String>::new());
    loop {
        let (seen, outcome) = world(&observed, &progress);
        let step = next(&seen, &progress);
        let word = match &step {
            Step::Done(end) => return Story { words, end: end.clone() },
            Step::WaitMaintenance(_) => "wait".to_owned(),
            Step::Reset { graceful, .. } => (if *graceful { "graceful" } else { "reset" }).to_owned(),
            other => format!("{other:?}"),
        };
        if word != "wait" || words.last().is_none_or(|last| last != "wait") {
            words.push(word);
        }
        progress = progress.after(&step, outcome);
        let is_taken = matches!(step, Step::Reset { .. }) && outcome == Outcome::Succeeded;
        let since_reset = seen.since_reset.map(|since| since + TICK);
        let is_lost = seen.reach == Reach::Unreachable;
        observed = Observed {
            elapsed: seen.elapsed + TICK,
            unreachable_for: if is_lost { seen.unreachable_for + TICK } else { Duration::ZERO },
            since_reset: if is_taken { Some(Duration::ZERO) } else { since_reset },
            ..seen
        };
        assert!(observed.elapsed < TOTAL_MAX * 2, "it does not end: {words:?}");
    }
}

/// A machine that comes back in maintenance a minute after a reset that it took.
fn obeying(seen: Observed<'static>) -> Observed<'static> {
    match seen.since_reset {
        Some(since) if since >= 2 * TICK => Observed { reach: Reach::Maintenance, ..seen },
        Some(_) => Observed { stage: MachineStage::Resetting, ..seen },
        None => seen,
    }
}

#[test]
fn a_control_plane_leaves_etcd_before_it_is_reset() {
    let story = story(|seen, _| (obeying(*seen), Outcome::Succeeded));
    assert_eq!(story.words, ["MetaDelete", "EtcdForfeit", "EtcdLeave", "graceful", "wait"]);
    assert_eq!(story.end, End::Free);
}

#[test]
fn a_worker_has_no_etcd_to_leave() {
    let story = story(|seen, _| (obeying(Observed { role: Role::Worker, ..*seen }), Outcome::Succeeded));
    assert_eq!(story.words, ["MetaDelete", "graceful", "wait"]);
}

#[test]
fn when_the_whole_set_goes_nothing_is_left_in_order() {
    let story = story(|seen, _| (obeying(Observed { is_graceful: false, ..*seen }), Outcome::Succeeded));
    assert_eq!(story.words, ["MetaDelete", "reset", "wait"]);
}

#[test]
fn a_machine_that_is_gone_or_in_maintenance_is_done_at_once() {
    let end = |observed: &Observed<'_>| next(observed, &Progress::default());
    assert_eq!(end(&Observed { reach: Reach::Gone, ..WELL }), Step::Done(End::Gone));
    assert_eq!(end(&Observed { reach: Reach::Maintenance, ..WELL }), Step::Done(End::Free));
}

#[test]
fn an_import_that_is_given_up_resets_nothing() {
    for reach in [Reach::Configured, Reach::Unreachable, Reach::Maintenance] {
        let observed = Observed { is_import_aborted: true, is_forced: true, reach, ..WELL };
        assert_eq!(next(&observed, &Progress::default()), Step::Done(End::Kept));
    }
}

#[test]
fn a_dead_machine_is_let_go_after_a_while_and_at_once_when_forced() {
    let dead = story(|seen, _| (Observed { reach: Reach::Unreachable, ..*seen }, Outcome::Failed));
    assert_eq!(dead.words, ["wait"]);
    assert!(matches!(dead.end, End::LetGo(why) if why.contains("was not wiped")));
    let forced = Observed { reach: Reach::Unreachable, is_forced: true, ..WELL };
    assert!(matches!(next(&forced, &Progress::default()), Step::Done(End::LetGo(_))));
}

#[test]
fn a_start_of_the_manager_begins_no_wait_anew_and_leaves_time_to_come_back() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (here, stored, expected) in
        [(4, 0, 4), (4, 2, 4), (4, 9, 9), (0, 60, 10), (4, 60, 14), (5, 60, 15), (20, 0, 20)]
    {
        assert_eq!(unreachable_for(minutes(here), minutes(stored)), minutes(expected), "{here} {stored}");
    }
}

#[test]
fn a_machine_that_never_finishes_booting_is_reset_all_the_same() {
    let stuck = |seen: Observed<'static>| match seen.since_reset {
        None => Observed { stage: MachineStage::Booting, ..seen },
        Some(_) => obeying(seen),
    };
    let control_plane = story(|seen, _| (stuck(*seen), Outcome::Succeeded));
    assert_eq!(control_plane.words, ["wait", "MetaDelete", "reset", "wait"]);
    assert_eq!(control_plane.end, End::Free);
    let worker = story(|seen, _| (stuck(Observed { role: Role::Worker, ..*seen }), Outcome::Succeeded));
    assert_eq!(worker.words, ["MetaDelete", "reset", "wait"]);
}

#[test]
fn a_machine_that_refuses_everything_is_let_go() {
    let story = story(|seen, _| (*seen, Outcome::Failed));
    let count = |word: &str| story.words.iter().filter(|other| *other == word).count();
    assert_eq!((count("MetaDelete"), count("EtcdForfeit"), count("EtcdLeave")), (3, 3, 3));
    assert_eq!((count("graceful"), count("reset")), (4, 4));
    assert!(matches!(story.end, End::LetGo(_)));
}

#[test]
fn a_machine_that_takes_resets_and_stays_is_let_go() {
    let story = story(|seen, _| (*seen, Outcome::Succeeded));
    assert!(story.words.iter().filter(|word| *word == "graceful").count() <= 4);
    assert!(matches!(story.end, End::LetGo(_)));
}

#[test]
fn a_forced_removal_asks_etcd_nothing() {
    let story = story(|seen, _| (obeying(Observed { is_forced: true, ..*seen }), Outcome::Succeeded));
    assert_eq!(story.words, ["MetaDelete", "reset", "wait"]);
}

#[test]
fn newer_versions_have_more_volumes() {
    for (version, count) in
        [("1.13.9", 2), ("1.14.0-alpha.3", 2), ("1.14.0-beta.0", 2), ("1.14.0-beta.1", 6), ("1.15.0", 6)]
    {
        assert_eq!(volumes(Some(&TalosVersion::parse(version).unwrap())).len(), count, "{version}");
    }
    assert_eq!(volumes(None), ["EPHEMERAL", "STATE"]);
}

fn any_observed() -> impl Strategy<Value = Observed<'static>> {
    let reach = prop::sample::select(vec![Reach::Unreachable, Reach::Configured, Reach::Configured]);
    let stage = prop::sample::select(vec![
        MachineStage::Unknown,
        MachineStage::Booting,
        MachineStage::Running,
        MachineStage::Running,
        MachineStage::Resetting,
        MachineStage::Upgrading,
    ]);
    let role = prop::sample::select(vec![Role::ControlPlane, Role::Worker]);
    let flags = (any::<bool>(), any::<bool>());
    (reach, stage, role, flags).prop_map(|(reach, stage, role, (is_forced, is_graceful))| Observed {
        reach,
        stage,
        role,
        is_forced,
        is_graceful,
        ..WELL
    })
}

proptest! {
    /// Whatever is seen and whatever fails, there is an end within the hour and within a number of actions.
    #[test]
    fn every_sequence_of_observations_ends(
        seen in prop::collection::vec((any_observed(), any::<bool>()), 1..40),
    ) {
        let looks = usize::try_from(TOTAL_MAX.as_secs() / TICK.as_secs()).unwrap() + 1;
        let (mut progress, mut elapsed, mut actions) = (Progress::default(), Duration::ZERO, 0);
        let (mut unreachable_for, mut since_reset) = (Duration::ZERO, None::<Duration>);
        let mut is_ended = false;
        for (observed, succeeds) in seen.iter().cycle().take(looks) {
            let observed = Observed { elapsed, unreachable_for, since_reset, ..*observed };
            let step = next(&observed, &progress);
            if let Step::Done(_) = step {
                is_ended = true;
                break;
            }
            if !matches!(step, Step::WaitMaintenance(_)) {
                actions += 1;
                prop_assert!(observed.reach == Reach::Configured, "{:?}", step);
            }
            if matches!(step, Step::EtcdForfeit | Step::EtcdLeave) {
                prop_assert_eq!(observed.role, Role::ControlPlane);
                prop_assert!(observed.is_graceful && !observed.is_forced);
            }
            if let Step::Reset { graceful, .. } = step {
                prop_assert!(progress.meta_delete.is_settled());
                prop_assert!(!graceful || (observed.stage == MachineStage::Running && !observed.is_forced));
            }
            let outcome = if *succeeds { Outcome::Succeeded } else { Outcome::Failed };
            progress = progress.after(&step, outcome);
            since_reset = match step {
                Step::Reset { .. } if *succeeds => Some(Duration::ZERO),
                _ => since_reset.map(|since| since + TICK),
            };
            elapsed += TICK;
            let is_lost = observed.reach == Reach::Unreachable;
            unreachable_for = if is_lost { unreachable_for + TICK } else { Duration::ZERO };
        }
        prop_assert!(is_ended);
        prop_assert!(actions <= ACTIONS_MAX);
    }
}
