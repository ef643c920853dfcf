//! How a member of a cluster is.

use corten_fleet_resources::cluster::{
    ClusterMachineStage, ClusterMachineStatus, ConfigApplyStatus, ProvisionStatus,
};
use corten_fleet_resources::machine::{MachineStage, MachineStatusSnapshot, PowerStage};

/// What is known of a member of a cluster.
#[derive(Clone, Debug)]
pub struct MachineView<'a> {
    /// The last word on its stage; `None` when none came yet.
    pub snapshot: Option<&'a MachineStatusSnapshot>,
    /// Its tunnel is up.
    pub is_connected: bool,
    /// The machine itself is gone from the manager.
    pub is_removed: bool,
    /// Its ClusterMachine is going away: it is being reset.
    pub is_tearing_down: bool,
    /// Its MachineSetNode is going away, so that it leaves soon.
    pub is_unwanted: bool,
    /// Hash of the configuration that is wanted; empty while there is none.
    pub wanted_sha256: &'a str,
    /// Hash of the configuration that it took last; empty while it took none.
    pub taken_sha256: &'a str,
    /// Why the wanted configuration could not be made; empty when it could.
    pub generation_error: &'a str,
    /// Why the machine refused the wanted configuration; empty when it did not.
    pub apply_error: &'a str,
    /// Address of the machine in the tunnel.
    pub management_address: &'a str,
    /// Who made it.
    pub provision: Option<&'a ProvisionStatus>,
}

/// The status of a member of a cluster.
#[must_use]
pub fn machine(view: &MachineView<'_>) -> ClusterMachineStatus {
    let stage = stage(view);
    let config_apply_status = apply_status(view);
    let last_config_error =
        if view.generation_error.is_empty() { view.apply_error } else { view.generation_error };
    ClusterMachineStatus {
        ready: is_ready(view, stage),
        stage,
        config_up_to_date: config_apply_status == ConfigApplyStatus::Applied,
        last_config_error: last_config_error.to_owned(),
        management_address: view.management_address.to_owned(),
        config_apply_status,
        is_removed: view.is_removed,
        provision_status: view.provision.cloned(),
    }
}

/// It runs, it is connected, and by its own word it misses nothing.
fn is_ready(view: &MachineView<'_>, stage: ClusterMachineStage) -> bool {
    let event = view.snapshot.and_then(|snapshot| snapshot.machine_status.as_ref());
    let misses_nothing = event.and_then(|event| event.status.as_ref()).is_some_and(|status| status.ready);
    stage == ClusterMachineStage::Running && view.is_connected && !view.is_removed && misses_nothing
}

/// Leaving goes before power, and power before what the machine said last.
fn stage(view: &MachineView<'_>) -> ClusterMachineStage {
    if view.is_tearing_down {
        return ClusterMachineStage::Destroying;
    }
    if view.is_unwanted {
        return ClusterMachineStage::BeforeDestroy;
    }
    let Some(snapshot) = view.snapshot else { return ClusterMachineStage::Unknown };
    match snapshot.power_stage {
        PowerStage::PoweredOff => return ClusterMachineStage::PoweredOff,
        PowerStage::PoweringOn => return ClusterMachineStage::PoweringOn,
        PowerStage::None => {}
    }
    match snapshot.machine_status.as_ref().map(|event| event.stage).unwrap_or_default() {
        MachineStage::Unknown => ClusterMachineStage::Unknown,
        MachineStage::Booting => ClusterMachineStage::Booting,
        MachineStage::Installing => ClusterMachineStage::Installing,
        MachineStage::Maintenance => ClusterMachineStage::Configuring,
        MachineStage::Running => ClusterMachineStage::Running,
        MachineStage::Rebooting => ClusterMachineStage::Rebooting,
        MachineStage::ShuttingDown => ClusterMachineStage::ShuttingDown,
        MachineStage::Resetting => ClusterMachineStage::Destroying,
        MachineStage::Upgrading => ClusterMachineStage::Upgrading,
    }
}

fn apply_status(view: &MachineView<'_>) -> ConfigApplyStatus {
    if !view.generation_error.is_empty() || !view.apply_error.is_empty() {
        ConfigApplyStatus::Failed
    } else if view.wanted_sha256.is_empty() {
        ConfigApplyStatus::Unknown
    } else if view.wanted_sha256 == view.taken_sha256 {
        ConfigApplyStatus::Applied
    } else {
        ConfigApplyStatus::Pending
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::machine::{MachineReadiness, MachineStatusEvent};

    use super::*;

    fn snapshot(stage: MachineStage, ready: bool) -> MachineStatusSnapshot {
        let status = Some(MachineReadiness { ready, unmet_conditions: Vec::new() });
        let machine_status = Some(MachineStatusEvent { stage, status });
        MachineStatusSnapshot { machine_status, ..MachineStatusSnapshot::default() }
    }

    fn view(snapshot: &MachineStatusSnapshot) -> MachineView<'_> {
        MachineView {
            snapshot: Some(snapshot),
            is_connected: true,
            is_removed: false,
            is_tearing_down: false,
            is_unwanted: false,
            wanted_sha256: "aa",
            taken_sha256: "aa",
            generation_error: "",
            apply_error: "",
            management_address: "fdae::2",
            provision: None,
        }
    }

    #[test]
    fn a_machine_is_ready_when_it_runs_connected_and_misses_nothing() {
        let well = snapshot(MachineStage::Running, true);
        let status = machine(&view(&well));
        assert!(status.ready && status.config_up_to_date);
        assert_eq!(status.stage, ClusterMachineStage::Running);
        assert!(!machine(&MachineView { is_connected: false, ..view(&well) }).ready);
        assert!(!machine(&MachineView { is_removed: true, ..view(&well) }).ready);
        assert!(!machine(&view(&snapshot(MachineStage::Running, false))).ready);
        assert!(!machine(&view(&snapshot(MachineStage::Booting, true))).ready);
        assert!(!machine(&MachineView { snapshot: None, ..view(&well) }).ready);
    }

    #[test]
    fn leaving_goes_before_power_and_power_before_words() {
        let off = MachineStatusSnapshot {
            power_stage: PowerStage::PoweredOff,
            ..snapshot(MachineStage::Running, true)
        };
        let stage = |view: &MachineView<'_>| machine(view).stage;
        assert_eq!(stage(&view(&off)), ClusterMachineStage::PoweredOff);
        let unwanted = MachineView { is_unwanted: true, ..view(&off) };
        assert_eq!(stage(&unwanted), ClusterMachineStage::BeforeDestroy);
        let leaving = MachineView { is_tearing_down: true, ..unwanted };
        assert_eq!(stage(&leaving), ClusterMachineStage::Destroying);
        let waiting = snapshot(MachineStage::Maintenance, true);
        assert_eq!(stage(&view(&waiting)), ClusterMachineStage::Configuring);
    }

    #[test]
    fn the_configuration_is_applied_when_the_wanted_one_was_taken() {
        let well = snapshot(MachineStage::Running, true);
        let status = |view: &MachineView<'_>| machine(view).config_apply_status;
        let pending = MachineView { taken_sha256: "bb", ..view(&well) };
        assert_eq!(status(&pending), ConfigApplyStatus::Pending);
        assert_eq!(status(&MachineView { wanted_sha256: "", ..view(&well) }), ConfigApplyStatus::Unknown);
        let failed = MachineView { generation_error: "patch", apply_error: "machine", ..view(&well) };
        assert_eq!(status(&failed), ConfigApplyStatus::Failed);
        assert_eq!(machine(&failed).last_config_error, "patch");
    }
}
