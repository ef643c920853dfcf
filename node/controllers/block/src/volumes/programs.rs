//! Programs that make and grow file systems. Only init starts programs.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, bail};
use corten_base::paths;
use corten_supervisor::{Client, InheritedFd, ProcessSpec, ProcessState, StdioSpec};

/// A program's run.
pub type Run<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// What starts programs.
pub trait Programs: Send + Sync {
    /// Runs a program to its end; a run of the same name that is under way is waited for instead. The error says
    /// what the program said.
    fn run<'a>(&'a self, name: &'a str, argv: &'a [String]) -> Run<'a>;
}

/// How often a run is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Even a large and slow disk is formatted by then.
const DEADLINE: Duration = Duration::from_secs(600);
/// What is quoted of a program's last words.
const WORDS_BYTES_MAX: usize = 512;

/// Programs as processes of init.
#[derive(Clone, Debug)]
pub struct InitPrograms(pub Client);

impl Programs for InitPrograms {
    fn run<'a>(&'a self, name: &'a str, argv: &'a [String]) -> Run<'a> {
        Box::pin(async move {
            let run = tokio::time::timeout(DEADLINE, self.run_to_end(name, argv, |_| {}));
            run.await.with_context(|| format!("{name} did not end within {DEADLINE:?}"))?
        })
    }
}

impl InitPrograms {
    /// Runs a program to its end that gets a file under a number, of which a variable of its environment tells it.
    pub async fn run_with(
        &self,
        name: &str,
        argv: &[String],
        file: OwnedFd,
        (variable, target): (&str, i32),
    ) -> anyhow::Result<()> {
        self.0.store_fd(name, file).await.with_context(|| format!("cannot hand a file to {name}"))?;
        let run = self.run_to_end(name, argv, |spec| {
            spec.inherit.push(InheritedFd { stored: name.to_owned(), target });
            spec.env.insert(variable.to_owned(), target.to_string());
        });
        let run = tokio::time::timeout(DEADLINE, run).await;
        let dropped = self.0.drop_fd(name).await;
        run.with_context(|| format!("{name} did not end within {DEADLINE:?}"))??;
        dropped.with_context(|| format!("cannot take back the file of {name}"))
    }

    async fn run_to_end(
        &self,
        name: &str,
        argv: &[String],
        change: impl FnOnce(&mut ProcessSpec),
    ) -> anyhow::Result<()> {
        let log = format!("{}/{name}.log", paths::EARLY_LOG);
        let under_way = self.0.status(name).await.is_ok_and(|status| status.state == ProcessState::Running);
        if !under_way {
            let mut spec = ProcessSpec::new(argv.iter().cloned());
            spec.env = [("PATH".to_owned(), "/usr/bin:/usr/sbin".to_owned())].into();
            spec.cgroup = Some("system/volumes".to_owned());
            spec.stdio = StdioSpec::Log(log.clone());
            change(&mut spec);
            self.0.start(name, spec).await.with_context(|| format!("cannot start {name}"))?;
        }
        loop {
            let status = self.0.status(name).await.with_context(|| format!("cannot follow {name}"))?;
            if status.state == ProcessState::Finished {
                if let Some(error) = status.start_error {
                    bail!("cannot start {name}: {error}");
                }
                return match status.history.last() {
                    Some(exit) if exit.status.is_success() => Ok(()),
                    Some(exit) => bail!("{name} ended with {}: {}", exit.status, last_words(&log)),
                    None => bail!("{name} did not run"),
                };
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The end of what a program said, on one line.
fn last_words(log: &str) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let end = text.get(text.len().saturating_sub(WORDS_BYTES_MAX)..).unwrap_or_default();
    String::from_utf8_lossy(end).split_whitespace().collect::<Vec<_>>().join(" ")
}
