//! Follows a reboot or shutdown until its effect is seen, not until it was sent.
//!
//! ```text
//!  boot identity before ─▶ action ─▶ events of its actor ─▶ connection breaks ─▶ other boot identity ─▶ running and ready
//! ```
//!
//! The boot identity is the kernel's boot id together with the start of process 1, so that a machine that shares its
//! kernel with others is seen to restart as well.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use corten_api::machine::{
    EventsRequest, MachineStatusEvent, ReadRequest, SequenceEvent, machine_status_event::MachineStage,
    sequence_event,
};
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::connect::Node;
use crate::context::Cx;
use crate::event::{content, describe};
use crate::failure::Cause;
use crate::status::is_passing;
use crate::{stream, units};

const POLL: Duration = Duration::from_secs(1);
/// A machine that is going down may take the connection with it without a word.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Unanswered polls after which a machine counts as off.
const SILENT_POLLS: u32 = 3;
const IDENTITY_BYTES_MAX: usize = 4096;

/// Flags of commands that take their time.
#[derive(Args, Clone, Debug)]
pub struct Wait {
    /// Wait until it is done and tell what happens; --wait=false returns at once.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = clap::ArgAction::Set)]
    pub wait: bool,
    /// How long to wait.
    #[arg(long, default_value = "30m", value_parser = units::parse_duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// How an action ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The machine is up again, and ready.
    Running,
    /// The machine is gone.
    Off,
}

/// Starts an action and, if wanted, follows it. `start` answers with the action's actor id.
pub async fn act<F>(cx: &Cx, node: &Node, wait: &Wait, end: End, start: F) -> Result<(), Cause>
where
    F: Future<Output = Result<String, Cause>>,
{
    if !wait.wait {
        start.await?;
        return Ok(());
    }
    // A machine that cannot be asked fails at the action itself, with a better reason.
    let before = identity(node).await.ok().flatten();
    let actor = start.await?;
    let tracker = Tracker { cx, node, actor, before };
    timeout(wait.timeout, tracker.follow(end)).await.unwrap_or_else(|_| {
        let text = format!("not done after {}", units::coarse(wait.timeout));
        Err(Cause::new(text).way_out(format!(
            "it may still go on; follow it with `corten events --tail -1 -n {}`",
            node.name
        )))
    })
}

struct Tracker<'a> {
    cx: &'a Cx,
    node: &'a Node,
    actor: String,
    before: Option<Vec<u8>>,
}

impl Tracker<'_> {
    fn say(&self, text: &str) {
        self.cx.say(format!("{}: {text}", self.node.name));
    }

    async fn follow(&self, end: End) -> Result<(), Cause> {
        self.say("waiting for the machine to go down");
        self.until_down().await?;
        match end {
            End::Off => {
                self.until_silent().await;
                self.say("the machine is off");
            }
            End::Running => {
                self.until_back().await;
                self.say("the machine is back, waiting until it is ready");
                self.until_ready().await;
                self.say("the machine is running and ready");
            }
        }
        Ok(())
    }

    /// Tells the action's events until the connection breaks; fails when the action itself does.
    async fn until_down(&self) -> Result<(), Cause> {
        let request =
            EventsRequest { with_actor_id: self.actor.clone(), tail_events: -1, ..Default::default() };
        let mut stream = match self.node.client.machine().events(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if is_passing(&status) => return Ok(()),
            Err(status) => return Err(status.into()),
        };
        while let Ok(Some(event)) = stream.message().await {
            if let Some(described) = describe(&event) {
                let kind =
                    described.kind.trim_start_matches("machine.").trim_end_matches("Event").to_lowercase();
                self.say(&format!("{kind} {} {}", described.source, described.message));
            }
            let sequence: Option<SequenceEvent> = content(&event, "machine.SequenceEvent");
            if let Some(SequenceEvent { sequence, action, error: Some(error) }) = sequence
                && action == sequence_event::Action::Stop as i32
            {
                return Err(Cause::new(format!("the sequence {sequence} failed: {}", error.message)));
            }
        }
        Ok(())
    }

    /// Until nothing answers any more.
    async fn until_silent(&self) {
        let mut silent = 0;
        while silent < SILENT_POLLS {
            let answer = timeout(ANSWER_TIMEOUT, self.node.client.machine().version(())).await;
            let answers = answer.is_ok_and(|answer| answer.is_ok_and(|_| true));
            silent = if answers { 0 } else { silent + 1 };
            sleep(POLL).await;
        }
    }

    /// Until the machine answers from another boot.
    async fn until_back(&self) {
        loop {
            if let Ok(Ok(after)) = timeout(ANSWER_TIMEOUT, identity(self.node)).await {
                let is_other = match (&self.before, &after) {
                    (Some(before), Some(after)) => before != after,
                    // Without the right to read files, the events tell: they do not outlive a boot.
                    _ => self.has_forgotten().await,
                };
                if is_other {
                    return;
                }
            }
            sleep(POLL).await;
        }
    }

    /// Whether the machine knows nothing of the action any more.
    async fn has_forgotten(&self) -> bool {
        let request =
            EventsRequest { with_actor_id: self.actor.clone(), tail_events: -1, ..Default::default() };
        let Ok(answer) = self.node.client.machine().events(request).await else { return false };
        let mut stream = answer.into_inner();
        let first = stream.message().await;
        let second = timeout(POLL, stream.message()).await;
        first.is_ok() && second.is_err()
    }

    async fn until_ready(&self) {
        loop {
            if let Ok(Ok(())) = timeout(ANSWER_TIMEOUT, self.hears_ready()).await {
                return;
            }
            sleep(POLL).await;
        }
    }

    async fn hears_ready(&self) -> Result<(), Cause> {
        let request = EventsRequest { tail_events: -1, ..Default::default() };
        let mut stream = self.node.client.machine().events(request).await?.into_inner();
        while let Some(event) = stream.message().await? {
            let status: Option<MachineStatusEvent> = content(&event, "machine.MachineStatusEvent");
            let is_ready = |status: MachineStatusEvent| {
                status.stage == MachineStage::Running as i32
                    && status.status.is_some_and(|status| status.ready)
            };
            if status.is_some_and(is_ready) {
                return Ok(());
            }
        }
        Err(Cause::new("the machine ended the stream of events"))
    }
}

/// What tells one boot from another; nothing without the right to read it.
async fn identity(node: &Node) -> Result<Option<Vec<u8>>, Cause> {
    let mut all = Vec::new();
    for path in ["/proc/sys/kernel/random/boot_id", "/proc/1/stat"] {
        let answer = node.client.machine().read(ReadRequest { path: path.to_owned() }).await;
        let bytes = match answer {
            Ok(answer) => stream::collect(answer.into_inner(), IDENTITY_BYTES_MAX).await?,
            Err(status) if matches!(status.code(), Code::PermissionDenied | Code::Unimplemented) => {
                return Ok(None);
            }
            Err(status) => return Err(status.into()),
        };
        all.extend(if path.ends_with("stat") { start_of(&bytes) } else { bytes });
    }
    Ok(Some(all))
}

/// The field of `/proc/PID/stat` that says when the process started (proc_pid_stat(5), field 22).
fn start_of(stat: &[u8]) -> Vec<u8> {
    const AFTER_NAME: usize = 22 - 3;
    let text = String::from_utf8_lossy(stat);
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace().nth(AFTER_NAME).unwrap_or_default().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::start_of;

    #[test]
    fn the_start_of_a_process_is_found_behind_any_name() {
        let stat = b"1 (in) it) S 0 1 1 0 -1 4194560 9 9 9 9 1 2 3 4 20 0 1 0 4711 100 200";
        assert_eq!(start_of(stat), b"4711");
        assert_eq!(start_of(b"garbage"), b"");
    }
}
