//! The store in memory: the conformance suite, the journal, slow watchers, and the typed handle.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use corten_resource::conformance::{self, ConformanceThing};
use corten_resource::meta::{NamespaceSpec, ResourceDefinitionSpec};
use corten_resource::{
    AnyResource, Change, Pointer, Query, Start, State, StateError, StateOptions, Store as _, WatchOptions,
};

fn open(journal: &Path) -> State {
    let options = StateOptions { journal: Some(journal.to_owned()), ..StateOptions::default() };
    State::open(conformance::registry(), options).expect("opens")
}

fn thing(text: &str) -> ConformanceThing {
    ConformanceThing { text: text.to_owned() }
}

#[tokio::test]
async fn conforms() {
    let state = State::new(conformance::registry());
    conformance::run(Arc::new(state.store().clone())).await;
}

#[tokio::test]
async fn conforms_with_a_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    conformance::run(Arc::new(open(&folder.path().join("journal")).store().clone())).await;
}

#[test]
fn a_restart_continues_with_versions_owners_and_finalizers() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/journal");
    let state = open(&path);
    state.put("owner", "a", thing("1")).expect("put");
    state.put("owner", "a", thing("2")).expect("put");
    state.put("owner", "b", thing("1")).expect("put");
    state.remove::<ConformanceThing>("owner", "b").expect("removed");
    let before = state.get::<ConformanceThing>("a").expect("there");
    state.add_finalizer(&before.metadata.pointer(), "holder").expect("held");
    drop(state);
    let state = open(&path);
    let after = state.get::<ConformanceThing>("a").expect("still there");
    assert_eq!((after.metadata.version, after.text.as_str()), (3, "2"));
    assert_eq!(
        (after.metadata.owner.as_str(), &after.metadata.finalizers[..]),
        ("owner", &["holder".to_owned()][..])
    );
    assert_eq!(after.metadata.created, before.metadata.created);
    assert!(state.get::<ConformanceThing>("b").is_none());
    let same = state.put("owner", "a", thing("2")).expect("put");
    assert_eq!(same.metadata.version, 3, "what is equal keeps its version");
}

#[test]
fn a_journal_that_was_cut_off_keeps_what_is_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let state = open(&path);
    state.put("", "a", thing("1")).expect("put");
    state.put("", "z", thing("last")).expect("put");
    drop(state);
    let bytes = fs::read(&path).expect("the journal");
    for cut in 0..bytes.len() {
        fs::write(&path, &bytes[..cut]).expect("written");
        let state = open(&path);
        assert!(state.get::<ConformanceThing>("z").is_none());
        state.put("", "after", thing("x")).expect("put");
        drop(state);
        assert!(open(&path).get::<ConformanceThing>("after").is_some(), "cut at {cut}");
    }
}

#[test]
fn a_journal_is_compacted_and_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let state = open(&path);
    let long = "x".repeat(10_000);
    for round in 0..500 {
        state.put("", "a", thing(&format!("{round}{long}"))).expect("put");
    }
    let metadata = fs::metadata(&path).expect("the journal");
    assert!(metadata.len() < 2_000_000, "{}", metadata.len());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    drop(state);
    assert_eq!(open(&path).get::<ConformanceThing>("a").map(|thing| thing.metadata.version), Some(500));
}

#[tokio::test]
async fn a_slow_watcher_gets_an_error_and_the_end() {
    let state = State::new(conformance::registry());
    let mut watch = state.watch::<ConformanceThing>();
    assert_eq!(watch.next().await.map(|event| event.change), Some(Change::Bootstrapped));
    for round in 0..5000 {
        state.put("", "a", thing(&round.to_string())).expect("put");
    }
    let event = watch.next().await.expect("an event");
    assert!(
        matches!(&event.change, Change::Errored(text) if text.starts_with("buffer overrun")),
        "{event:?}"
    );
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_watcher_of_one_resource_does_not_fall_behind_while_others_change() {
    let state = State::new(conformance::registry());
    let pointer = Pointer::new("conformance", "ConformanceThings.corten.dev", "quiet");
    let mut watch = state.store().watch(&pointer, Start::Now).await.expect("a watch");
    for round in 0..5000 {
        state.put("", "loud", thing(&round.to_string())).expect("put");
    }
    state.put("", "quiet", thing("1")).expect("put");
    for round in 0..5000 {
        state.put("", "loud", thing(&(round + 5000).to_string())).expect("put");
    }
    let late = watch.next().await.map(|event| event.change);
    assert!(matches!(late, Some(Change::Errored(_))), "what concerned it was not read in time: {late:?}");
    let mut watch = state.store().watch(&pointer, Start::Now).await.expect("a watch");
    for round in 0..5000 {
        state.put("", "loud", thing(&round.to_string())).expect("put");
    }
    state.put("", "quiet", thing("2")).expect("put");
    let event = watch.next().await.expect("an event");
    assert_eq!(event.resource().map(AnyResource::id), Some("quiet"));
}

#[tokio::test]
async fn a_watcher_that_keeps_up_gets_everything() {
    let state = State::new(conformance::registry());
    let kind = Pointer::to_kind("conformance", "ConformanceThings.corten.dev");
    let mut watch = state.store().watch_all(&kind, WatchOptions::default()).await.expect("a watch");
    for round in 0..1000 {
        state.put("", "a", thing(&round.to_string())).expect("put");
    }
    for round in 0..1000 {
        let event = watch.next().await.expect("an event");
        let text =
            event.resource().and_then(AnyResource::spec::<ConformanceThing>).map(|thing| thing.text.clone());
        assert_eq!(text, Some(round.to_string()));
    }
}

#[test]
fn puts_are_idempotent_and_respect_owners() {
    let state = State::new(conformance::registry());
    assert_eq!(state.put("me", "a", thing("1")).expect("put").metadata.version, 1);
    assert_eq!(state.put("me", "a", thing("1")).expect("put").metadata.version, 1);
    assert_eq!(state.put("me", "a", thing("2")).expect("put").metadata.version, 2);
    assert!(matches!(state.put("you", "a", thing("3")), Err(StateError::Owner { .. })));
    assert!(matches!(state.remove::<ConformanceThing>("you", "a"), Err(StateError::Owner { .. })));
    state.remove::<ConformanceThing>("me", "a").expect("removed");
    state.remove::<ConformanceThing>("me", "a").expect("nothing to remove");
}

#[tokio::test]
async fn waiting_ends_with_the_change_that_satisfies() {
    let state = State::new(conformance::registry());
    let waiter = state.clone();
    let wait = waiter.wait_for::<ConformanceThing>("a", |thing| thing.is_some_and(|thing| thing.text == "3"));
    let change = async {
        for text in ["1", "2", "3"] {
            tokio::task::yield_now().await;
            state.put("", "a", thing(text)).expect("put");
        }
    };
    let (found, ()) = tokio::join!(wait, change);
    assert_eq!((found.text.as_str(), found.metadata.version), ("3", 3));
}

#[tokio::test]
async fn types_and_namespaces_are_resources() {
    let state = State::new(conformance::registry());
    let definition =
        state.get::<ResourceDefinitionSpec>("conformancethings.corten.dev").expect("a definition");
    assert_eq!(definition.display_type, "ConformanceThing");
    assert_eq!(definition.default_namespace, "conformance");
    assert!(state.get::<ResourceDefinitionSpec>("resourcedefinitions.meta.cosi.dev").is_some());
    assert!(
        state.get::<ResourceDefinitionSpec>("controllerstatuses.corten.dev").is_none(),
        "internal types are not shown"
    );
    assert!(state.get::<NamespaceSpec>("meta").is_some());
    let all =
        state.store().list(&Pointer::to_kind("meta", "Namespaces.meta.cosi.dev"), &Query::default()).await;
    assert_eq!(all.expect("a list").len(), 2);
}
