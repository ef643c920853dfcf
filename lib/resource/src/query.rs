//! Selecting resources by labels and id.

use regex::{Regex, RegexBuilder};

use crate::metadata::Metadata;

/// Longest pattern and largest compiled automaton of an id query.
const PATTERN_BYTES_MAX: usize = 1024;
const AUTOMATON_BYTES_MAX: usize = 256 * 1024;

/// Comparison of a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LabelOp {
    /// The label is there.
    #[default]
    Exists,
    /// It has the value.
    Equal,
    /// It is not there.
    NotExists,
    /// It has one of the values.
    In,
    /// It sorts before the value.
    Less,
    /// It sorts before the value or equals it.
    LessOrEqual,
    /// Its number, with an optional unit of bytes, is below the value's.
    LessNumeric,
    /// Its number, with an optional unit of bytes, is not above the value's.
    LessOrEqualNumeric,
}

/// One condition on a label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelTerm {
    /// Name of the label.
    pub key: String,
    /// Comparison.
    pub op: LabelOp,
    /// Values to compare with.
    pub values: Vec<String>,
    /// Whether the condition must not hold.
    pub invert: bool,
}

impl LabelTerm {
    /// The label has this value.
    pub fn equal(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), op: LabelOp::Equal, values: vec![value.into()], invert: false }
    }

    /// The label is there.
    pub fn exists(key: impl Into<String>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    fn matches(&self, metadata: &Metadata) -> bool {
        let label = metadata.labels.get(&self.key).map(String::as_str);
        self.holds(label).unwrap_or(false) != self.invert
    }

    fn holds(&self, label: Option<&str>) -> Option<bool> {
        let first = self.values.first().map(String::as_str);
        Some(match self.op {
            LabelOp::Exists => label.is_some(),
            LabelOp::NotExists => label.is_none(),
            LabelOp::Equal => label? == first?,
            LabelOp::In => self.values.iter().any(|value| Some(value.as_str()) == label),
            LabelOp::Less => label? < first?,
            LabelOp::LessOrEqual => label? <= first?,
            LabelOp::LessNumeric => number(label?)? < number(first?)?,
            LabelOp::LessOrEqualNumeric => number(label?)? <= number(first?)?,
        })
    }
}

/// A number with an optional unit: `4`, `1.5GiB`, `20 MB`.
pub(crate) fn number(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] =
        [("", 1.0), ("B", 1.0), ("K", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15)];
    const BINARY: [(&str, f64); 5] = [
        ("KI", 1024.0),
        ("MI", 1_048_576.0),
        ("GI", 1_073_741_824.0),
        ("TI", 1_099_511_627_776.0),
        ("PI", 1_125_899_906_842_624.0),
    ];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_uppercase();
    let unit = if unit.len() > 1 { unit.trim_end_matches('B') } else { &unit };
    let factor = UNITS.iter().chain(&BINARY).find(|(name, _)| *name == unit)?.1;
    Some(digits.parse::<f64>().ok()? * factor)
}

/// An id pattern that is too long, too large or no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid id query: {0}")]
pub struct InvalidPattern(String);

/// Which resources of a type are meant; the default means all.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Sets of terms: all terms of at least one set must hold.
    pub labels: Vec<Vec<LabelTerm>>,
    id: Option<Regex>,
}

impl Query {
    /// All resources whose labels satisfy all `terms`.
    #[must_use]
    pub fn labels(terms: Vec<LabelTerm>) -> Self {
        Self::any_of(vec![terms])
    }

    /// All resources whose labels satisfy all terms of one of the sets; no set means all resources.
    #[must_use]
    pub const fn any_of(labels: Vec<Vec<LabelTerm>>) -> Self {
        Self { labels, id: None }
    }

    /// Narrows to ids that match a regular expression.
    ///
    /// # Errors
    /// When the pattern is invalid, too long or too complex.
    pub fn with_id(mut self, pattern: &str) -> Result<Self, InvalidPattern> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(InvalidPattern(format!("longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let regex = RegexBuilder::new(pattern).size_limit(AUTOMATON_BYTES_MAX).build();
        self.id = Some(regex.map_err(|error| InvalidPattern(error.to_string()))?);
        Ok(self)
    }

    /// The id pattern, if there is one.
    #[must_use]
    pub fn id_pattern(&self) -> Option<&str> {
        self.id.as_ref().map(Regex::as_str)
    }

    /// Whether a resource with this metadata is meant.
    #[must_use]
    pub fn matches(&self, metadata: &Metadata) -> bool {
        let by_label = self.labels.is_empty()
            || self.labels.iter().any(|terms| terms.iter().all(|term| term.matches(metadata)));
        by_label && self.id.as_ref().is_none_or(|regex| regex.is_match(&metadata.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(op: LabelOp, values: &[&str], invert: bool) -> LabelTerm {
        LabelTerm {
            key: "k".to_owned(),
            op,
            values: values.iter().map(ToString::to_string).collect(),
            invert,
        }
    }

    #[test]
    fn terms_compare_labels() {
        let mut metadata = Metadata::new("n", "Things.a.b", "thing-1");
        let check = |metadata: &Metadata, op, values: &[&str], expected: bool| {
            assert_eq!(term(op, values, false).matches(metadata), expected, "{op:?} {values:?}");
            assert_eq!(term(op, values, true).matches(metadata), !expected, "not {op:?} {values:?}");
        };
        check(&metadata, LabelOp::Exists, &[], false);
        check(&metadata, LabelOp::NotExists, &[], true);
        check(&metadata, LabelOp::Less, &["z"], false);
        metadata.labels.insert("k".to_owned(), "9GiB".to_owned());
        check(&metadata, LabelOp::Exists, &[], true);
        check(&metadata, LabelOp::Equal, &["9GiB"], true);
        check(&metadata, LabelOp::In, &["1", "9GiB"], true);
        check(&metadata, LabelOp::In, &["1"], false);
        check(&metadata, LabelOp::Less, &["a"], true);
        check(&metadata, LabelOp::LessOrEqual, &["9GiB"], true);
        check(&metadata, LabelOp::LessNumeric, &["10 GB"], true);
        check(&metadata, LabelOp::LessNumeric, &["9GiB"], false);
        check(&metadata, LabelOp::LessOrEqualNumeric, &["9GiB"], true);
        check(&metadata, LabelOp::LessNumeric, &["lots"], false);
    }

    #[test]
    fn one_set_of_terms_must_hold_and_the_id_must_match() {
        let mut metadata = Metadata::new("n", "Things.a.b", "thing-1");
        metadata.labels.insert("a".to_owned(), "1".to_owned());
        let query = Query::any_of(vec![vec![LabelTerm::equal("a", "2")], vec![LabelTerm::exists("a")]]);
        assert!(query.matches(&metadata));
        assert!(query.clone().with_id("^thing-[0-9]$").is_ok_and(|query| query.matches(&metadata)));
        assert!(query.with_id("^other").is_ok_and(|query| !query.matches(&metadata)));
        assert!(Query::default().with_id("(").is_err());
        assert!(Query::default().with_id(&"a".repeat(2000)).is_err());
    }
}
