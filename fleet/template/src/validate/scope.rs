//! Rules of what every scope has: labels, annotations, patches.

use corten_config::node::{Node, Position, Value};
use corten_config::{Audience, PatchError, Problem, Problems, read};
use corten_fleet_resources::labels;

use super::Checker;
use crate::model::{Descriptors, FileText, Patch, Scope, Tags};
use crate::names::Numbering;

impl Checker<'_> {
    pub(super) fn scope(&mut self, scope: &Scope, numbering: &Numbering) {
        self.descriptors("", &scope.descriptors);
        for (index, patch) in scope.patches.iter().enumerate() {
            let path = format!("patches[{index}]");
            self.patch(&path, patch);
            self.claim("patch", numbering.patch(index, patch), &path, patch.at);
        }
    }

    /// Keys that the manager gives a meaning are not for people.
    pub(super) fn descriptors(&mut self, path: &str, descriptors: &Descriptors) {
        let dot = if path.is_empty() { "" } else { "." };
        self.tags(&format!("{path}{dot}labels"), &descriptors.labels);
        self.tags(&format!("{path}{dot}annotations"), &descriptors.annotations);
    }

    fn tags(&mut self, path: &str, tags: &Tags) {
        for (key, value) in tags.iter().filter(|(key, _)| labels::is_reserved(key)) {
            let message = "belong to the manager; choose another";
            let message = format!("keys that begin with {} {message}", labels::PREFIX);
            self.refuse(format!("{path}[{key:?}]"), value.at, message);
        }
    }

    fn patch(&mut self, path: &str, patch: &Patch) {
        self.descriptors(path, &patch.descriptors);
        let inline = patch.inline.as_ref().map(|inline| inline.at);
        if !self.is_one_of(path, patch.at, ("file", patch.file.is_some()), ("inline", inline.is_some())) {
            return;
        }
        if inline.is_some() && patch.name.is_none() && patch.id_override.is_none() {
            let message = "missing; an inline patch needs name or idOverride";
            self.refuse(format!("{path}.name"), patch.at, message);
        }
        self.text(path, ("inline", inline), patch.file.as_ref(), patch.text(), change);
    }

    /// Whether exactly one of two fields is given; otherwise that is refused.
    pub(super) fn is_one_of(&mut self, path: &str, at: Position, a: (&str, bool), b: (&str, bool)) -> bool {
        let message = match (a.1, b.1) {
            (true, true) => format!("{} and {} exclude each other; keep one", a.0, b.0),
            (false, false) => format!("neither {} nor {}; give one of them", a.0, b.0),
            _ => return true,
        };
        self.refuse(path, at, message);
        false
    }

    /// The text of a part, which is in a file or in a field with its place. A file that could not be read has none.
    pub(super) fn text(
        &mut self,
        path: &str,
        (field, at): (&str, Option<Position>),
        file: Option<&FileText>,
        text: Option<&str>,
        rule: fn(&str) -> Result<(), Problems>,
    ) {
        let Some(Err(problems)) = text.map(rule) else { return };
        for problem in &problems {
            match file {
                Some(file) => {
                    let path = format!("{path}.file");
                    self.refuse_in(file.path.value.clone(), path, problem.at, problem.text());
                }
                None => self.refuse(format!("{path}.{field}"), at.unwrap_or_default(), problem.to_string()),
            }
        }
    }
}

/// A change to a configuration, by everything that Talos reads. What machines of ours do not support is refused when
/// the configuration of one is made.
fn change(text: &str) -> Result<(), Problems> {
    read::documents(text).and_then(|documents| is_change(&documents))?;
    let patch = corten_config::Patch::parse_for(text.as_bytes(), Audience::Manager);
    patch.map(drop).map_err(|error| match error {
        PatchError::Read(problems) => problems,
        other => Problem::at(Position::default(), other.to_string()).into(),
    })
}

/// Whether there are parts of a configuration, or a JSON patch.
fn is_change(documents: &[Node]) -> Result<(), Problem> {
    let has_keys = |document: &&Node| document.as_map().is_some_and(|map| !map.is_empty());
    if let [Node { value: Value::List(operations), .. }] = documents
        && !operations.is_empty()
    {
        return Ok(());
    }
    match documents.iter().find(|document| !has_keys(document)) {
        Some(other) if !other.is_zero() => {
            let found = other.describe();
            let message = format!("a patch is made of mappings, or is one list; this is a {found}");
            Err(Problem::at(other.at, message))
        }
        None if !documents.is_empty() => Ok(()),
        _ => {
            let message = "it changes nothing; write a change, or remove it";
            Err(Problem::at(Position::default(), message.to_owned()))
        }
    }
}
