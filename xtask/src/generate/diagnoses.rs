//! The page of the diagnoses: everything that `corten doctor` knows to be wrong, with what it follows from and what to do.

use anyhow::Result;
use corten_diagnose::{Diagnosis, Severity, table as diagnoses};

use super::code;

const HEAD: &str = "# Diagnoses

What `corten doctor MACHINE` looks for, in the order in which it is told: what others follow from comes first. A machine
publishes problems that last as resources too, under the same names: `corten get diagnostics`. `corten support` writes a
file from which `corten doctor --bundle FILE` finds the same.
";

/// The page.
pub(super) fn page() -> Result<String> {
    let mut text = format!("{HEAD}\n{} diagnoses.\n", diagnoses().count());
    for severity in [Severity::Problem, Severity::Warning, Severity::Note] {
        text += &format!("\n## {}\n", title(severity));
        text.extend(diagnoses().filter(|diagnosis| diagnosis.severity == severity).map(section));
    }
    Ok(text)
}

const fn title(severity: Severity) -> &'static str {
    match severity {
        Severity::Problem => "Problems",
        Severity::Warning => "Warnings",
        Severity::Note => "Notes",
    }
}

fn section(diagnosis: &Diagnosis) -> String {
    let Diagnosis { id, title, why, remedy, after, .. } = diagnosis;
    let steps: String =
        remedy.iter().enumerate().map(|(index, step)| format!("{}. {step}\n", index + 1)).collect();
    let causes: Vec<String> = after.iter().map(|id| code(id)).collect();
    let causes = if causes.is_empty() {
        String::new()
    } else {
        format!("\nIt may follow from {}.\n", causes.join(", "))
    };
    format!("\n### {id}\n\n{title} {why}\n\n{steps}{causes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnosis_stands_under_its_name_with_what_to_do() {
        let page = page().unwrap();
        let section = page.split("\n### no-default-route\n").nth(1).unwrap();
        let section = section.split("\n### ").next().unwrap();
        assert!(
            section.contains("There is no default route.") && section.contains("1. See with"),
            "{section}"
        );
        assert!(section.contains("It may follow from `no-carrier`, `no-address`."), "{section}");
    }
}
