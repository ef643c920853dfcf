//! What a new machine brought along becomes a patch of it, once (fleet.md 4.1, step 7).
//!
//! ```text
//! Machine in maintenance ─▶ documents of its own ─(what a patch may say)─▶ ConfigPatch of the machine
//! member of a cluster ─▶ nothing              └─(what it may not)─▶ error ─▶ MachineConfigExtractionStatus
//! ```
//!
//! Nobody configures the machine before: its network may be in those documents. The documents by which it finds its
//! manager are the manager's and are left out, and so is the one without `kind`, which no machine in maintenance has.

use std::time::Duration;

use corten_base::{Secret, chain};
use corten_config::yaml;
use corten_fleet_cluster::patches::{Patch, forbidden};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::labels::annotation::{DESCRIPTION, NAME};
use corten_fleet_resources::labels::{MACHINE, machine_status};
use corten_fleet_resources::link::Link;
use corten_fleet_resources::machine::{Machine, MachineConfigExtractionStatus, MachineStatus, PowerState};
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, Resource, Spec, View, controller};
use serde_json::Value;

use crate::calls::{At, Machines};
use crate::cluster_machine_config_patches::PatchStore;

/// Kinds of the documents by which a machine finds its manager.
const MANAGERS: [&str; 2] = ["SideroLinkConfig", "EventSinkConfig"];
/// Kind of the document that sends kernel logs, and what the manager calls its own.
const KERNEL_LOG: (&str, &str) = ("KmsgLogConfig", "omni-kmsg");
/// Wait before a machine is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(10);

/// Saves what machines brought along.
#[derive(Debug)]
pub struct MachineConfigExtractionController<M, P> {
    machines: M,
    patches: P,
}

impl<M: Machines, P: PatchStore> MachineConfigExtractionController<M, P> {
    /// A controller that asks `machines` and makes `patches`.
    pub const fn new(machines: M, patches: P) -> Self {
        Self { machines, patches }
    }
}

controller!(impl<M: Machines, P: PatchStore> MachineConfigExtractionController<M, P>,
    "MachineConfigExtractionController",
    inputs: [weak Machine, weak Link, weak MachineStatus, weak ConfigPatch,
        weak MachineConfigExtractionStatus],
    outputs: [exclusive MachineConfigExtractionStatus]);

/// What is seen of a machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// It was not looked at: it is settled, gone, or cannot be asked now, for this reason.
    Nothing(Option<&'static str>),
    /// It is a member of a cluster, whose configuration has everything.
    Member,
    /// It did not answer, for this reason.
    Missed(String),
    /// Its configuration.
    Found(Option<Secret<String>>),
}

impl<M: Machines, P: PatchStore> ItemDriver for MachineConfigExtractionController<M, P> {
    type Observed = Seen;
    /// Text of the patch.
    type Op = Secret<String>;
    const PARALLEL: usize = 64;

    fn concern(resource: &AnyResource) -> Concern {
        match resource.metadata().kind == ConfigPatch::DEFINITION.kind {
            true => Concern::by_label(resource, MACHINE),
            false => Concern::by_id(resource),
        }
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<Seen> {
        let Some(machine) = view.get::<Machine>(item) else { return Ok(Seen::Nothing(None)) };
        if view.get::<MachineConfigExtractionStatus>(item).is_some_and(|status| status.initialized) {
            return Ok(Seen::Nothing(None));
        }
        let status = view.get::<MachineStatus>(item);
        let Some(status) = status.filter(|status| status.connected && machine.connected) else {
            return Ok(Seen::Nothing(Some("the machine to be connected")));
        };
        if let Some(why) = unfit(status) {
            return Ok(Seen::Nothing(Some(why)));
        }
        if !status.maintenance {
            return Ok(Seen::Member);
        }
        let key = view.get::<Link>(item).map_or("", |link| link.node_public_key.as_str());
        let Some(at) = At::of(item, machine, key, None) else {
            return Ok(Seen::Nothing(Some("an address of the machine")));
        };
        Ok(match self.machines.configuration(&at).await {
            Ok(found) => Seen::Found(found),
            Err(error) => Seen::Missed(chain(&error)),
        })
    }

    fn plan(&self, item: &str, view: &View<Self>, seen: &Seen) -> Plan<Self, Secret<String>> {
        let mut plan = Plan::new();
        if view.get::<Machine>(item).is_none() {
            return plan;
        }
        let settled = |error: String| MachineConfigExtractionStatus { initialized: true, error };
        match seen {
            Seen::Nothing(why) => {
                plan.keep::<MachineConfigExtractionStatus>();
                if let Some(why) = why {
                    plan.missing(*why);
                }
                plan
            }
            Seen::Member => {
                plan.put(item, settled(String::new()));
                plan
            }
            Seen::Missed(why) => {
                plan.keep::<MachineConfigExtractionStatus>();
                plan.missing(format!("the configuration that the machine brought along: {why}"));
                plan.again_in(AGAIN)
            }
            Seen::Found(found) => {
                let text = found.as_ref().map(Secret::reveal).map_or("", String::as_str);
                let is_saved = view.get::<ConfigPatch>(&patch_id(item)).is_some();
                match extract(text) {
                    Ok(Some(patch)) if !is_saved => plan.op(Secret::new(patch)),
                    Ok(_) => plan.put(item, settled(String::new())),
                    Err(why) => plan.put(item, settled(why)),
                };
                plan
            }
        }
    }

    async fn apply(&self, item: &str, text: Secret<String>) -> anyhow::Result<()> {
        Ok(self.patches.save(patch(item, text.reveal()))?)
    }
}

/// Why a machine that is connected cannot be asked.
fn unfit(status: &Resource<MachineStatus>) -> Option<&'static str> {
    let is_agent = status.schematic.as_ref().is_some_and(|schematic| schematic.in_agent_mode);
    if is_agent {
        Some("its own system; an agent runs on it")
    } else if status.metadata.labels.contains_key(machine_status::INVALID_STATE) {
        Some("a reset of the machine: it is configured for a cluster that is not known here")
    } else if status.power_state == PowerState::Off {
        Some("the machine to be switched on")
    } else if status.talos_version.is_empty() {
        Some("the machine to tell what runs on it")
    } else {
        None
    }
}

/// Id of the patch with what a machine brought along.
fn patch_id(machine: &str) -> String {
    format!("500-{machine}-initial")
}

fn patch(machine: &str, text: &str) -> AnyResource {
    let spec = ConfigPatch { data: text.to_owned(), ..ConfigPatch::default() };
    AnyResource::new(ConfigPatch::DEFINITION.namespace, patch_id(machine), spec).edit(|metadata| {
        metadata.labels.insert(MACHINE.to_owned(), machine.to_owned());
        metadata.annotations.insert(NAME.to_owned(), "initial".to_owned());
        let description = "What the machine was configured with when it came to the manager.";
        metadata.annotations.insert(DESCRIPTION.to_owned(), description.to_owned());
    })
}

/// The documents of a machine's own, as the text of a patch; `None` when there are none.
///
/// # Errors
/// When they cannot be a patch: the text says why, and what to do.
pub fn extract(text: &str) -> Result<Option<String>, String> {
    let read = yaml::parse(text).map_err(|problem| {
        format!("what the machine brought along cannot be read and is not kept; configure it anew: {problem}")
    })?;
    let own: Vec<String> = read.iter().filter(|document| is_own(document)).map(yaml::render).collect();
    if own.is_empty() {
        return Ok(None);
    }
    let text = own.join("---\n");
    let patch = Patch::parse(&text).map_err(|problem| problem.to_string())?;
    let findings: Vec<String> = forbidden(&patch).iter().map(ToString::to_string).collect();
    if findings.is_empty() {
        return Ok(Some(text));
    }
    let findings = findings.join("; ");
    Err(format!("what the machine brought along is not kept; write a patch for it without this: {findings}"))
}

fn is_own(document: &Value) -> bool {
    let text = |key: &str| document.get(key).and_then(Value::as_str);
    match text("kind") {
        None => false,
        Some(kind) if MANAGERS.contains(&kind) => false,
        Some(kind) => (kind, text("name").unwrap_or_default()) != KERNEL_LOG,
    }
}

#[cfg(test)]
mod tests {
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::testing::World;

    const OWN: &str = "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nup: true\n";
    const MANAGERS_OWN: &str =
        "kind: SideroLinkConfig\napiUrl: grpc://m\n---\nkind: KmsgLogConfig\nname: omni-kmsg\n";

    #[test]
    fn the_documents_of_the_manager_are_left_out_and_what_no_patch_may_say_is_refused() {
        let text = format!("{MANAGERS_OWN}---\nmachine: {{token: x}}\n---\n{OWN}");
        let kept = extract(&text).expect("a patch").expect("documents");
        assert!(kept.contains("kind: LinkConfig") && !kept.contains("token"), "{kept}");
        assert!(!kept.contains("omni-kmsg") && !kept.contains("SideroLinkConfig"), "{kept}");
        assert_eq!(extract(MANAGERS_OWN), Ok(None));
        assert_eq!(extract(""), Ok(None));
        let error = extract("kind: KubeClusterConfig\n").expect_err("refused");
        assert!(error.contains("KubeClusterConfig") && error.contains("write a patch"), "{error}");
        assert!(extract("a: [").is_err());
    }

    fn started(world: &World) -> TestRuntime {
        let runtime = TestRuntime::new(corten_fleet_resources::registry(), |runtime| {
            let patches = runtime.state().clone();
            runtime.register_items(MachineConfigExtractionController::new(world.clone(), patches));
        });
        let management_address = "fdae::7".to_owned();
        let machine = Machine { management_address, connected: true, use_grpc_tunnel: false };
        runtime.put(resource("m1", machine));
        runtime
    }

    fn status(maintenance: bool) -> AnyResource {
        let talos_version = "v1.14.0".to_owned();
        let status =
            MachineStatus { talos_version, connected: true, maintenance, ..MachineStatus::default() };
        resource("m1", status)
    }

    fn extraction(runtime: &TestRuntime) -> Option<MachineConfigExtractionStatus> {
        runtime.state().get::<MachineConfigExtractionStatus>("m1").map(|status| status.spec)
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_machine_brought_along_is_saved_once_and_belongs_to_people() {
        let world = World::default();
        world.has(&format!("{MANAGERS_OWN}---\n{OWN}"));
        let runtime = started(&world);
        runtime.quiet().await;
        assert_eq!(extraction(&runtime), None, "it is not connected");
        runtime.put(status(true));
        runtime.quiet().await;
        assert!(extraction(&runtime).is_some_and(|status| status.initialized && status.error.is_empty()));
        let patch = runtime.state().get::<ConfigPatch>("500-m1-initial").expect("a patch");
        assert!(patch.data.contains("kind: LinkConfig") && patch.metadata.owner.is_empty());
        runtime.state().remove::<ConfigPatch>("", "500-m1-initial").expect("people remove it");
        runtime.put(status(true));
        runtime.quiet().await;
        assert!(runtime.state().get::<ConfigPatch>("500-m1-initial").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_of_a_cluster_brings_nothing_and_a_silent_machine_is_asked_again() {
        let world = World::default();
        let runtime = started(&world);
        world.silence(true);
        runtime.put(status(true));
        runtime.quiet().await;
        let waiting = runtime.status("MachineConfigExtractionController/m1").expect("it waits");
        assert!(waiting.reason.contains("brought along"), "{}", waiting.reason);
        world.silence(false);
        runtime.advance(AGAIN).await;
        assert!(extraction(&runtime).is_some_and(|status| status.initialized));
        let other = started(&World::default());
        other.put(status(false));
        other.quiet().await;
        assert!(extraction(&other).is_some_and(|status| status.initialized));
    }

    #[test]
    fn any_text_is_extracted_or_refused() {
        bolero::check!().with_type::<String>().for_each(|text| {
            let _ = extract(text);
        });
    }
}
