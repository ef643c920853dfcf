//! What is measured against the budgets of `SPECIFICATION.md`: one row for each, whether this run measures it or not.

use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::meter::Memory;

/// Milliseconds of the manager's processor for one join.
const JOIN_MS: f64 = 60.0;
/// Slowest but one in a hundred of filtered lists, milliseconds.
const LIST_MS: f64 = 50.0;
/// The same of changes until a watcher has them.
const WATCH_MS: f64 = 250.0;
/// Busier emulators make a run void, in processors: then it is they who were waited for.
pub const EMULATORS_MAX: f64 = 0.9;

/// The manager that is measured; its budgets at rest differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// The kernel's TCP and the store in a file, as the manager starts by itself.
    #[default]
    Kernel,
    /// A stack in user space for each machine.
    UserStack,
    /// The store in etcd.
    Etcd,
}

impl Variant {
    const ALL: [Self; 3] = [Self::Kernel, Self::UserStack, Self::Etcd];

    /// As the command line names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::UserStack => "user-stack",
            Self::Etcd => "etcd",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Kernel => "kernel's TCP",
            Self::UserStack => "stack in user space",
            Self::Etcd => "store in etcd",
        }
    }

    /// For how many machines the budget is, its bytes, and its processors if it has any.
    const fn budget(self) -> (u32, u64, Option<f64>) {
        match self {
            Self::Kernel => (10_000, 1 << 30, Some(0.3)),
            Self::UserStack | Self::Etcd => (2_000, 512 << 20, None),
        }
    }
}

impl FromStr for Variant {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|variant| variant.name() == name);
        found.with_context(|| format!("no such manager is measured; there are {}", known()))
    }
}

/// How long answers took, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latency {
    /// Half of them were faster.
    pub p50: f64,
    /// One in a hundred was slower.
    pub p99: f64,
}

impl Latency {
    /// Of these times.
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(place).copied().unwrap_or_default().as_secs_f64() * 1000.0
        };
        Self { p50: at(50), p99: at(99) }
    }
}

/// Machines that joined together, and how the manager was afterwards.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// All machines.
    pub machines: u32,
    /// Those that joined in this step.
    pub joined: u32,
    /// How long that took.
    pub seconds: f64,
    /// The manager's processor time, seconds.
    pub manager: f64,
    /// The emulators' processor time, seconds.
    pub emulators: f64,
    /// The manager's memory.
    pub memory: Memory,
    /// Most open files of one of the manager's processes, and how many it may have.
    pub open_files: (u64, u64),
    /// The emulators' memory, bytes (PSS).
    pub emulator_bytes: u64,
    /// A filtered list.
    pub list: Latency,
    /// A change until a watcher has it.
    pub watch: Latency,
}

impl Step {
    /// Processors of the emulators.
    pub fn emulator_cores(&self) -> f64 {
        self.emulators / self.seconds.max(f64::MIN_POSITIVE)
    }

    fn json(&self, empty: Memory) -> Value {
        let grown = self.memory.total().saturating_sub(empty.total());
        json!({
            "machines": self.machines,
            "joined": self.joined,
            "seconds": rounded(self.seconds),
            "manager_ms_per_join": rounded(self.manager * 1000.0 / f64::from(self.joined.max(1))),
            "manager_cores": rounded(self.manager / self.seconds.max(f64::MIN_POSITIVE)),
            "emulator_cores": rounded(self.emulator_cores()),
            "memory_bytes": self.memory.json(),
            "memory_bytes_per_machine": grown / u64::from(self.machines.max(1)),
            "emulator_bytes_per_machine": self.emulator_bytes / u64::from(self.machines.max(1)),
            "open_files": self.open_files.0,
            "open_files_max": self.open_files.1,
            "list_ms_p50": rounded(self.list.p50),
            "list_ms_p99": rounded(self.list.p99),
            "watch_ms_p50": rounded(self.watch.p50),
            "watch_ms_p99": rounded(self.watch.p99),
        })
    }
}

/// Machines that became members of clusters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Members {
    /// How many.
    pub machines: u32,
    /// In how many clusters.
    pub clusters: u32,
    /// How long that took.
    pub seconds: f64,
    /// The manager's processor time, seconds.
    pub manager: f64,
    /// The emulators' processor time, seconds.
    pub emulators: f64,
    /// When all of them had lost their power afterwards, and joined as the members that they were.
    pub again: Again,
}

impl Members {
    /// Of so many seconds the part of one machine, milliseconds.
    fn each_ms(&self, seconds: f64) -> f64 {
        seconds * 1000.0 / f64::from(self.machines.max(1))
    }
}

/// Members that joined anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Again {
    /// How long that took.
    pub seconds: f64,
    /// The manager's processor time, seconds.
    pub manager: f64,
    /// The emulators' processor time, seconds.
    pub emulators: f64,
}

/// A time in which nobody did anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rest {
    /// How long.
    pub seconds: f64,
    /// The manager's processor time, seconds.
    pub manager: f64,
    /// The emulators' processor time, seconds.
    pub emulators: f64,
    /// The manager's memory that was exceeded in one look of twenty.
    pub memory: Memory,
}

/// Everything that a run found out.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The manager.
    pub variant: Variant,
    /// The manager's memory without machines.
    pub empty: Memory,
    /// Memory of etcd in the end, bytes (PSS), if the store is there: it is no part of the manager.
    pub etcd_bytes: Option<u64>,
    /// Growing.
    pub steps: Vec<Step>,
    /// With clusters, if that was asked for.
    pub members: Option<Members>,
    /// At rest.
    pub rest: Option<Rest>,
    /// What went wrong, and ended the run.
    pub failure: Option<String>,
}

/// A budget, and what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What it is about.
    pub what: String,
    /// What it may be at most.
    pub budget: f64,
    /// What it is; `None` when this run does not measure it.
    pub figure: Option<f64>,
    /// In which unit.
    pub unit: &'static str,
}

impl Row {
    /// Whether the budget was held; `None` when that is not known.
    pub fn is_held(&self) -> Option<bool> {
        self.figure.map(|figure| figure <= self.budget)
    }

    fn word(&self) -> &'static str {
        match self.is_held() {
            Some(true) => "held",
            Some(false) => "OVER",
            None => "not measured",
        }
    }
}

impl Found {
    /// How many machines there are.
    pub fn machines(&self) -> u32 {
        self.steps.last().map_or(0, |step| step.machines)
    }

    /// Whether the emulators were what was waited for.
    pub fn is_void(&self) -> bool {
        let rest = self.rest.map(|rest| rest.emulators / rest.seconds.max(f64::MIN_POSITIVE));
        let members = self.members.map(|all| all.emulators / all.seconds.max(f64::MIN_POSITIVE));
        let again = self.members.map(|all| all.again.emulators / all.again.seconds.max(f64::MIN_POSITIVE));
        let mut busy = self.steps.iter().map(Step::emulator_cores).chain(rest).chain(members).chain(again);
        busy.any(|cores| cores > EMULATORS_MAX)
    }

    /// Every budget.
    pub fn rows(&self) -> Vec<Row> {
        let machines = f64::from(self.machines().max(1));
        let joining: f64 = self.steps.iter().map(|step| step.manager).sum();
        let per_machine = |seconds: f64| seconds * 1000.0 / machines;
        let joined = (!self.steps.is_empty()).then(|| per_machine(joining));
        let with_mtls = self.members.map(|members| per_machine(joining + members.again.manager));
        let last = self.steps.last();
        let row = |what: String, budget, figure, unit| Row { what, budget, figure, unit };
        let mut all = vec![
            row("a join: token, link, status, streams".to_owned(), JOIN_MS, joined, "ms"),
            row("the same, and once more as a member, with mTLS".to_owned(), JOIN_MS, with_mtls, "ms"),
            row("a filtered list, p99".to_owned(), LIST_MS, last.map(|step| step.list.p99), "ms"),
            row("a change until watched, p99".to_owned(), WATCH_MS, last.map(|step| step.watch.p99), "ms"),
        ];
        for variant in Variant::ALL {
            let (count, bytes, cores) = variant.budget();
            let rest = self.rest.filter(|_| variant == self.variant && self.machines() >= count);
            let what = format!("{count} machines at rest, {}: ", variant.what());
            let used = rest.map(|rest| rest.memory.total() as f64 / f64::from(1 << 20));
            all.push(row(format!("{what}memory"), bytes as f64 / f64::from(1 << 20), used, "MiB"));
            if let Some(cores) = cores {
                let used = rest.map(|rest| rest.manager / rest.seconds.max(f64::MIN_POSITIVE));
                all.push(row(format!("{what}processors"), cores, used, ""));
            }
        }
        all
    }

    /// Whether every budget that was measured was held, and the run counts.
    pub fn is_ok(&self) -> bool {
        let is_over = self.rows().iter().any(|row| row.is_held() == Some(false));
        self.failure.is_none() && !self.is_void() && !is_over
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            text += &format!("{}\n", step.json(self.empty));
        }
        for row in self.rows() {
            let figure = row.figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.3}"));
            text += &format!(
                "{:<62}{figure:>12} of {:>10.3} {:<4}{}\n",
                row.what,
                row.budget,
                row.unit,
                row.word()
            );
        }
        if let Some(members) = self.members {
            let each = members.each_ms(members.manager);
            text += &format!(
                "to become a member of one of {} clusters (configuration, reboot, mTLS): {each:.1} ms\n",
                members.clusters
            );
        }
        if let Some(bytes) = self.etcd_bytes {
            text += &format!("etcd itself, beside the manager: {} MiB\n", bytes >> 20);
        }
        if self.is_void() {
            text += "VOID: emulators took over 0.9 of a processor; switch fewer machines on in a second\n";
        }
        text.extend(self.failure.iter().map(|why| format!("FAILED: {why}\n")));
        text
    }

    /// One object with everything.
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "what": row.what,
                "budget": row.budget,
                "figure": row.figure.map(rounded),
                "unit": row.unit,
                "held": row.is_held(),
            })
        };
        let rest = self.rest.map(|rest| {
            json!({
                "seconds": rounded(rest.seconds),
                "manager_cores": rounded(rest.manager / rest.seconds.max(f64::MIN_POSITIVE)),
                "emulator_cores": rounded(rest.emulators / rest.seconds.max(f64::MIN_POSITIVE)),
                "memory_bytes_p95": rest.memory.json(),
            })
        });
        let members = self.members.map(|members| {
            let each = |seconds: f64| rounded(members.each_ms(seconds));
            json!({
                "machines": members.machines,
                "clusters": members.clusters,
                "seconds": rounded(members.seconds),
                "manager_ms_per_machine": each(members.manager),
                "emulator_cores": rounded(members.emulators / members.seconds.max(f64::MIN_POSITIVE)),
                "again_seconds": rounded(members.again.seconds),
                "again_manager_ms_per_machine": each(members.again.manager),
            })
        });
        json!({
            "ok": self.is_ok(),
            "bench": "fleet-join",
            "void": self.is_void(),
            "failure": self.failure,
            "variant": self.variant.name(),
            "etcd_bytes": self.etcd_bytes,
            "machines": self.machines(),
            "budgets": self.rows().iter().map(row).collect::<Vec<_>>(),
            "steps": self.steps.iter().map(|step| step.json(self.empty)).collect::<Vec<_>>(),
            "members": members,
            "rest": rest,
        })
    }
}

/// Thousandths are all that a noisy host can tell.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(machines: u32, manager: f64, emulators: f64) -> Found {
        let step = Step { machines, joined: machines, seconds: 100.0, manager, emulators, ..Step::default() };
        Found { steps: vec![step], ..Found::default() }
    }

    fn held(found: &Found, what: &str) -> Option<bool> {
        let row = found.rows().into_iter().find(|row| row.what.contains(what)).unwrap();
        row.is_held()
    }

    #[test]
    fn every_budget_has_a_row_and_what_is_not_measured_says_so() {
        let found = found(100, 5.9, 50.0);
        let rows = found.rows();
        assert_eq!(rows.len(), 8);
        assert_eq!(rows.iter().filter(|row| row.is_held().is_none()).count(), 5);
        assert!(found.is_ok() && found.text().contains("not measured"), "{}", found.text());
        assert_eq!(held(&found, "a join"), Some(true));
        assert_eq!(held(&self::found(100, 6.1, 50.0), "a join"), Some(false));
    }

    #[test]
    fn budgets_at_rest_count_for_the_manager_and_the_number_that_they_are_for() {
        let memory = Memory { process: 2 << 30, ..Memory::default() };
        let rest = Some(Rest { seconds: 600.0, manager: 60.0, memory, ..Rest::default() });
        let few = Found { rest, ..found(100, 1.0, 1.0) };
        assert_eq!(held(&few, "kernel's TCP: memory"), None);
        let many = Found { rest, ..found(10_000, 100.0, 1.0) };
        assert_eq!(held(&many, "kernel's TCP: memory"), Some(false));
        assert_eq!(held(&many, "kernel's TCP: processors"), Some(true));
        let etcd = Found { variant: Variant::Etcd, ..many.clone() };
        assert_eq!((held(&etcd, "kernel's TCP: memory"), held(&etcd, "etcd: memory")), (None, Some(false)));
    }

    #[test]
    fn a_join_with_mtls_counts_with_the_first_join_and_without_the_making_of_clusters() {
        let again = Again { seconds: 100.0, manager: 2.0, emulators: 10.0 };
        let members = Members { machines: 100, seconds: 100.0, manager: 90.0, again, ..Members::default() };
        let members = |again| Found { members: Some(Members { again, ..members }), ..found(100, 3.0, 1.0) };
        assert_eq!(held(&members(again), "with mTLS"), Some(true));
        assert_eq!(held(&members(Again { manager: 3.1, ..again }), "with mTLS"), Some(false));
        assert!(members(Again { emulators: 91.0, ..again }).is_void());
    }

    #[test]
    fn a_run_with_busy_emulators_or_a_failure_is_not_good() {
        assert!(found(100, 1.0, 91.0).is_void() && !found(100, 1.0, 91.0).is_ok());
        let failed = Found { failure: Some("why".to_owned()), ..found(100, 1.0, 1.0) };
        assert!(!failed.is_ok() && failed.json()["failure"] == "why");
    }

    #[test]
    fn a_manager_is_chosen_by_its_name() {
        for variant in Variant::ALL {
            assert_eq!(variant.name().parse::<Variant>().expect("a name"), variant);
        }
        let refusal = "memory".parse::<Variant>().expect_err("no name").to_string();
        assert!(refusal.contains("kernel, user-stack, etcd"), "{refusal}");
    }

    #[test]
    fn percentiles_are_of_the_slow_end() {
        let times = (1..=200).map(Duration::from_millis).collect();
        let latency = Latency::of(times);
        assert_eq!((latency.p50, latency.p99), (100.0, 198.0));
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }
}
