//! Label selectors in the words of Kubernetes, as the access policy has them for identities.
//!
//! | selector | holds for a resource |
//! |---|---|
//! | `key`, `!key` | that has the label, or has not |
//! | `key = value`, `key == value`, `key in (a, b)` | whose label has the value, or one of them |
//! | `key != value`, `key notin (a, b)` | whose label has another value, or that has no such label |
//! | `key > 5`, `key >= 5`, `key < 5`, `key <= 5` | whose label is such a number |
//!
//! All parts between commas must hold.

use crate::Labels;

/// Longest selector, bytes.
const SELECTOR_MAX: usize = 4096;

/// A text that is no selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no label selector; write `key`, `!key`, `key = value`, `key in (a, b)` or `key > 5`, or several \
     with commas between"
)]
pub(crate) struct InvalidSelector;

/// Conditions that must all hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selector(Vec<Condition>);

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Present,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(f64),
    AtLeast(f64),
    Below(f64),
    AtMost(f64),
}

/// Reads what follows an operator.
type Reading = fn(&str) -> Option<Test>;

impl Selector {
    /// Reads a selector; an empty one holds for everything.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidSelector> {
        if text.len() > SELECTOR_MAX {
            return Err(InvalidSelector);
        }
        let mut conditions = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (part, after) = first_part(rest);
            conditions.push(Condition::parse(part.trim()).ok_or(InvalidSelector)?);
            rest = match after {
                Some(after) if after.trim().is_empty() => return Err(InvalidSelector),
                Some(after) => after.trim(),
                None => "",
            };
        }
        Ok(Self(conditions))
    }

    /// Whether it holds for a resource with these labels.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|condition| condition.matches(labels))
    }
}

impl Condition {
    fn parse(text: &str) -> Option<Self> {
        if let Some(key) = text.strip_prefix('!') {
            return Self::new(key, Test::Absent);
        }
        if let Some((key, values)) = set(text, "notin") {
            return Self::new(key, Test::NotIn(values?));
        }
        if let Some((key, values)) = set(text, "in") {
            return Self::new(key, Test::In(values?));
        }
        let Some(at) = text.find(['=', '!', '<', '>']) else { return Self::new(text, Test::Present) };
        let (key, rest) = text.split_at(at);
        let operators: [(&str, Reading); 7] = [
            ("==", |value| value_of(value).map(|value| Test::In(vec![value]))),
            ("!=", |value| value_of(value).map(|value| Test::NotIn(vec![value]))),
            (">=", |value| number(value).map(Test::AtLeast)),
            ("<=", |value| number(value).map(Test::AtMost)),
            ("=", |value| value_of(value).map(|value| Test::In(vec![value]))),
            (">", |value| number(value).map(Test::Above)),
            ("<", |value| number(value).map(Test::Below)),
        ];
        let found = operators.iter().find_map(|(operator, test)| Some((rest.strip_prefix(*operator)?, test)));
        let (value, test) = found?;
        Self::new(key, test(value.trim())?)
    }

    fn new(key: &str, test: Test) -> Option<Self> {
        let key = key.trim();
        let is_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        let is_named = !key.is_empty() && key.bytes().all(is_key);
        is_named.then(|| Self { key: key.to_owned(), test })
    }

    fn matches(&self, labels: &Labels) -> bool {
        let label = labels.get(&self.key);
        let compares = |holds: &dyn Fn(f64) -> bool| label.and_then(|label| number(label)).is_some_and(holds);
        match &self.test {
            Test::Present => label.is_some(),
            Test::Absent => label.is_none(),
            Test::In(values) => label.is_some_and(|label| values.contains(label)),
            Test::NotIn(values) => label.is_none_or(|label| !values.contains(label)),
            Test::Above(bound) => compares(&|label| label > *bound),
            Test::AtLeast(bound) => compares(&|label| label >= *bound),
            Test::Below(bound) => compares(&|label| label < *bound),
            Test::AtMost(bound) => compares(&|label| label <= *bound),
        }
    }
}

/// What is before the first comma outside of parentheses, and what is after it.
fn first_part(text: &str) -> (&str, Option<&str>) {
    let mut is_inside = false;
    let comma = text.find(|character: char| {
        match character {
            '(' => is_inside = true,
            ')' => is_inside = false,
            _ => {}
        }
        character == ',' && !is_inside
    });
    match comma.and_then(|at| text.split_at_checked(at)) {
        Some((part, after)) => (part, after.strip_prefix(',')),
        None => (text, None),
    }
}

/// Key and values of `key WORD (a, b)`; `None` for another form, and no values for malformed ones.
fn set<'a>(text: &'a str, word: &str) -> Option<(&'a str, Option<Vec<String>>)> {
    let (before, values) = text.strip_suffix(')')?.split_once('(')?;
    let key = before.trim_end().strip_suffix(word)?;
    let is_apart = key.ends_with(char::is_whitespace);
    is_apart.then(|| (key, values.split(',').map(|value| value_of(value.trim())).collect()))
}

/// A value: what a label may have in Kubernetes, and what people write there.
fn value_of(text: &str) -> Option<String> {
    let is_value = |character: char| !character.is_control() && !"=!<>(),".contains(character);
    text.chars().all(is_value).then(|| text.to_owned())
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        [("team", "blue"), ("level", "5"), ("empty", ""), ("omni.sidero.dev/x", "a b")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn a_selector_holds_when_all_its_parts_do() {
        for selector in [
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
        ] {
            assert!(Selector::parse(selector).expect(selector).matches(&labels()), "{selector}");
        }
        for selector in [
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
            "team>1",
            "other>1",
            "other<1",
        ] {
            assert!(!Selector::parse(selector).expect(selector).matches(&labels()), "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        let long = "a,".repeat(SELECTOR_MAX);
        for selector in [
            ",",
            "a,",
            "a,,b",
            "=b",
            "!",
            "a b",
            "a=b=c",
            "a in b",
            "a in (b",
            "a notin",
            "ain (b)",
            "a>x",
            "a>NaN",
            "a=(b)",
            long.as_str(),
        ] {
            assert_eq!(Selector::parse(selector), Err(InvalidSelector), "{selector}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_fall() {
        bolero::check!().with_type::<(String, String)>().for_each(|(key, value)| {
            for text in [key.clone(), format!("{key}={value}"), format!("{key} in ({value})")] {
                if let Ok(selector) = Selector::parse(&text) {
                    let _ = selector.matches(&labels());
                }
            }
        });
    }
}
