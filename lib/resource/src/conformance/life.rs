//! Creation, teardown, finalizers, destruction.

use super::{pointer, text, thing};
use crate::metadata::Phase;
use crate::store::{ErrorKind, StateError, Store};

pub async fn run(store: &dyn Store) {
    creates_once(store).await;
    belongs_to_its_owner(store).await;
    waits_for_its_holders(store).await;
    teardown_and_destroy_waits(store).await;
}

fn kind<T: std::fmt::Debug>(result: Result<T, StateError>) -> ErrorKind {
    result.expect_err("a refusal").kind()
}

async fn creates_once(store: &dyn Store) {
    let at = pointer("a");
    assert_eq!(kind(store.get(&at).await), ErrorKind::NotFound);
    let created = store.create(thing("a", "one"), "").await.expect("created");
    let metadata = created.metadata();
    assert_eq!((metadata.version, metadata.phase), (1, Phase::Running));
    assert_eq!(metadata.created, metadata.updated);
    assert_eq!(kind(store.create(thing("a", "two"), "").await), ErrorKind::AlreadyExists);
    let read = store.get(&at).await.expect("there");
    assert_eq!((text(&read), read.metadata()), ("one", metadata));
    store.destroy(&at, "").await.expect("destroyed");
    assert_eq!(kind(store.get(&at).await), ErrorKind::NotFound);
    assert_eq!(kind(store.destroy(&at, "").await), ErrorKind::NotFound);
    assert_eq!(kind(store.teardown(&at, "").await), ErrorKind::NotFound);
}

async fn belongs_to_its_owner(store: &dyn Store) {
    let at = pointer("a");
    let created = store.create(thing("a", "one"), "owner").await.expect("created");
    assert_eq!(created.metadata().owner, "owner");
    assert_eq!(kind(store.destroy(&at, "").await), ErrorKind::PermissionDenied);
    assert_eq!(kind(store.teardown(&at, "other").await), ErrorKind::PermissionDenied);
    store.destroy(&at, "owner").await.expect("destroyed by its owner");
}

async fn waits_for_its_holders(store: &dyn Store) {
    let at = pointer("a");
    store.create(thing("a", "one"), "owner").await.expect("created");
    store.add_finalizer(&at, "holder").await.expect("anybody may hold");
    store.add_finalizer(&at, "holder").await.expect("twice is once");
    assert_eq!(store.teardown(&at, "owner").await, Ok(false), "it is held");
    let torn = store.get(&at).await.expect("there");
    assert_eq!((torn.metadata().phase, torn.metadata().version), (Phase::TearingDown, 3));
    assert_eq!(kind(store.destroy(&at, "owner").await), ErrorKind::FailedPrecondition);
    assert_eq!(kind(store.add_finalizer(&at, "late").await), ErrorKind::InvalidArgument);
    store.remove_finalizer(&at, "holder").await.expect("let go");
    assert_eq!(store.teardown(&at, "owner").await, Ok(true), "nobody holds it");
    store.destroy(&at, "owner").await.expect("destroyed");
    store.remove_finalizer(&at, "holder").await.expect("nothing to let go of");
}

async fn teardown_and_destroy_waits(store: &dyn Store) {
    let at = pointer("a");
    store.create(thing("a", "one"), "").await.expect("created");
    store.add_finalizer(&at, "holder").await.expect("held");
    let release = async {
        loop {
            let now = store.get(&at).await.expect("there");
            if now.metadata().is_tearing_down() {
                return store.remove_finalizer(&at, "holder").await.expect("let go");
            }
            tokio::task::yield_now().await;
        }
    };
    let (gone, ()) = futures::join!(store.teardown_and_destroy(&at, ""), release);
    gone.expect("destroyed");
    assert_eq!(kind(store.get(&at).await), ErrorKind::NotFound);
}
