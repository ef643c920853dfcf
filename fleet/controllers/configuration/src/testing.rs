//! A machine of the test's making.

use std::sync::Arc;

use corten_base::Secret;
use corten_fleet_cluster::apply::Answer;
use corten_fleet_controllers_machine::calls::{CHANGE, CallError, QUESTION};
use parking_lot::Mutex;
use tonic::Status;

use crate::calls::{At, Machines, Probe};

/// What the machine is, and what was done to it.
struct Inside {
    probe: Probe,
    config: Option<String>,
    is_silent: bool,
    boot_id: String,
    answer: Answer,
    refusal: Option<String>,
    log: Vec<String>,
}

/// One machine.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inside>>);

impl Default for World {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inside {
            probe: Probe::Maintenance,
            config: None,
            is_silent: false,
            boot_id: "boot-1".to_owned(),
            answer: Answer::NoReboot,
            refusal: None,
            log: Vec::new(),
        })))
    }
}

impl World {
    /// What was done to it since the last question.
    pub(crate) fn took(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().log)
    }

    /// It has this configuration.
    pub(crate) fn has(&self, text: &str) {
        self.0.lock().config = Some(text.to_owned());
    }

    /// It does not answer, or does again.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.0.lock().is_silent = is_silent;
    }

    /// What a probe finds.
    pub(crate) fn is(&self, probe: Probe) {
        self.0.lock().probe = probe;
    }

    /// How it takes configurations.
    pub(crate) fn answers(&self, answer: Answer) {
        self.0.lock().answer = answer;
    }

    /// Why it takes no configuration.
    pub(crate) fn refuses(&self, why: Option<&str>) {
        self.0.lock().refusal = why.map(ToOwned::to_owned);
    }

    /// Notes what is done to it.
    fn does(&self, what: &'static str, note: String) -> Result<(), CallError> {
        let mut inside = self.0.lock();
        if inside.is_silent {
            return Err(CallError::Deadline { what, limit: CHANGE });
        }
        inside.log.push(note);
        Ok(())
    }
}

impl Machines for World {
    async fn probe(&self, _: &At) -> Probe {
        let inside = self.0.lock();
        if inside.is_silent { Probe::Silent("nothing is heard".to_owned()) } else { inside.probe.clone() }
    }

    async fn boot_id(&self, _: &At) -> Result<String, CallError> {
        Ok(self.0.lock().boot_id.clone())
    }

    async fn configuration(&self, _: &At) -> Result<Option<Secret<String>>, CallError> {
        let inside = self.0.lock();
        if inside.is_silent {
            return Err(CallError::Deadline { what: "show its configuration", limit: QUESTION });
        }
        Ok(inside.config.clone().map(Secret::new))
    }

    async fn apply(&self, at: &At, documents: &Secret<String>) -> Result<Answer, CallError> {
        let what = "take the configuration";
        if let Some(why) = self.0.lock().refusal.clone() {
            return Err(CallError::Status { what, source: Status::invalid_argument(why) });
        }
        let place = at.target.cluster.as_deref().unwrap_or("maintenance");
        self.does(what, format!("apply in {place}"))?;
        let mut inside = self.0.lock();
        if inside.answer == Answer::NoReboot {
            inside.config = Some(documents.reveal().clone());
        }
        Ok(inside.answer)
    }

    async fn delete_meta(&self, _: &At, tag: u32) -> Result<(), CallError> {
        self.does("delete a tag of its META", format!("delete {tag}"))
    }

    async fn forfeit_leadership(&self, _: &At) -> Result<(), CallError> {
        self.does("give up the leadership of etcd", "forfeit".to_owned())
    }

    async fn leave_etcd(&self, _: &At) -> Result<(), CallError> {
        self.does("leave etcd", "leave".to_owned())
    }

    async fn reset(&self, _: &At, graceful: bool, volumes: &[&str]) -> Result<(), CallError> {
        self.does("reset itself", format!("reset graceful={graceful} {}", volumes.join(",")))
    }
}
