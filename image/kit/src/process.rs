//! Running other programs: quietly when they succeed, with all they said when they fail.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Bytes of a failed program's output that are worth showing.
const TAIL: usize = 4_000;

/// Runs to the end and returns stdout.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting `{name}`"))?;
    if !output.status.success() {
        let mut said = output.stderr;
        said.extend_from_slice(&output.stdout);
        let tail = &said[said.len().saturating_sub(TAIL)..];
        bail!("`{name}` ended with {}:\n{}", output.status, String::from_utf8_lossy(tail));
    }
    String::from_utf8(output.stdout).with_context(|| format!("output of `{name}` is not UTF-8"))
}
