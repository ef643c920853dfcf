//! Writing what must be on the disk before the next step.
//!
//! ```text
//! wanted ─▶ newest state ─▶ create | update | nothing ─▶ kept by the store
//! ```

use corten_resource::{Resource, Spec, State, StateError, Store as _, UpdateOptions};

/// Writes a resource in the namespace of its type and returns when the store has kept it. What is there already is not
/// written again; its labels and annotations stay.
///
/// # Errors
/// When it has another owner, or the store refuses.
pub async fn keep<S: Spec>(state: &State, owner: &str, id: &str, spec: S) -> Result<(), StateError> {
    let store = state.store();
    let mut wanted = Resource::new(id, spec);
    match store.newest(&wanted.metadata.pointer()).await {
        Err(StateError::NotFound(_)) => store.create(wanted.into(), owner).await.map(drop),
        Err(error) => Err(error),
        Ok(stored) if stored.spec::<S>() == Some(&wanted.spec) => Ok(()),
        Ok(stored) => {
            wanted.metadata = stored.metadata().clone();
            store.update(wanted.into(), &UpdateOptions::running(owner)).await.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::upgrade::KubernetesVersion;
    use corten_resource::testing;

    use super::*;

    fn version(text: &str) -> KubernetesVersion {
        KubernetesVersion { version: text.to_owned() }
    }

    #[tokio::test]
    async fn what_is_there_is_written_only_when_it_changes_and_only_by_its_owner() {
        let state = testing::state(corten_fleet_resources::registry());
        for (text, written) in [("a", 1), ("a", 1), ("b", 2)] {
            keep(&state, "me", "id", version(text)).await.expect("kept");
            let stored = state.get::<KubernetesVersion>("id").expect("there");
            assert_eq!((stored.version.as_str(), stored.metadata.version), (text, written));
        }
        let error = keep(&state, "another", "id", version("c")).await.expect_err("refused");
        assert!(matches!(error, StateError::Owner { .. }), "{error}");
    }
}
