//! Carries out changes of resources, and tells each.
//!
//! ```text
//! Plan of a template ─┐
//! one resource ───────┴─▶ told ─▶ (unless only to be told) ─▶ create | update | teardown, wait, destroy
//! ```
//!
//! What happens is told on standard error; differences are data and go to standard output.

use clap::Args;
use corten_fleet_template::diff::unified;
use corten_fleet_template::{Plan, Update};
use corten_resource::{AnyResource, Metadata, Pointer, Spec, StateError, Store as _, UpdateOptions};

use super::answer::found;
use super::connect::Manager;
use crate::context::Cx;
use crate::failure::{Cause, Failure, OrFail as _};

/// How often a change is tried when others change the same resource.
const ATTEMPTS_MAX: u32 = 5;

/// Whether changes are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Real,
    /// They are only told.
    DryRun,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Which resources.
    Names,
    /// Every line that changes.
    Differences,
}

// What commands that change resources tell. A documentation comment would become the command's help.
#[derive(Args, Clone, Copy, Debug)]
pub struct Telling {
    /// Tell every line that changes.
    #[arg(short, long)]
    verbose: bool,
    /// Only tell what would change.
    #[arg(short, long)]
    dry_run: bool,
}

impl Telling {
    /// Changes that are told so.
    pub fn changes<'a>(self, cx: &'a Cx, manager: &'a Manager) -> Changes<'a> {
        let mode = if self.dry_run { Mode::DryRun } else { Mode::Real };
        let detail = if self.verbose { Detail::Differences } else { Detail::Names };
        Changes::new(cx, manager, mode, detail)
    }
}

/// What becomes of a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is new.
    Create(AnyResource),
    /// It changes.
    Update(Update),
    /// It is as wanted.
    Same(Pointer),
}

/// What must happen so that a resource is as a person wants it: labels, annotations and specification. All else stays.
pub fn change(old: Option<AnyResource>, wanted: AnyResource) -> Change {
    let Some(old) = old else { return Change::Create(wanted) };
    let before = old.metadata().clone();
    let new = wanted.edit(|metadata| {
        let (labels, annotations) = (metadata.labels.clone(), metadata.annotations.clone());
        *metadata = Metadata { labels, annotations, ..before };
    });
    if new == old { Change::Same(old.pointer()) } else { Change::Update(Update { old, new }) }
}

/// Makes changes at a manager.
pub struct Changes<'a> {
    cx: &'a Cx,
    manager: &'a Manager,
    mode: Mode,
    detail: Detail,
}

impl<'a> Changes<'a> {
    /// Changes at this manager; those that are only told are told in full.
    pub fn new(cx: &'a Cx, manager: &'a Manager, mode: Mode, detail: Detail) -> Self {
        let detail = if mode == Mode::DryRun { Detail::Differences } else { detail };
        Self { cx, manager, mode, detail }
    }

    /// Whether they are made.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whose resources change.
    pub fn manager(&self) -> &'a Manager {
        self.manager
    }

    /// Makes a resource as a person wants it.
    pub async fn apply(&self, wanted: AnyResource) -> Result<(), Failure> {
        let pointer = wanted.pointer();
        let object = format!("cannot apply {pointer}");
        let old = found(self.manager.store().get(&pointer).await).or_fail(&object)?;
        match change(old, wanted) {
            Change::Create(resource) => self.create(resource).await,
            Change::Update(update) => self.update(update).await,
            Change::Same(pointer) => {
                self.cx.say(format!("{pointer} is as wanted"));
                Ok(())
            }
        }
    }

    /// Does what a plan says, in its order.
    pub async fn carry_out(&self, plan: Plan) -> Result<(), Failure> {
        if plan.is_empty() {
            self.cx.say("nothing has to be changed");
        }
        for resource in plan.creates {
            self.create(resource).await?;
        }
        for update in plan.updates {
            self.update(update).await?;
        }
        for phase in plan.deletes {
            let pointers: Vec<Pointer> = phase.iter().map(AnyResource::pointer).collect();
            for resource in &phase {
                self.tell("deleting", Some(resource), None)?;
            }
            self.delete(&pointers).await?;
        }
        Ok(())
    }

    /// Creates a resource.
    pub async fn create(&self, resource: AnyResource) -> Result<(), Failure> {
        self.tell("creating", None, Some(&resource))?;
        if self.mode == Mode::DryRun {
            return Ok(());
        }
        let object = format!("cannot create {}", resource.pointer());
        self.manager.store().create(resource, "").await.map(drop).or_fail(object)
    }

    /// Changes a resource.
    pub async fn update(&self, update: Update) -> Result<(), Failure> {
        let Update { old, new } = update;
        self.tell("updating", Some(&old), Some(&new))?;
        if self.mode == Mode::DryRun {
            return Ok(());
        }
        let object = format!("cannot update {}", new.pointer());
        let options = UpdateOptions::running("");
        self.manager.store().update(new, &options).await.map(drop).or_fail(object)
    }

    /// Deletes resources at the same time, and waits until they are gone.
    pub async fn delete(&self, pointers: &[Pointer]) -> Result<(), Failure> {
        if self.mode == Mode::DryRun {
            return Ok(());
        }
        for pointer in pointers {
            let torn = found(self.manager.store().teardown(pointer, "").await);
            torn.or_fail(format!("cannot delete {pointer}"))?;
        }
        for pointer in pointers {
            let gone = gone(self.manager.store().teardown_and_destroy(pointer, "").await);
            gone.or_fail(format!("cannot delete {pointer}"))?;
            self.cx.say(format!("deleted {pointer}"));
        }
        Ok(())
    }

    /// Tells what happens to a resource, or would.
    pub fn announce(&self, what: &str, pointer: &Pointer) {
        let would = if self.mode == Mode::DryRun { " (only told)" } else { "" };
        self.cx.say(format!("{what} {pointer}{would}"));
    }

    fn tell(&self, what: &str, old: Option<&AnyResource>, new: Option<&AnyResource>) -> Result<(), Failure> {
        if let Some(resource) = new.or(old) {
            self.announce(what, &resource.pointer());
        }
        match self.detail {
            Detail::Names => Ok(()),
            Detail::Differences => self.cx.print(unified(old, new)),
        }
    }
}

/// What is gone already was deleted by somebody else.
fn gone(result: Result<(), StateError>) -> Result<(), Cause> {
    found(result).map(|_| ()).map_err(Cause::from)
}

/// The resource of a type in the namespace of the type.
pub fn pointer<S: Spec>(id: &str) -> Pointer {
    Pointer::new(S::DEFINITION.namespace, S::DEFINITION.kind, id)
}

/// Changes the metadata of a resource, again when somebody else was faster.
pub async fn modify(
    manager: &Manager,
    pointer: &Pointer,
    change: impl Fn(&mut Metadata),
) -> Result<(), StateError> {
    rewrite(manager, pointer, |current| Some(current.edit(&change))).await
}

/// Changes the specification of a resource, again when somebody else was faster.
pub async fn modify_spec<S: Spec>(
    manager: &Manager,
    id: &str,
    change: impl Fn(&mut S),
) -> Result<(), StateError> {
    let with_change = |current: AnyResource| {
        let mut resource = current.resource::<S>()?.clone();
        change(&mut resource.spec);
        Some(AnyResource::from(resource))
    };
    rewrite(manager, &pointer::<S>(id), with_change).await
}

/// Puts a changed resource in the place of the current one; nothing stands for one that is not of its type.
async fn rewrite(
    manager: &Manager,
    pointer: &Pointer,
    change: impl Fn(AnyResource) -> Option<AnyResource>,
) -> Result<(), StateError> {
    let options = UpdateOptions::running("");
    for attempt in 1.. {
        let current = manager.store().get(pointer).await?;
        let unreadable = || StateError::Invalid(format!("{pointer} cannot be read"));
        let changed = change(current.clone()).ok_or_else(unreadable)?;
        if changed == current {
            return Ok(());
        }
        match manager.store().update(changed, &options).await {
            Err(StateError::Version { .. }) if attempt < ATTEMPTS_MAX => {}
            other => return other.map(drop),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::Cluster;

    use super::*;

    fn cluster(talos: &str) -> AnyResource {
        let spec = Cluster { talos_version: talos.to_owned(), ..Cluster::default() };
        AnyResource::new("default", "prod", spec)
    }

    fn stored(talos: &str) -> AnyResource {
        cluster(talos).edit(|metadata| {
            metadata.version = 7;
            metadata.finalizers = vec!["ClusterController".to_owned()];
        })
    }

    #[test]
    fn what_is_new_is_created_and_what_differs_is_updated() {
        assert_eq!(change(None, cluster("1.11.5")), Change::Create(cluster("1.11.5")));
        let Change::Update(update) = change(Some(stored("1.11.4")), cluster("1.11.5")) else {
            panic!("it differs");
        };
        assert_eq!(update.old, stored("1.11.4"));
        assert_eq!(update.new, stored("1.11.5"), "what only the manager writes stays");
    }

    #[test]
    fn labels_count_and_versions_do_not() {
        let pointer = cluster("").pointer();
        assert_eq!(change(Some(stored("1.11.5")), cluster("1.11.5")), Change::Same(pointer));
        let labeled = cluster("1.11.5").edit(|metadata| {
            metadata.labels.insert("tier".to_owned(), "gold".to_owned());
        });
        assert!(matches!(change(Some(stored("1.11.5")), labeled), Change::Update(_)));
    }
}
