//! Keeps the clock right.
//!
//! ```text
//! TimeServerStatus, ResolverStatus, MachineConfig ──▶ asker ──▶ offset ──▶ step or slew ──▶ TimeStatus, NtpStatus
//! ```
//! A machine whose clock is not ours (a container's) counts as synchronized by its host. A wild answer after the
//! clock was right once is not believed until it repeats. Nothing waits here: who needs the time waits for
//! `TimeStatus`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Backoff, Clock, Rng, Task, spawn};
use corten_config::view::Time;
use corten_resource::{Driver, Nanos, Plan, Source, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::network::{ResolverStatus, TimeServerStatus};
use corten_resources::time::{AdjtimeStatus, NtpStatus, TimeStatus};
use corten_sys::clock::{Discipline, SystemClock};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::from_config::machine_view;
use crate::sntp::{TimeReply, shifted};
use crate::time_query::check;

/// Larger offsets are stepped, smaller ones slewed; after the first correction larger ones are suspect.
const STEP_FROM: Duration = Duration::from_millis(128);
/// A step of this size makes earlier certificates suspect: a new epoch.
const EPOCH_FROM: Duration = Duration::from_secs(15 * 60);
/// A suspect offset is believed when it was seen this often in a row.
const SPIKES_BELIEVED: i64 = 3;
/// Pause between questions: after the first answers, and at most.
const POLL: (Duration, Duration) = (Duration::from_secs(64), Duration::from_secs(1024));
/// Id of all three statuses.
const ID: &str = TimeStatus::ID;

/// What to ask, and with whose help to find it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    servers: Vec<String>,
    name_servers: Vec<IpAddr>,
}

/// What is known about the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Knowledge {
    synced: bool,
    epoch: i64,
    spikes: i64,
    /// Answers dealt with.
    handled: u64,
}

/// What to do about an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Set the clock.
    Step,
    /// Let the kernel remove it slowly.
    Slew,
    /// Do not believe it.
    Spike,
}

impl Knowledge {
    /// Decides about an offset.
    #[must_use]
    pub fn judge(&self, offset_ns: i64) -> Verdict {
        let offset = Duration::from_nanos(offset_ns.unsigned_abs());
        match offset >= STEP_FROM {
            false => Verdict::Slew,
            true if self.synced && self.spikes + 1 < SPIKES_BELIEVED => Verdict::Spike,
            true => Verdict::Step,
        }
    }

    /// What is known after that.
    #[must_use]
    pub fn after(self, verdict: Verdict, offset_ns: i64) -> Self {
        let jump = Duration::from_nanos(offset_ns.unsigned_abs()) >= EPOCH_FROM;
        let handled = self.handled + 1;
        match verdict {
            Verdict::Spike => Self { spikes: self.spikes + 1, handled, ..self },
            Verdict::Slew => Self { synced: true, spikes: 0, handled, ..self },
            Verdict::Step => Self { synced: true, spikes: 0, handled, epoch: self.epoch + i64::from(jump) },
        }
    }
}

/// Answers so far and the last of them.
type Answers = (u64, Option<TimeReply>);

struct Asker {
    job: Job,
    answers: watch::Receiver<Answers>,
    _task: Task,
}

/// Synchronizes the clock.
pub struct TimeSync<K> {
    kernel: K,
    can_set_clock: bool,
    clock: Clock,
    rng: Rng,
    started: Instant,
    knowledge: Knowledge,
    asker: Option<Asker>,
    changed: Arc<Notify>,
}

controller!(impl<K: SystemClock + 'static> TimeSync<K>, "time.Sync",
    inputs: [weak TimeServerStatus, weak ResolverStatus, weak MachineConfig],
    outputs: [exclusive TimeStatus, exclusive NtpStatus, exclusive AdjtimeStatus]);

impl<K> TimeSync<K> {
    /// A controller that sets the clock only if it `can_set_clock`.
    pub fn new(kernel: K, can_set_clock: bool, clock: Clock, rng: Rng) -> Self {
        Self {
            kernel,
            can_set_clock,
            clock,
            rng,
            started: Instant::now(),
            knowledge: Knowledge::default(),
            asker: None,
            changed: Arc::default(),
        }
    }
}

/// What was seen.
#[derive(Debug)]
pub struct Observed {
    job: Option<Job>,
    answers: Answers,
    knowledge: Knowledge,
    discipline: Option<Discipline>,
    uptime: Duration,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Ask these servers from now on.
    Ask(Job),
    /// Ask nobody.
    Stop,
    /// Deal with an answer.
    Correct(TimeReply, Verdict),
}

fn adjtime(discipline: &Discipline) -> AdjtimeStatus {
    let micros = |micros: i64| Nanos(micros.saturating_mul(1_000));
    AdjtimeStatus {
        offset: Nanos(discipline.offset_ns),
        frequency_adjustment_ratio: 1.0 + ratio(discipline.frequency),
        max_error: micros(discipline.max_error_us),
        est_error: micros(discipline.estimated_error_us),
        status: status_text(discipline.status),
        constant: discipline.constant,
        sync_status: discipline.synchronized,
        state: if discipline.synchronized { "OK".into() } else { "ERROR".into() },
    }
}

/// Frequency in 2^-16 parts per million as a ratio; the kernel bounds it to 500 ppm, so 32 bits hold it.
fn ratio(frequency: i64) -> f64 {
    f64::from(i32::try_from(frequency).unwrap_or(0)) / 65_536.0 / 1_000_000.0
}

fn status_text(status: i32) -> String {
    const NAMES: [(i32, &str); 6] = [
        (0x0001, "STA_PLL"),
        (0x0008, "STA_FLL"),
        (0x0010, "STA_INS"),
        (0x0020, "STA_DEL"),
        (0x0040, "STA_UNSYNC"),
        (0x2000, "STA_NANO"),
    ];
    let set = NAMES.iter().filter(|(bit, _)| status & bit != 0).map(|(_, name)| *name);
    set.collect::<Vec<_>>().join(" | ")
}

fn job<K: SystemClock + 'static>(view: &View<TimeSync<K>>) -> Job {
    let servers = view.get::<TimeServerStatus>(TimeServerStatus::ID);
    let resolvers = view.get::<ResolverStatus>(ResolverStatus::ID);
    Job {
        servers: servers.map(|row| row.spec.time_servers.clone()).unwrap_or_default(),
        name_servers: resolvers.map(|row| row.spec.dns_servers.clone()).unwrap_or_default(),
    }
}

/// Booting does not wait for ever when the configuration says so.
fn gave_up(time: &Time, uptime: Duration) -> bool {
    time.boot_timeout.is_some_and(|timeout| uptime >= timeout)
}

impl<K: SystemClock + 'static> Driver for TimeSync<K> {
    type Observed = Observed;
    type Op = Op;

    async fn observe(&mut self, _: &View<Self>) -> anyhow::Result<Observed> {
        let answers = self.asker.as_ref().map(|asker| *asker.answers.borrow()).unwrap_or_default();
        Ok(Observed {
            job: self.asker.as_ref().map(|asker| asker.job.clone()),
            answers,
            knowledge: self.knowledge,
            discipline: self.kernel.discipline().ok(),
            uptime: self.started.elapsed(),
        })
    }

    fn plan(&self, view: &View<Self>, seen: &Observed) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let config = machine_view(view.get::<MachineConfig>(MachineConfig::ACTIVE));
        let time = &config.machine.time;
        let is_disabled = !self.can_set_clock || !time.enabled;
        let wanted = Some(job(view)).filter(|job| !is_disabled && !job.servers.is_empty());
        match wanted {
            Some(job) if seen.job.as_ref() != Some(&job) => {
                plan.op(Op::Ask(job));
            }
            None if seen.job.is_some() => {
                plan.op(Op::Stop);
            }
            _ => {}
        }
        if let (count, Some(reply)) = seen.answers
            && count != seen.knowledge.handled
            && seen.job.is_some()
        {
            plan.op(Op::Correct(reply, seen.knowledge.judge(reply.offset_ns)));
        }
        let Knowledge { synced, epoch, spikes, .. } = seen.knowledge;
        let is_settled = synced || is_disabled || gave_up(time, seen.uptime);
        plan.put::<TimeStatus>(ID, TimeStatus { synced: is_settled, epoch, sync_disabled: is_disabled });
        plan.put::<NtpStatus>(ID, NtpStatus { spike_detected: spikes > 0, consecutive_spikes: spikes });
        if let Some(discipline) = &seen.discipline {
            plan.put::<AdjtimeStatus>(ID, adjtime(discipline));
        }
        match time.boot_timeout.filter(|_| !is_settled) {
            Some(timeout) => plan.again_in(timeout.saturating_sub(seen.uptime)),
            None => plan,
        }
    }

    async fn apply(&mut self, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Stop => self.asker = None,
            Op::Ask(job) => {
                let (sender, answers) = watch::channel((0, None));
                self.knowledge.handled = 0;
                let (clock, rng) = (self.clock.clone(), self.rng.clone());
                let task = spawn("sntp", ask(job.clone(), sender, self.changed.clone(), clock, rng));
                self.asker = Some(Asker { job, answers, _task: task });
            }
            Op::Correct(reply, verdict) => self.correct(&reply, verdict)?,
        }
        Ok(())
    }

    fn sources(&mut self) -> Vec<Source> {
        let changed = self.changed.clone();
        vec![Source::new("time-answers", move |trigger| {
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

impl<K: SystemClock> TimeSync<K> {
    fn correct(&mut self, reply: &TimeReply, verdict: Verdict) -> anyhow::Result<()> {
        // The answer counts as dealt with whatever the kernel says: the next one is not far.
        let count = self.asker.as_ref().map_or(0, |asker| asker.answers.borrow().0);
        self.knowledge = Knowledge { handled: count, ..self.knowledge.after(verdict, reply.offset_ns) };
        match verdict {
            Verdict::Spike => {
                tracing::info!(offset_ns = reply.offset_ns, "a time server's answer is not believed yet")
            }
            Verdict::Slew => {
                self.kernel.slew(reply.offset_ns)?;
            }
            Verdict::Step => {
                let now = shifted(self.clock.now(), reply.offset_ns);
                self.kernel.step(now.duration_since(std::time::UNIX_EPOCH)?)?;
                self.kernel.slew(0)?;
                tracing::info!(offset_ns = reply.offset_ns, server = %reply.server, "the clock was set");
            }
        }
        Ok(())
    }
}

/// Asks the servers in order until one answers, again and again.
async fn ask(job: Job, answers: watch::Sender<Answers>, changed: Arc<Notify>, clock: Clock, rng: Rng) {
    let mut failures = Backoff::new(Duration::from_secs(1), POLL.0);
    let mut polls = Backoff::new(POLL.0, POLL.1);
    loop {
        let mut reply = None;
        for server in &job.servers {
            match check(server, &job.name_servers, &clock, &rng).await {
                Ok(good) => {
                    reply = Some(good);
                    break;
                }
                Err(error) => tracing::debug!(server, error = %format_args!("{error:#}"), "no time"),
            }
        }
        let pause = if let Some(reply) = reply {
            answers.send_modify(|(count, last)| (*count, *last) = (*count + 1, Some(reply)));
            changed.notify_one();
            failures.reset();
            polls.next_delay(&rng)
        } else {
            polls.reset();
            failures.next_delay(&rng)
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn the_first_answer_is_believed_later_wild_ones_must_repeat() {
        let mut knowledge = Knowledge::default();
        assert_eq!(knowledge.judge(3600 * SECOND), Verdict::Step);
        knowledge = knowledge.after(Verdict::Step, 3600 * SECOND);
        assert_eq!((knowledge.synced, knowledge.epoch), (true, 1));
        assert_eq!(knowledge.judge(SECOND / 100), Verdict::Slew);
        for expected in [Verdict::Spike, Verdict::Spike, Verdict::Step] {
            let verdict = knowledge.judge(-5 * SECOND);
            assert_eq!(verdict, expected);
            knowledge = knowledge.after(verdict, -5 * SECOND);
        }
        assert_eq!((knowledge.epoch, knowledge.spikes), (1, 0), "five seconds make no new epoch");
    }

    proptest::proptest! {
        #[test]
        fn a_clock_that_was_right_once_stays_synced(offsets in proptest::collection::vec(proptest::prelude::any::<i64>(), 1..20)) {
            let mut knowledge = Knowledge::default();
            for offset in offsets {
                let verdict = knowledge.judge(offset);
                proptest::prop_assert!(knowledge.synced || verdict != Verdict::Spike);
                knowledge = knowledge.after(verdict, offset);
                proptest::prop_assert!(knowledge.synced && knowledge.spikes < SPIKES_BELIEVED);
            }
        }
    }
}
