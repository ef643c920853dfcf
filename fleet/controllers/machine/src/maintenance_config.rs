//! What a machine is configured with while it waits for its cluster (fleet.md 4.1, step 8).
//!
//! ```text
//! ImageFactoryAuth (logins) ───────────────────┐
//! ConfigPatch of the machine itself, by id ────┼─documents─▶ text ─hash─┐
//! MachineJoinConfig (how to call), always last ┘                        ├─▶ the machine ─▶ MaintenanceConfigStatus
//! Link (WireGuard key: it forgets with each boot) ──────────────────────┘
//! ```
//!
//! Never a `v1alpha1` document: a machine that gets one installs itself (fleet.md 13, 42). A machine that is in a
//! cluster is left to the cluster, whose configuration these documents would replace.

mod documents;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv6Addr;
use std::sync::Arc;

use corten_base::Secret;
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::labels::{DISABLED, MACHINE};
use corten_fleet_resources::link::{Link, MachineJoinConfig};
use corten_fleet_resources::machine::{
    Machine, MachineConfigExtractionStatus, MachineStatus, MaintenanceConfigStatus,
};
use corten_fleet_resources::secrets::ImageFactoryAuth;
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, Resource, Spec, View, controller};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use documents::{Login, documents};

use crate::calls;
use crate::connect::Dial;
use crate::pool::{Pool, Target};
use crate::version::is_at_least;

/// First version that understands documents of these kinds.
const KNOWS_DOCUMENTS: (u32, u32) = (1, 5);
/// First version that understands logins as documents.
const KNOWS_LOGINS: (u32, u32) = (1, 12);

/// Configures machines in maintenance. Implemented over the network and by a recording fake.
pub trait Configure: Send + Sync + 'static {
    /// Gives a machine these documents instead of those that it has.
    ///
    /// # Errors
    /// When the machine does not take them.
    fn configure(
        &self,
        machine: &str,
        target: &Target,
        documents: &Secret<String>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

impl<D: Dial> Configure for Arc<Pool<D>> {
    async fn configure(
        &self,
        machine: &str,
        target: &Target,
        documents: &Secret<String>,
    ) -> anyhow::Result<()> {
        let connection = self.get(machine, target, None).await?;
        let applied = calls::apply(connection.client(), documents.reveal()).await;
        // Nobody has more to say to a machine in maintenance, and all of them come at once after a power cut.
        self.forget(machine);
        Ok(applied.map(drop)?)
    }
}

/// Keeps machines in maintenance configured.
#[derive(Debug)]
pub struct MaintenanceConfigStatusController<C> {
    configure: C,
    /// What was done and is not published yet.
    applied: Mutex<BTreeMap<String, MaintenanceConfigStatus>>,
}

impl<C: Configure> MaintenanceConfigStatusController<C> {
    /// A controller that has configured nothing yet.
    pub const fn new(configure: C) -> Self {
        Self { configure, applied: Mutex::new(BTreeMap::new()) }
    }
}

controller!(impl<C: Configure> MaintenanceConfigStatusController<C>, "MaintenanceConfigStatusController",
    inputs: [strong Machine, weak Link, weak MachineStatus, weak MachineJoinConfig,
        weak MachineConfigExtractionStatus, weak ConfigPatch, weak ImageFactoryAuth,
        weak MaintenanceConfigStatus],
    outputs: [exclusive MaintenanceConfigStatus]);

/// What is done for a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// It gets these documents, which are noted so.
    Apply(Target, Secret<String>, MaintenanceConfigStatus),
    /// What was done is published.
    Forget,
}

impl<C: Configure> ItemDriver for MaintenanceConfigStatusController<C> {
    type Observed = Option<MaintenanceConfigStatus>;
    type Op = Op;

    fn concern(resource: &AnyResource) -> Concern {
        match &resource.metadata().kind {
            kind if *kind == ConfigPatch::DEFINITION.kind => Concern::by_label(resource, MACHINE),
            kind if *kind == ImageFactoryAuth::DEFINITION.kind => Concern::Everybody,
            _ => Concern::by_id(resource),
        }
    }

    async fn observe(&self, item: &str, _: &View<Self>) -> anyhow::Result<Option<MaintenanceConfigStatus>> {
        Ok(self.applied.lock().get(item).cloned())
    }

    fn plan(&self, item: &str, view: &View<Self>, applied: &Self::Observed) -> Plan<Self, Op> {
        let mut plan = Plan::new();
        let last = view.get::<MaintenanceConfigStatus>(item).map(|last| &last.spec);
        let machine = view.get::<Machine>(item);
        if applied.is_some() && (machine.is_none() || applied.as_ref() == last) {
            plan.op(Op::Forget);
        }
        let Some(machine) = machine else { return plan };
        let (target, documents) = match wish(item, machine, view) {
            Wish::None => {
                plan.keep::<MaintenanceConfigStatus>();
                return plan;
            }
            Wish::Waits(what) => {
                plan.keep::<MaintenanceConfigStatus>();
                return plan.waiting(what);
            }
            Wish::Documents(target, documents) => (target, documents),
        };
        let wanted = MaintenanceConfigStatus {
            public_key_at_last_apply: target.public_key.clone(),
            last_applied_config_hash: hex::encode(Sha256::digest(documents.reveal())),
        };
        if last == Some(&wanted) || applied.as_ref() == Some(&wanted) {
            plan.put(item, wanted);
        } else {
            plan.keep::<MaintenanceConfigStatus>();
            plan.op(Op::Apply(target, documents, wanted));
        }
        plan
    }

    async fn apply(&self, item: &str, op: Op) -> anyhow::Result<()> {
        match op {
            Op::Apply(target, documents, done) => {
                self.configure.configure(item, &target, &documents).await?;
                self.applied.lock().insert(item.to_owned(), done);
            }
            Op::Forget => drop(self.applied.lock().remove(item)),
        }
        Ok(())
    }
}

/// What a machine is to be configured with.
enum Wish {
    /// Nothing, now.
    None,
    /// Something is missing for that.
    Waits(String),
    /// These documents.
    Documents(Target, Secret<String>),
}

fn wish<C: Configure>(
    item: &str,
    machine: &Machine,
    view: &View<MaintenanceConfigStatusController<C>>,
) -> Wish {
    let Some(status) = view.get::<MachineStatus>(item) else { return Wish::None };
    let is_agent = status.schematic.as_ref().is_some_and(|schematic| schematic.in_agent_mode);
    let is_waiting = status.connected && status.maintenance && status.cluster.is_empty();
    if !is_waiting || is_agent || !is_at_least(&status.talos_version, KNOWS_DOCUMENTS) {
        return Wish::None;
    }
    if !view.get::<MachineConfigExtractionStatus>(item).is_some_and(|extraction| extraction.initialized) {
        return Wish::Waits("the documents that the machine brought along to be saved".to_owned());
    }
    let join = view.get::<MachineJoinConfig>(item).and_then(|join| join.config.as_ref());
    let key = view.get::<Link>(item).map(|link| link.node_public_key.clone());
    let (Some(join), Some(public_key)) = (join, key) else {
        return Wish::Waits("its link and its join configuration".to_owned());
    };
    let Ok(address) = machine.management_address.parse::<Ipv6Addr>() else {
        return Wish::Waits("its address".to_owned());
    };
    let auths = if is_at_least(&status.talos_version, KNOWS_LOGINS) {
        view.list::<ImageFactoryAuth>()
    } else {
        Vec::new()
    };
    let logins: Vec<Login> = auths.into_iter().map(login).collect();
    let patches = view.list::<ConfigPatch>();
    let in_use = patches.iter().filter(|patch| !patch.metadata.labels.contains_key(DISABLED));
    match documents(&logins, in_use.map(|patch| (patch.id(), &patch.spec)), &join.config) {
        Ok(text) => Wish::Documents(Target { address, public_key, cluster: None }, Secret::new(text)),
        Err(error) => Wish::Waits(corten_base::chain(&error)),
    }
}

fn login(auth: &Resource<ImageFactoryAuth>) -> Login {
    let password = Secret::new(auth.password.clone());
    Login { host: auth.id().to_owned(), user: auth.username.clone(), password }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::link::JoinConfig;
    use corten_resource::ControllerState;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;

    /// What machines were given.
    #[derive(Clone, Default)]
    struct Given(Arc<Mutex<Vec<String>>>);

    impl Given {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock())
        }
    }

    impl Configure for Given {
        async fn configure(
            &self,
            _: &str,
            target: &Target,
            documents: &Secret<String>,
        ) -> anyhow::Result<()> {
            self.0.lock().push(format!("{}: {}", target.public_key, documents.reveal()));
            Ok(())
        }
    }

    fn started(given: &Given) -> TestRuntime {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            runtime.register_items(MaintenanceConfigStatusController::new(given.clone()));
        });
        runtime.put(link("boot 1"));
        let config = JoinConfig { kernel_args: Vec::new(), config: "kind: SideroLinkConfig\n".to_owned() };
        runtime.put(resource("m1", MachineJoinConfig { config: Some(config) }));
        let management_address = "fdae::7".to_owned();
        runtime.put(resource("m1", Machine { management_address, ..Machine::default() }));
        runtime
    }

    fn link(key: &str) -> AnyResource {
        resource("m1", Link { node_public_key: key.to_owned(), ..Link::default() })
    }

    fn status(cluster: &str) -> AnyResource {
        let status = MachineStatus {
            talos_version: "v1.14.0".to_owned(),
            connected: true,
            maintenance: true,
            cluster: cluster.to_owned(),
            ..MachineStatus::default()
        };
        resource("m1", status)
    }

    fn extracted() -> AnyResource {
        resource("m1", MachineConfigExtractionStatus { initialized: true, error: String::new() })
    }

    fn patch(id: &str, data: &str) -> AnyResource {
        let spec = ConfigPatch { data: data.to_owned(), ..ConfigPatch::default() };
        resource(id, spec).edit(|metadata| drop(metadata.labels.insert(MACHINE.to_owned(), "m1".to_owned())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_gets_its_documents_when_they_change_and_after_each_boot() {
        let given = Given::default();
        let runtime = started(&given);
        runtime.put(status(""));
        runtime.quiet().await;
        let waiting = runtime.status("MaintenanceConfigStatusController/m1").expect("it waits");
        assert_eq!(waiting.state, ControllerState::Waiting);
        assert!(waiting.reason.contains("brought along"), "{}", waiting.reason);
        runtime.put(extracted());
        runtime.quiet().await;
        assert_eq!(given.take(), ["boot 1: kind: SideroLinkConfig\n"]);
        runtime.put(status(""));
        let documents = "{apiVersion: v1alpha1, kind: HostnameConfig, hostname: a}\n---\nmachine: {}\n";
        runtime.put(patch("500-name", documents));
        runtime.quiet().await;
        let taken = given.take();
        let [taken] = taken.as_slice() else { panic!("{taken:?}") };
        assert!(taken.contains("kind: HostnameConfig") && !taken.contains("machine:"), "{taken}");
        assert!(taken.ends_with("---\nkind: SideroLinkConfig\n"), "{taken}");
        runtime.put(link("boot 2"));
        runtime.quiet().await;
        assert_eq!(given.take().len(), 1, "it forgot all");
        let status = runtime.state().get::<MaintenanceConfigStatus>("m1").expect("a status");
        assert_eq!(status.public_key_at_last_apply, "boot 2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_in_a_cluster_is_left_to_it() {
        let given = Given::default();
        let runtime = started(&given);
        runtime.put(extracted());
        runtime.put(status("prod"));
        runtime.quiet().await;
        assert!(given.take().is_empty());
    }
}
