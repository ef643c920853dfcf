//! Label selectors of machine classes, as terms of a query.
//!
//! | selector | machines |
//! |---|---|
//! | `key`, `!key` | that have the label, or have not |
//! | `key = value`, `key == value`, `key in (a, b)` | whose label has the value, or one of them |
//! | `key != value`, `key notin (a, b)` | whose label has another value, or that have no such label |
//! | `key < 8`, `key <= 8`, `key > 4GiB`, `key >= 4` | whose label is such a number; units of bytes are understood |
//!
//! All parts between commas must hold.

use corten_resource::{LabelOp, LabelTerm};

/// Longest selector, bytes.
const SELECTOR_MAX: usize = 4096;
/// Operators with a value, longer ones first, each with what it compares and whether it is turned around.
const OPERATORS: [(&str, LabelOp, bool); 7] = [
    ("==", LabelOp::Equal, false),
    ("!=", LabelOp::Equal, true),
    (">=", LabelOp::LessNumeric, true),
    ("<=", LabelOp::LessOrEqualNumeric, false),
    ("=", LabelOp::Equal, false),
    (">", LabelOp::LessOrEqualNumeric, true),
    ("<", LabelOp::LessNumeric, false),
];

/// A text that is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no label selector; write `key`, `!key`, `key = value`, `key in (a, b)` or `key >= 4`, or \
     several with commas between"
)]
pub struct InvalidSelector(String);

/// The terms that a selector means, which must all hold. An empty one has none.
///
/// # Errors
/// When it is malformed.
pub fn parse(selector: &str) -> Result<Vec<LabelTerm>, InvalidSelector> {
    let invalid = || InvalidSelector(selector.chars().take(64).collect());
    if selector.len() > SELECTOR_MAX {
        return Err(invalid());
    }
    if selector.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut terms = Vec::new();
    for part in parts(selector) {
        terms.extend(term(part.trim()).ok_or_else(invalid)?);
    }
    Ok(terms)
}

/// The parts between the commas outside of parentheses.
fn parts(selector: &str) -> Vec<&str> {
    let mut is_inside = false;
    let split = selector.split(|character: char| {
        match character {
            '(' => is_inside = true,
            ')' => is_inside = false,
            _ => {}
        }
        character == ',' && !is_inside
    });
    split.collect()
}

/// The terms of one part.
fn term(part: &str) -> Option<Vec<LabelTerm>> {
    if let Some(name) = part.strip_prefix('!') {
        return Some(vec![LabelTerm { invert: true, ..LabelTerm::exists(key(name)?) }]);
    }
    if let Some(set) = part.strip_suffix(')') {
        let (before, values) = set.split_once('(')?;
        let (name, word) = before.trim_end().rsplit_once(char::is_whitespace)?;
        let values: Option<Vec<String>> = values.split(',').map(|text| value(text.trim())).collect();
        let invert = match word {
            "in" => false,
            "notin" => true,
            _ => return None,
        };
        return Some(vec![LabelTerm { key: key(name)?, op: LabelOp::In, values: values?, invert }]);
    }
    let Some(at) = part.find(['=', '!', '<', '>']) else { return Some(vec![LabelTerm::exists(key(part)?)]) };
    let (name, rest) = part.split_at_checked(at)?;
    let (name, found) = (key(name)?, OPERATORS.iter().find(|(operator, ..)| rest.starts_with(operator))?);
    let (operator, op, invert) = *found;
    let value = value(rest.strip_prefix(operator)?.trim())?;
    let is_number = op != LabelOp::Equal;
    if is_number && !value.starts_with(|character: char| character.is_ascii_digit() || character == '-') {
        return None;
    }
    let compared = LabelTerm { key: name.clone(), op, values: vec![value], invert };
    // Turned around, a comparison holds for what is not there.
    let present = (is_number && invert).then(|| LabelTerm::exists(name));
    Some(present.into_iter().chain([compared]).collect())
}

fn key(text: &str) -> Option<String> {
    let text = text.trim();
    let is_key_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    (!text.is_empty() && text.bytes().all(is_key_byte)).then(|| text.to_owned())
}

fn value(text: &str) -> Option<String> {
    let is_value = |character: char| !character.is_control() && !"=!<>(),".contains(character);
    text.chars().all(is_value).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use corten_resource::{Metadata, Query};

    use super::*;

    fn selects(selector: &str) -> bool {
        let mut metadata = Metadata::new("default", "MachineStatuses.omni.sidero.dev", "m-1");
        for (key, value) in
            [("omni.sidero.dev/arch", "amd64"), ("cores", "8"), ("mem", "16GiB"), ("empty", "")]
        {
            metadata.labels.insert(key.to_owned(), value.to_owned());
        }
        Query::labels(parse(selector).expect(selector)).matches(&metadata)
    }

    #[test]
    fn a_selector_holds_when_all_its_parts_do() {
        for selector in [
            "",
            "cores",
            "!other",
            "omni.sidero.dev/arch = amd64, !busy",
            "omni.sidero.dev/arch==amd64",
            "omni.sidero.dev/arch in (arm64, amd64),cores",
            "omni.sidero.dev/arch notin (arm64)",
            "other != x",
            "empty=",
            "cores > 4, cores >= 8, cores < 9, cores <= 8",
            "mem >= 8GiB",
        ] {
            assert!(selects(selector), "{selector}");
        }
        for selector in ["other", "!cores", "cores=4", "cores > 8", "cores < 8", "other > 1", "mem > 16GiB"] {
            assert!(!selects(selector), "{selector}");
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
            "ain (b)",
            "a>x",
            long.as_str(),
        ] {
            assert!(parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn no_text_makes_the_reader_fall() {
        bolero::check!().with_type::<(String, String)>().for_each(|(key, value)| {
            for text in [key.clone(), format!("{key}={value}"), format!("{key} in ({value})")] {
                let _ = parse(&text);
            }
        });
    }
}
