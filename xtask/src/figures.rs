//! Figures that tests print: a line with a name and a JSON object, such as `fleet-roles: {"checks":9}`.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::build::cargo_command;

/// Runs cargo in this repository, shows what it prints, and gives the figures in it.
///
/// # Errors
/// When it fails.
pub fn cargo(args: &[&str]) -> Result<Map<String, Value>> {
    let mut child = cargo_command(args).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let (mut figures, mut out) = (Map::new(), std::io::stdout().lock());
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        writeln!(out, "{line}")?;
        figures.extend(figure(&line));
    }
    let status = child.wait().context("cannot wait for cargo")?;
    ensure!(status.success(), "cargo {} ended with {status}", args.join(" "));
    Ok(figures)
}

/// The name and the object of a line that has figures. Test programs write the result of a test into the same line.
fn figure(line: &str) -> Option<(String, Value)> {
    let (head, object) = line.split_once(": {")?;
    let name = head.rsplit(' ').next().filter(|name| !name.is_empty())?;
    let object = serde_json::from_str::<Value>(&format!("{{{object}")).ok()?;
    Some((name.to_owned(), object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_and_nothing_else_is() {
        let found = figure("test roles::all ... fleet-roles: {\"checks\":9}").expect("figures");
        assert_eq!((found.0.as_str(), &found.1["checks"]), ("fleet-roles", &Value::from(9)));
        assert!(figure("fleet-roles: {\"checks\":9}").is_some());
        for line in ["", ": {}", "error: { not JSON }", "test result: ok. 1 passed", "{\"checks\":9}"] {
            assert_eq!(figure(line), None, "{line}");
        }
    }
}
