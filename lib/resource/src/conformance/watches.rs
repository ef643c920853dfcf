//! Watches by id and by type.

use std::sync::Arc;

use super::{everything, pointer, text, thing};
use crate::query::{LabelTerm, Query};
use crate::store::{Bookmark, Change, ErrorKind, Event, Start, Store, UpdateOptions, Watch, WatchOptions};

pub async fn run(store: &Arc<dyn Store>) {
    watches_one(store.as_ref()).await;
    watches_all(store.as_ref()).await;
    filters_by_label(store.as_ref()).await;
    resumes(store.as_ref()).await;
    aggregates(store.as_ref()).await;
}

/// The next event in short: what, id, text.
async fn next(watch: &mut Watch) -> String {
    summary(&watch.next().await.expect("an event"))
}

fn summary(event: &Event) -> String {
    match &event.change {
        Change::Created(resource) => format!("+{} {}", resource.id(), text(resource)),
        Change::Updated { new, old } => format!("~{} {} -> {}", new.id(), text(old), text(new)),
        Change::Destroyed(resource) => format!("-{} {}", resource.id(), text(resource)),
        Change::Bootstrapped => "bootstrapped".to_owned(),
        Change::Errored(error) => format!("error {error}"),
        Change::Noop => "noop".to_owned(),
    }
}

async fn put(store: &dyn Store, id: &str, value: &str, color: &str) {
    let wanted = thing(id, value).edit(|metadata| {
        metadata.labels.insert("color".to_owned(), color.to_owned());
    });
    match store.get(&pointer(id)).await {
        Err(_) => store.create(wanted, "").await.map(drop).expect("created"),
        Ok(current) => {
            let wanted = wanted.edit(|metadata| metadata.version = current.metadata().version);
            store.update(wanted, &UpdateOptions::running("")).await.map(drop).expect("updated");
        }
    }
}

async fn watches_one(store: &dyn Store) {
    let at = pointer("a");
    let mut absent = store.watch(&at, Start::Contents).await.expect("a watch");
    assert_eq!(next(&mut absent).await, "-a ", "a tombstone stands for what does not exist");
    put(store, "b", "other", "").await;
    put(store, "a", "one", "").await;
    assert_eq!(next(&mut absent).await, "+a one");
    let mut present = store.watch(&at, Start::Contents).await.expect("a watch");
    assert_eq!(next(&mut present).await, "+a one");
    put(store, "a", "two", "").await;
    for watch in [&mut absent, &mut present] {
        assert_eq!(next(watch).await, "~a one -> two");
    }
    store.destroy(&at, "").await.expect("destroyed");
    assert_eq!(next(&mut present).await, "-a two");
    store.destroy(&pointer("b"), "").await.expect("destroyed");
}

async fn watches_all(store: &dyn Store) {
    put(store, "b", "1", "").await;
    put(store, "a", "1", "").await;
    let mut changes = store.watch_all(&everything(), WatchOptions::default()).await.expect("a watch");
    let mut contents = store.watch_all(&everything(), WatchOptions::contents()).await.expect("a watch");
    for expected in ["+a 1", "+b 1", "bootstrapped"] {
        assert_eq!(next(&mut contents).await, expected);
    }
    put(store, "a", "2", "").await;
    store.destroy(&pointer("a"), "").await.expect("destroyed");
    store.destroy(&pointer("b"), "").await.expect("destroyed");
    for watch in [&mut changes, &mut contents] {
        for expected in ["~a 1 -> 2", "-a 2", "-b 1"] {
            assert_eq!(next(watch).await, expected);
        }
    }
}

async fn filters_by_label(store: &dyn Store) {
    put(store, "a", "1", "red").await;
    put(store, "b", "1", "blue").await;
    let query = Query::labels(vec![LabelTerm::equal("color", "red")]);
    let options = WatchOptions { query, ..WatchOptions::contents() };
    let mut red = store.watch_all(&everything(), options).await.expect("a watch");
    assert_eq!(next(&mut red).await, "+a 1");
    assert_eq!(next(&mut red).await, "bootstrapped");
    put(store, "b", "2", "red").await;
    assert_eq!(next(&mut red).await, "+b 2", "what begins to match appears");
    put(store, "a", "2", "blue").await;
    assert_eq!(next(&mut red).await, "-a 2", "what ceases to match disappears");
    for id in ["a", "b"] {
        store.destroy(&pointer(id), "").await.expect("destroyed");
    }
}

async fn resumes(store: &dyn Store) {
    let options = WatchOptions { initial_bookmark: true, ..WatchOptions::default() };
    let mut watch = store.watch_all(&everything(), options).await.expect("a watch");
    let noop = watch.next().await.expect("an event");
    assert_eq!(summary(&noop), "noop");
    drop(watch);
    put(store, "a", "1", "").await;
    put(store, "a", "2", "").await;
    let from = |bookmark: &Option<Bookmark>| WatchOptions {
        start: Start::Bookmark(bookmark.clone().expect("a bookmark")),
        ..WatchOptions::default()
    };
    let mut watch = store.watch_all(&everything(), from(&noop.bookmark)).await.expect("a watch");
    let created = watch.next().await.expect("an event");
    assert_eq!(summary(&created), "+a 1");
    let mut later = store.watch_all(&everything(), from(&created.bookmark)).await.expect("a watch");
    assert_eq!(next(&mut later).await, "~a 1 -> 2");
    let mut tail = store
        .watch_all(&everything(), WatchOptions { start: Start::Tail(1), ..WatchOptions::default() })
        .await
        .expect("a watch");
    assert_eq!(next(&mut tail).await, "~a 1 -> 2");
    for invalid in [Bookmark(Vec::new()), Bookmark(vec![7; 16])] {
        let refused =
            store.watch_all(&everything(), from(&Some(invalid))).await.expect_err("a stale bookmark");
        assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    }
    store.destroy(&pointer("a"), "").await.expect("destroyed");
}

async fn aggregates(store: &dyn Store) {
    put(store, "a", "1", "").await;
    put(store, "b", "1", "").await;
    let options = WatchOptions { aggregated: true, ..WatchOptions::contents() };
    let mut watch = store.watch_all(&everything(), options).await.expect("a watch");
    let batch = watch.next_batch().await.expect("a batch");
    assert_eq!(batch.iter().map(summary).collect::<Vec<_>>(), ["+a 1", "+b 1", "bootstrapped"]);
    for id in ["a", "b"] {
        store.destroy(&pointer(id), "").await.expect("destroyed");
    }
    assert_eq!(next(&mut watch).await, "-a 1");
    assert_eq!(next(&mut watch).await, "-b 1");
}
