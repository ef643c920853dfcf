//! What one manager does at a time among those at one store: its controllers, and the services in the tunnel.
//!
//! ```text
//! a store of its own ─▶ Work
//! a shared store ─▶ Candidate ─▶ Lead ─▶ Work ─┬▶ told to stop: Work ends, all is kept, the lead is given away
//!                                              └▶ lead lost:    Work ends, and so does the manager; it starts anew
//! ```
//!
//! A lead that is lost is told some seconds before anybody else can have it, and Work ends within them: controllers at
//! work on something finish it or are cut off, as at any stop.

use std::time::Duration;

use corten_base::{Task, spawn};
use corten_fleet_siderolink::{Outlets, Services};
use corten_fleet_store::{Candidate, NOTICE};
use corten_resource::{RegistrationErrors, RunningRuntime, Runtime, State};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::failure::Failure;

/// Of the notice, for whoever is at work on something; the rest is for being cut off.
const CUT_OFF_AFTER: Duration = Duration::from_secs(NOTICE.as_secs() - 1);
/// For what the controllers have decided last, before another manager leads.
const KEPT_MAX: Duration = Duration::from_secs(5);

/// What the leader does, ready to begin.
pub struct Duties {
    /// The controllers.
    pub runtime: Runtime,
    /// The services in the tunnel.
    pub services: Services,
    /// Where what machines tell goes.
    pub outlets: Outlets,
    /// The store.
    pub state: State,
}

/// What the leader does, under way.
struct Work {
    runtime: RunningRuntime,
    services: Task,
    state: State,
}

impl Duties {
    fn begin(self) -> Result<Work, RegistrationErrors> {
        let Self { runtime, services, outlets, state } = self;
        let runtime = runtime.start()?;
        Ok(Work { runtime, services: spawn("services in the tunnel", services.run(outlets)), state })
    }
}

impl Work {
    /// Stops and waits until what was decided is kept.
    async fn end(self) {
        drop(self.services);
        self.runtime.stop().await;
        if timeout(KEPT_MAX, self.state.store().settled()).await.is_err() {
            tracing::warn!("the store does not answer; what the controllers decided last is decided again");
        }
    }
}

/// The manager's part in leading.
pub struct Leader {
    stop: watch::Sender<bool>,
    lost: watch::Receiver<bool>,
    task: Task,
}

impl Leader {
    /// Begins to lead: at once, or when this candidate is elected.
    ///
    /// # Errors
    /// When the controllers do not go together.
    pub fn begin(duties: Duties, candidate: Option<Candidate>) -> Result<Self, Failure> {
        let (stop, stopped) = watch::channel(false);
        let (is_lost, lost) = watch::channel(false);
        let task = match candidate {
            Some(candidate) => spawn("leader", lead(candidate, duties, stopped, is_lost)),
            None => spawn("leader", work(duties.begin()?, stopped, is_lost)),
        };
        Ok(Self { stop, lost, task })
    }

    /// Returns when this manager has led and must not go on. Its controllers have ended.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        if lost.wait_for(|is_lost| *is_lost).await.is_err() {
            // The task ended in order: there is nothing to lose any more.
            std::future::pending::<()>().await;
        }
    }

    /// Ends it in order.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.task.join().await;
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Whoever stops it may be gone, which is a stop too.
    let _ = stop.wait_for(|is_stopped| *is_stopped).await;
}

/// Leads a store of its own. `_never` is held: nobody can take the lead.
async fn work(work: Work, stop: watch::Receiver<bool>, _never: watch::Sender<bool>) {
    stopped(stop).await;
    work.end().await;
}

/// Leads a shared store, when it is the turn of this manager.
async fn lead(
    candidate: Candidate,
    duties: Duties,
    stop: watch::Receiver<bool>,
    is_lost: watch::Sender<bool>,
) {
    tracing::info!("this manager serves, and leads when it is its turn");
    let lead = tokio::select! {
        lead = candidate.lead() => lead,
        () = stopped(stop.clone()) => return,
    };
    tracing::info!("this manager leads: its controllers run");
    let work = match duties.begin() {
        Ok(work) => work,
        Err(error) => {
            tracing::error!(error = corten_base::chain(&error), "the controllers do not go together");
            is_lost.send_replace(true);
            return;
        }
    };
    tokio::select! {
        () = lead.lost() => {
            tracing::error!("this manager leads no more: its controllers stop");
            // Dropped when the time is over, it is cut off.
            let _ = timeout(CUT_OFF_AFTER, work.end()).await;
            is_lost.send_replace(true);
        }
        () = stopped(stop) => {
            work.end().await;
            lead.release().await;
        }
    }
}
