//! What one machine tells of itself, and what the manager has of it already.
//!
//! ```text
//! MachineLogs (the manager's own) ─▶ log.txt ─────────────┐
//! Reach ─▶ Client ─▶ corten_bundle: everything else ──────┴▶ Reporter
//! ```

use std::time::Duration;

use corten_base::{Clock, chain};
use corten_bundle::machine::{self, Scope, Sink};
use corten_bundle::{Tail, segment};
use corten_fleet_api::management::MachineLogs;
use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use crate::reach::Reach;
use crate::report::Reporter;

/// What the manager does itself, in this order; the machine's own steps follow.
const STEPS: [&str; 2] = ["its log here", "connection"];
/// How many steps there are.
pub(crate) const STEPS_COUNT: usize = STEPS.len() + machine::STEPS.len();
/// How long the manager's own disk may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Lines of a log that are asked for.
const LINES: usize = 5000;

/// What is wanted of a machine.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// Its cluster.
    pub(crate) cluster: &'a str,
    /// Its UUID.
    pub(crate) machine: &'a str,
    /// Longest part.
    pub(crate) bytes_max: usize,
    /// When all of it is to be over.
    pub(crate) until: Instant,
    /// The manager's clock.
    pub(crate) clock: &'a Clock,
}

impl Sink for Reporter {
    async fn part(&self, name: String, bytes: Vec<u8>) {
        Self::part(self, name, bytes).await;
    }

    async fn problem(&self, what: &str, why: String) {
        Self::problem(self, what, why).await;
    }

    async fn step(&self, what: &str) {
        Self::step(self, what).await;
    }
}

/// Asks a machine, and the logs of the manager for it.
pub(crate) async fn collect(wish: Wish<'_>, logs: &dyn MachineLogs, reach: &dyn Reach, reporter: &Reporter) {
    let folder = format!("machines/{}", segment(wish.machine));
    let [log, connection] = STEPS;
    own_log(wish, logs, &folder, reporter).await;
    reporter.step(log).await;
    let reached = timeout_at(wish.until, reach.machine(wish.cluster, wish.machine)).await;
    reporter.step(connection).await;
    let asked = machine::Wish {
        machine: wish.machine,
        folder,
        bytes_max: wish.bytes_max,
        until: wish.until,
        scope: Scope::Public,
        clock: wish.clock,
        certificates: Vec::new(),
    };
    let why = match reached {
        Ok(Ok(client)) => return machine::collect(asked, client, reporter).await,
        Ok(Err(error)) => chain(&error),
        Err(_) => "the time for the bundle is over".to_owned(),
    };
    machine::silent(asked, &why, reporter).await;
    reporter.problem("all but its log here", why).await;
}

/// The log that the machine has sent to the manager, also before it was away.
async fn own_log(wish: Wish<'_>, logs: &dyn MachineLogs, folder: &str, reporter: &Reporter) {
    let mut tail = Tail::new(wish.bytes_max);
    let read = async {
        let mut lines = logs.read(wish.machine, Some(LINES), false).await?;
        while let Some(line) = lines.next().await {
            tail.push(&line?);
            tail.push(b"\n");
        }
        Ok::<_, Status>(())
    };
    match timeout_at(wish.until.min(Instant::now() + ANSWER_MAX), read).await {
        Ok(Ok(())) => {}
        Ok(Err(status)) => reporter.problem("its log here", words(&status)).await,
        Err(_) => reporter.problem("its log here", "the disk did not answer in time").await,
    }
    if !tail.is_empty() {
        reporter.part(format!("{folder}/log.txt"), tail.finish()).await;
    }
}

/// What the log says; what says nothing has a code.
fn words(status: &Status) -> String {
    if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() }
}
