//! `doctor`: what is wrong with machines, why, and what to do.

use std::path::PathBuf;

use clap::Args;
use corten_bundle::machine::Scope;
use corten_bundle::{facts, unpack};
use corten_diagnose::{Facts, Finding, Severity, diagnose};
use serde_json::{Map, Value, json};

use crate::bundle;
use crate::command::{Command, Report};
use crate::connect::{Maintenance, Node};
use crate::context::Cx;
use crate::failure::{Failure, OrFail as _};
use crate::pernode::{Answer, PerNode};

/// Largest support bundle that is read.
const BUNDLE_BYTES_MAX: u64 = 2 << 30;
/// How much it may become.
const FILES_BYTES_MAX: usize = 4 << 30;

/// Tell what is wrong with machines, why, and what to do about it.
///
/// Machines are asked for their state; nothing is changed. What follows from another finding is told behind it. The exit
/// status is 1 when there is a problem. With --bundle, the machines of a support bundle are looked at instead.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  corten doctor 10.5.0.2
  corten doctor -n 10.5.0.2,10.5.0.3 -o json
  corten doctor --bundle support.zip")]
pub struct Doctor {
    /// Machines to look at, like --nodes.
    #[arg(value_name = "MACHINE")]
    machines: Vec<String>,
    /// Look at the machines in this support bundle.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["insecure", "machines"])]
    bundle: Option<PathBuf>,
    #[command(flatten)]
    maintenance: Maintenance,
}

/// What was found of a machine.
#[derive(Debug)]
pub struct Diagnoses(Vec<Finding>);

impl Diagnoses {
    fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.diagnosis.severity == severity).count()
    }
}

/// What was found of all machines.
#[derive(Debug)]
pub struct Diagnosed(PerNode<Diagnoses>);

impl Report for Diagnosed {
    fn text(&self) -> String {
        self.0.text()
    }

    fn data(&self) -> Value {
        self.0.data()
    }

    fn failures(&self) -> Vec<Failure> {
        let ill = |(node, result): &(String, Result<Diagnoses, Failure>)| {
            let problems = result.as_ref().ok()?.count(Severity::Problem);
            (problems > 0)
                .then(|| Failure::new(format!("{node} is not well: {}", counted(problems, "problem"))))
        };
        self.0.failures().into_iter().chain(self.0.0.iter().filter_map(ill)).collect()
    }
}

impl Answer for Diagnoses {
    fn text(answers: &[(&str, &Self)]) -> String {
        let texts: Vec<String> = answers.iter().map(|(node, found)| text(node, found)).collect();
        texts.join("\n")
    }

    fn data(&self) -> Vec<Map<String, Value>> {
        let findings: Vec<Value> = self.0.iter().map(data).collect();
        vec![Map::from_iter([("findings".to_owned(), findings.into())])]
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn text(node: &str, found: &Diagnoses) -> String {
    let kinds = [(Severity::Problem, "problem"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let counts = kinds.iter().map(|(kind, word)| (found.count(*kind), word)).filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| counted(count, word)).collect();
    let sum = if counts.is_empty() { "nothing is wrong".to_owned() } else { counts.join(", ") };
    let findings: String = found.0.iter().map(finding).collect();
    format!("{node}: {sum}\n{findings}")
}

fn finding(finding: &Finding) -> String {
    let diagnosis = finding.diagnosis;
    let mut text = format!("\n  {}: {} ({})\n", diagnosis.severity.as_str(), diagnosis.title, diagnosis.id);
    for evidence in &finding.evidence {
        text += &format!("    {}\n", evidence.what);
        for detail in &evidence.details {
            text += &format!("      | {}\n", detail.trim().replace('\n', "\n      | "));
        }
    }
    if finding.more > 0 {
        text += &format!("    and {} more\n", finding.more);
    }
    if !finding.because.is_empty() {
        // What to do is told where the cause is.
        return text + &format!("    it may follow from: {}\n", finding.because.join(", "));
    }
    text += &format!("    {}\n", diagnosis.why);
    let steps = diagnosis.remedy.iter().enumerate();
    text + &steps.map(|(index, step)| format!("    {}. {step}\n", index + 1)).collect::<String>()
}

fn data(finding: &Finding) -> Value {
    let diagnosis = finding.diagnosis;
    let evidence = finding.evidence.iter().map(|it| json!({"what": it.what, "details": it.details}));
    json!({
        "id": diagnosis.id,
        "severity": diagnosis.severity.as_str(),
        "title": diagnosis.title,
        "evidence": evidence.collect::<Vec<_>>(),
        "moreEvidence": finding.more,
        "because": finding.because,
        "why": diagnosis.why,
        "remedy": diagnosis.remedy,
    })
}

impl Command for Doctor {
    type Report = Diagnosed;

    async fn run(self, cx: &Cx) -> Result<Diagnosed, Failure> {
        if let Some(path) = &self.bundle {
            return read(path).map(Diagnosed);
        }
        let targets = match self.machines.is_empty() {
            true => cx.targets_in(&self.maintenance)?,
            false => cx.targets_named(&self.machines, &self.maintenance)?,
        };
        let look = |node: Node| async move {
            let machine = bundle::collect(cx, &node, Scope::Diagnosis, &|_: &str| {}).await;
            Ok(Diagnoses(diagnose(&facts::of(&machine.files, &machine.folder))))
        };
        Ok(Diagnosed(targets.each("look at", look).await))
    }
}

/// The machines of a bundle.
fn read(path: &std::path::Path) -> Result<PerNode<Diagnoses>, Failure> {
    let object = format!("cannot read the support bundle `{}`", path.display());
    let size = std::fs::metadata(path).or_fail(&object)?.len();
    if size > BUNDLE_BYTES_MAX {
        return Err(Failure::new(object).because(format!("it is larger than {BUNDLE_BYTES_MAX} bytes")));
    }
    let bytes = std::fs::read(path).or_fail(&object)?;
    let files =
        unpack(&bytes, FILES_BYTES_MAX).map_err(|error| corten_base::chain(&error)).or_fail(&object)?;
    let folders = facts::folders(&files);
    if folders.is_empty() {
        return Err(Failure::new(object)
            .because("it has no machines")
            .way_out("make one with `corten support`"));
    }
    let look = |folder: String| {
        let facts: Facts = facts::of(&files, &folder);
        let name = if facts.vitals.machine.is_empty() { folder } else { facts.vitals.machine.clone() };
        (name, Ok(Diagnoses(diagnose(&facts))))
    };
    Ok(PerNode(folders.into_iter().map(look).collect()))
}

#[cfg(test)]
mod tests {
    use corten_diagnose::{MemoryFact, ServiceFact, Vitals};

    use super::*;
    use crate::command::pretty;

    fn diagnosed() -> Diagnosed {
        let etcd = ServiceFact {
            id: "etcd".to_owned(),
            state: "Waiting".to_owned(),
            message: "Waiting for bootstrap".to_owned(),
            ..ServiceFact::default()
        };
        let memory = Some(MemoryFact { total: 512 << 20, available: 10 << 20 });
        let ill = Facts::new(Vitals { services: vec![etcd], memory, ..Vitals::default() });
        let well = Facts::default();
        let found = [("10.5.0.2", ill), ("10.5.0.3", well)];
        Diagnosed(PerNode(
            found
                .into_iter()
                .map(|(name, facts)| (name.to_owned(), Ok(Diagnoses(diagnose(&facts)))))
                .collect(),
        ))
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_do_and_fails() {
        let report = diagnosed();
        crate::snapshot::check("doctor", &(report.text() + &pretty(&report.data())));
        assert_eq!(report.failures().len(), 1);
    }

    #[test]
    fn a_file_that_is_no_bundle_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.zip");
        std::fs::write(&path, b"no archive").expect("written");
        assert!(read(&path).expect_err("refused").render().contains("it is no ZIP archive"));
    }
}
