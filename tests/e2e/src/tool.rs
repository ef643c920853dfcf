//! Client programs, run as a user runs them: with arguments, a deadline, and their output kept.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::wait::POLL;

/// Bytes of output that are kept of one run.
const OUTPUT_MAX: u64 = 64 << 20;
/// What a command may take when nobody says otherwise.
pub const USUAL: Duration = Duration::from_secs(60);

/// A client program with arguments that every call has in common.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    name: String,
    common: Vec<String>,
    environment: Vec<(String, String)>,
}

/// What a run of a tool gave.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether the exit code was 0.
    pub ok: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The command line, for messages.
    pub line: String,
}

impl Output {
    /// Standard output of a run that succeeded.
    pub fn success(self) -> Result<String> {
        if self.ok {
            return Ok(self.stdout);
        }
        bail!("`{}` failed:\n{}{}", self.line, self.stdout, self.stderr)
    }

    /// Both outputs of a run that failed.
    pub fn failure(self) -> Result<String> {
        ensure!(!self.ok, "`{}` succeeded, and it must fail:\n{}", self.line, self.stdout);
        Ok(self.stdout + &self.stderr)
    }
}

impl Tool {
    /// A program that is told its name, because one file may be several programs.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, name: &str) -> Self {
        Self { program: program.into(), name: name.to_owned(), common: Vec::new(), environment: Vec::new() }
    }

    /// The same with further common arguments.
    #[must_use]
    pub fn with<S: AsRef<str>>(&self, arguments: impl IntoIterator<Item = S>) -> Self {
        let mut tool = self.clone();
        tool.common.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        tool
    }

    /// The same with a variable in its environment.
    #[must_use]
    pub fn env(&self, name: &str, value: impl AsRef<Path>) -> Self {
        let mut tool = self.clone();
        tool.environment.push((name.to_owned(), value.as_ref().to_string_lossy().into_owned()));
        tool
    }

    /// Name of the program.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs it and expects success.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        self.output(arguments, None, USUAL)?.success()
    }

    /// Runs it, expects success, and takes long.
    pub fn run_for<S: AsRef<OsStr>>(&self, arguments: &[S], deadline: Duration) -> Result<String> {
        self.output(arguments, None, deadline)?.success()
    }

    /// Runs it with something to read and expects success.
    pub fn feed<S: AsRef<OsStr>>(&self, arguments: &[S], input: &str) -> Result<String> {
        self.output(arguments, Some(input), USUAL)?.success()
    }

    /// Runs it and expects failure; gives what it said.
    pub fn refuse<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        self.output(arguments, None, USUAL)?.failure()
    }

    /// Runs it. An error means that it did not run to its end, not that it failed.
    pub fn output<S: AsRef<OsStr>>(
        &self,
        arguments: &[S],
        input: Option<&str>,
        deadline: Duration,
    ) -> Result<Output> {
        let line = self.line(arguments);
        let mut command = self.command(arguments);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let stdout = scope.spawn(|| read(stdout));
            let stderr = scope.spawn(|| read(stderr));
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program that does not want all of it says so by its exit code, or by the deadline.
                scope.spawn(move || stdin.write_all(input.as_bytes()));
            }
            let ended = end(&mut child, deadline);
            let text = |thread: std::thread::ScopedJoinHandle<'_, String>| thread.join().unwrap_or_default();
            let (stdout, stderr) = (text(stdout), text(stderr));
            match ended? {
                Some(ok) => Ok(Output { ok, stdout, stderr, line }),
                None => bail!("`{line}` did not end within {} s:\n{stdout}{stderr}", deadline.as_secs()),
            }
        })
    }

    /// Starts it in the background; its output goes to `file`.
    pub fn follow<S: AsRef<OsStr>>(&self, arguments: &[S], file: &Path) -> Result<Follower> {
        let log = File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let line = self.line(arguments);
        let child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
        Ok(Follower { child, file: file.to_owned(), line })
    }

    fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0(&self.name).args(&self.common).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn line<S: AsRef<OsStr>>(&self, arguments: &[S]) -> String {
        let own = arguments.iter().map(|argument| argument.as_ref().to_string_lossy().into_owned());
        let words = std::iter::once(self.name.clone()).chain(self.common.iter().cloned()).chain(own);
        words.collect::<Vec<_>>().join(" ")
    }
}

fn read(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What came before an error is worth showing.
        let _ = stream.take(OUTPUT_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for the end; a program that takes too long is killed, and the answer is nothing.
fn end(child: &mut Child, deadline: Duration) -> Result<Option<bool>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a client")? {
            return Ok(Some(status.success()));
        }
        if start.elapsed() >= deadline {
            // It may have ended in this moment.
            let _ = child.kill();
            child.wait().context("cannot wait for a client")?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// A client that runs in the background and is killed with this value.
#[derive(Debug)]
pub struct Follower {
    child: Child,
    file: PathBuf,
    line: String,
}

impl Follower {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub fn text(&self) -> Result<String> {
        let bytes =
            std::fs::read(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Fails if it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("cannot look at a client")? {
            bail!("`{}` ended with {status}:\n{}", self.line, self.text()?);
        }
        Ok(())
    }

    /// Waits until it has read so much, of files and connections together.
    pub fn wait_received(&mut self, bytes: u64, deadline: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            self.check_alive()?;
            let received = received(self.pid())?;
            if received >= bytes {
                return Ok(());
            }
            if start.elapsed() >= deadline {
                bail!("`{}` received {received} bytes of {bytes}:\n{}", self.line, self.text()?);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits for its own end and gives what it printed, if it succeeded.
    pub fn finish(mut self, deadline: Duration) -> Result<String> {
        let ended = end(&mut self.child, deadline)?;
        let text = self.text()?;
        match ended {
            Some(true) => Ok(text),
            Some(false) => bail!("`{}` failed:\n{text}", self.line),
            None => bail!("`{}` did not end within {} s:\n{text}", self.line, deadline.as_secs()),
        }
    }
}

/// What a process has read.
fn received(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/io");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let count = text.lines().find_map(|line| line.strip_prefix("rchar: ")).context("no rchar")?;
    count.parse().with_context(|| format!("{path} has no number for rchar"))
}

impl Drop for Follower {
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
    fn a_program_that_reads_nothing_is_ended_at_its_deadline() {
        let sleep = Tool::new("/bin/sleep", "sleep");
        let input = "x".repeat(1 << 20);
        let start = Instant::now();
        let error = sleep.output(&["60"], Some(&input), Duration::from_millis(100)).expect_err("killed");
        assert!(start.elapsed() < Duration::from_secs(30) && error.to_string().contains("did not end"));
    }

    #[test]
    fn what_a_program_reads_is_counted() {
        let cat = Tool::new("/bin/cat", "cat");
        let mut reader = cat.follow(&["/dev/zero"], Path::new("/dev/null")).expect("started");
        reader.wait_received(1 << 20, Duration::from_secs(30)).expect("a megabyte");
        let mut short = cat.follow(&["/dev/null"], Path::new("/dev/null")).expect("started");
        assert!(short.wait_received(1 << 20, Duration::from_secs(30)).is_err());
    }
}
