//! What every store must do, as a test that runs over any of them.
//!
//! Give [`run`] an empty store that knows the types of [`registry`] and lets the caller write. A store that passes
//! can take the place of any other: in memory, in a file, behind gRPC.

mod changes;
mod life;
mod watches;

use std::sync::Arc;

use crate::Resource;
use crate::metadata::Pointer;
use crate::registry::Registry;
use crate::resource::AnyResource;
use crate::store::Store;

/// Namespace of the suite's resources.
const NAMESPACE: &str = "conformance";

/// What the suite stores.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ConformanceThings.corten.dev", namespace = "conformance")]
pub struct ConformanceThing {
    /// Some text.
    #[field(1, "text")]
    pub text: String,
}

/// A registry with the suite's type and namespace.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.namespace(NAMESPACE, "Resources of the conformance suite.").register::<ConformanceThing>();
    registry
}

/// Runs the whole suite; the store is empty again afterwards.
///
/// # Panics
/// Where the store deviates.
pub async fn run(store: Arc<dyn Store>) {
    life::run(store.as_ref()).await;
    changes::run(store.as_ref()).await;
    watches::run(&store).await;
    let left = store.list(&everything(), &crate::Query::default()).await.expect("a list");
    assert!(left.is_empty(), "the suite left {left:?}");
}

fn thing(id: &str, text: &str) -> AnyResource {
    AnyResource::new(NAMESPACE, id, ConformanceThing { text: text.to_owned() })
}

fn text(resource: &AnyResource) -> &str {
    resource.spec::<ConformanceThing>().map_or("", |thing| &thing.text)
}

fn pointer(id: &str) -> Pointer {
    Pointer::new(NAMESPACE, "ConformanceThings.corten.dev", id)
}

fn everything() -> Pointer {
    pointer("")
}
