//! What is wrong with a template: every cause at once, each with its file and place.

use std::fmt;

use corten_config::Problem;

/// Most findings that are printed; a template that is wrong everywhere needs no longer list.
pub const FINDINGS_MAX: usize = 50;

/// Most findings that are kept.
const KEPT_MAX: usize = 1_000;

/// One cause, with the file that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The template, or a file that it names, as it is written there.
    pub file: String,
    /// Document, field and place, and what would be right.
    pub problem: Problem,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem.in_file(&self.file))
    }
}

/// All that is wrong, in the order in which it was found. Never empty when returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one, unless it is there already or there are a thousand.
    pub fn push(&mut self, finding: Finding) {
        if self.0.len() < KEPT_MAX && !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Adds what a later look found, without what only follows from findings that are there: those about the same
    /// field, about what it is in, or about what is in it.
    pub(crate) fn follow(&mut self, later: Self) {
        let earlier = self.0.len();
        for finding in later.0 {
            if !self.0.iter().take(earlier).any(|known| is_about_the_same(known, &finding)) {
                self.push(finding);
            }
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each finding.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// Nothing when empty, itself as the error otherwise, in the order of files and places.
    ///
    /// # Errors
    /// When there is a finding.
    pub fn into_result(mut self) -> Result<(), Self> {
        if self.is_empty() {
            return Ok(());
        }
        self.0.sort_by(|a, b| {
            (&a.file, a.problem.at, &a.problem.path).cmp(&(&b.file, b.problem.at, &b.problem.path))
        });
        Err(self)
    }
}

fn is_about_the_same(a: &Finding, b: &Finding) -> bool {
    let (a, b) = (&a.problem, &b.problem);
    a.document == b.document && (is_in(&a.path, &b.path) || is_in(&b.path, &a.path))
}

/// Whether a field is another one or a part of it.
fn is_in(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines: Vec<String> = self.0.iter().take(FINDINGS_MAX).map(ToString::to_string).collect();
        let more = self.0.len() - lines.len();
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Findings {}

#[cfg(test)]
mod tests {
    use corten_config::node::Position;

    use super::*;

    fn finding(path: &str, line: usize) -> Finding {
        let at = Position { line, column: 1 };
        let document = "Cluster/a".to_owned();
        let problem = Problem { document, path: path.to_owned(), ..Problem::at(at, "bad".to_owned()) };
        Finding { file: "t.yaml".to_owned(), problem }
    }

    #[test]
    fn what_only_follows_from_an_earlier_finding_is_left_out() {
        let mut findings = Findings::from(finding("talos.version", 3));
        let later = [("talos", 2), ("talos.version", 3), ("talos2", 9), ("name", 1)];
        findings.follow(Findings(later.map(|(path, line)| finding(path, line)).to_vec()));
        let paths: Vec<&str> = findings.iter().map(|finding| finding.problem.path.as_str()).collect();
        assert_eq!(paths, ["talos.version", "talos2", "name"]);
    }

    #[test]
    fn findings_are_printed_in_the_order_of_the_file_and_bounded() {
        let mut findings = Findings::default();
        for line in (1..=60).rev() {
            findings.push(finding("name", line));
        }
        let text = findings.into_result().unwrap_err().to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), FINDINGS_MAX + 1);
        assert_eq!(lines[0], "document Cluster/a: name: bad (t.yaml:1:1)");
        assert_eq!(lines[FINDINGS_MAX], "and 10 more");
    }
}
