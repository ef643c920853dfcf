//! The rules of templates, all at once.
//!
//! ```text
//! Documents ─┬ each document by itself: cluster, set, machine, and the parts of its scope
//!            └ documents together: how many, who is where, ids           ─▶ Findings, or the Template
//! ```
//!
//! What depends on the state of the manager (versions that exist, classes, locked clusters) is the manager's to refuse.

mod cluster;
mod scope;
mod set;
mod together;

use std::collections::BTreeMap;

use corten_config::Problem;
use corten_config::node::Position;

use crate::finding::{Finding, Findings};
use crate::model::{Documents, Spanned, Template};
use crate::schema::DocumentKind;

/// Everything that is wrong with the documents of a template.
pub(crate) fn check(documents: &Documents) -> Findings {
    let mut checker = Checker {
        file: &documents.file,
        document: String::new(),
        ids: BTreeMap::new(),
        findings: Findings::default(),
    };
    let cluster = documents.clusters.first().map(|cluster| cluster.name()).unwrap_or_default();
    for document in &documents.clusters {
        checker.document = document.label();
        checker.cluster(document);
    }
    for set in documents.sets() {
        checker.document = set.label();
        checker.set(cluster, set);
    }
    for machine in &documents.machines {
        checker.document = machine.label();
        checker.machine(machine);
    }
    checker.together(documents);
    checker.findings
}

/// The template that these documents are, if there is exactly what is needed.
pub(crate) fn into_template(mut documents: Documents) -> Result<Template, Findings> {
    let missing = |kind| Findings::from(missing(&documents.file, kind));
    let cluster = documents.clusters.pop().ok_or_else(|| missing(DocumentKind::Cluster))?;
    let control_plane = documents.control_planes.pop();
    let control_plane = control_plane.ok_or_else(|| missing(DocumentKind::ControlPlane))?;
    Ok(Template { cluster, control_plane, workers: documents.workers, machines: documents.machines })
}

fn missing(file: &str, kind: DocumentKind) -> Finding {
    let kind = kind.name();
    let message = format!("there is no document of kind {kind}; add one that begins with `kind: {kind}`");
    Finding { file: file.to_owned(), problem: Problem::at(Position::default(), message) }
}

/// Collects what is wrong.
struct Checker<'a> {
    file: &'a str,
    /// How messages call the document that is being checked.
    document: String,
    /// Ids that are taken, by kind of part, with the place of the part.
    ids: BTreeMap<(&'static str, String), Position>,
    findings: Findings,
}

impl Checker<'_> {
    fn refuse(&mut self, path: impl Into<String>, at: Position, message: impl Into<String>) {
        self.refuse_in(self.file.to_owned(), path, at, message);
    }

    /// Like `refuse`, with the place in another file.
    fn refuse_in(&mut self, file: String, path: impl Into<String>, at: Position, message: impl Into<String>) {
        let document = self.document.clone();
        let problem = Problem { document, path: path.into(), message: message.into(), at };
        self.findings.push(Finding { file, problem });
    }

    /// Refuses a part whose id another one has already.
    fn claim(&mut self, kind: &'static str, id: Option<String>, path: &str, at: Position) {
        let Some(id) = id else { return };
        match self.ids.get(&(kind, id.clone())).map(|first| first.line) {
            Some(line) => {
                let other = format!("the {kind} in line {line} has the id {id:?} too");
                self.refuse(path, at, format!("{other}; give one of them another name"));
            }
            None => {
                self.ids.insert((kind, id), at);
            }
        }
    }

    /// A name that becomes a part of ids.
    fn name(&mut self, name: Option<&Spanned<String>>, at: Position) {
        const LETTERS: &str = "only letters, digits, `-` and `_` are permitted";
        match name {
            None => self.refuse("name", at, format!("missing; {LETTERS} in it")),
            Some(name) if !is_name(name) => {
                self.refuse("name", name.at, format!("{:?} is no name; {LETTERS}", name.value));
            }
            Some(_) => {}
        }
    }

    /// A machine by its UUID.
    fn uuid(&mut self, path: &str, uuid: &Spanned<String>) {
        if !is_uuid(uuid) {
            let message = "is no UUID of a machine; take it from the list of machines";
            self.refuse(path, uuid.at, format!("{:?} {message}", uuid.value));
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// Whether a text is a UUID in its usual form: 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(|group| group.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
