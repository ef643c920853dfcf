//! Health of the whole cluster, told while it is being looked at.
//!
//!     checks in their order ──▶ each until it holds ──▶ lines of progress ──▶ end, or what did not hold in time
//!
//! Facts come from three sides: the machines' own APIs (`machines.rs`), the Kubernetes API (`objects.rs`) and etcd,
//! through the machines. What a check says while it fails is what an operator would ask next.

mod checks;
mod fleet;
mod machines;
mod objects;

use std::time::Duration;

use corten_api::cluster::cluster_service_server::ClusterService;
use corten_api::cluster::{HealthCheckProgress, HealthCheckRequest};
use corten_base::chain;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Request, Response, Status, async_trait};

use self::checks::{Check, Verdict};
use self::fleet::Fleet;
use super::stream::{self, Reply, Sender};
use super::{Parts, kubernetes};

/// How long a request waits that does not say how long.
const WAIT: Duration = Duration::from_secs(20 * 60);
/// How long a request may wait at most.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// One attempt of a check.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Between attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// The service over the machine's parts.
#[derive(Clone)]
pub struct Cluster(pub Parts);

#[async_trait]
impl ClusterService for Cluster {
    type HealthCheckStream = Reply<HealthCheckProgress>;

    async fn health_check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::HealthCheckStream>, Status> {
        kubernetes::need_control_plane(&self.0, "health check")?;
        let request = request.into_inner();
        let wait = wait(request.wait_timeout)?;
        let expected = request.cluster_info.unwrap_or_default();
        let fleet = Fleet::new(self.0.state.clone(), self.0.clock.clone(), expected);
        Ok(Response::new(stream::from_task(move |sender| run(Progress::new(sender), fleet, wait))))
    }
}

fn wait(requested: Option<prost_types::Duration>) -> Result<Duration, Status> {
    let Some(requested) = requested else { return Ok(WAIT) };
    match Duration::try_from(requested) {
        Ok(wait) if wait.is_zero() => Ok(WAIT),
        Ok(wait) => Ok(wait.min(WAIT_MAX)),
        Err(_) => Err(Status::invalid_argument("wait_timeout should not be negative")),
    }
}

async fn run(mut progress: Progress, fleet: Fleet, wait: Duration) -> Result<(), Status> {
    let deadline = Instant::now() + wait;
    for check in Check::ORDER {
        progress.say(check, "...").await;
        match timeout_at(deadline, pass(&mut progress, &fleet, check)).await {
            Ok(Verdict::Holds) => progress.say(check, "OK").await,
            Ok(Verdict::DoesNotApply) => progress.say(check, "SKIP").await,
            Err(_) => return Err(Status::deadline_exceeded(format!("healthcheck: {}", progress.last))),
        }
    }
    Ok(())
}

/// Tries a check until it holds. What it misses is told when that changes.
async fn pass(progress: &mut Progress, fleet: &Fleet, check: Check) -> Verdict {
    loop {
        let missing = match timeout(ATTEMPT, check.run(fleet)).await {
            Ok(Ok(verdict)) => return verdict,
            Ok(Err(error)) => chain(error.as_ref()),
            Err(_) => format!("no answer within {ATTEMPT:?}"),
        };
        progress.say(check, &missing).await;
        sleep(PAUSE).await;
    }
}

/// Lines to the client, each different from the one before.
struct Progress {
    sender: Sender<HealthCheckProgress>,
    last: String,
}

impl Progress {
    const fn new(sender: Sender<HealthCheckProgress>) -> Self {
        Self { sender, last: String::new() }
    }

    /// A client that has left ends the whole stream, so there is nothing to do about it here.
    async fn say(&mut self, check: Check, what: &str) {
        let message = format!("waiting for {}: {what}", check.subject());
        if message != self.last {
            self.last.clone_from(&message);
            let _ =
                self.sender.send(Ok(HealthCheckProgress { message, ..HealthCheckProgress::default() })).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_base::Clock;
    use corten_resource::State;
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_request_without_patience_gets_the_usual_one() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        assert_eq!(wait(None).ok(), Some(WAIT));
        assert_eq!(wait(seconds(0)).ok(), Some(WAIT));
        assert_eq!(wait(seconds(5)).ok(), Some(Duration::from_secs(5)));
        assert_eq!(wait(seconds(i64::MAX)).ok(), Some(WAIT_MAX));
        assert_eq!(wait(seconds(-1)).expect_err("negative").code(), tonic::Code::InvalidArgument);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_told_once_and_is_the_error_in_the_end() {
        let (sender, mut receiver) = mpsc::channel(16);
        let fleet = Fleet::new(State::new(corten_resources::registry()), Clock::fixed(0), <_>::default());
        let ended = run(Progress::new(sender), fleet, Duration::from_secs(30)).await.expect_err("no cluster");
        let mut lines = Vec::new();
        while let Ok(line) = receiver.try_recv() {
            lines.push(line.expect("progress").message);
        }
        let missing = "waiting for etcd to be healthy: no control plane is known yet";
        assert_eq!(lines, ["waiting for etcd to be healthy: ...", missing]);
        assert_eq!(ended.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(ended.message(), format!("healthcheck: {missing}"));
    }
}
