//! What a controller decided: outputs, operations, and why it waits.

use std::marker::PhantomData;
use std::time::Duration;

use super::declare::{Declared, Reads, Writes};
use super::reasons::Reasons;
use crate::metadata::{Metadata, Pointer};
use crate::resource::{AnyResource, Resource, Spec};

/// No operation: of a controller without effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

/// How a plan ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as it should be, or will be after the operations.
    #[default]
    Done,
    /// Something is missing that somebody else provides.
    Waiting(String),
    /// Something is wrong; it is tried again after a while.
    Failed(String),
}

/// A plan without its types, as the runtime carries it out.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub puts: Vec<AnyResource>,
    pub kept: Vec<&'static str>,
    pub holds: Vec<Pointer>,
    pub releases: Vec<Pointer>,
    pub missing: Reasons,
    pub problems: Reasons,
    /// Whether what is missing is the end of work for inputs in teardown, which are held until then.
    pub is_unfinished: bool,
    pub again_in: Option<Duration>,
}

impl Changes {
    /// A problem weighs more than what is missing.
    pub fn outcome(&self) -> Outcome {
        if !self.problems.is_empty() {
            Outcome::Failed(self.problems.to_string())
        } else if !self.missing.is_empty() {
            Outcome::Waiting(self.missing.to_string())
        } else {
            Outcome::Done
        }
    }
}

/// What controller `C` wants: outputs that exist afterwards, operations on the world, and its outcome.
///
/// Outputs that the controller owns and does not put again are removed by the runtime.
#[must_use]
pub struct Plan<C, Op = Never> {
    changes: Changes,
    ops: Vec<Op>,
    controller: PhantomData<fn() -> C>,
}

impl<C, Op: std::fmt::Debug> std::fmt::Debug for Plan<C, Op> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("changes", &self.changes).field("ops", &self.ops).finish()
    }
}

impl<C: Declared, Op> Default for Plan<C, Op> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Declared, Op> Plan<C, Op> {
    /// Nothing to do and nothing to publish.
    pub fn new() -> Self {
        Self { changes: Changes::default(), ops: Vec::new(), controller: PhantomData }
    }

    /// Wants an output in the declared namespace of its type. What is put first under an id stays; something else
    /// under the same id is left out and logged.
    pub fn put<R: Spec>(&mut self, id: impl Into<String>, spec: R) -> &mut Self
    where
        C: Writes<R>,
    {
        self.put_in(<C as Writes<R>>::NAMESPACE, id, spec)
    }

    /// Wants an output in one of the declared namespaces.
    pub fn put_in<R: Spec>(&mut self, namespace: &str, id: impl Into<String>, spec: R) -> &mut Self
    where
        C: Writes<R>,
    {
        self.changes.puts.push(AnyResource::new(namespace, id, spec));
        self
    }

    /// Wants an output with labels or annotations.
    pub fn put_with<R: Spec>(
        &mut self,
        id: impl Into<String>,
        spec: R,
        tag: impl FnOnce(&mut Metadata),
    ) -> &mut Self
    where
        C: Writes<R>,
    {
        let resource = AnyResource::new(<C as Writes<R>>::NAMESPACE, id, spec);
        self.changes.puts.push(resource.edit(tag));
        self
    }

    /// Leaves all existing outputs of a type as they are.
    pub fn keep<R: Spec>(&mut self) -> &mut Self
    where
        C: Writes<R>,
    {
        self.changes.kept.push(R::DEFINITION.kind);
        self
    }

    /// Wants an operation on the world; they are applied in this order.
    pub fn op(&mut self, op: Op) -> &mut Self {
        self.ops.push(op);
        self
    }

    /// Holds an input, so that it is not destroyed before it is released.
    pub fn hold<R: Spec>(&mut self, id: impl Into<String>) -> &mut Self
    where
        C: Reads<R>,
    {
        self.changes.holds.push(Pointer::new(<C as Reads<R>>::NAMESPACE, R::DEFINITION.kind, id));
        self
    }

    /// Lets go of an input that it held.
    pub fn release<R: Spec>(&mut self, id: impl Into<String>) -> &mut Self
    where
        C: Reads<R>,
    {
        self.changes.releases.push(Pointer::new(<C as Reads<R>>::NAMESPACE, R::DEFINITION.kind, id));
        self
    }

    /// Something is missing that somebody else provides; everything that is missing is published as the reason of
    /// the wait.
    pub fn missing(&mut self, what: impl Into<String>) -> &mut Self {
        self.changes.missing.push(what.into());
        self
    }

    /// Work for inputs in teardown goes on when something happens that others do: as [`missing`](Self::missing), but no
    /// input is let go of and no output removed until then. For controllers over items.
    pub fn unfinished(&mut self, what: impl Into<String>) -> &mut Self {
        self.changes.is_unfinished = true;
        self.missing(what)
    }

    /// Something is wrong; everything that is wrong is published and the controller runs again after a while.
    pub fn problem(&mut self, why: impl Into<String>) -> &mut Self {
        self.changes.problems.push(why.into());
        self
    }

    /// Ends with something that is [missing](Self::missing).
    pub fn waiting(mut self, what: impl Into<String>) -> Self {
        self.missing(what);
        self
    }

    /// Ends with something that is [unfinished](Self::unfinished).
    pub fn holding(mut self, what: impl Into<String>) -> Self {
        self.unfinished(what);
        self
    }

    /// Ends with a [problem](Self::problem).
    pub fn failed(mut self, why: impl Into<String>) -> Self {
        self.problem(why);
        self
    }

    /// Runs again after this time even if nothing changes; the shortest wins.
    pub fn again_in(mut self, delay: Duration) -> Self {
        self.changes.again_in = Some(self.changes.again_in.map_or(delay, |other| other.min(delay)));
        self
    }

    /// The operations, for tests.
    #[must_use]
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// How it ends, for tests.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.changes.outcome()
    }

    /// The outputs of a type, for tests.
    #[must_use]
    pub fn outputs<R: Spec>(&self) -> Vec<&Resource<R>> {
        self.changes.puts.iter().filter_map(AnyResource::resource).collect()
    }

    /// The output with this id, for tests.
    #[must_use]
    pub fn output<R: Spec>(&self, id: &str) -> Option<&R> {
        self.outputs::<R>().into_iter().find(|resource| resource.id() == id).map(|resource| &resource.spec)
    }

    pub(super) fn into_parts(self) -> (Changes, Vec<Op>) {
        (self.changes, self.ops)
    }
}
