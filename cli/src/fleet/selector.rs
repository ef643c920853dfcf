//! Label selectors and id patterns, as requests for resources carry them.
//!
//! | selector | means resources |
//! |---|---|
//! | `key`, `!key` | that have the label, or have not |
//! | `key=value`, `key==value`, `key in (a, b)` | whose label has the value, or one of them |
//! | `key!=value`, `key notin (a, b)` | whose label has another value, or that have no such label |
//! | `key<5`, `key<=5`, `key>5`, `key>=5` | whose label is such a number |
//!
//! All parts between commas must hold.

use clap::Args;
use corten_api::cosi::resource::label_term::Operation;
use corten_api::cosi::resource::{IdQuery, LabelQuery, LabelTerm, ListOptions};

/// What a label selector looks like.
const FORM: &str = "it is no label selector; write it like key=value, or several with commas between";

// Which resources of a type are meant. A documentation comment would become the command's help.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// Only resources with labels like these: key=value, key!=value, key, !key, several with commas between.
    #[arg(short = 'l', long, value_parser = parse, value_name = "SELECTOR")]
    pub selector: Option<LabelQuery>,
    /// Only resources whose id matches this regular expression.
    #[arg(long, value_name = "REGEXP")]
    pub id_match_regexp: Option<String>,
}

impl Filter {
    /// Whether it means all resources.
    pub fn is_empty(&self) -> bool {
        self.selector.is_none() && self.id_match_regexp.is_none()
    }

    /// For a request.
    pub fn options(&self) -> ListOptions {
        let id_query = self.id_match_regexp.clone().map(|regexp| IdQuery { regexp });
        ListOptions { label_query: self.selector.clone().into_iter().collect(), id_query }
    }
}

/// Reads a selector.
pub fn parse(text: &str) -> Result<LabelQuery, String> {
    let mut terms = Vec::new();
    for part in parts(text) {
        terms.extend(condition(part.trim()).ok_or_else(|| FORM.to_owned())?);
    }
    Ok(LabelQuery { terms })
}

/// The parts between commas that are not in parentheses.
fn parts(text: &str) -> Vec<&str> {
    let mut depth = 0i32;
    let is_separator = |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    };
    text.split(is_separator).collect()
}

fn condition(text: &str) -> Option<Vec<LabelTerm>> {
    if let Some(key) = text.strip_prefix('!') {
        return Some(vec![inverted(term(key_of(key)?, Operation::Exists, Vec::new()))]);
    }
    if let Some((key, values)) = in_list(text, " notin ") {
        return Some(vec![inverted(term(key_of(key)?, Operation::In, values?))]);
    }
    if let Some((key, values)) = in_list(text, " in ") {
        return Some(vec![term(key_of(key)?, Operation::In, values?)]);
    }
    let Some(at) = text.find(['=', '!', '<', '>']) else {
        return Some(vec![term(key_of(text)?, Operation::Exists, Vec::new())]);
    };
    let (key, rest) = text.split_at(at);
    let key = key_of(key)?;
    let with = |operator: &str, operation| {
        let value = value_of(rest.strip_prefix(operator)?)?;
        Some(term(key, operation, vec![value]))
    };
    // What is not smaller must be there as well.
    let exists = || term(key, Operation::Exists, Vec::new());
    let one = |term: LabelTerm| vec![term];
    let above = |term: LabelTerm| vec![exists(), inverted(term)];
    let equal = || with("==", Operation::Equal).or_else(|| with("=", Operation::Equal)).map(one);
    let other = || with("!=", Operation::Equal).map(inverted).map(one);
    let at_most = || with("<=", Operation::LteNumeric).or_else(|| with("<", Operation::LtNumeric)).map(one);
    let at_least =
        || with(">=", Operation::LtNumeric).or_else(|| with(">", Operation::LteNumeric)).map(above);
    equal().or_else(other).or_else(at_most).or_else(at_least)
}

fn term(key: &str, operation: Operation, value: Vec<String>) -> LabelTerm {
    LabelTerm { key: key.to_owned(), op: operation.into(), value, invert: false }
}

fn inverted(term: LabelTerm) -> LabelTerm {
    LabelTerm { invert: true, ..term }
}

/// Key and values of `key in (a, b)`; no values when the list is none.
fn in_list<'a>(text: &'a str, word: &str) -> Option<(&'a str, Option<Vec<String>>)> {
    let (key, list) = text.split_once(word)?;
    let inside = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
    Some((key, inside.and_then(|list| list.split(',').map(value_of).collect())))
}

fn key_of(text: &str) -> Option<&str> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    Some(text.trim()).filter(|key| !key.is_empty() && key.bytes().all(is_letter))
}

fn value_of(text: &str) -> Option<String> {
    let is_value = |value: &&str| !value.contains(['=', '!', '<', '>', '(', ')', ',']);
    Some(text.trim()).filter(is_value).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, Operation, &[&str], bool)]) {
        let terms = parse(text).expect(text).terms;
        let expected: Vec<LabelTerm> = expected
            .iter()
            .map(|(key, operation, values, invert)| {
                let values = values.iter().map(|value| (*value).to_owned()).collect();
                LabelTerm { invert: *invert, ..term(key, *operation, values) }
            })
            .collect();
        assert_eq!(terms, expected, "{text}");
    }

    #[test]
    fn selectors_are_written_as_for_kubernetes() {
        check("a/b", &[("a/b", Operation::Exists, &[], false)]);
        check("!a", &[("a", Operation::Exists, &[], true)]);
        check(
            "a=1, b == 2",
            &[("a", Operation::Equal, &["1"], false), ("b", Operation::Equal, &["2"], false)],
        );
        check("a!=1", &[("a", Operation::Equal, &["1"], true)]);
        check("a=", &[("a", Operation::Equal, &[""], false)]);
        check(
            "a in (x, y),b",
            &[("a", Operation::In, &["x", "y"], false), ("b", Operation::Exists, &[], false)],
        );
        check("a notin (x)", &[("a", Operation::In, &["x"], true)]);
        check("mem<=8GB", &[("mem", Operation::LteNumeric, &["8GB"], false)]);
        check("n>=4", &[("n", Operation::Exists, &[], false), ("n", Operation::LtNumeric, &["4"], true)]);
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["", "a,,b", "=1", "a b", "a=1=2", "a in x", "!", "a in ()x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn never_panics_on_any_text() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = parse(&String::from_utf8_lossy(input));
        });
    }
}
