//! What of the memory of calls outlives a restart: until when the calls of a key were taken.
//!
//! ```text
//! Mark of the key, this run, time of the call ─▶ judge ─┬▶ Again: an earlier run may have taken it
//!                                                        ├▶ Known: the memory of this run tells
//!                                                        └▶ Note(Mark): kept before the call is taken
//! ```
//!
//! The times are those of the client, in whole seconds: its clock is the only one that both runs see, so that none has
//! to be right. Whoever is refused gets in with a call of the next second. Managers that share a store see the marks of
//! each other, and refuse what another one took.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One life of a manager, as a number that no other one has: the nanosecond in which it began, since 1970.
pub type Run = u128;

/// Until when the calls of a key were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Last second whose calls other runs may have taken.
    floor: u64,
    /// Last second whose calls the run below may have taken.
    last: u64,
    /// Who wrote the mark.
    run: Run,
}

/// What is to be done with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may have been taken by another run; it is not taken again.
    Again,
    /// Only this run can have taken it, which remembers.
    Known,
    /// The same, once this mark is kept.
    Note(Mark),
}

impl Mark {
    /// How long calls that are signed now, if the clock of whoever signs them is ours, are not told from those that another
    /// run has taken: until this second is over, if it took any.
    #[must_use]
    pub fn lasts(self, now: SystemTime) -> Duration {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_this_second = since.as_secs() == self.last;
        if is_this_second { Duration::from_secs(self.last + 1).saturating_sub(since) } else { Duration::ZERO }
    }

    /// Reads a mark; nothing for a text that is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mark = Self {
            floor: words.next()?.parse().ok()?,
            last: words.next()?.parse().ok()?,
            run: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.floor, self.last, self.run)
    }
}

/// What is to be done with a call that was signed at this second, in this run.
#[must_use]
pub fn judge(mark: Option<Mark>, run: Run, at: u64) -> Verdict {
    let Some(mark) = mark else { return Verdict::Note(Mark { floor: 0, last: at, run }) };
    let floor = if mark.run == run { mark.floor } else { mark.last };
    if at <= floor {
        Verdict::Again
    } else if mark.run == run && at <= mark.last {
        Verdict::Known
    } else {
        Verdict::Note(Mark { floor, last: at, run })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_an_earlier_run_is_over_and_the_next_one_is_not() {
        let Verdict::Note(first) = judge(None, 1, 100) else { panic!("the first call of a key") };
        assert_eq!(judge(Some(first), 1, 100), Verdict::Known);
        assert_eq!(judge(Some(first), 1, 99), Verdict::Known, "it was on its way for longer");
        assert_eq!(judge(Some(first), 2, 100), Verdict::Again);
        let Verdict::Note(second) = judge(Some(first), 2, 101) else { panic!("the next second") };
        assert_eq!(judge(Some(second), 2, 100), Verdict::Again, "also when this run has written");
        assert_eq!(judge(Some(second), 2, 101), Verdict::Known);
    }

    #[test]
    fn the_second_of_a_mark_ends() {
        let mark = Mark { floor: 1, last: 100, run: 1 };
        let lasts = |millis| mark.lasts(UNIX_EPOCH + Duration::from_millis(millis)).as_millis();
        assert_eq!([99_999, 100_000, 100_900, 101_000].map(lasts), [0, 1000, 100, 0]);
        let never = Mark { last: u64::MAX, ..mark };
        assert_eq!(never.lasts(UNIX_EPOCH), Duration::ZERO);
    }

    #[test]
    fn what_one_run_took_no_other_one_takes_whatever_the_clocks_say() {
        bolero::check!().with_type::<Vec<(u8, u8)>>().for_each(|calls| {
            let (mut mark, mut taken) = (None, Vec::new());
            for (run, at) in calls.iter().map(|(run, at)| (u128::from(run % 4), u64::from(*at))) {
                match judge(mark, run, at) {
                    Verdict::Again => continue,
                    Verdict::Known => {}
                    Verdict::Note(new) => mark = Some(new),
                }
                let is_later = taken.iter().all(|(other, then)| *other == run || *then < at);
                assert!(is_later, "{taken:?} {run} {at}");
                taken.push((run, at));
            }
        });
    }

    #[test]
    fn a_mark_survives_its_text_and_other_texts_are_none() {
        let mark = Mark { floor: 1, last: u64::MAX, run: u128::MAX };
        assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Some(mark) = Mark::parse(text) {
                assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
            }
        });
    }
}
