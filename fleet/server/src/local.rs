//! Resources for programs on the manager's own host, without log-in: to read, and nothing that is secret.
//!
//! ```text
//! 127.0.0.1 ─▶ cosi.resource.State ─▶ row of the type: may a Reader read it, and is it not sensitive? ─▶ State
//! ```
//!
//! Whoever may start a program on the host sees what is here, so that it is less than what Readers see who log in.

use std::sync::Arc;

use corten_fleet_resources::access::{Role, rule};
use corten_resource::{
    Answer, AnyResource, Pointer, Query, Start, State, StateError, Store, UpdateOptions, Watch, WatchOptions,
};
use tonic::Extensions;
use tonic::service::Routes;

/// The store as programs on the host may use it.
#[derive(Clone, Debug)]
struct Local(State);

/// The service over a store.
pub fn routes(state: &State) -> Routes {
    let local = Local(state.clone());
    let open = move |_: &Extensions| -> Arc<dyn Store> { Arc::new(local.clone()) };
    Routes::new(corten_cosi::service(state.registry().clone(), open)).prepare()
}

impl Local {
    /// Whether the type may be read, in this namespace.
    fn check(&self, at: &Pointer) -> Result<(), StateError> {
        let definition = self.0.registry().definition(&at.kind);
        let is_open = definition.is_some_and(|it| it.namespace == at.namespace && !it.sensitive);
        let is_readable = rule(&at.kind).is_some_and(|rule| rule.read.admits(Some(Role::Reader)));
        if is_open && is_readable {
            return Ok(());
        }
        let text = format!("{} in namespace {:?} is not for callers without log-in", at.kind, at.namespace);
        Err(StateError::Denied(text))
    }

    fn refuse<T: Send + 'static>(&self, at: &Pointer) -> Answer<'_, T> {
        let text = format!("{at} cannot be changed without log-in; use the API of the manager");
        Box::pin(std::future::ready(Err(StateError::Denied(text))))
    }
}

impl Store for Local {
    fn get<'a>(&'a self, pointer: &'a Pointer) -> Answer<'a, AnyResource> {
        Box::pin(async move {
            self.check(pointer)?;
            self.0.store().get(pointer).await
        })
    }
    fn list<'a>(&'a self, kind: &'a Pointer, query: &'a Query) -> Answer<'a, Vec<AnyResource>> {
        Box::pin(async move {
            self.check(kind)?;
            self.0.store().list(kind, query).await
        })
    }
    fn create<'a>(&'a self, resource: AnyResource, _: &'a str) -> Answer<'a, AnyResource> {
        self.refuse(&resource.pointer())
    }
    fn update<'a>(&'a self, resource: AnyResource, _: &'a UpdateOptions) -> Answer<'a, AnyResource> {
        self.refuse(&resource.pointer())
    }
    fn destroy<'a>(&'a self, pointer: &'a Pointer, _: &'a str) -> Answer<'a, ()> {
        self.refuse(pointer)
    }
    fn teardown<'a>(&'a self, pointer: &'a Pointer, _: &'a str) -> Answer<'a, bool> {
        self.refuse(pointer)
    }
    fn teardown_and_destroy<'a>(&'a self, pointer: &'a Pointer, _: &'a str) -> Answer<'a, ()> {
        self.refuse(pointer)
    }
    fn watch<'a>(&'a self, pointer: &'a Pointer, start: Start) -> Answer<'a, Watch> {
        Box::pin(async move {
            self.check(pointer)?;
            self.0.store().watch(pointer, start).await
        })
    }
    fn watch_all<'a>(&'a self, kind: &'a Pointer, options: WatchOptions) -> Answer<'a, Watch> {
        Box::pin(async move {
            self.check(kind)?;
            self.0.store().watch_all(kind, options).await
        })
    }
}

#[cfg(test)]
mod tests {
    use corten_fleet_resources::cluster::Cluster;
    use corten_fleet_resources::link::SiderolinkConfig;
    use corten_fleet_resources::secrets::ClusterSecrets;
    use corten_resource::{Resource, Spec, testing};

    use super::*;

    fn local() -> Local {
        Local(testing::state(corten_fleet_resources::registry()))
    }

    async fn get<S: Spec>(local: &Local, id: &str) -> Result<AnyResource, StateError> {
        local.0.put("", id, S::default()).expect("put");
        local.get(&Pointer::new(S::DEFINITION.namespace, S::DEFINITION.kind, id)).await
    }

    #[tokio::test]
    async fn what_readers_see_is_read_and_secrets_are_not() {
        let local = local();
        assert!(get::<Cluster>(&local, "prod").await.is_ok());
        for denied in [
            get::<ClusterSecrets>(&local, "prod").await,
            get::<SiderolinkConfig>(&local, SiderolinkConfig::ID).await,
            get::<corten_fleet_resources::link::JoinToken>(&local, "token").await,
            get::<corten_fleet_resources::auth::User>(&local, "user").await,
        ] {
            assert!(matches!(denied, Err(StateError::Denied(_))), "{denied:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_changed_by_anybody_who_did_not_log_in() {
        let local = local();
        let new = AnyResource::from(Resource::new("prod", Cluster::default()));
        let denied = local.create(new.clone(), "").await;
        assert!(matches!(denied, Err(StateError::Denied(_))), "{denied:?}");
        get::<Cluster>(&local, "prod").await.expect("there");
        let denied = local.teardown_and_destroy(&new.pointer(), "").await;
        assert!(matches!(denied, Err(StateError::Denied(_))), "{denied:?}");
    }
}
