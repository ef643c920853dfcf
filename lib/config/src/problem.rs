//! What is wrong with a configuration: every cause at once, each with its place.

use std::fmt;

use crate::node::Position;

/// One cause, with its field and its place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Document as `Kind` or `Kind/name`; empty for the `v1alpha1` document and for the stream.
    pub document: String,
    /// Field as in `machine.network.interfaces[1].mtu`; empty for the document as a whole.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// Where.
    pub at: Position,
}

impl Problem {
    /// A problem of the stream.
    #[must_use]
    pub const fn at(at: Position, message: String) -> Self {
        Self { document: String::new(), path: String::new(), message, at }
    }

    /// Field and message without the place.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.document.is_empty() {
            text += &format!("document {}: ", self.document);
        }
        if !self.path.is_empty() {
            text += &format!("{}: ", self.path);
        }
        text + &self.message
    }

    /// The problem with its place in a named file.
    #[must_use]
    pub fn in_file(&self, file: &str) -> String {
        if self.at.line == 0 {
            return format!("{} ({file})", self.text());
        }
        format!("{} ({file}:{}:{})", self.text(), self.at.line, self.at.column)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())?;
        if self.at.line != 0 {
            write!(f, " (line {}, column {})", self.at.line, self.at.column)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// Most problems that are reported; a file that is wrong everywhere needs no longer list.
pub const PROBLEMS_MAX: usize = 50;

/// Most problems that are kept to be sorted; the rest is only counted.
const KEPT_MAX: usize = 1_000;

/// All that is wrong, in the order of the text. Never empty when returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    dropped: usize,
}

impl Problems {
    /// Adds one, unless the same field already has one with the same text.
    pub fn push(&mut self, problem: Problem) {
        if self.is_full() {
            self.dropped += 1;
        } else if !self.kept.contains(&problem) {
            self.kept.push(problem);
        }
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Self) {
        self.dropped += other.dropped;
        for problem in other.kept {
            self.push(problem);
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether more problems are only counted, so that explaining them is wasted work.
    pub(crate) const fn is_full(&self) -> bool {
        self.kept.len() >= KEPT_MAX
    }

    /// The problems in the order of the text.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.kept.sort_by(|a, b| (a.at, &a.path).cmp(&(b.at, &b.path)));
        self
    }

    /// Each problem that was kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.kept.iter()
    }

    /// Nothing when empty, itself as the error otherwise.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self.sorted()) }
    }

    /// One line per problem with its place in a named file, for `cause:` lines.
    #[must_use]
    pub fn in_file(&self, file: &str) -> Vec<String> {
        self.lines(|problem| problem.in_file(file))
    }

    fn lines(&self, line: impl Fn(&Problem) -> String) -> Vec<String> {
        let mut lines: Vec<String> = self.kept.iter().take(PROBLEMS_MAX).map(line).collect();
        let more = self.kept.len() - lines.len() + self.dropped;
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        lines
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self { kept: vec![problem], dropped: 0 }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines(ToString::to_string).join("\n"))
    }
}

impl std::error::Error for Problems {}

/// The way to a value, for messages.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Self>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
    Text(&'a str),
}

impl<'a> Path<'a> {
    /// The document itself.
    pub const ROOT: Self = Self { parent: None, step: Step::Root };

    /// A way that is already written out, from the document itself.
    #[must_use]
    pub const fn written(text: &'a str) -> Self {
        Self { parent: Some(&Self::ROOT), step: Step::Text(text) }
    }

    /// The way to a key of this value.
    #[must_use]
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// The way to an element of this value.
    #[must_use]
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            let first = matches!(parent.step, Step::Root);
            match self.step {
                Step::Root => {}
                Step::Text(text) => f.write_str(text)?,
                Step::Key(key) if key.contains(['.', '/', '[']) => write!(f, "[{key:?}]")?,
                Step::Key(key) if first => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The candidate nearest to a word that was probably meant, if one is near enough.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Most keys that a message lists.
const KEYS_SHOWN: usize = 12;

/// What to say of a key that is not known: the nearest one that is, or some of those that are.
#[must_use]
pub fn unknown_key<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if let Some(near) = nearest(key, known.iter().copied()) {
        return format!("unknown key; did you mean {near:?}?");
    }
    if known.is_empty() {
        return "unknown key; it takes no keys".to_owned();
    }
    let more = if known.len() > KEYS_SHOWN { ", …" } else { "" };
    let shown: Vec<&str> = known.into_iter().take(KEYS_SHOWN).collect();
    format!("unknown key; known here: {}{more}", shown.join(", "))
}

/// Edits between two words (insert, delete, replace).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_users_write_them() {
        let machine = Path::ROOT.key("machine");
        let list = machine.key("interfaces");
        assert_eq!(list.index(1).key("mtu").to_string(), "machine.interfaces[1].mtu");
        assert_eq!(machine.key("net.core.x").to_string(), "machine[\"net.core.x\"]");
        assert_eq!(Path::ROOT.to_string(), "");
    }

    #[test]
    fn the_nearest_word_must_be_near() {
        let keys = ["kubelet", "network", "install"];
        assert_eq!(nearest("kublet", keys), Some("kubelet"));
        assert_eq!(nearest("Network", keys), Some("network"));
        assert_eq!(nearest("proxy", keys), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
    }

    #[test]
    fn an_unknown_key_is_told_with_a_near_one_or_some_that_are_known() {
        let known = ["kubelet", "network"];
        assert_eq!(unknown_key("kublet", known), "unknown key; did you mean \"kubelet\"?");
        assert_eq!(unknown_key("proxy", known), "unknown key; known here: kubelet, network");
        assert_eq!(unknown_key("proxy", []), "unknown key; it takes no keys");
        let many = unknown_key("proxy", ["aaaaaaaa"; 13]);
        assert!(many.ends_with("aaaaaaaa, …"), "{many}");
    }

    #[test]
    fn problems_are_sorted_unique_and_bounded() {
        let mut problems = Problems::default();
        for line in (1..=60).rev().chain(1..=3) {
            problems.push(Problem::at(Position { line, column: 1 }, "bad".to_owned()));
        }
        let text = problems.sorted().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), PROBLEMS_MAX + 1);
        assert_eq!(lines[0], "bad (line 1, column 1)");
        assert_eq!(lines[PROBLEMS_MAX], "and 10 more");

        let mut problems = Problems::default();
        for line in 0..KEPT_MAX + 5 {
            problems.push(Problem::at(Position { line, column: 1 }, "bad".to_owned()));
        }
        assert!(problems.to_string().ends_with("and 955 more"));
    }
}
