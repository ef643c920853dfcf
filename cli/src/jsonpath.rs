//! The part of Kubernetes' JSONPath that print columns and people use: keys, indexes, wildcards, filters for equality.

use serde_json::Value;

/// One step into a value.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(i64),
    All,
    /// Elements whose value at a path equals this.
    Where(Vec<Self>, Value),
}

/// Text with paths in braces: `{.metadata.id} is {.spec.ready}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
}

impl Template {
    /// Reads a template; a path may stand without braces and without its first dot.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('{') {
            let path = text.strip_prefix(['$', '@']).unwrap_or(text);
            let dotted = if path.is_empty() || path.starts_with(['.', '[']) {
                path.to_owned()
            } else {
                format!(".{path}")
            };
            return Ok(Self(vec![Part::Path(Parser::path(&dotted)?)]));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, tail) =
                split_brace(after).ok_or_else(|| format!("a brace is not closed in {text:?}"))?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(expression(inside)?);
            rest = tail;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }

    /// The text for a value; what is missing is empty.
    pub fn render(&self, value: &Value) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Path(steps) => {
                let found: Vec<_> = select(value, steps).into_iter().map(plain).collect();
                found.join(" ")
            }
        };
        self.0.iter().map(text).collect()
    }
}

/// The inside of a brace that is open, and the rest; braces in quotes do not count.
fn split_brace(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '}') => return Some((&text[..at], &text[at + 1..])),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn expression(text: &str) -> Result<Part, String> {
    let text = text.trim();
    let quoted = |mark: char| text.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    if let Some(text) = quoted('"').or_else(|| quoted('\'')) {
        return Ok(Part::Text(text.replace("\\n", "\n").replace("\\t", "\t")));
    }
    let path = text.strip_prefix(['$', '@']).unwrap_or(text);
    let dotted =
        if path.starts_with(|c: char| c.is_alphanumeric()) { format!(".{path}") } else { path.to_owned() };
    Parser::path(&dotted).map(Part::Path)
}

/// A value as Kubernetes prints it: text bare, the rest as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn select<'a>(value: &'a Value, steps: &[Step]) -> Vec<&'a Value> {
    steps
        .iter()
        .fold(vec![value], |found, step| found.into_iter().flat_map(|value| enter(value, step)).collect())
}

fn enter<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Key(key), Value::Object(map)) => map.get(key).into_iter().collect(),
        (Step::Index(index), Value::Array(items)) => {
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let index = if *index < 0 { index.saturating_add(length) } else { *index };
            usize::try_from(index).ok().and_then(|index| items.get(index)).into_iter().collect()
        }
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Where(path, wanted), Value::Array(items)) => {
            items.iter().filter(|item| select(item, path) == [wanted]).collect()
        }
        _ => Vec::new(),
    }
}

struct Parser<'a> {
    all: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn path(text: &'a str) -> Result<Vec<Step>, String> {
        let mut parser = Self { all: text, rest: text };
        let mut steps = Vec::new();
        while !parser.rest.is_empty() {
            steps.extend(parser.step()?);
        }
        Ok(steps)
    }

    fn wrong(&self) -> String {
        format!("cannot read the path {:?} at {:?}", self.all, self.rest)
    }

    fn step(&mut self) -> Result<Option<Step>, String> {
        if let Some(rest) = self.rest.strip_prefix('[') {
            let end = bracket_end(rest).ok_or_else(|| self.wrong())?;
            let step = self.bracket(&rest[..end])?;
            self.rest = &rest[end + 1..];
            return Ok(Some(step));
        }
        let rest = self.rest.strip_prefix('.').ok_or_else(|| self.wrong())?;
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let key = &rest[..end];
        self.rest = &rest[end..];
        match key {
            // `.` alone is the value itself, as is the dot in `.['key']`.
            "" if self.rest.starts_with('[') || self.rest.is_empty() => Ok(None),
            "" => Err(self.wrong()),
            "*" => Ok(Some(Step::All)),
            key if key.chars().any(|c| c.is_whitespace() || "{}()\"'".contains(c)) => Err(self.wrong()),
            key => Ok(Some(Step::Key(key.to_owned()))),
        }
    }

    fn bracket(&self, text: &str) -> Result<Step, String> {
        if text == "*" {
            return Ok(Step::All);
        }
        if let Some(condition) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
            let (path, wanted) = condition.split_once("==").ok_or_else(|| self.wrong())?;
            let path = path.trim().strip_prefix('@').ok_or_else(|| self.wrong())?;
            let wanted = wanted.trim();
            let wanted = match unquote(wanted) {
                Some(text) => Value::from(text),
                None => serde_json::from_str(wanted).map_err(|_| self.wrong())?,
            };
            return Ok(Step::Where(Parser::path(path)?, wanted));
        }
        if let Some(key) = unquote(text) {
            return Ok(Step::Key(key.to_owned()));
        }
        text.parse().map(Step::Index).map_err(|_| self.wrong())
    }
}

fn unquote(text: &str) -> Option<&str> {
    ['"', '\''].into_iter().find_map(|mark| text.strip_prefix(mark)?.strip_suffix(mark))
}

/// Where the bracket that is open closes.
fn bracket_end(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0u32;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            (None, '[') => depth += 1,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, expected: &str) {
        let value = json!({
            "metadata": {"id": "eth0", "labels": {"a.b/c": "x"}},
            "spec": {"up": true, "mtu": 1500, "addresses": ["10.5.0.2/24", "fd00::2/64"],
                "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
        });
        assert_eq!(Template::parse(template).expect(template).render(&value), expected, "{template}");
    }

    #[test]
    fn reads_what_columns_and_people_write() {
        check("{.metadata.id}", "eth0");
        check(".metadata.id", "eth0");
        check("metadata.id", "eth0");
        check("{.metadata.id}: {.spec.mtu}{\"\\n\"}", "eth0: 1500\n");
        check("{.metadata.labels['a.b/c']}", "x");
        check("{.spec.addresses}", r#"["10.5.0.2/24","fd00::2/64"]"#);
        check("{.spec.addresses[-1]}", "fd00::2/64");
        check("{.spec.addresses[*]}", "10.5.0.2/24 fd00::2/64");
        check(r#"{.spec.conditions[?(@.type=="Ready")].status}"#, "True");
        check("{.spec.nothing.at.all}", "");
        check("{$.spec.up}", "true");
        assert_eq!(Template::parse("{@}").expect("whole").render(&json!("worker")), "worker");
        assert_eq!(Template::parse("{.}").expect("whole").render(&json!(1)), "1");
    }

    #[test]
    fn says_where_a_path_is_wrong() {
        for bad in ["{.a", "{.a[}", "{.a[x]}", "{..a}", "{.a[?(@.b)]}", "{range .items[*]}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn never_panics_on_any_text() {
        bolero::check!().for_each(|input: &[u8]| {
            if let Ok(template) = Template::parse(&String::from_utf8_lossy(input)) {
                let _ = template.render(&json!({"a": [1, {"b": 2}]}));
            }
        });
    }
}
