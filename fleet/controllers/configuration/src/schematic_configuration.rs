//! The schematic that a machine is to run: the one that it runs, with the extensions and kernel arguments of people.
//!
//! ```text
//! MachineStatus (schematic that runs) ─┐                              ┌▶ SchematicConfiguration
//! MachineExtensions, KernelArgs ───────┼─wanted─▶ id ─▶ image factory ─┴▶ MachineExtensionsStatus
//! MemberScope (version) ───────────────┘                unless it knows it
//! ```
//!
//! A text that does not lead to the id which the machine reports is left alone: whoever compares another id upgrades
//! the machine for ever (fleet.md 13, 35).

use std::collections::BTreeSet;
use std::future::Future;

use corten_fleet_resources::machine::{
    ExtensionPhase, ExtensionStatus, KernelArgs, MachineExtensions, MachineExtensionsStatus, MachineStatus,
    Schematic as Reported, SchematicConfiguration,
};
use corten_fleet_schematic::{Schematic, SchematicId, is_protected, merge_extensions};
use corten_resource::{AnyResource, Concern, ItemDriver, Plan, View, controller};
use parking_lot::Mutex;

use crate::member_scope::MemberScope;
use crate::tags::copy_place;

/// Schematics of which it is remembered that a factory knows them.
const KNOWN_MAX: usize = 4096;

/// Where schematics become images. Implemented by a client of the image factory and by a recording fake.
pub trait Factory: Send + Sync + 'static {
    /// Has the factory know a schematic; the id that it gives.
    ///
    /// # Errors
    /// When the factory does not take it.
    fn register(&self, schematic: &Schematic) -> impl Future<Output = anyhow::Result<SchematicId>> + Send;
}

/// No image factory can be told anything: machines keep the extensions and kernel arguments of their images.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFactory;

impl Factory for NoFactory {
    async fn register(&self, schematic: &Schematic) -> anyhow::Result<SchematicId> {
        anyhow::bail!(
            "this manager has no client of an image factory, so machines keep their extensions and kernel \
             arguments; take the wish back, or install an image of schematic {} by hand",
            schematic.id()
        )
    }
}

/// Keeps the schematics that machines are to run.
#[derive(Debug)]
pub struct SchematicConfigurationController<F> {
    factory: F,
    /// Ids that the factory knows.
    known: Mutex<BTreeSet<String>>,
}

impl<F: Factory> SchematicConfigurationController<F> {
    /// A controller that has told the factory nothing yet.
    pub const fn new(factory: F) -> Self {
        Self { factory, known: Mutex::new(BTreeSet::new()) }
    }
}

controller!(impl<F: Factory> SchematicConfigurationController<F>, "SchematicConfigurationController",
    inputs: [weak MachineStatus, weak MachineExtensions, weak KernelArgs, weak MemberScope,
        weak SchematicConfiguration],
    outputs: [exclusive SchematicConfiguration, exclusive MachineExtensionsStatus]);

/// The schematic that a machine is to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// No factory made its image, so nothing of it is managed.
    Unmanaged,
    /// The one that it runs; with the reason why it is not the one that people want, if there is one.
    Current(String, Option<&'static str>),
    /// Another one.
    Other(Box<Schematic>),
}

impl<F: Factory> ItemDriver for SchematicConfigurationController<F> {
    /// Whether a factory knows the schematic that is wanted.
    type Observed = bool;
    type Op = Box<Schematic>;

    fn concern(resource: &AnyResource) -> Concern {
        Concern::by_id(resource)
    }

    async fn observe(&self, item: &str, view: &View<Self>) -> anyhow::Result<bool> {
        let Some(Wanted::Other(schematic)) = wish(item, view) else { return Ok(true) };
        let id = schematic.id();
        let last = view.get::<SchematicConfiguration>(item);
        let was_told = last.is_some_and(|last| last.schematic_id == id.as_str());
        Ok(was_told || self.known.lock().contains(id.as_str()))
    }

    fn plan(&self, item: &str, view: &View<Self>, is_known: &bool) -> Plan<Self, Self::Op> {
        let mut plan = Plan::new();
        let Some(status) = view.get::<MachineStatus>(item) else { return plan };
        let scope = view.get::<MemberScope>(item);
        let waits = match (&status.schematic, scope) {
            (None, _) => Some("its schematic; the machine tells it when it is connected"),
            (Some(reported), _) if reported.in_agent_mode => Some("its own system; an agent runs on it"),
            _ if scope.is_none() && !status.cluster.is_empty() => Some("what its cluster says of it"),
            _ => None,
        };
        let wanted = wish(item, view);
        let (None, Some(wanted)) = (waits, wanted) else {
            plan.keep::<SchematicConfiguration>();
            plan.keep::<MachineExtensionsStatus>();
            return plan.waiting(waits.unwrap_or("its schematic"));
        };
        let mut configuration = SchematicConfiguration {
            schematic_id: String::new(),
            talos_version: version(status, scope.map(|scope| &scope.spec)),
        };
        match &wanted {
            Wanted::Unmanaged => {}
            Wanted::Current(id, why) => {
                configuration.schematic_id.clone_from(id);
                if let Some(why) = why {
                    plan.missing(*why);
                }
            }
            Wanted::Other(schematic) if *is_known => configuration.schematic_id = schematic.id().to_string(),
            Wanted::Other(schematic) => {
                // Until a factory can make it, what was wanted before holds.
                let last = view.get::<SchematicConfiguration>(item).map(|last| last.schematic_id.clone());
                let current = status.schematic.as_ref().map(|reported| reported.full_id.clone());
                configuration.schematic_id = last.or(current).unwrap_or_default();
                plan.op(schematic.clone());
            }
        }
        let talos_version = configuration.talos_version.clone();
        let extensions = rows(status.schematic.as_ref(), &wanted);
        plan.put_with(item, configuration, |metadata| copy_place(&status.metadata, metadata));
        plan.put_with(item, MachineExtensionsStatus { extensions, talos_version }, |metadata| {
            copy_place(&status.metadata, metadata);
        });
        plan
    }

    async fn apply(&self, _: &str, schematic: Box<Schematic>) -> anyhow::Result<()> {
        let (given, computed) = (self.factory.register(&schematic).await?, schematic.id());
        anyhow::ensure!(
            given == computed,
            "the image factory calls schematic {computed} {given}; this manager cannot work with it"
        );
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.pop_first();
        }
        known.insert(computed.to_string());
        Ok(())
    }
}

/// Version that the machine is to run, without `v`: that of its cluster, or its own.
fn version(status: &MachineStatus, scope: Option<&MemberScope>) -> String {
    let of_cluster = scope.map(|scope| scope.talos_version.as_str()).filter(|version| !version.is_empty());
    let own = || status.talos_version.strip_prefix('v').unwrap_or(&status.talos_version);
    of_cluster.unwrap_or_else(own).to_owned()
}

fn wish<F: Factory>(item: &str, view: &View<SchematicConfigurationController<F>>) -> Option<Wanted> {
    let reported = view.get::<MachineStatus>(item)?.spec.schematic.as_ref()?;
    let extensions = view.get::<MachineExtensions>(item).map(|wish| wish.spec.extensions.as_slice());
    let kernel_args = view.get::<KernelArgs>(item).map(|wish| wish.spec.args.as_slice());
    Some(wanted(reported, extensions, kernel_args))
}

/// The schematic that a machine is to run; without a wish for extensions those that it joined with, without one for
/// kernel arguments those that it has.
#[must_use]
pub fn wanted(reported: &Reported, extensions: Option<&[String]>, kernel_args: Option<&[String]>) -> Wanted {
    if reported.invalid {
        return Wanted::Unmanaged;
    }
    let initial = reported.initial_state.as_ref().map(|initial| initial.extensions.as_slice());
    let extensions = merge_extensions([extensions.or(initial).unwrap_or(&reported.extensions)]);
    let has_extensions = extensions == merge_extensions([reported.extensions.as_slice()]);
    let has_args = kernel_args.is_none_or(|wanted| of_people(wanted) == of_people(&reported.kernel_args));
    let current = |why| Wanted::Current(reported.full_id.clone(), why);
    if has_extensions && has_args {
        return current(None);
    }
    if reported.raw.is_empty() {
        return current(Some(
            "the text of its schematic, which its image does not tell; install an image of a newer version",
        ));
    }
    let parsed = Schematic::parse(&reported.raw).ok();
    let Some(schematic) = parsed.filter(|schematic| schematic.id().as_str() == reported.full_id) else {
        return current(Some(
            "a schematic that this manager understands; its extensions and kernel arguments stay as they are",
        ));
    };
    let own = schematic.user_kernel_args();
    let other = schematic.adjusted(&extensions, kernel_args.unwrap_or(&own));
    if other.id().as_str() == reported.full_id { current(None) } else { Wanted::Other(Box::new(other)) }
}

/// The kernel arguments that people may change.
fn of_people(args: &[String]) -> Vec<&String> {
    args.iter().filter(|argument| !is_protected(argument)).collect()
}

/// Extensions of a machine: those that are there and those that come.
fn rows(reported: Option<&Reported>, wanted: &Wanted) -> Vec<ExtensionStatus> {
    let there: BTreeSet<&String> = reported.into_iter().flat_map(|reported| &reported.extensions).collect();
    let coming: BTreeSet<&String> = match wanted {
        Wanted::Other(schematic) => schematic.customization.official_extensions.iter().collect(),
        Wanted::Unmanaged | Wanted::Current(..) => there.clone(),
    };
    let row = |name: &&String| ExtensionStatus {
        name: (*name).clone(),
        immutable: *wanted == Wanted::Unmanaged,
        phase: match (there.contains(*name), coming.contains(*name)) {
            (true, false) => ExtensionPhase::Removing,
            (false, _) => ExtensionPhase::Installing,
            (true, true) => ExtensionPhase::Installed,
        },
    };
    there.union(&coming).map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use corten_fleet_resources::machine::SchematicInitialState;
    use corten_resource::testing::{TestRuntime, resource};

    use super::*;
    use crate::member_scope::types;

    const RAW: &str = "customization:\n    extraKernelArgs:\n        - siderolink.api=grpc://m\n";

    /// Takes every schematic, or none.
    #[derive(Clone, Default)]
    struct Shop(Arc<Mutex<(bool, Vec<String>)>>);

    impl Factory for Shop {
        async fn register(&self, schematic: &Schematic) -> anyhow::Result<SchematicId> {
            let mut inside = self.0.lock();
            anyhow::ensure!(!inside.0, "it is closed");
            inside.1.push(schematic.id().to_string());
            Ok(schematic.id())
        }
    }

    fn reported(raw: &str) -> Reported {
        let parsed = Schematic::parse(raw).expect("a schematic");
        Reported {
            full_id: parsed.id().to_string(),
            raw: raw.to_owned(),
            kernel_args: parsed.customization.extra_kernel_args.clone(),
            initial_state: Some(SchematicInitialState::default()),
            ..Reported::default()
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn without_a_wish_a_machine_keeps_what_it_runs() {
        let machine = reported(RAW);
        assert_eq!(wanted(&machine, None, None), Wanted::Current(machine.full_id.clone(), None));
        let same = names(&["siderolink.api=grpc://elsewhere"]);
        assert_eq!(wanted(&machine, None, Some(&same)), Wanted::Current(machine.full_id.clone(), None));
        let foreign = Reported { invalid: true, ..machine };
        assert_eq!(wanted(&foreign, Some(&names(&["a/b"])), None), Wanted::Unmanaged);
    }

    #[test]
    fn a_text_that_does_not_lead_to_its_id_is_left_alone() {
        let wish = names(&["siderolabs/zfs"]);
        for raw in ["", "customization: {}\n", "nonsense: ["] {
            let machine = Reported { raw: raw.to_owned(), ..reported(RAW) };
            let wanted = wanted(&machine, Some(&wish), None);
            assert!(matches!(wanted, Wanted::Current(id, Some(_)) if id == machine.full_id), "{raw}");
        }
    }

    #[test]
    fn other_extensions_and_arguments_are_another_schematic() {
        let machine = reported(RAW);
        let (extensions, args) = (names(&["siderolabs/zfs"]), names(&["quiet"]));
        let Wanted::Other(other) = wanted(&machine, Some(&extensions), Some(&args)) else {
            panic!("another one is wanted")
        };
        assert_eq!(other.customization.official_extensions, ["siderolabs/zfs"]);
        assert_eq!(other.customization.extra_kernel_args, ["siderolink.api=grpc://m", "quiet"]);
        let shown = rows(Some(&machine), &Wanted::Other(other));
        assert!(shown.iter().all(|row| row.phase == ExtensionPhase::Installing) && shown.len() == 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_schematic_is_told_to_the_factory_before_it_is_wanted() {
        let shop = Shop::default();
        shop.0.lock().0 = true;
        let mut registry = corten_fleet_resources::registry();
        types(&mut registry);
        let runtime = TestRuntime::new(registry, |runtime| {
            runtime.register_items(SchematicConfigurationController::new(shop.clone()));
        });
        let machine = reported(RAW);
        let talos_version = "v1.14.0".to_owned();
        let status =
            MachineStatus { talos_version, schematic: Some(machine.clone()), ..MachineStatus::default() };
        runtime.put(resource("m1", status));
        runtime.quiet().await;
        let found = || runtime.state().get::<SchematicConfiguration>("m1").expect("a configuration").spec;
        assert_eq!(found().schematic_id, machine.full_id);
        assert_eq!(found().talos_version, "1.14.0");
        runtime.put(resource("m1", MachineExtensions { extensions: names(&["siderolabs/zfs"]) }));
        runtime.quiet().await;
        assert_eq!(found().schematic_id, machine.full_id, "nobody can make the other one");
        shop.0.lock().0 = false;
        runtime.advance(std::time::Duration::from_secs(60)).await;
        assert_eq!(shop.0.lock().1, [found().schematic_id]);
        assert_ne!(found().schematic_id, machine.full_id);
    }
}
