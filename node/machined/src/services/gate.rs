//! Which services may start at this point of the sequences; journalled, so that a new machined knows it.

use corten_resource::State;
use corten_resources::runtime::{GateOpenness, ServiceGate};
use tokio::sync::watch;

const OWNER: &str = "sequencer";
const ID: &str = "services";
/// Services that run in every stage, maintenance included.
const EARLY: [&str; 5] = ["apid", "udevd", "dataplane", "dashboard", "containerd"];

pub use corten_resources::runtime::GateOpenness as Openness;

/// The gate in front of every service.
#[derive(Clone, Debug)]
pub struct Gate {
    state: State,
    openness: watch::Sender<GateOpenness>,
}

impl Gate {
    /// The gate as the last machined of this boot left it.
    #[must_use]
    pub fn new(state: State) -> Self {
        let openness = state.get::<ServiceGate>(ID).map(|gate| gate.spec.openness).unwrap_or_default();
        let (openness, _) = watch::channel(openness);
        Self { state, openness }
    }

    /// Moves the gate.
    pub fn set(&self, openness: GateOpenness) {
        if let Err(error) = self.state.put(OWNER, ID, ServiceGate { openness }) {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot record the service gate");
        }
        self.openness.send_replace(openness);
    }

    /// Follows the gate.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<GateOpenness> {
        self.openness.subscribe()
    }
}

/// Why a service may not run now; `None` when it may.
#[must_use]
pub fn closed_for(id: &str, openness: GateOpenness) -> Option<&'static str> {
    match openness {
        GateOpenness::All => None,
        GateOpenness::Early if EARLY.contains(&id) => None,
        GateOpenness::Early => Some("boot sequence to start services"),
        GateOpenness::Going if EARLY.contains(&id) => None,
        GateOpenness::Going => Some("machine to start again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_services_run_in_every_stage() {
        for openness in [GateOpenness::Early, GateOpenness::All, GateOpenness::Going] {
            assert_eq!(closed_for("apid", openness), None);
        }
        assert_eq!(closed_for("kubelet", GateOpenness::All), None);
        assert!(closed_for("kubelet", GateOpenness::Early).is_some());
        assert!(closed_for("kubelet", GateOpenness::Going).is_some());
    }
}
