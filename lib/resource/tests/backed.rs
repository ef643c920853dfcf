//! A store in front of something that keeps it: what is visible when, and what becomes of what cannot be kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use corten_base::Task;
use corten_resource::conformance::{self, ConformanceThing};
use corten_resource::{
    Answer, AnyResource, Backing, Change, ErrorKind, Kept, MemoryStore, Mirror, Pointer, Query, Shown, Start,
    State, StateError, StateOptions, Store as _, Tending, UpdateOptions,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// A backing that keeps a batch when the test lets it, or refuses everything.
struct Gate {
    open: Semaphore,
    is_broken: Mutex<bool>,
    batches: Mutex<Vec<usize>>,
}

impl Gate {
    fn closed() -> Arc<Self> {
        Arc::new(Self { open: Semaphore::new(0), is_broken: Mutex::default(), batches: Mutex::default() })
    }
}

impl Backing for Gate {
    fn load(&self) -> Answer<'_, Vec<AnyResource>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn commit(&self, changes: Vec<Change>) -> Kept<'_> {
        Box::pin(async move {
            let permit = self.open.acquire().await.expect("never closed for good");
            permit.forget();
            self.batches.lock().push(changes.len());
            let broken = || Err(StateError::Unavailable("the disk is full".to_owned()));
            let result = || if *self.is_broken.lock() { broken() } else { Ok(()) };
            changes.iter().map(|_| result()).collect()
        })
    }
}

/// A place that several stores write to.
#[derive(Default)]
struct Place {
    rows: Mutex<BTreeMap<Pointer, AnyResource>>,
    mirrors: Mutex<Vec<Mirror>>,
}

impl Place {
    fn keep(&self, change: &Change) -> Result<(), StateError> {
        let (old, new) = match change {
            Change::Created(new) => (None, Some(new)),
            Change::Updated { new, old } => (Some(old), Some(new)),
            Change::Destroyed(old) => (Some(old), None),
            _ => panic!("no change of a resource"),
        };
        let pointer = old.or(new).expect("one of them").pointer();
        let mut rows = self.rows.lock();
        if rows.get(&pointer) != old {
            return Err(StateError::Version { pointer, expected: 0, actual: 0 });
        }
        let shown = match new {
            Some(new) => Shown::Put(new.clone()),
            None => Shown::Gone(pointer.clone()),
        };
        match new {
            Some(new) => drop(rows.insert(pointer, new.clone())),
            None => drop(rows.remove(&pointer)),
        }
        self.mirrors.lock().iter().for_each(|mirror| mirror.show([shown.clone()]));
        Ok(())
    }
}

impl Backing for Place {
    fn load(&self) -> Answer<'_, Vec<AnyResource>> {
        let all = self.rows.lock().values().cloned().collect();
        Box::pin(std::future::ready(Ok(all)))
    }

    fn commit(&self, changes: Vec<Change>) -> Kept<'_> {
        Box::pin(async move { changes.iter().map(|change| self.keep(change)).collect() })
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn tend(&self, mirror: Mirror) -> Tending<'_> {
        self.mirrors.lock().push(mirror);
        Box::pin(std::future::pending())
    }

    fn trouble(&self) -> Option<String> {
        Some("the place is wet".to_owned())
    }
}

async fn store<B: Backing>(backing: &Arc<B>) -> (MemoryStore, Task) {
    let backing = Arc::clone(backing) as Arc<dyn Backing>;
    let is_kept = |namespace: &str| namespace == "conformance";
    let backed = MemoryStore::backed(conformance::registry(), StateOptions::default(), backing, is_kept);
    let (store, keeper) = backed.await.expect("loads");
    (store, corten_base::spawn("keeper", keeper.run()))
}

fn thing(id: &str, text: &str) -> AnyResource {
    AnyResource::new("conformance", id, ConformanceThing { text: text.to_owned() })
}

fn kind() -> Pointer {
    Pointer::to_kind("conformance", "ConformanceThings.corten.dev")
}

async fn count(store: &MemoryStore) -> usize {
    store.list(&kind(), &Query::default()).await.expect("a list").len()
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_a_change_before_it_is_kept_and_changes_gather_meanwhile() {
    let gate = Gate::closed();
    let (store, _task) = store(&gate).await;
    let state = State::over(store.clone());
    let mut watch = store.watch(&thing("a", "").pointer(), Start::Now).await.expect("a watch");
    state.put_any("me", thing("a", "1")).expect("decided");
    tokio::task::yield_now().await;
    for text in ["2", "3"] {
        state.put_any("me", thing("a", text)).expect("decided on what was decided before");
    }
    state.put_any("me", thing("b", "1")).expect("decided");
    assert_eq!(count(&store).await, 0);
    gate.open.add_permits(2);
    store.settled().await;
    assert_eq!(*gate.batches.lock(), [1, 3], "one batch was on its way, the rest went together");
    assert_eq!(count(&store).await, 2);
    let versions: Vec<u64> = [watch.next().await, watch.next().await, watch.next().await]
        .iter()
        .filter_map(|event| event.as_ref()?.resource().map(|resource| resource.metadata().version))
        .collect();
    assert_eq!(versions, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_kept_never_was_and_whoever_wrote_is_told() {
    let gate = Gate::closed();
    let (store, _task) = store(&gate).await;
    *gate.is_broken.lock() = true;
    gate.open.add_permits(1);
    let error = store.create(thing("a", "1"), "me").await.expect_err("refused");
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(matches!(store.get(&thing("a", "").pointer()).await, Err(StateError::NotFound(_))));
    *gate.is_broken.lock() = false;
    gate.open.add_permits(1);
    let made = store.create(thing("a", "1"), "me").await.expect("the disk has room again");
    assert_eq!(made.metadata().version, 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_decided_on_a_refused_one_is_refused_too() {
    let gate = Gate::closed();
    let (store, _task) = store(&gate).await;
    let state = State::over(store.clone());
    *gate.is_broken.lock() = true;
    state.put_any("me", thing("a", "1")).expect("decided");
    tokio::task::yield_now().await;
    state.put_any("me", thing("a", "2")).expect("decided on it");
    state.put_any("me", thing("b", "1")).expect("decided, of something else");
    gate.open.add_permits(1);
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    *gate.is_broken.lock() = false;
    gate.open.add_permits(1);
    store.settled().await;
    let all = store.list(&kind(), &Query::default()).await.expect("a list");
    let ids: Vec<&str> = all.iter().map(AnyResource::id).collect();
    assert_eq!(ids, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn at_a_shared_place_everybody_sees_what_anybody_wrote_and_the_slower_of_two_is_refused() {
    let place = Arc::new(Place::default());
    let ((one, _one), (two, _two)) = (store(&place).await, store(&place).await);
    tokio::task::yield_now().await;
    let at = thing("a", "").pointer();
    let mut watch = two.watch(&at, Start::Now).await.expect("a watch");
    let made = one.create(thing("a", "1"), "").await.expect("created");
    assert_eq!(two.get(&at).await, Ok(made.clone()));
    let options = UpdateOptions::any_phase("");
    let next = |text: &str| thing("a", text).edit(|metadata| metadata.version = 1);
    let both = futures::join!(one.update(next("2"), &options), two.update(next("3"), &options));
    let (updated, refused) = match both {
        (Ok(updated), Err(refused)) | (Err(refused), Ok(updated)) => (updated, refused),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    for store in [&one, &two] {
        assert_eq!(store.get(&at).await, Ok(updated.clone()));
        assert_eq!(store.newest(&at).await, Ok(updated.clone()), "what was refused is forgotten");
    }
    one.destroy(&at, "").await.expect("destroyed");
    let seen = [watch.next().await, watch.next().await, watch.next().await];
    let seen: Vec<Change> = seen.into_iter().flatten().map(|event| event.change).collect();
    let expected = [
        Change::Created(made.clone()),
        Change::Updated { new: updated.clone(), old: made },
        Change::Destroyed(updated),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_the_place_is_told() {
    let (store, _task) = store(&Arc::new(Place::default())).await;
    assert_eq!(store.trouble().as_deref(), Some("the place is wet"));
    let alone = MemoryStore::open(conformance::registry(), StateOptions::default()).expect("opens");
    assert_eq!(alone.trouble(), None);
}
