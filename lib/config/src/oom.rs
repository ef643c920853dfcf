//! Expressions by which people say when memory is short and what is ended then (`OOMConfig`).
//!
//! ```text
//! triggerExpression ──parse─▶ Trigger ─holds─▶ true | false | why not
//!                    two samples of pressure ──────▲
//! cgroupRankingExpression ─▶ Ranking ─score─▶ number | why not
//!                              one group ──────▲
//! ```
//!
//! The language is that of `corten_cel`, with the names of Talos. A trigger sees, of the whole machine,
//! `memory_{some,full}_{avg10,avg60,avg300,total}`, and of each class of groups the same with `qos_` in front,
//! `qos_memory_current`, `qos_memory_peak` and `qos_memory_max`, as maps by class; all of them once more with `d_` in
//! front: how fast they change, per second. Totals are microseconds, averages per cent. `time_since_trigger` is compared
//! with `duration("10s")`, and `multiply_qos_vectors(one, other)` adds up the products of the classes that both maps
//! have. A ranking sees `path`, `class` and the optionals `memory_current`, `memory_peak` and `memory_max` of one group.
//! Both see the classes by name and the constants of sizes.

use std::collections::BTreeMap;
use std::time::Duration;

use corten_cel::{Dialect, Error, ErrorKind, Expression, Scope, Value};

use crate::values;

/// When something is ended unless the configuration says otherwise: the system or what runs pods stood still for memory
/// a twentieth of the last ten seconds and still does, and the last time is long enough ago to have shown its effect.
pub const TRIGGER: &str = "(qos_memory_full_avg10[System] > 5.0 || qos_memory_full_avg10[Podruntime] > 5.0) && \
     d_qos_memory_full_total[System] + d_qos_memory_full_total[Podruntime] > 1000.0 && \
     time_since_trigger > duration(\"5s\")";
/// What is ended first unless the configuration says otherwise: what takes most and has neither a bound nor a promise,
/// then half as readily what may take more than it requests. Everything else is never ended.
pub const RANKING: &str = "memory_max.hasValue() ? 0.0 : class == Besteffort ? double(memory_current.orValue(0u)) : \
     class == Burstable ? double(memory_current.orValue(0u)) * 0.5 : 0.0";
/// How often memory is looked at unless the configuration says otherwise.
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// Looking more often than this would itself be the load.
pub const SAMPLE_INTERVAL_MIN: Duration = Duration::from_millis(50);

/// Class of a control group, the first to be ended first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Pods that request nothing.
    #[default]
    Besteffort,
    /// Pods that may take more than they request.
    Burstable,
    /// Pods that take what they request.
    Guaranteed,
    /// What runs pods: containerd, the kubelet, etcd.
    Podruntime,
    /// The system itself.
    System,
}

impl Class {
    /// Every class, the first to be ended first.
    pub const ALL: [Self; 5] =
        [Self::Besteffort, Self::Burstable, Self::Guaranteed, Self::Podruntime, Self::System];

    /// Name in expressions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Besteffort => "Besteffort",
            Self::Burstable => "Burstable",
            Self::Guaranteed => "Guaranteed",
            Self::Podruntime => "Podruntime",
            Self::System => "System",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// How long processes waited for memory: averages in per cent, the total in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Of the last ten seconds.
    pub avg10: f64,
    /// Of the last minute.
    pub avg60: f64,
    /// Of the last five minutes.
    pub avg300: f64,
    /// Since the group is there.
    pub total: f64,
}

/// Pressure stall information.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one process waited.
    pub some: Stall,
    /// All of them did.
    pub full: Stall,
}

/// What a class of groups takes, bytes, and how it fares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassUse {
    /// Pressure.
    pub pressure: Pressure,
    /// Memory now.
    pub current: f64,
    /// Most memory so far.
    pub peak: f64,
    /// Bound; zero where there is none.
    pub max: f64,
}

/// What was seen at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Pressure of the whole machine.
    pub machine: Pressure,
    /// By class.
    pub classes: BTreeMap<Class, ClassUse>,
}

/// A number of the machine under its name.
type Number = (String, f64);
/// A number of a class under its name.
type NumberOfClass = (String, Class, f64);

impl Sample {
    /// Nothing waits, every class is there.
    fn calm() -> Self {
        let classes = Class::ALL.into_iter().map(|class| (class, ClassUse::default())).collect();
        Self { machine: Pressure::default(), classes }
    }

    /// Every number under its name: those of the machine, and those of the classes.
    fn numbers(&self) -> (Vec<Number>, Vec<NumberOfClass>) {
        let machine = pressure("memory", &self.machine);
        let mut classes = Vec::new();
        for (class, group) in &self.classes {
            let uses = [("current", group.current), ("peak", group.peak), ("max", group.max)];
            let uses = uses.into_iter().map(|(name, value)| (format!("qos_memory_{name}"), value));
            let all = pressure("qos_memory", &group.pressure).into_iter().chain(uses);
            classes.extend(all.map(|(name, value)| (name, *class, value)));
        }
        (machine, classes)
    }
}

fn pressure(prefix: &str, pressure: &Pressure) -> Vec<(String, f64)> {
    let kinds = [("some", pressure.some), ("full", pressure.full)];
    let all = kinds.into_iter().flat_map(|(kind, stall)| {
        [("avg10", stall.avg10), ("avg60", stall.avg60), ("avg300", stall.avg300), ("total", stall.total)]
            .map(|(name, value)| (format!("{prefix}_{kind}_{name}"), value))
    });
    all.collect()
}

/// A control group that may be ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Its path below the root of all groups.
    pub path: String,
    /// Its class.
    pub class: Class,
    /// Memory now, bytes.
    pub memory_current: Option<u64>,
    /// Most memory so far, bytes.
    pub memory_peak: Option<u64>,
    /// Bound, bytes.
    pub memory_max: Option<u64>,
}

/// What two samples tell together.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// The one before.
    pub before: &'a Sample,
    /// The last one.
    pub now: &'a Sample,
    /// Time between them.
    pub between: Duration,
    /// Time since something was ended, or since anybody looks.
    pub since_trigger: Duration,
}

impl Course<'_> {
    /// Every name that an expression sees, with its value; those of classes have the class behind them.
    #[must_use]
    pub fn facts(&self) -> BTreeMap<String, f64> {
        let mut facts = BTreeMap::new();
        let (machine, classes) = self.values();
        facts.extend(machine);
        facts.extend(classes.into_iter().flat_map(|(name, by_class)| {
            by_class.into_iter().map(move |(class, value)| (format!("{name}[{}]", class.name()), value))
        }));
        facts.insert("time_since_trigger".to_owned(), self.since_trigger.as_secs_f64());
        facts
    }

    fn values(&self) -> (BTreeMap<String, f64>, BTreeMap<String, BTreeMap<Class, f64>>) {
        let seconds = self.between.as_secs_f64().max(f64::EPSILON);
        let (machine_before, classes_before) = self.before.numbers();
        let (machine_now, classes_now) = self.now.numbers();
        let mut machine = BTreeMap::new();
        for ((name, now), (_, before)) in machine_now.into_iter().zip(machine_before) {
            machine.insert(format!("d_{name}"), (now - before) / seconds);
            machine.insert(name, now);
        }
        let before: BTreeMap<(String, Class), f64> =
            classes_before.into_iter().map(|(name, class, value)| ((name, class), value)).collect();
        let mut classes: BTreeMap<String, BTreeMap<Class, f64>> = BTreeMap::new();
        for (name, class, now) in classes_now {
            // A class that has just appeared has not changed.
            let last = before.get(&(name.clone(), class)).copied().unwrap_or(now);
            classes.entry(format!("d_{name}")).or_default().insert(class, (now - last) / seconds);
            classes.entry(name).or_default().insert(class, now);
        }
        (machine, classes)
    }
}

/// Names that a trigger sees; the classes come last.
const TRIGGER_DIALECT: Dialect = Dialect {
    variables: &[
        "memory_some_avg10",
        "memory_some_avg60",
        "memory_some_avg300",
        "memory_some_total",
        "memory_full_avg10",
        "memory_full_avg60",
        "memory_full_avg300",
        "memory_full_total",
        "d_memory_some_avg10",
        "d_memory_some_avg60",
        "d_memory_some_avg300",
        "d_memory_some_total",
        "d_memory_full_avg10",
        "d_memory_full_avg60",
        "d_memory_full_avg300",
        "d_memory_full_total",
        "qos_memory_some_avg10",
        "qos_memory_some_avg60",
        "qos_memory_some_avg300",
        "qos_memory_some_total",
        "qos_memory_full_avg10",
        "qos_memory_full_avg60",
        "qos_memory_full_avg300",
        "qos_memory_full_total",
        "qos_memory_current",
        "qos_memory_peak",
        "qos_memory_max",
        "d_qos_memory_some_avg10",
        "d_qos_memory_some_avg60",
        "d_qos_memory_some_avg300",
        "d_qos_memory_some_total",
        "d_qos_memory_full_avg10",
        "d_qos_memory_full_avg60",
        "d_qos_memory_full_avg300",
        "d_qos_memory_full_total",
        "d_qos_memory_current",
        "d_qos_memory_peak",
        "d_qos_memory_max",
        "time_since_trigger",
        "Besteffort",
        "Burstable",
        "Guaranteed",
        "Podruntime",
        "System",
    ],
    functions: &["duration", "multiply_qos_vectors"],
};

/// Names that a ranking sees.
const RANKING_DIALECT: Dialect = Dialect {
    variables: &[
        "path",
        "class",
        "memory_current",
        "memory_peak",
        "memory_max",
        "Besteffort",
        "Burstable",
        "Guaranteed",
        "Podruntime",
        "System",
    ],
    functions: &["hasValue", "orValue", "value"],
};

/// An expression that says whether memory is short.
#[derive(Clone, Debug)]
pub struct Trigger(Expression);

impl Trigger {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, is too large, or asks for what is not there.
    pub fn parse(expression: &str) -> Result<Self, Error> {
        let trigger = Self(Expression::parse(expression, TRIGGER_DIALECT)?);
        let calm = Sample::calm();
        let hour = Duration::from_secs(3600);
        let course = Course { before: &calm, now: &calm, between: SAMPLE_INTERVAL, since_trigger: hour };
        unless_mistaken(trigger.holds(&course).map(drop))?;
        Ok(trigger)
    }

    /// Whether something must be ended now.
    ///
    /// # Errors
    /// When the expression cannot tell.
    pub fn holds(&self, course: &Course<'_>) -> Result<bool, Error> {
        let (machine, classes) = course.values();
        self.0.is_true(&Pressures { machine, classes, since_trigger: course.since_trigger })
    }
}

/// What a trigger sees.
struct Pressures {
    machine: BTreeMap<String, f64>,
    classes: BTreeMap<String, BTreeMap<Class, f64>>,
    since_trigger: Duration,
}

impl Scope for Pressures {
    fn variable(&self, name: &str) -> Option<Value> {
        if name == "time_since_trigger" {
            // Durations are seconds here, on both sides of every comparison.
            return Some(Value::Double(self.since_trigger.as_secs_f64()));
        }
        let machine = self.machine.get(name).copied().map(Value::Double);
        let by_class = || {
            let values = self.classes.get(name)?.iter();
            Some(Value::message(values.map(|(class, value)| (class.name(), Value::Double(*value)))))
        };
        machine.or_else(by_class).or_else(|| class(name))
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        match (name, arguments) {
            ("duration", [Value::Text(text)]) => {
                values::duration(text).map(|duration| Value::Double(duration.as_secs_f64()))
            }
            ("multiply_qos_vectors", [Value::Map(one), Value::Map(other)]) => {
                let mut sum = 0.0;
                for (class, factor) in one.iter() {
                    match (factor, other.get(class)) {
                        (Value::Double(factor), Some(Value::Double(value))) => sum += factor * value,
                        (_, None) => {}
                        _ => return None,
                    }
                }
                Some(Value::Double(sum))
            }
            _ => None,
        }
    }
}

/// An expression that says how readily a group is ended.
#[derive(Clone, Debug)]
pub struct Ranking(Expression);

impl Ranking {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it is none, is too large, or asks for what is not there.
    pub fn parse(expression: &str) -> Result<Self, Error> {
        let ranking = Self(Expression::parse(expression, RANKING_DIALECT)?);
        for class in Class::ALL {
            let group = Group { path: "kubepods".to_owned(), class, ..Group::default() };
            unless_mistaken(ranking.score(&group).map(drop))?;
        }
        Ok(ranking)
    }

    /// The highest score is ended first; what has none above zero is never ended.
    ///
    /// # Errors
    /// When the expression cannot tell.
    pub fn score(&self, group: &Group) -> Result<f64, Error> {
        match self.0.evaluate(group)? {
            Value::Double(score) => Ok(score),
            other => {
                let kind = other.kind();
                let message = format!(
                    "it gives {kind}, not a double; convert it, as in double(memory_current.orValue(0u))"
                );
                Err(Error { kind: ErrorKind::Mistake, at: 0, message })
            }
        }
    }
}

impl Scope for Group {
    fn variable(&self, name: &str) -> Option<Value> {
        let optional = |value: Option<u64>| value.map_or(Value::Null, Value::Uint);
        match name {
            "path" => Some(Value::from(self.path.as_str())),
            "class" => Some(Value::from(self.class.name())),
            "memory_current" => Some(optional(self.memory_current)),
            "memory_peak" => Some(optional(self.memory_peak)),
            "memory_max" => Some(optional(self.memory_max)),
            other => class(other),
        }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Value> {
        match (name, arguments) {
            ("hasValue", [value]) => Some(Value::Bool(*value != Value::Null)),
            ("orValue", [Value::Null, other]) => Some(other.clone()),
            ("orValue", [value, _]) | ("value", [value]) => Some(value.clone()),
            _ => None,
        }
    }
}

/// A class is its name.
fn class(name: &str) -> Option<Value> {
    Class::of_name(name).map(|class| Value::from(class.name()))
}

/// With values that mean nothing an expression may fail where it would not with others, unless it is wrong anyway.
fn unless_mistaken(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(error) if error.kind == ErrorKind::Mistake => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stalled(class: Class, avg10: f64, total: f64) -> Sample {
        let mut sample = Sample::calm();
        let stall = Stall { avg10, total, ..Stall::default() };
        let group = sample.classes.get_mut(&class).expect("every class");
        group.pressure = Pressure { some: stall, full: stall };
        sample
    }

    fn holds(expression: &str, before: &Sample, now: &Sample, since_trigger: u64) -> Result<bool, Error> {
        let between = Duration::from_millis(500);
        let course = Course { before, now, between, since_trigger: Duration::from_secs(since_trigger) };
        Trigger::parse(expression)?.holds(&course)
    }

    #[test]
    fn the_default_ends_something_only_while_the_system_itself_stands_still() {
        let before = stalled(Class::System, 20.0, 1_000_000.0);
        let now = stalled(Class::System, 20.0, 1_400_000.0);
        assert_eq!(holds(TRIGGER, &before, &now, 60), Ok(true));
        assert_eq!(holds(TRIGGER, &before, &now, 2), Ok(false), "the last time has not shown its effect yet");
        assert_eq!(holds(TRIGGER, &now, &now, 60), Ok(false), "it is over");
        let pods = stalled(Class::Burstable, 90.0, 9_000_000.0);
        assert_eq!(holds(TRIGGER, &Sample::calm(), &pods, 60), Ok(false), "a pod in its own bound");
    }

    #[test]
    fn the_default_ends_what_takes_most_without_a_promise() {
        let ranking = Ranking::parse(RANKING).expect("an expression");
        let score = |class, current: u64, max: Option<u64>| {
            let group = Group { class, memory_current: Some(current), memory_max: max, ..Group::default() };
            ranking.score(&group).expect("a score")
        };
        assert!(score(Class::Besteffort, 100, None) > score(Class::Burstable, 150, None));
        assert!(score(Class::Burstable, 300, None) > score(Class::Besteffort, 100, None));
        for class in [Class::Guaranteed, Class::Podruntime, Class::System] {
            assert!(score(class, 1 << 40, None) <= 0.0, "{class:?}");
        }
        assert!(score(Class::Besteffort, 1 << 40, Some(1 << 41)) <= 0.0, "it ends by its own bound");
    }

    #[test]
    fn expressions_see_what_the_documentation_names() {
        let before = stalled(Class::System, 0.0, 0.0);
        let now = stalled(Class::System, 6.0, 2000.0);
        for (expression, expected) in [
            ("multiply_qos_vectors(d_qos_memory_full_total, {System: 8.0, Podruntime: 4.0}) > 31000.0", true),
            ("multiply_qos_vectors(qos_memory_full_avg10, {System: 1.0}) == 6.0", true),
            (
                "multiply_qos_vectors({Besteffort: 5.0, System: 1.0}, {Besteffort: 2.0, Burstable: 3.0}) == 10.0",
                true,
            ),
            ("memory_full_avg10 > 75.0 && time_since_trigger > duration(\"10s\")", false),
            ("d_qos_memory_full_total[System] == 4000.0", true),
            ("qos_memory_current[Burstable] > double(1u * GiB)", false),
            ("time_since_trigger > duration(\"250ms\")", true),
        ] {
            assert_eq!(holds(expression, &before, &now, 1), Ok(expected), "{expression}");
        }
        let by_name =
            "{Besteffort: 1.0, Burstable: 0.5, Guaranteed: 0.0, Podruntime: 0.0, System: 0.0}[class]";
        let ranking =
            Ranking::parse(&format!("path.startsWith('kube') ? {by_name} : 0.0")).expect("a ranking");
        let group = Group { path: "kubepods/a".into(), class: Class::Burstable, ..Group::default() };
        assert_eq!(ranking.score(&group), Ok(0.5));
    }

    #[test]
    fn what_can_never_tell_is_refused_when_it_is_read() {
        for (expression, word) in [
            ("memory_full_avg10 >", "the end"),
            ("memory_full_avg20 > 1.0", "memory_full_avg20"),
            ("memory_full_avg10", "neither true nor false"),
            ("time_since_trigger > duration('soon')", "duration"),
        ] {
            let error = Trigger::parse(expression).expect_err(expression).to_string();
            assert!(error.contains(word), "{expression}: {error}");
        }
        for (expression, word) in [("disk.transport", "disk"), ("path", "not a double")] {
            let error = Ranking::parse(expression).expect_err(expression).to_string();
            assert!(error.contains(word), "{expression}: {error}");
        }
    }

    #[test]
    fn every_name_of_the_dialects_has_a_value() {
        let calm = Sample::calm();
        let between = SAMPLE_INTERVAL;
        let course = Course { before: &calm, now: &calm, between, since_trigger: between };
        let (machine, classes) = course.values();
        let known = 1 + machine.len() + classes.len() + Class::ALL.len();
        assert_eq!(TRIGGER_DIALECT.variables.len(), known);
        let scope = Pressures { machine, classes, since_trigger: between };
        for name in TRIGGER_DIALECT.variables {
            assert!(scope.variable(name).is_some(), "{name}");
        }
        for name in RANKING_DIALECT.variables {
            assert!(Group::default().variable(name).is_some(), "{name}");
        }
    }

    #[test]
    fn no_expression_makes_it_panic() {
        bolero::check!().with_type::<String>().for_each(|expression| {
            let _ = (Trigger::parse(expression), Ranking::parse(expression));
        });
    }
}
