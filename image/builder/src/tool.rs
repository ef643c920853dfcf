//! Debian's image tools, run out of the tree they were unpacked in with the libraries beside them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Where Debian keeps libraries.
const LIBRARIES: [&str; 4] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/systemd",
    "usr/lib/x86_64-linux-gnu/pulseaudio",
    "usr/lib/aarch64-linux-gnu",
];

/// What loads programs.
const LOADERS: [&str; 2] = ["usr/lib64/ld-linux-x86-64.so.2", "usr/lib/ld-linux-aarch64.so.1"];

/// A program of an unpacked tree.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    name: String,
}

impl Tool {
    /// The program at `path` below `tree`, acting under the name `name`.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "tools run on the building host, not on a machine")]
    pub fn new(tree: &Path, path: &str, name: &str) -> Self {
        let libraries = LIBRARIES.map(|folder| tree.join(folder).display().to_string()).join(":");
        let loader = LOADERS.map(|file| tree.join(file)).into_iter().find(|file| file.exists());
        let mut command = Command::new(loader.unwrap_or_else(|| tree.join(path)));
        command.args(["--library-path", &libraries, "--argv0", name]).arg(tree.join(path));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, name: name.to_owned() }
    }

    /// The command, to add arguments to.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// The command, to start and watch it oneself.
    #[must_use]
    pub fn into_command(self) -> Command {
        self.command
    }

    /// Runs to the end; what it said is in the error when it fails.
    ///
    /// # Errors
    /// When it cannot be started or fails.
    pub fn run(mut self) -> Result<String> {
        let child = self.command.spawn().with_context(|| format!("starting `{}`", self.name))?;
        Self::finish(&self.name, child)
    }

    /// Runs while `feed` writes its stdin.
    ///
    /// # Errors
    /// When it cannot be started, fails, or `feed` fails.
    pub fn run_with(
        mut self,
        feed: impl FnOnce(&mut std::process::ChildStdin) -> Result<()>,
    ) -> Result<String> {
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{}`", self.name))?;
        let mut stdin = child.stdin.take().context("stdin was asked for")?;
        let fed = feed(&mut stdin);
        drop(stdin);
        let said = Self::finish(&self.name, child)?;
        fed.map(|()| said)
    }

    fn finish(name: &str, child: std::process::Child) -> Result<String> {
        let output = child.wait_with_output().with_context(|| format!("waiting for `{name}`"))?;
        if !output.status.success() {
            bail!(
                "`{name}` ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
