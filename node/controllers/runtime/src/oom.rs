//! Ends something before the whole machine stands still for want of memory.
//!
//!     MachineConfig (OOMConfig) ─┐
//!     pressure of control groups ┴▶ trigger ─▶ ranking ─▶ every process of one group ends ─▶ OOMAction
//!
//! The kernel ends something only when nothing can be had any more, and by then nobody is served. This looks at how long
//! processes wait for memory instead. Classes are looked at only when something has waited since the last look, or when the
//! trigger of the configuration asks for more, and groups are listed only when the trigger holds: on a quiet machine a look
//! reads one file in memory.

mod groups;

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context;
use corten_config::oom::{Course, Group, Pressure, Ranking, Sample, TRIGGER, Trigger};
use corten_config::view::Oom;
use corten_resource::{Driver, Plan, Resource, View, controller};
use corten_resources::config::MachineConfig;
use corten_resources::runtime::OomAction;
use serde_json::json;
use tokio::time::Instant;

pub use groups::MachineGroups;

use crate::configuration::view_of;
use groups::Groups;

/// Actions that are shown, the latest.
const ACTIONS_MAX: usize = 50;

/// Looks at memory, and ends groups.
pub struct MemoryPressure {
    groups: Box<dyn Groups>,
    rules: Option<Rules>,
    /// The version of the configuration that the rules are of.
    version: Option<u64>,
    before: Option<(Sample, Instant)>,
    /// When something was ended, or when looking began.
    triggered: Option<Instant>,
    actions: VecDeque<(u64, OomAction)>,
    count: u64,
}

controller!(MemoryPressure, "runtime.MemoryPressure", inputs: [weak MachineConfig], outputs: [exclusive OomAction]);

/// What the configuration wants, read once.
struct Rules {
    settings: Oom,
    trigger: Trigger,
    ranking: Ranking,
}

impl Rules {
    fn read(settings: &Oom) -> Result<Self, corten_cel::Error> {
        let trigger = Trigger::parse(&settings.trigger)?;
        Ok(Self { settings: settings.clone(), trigger, ranking: Ranking::parse(&settings.ranking)? })
    }
}

impl MemoryPressure {
    /// Over these groups; nothing seen yet.
    pub fn new(groups: impl Groups) -> Self {
        Self {
            groups: Box::new(groups),
            rules: None,
            version: None,
            before: None,
            triggered: None,
            actions: VecDeque::new(),
            count: 0,
        }
    }

    /// Reads what the configuration wants when there is another one; how often memory is looked at comes out. A large
    /// configuration costs more than all the looks at memory of a day.
    fn read(&mut self, config: Option<&Resource<MachineConfig>>) -> anyhow::Result<Duration> {
        let version = config.map(|config| config.metadata.version);
        if let Some(rules) = self.rules.as_ref().filter(|_| version == self.version) {
            return Ok(rules.settings.sample_interval);
        }
        let machine = view_of(config).map_err(anyhow::Error::msg)?;
        let settings = &machine.runtime.oom;
        self.rules = Some(Rules::read(settings).context("OOMConfig cannot be used")?);
        self.version = version;
        Ok(settings.sample_interval)
    }

    /// Whether nothing has waited since the last look, so that the trigger that everybody has cannot hold. The sample
    /// before is as good as a new one then.
    fn is_calm(&mut self, machine: &Pressure, at: Instant) -> bool {
        let is_usual = self.rules.as_ref().is_some_and(|rules| rules.settings.trigger == TRIGGER);
        let before = self.before.as_mut().filter(|_| is_usual);
        let calm = before.filter(|(before, _)| machine.some.total - before.machine.some.total < 1.0);
        calm.map(|(_, looked)| *looked = at).is_some()
    }
}

/// What was seen.
#[expect(clippy::large_enum_variant, reason = "there is one value, for a moment")]
pub enum Seen {
    /// The kernel or the host tells nothing of pressure.
    Nothing,
    /// Nothing has waited since the last look.
    Calm,
    /// Two samples.
    Pressure {
        /// The one before.
        before: Sample,
        /// The last.
        now: Sample,
        /// Time between them.
        between: Duration,
        /// Time since something was ended.
        since_trigger: Duration,
        /// What may be ended; listed when the trigger holds.
        groups: Vec<Group>,
    },
}

/// A group to be ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    path: String,
    score: f64,
    context: String,
}

impl Driver for MemoryPressure {
    type Observed = Seen;
    type Op = End;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Seen> {
        let interval = self.read(view.get::<MachineConfig>(MachineConfig::ACTIVE))?;
        let Some(machine) = self.groups.machine() else { return Ok(Seen::Nothing) };
        let at = Instant::now();
        if self.is_calm(&machine, at) {
            return Ok(Seen::Calm);
        }
        let now = self.groups.sample(machine);
        let (before, since) = self.before.clone().unwrap_or_else(|| (now.clone(), at));
        let between = at - since;
        // A look out of turn changes nothing in what the next one is compared with.
        if self.before.is_none() || between >= interval / 2 {
            self.before = Some((now.clone(), at));
        }
        let since_trigger = at - *self.triggered.get_or_insert(at);
        let course = Course { before: &before, now: &now, between, since_trigger };
        let is_short = self.rules.as_ref().is_some_and(|rules| rules.is_short(&course).unwrap_or(false));
        let groups = if is_short { self.groups.candidates() } else { Vec::new() };
        Ok(Seen::Pressure { before, now, between, since_trigger, groups })
    }

    fn plan(&self, _: &View<Self>, seen: &Seen) -> Plan<Self, End> {
        let mut plan = Plan::new();
        for (number, action) in &self.actions {
            plan.put(format!("{number:04}"), action.clone());
        }
        let Some(rules) = &self.rules else { return plan };
        let Seen::Pressure { before, now, between, since_trigger, groups } = seen else {
            let what = "memory pressure of control groups (PSI), which this kernel or host does not tell";
            let is_calm = matches!(seen, Seen::Calm);
            return if is_calm { plan.again_in(rules.settings.sample_interval) } else { plan.waiting(what) };
        };
        let course = Course { before, now, between: *between, since_trigger: *since_trigger };
        match rules.is_short(&course) {
            Ok(true) => match rules.first(groups) {
                Ok(Some((group, score))) => {
                    let context = context(&course, group);
                    plan.op(End { path: group.path.clone(), score, context });
                }
                // Everything that is left is needed, or bounded by itself.
                Ok(None) => {}
                Err(error) => {
                    plan.problem(format!("OOMConfig: cgroupRankingExpression: {error}"));
                }
            },
            Ok(false) => {}
            Err(error) => {
                plan.problem(format!("OOMConfig: triggerExpression: {error}"));
            }
        }
        plan.again_in(rules.settings.sample_interval)
    }

    async fn apply(&mut self, End { path, score, context }: End) -> anyhow::Result<()> {
        let processes = self.groups.commands(&path);
        self.groups.end(&path).with_context(|| format!("the control group {path} was not ended"))?;
        self.triggered = Some(Instant::now());
        tracing::warn!(
            group = path,
            score,
            ?processes,
            "memory is short: every process of a group was ended"
        );
        self.count += 1;
        self.actions.push_back((self.count, OomAction { trigger_context: context, score, processes }));
        if self.actions.len() > ACTIONS_MAX {
            self.actions.pop_front();
        }
        Ok(())
    }
}

impl Rules {
    /// Whether something must be ended. What was ended must have had time to show in a sample.
    fn is_short(&self, course: &Course<'_>) -> Result<bool, corten_cel::Error> {
        Ok(course.since_trigger >= self.settings.sample_interval && self.trigger.holds(course)?)
    }

    /// The group that is ended first, with its score.
    fn first<'a>(&self, groups: &'a [Group]) -> Result<Option<(&'a Group, f64)>, corten_cel::Error> {
        let mut first: Option<(&Group, f64)> = None;
        for group in groups {
            let score = self.ranking.score(group)?;
            let is_first = first.is_none_or(|(best, best_score)| {
                let by_class = self.settings.strict_class_ordering && group.class != best.class;
                if by_class { group.class < best.class } else { score > best_score }
            });
            if score > 0.0 && is_first {
                first = Some((group, score));
            }
        }
        Ok(first)
    }
}

/// What the trigger saw and which group is ended, as JSON.
fn context(course: &Course<'_>, group: &Group) -> String {
    let group = json!({
        "path": group.path,
        "class": group.class.name(),
        "memory_current": group.memory_current,
        "memory_peak": group.memory_peak,
        "memory_max": group.memory_max,
    });
    json!({ "group": group, "trigger": course.facts() }).to_string()
}

#[cfg(test)]
mod tests;
