//! From a member of a cluster to a configured machine, and back to maintenance.
//!
//! ```text
//! Cluster, MachineSetConfigStatus, ConfigPatch … ─member_scope─▶ MemberScope of each machine ──────────────┐
//! MachineStatus ─┬─ machine_config_extraction ─▶ ConfigPatch ─▶ cluster_machine_config_patches ──────────┐ │
//!                ├─ schematic_configuration ─▶ machine_config_gen_options (installer) ───────────────────┤ │
//!                └─ machine_install_disk_status ─────────────────────────────────────────────────────────┤ │
//! ClusterSecrets ─ cluster_machine_secrets ──────────────────────────────────────────────────────────────┤ │
//!                                                                                                        ▼ ▼
//!        redacted_cluster_machine_config ◀─ ClusterMachineConfig ◀────────────────────── cluster_machine_config
//!          │ changes                             │
//!          ▼                                     ▼
//!        machine_pending_updates ◀─ cluster_machine_config_status ─▶ the machine: apply, look, reset
//! ```
//!
//! What is decided is decided in `corten-fleet-cluster`; here is what is read for it and what becomes of it. [`calls`]
//! are the calls to machines.
//!
//! What takes a processor for long, which is to make a configuration and to hide the secrets of one, is done away from
//! the threads that wait for machines, a few at a time (`labor`); plans only choose.
//!
//! Invariants: nothing is sent to a machine before what it brought along is saved; a configuration is made anew only
//! when something that has a say in it changes; what cannot be made leaves the former one; a hash is recorded only for
//! what a machine proved to have; a machine that leaves is held until it is in maintenance or the wait for it ends.

pub mod calls;
mod cluster_machine_config;
mod cluster_machine_config_patches;
mod cluster_machine_config_status;
mod cluster_machine_secrets;
mod labor;
mod machine_config_extraction;
mod machine_config_gen_options;
mod machine_extensions;
mod machine_install_disk_status;
mod machine_pending_updates;
mod member_scope;
mod redacted_cluster_machine_config;
mod schematic_configuration;
mod tags;
#[cfg(test)]
mod testing;
mod texts;

use std::sync::Arc;

use corten_base::Rng;
use corten_fleet_cluster::disk::Selector;
use corten_fleet_controllers_machine::Pool;
use corten_fleet_controllers_machine::connect::Dial;
use corten_resource::Runtime;

pub use cluster_machine_config_status::{CONFIG_SLOT, UPGRADE_SLOT};
pub use machine_install_disk_status::TalosSelector;
pub use member_scope::{MemberScope, PatchRef, types};
pub use schematic_configuration::{Factory, NoFactory};

use calls::Network;
use cluster_machine_config::ClusterMachineConfigController;
use cluster_machine_config_patches::ClusterMachineConfigPatchesController;
use cluster_machine_config_status::ClusterMachineConfigStatusController;
use cluster_machine_secrets::ClusterMachineSecretsController;
use machine_config_extraction::MachineConfigExtractionController;
use machine_config_gen_options::MachineConfigGenOptionsController;
use machine_extensions::MachineExtensionsController;
use machine_install_disk_status::MachineInstallDiskStatusController;
use machine_pending_updates::MachinePendingUpdatesController;
use member_scope::MemberScopeController;
use redacted_cluster_machine_config::RedactedClusterMachineConfigController;
use schematic_configuration::SchematicConfigurationController;

/// What the controllers of this domain need.
#[derive(Debug)]
pub struct Dependencies<D, F, S> {
    /// Connections to machines.
    pub pool: Arc<Pool<D>>,
    /// Where schematics become images; [`NoFactory`] when there is nothing.
    pub factory: F,
    /// Evaluates the expressions by which people select disks, as [`TalosSelector`] does.
    pub selector: S,
    /// URL of the image factory that is used when a version names none.
    pub factory_url: String,
    /// Image that installs machines whose image no factory made, without a tag.
    pub plain_installer: String,
    /// Spreads looks at machines.
    pub rng: Rng,
}

/// Registers the controllers of this domain. The state of the runtime must know the types of [`types`].
pub fn register<D: Dial, F: Factory, S: Selector + Send + Sync + 'static>(
    runtime: &mut Runtime,
    dependencies: Dependencies<D, F, S>,
) {
    let Dependencies { pool, factory, selector, factory_url, plain_installer, rng } = dependencies;
    let state = runtime.state().clone();
    let machines = Network::new(pool, state.clone());
    runtime.register_item_transform(MemberScopeController);
    runtime.register_item_transform(ClusterMachineSecretsController);
    runtime.register_item_transform(MachineExtensionsController);
    runtime.register_items(SchematicConfigurationController::new(factory));
    runtime.register_item_transform(MachineConfigGenOptionsController::new(&factory_url));
    runtime.register_item_transform(MachineInstallDiskStatusController::new(selector));
    runtime.register_items(MachineConfigExtractionController::new(machines.clone(), state.clone()));
    runtime.register_items(ClusterMachineConfigPatchesController::new(state.clone()));
    runtime.register_items(ClusterMachineConfigController::new(plain_installer));
    runtime.register_items(RedactedClusterMachineConfigController::default());
    runtime.register_items(ClusterMachineConfigStatusController::new(machines, state, rng));
    runtime.register_item_transform(MachinePendingUpdatesController);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use corten_fleet_controllers_machine::connect::{Connection, DialError, MemberAccess, Stream};
    use corten_fleet_resources::cluster::ClusterMachine;
    use corten_fleet_resources::labels::{CLUSTER, MACHINE_SET, ROLE_WORKER};
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    /// Nobody answers.
    struct Silence;

    impl Dial for Silence {
        async fn maintenance(&self, address: Ipv6Addr) -> Result<Connection, DialError> {
            Err(DialError::Silent { address })
        }
        async fn member(&self, address: Ipv6Addr, _: &MemberAccess) -> Result<Connection, DialError> {
            Err(DialError::Silent { address })
        }
        async fn stream(&self, address: Ipv6Addr, _: Option<&MemberAccess>) -> Result<Stream, DialError> {
            Err(DialError::Silent { address })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_controllers_go_together_and_every_one_that_waits_says_for_what() {
        let mut registry = corten_fleet_resources::registry();
        types(&mut registry);
        let runtime = TestRuntime::new(registry, |runtime| {
            let dependencies = Dependencies {
                pool: Arc::new(Pool::new(Silence)),
                factory: NoFactory,
                selector: TalosSelector,
                factory_url: "https://factory.talos.dev".to_owned(),
                plain_installer: "ghcr.io/siderolabs/installer".to_owned(),
                rng: Rng::seeded(1),
            };
            register(runtime, dependencies);
        });
        let member = resource("m1", ClusterMachine::default()).edit(|metadata| {
            let labels = [(CLUSTER, "prod"), (MACHINE_SET, "prod-workers"), (ROLE_WORKER, "")];
            for (key, value) in labels {
                metadata.labels.insert(key.to_owned(), value.to_owned());
            }
        });
        runtime.put(member);
        runtime.quiet().await;
        for (status, expected) in [
            ("ClusterMachineSecretsController/prod", "the secrets of the cluster"),
            ("ClusterMachineConfigPatchesController/m1", "brought along"),
            ("ClusterMachineConfigController/m1", "LoadBalancerConfig"),
            ("ClusterMachineConfigStatusController/m1", "not connected"),
        ] {
            let reason = runtime.status(status).expect("it waits").reason;
            assert!(reason.contains(expected), "{status}: {reason}");
        }
    }
}
