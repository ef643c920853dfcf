//! Programs that make and grow file systems. Only init starts programs.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, bail};
use corten_base::paths;
use corten_supervisor::{Client, ProcessSpec, ProcessState, StdioSpec};

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
            let run = tokio::time::timeout(DEADLINE, self.run_to_end(name, argv));
            run.await.with_context(|| format!("{name} did not end within {DEADLINE:?}"))?
        })
    }
}

impl InitPrograms {
    async fn run_to_end(&self, name: &str, argv: &[String]) -> anyhow::Result<()> {
        let log = format!("{}/{name}.log", paths::EARLY_LOG);
        let under_way = self.0.status(name).await.is_ok_and(|status| status.state == ProcessState::Running);
        if !under_way {
            let mut spec = ProcessSpec::new(argv.iter().cloned());
            spec.env = [("PATH".to_owned(), "/usr/bin:/usr/sbin".to_owned())].into();
            spec.cgroup = Some("system/volumes".to_owned());
            spec.stdio = StdioSpec::Log(log.clone());
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
