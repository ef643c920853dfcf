//! `cargo xtask test fuzz`: runs every fuzz test for its share of a minute.
//!
//! A fuzz test is a test with `bolero::check!` in it, beside the parser that it feeds. They are found in the sources;
//! one that no test program has is an error, because it would never run. Those of a machine begin with inputs that are
//! kept beside them, in `__fuzz__/MODULE__FUNCTION/corpus`: what such bytes look like, and what has gone wrong once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::build::cargo_command;
use crate::kit;

/// Environment variable that says how many milliseconds a fuzz test runs.
pub const TIME: &str = "BOLERO_RANDOM_TEST_TIME_MS";
/// What each gets as an ordinary test.
pub const SHORT_MS: &str = "100";
/// The number of inputs, which must not end a test before its time.
const ITERATIONS: &str = "BOLERO_RANDOM_ITERATIONS";
/// What all get together.
const TOTAL: Duration = Duration::from_secs(60);
/// How the tests say in the sources what they are.
const MARK: &str = "bolero::check!";

/// Folder with kept inputs, beside the file of a fuzz test.
const KEPT: &str = "__fuzz__";
/// Whose fuzz tests have kept inputs.
const WITH_CORPUS: [&str; 2] = ["lib/", "node/"];

/// A fuzz test in the sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    /// Folder of its package, from the root of the repository.
    package: String,
    function: String,
    /// Folder of its file, from the root of the repository.
    folder: String,
}

/// Runs all of them.
///
/// # Errors
/// When one fails, or is not found in a test program.
pub fn run() -> Result<()> {
    let root = kit::repository();
    let targets = targets(&root)?;
    ensure!(!targets.is_empty(), "there is no fuzz test");
    let bare = without_corpus(&root, &targets);
    ensure!(bare.is_empty(), "without inputs in {KEPT} beside them:\n  {}", bare.join("\n  "));
    let programs = programs(&root, &targets)?;
    let share = TOTAL / u32::try_from(targets.len()).context("too many fuzz tests")?;
    eprintln!("  {} fuzz tests, {:.1} s each", targets.len(), share.as_secs_f64());
    let (mut inputs, mut failures) = (0, Vec::new());
    let began = Instant::now();
    for target in &targets {
        let (program, test) = find(target, &programs)?;
        let begun = Instant::now();
        match fuzz(&root.join(&target.package), program, test, share)? {
            Ok(count) => {
                let seconds = begun.elapsed().as_secs_f64();
                eprintln!("  {:<28} {test:<64} {count:>9} inputs {seconds:>5.1} s", target.package);
                inputs += count;
            }
            Err(said) => failures.push(format!("{} {test}:\n{said}", target.package)),
        }
    }
    eprintln!("  fuzz: {} tests, {inputs} inputs, {:.0} s", targets.len(), began.elapsed().as_secs_f64());
    ensure!(failures.is_empty(), "fuzzing failed:\n{}", failures.join("\n"));
    Ok(())
}

/// Fuzz tests of the sources.
fn targets(root: &Path) -> Result<Vec<Target>> {
    let output = Command::new("git")
        .args(["grep", "--untracked", "--name-only", "--fixed-strings", MARK, "--", "*.rs", ":!xtask"])
        .current_dir(root)
        .output()
        .context("cannot start git")?;
    let mut targets = Vec::new();
    for file in String::from_utf8_lossy(&output.stdout).lines() {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        let package = package(root, file).with_context(|| format!("{file} is in no package"))?;
        let folder = Path::new(file).parent().and_then(Path::to_str).unwrap_or_default().to_owned();
        let target = |function| Target { package: package.clone(), function, folder: folder.clone() };
        targets.extend(functions(&text).map(target));
    }
    targets.sort();
    Ok(targets)
}

/// Fuzz tests of a machine that have no kept inputs.
fn without_corpus(root: &Path, targets: &[Target]) -> Vec<String> {
    let of_machine = |target: &&Target| WITH_CORPUS.iter().any(|part| target.package.starts_with(part));
    let bare = targets.iter().filter(of_machine).filter(|target| !has_corpus(root, target));
    bare.map(|target| format!("{} {}", target.folder, target.function)).collect()
}

/// Whether inputs are kept for a fuzz test. The folder is called after the test's path in its program.
fn has_corpus(root: &Path, target: &Target) -> bool {
    let kept = std::fs::read_dir(root.join(&target.folder).join(KEPT)).into_iter().flatten().flatten();
    // The library leaves this word out of the name.
    let function = target.function.strip_prefix("fuzz_").unwrap_or(&target.function);
    let is_its = |name: &str| name.rsplit("__").next() == Some(function);
    let mut of_target = kept.filter(|entry| entry.file_name().to_str().is_some_and(is_its));
    of_target.any(|entry| {
        std::fs::read_dir(entry.path().join("corpus")).is_ok_and(|mut files| files.next().is_some())
    })
}

/// Folder of the package that a file belongs to.
fn package(root: &Path, file: &str) -> Option<String> {
    let folders = Path::new(file).ancestors().skip(1);
    let folder = folders.into_iter().find(|folder| root.join(folder).join("Cargo.toml").is_file())?;
    Some(folder.to_str()?.to_owned())
}

/// Names of the functions with a fuzz test in them.
fn functions(text: &str) -> impl Iterator<Item = String> {
    let mut current = None;
    text.lines().filter_map(move |line| {
        if let Some(rest) = line.trim_start().strip_prefix("fn ") {
            current = rest.split(['(', '<']).next().map(str::to_owned);
        }
        line.contains(MARK).then(|| current.clone()).flatten()
    })
}

/// Test programs of a package, each with the tests in it.
type Programs = BTreeMap<String, Vec<(PathBuf, Vec<String>)>>;

/// Compiles the test programs of the packages and lists their tests.
fn programs(root: &Path, targets: &[Target]) -> Result<Programs> {
    let manifests = targets.iter().map(|target| root.join(&target.package).join("Cargo.toml"));
    let mut names: Vec<String> = manifests.map(|path| package_name(&path)).collect::<Result<_>>()?;
    names.sort();
    names.dedup();
    let chosen: Vec<&str> = names.iter().flat_map(|name| ["--package", name.as_str()]).collect();
    let build = ["test", "--no-run", "--message-format", "json-render-diagnostics"];
    let output = cargo_command(&[&build[..], &chosen].concat())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo test --no-run ended with {}", output.status);
    let mut programs = Programs::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's message is not JSON")?;
        let executable = message["executable"].as_str().filter(|_| message["profile"]["test"] == true);
        let folder = message["manifest_path"].as_str().and_then(|path| Path::new(path).parent());
        let (Some(executable), Some(folder)) = (executable, folder) else { continue };
        let folder = folder.strip_prefix(root).unwrap_or(folder).display().to_string();
        programs.entry(folder).or_default().push((executable.into(), list(Path::new(executable))?));
    }
    Ok(programs)
}

fn package_name(manifest: &Path) -> Result<String> {
    let cannot = || format!("cannot read the name in {}", manifest.display());
    let text = std::fs::read_to_string(manifest).with_context(cannot)?;
    let name = text.lines().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    name.map(str::to_owned).with_context(cannot)
}

/// Full names of a program's tests.
fn list(program: &Path) -> Result<Vec<String>> {
    let output = Command::new(program)
        .args(["--list", "--format", "terse"])
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// The program and the full name of a fuzz test.
fn find<'a>(target: &Target, programs: &'a Programs) -> Result<(&'a Path, &'a str)> {
    let of_package = programs.get(&target.package).into_iter().flatten();
    let is_it = |test: &&String| test.rsplit("::").next() == Some(target.function.as_str());
    let mut found =
        of_package.filter_map(|(program, tests)| Some((program.as_path(), tests.iter().find(is_it)?)));
    let (program, test) = found.next().with_context(|| {
        format!(
            "{}: the fuzz test {} is in no test program; is it a #[test]?",
            target.package, target.function
        )
    })?;
    Ok((program, test))
}

/// Runs a fuzz test: how many inputs it took, or what it said when it failed.
fn fuzz(folder: &Path, program: &Path, test: &str, share: Duration) -> Result<Result<u64, String>> {
    let output = Command::new(program)
        .args(["--exact", test, "--nocapture"])
        .current_dir(folder)
        .env("CARGO_MANIFEST_DIR", folder)
        .env(TIME, share.as_millis().to_string())
        .env(ITERATIONS, u32::MAX.to_string())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Ok(Err(said.into_owned()));
    }
    let count =
        inputs(&said).with_context(|| format!("{test} does not say how many inputs it took:\n{said}"))?;
    Ok(Ok(count))
}

/// The number of inputs in a fuzz test's report: `… | rng inputs: 4711 | …`.
fn inputs(said: &str) -> Option<u64> {
    let counts = said.split(" | ").filter_map(|part| {
        let (what, number) = part.split_once(" inputs: ")?;
        what.rsplit(' ').next()?;
        number.split_whitespace().next()?.parse::<u64>().ok()
    });
    counts.reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_tests_are_found_by_their_functions() {
        let text = "    #[test]\n    fn one() {\n        bolero::check!().for_each(|x| x);\n    }\n    fn two() {\n    }\n";
        assert_eq!(functions(text).collect::<Vec<_>>(), ["one"]);
        let targets = targets(&kit::repository()).unwrap();
        let has = |package: &str| targets.iter().any(|target| target.package == package);
        assert!(has("node/apid") && has("lib/config") && !has("xtask"));
    }

    #[test]
    fn every_fuzz_test_of_a_machine_has_kept_inputs() {
        let root = kit::repository();
        assert_eq!(without_corpus(&root, &targets(&root).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn fuzz_tests_of_a_machine_without_kept_inputs_are_found() {
        let root = tempfile::tempdir().unwrap();
        let target = |package: &str| Target {
            package: package.to_owned(),
            function: "any_bytes".to_owned(),
            folder: format!("{package}/src"),
        };
        let targets = [target("lib/a"), target("node/b"), target("fleet/c")];
        let corpus = root.path().join("lib/a/src/__fuzz__/frame__tests__any_bytes/corpus");
        std::fs::create_dir_all(&corpus).unwrap();
        assert_eq!(without_corpus(root.path(), &targets).len(), 2, "an empty folder does not count");
        std::fs::write(corpus.join("empty"), b"").unwrap();
        assert_eq!(without_corpus(root.path(), &targets), ["node/b/src any_bytes"]);
    }

    #[test]
    fn a_fuzz_test_that_is_no_test_is_an_error() {
        let (package, folder) = ("a".to_owned(), "a/src".to_owned());
        let target = Target { package, folder, function: "f".to_owned() };
        let program = |tests: &[&str]| {
            let tests = tests.iter().map(|test| (*test).to_owned()).collect();
            Programs::from([("a".to_owned(), vec![(PathBuf::from("/a"), tests)])])
        };
        assert_eq!(find(&target, &program(&["x::f", "x::g"])).unwrap().1, "x::f");
        let error = find(&target, &program(&["x::g"])).unwrap_err().to_string();
        assert!(error.contains("no test program"), "{error}");
    }

    #[test]
    fn the_number_of_inputs_is_read_from_the_report() {
        let said = "test x ...\trun time: 1.0s | iterations/s: 9 | corpus inputs: 2 | rng inputs: 4711 | exit reason: y";
        assert_eq!(inputs(said), Some(4713));
        assert_eq!(inputs("nothing"), None);
    }
}
