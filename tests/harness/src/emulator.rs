//! Emulated machines: a process that stands for any number of them, and the socket by which it is disturbed.
//!
//! The process is bound to this program and ends with it. What its socket takes is told in `tests/emulator`.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::lab::LabSpec;
use crate::launcher::{bound, bound_on, in_role};
use crate::process;
use crate::wait::{tail, wait_for};

const START_MAX: Duration = Duration::from_secs(30);
/// What an answer on the socket may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Longest path of a socket, from sys/un.h.
const SOCKET_PATH_MAX: usize = 107;

/// Emulated machines to be.
#[derive(Clone, Debug)]
pub struct EmulatorSpec {
    /// Name, for its files.
    pub name: String,
    /// `corten-emulator`.
    pub program: PathBuf,
    /// Folder of its log and its socket.
    pub folder: PathBuf,
    /// The network that it is in; the host's if absent.
    pub lab: Option<LabSpec>,
    /// What the manager gives machines to join with.
    pub kernel_arguments: String,
    /// How many machines are switched on at the start.
    pub machines: u32,
    /// How many of them in a second; 0 for all at once.
    pub per_second: u32,
    /// Hardware follows from this number.
    pub seed: u64,
    /// Version of Talos that they have; the emulator's own choice if absent.
    pub talos_version: Option<String>,
    /// There is a system on their disks from the start.
    pub installed: bool,
    /// What of them is logged, as `CORTEN_LOG` takes it.
    pub log: Option<String>,
    /// The only processor that the process may use.
    pub processor: Option<usize>,
}

impl EmulatorSpec {
    /// A process without machines and with nothing special.
    pub fn new(
        name: impl Into<String>,
        program: impl Into<PathBuf>,
        folder: impl Into<PathBuf>,
        kernel_arguments: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            folder: folder.into(),
            lab: None,
            kernel_arguments: kernel_arguments.into(),
            machines: 0,
            per_second: 0,
            seed: 0,
            talos_version: None,
            installed: false,
            log: None,
            processor: None,
        }
    }

    fn command(&self, socket: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kernel-args").arg(&self.kernel_arguments);
        for (option, value) in [
            ("--machines", u64::from(self.machines)),
            ("--per-second", u64::from(self.per_second)),
            ("--seed", self.seed),
        ] {
            command.arg(option).arg(value.to_string());
        }
        if let Some(version) = &self.talos_version {
            command.arg("--talos-version").arg(version);
        }
        if self.installed {
            command.arg("--installed");
        }
        if let Some(log) = &self.log {
            command.env("CORTEN_LOG", log);
        }
        command.arg("--control").arg(socket);
        command
    }
}

/// A process with emulated machines. It ends with this value.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    name: String,
    socket: PathBuf,
    log: PathBuf,
}

impl Emulator {
    /// Starts the process and returns when it answers.
    pub fn start(spec: &EmulatorSpec) -> Result<Self> {
        ensure!(
            spec.program.is_file(),
            "there is no {}: run `cargo build --package corten-emulator`",
            spec.program.display()
        );
        std::fs::create_dir_all(&spec.folder)
            .with_context(|| format!("cannot make {}", spec.folder.display()))?;
        let (socket, log) = (spec.folder.join(&spec.name), spec.folder.join(format!("{}.log", spec.name)));
        ensure!(
            socket.as_os_str().len() <= SOCKET_PATH_MAX,
            "{} is too long for a socket: work in a folder with a shorter path",
            socket.display()
        );
        let mut command = spec.command(&socket);
        if let Some(lab) = &spec.lab {
            command = in_role(&command, "enter", &[&lab.namespace()])?;
        }
        let mut command = match spec.processor {
            Some(processor) => bound_on(&command, processor)?,
            None => bound(&command)?,
        };
        let output = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let errors = output.try_clone().context("cannot open the emulator's log twice")?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().with_context(|| format!("cannot start {}", spec.program.display()))?;
        let mut emulator = Self { child, name: spec.name.clone(), socket, log };
        emulator.wait_ready()?;
        Ok(emulator)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let evidence = tail_of(&self.log);
        let what = format!("the emulator {}", self.name);
        let is_ready = wait_for(&what, START_MAX, evidence, || {
            let is_over = self.child.try_wait().map_or(true, |status| status.is_some());
            (is_over || self.summary().is_ok()).then_some(!is_over)
        })?;
        ensure!(is_ready, "the emulator {} has ended:\n{}", self.name, self.evidence());
        Ok(())
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process and everything that it has started.
    pub fn processes(&self) -> Result<Vec<u32>> {
        process::with_descendants(self.pid())
    }

    /// Fails if the process has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot look at the emulator")? {
            bail!("the emulator {} ended with {status}:\n{}", self.name, self.evidence());
        }
        Ok(())
    }

    /// Sends a line of JSON and gives what is answered.
    pub fn ask(&self, question: &Value) -> Result<Value> {
        let stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("the emulator {} does not listen", self.name))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut writer = &stream;
        writer.write_all(format!("{question}\n").as_bytes()).context("cannot ask the emulator")?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).context("the emulator does not answer")?;
        let mut answer: Value =
            serde_json::from_str(&line).with_context(|| format!("the emulator answers `{}`", line.trim()))?;
        match answer.get_mut("ok") {
            Some(value) => Ok(value.take()),
            None => bail!("the emulator refuses `{question}`: {}", answer["error"]),
        }
    }

    /// How many machines there are, how many of them have joined, and how many are in which stage.
    pub fn summary(&self) -> Result<Value> {
        self.ask(&json!({ "op": "summary" }))
    }

    /// How many machines have joined.
    pub fn joined(&self) -> Result<u64> {
        self.summary()?["joined"].as_u64().context("a summary without a number of joined machines")
    }

    /// What is known of every machine.
    pub fn machines(&self) -> Result<Vec<Value>> {
        let list = self.ask(&json!({ "op": "list" }))?;
        list.as_array().cloned().context("a list that is none")
    }

    /// UUID of a machine, as it tells it.
    pub fn uuid(&self, number: u32) -> Result<String> {
        let list = self.ask(&json!({ "op": "list", "machines": number }))?;
        let uuid = list[0]["uuid"].as_str().map(str::to_owned);
        uuid.with_context(|| format!("machine {number} has no UUID"))
    }

    /// Sets some faults of a machine.
    pub fn faults(&self, number: u32, faults: &Value) -> Result<()> {
        self.ask(&json!({ "op": "faults", "machines": number, "set": faults })).map(drop)
    }

    /// Switches machines on or off.
    pub fn power(&self, numbers: &[u32], on: bool) -> Result<()> {
        self.ask(&json!({ "op": "power", "machines": numbers, "on": on })).map(drop)
    }

    /// Switches on machines that were not there, with this UUID if one is given; gives their numbers.
    pub fn add(&self, count: u32, uuid: Option<&str>) -> Result<Vec<u32>> {
        let added = self.ask(&json!({ "op": "add", "count": count, "uuid": uuid }))?;
        serde_json::from_value(added).context("the emulator does not tell what it added")
    }

    /// The log that tells what happened, for a failed test.
    pub fn evidence(&self) -> String {
        tail(&self.log, 30)
    }

    /// Everything that the process has logged.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }
}

/// Evidence of a log while its owner is borrowed.
fn tail_of(log: &Path) -> impl FnOnce() -> String + use<> {
    let log = log.to_owned();
    move || tail(&log, 30)
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_on_the_command_line() {
        let mut spec = EmulatorSpec::new("a", "/bin/emulator", "/tmp", "siderolink.api=grpc://m:1");
        (spec.machines, spec.seed, spec.installed) = (3, 9, true);
        spec.talos_version = Some("1.13.0".to_owned());
        let command = spec.command(Path::new("/tmp/a"));
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        let line = words.join(" ");
        assert!(line.starts_with("--kernel-args siderolink.api=grpc://m:1 --machines 3"), "{line}");
        assert!(line.contains("--seed 9 --talos-version 1.13.0 --installed --control /tmp/a"), "{line}");
    }
}
