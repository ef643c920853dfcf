//! Updates and lists.

use super::{everything, pointer, text, thing};
use crate::metadata::Phase;
use crate::query::{LabelOp, LabelTerm, Query};
use crate::resource::AnyResource;
use crate::store::{ErrorKind, Store, UpdateOptions};

pub async fn run(store: &dyn Store) {
    updates_what_was_seen(store).await;
    expects_a_phase(store).await;
    lists_by_id_and_label(store).await;
}

/// `resource` based on the version that it has in the store.
async fn based_on(store: &dyn Store, resource: AnyResource) -> AnyResource {
    let current = store.get(&resource.pointer()).await.expect("there");
    resource.edit(|metadata| {
        metadata.version = current.metadata().version;
        metadata.finalizers.clone_from(&current.metadata().finalizers);
    })
}

async fn updates_what_was_seen(store: &dyn Store) {
    let options = UpdateOptions::running("owner");
    let missing = store.update(thing("a", "x"), &options).await.expect_err("nothing to update");
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let created = store.create(thing("a", "one"), "owner").await.expect("created");
    let next = based_on(store, thing("a", "two")).await;
    let updated = store.update(next.clone(), &options).await.expect("updated");
    assert_eq!((text(&updated), updated.metadata().version), ("two", 2));
    assert_eq!(updated.metadata().created, created.metadata().created);
    assert_eq!(updated.metadata().owner, "owner");
    let stale = store.update(next, &options).await.expect_err("it has changed");
    assert_eq!(stale.kind(), ErrorKind::FailedPrecondition);
    let next = based_on(store, thing("a", "three")).await;
    let foreign = store.update(next, &UpdateOptions::running("other")).await.expect_err("not theirs");
    assert_eq!(foreign.kind(), ErrorKind::PermissionDenied);
    store.destroy(&pointer("a"), "owner").await.expect("destroyed");
}

async fn expects_a_phase(store: &dyn Store) {
    let at = pointer("a");
    store.create(thing("a", "one"), "").await.expect("created");
    assert_eq!(store.teardown(&at, "").await, Ok(true));
    let next = based_on(store, thing("a", "two")).await.edit(|metadata| metadata.phase = Phase::TearingDown);
    let refused = store.update(next.clone(), &UpdateOptions::running("")).await.expect_err("in teardown");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    store.update(next, &UpdateOptions::any_phase("")).await.expect("any phase will do");
    store.destroy(&at, "").await.expect("destroyed");
}

async fn lists_by_id_and_label(store: &dyn Store) {
    for (id, color) in [("c", "red"), ("a", "red"), ("b", "blue")] {
        let labeled = thing(id, id).edit(|metadata| {
            metadata.labels.insert("color".to_owned(), color.to_owned());
            metadata.annotations.insert("note".to_owned(), id.to_owned());
        });
        store.create(labeled, "").await.expect("created");
    }
    let ids = async |query: Query| {
        let found = store.list(&everything(), &query).await.expect("a list");
        found.iter().map(|resource| resource.id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(Query::default()).await, ["a", "b", "c"]);
    assert_eq!(ids(Query::labels(vec![LabelTerm::equal("color", "red")])).await, ["a", "c"]);
    let not_red = LabelTerm { op: LabelOp::Equal, invert: true, ..LabelTerm::equal("color", "red") };
    assert_eq!(ids(Query::labels(vec![not_red.clone()])).await, ["b"]);
    let either = Query::any_of(vec![vec![not_red], vec![LabelTerm::exists("color")]]);
    assert_eq!(ids(either).await, ["a", "b", "c"]);
    assert_eq!(ids(Query::default().with_id("^[bc]$").expect("a pattern")).await, ["b", "c"]);
    let one = store.get(&pointer("b")).await.expect("there");
    assert_eq!(one.metadata().annotations.get("note").map(String::as_str), Some("b"));
    for id in ["a", "b", "c"] {
        store.destroy(&pointer(id), "").await.expect("destroyed");
    }
}
