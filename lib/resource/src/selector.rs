//! Label selectors in the words of Kubernetes, as people write them and as terms of a query.
//!
//! | selector | holds for a resource |
//! |---|---|
//! | `key`, `!key` | that has the label, or has not |
//! | `key = value`, `key == value`, `key in (a, b)` | whose label has the value, or one of them |
//! | `key != value`, `key notin (a, b)` | whose label has another value, or that has no such label |
//! | `key > 5`, `key >= 4GiB`, `key < 5`, `key <= 5` | whose label is such a number; units of bytes are understood |
//!
//! All parts between commas must hold; an empty selector holds for everything.

use std::collections::BTreeMap;
use std::fmt;

use crate::query::{LabelOp, LabelTerm, number};

/// Longest selector, bytes.
const SELECTOR_MAX: usize = 4096;
/// Characters of a wrong selector that a message repeats.
const SHOWN_MAX: usize = 64;

/// A text that is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no label selector; write `key`, `!key`, `key = value`, `key in (a, b)` or `key >= 4`, or \
     several with commas between"
)]
pub struct InvalidSelector(String);

/// Conditions on labels that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Present,
    Absent,
    Equal(String),
    NotEqual(String),
    In(Vec<String>),
    NotIn(Vec<String>),
    /// A comparison with a number, which is kept as it is written.
    Number(Comparison, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// When it is malformed, or longer than 4 KiB.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let invalid = || InvalidSelector(text.chars().take(SHOWN_MAX).collect());
        if text.len() > SELECTOR_MAX {
            return Err(invalid());
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let conditions = parts(text).into_iter().map(|part| Condition::parse(part.trim()));
        conditions.collect::<Option<_>>().map(Self).ok_or_else(invalid)
    }

    /// Whether it has no conditions and so holds for everything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels that it looks at.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|condition| condition.key.as_str())
    }

    /// Whether it holds for a resource with these labels. What is no number is neither above nor below one.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|condition| {
            let label = labels.get(&condition.key).map(String::as_str);
            condition.test.holds(label)
        })
    }

    /// The terms of a query for such resources. Queries know no `>`: it is asked for what is there and not at most the
    /// number, which holds for a label that is no number as well.
    #[must_use]
    pub fn terms(&self) -> Vec<LabelTerm> {
        self.0.iter().flat_map(Condition::terms).collect()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::AtMost => "<=",
        })
    }
}

/// The parts between the commas outside of parentheses.
fn parts(text: &str) -> Vec<&str> {
    let mut is_inside = false;
    let is_separator = |character: char| {
        match character {
            '(' => is_inside = true,
            ')' => is_inside = false,
            _ => {}
        }
        character == ',' && !is_inside
    };
    text.split(is_separator).collect()
}

impl Condition {
    fn parse(part: &str) -> Option<Self> {
        if let Some(key) = part.strip_prefix('!') {
            return Self::new(key, Test::Absent);
        }
        if let Some(set) = part.strip_suffix(')') {
            let (before, values) = set.split_once('(')?;
            let (key, word) = before.trim_end().rsplit_once(char::is_whitespace)?;
            let values = values.split(',').map(|text| value(text.trim())).collect::<Option<Vec<_>>>()?;
            return match word {
                "in" => Self::new(key, Test::In(values)),
                "notin" => Self::new(key, Test::NotIn(values)),
                _ => None,
            };
        }
        let Some(at) = part.find(['=', '!', '<', '>']) else { return Self::new(part, Test::Present) };
        let (key, rest) = part.split_at_checked(at)?;
        Self::new(key, compared(rest)?)
    }

    fn new(key: &str, test: Test) -> Option<Self> {
        let key = key.trim();
        let is_key_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let is_key = !key.is_empty() && key.bytes().all(is_key_byte);
        is_key.then(|| Self { key: key.to_owned(), test })
    }

    fn terms(&self) -> Vec<LabelTerm> {
        let term = |op, values: &[String], invert| LabelTerm {
            key: self.key.clone(),
            op,
            values: values.to_vec(),
            invert,
        };
        let one = std::slice::from_ref::<String>;
        match &self.test {
            Test::Present => vec![term(LabelOp::Exists, &[], false)],
            Test::Absent => vec![term(LabelOp::Exists, &[], true)],
            Test::Equal(value) => vec![term(LabelOp::Equal, one(value), false)],
            Test::NotEqual(value) => vec![term(LabelOp::Equal, one(value), true)],
            Test::In(values) => vec![term(LabelOp::In, values, false)],
            Test::NotIn(values) => vec![term(LabelOp::In, values, true)],
            Test::Number(comparison, bound) => {
                let bound = one(bound);
                let present = term(LabelOp::Exists, &[], false);
                match comparison {
                    Comparison::Below => vec![term(LabelOp::LessNumeric, bound, false)],
                    Comparison::AtMost => vec![term(LabelOp::LessOrEqualNumeric, bound, false)],
                    Comparison::AtLeast => vec![present, term(LabelOp::LessNumeric, bound, true)],
                    Comparison::Above => vec![present, term(LabelOp::LessOrEqualNumeric, bound, true)],
                }
            }
        }
    }
}

impl Test {
    fn holds(&self, label: Option<&str>) -> bool {
        match self {
            Self::Present => label.is_some(),
            Self::Absent => label.is_none(),
            Self::Equal(value) => label == Some(value.as_str()),
            Self::NotEqual(value) => label != Some(value.as_str()),
            Self::In(values) => label.is_some_and(|label| values.iter().any(|value| value == label)),
            Self::NotIn(values) => label.is_none_or(|label| values.iter().all(|value| value != label)),
            Self::Number(comparison, bound) => match (label.and_then(number), number(bound)) {
                (Some(label), Some(bound)) => comparison.holds(label, bound),
                _ => false,
            },
        }
    }
}

impl Comparison {
    fn holds(self, label: f64, bound: f64) -> bool {
        match self {
            Self::Above => label > bound,
            Self::AtLeast => label >= bound,
            Self::Below => label < bound,
            Self::AtMost => label <= bound,
        }
    }
}

/// What follows a key: an operator and its value.
fn compared(text: &str) -> Option<Test> {
    let after = |operator: &str| text.strip_prefix(operator).map(|text| value(text.trim()));
    if let Some(value) = after("==").or_else(|| after("=")) {
        return value.map(Test::Equal);
    }
    if let Some(value) = after("!=") {
        return value.map(Test::NotEqual);
    }
    // The longer operators come first.
    let comparisons = [Comparison::AtLeast, Comparison::AtMost, Comparison::Above, Comparison::Below];
    let (comparison, bound) = comparisons
        .into_iter()
        .find_map(|comparison| after(&comparison.to_string()).map(|bound| (comparison, bound)))?;
    let bound = bound.filter(|bound| number(bound).is_some_and(f64::is_finite))?;
    Some(Test::Number(comparison, bound))
}

/// A value: what a label may have in Kubernetes, and what people write there.
fn value(text: &str) -> Option<String> {
    let is_value = |character: char| !character.is_control() && !"=!<>(),".contains(character);
    text.chars().all(is_value).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metadata, Query};

    fn metadata() -> Metadata {
        let mut metadata = Metadata::new("default", "Things.a.b", "thing-1");
        for (key, value) in
            [("team", "blue"), ("level", "5"), ("mem", "16GiB"), ("empty", ""), ("omni.sidero.dev/x", "a b")]
        {
            metadata.labels.insert(key.to_owned(), value.to_owned());
        }
        metadata
    }

    #[test]
    fn a_selector_holds_when_all_its_parts_do_and_so_does_its_query() {
        let metadata = metadata();
        let held = [
            "",
            "team",
            "!other",
            "team=blue",
            " team == blue ",
            "team in (red, blue),level",
            "team notin (red),!other",
            "team!=red",
            "other != red",
            "other notin (red)",
            "empty=",
            "omni.sidero.dev/x = a b",
            "level>4, level>=5, level<6, level<=5",
            "mem >= 8GiB",
        ];
        let broken = [
            "other",
            "!team",
            "team=red",
            "team != blue",
            "team in (red)",
            "other in (red)",
            "team notin (blue)",
            "team,other",
            "level>5",
            "level<5",
            "mem > 16GiB",
            "other>1",
            "other<1",
        ];
        for (selectors, expected) in [(&held[..], true), (&broken[..], false)] {
            for text in selectors {
                let selector = Selector::parse(text).expect(text);
                assert_eq!(selector.matches(&metadata.labels), expected, "{text}");
                assert_eq!(Query::labels(selector.terms()).matches(&metadata), expected, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_number_is_neither_above_nor_below_one() {
        for text in ["team>1", "team>=1", "team<1", "team<=1"] {
            assert!(!Selector::parse(text).expect(text).matches(&metadata().labels), "{text}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        let long = "a,".repeat(SELECTOR_MAX);
        for text in [
            ",",
            "a,",
            "a,,b",
            "=b",
            "!",
            "a b",
            "a=b=c",
            "a in b",
            "a in (b",
            "a in ()x",
            "a notin",
            "ain (b)",
            "a>x",
            "a>NaN",
            "a>",
            "a=(b)",
            long.as_str(),
        ] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
        let error = Selector::parse("a b").expect_err("two words").to_string();
        assert!(error.starts_with("\"a b\" is no label selector; write `key`"), "{error}");
    }

    #[test]
    fn the_labels_that_it_looks_at_are_told() {
        let selector = Selector::parse("a, !b, c in (d, e)").expect("a selector");
        assert_eq!(selector.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(!selector.is_empty() && Selector::parse(" ").expect("empty").is_empty());
    }

    #[test]
    fn no_text_makes_the_reader_fall() {
        bolero::check!().with_type::<(String, String)>().for_each(|(key, value)| {
            for text in [key.clone(), format!("{key}={value}"), format!("{key} in ({value})")] {
                if let Ok(selector) = Selector::parse(&text) {
                    let _ = (selector.matches(&metadata().labels), selector.terms());
                }
            }
        });
    }
}
