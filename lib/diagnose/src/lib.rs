//! What may be wrong with a machine, why, and what to do: a table of diagnoses, and the one function that goes through
//! it.
//!
//! ```text
//! machine's own state ┐
//! machine's API       ├─▶ Facts: resources │ vitals │ ends of logs ─▶ diagnose ─▶ findings, causes first
//! support bundle      ┘                                    TABLE ────────┘
//! ```
//!
//! A diagnosis is a pure function over facts. What was not looked at is no fact: a diagnosis that something is absent
//! asks first whether its type was read. So the same table serves the machine, which knows its own resources, an
//! administrator, who sees everything, and somebody who has only a support bundle.
//!
//! Why a table and not a controller for each: who is asked for help wants one list with one order, the reference is
//! generated from it, and a fault often shows in several places of which one is the cause.

mod contact;
mod containers;
mod etcd;
mod facts;
mod kubernetes;
mod names;
mod network;
mod storage;
mod system;
#[cfg(test)]
mod testing;
mod vitals;

pub use facts::{Facts, KINDS, kinds};
pub use vitals::{CertificateFact, EtcdAlarmFact, EtcdFact, FilesystemFact, MemoryFact, ServiceFact, Vitals};

/// Findings of one diagnosis; more are counted.
const EVIDENCE_MAX: usize = 8;
/// Characters of one text that was read somewhere.
const TEXT_CHARS_MAX: usize = 300;

/// Problems that a machine may live with, for what is missing may be missing on purpose: a network that leads nowhere
/// else has neither name servers nor a default route. They matter once something else is wrong as well.
pub const BEARABLE: &[&str] = &[
    "configuration-missing",
    "dns-failing",
    "manager-away",
    "no-default-route",
    "no-resolvers",
    "time-server-unreachable",
    "time-servers-missing",
];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work.
    Problem,
    /// It works, and will not for long, or not as somebody may expect.
    Warning,
    /// Nothing is wrong; it explains what one may wonder about.
    Note,
}

impl Severity {
    /// One word for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that may be wrong.
pub struct Diagnosis {
    /// Name for programs, and the id of the machine's own resource about it.
    pub id: &'static str,
    /// What is wrong, in one sentence without names.
    pub title: &'static str,
    /// What it does to the machine, and where it comes from.
    pub why: &'static str,
    /// What to do, first things first.
    pub remedy: &'static [&'static str],
    /// How bad it is.
    pub severity: Severity,
    /// Diagnoses that may be its cause: while one of them is found, this one is told as its consequence.
    pub after: &'static [&'static str],
    /// Looks for it.
    find: fn(&Facts) -> Vec<Evidence>,
}

impl std::fmt::Debug for Diagnosis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diagnosis").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a diagnosis was made from, for one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What is wrong, in one sentence with names and numbers.
    pub what: String,
    /// What was read, as it was read.
    pub details: Vec<String>,
}

impl Evidence {
    /// Evidence that its sentence says all about.
    fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), details: Vec::new() }
    }

    /// With something that was read; long texts are cut.
    fn with(mut self, detail: impl AsRef<str>) -> Self {
        let detail = detail.as_ref().trim();
        if !detail.is_empty() {
            self.details.push(short(detail));
        }
        self
    }
}

/// The text, cut where it would be too long to read.
fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A diagnosis that fits the facts.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which one.
    pub diagnosis: &'static Diagnosis,
    /// What it was made from; at least one.
    pub evidence: Vec<Evidence>,
    /// Evidence that is not listed.
    pub more: usize,
    /// Found diagnoses that explain it; empty for a cause.
    pub because: Vec<&'static str>,
}

/// All diagnoses, in the order in which they are told: what others follow from comes first.
pub fn table() -> impl Iterator<Item = &'static Diagnosis> {
    let domains = [contact::TABLE, storage::TABLE, network::TABLE, names::TABLE, system::TABLE];
    let clusters = [containers::TABLE, etcd::TABLE, kubernetes::TABLE];
    domains.into_iter().chain(clusters).flatten()
}

/// What is wrong, causes before their consequences, then by severity.
#[must_use]
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = table().filter_map(|diagnosis| found(diagnosis, facts)).collect();
    let ids: Vec<&str> = findings.iter().map(|finding| finding.diagnosis.id).collect();
    for finding in &mut findings {
        let after = finding.diagnosis.after.iter().copied();
        finding.because = after.filter(|id| ids.contains(id)).collect();
    }
    findings.sort_by_key(|finding| (!finding.because.is_empty(), finding.diagnosis.severity));
    findings
}

fn found(diagnosis: &'static Diagnosis, facts: &Facts) -> Option<Finding> {
    let mut evidence = (diagnosis.find)(facts);
    let more = evidence.len().saturating_sub(EVIDENCE_MAX);
    evidence.truncate(EVIDENCE_MAX);
    (!evidence.is_empty()).then(|| Finding { diagnosis, evidence, more, because: Vec::new() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_diagnosis_says_what_why_and_what_to_do() {
        let mut ids = BTreeSet::new();
        for diagnosis in table() {
            let Diagnosis { id, title, why, remedy, .. } = diagnosis;
            assert!(ids.insert(*id), "{id} stands twice");
            let is_plain = |letter: char| letter.is_ascii_lowercase() || letter == '-';
            assert!(id.chars().all(is_plain), "{id} is no id");
            for sentence in [title, why].into_iter().chain(*remedy) {
                assert!(sentence.ends_with('.') && sentence.len() > 10, "{id}: {sentence:?} is no sentence");
            }
            assert!(!remedy.is_empty(), "{id} leaves people alone");
        }
        assert!(ids.len() >= 20, "only {} diagnoses", ids.len());
    }

    #[test]
    fn what_may_be_a_cause_is_in_the_table_and_comes_first() {
        let order: Vec<&str> = table().map(|diagnosis| diagnosis.id).collect();
        for (place, diagnosis) in table().enumerate() {
            for cause in diagnosis.after {
                let known = order.iter().position(|id| id == cause);
                let known = known.unwrap_or_else(|| panic!("{}: there is no {cause}", diagnosis.id));
                assert!(known < place, "{cause} stands behind {}, which may follow from it", diagnosis.id);
            }
        }
    }

    #[test]
    fn what_is_bearable_is_in_the_table() {
        for id in BEARABLE {
            assert!(table().any(|diagnosis| diagnosis.id == *id), "there is no {id}");
        }
    }

    #[test]
    fn nothing_is_wrong_with_a_machine_of_which_nothing_is_known() {
        let findings = diagnose(&Facts::default());
        assert!(findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let evidence = Evidence::new("x").with("ä".repeat(1000));
        assert_eq!(evidence.details[0].chars().count(), TEXT_CHARS_MAX + 1);
        assert!(Evidence::new("x").with("  ").details.is_empty());
    }
}
