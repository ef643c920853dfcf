//! A client that asks a question a hundred times a second on one connection, and now and then on a new one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use corten_client::Client;
use corten_sys::schedule::be_first;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Target;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(10);
/// How many questions there are for one that comes over a connection of its own.
const NEWCOMERS: usize = 100;
/// What an answer may take before it counts as none.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How a polite client was served.
#[derive(Clone, Debug, Default)]
pub struct Quality {
    times: Vec<Duration>,
}

impl Quality {
    /// How many answers there were.
    pub fn answered(&self) -> usize {
        self.times.len()
    }

    /// The time within which all but a hundredth had their answers.
    pub fn p99(&self) -> Result<Duration> {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() * 99 / 100).or(times.last()).copied().context("nothing was answered")
    }
}

/// Asks for so long. Any question without an answer is an error. A client elsewhere does not wait for the machine's other
/// work before it takes its answer: neither does the thread that calls this.
pub fn run(target: &Target, time: Duration) -> Result<Quality> {
    be_first()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, mut quality) = (target.polite()?, Quality::default());
        ask(&client).await?;
        let began = Instant::now();
        let mut turn = interval(PAUSE);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while began.elapsed() < time {
            turn.tick().await;
            let asked = Instant::now();
            ask(&client).await?;
            quality.times.push(asked.elapsed());
            if quality.times.len().is_multiple_of(NEWCOMERS) {
                ask(&target.polite()?).await.context("over a new connection")?;
            }
        }
        ensure!(quality.answered() > NEWCOMERS, "only {} answers", quality.answered());
        Ok(quality)
    })
}

async fn ask(client: &Client) -> Result<()> {
    let answer = timeout(ANSWER_MAX, client.machine().version(())).await.context("a polite client waits")?;
    answer.map(drop).context("a polite client is refused")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_hundredth_does_not_count() {
        let millis = |range: std::ops::Range<u64>| range.map(Duration::from_millis);
        let quality = Quality { times: millis(1..101).rev().chain(millis(1..100)).collect() };
        assert_eq!(quality.p99().unwrap(), Duration::from_millis(99));
        assert_eq!(Quality { times: millis(7..8).collect() }.p99().unwrap(), Duration::from_millis(7));
        assert!(Quality::default().p99().is_err());
    }
}
