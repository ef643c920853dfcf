//! What a resource that somebody writes must be, beyond its type (fleet.md 3.1).
//!
//! ```text
//! stored, new ─▶ Checks: rules of the type ─▶ pure functions over a View of the store ─▶ Ok | the reason
//! ```
//!
//! The rules see the store as it is kept now. What changes between a check and the write is for the controllers, which
//! must bear such states anyway.

mod access_policy;
mod cluster;
mod config_patch;
mod extensions;
mod join_token;
mod kernel_args;
mod machine_class;
mod machine_set;
mod machine_set_node;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use corten_fleet_resources::auth::AccessPolicy;
use corten_fleet_resources::cluster::{Cluster, MachineClass, MachineSet, MachineSetNode};
use corten_fleet_resources::config::ConfigPatch;
use corten_fleet_resources::link::JoinToken;
use corten_fleet_resources::machine::{ExtensionsConfiguration, KernelArgs};
use corten_resource::{AnyResource, Metadata, Resource, Spec, State};

pub use config_patch::check_text as check_patch_text;
pub use join_token::check_name as check_join_token_name;

/// Rules of one type.
pub trait Validate: Send + Sync {
    /// Whether `new` may be written, over `stored` if there is one.
    ///
    /// # Errors
    /// The reason, as the one who writes reads it.
    fn check(&self, stored: Option<&AnyResource>, new: &AnyResource) -> Result<(), String>;

    /// Whether `stored` may be torn down and destroyed.
    ///
    /// # Errors
    /// The reason, as the one who removes it reads it.
    fn check_destroy(&self, stored: &AnyResource) -> Result<(), String> {
        let _ = stored;
        Ok(())
    }
}

/// The rules of all types.
#[derive(Clone, Default)]
pub struct Checks(BTreeMap<&'static str, Vec<Arc<dyn Validate>>>);

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Checks {
    /// The rules that hold in every manager.
    #[must_use]
    pub fn standard(view: &View) -> Self {
        Self::default()
            .with_rule::<AccessPolicy>(view, access_policy::check, |_, _| Ok(()))
            .with_rule::<Cluster>(view, cluster::check, cluster::check_destroy)
            .with_rule::<ConfigPatch>(view, config_patch::check, config_patch::check_destroy)
            .with_rule::<ExtensionsConfiguration>(view, extensions::check, |_, _| Ok(()))
            .with_rule::<JoinToken>(view, join_token::check, join_token::check_destroy)
            .with_rule::<KernelArgs>(view, kernel_args::check, |_, _| Ok(()))
            .with_rule::<MachineClass>(view, machine_class::check, machine_class::check_destroy)
            .with_rule::<MachineSet>(view, machine_set::check, machine_set::check_destroy)
            .with_rule::<MachineSetNode>(view, machine_set_node::check, machine_set_node::check_destroy)
    }

    /// The same with further rules of a type.
    #[must_use]
    pub fn with(mut self, kind: &'static str, rules: Arc<dyn Validate>) -> Self {
        self.0.entry(kind).or_default().push(rules);
        self
    }

    /// Whether `new` may be written, over `stored` if there is one.
    ///
    /// # Errors
    /// The first reason.
    pub fn check(&self, stored: Option<&AnyResource>, new: &AnyResource) -> Result<(), String> {
        let mut rules = self.of(&new.metadata().kind);
        rules.try_for_each(|rules| rules.check(stored, new))
    }

    /// Whether `stored` may be torn down and destroyed.
    ///
    /// # Errors
    /// The first reason.
    pub fn check_destroy(&self, stored: &AnyResource) -> Result<(), String> {
        self.of(&stored.metadata().kind).try_for_each(|rules| rules.check_destroy(stored))
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &Arc<dyn Validate>> {
        self.0.get(kind).into_iter().flatten()
    }

    fn with_rule<S: Spec>(self, view: &View, check: Check<S>, destroy: CheckDestroy<S>) -> Self {
        let rule = Rule { view: view.clone(), check, destroy };
        self.with(S::DEFINITION.kind, Arc::new(rule))
    }
}

type Check<S> = fn(&View, Option<&Resource<S>>, &Resource<S>) -> Result<(), String>;
type CheckDestroy<S> = fn(&View, &Resource<S>) -> Result<(), String>;

/// Rules of a type as two functions.
struct Rule<S> {
    view: View,
    check: Check<S>,
    destroy: CheckDestroy<S>,
}

impl<S: Spec> Validate for Rule<S> {
    fn check(&self, stored: Option<&AnyResource>, new: &AnyResource) -> Result<(), String> {
        let new = new.resource::<S>().ok_or_else(|| "its specification is missing".to_owned())?;
        (self.check)(&self.view, stored.and_then(AnyResource::resource), new)
    }

    fn check_destroy(&self, stored: &AnyResource) -> Result<(), String> {
        match stored.resource::<S>() {
            Some(stored) => (self.destroy)(&self.view, stored),
            None => Ok(()),
        }
    }
}

/// What the configuration of the manager says to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Shortest time between two backups of a cluster.
    pub backup_interval_min: Duration,
    /// Longest time between two backups of a cluster.
    pub backup_interval_max: Duration,
    /// The manager has a discovery service.
    pub has_discovery: bool,
}

impl Default for Limits {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self { backup_interval_min: HOUR, backup_interval_max: HOUR.saturating_mul(24), has_discovery: true }
    }
}

/// The store as rules see it: to read.
#[derive(Clone, Debug)]
pub struct View {
    state: State,
    limits: Limits,
}

impl View {
    /// A view of a store.
    #[must_use]
    pub const fn new(state: State, limits: Limits) -> Self {
        Self { state, limits }
    }

    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A resource in any phase.
    pub(crate) fn get<S: Spec>(&self, id: &str) -> Option<Resource<S>> {
        self.state.get(id)
    }

    /// All resources of a type that have a label with this value.
    pub(crate) fn labelled<S: Spec>(&self, label: &str, value: &str) -> Vec<AnyResource> {
        let mut all = self.all::<S>();
        all.retain(|resource| resource.metadata().labels.get(label).is_some_and(|it| it == value));
        all
    }

    /// All resources of a type.
    pub(crate) fn all<S: Spec>(&self) -> Vec<AnyResource> {
        self.state.list_any(S::DEFINITION.namespace, S::DEFINITION.kind)
    }
}

/// The value of a label; empty without it.
fn label<'a>(metadata: &'a Metadata, key: &str) -> &'a str {
    metadata.labels.get(key).map(String::as_str).unwrap_or_default()
}

/// Whether labels keep the values that they have; tells the first that does not.
fn keep_labels(stored: &Metadata, new: &Metadata, keys: &[&str]) -> Result<(), String> {
    match keys.iter().find(|key| stored.labels.get(**key) != new.labels.get(**key)) {
        Some(key) => Err(format!("the label {key} cannot be changed; create another resource")),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! One helper for all rows of rules.

    use corten_resource::{AnyResource, Resource, Spec};

    use super::Checks;
    use crate::testing::Fleet;

    /// Writes over what is stored, or anew, and compares the refusal; an empty one means none.
    #[track_caller]
    pub(crate) fn check<S: Spec>(fleet: &Fleet, new: Resource<S>, refusal: &str) {
        let checks = Checks::standard(&fleet.view());
        let new: AnyResource = new.into();
        let stored = fleet.state.get_any(&new.pointer());
        compare(checks.check(stored.as_ref(), &new), refusal);
    }

    /// Removes what is stored, and compares the refusal.
    #[track_caller]
    pub(crate) fn check_destroy<S: Spec>(fleet: &Fleet, id: &str, refusal: &str) {
        let checks = Checks::standard(&fleet.view());
        let stored: AnyResource = fleet.state.get::<S>(id).expect("stored").into();
        compare(checks.check_destroy(&stored), refusal);
    }

    #[track_caller]
    fn compare(outcome: Result<(), String>, refusal: &str) {
        let found = outcome.err().unwrap_or_default();
        let fits = if refusal.is_empty() { found.is_empty() } else { found.contains(refusal) };
        assert!(fits, "expected {refusal:?}, found {found:?}");
    }
}
