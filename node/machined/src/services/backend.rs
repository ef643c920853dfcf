//! Who really runs a service: init, or the Kubernetes containerd.

pub mod container;
#[cfg(test)]
pub(super) mod fake;
pub mod process;

use std::time::Duration;

use corten_resources::service::{OnDemand, Runner, ServiceSpec};

use self::container::Containers;
use self::process::Processes;

/// The backends of a machine.
#[derive(Clone)]
pub struct Backends(Kinds);

#[derive(Clone)]
enum Kinds {
    Both(Processes, Box<Containers>),
    #[cfg(test)]
    Fake(fake::Fake),
}

impl Backends {
    /// The two backends of a machine.
    #[must_use]
    pub fn new(processes: Processes, containers: Containers) -> Self {
        Self(Kinds::Both(processes, Box::new(containers)))
    }

    /// A backend that only remembers what it was asked.
    #[cfg(test)]
    pub(super) const fn fake(fake: fake::Fake) -> Self {
        Self(Kinds::Fake(fake))
    }

    /// Whether something runs in a service that no lease speaks of.
    pub(super) async fn is_used(&self, on_demand: &OnDemand) -> anyhow::Result<bool> {
        match &self.0 {
            Kinds::Both(..) => super::demand::probe(on_demand).await,
            #[cfg(test)]
            Kinds::Fake(fake) => fake.is_used(),
        }
    }

    /// The backend for a kind of service.
    pub(super) fn of(&self, runner: Runner) -> Backend {
        match (&self.0, runner) {
            (Kinds::Both(processes, _), Runner::Process) => Backend::Process(processes.clone()),
            (Kinds::Both(_, containers), Runner::Container) => Backend::Container(containers.clone()),
            #[cfg(test)]
            (Kinds::Fake(fake), _) => Backend::Fake(fake.clone()),
        }
    }
}

/// One backend.
pub(super) enum Backend {
    Process(Processes),
    Container(Box<Containers>),
    #[cfg(test)]
    Fake(fake::Fake),
}

impl Backend {
    /// Makes the service run with this revision: leaves a running one alone, replaces another one.
    pub(super) async fn ensure(
        &self,
        id: &str,
        spec: &ServiceSpec,
        revision: &str,
    ) -> anyhow::Result<Instance> {
        Ok(match self {
            Self::Process(backend) => {
                Instance::Process(backend.ensure(id, &spec.process, spec.restart, revision).await?)
            }
            Self::Container(backend) => {
                Instance::Container(backend.ensure(id, &spec.container, revision).await?)
            }
            #[cfg(test)]
            Self::Fake(backend) => Instance::Fake(backend.ensure(spec).await?),
        })
    }

    /// Ends the service; one that does not run is fine.
    pub(super) async fn stop(&self, id: &str, grace: Duration) -> anyhow::Result<()> {
        match self {
            Self::Process(backend) => backend.stop(id, grace).await,
            Self::Container(backend) => backend.stop(id, grace).await,
            #[cfg(test)]
            Self::Fake(backend) => backend.stop(),
        }
    }
}

/// A running service.
pub(super) enum Instance {
    Process(process::Instance),
    Container(container::Instance),
    #[cfg(test)]
    Fake(fake::Instance),
}

/// What happened to a running service.
pub(super) enum Change {
    /// It ended by itself.
    Exited {
        /// How, in one sentence.
        how: String,
        /// The backend starts it again on its own.
        restarts_itself: bool,
    },
}

impl Instance {
    /// One sentence for the history.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Process(instance) => instance.describe(),
            Self::Container(instance) => instance.describe(),
            #[cfg(test)]
            Self::Fake(_) => "Started".to_owned(),
        }
    }

    /// Its main process, once that is known.
    pub(super) const fn pid(&self) -> Option<u32> {
        match self {
            Self::Process(instance) => instance.pid(),
            Self::Container(instance) => Some(instance.pid()),
            #[cfg(test)]
            Self::Fake(_) => None,
        }
    }

    /// Waits for the next change. Cancel safe.
    pub(super) async fn next(&mut self) -> Change {
        match self {
            Self::Process(instance) => instance.next().await,
            Self::Container(instance) => instance.next().await,
            #[cfg(test)]
            Self::Fake(instance) => instance.next().await,
        }
    }
}
