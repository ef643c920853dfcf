//! Helpers for tests of controllers: resources before, run until quiet on virtual time, resources after.

pub mod contract;
mod sample;

use std::time::Duration;

use corten_base::{Clock, Rng};

use crate::controller::{ControllerStatus, Edge, RunningRuntime, Runtime};
use crate::memory::StateOptions;
use crate::metadata::Pointer;
use crate::registry::Registry;
use crate::resource::{AnyResource, Resource, Spec};
use crate::state::State;

pub use sample::{FieldView, sample, walk};

/// A resource in the namespace of its type.
pub fn resource<S: Spec>(id: &str, spec: S) -> AnyResource {
    Resource::new(id, spec).into()
}

/// A resource in a namespace.
pub fn resource_in<S: Spec>(namespace: &str, id: &str, spec: S) -> AnyResource {
    AnyResource::new(namespace, id, spec)
}

/// Controllers on virtual time; use it in `#[tokio::test(start_paused = true)]`.
#[derive(Debug)]
pub struct TestRuntime {
    state: State,
    clock: Clock,
    runtime: RunningRuntime,
}

impl TestRuntime {
    /// Starts what `register` registers on a state with these types.
    ///
    /// # Panics
    /// When the controllers do not go together.
    pub fn new(registry: Registry, register: impl FnOnce(&mut Runtime)) -> Self {
        Self::with_state(state(registry), register)
    }

    /// Starts what `register` registers on a state that holds something already.
    ///
    /// # Panics
    /// When the controllers do not go together.
    pub fn with_state(state: State, register: impl FnOnce(&mut Runtime)) -> Self {
        let clock = state.store().clock().clone();
        let mut runtime = Runtime::with_rng(state.clone(), clock.clone(), Rng::seeded(1));
        register(&mut runtime);
        let runtime = runtime.start().expect("the controllers go together");
        Self { state, clock, runtime }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Puts a resource that nobody owns.
    ///
    /// # Panics
    /// When the state refuses it.
    pub fn put(&self, resource: AnyResource) {
        self.state.put_any("", resource).expect("the state takes what the test gives");
    }

    /// Runs until no controller has anything to do before some time comes.
    pub async fn quiet(&self) {
        self.runtime.quiet().await;
        tokio::task::yield_now().await;
        self.runtime.quiet().await;
    }

    /// Lets time pass and runs until quiet.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        tokio::time::sleep(by).await;
        self.quiet().await;
    }

    /// Status of a controller.
    #[must_use]
    pub fn status(&self, controller: &str) -> Option<ControllerStatus> {
        self.state.get::<ControllerStatus>(controller).map(|status| status.spec)
    }

    /// All outputs of the controllers as text, one block per resource.
    #[must_use]
    pub fn outputs(&self) -> String {
        let mut kinds: Vec<(&str, &str)> = Vec::new();
        for Edge { kind, namespace, resource_type, .. } in self.runtime.graph().edges() {
            if kind.is_output() && !kinds.contains(&(namespace, resource_type)) {
                kinds.push((namespace, resource_type));
            }
        }
        let all = kinds.iter().flat_map(|(namespace, kind)| self.state.list_any(namespace, kind));
        render(all.collect())
    }
}

/// A state on a clock that stands still and with repeatable randomness.
///
/// # Panics
/// When a registered type has an invalid name.
#[must_use]
pub fn state(registry: Registry) -> State {
    let options =
        StateOptions { clock: Clock::fixed(1_700_000_000), rng: Rng::seeded(1), ..StateOptions::default() };
    State::open(registry, options).expect("a state without journal opens nothing")
}

/// Runs the registered controllers on `before` until quiet and compares all their outputs with `after`.
///
/// Every type of the controllers is registered from `registry`. A failed controller fails the test.
///
/// # Panics
/// When the outputs differ, or a controller failed.
pub fn check(
    registry: Registry,
    register: impl FnOnce(&mut Runtime),
    before: &[AnyResource],
    after: &[AnyResource],
) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    tokio.expect("a runtime for the test").block_on(async {
        let state = state(registry);
        for resource in before {
            let owner = resource.metadata().owner.clone();
            state.put_any(&owner, resource.clone()).expect("the state takes what the test gives");
        }
        let runtime = TestRuntime::with_state(state, register);
        runtime.quiet().await;
        for status in runtime.state().list::<ControllerStatus>() {
            assert!(status.failures == 0, "{} failed: {}", status.id(), status.reason);
        }
        pretty_assert(&runtime.outputs(), &render(after.to_vec()));
    });
}

fn render(mut resources: Vec<AnyResource>) -> String {
    resources.sort_by_key(|resource| {
        let Pointer { namespace, kind, id } = resource.pointer();
        (kind, namespace, id)
    });
    resources
        .iter()
        .map(|resource| format!("{}\n{}", resource.pointer(), indented(&resource.to_yaml())))
        .collect()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn pretty_assert(actual: &str, expected: &str) {
    assert!(actual == expected, "outputs differ\n--- expected\n{expected}\n--- actual\n{actual}");
}
