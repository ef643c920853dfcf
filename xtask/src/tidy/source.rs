//! What every Rust file keeps: it says what it is, it leaves nothing for later, and it does not grow without end.

/// Lines of a file; uniform tables are what comes near.
const FILE_LINES_MAX: usize = 1000;
/// Lines of a function, tests apart.
const FUNCTION_LINES_MAX: usize = 100;
/// Words of unfinished work.
const UNFINISHED: [&str; 4] = ["TODO", "FIXME", "XXX:", "HACK"];
/// The file that holds the list above.
const THIS_FILE: &str = "tidy/source.rs";

/// A function of a file, tests apart.
pub(super) struct Function<'a> {
    /// Its name.
    pub name: &'a str,
    /// Line on which it begins, from 1.
    pub line: usize,
    /// How many lines it has.
    pub lines: usize,
}

/// Findings in a file.
pub(super) fn check(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let count = text.lines().count();
    if count > FILE_LINES_MAX {
        findings.push(format!("{name}: {count} lines, the limit is {FILE_LINES_MAX}"));
    }
    if !text.starts_with("//!") && !name.ends_with("build.rs") && !name.ends_with("tests.rs") {
        findings.push(format!("{name}: does not say what it is (module documentation)"));
    }
    let unfinished = |line: &&str| UNFINISHED.iter().any(|word| line.contains(word));
    for (index, _) in text.lines().enumerate().filter(|(_, line)| unfinished(line)) {
        if !name.ends_with(THIS_FILE) {
            findings.push(format!("{name}:{}: unfinished work; finish it or file an issue", index + 1));
        }
    }
    for function in functions(name, text).filter(|function| function.lines > FUNCTION_LINES_MAX) {
        let Function { line, lines, .. } = function;
        findings.push(format!("{name}:{line}: function of {lines} lines, the limit is {FUNCTION_LINES_MAX}"));
    }
    findings
}

/// Whether the whole file is tests.
pub(super) fn is_test_file(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("tests.rs")
}

/// How many lines of a file are not tests.
pub(super) fn logic_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().position(|line| *line == "#[cfg(test)]").unwrap_or(lines.len())
}

/// The functions of a file that are not tests.
pub(super) fn functions<'a>(name: &str, text: &'a str) -> impl Iterator<Item = Function<'a>> {
    let lines: Vec<&str> = text.lines().collect();
    let until = if is_test_file(name) { 0 } else { logic_lines(text) };
    (0..until).filter_map(move |index| {
        let length = function_length(&lines[index..])?;
        let name = lines[index].split("fn ").nth(1)?.split(['(', '<']).next()?;
        Some(Function { name, line: index + 1, lines: length })
    })
}

/// Lines of the function that begins at the first line, if one does. Formatted code closes it at its own indentation.
fn function_length(lines: &[&str]) -> Option<usize> {
    let first = lines.first()?;
    let indentation = first.len() - first.trim_start().len();
    let words = first.split_whitespace().take_while(|word| !word.contains('('));
    let is_function = words.clone().any(|word| word == "fn") || first.trim_start().starts_with("fn ");
    if !is_function || first.trim_start().starts_with("//") || first.trim_end().ends_with([';', '}']) {
        return None;
    }
    let end = format!("{}}}", " ".repeat(indentation));
    let until = lines.iter().position(|line| {
        *line == end
            || (line.trim_end().ends_with(';') && line.len() - line.trim_start().len() == indentation)
    })?;
    Some(until + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_ends_at_its_own_indentation() {
        let text = "    pub async fn a(\n        b: u8,\n    ) -> u8 {\n        b\n    }\n";
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(function_length(&lines), Some(5));
        assert_eq!(function_length(&["    fn declared(&self);"]), None);
        assert_eq!(function_length(&["let x = 1;"]), None);
        let found: Vec<_> = functions("a.rs", text).map(|function| (function.name, function.lines)).collect();
        assert_eq!(found, [("a", 5)]);
    }

    #[test]
    fn unfinished_work_and_missing_documentation_are_found() {
        let findings = check("a.rs", "fn a() {} // TODO later\n");
        assert_eq!(findings.len(), 2, "{findings:?}");
    }

    #[test]
    fn tests_do_not_count() {
        let text = "fn a() {\n}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\n";
        assert_eq!(logic_lines(text), 2);
        assert_eq!(functions("a.rs", text).count(), 1);
        assert_eq!(functions("x/tests/a.rs", text).count(), 0);
    }
}
