use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use corten_resource::{MemoryStore, Query, StateOptions, Store as _, conformance};
use tokio::time::{sleep, timeout};

use super::*;
use crate::sealer::Sealer;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("store")
    }

    fn key(&self) -> KeyFile {
        KeyFile::at(self.folder.path().join("key"))
    }

    /// Where a thing is kept.
    fn at(&self, id: &str) -> Vec<u8> {
        let embedded = self.open().expect("opens");
        embedded.0.rows.place(&thing(id).pointer()).expect("a place")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("the file")
    }

    fn open(&self) -> Result<Embedded, OpenError> {
        Embedded::open(&self.path(), &self.key(), conformance::registry(), &Rng::kernel())
    }

    async fn store(&self) -> (MemoryStore, corten_base::Task) {
        backed(Arc::new(self.open().expect("opens"))).await
    }

    /// The database without anything around it.
    fn database(&self) -> (StoreFile, Database) {
        let file = StoreFile::open(&self.path()).expect("opens");
        let database = file.database(Writing::Through).expect("a database");
        (file, database)
    }

    /// What is in the store, after a start.
    async fn ids(&self) -> Vec<String> {
        let (store, task) = self.store().await;
        let found = list(&store).await;
        drop((store, task));
        tokio::task::yield_now().await;
        found.iter().map(|thing| thing.id().to_owned()).collect()
    }

    /// An open that is refused and leaves the file as it is.
    fn refused(&self) -> OpenError {
        let before = self.bytes();
        let error = self.open().expect_err("refused");
        assert!(self.bytes() == before, "the file was written to");
        error
    }
}

async fn backed(backing: Arc<Embedded>) -> (MemoryStore, corten_base::Task) {
    let is_kept = |namespace: &str| namespace == "conformance";
    let backed = MemoryStore::backed(conformance::registry(), StateOptions::default(), backing, is_kept);
    let (store, keeper) = backed.await.expect("loads");
    (store, corten_base::spawn("keeper", keeper.run()))
}

fn thing(id: &str) -> AnyResource {
    let spec = conformance::ConformanceThing { text: "something that nobody may read".to_owned() };
    AnyResource::new("conformance", id, spec)
}

async fn list(store: &MemoryStore) -> Vec<AnyResource> {
    let kind = Pointer::to_kind("conformance", "ConformanceThings.corten.dev");
    store.list(&kind, &Query::default()).await.expect("a list")
}

/// A store with two things, closed.
async fn with_two() -> Place {
    let place = Place::new();
    let (store, task) = place.store().await;
    for id in ["a", "b"] {
        store.create(thing(id), "me").await.expect("created");
    }
    drop((store, task));
    tokio::task::yield_now().await;
    place
}

#[tokio::test]
async fn a_backed_store_conforms() {
    let place = Place::new();
    let (store, _task) = place.store().await;
    timeout(PATIENCE, conformance::run(Arc::new(store))).await.expect("ends");
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart_and_not_in_clear() {
    let place = with_two().await;
    let (store, task) = place.store().await;
    store.destroy(&thing("b").pointer(), "me").await.expect("destroyed");
    let left = list(&store).await;
    drop((store, task));
    tokio::task::yield_now().await;
    let needle = b"something that nobody may read";
    assert!(!place.bytes().windows(needle.len()).any(|window| window == needle), "in clear on the disk");
    let (store, _task) = place.store().await;
    assert_eq!(list(&store).await, left);
    assert_eq!(left.len(), 1);
}

#[test]
fn another_key_and_a_second_program_are_refused_and_nothing_is_lost() {
    let place = Place::new();
    let key = place.key();
    let first = place.open().expect("opens");
    assert!(matches!(place.open(), Err(OpenError::Busy(_))));
    drop(first);
    let right = fs::read(key.path()).expect("the key");
    fs::remove_file(key.path()).expect("removed");
    assert!(matches!(place.refused(), OpenError::Key(_)), "no new key for a store that is there");
    key.create(&Rng::kernel()).expect("another key");
    assert!(matches!(place.refused(), OpenError::WrongKey { .. }));
    fs::write(key.path(), right).expect("the key is back");
    place.open().expect("opens again");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let place = Place::new();
    fs::write(place.path(), b"a letter to grandmother").expect("written");
    place.key().create(&Rng::kernel()).expect("a key");
    let error = place.refused();
    assert!(matches!(error, OpenError::File { .. }));
    assert!(error.to_string().contains("it is no store, or it is damaged; restore it"), "{error}");
}

#[tokio::test]
async fn a_store_with_changed_bytes_is_refused_with_the_way_out_and_never_written_to() {
    let place = with_two().await;
    let whole = place.bytes();
    let mut scratched = whole.clone();
    // One byte in every 64: no page of the tree is as it was.
    scratched.iter_mut().skip(512).step_by(64).for_each(|byte| *byte ^= 0x55);
    fs::write(place.path(), &scratched).expect("damaged");
    let text = place.refused().to_string();
    assert!(text.contains("is damaged, and was left as it is"), "{text}");
    assert!(text.contains("to restore it, stop the manager, put store and the file of its key"), "{text}");
    fs::write(place.path(), &whole[..whole.len() / 2]).expect("cut");
    place.refused();
    fs::write(place.path(), &whole).expect("mended");
    assert_eq!(place.ids().await, ["a", "b"]);
}

#[tokio::test]
async fn one_changed_byte_is_found_or_changes_nothing() {
    let place = with_two().await;
    let (whole, rng) = (place.bytes(), Rng::seeded(4));
    let length = u32::try_from(whole.len()).expect("a small file");
    for round in 0..100 {
        let at = if round < 50 { rng.below(512) } else { rng.below(length) };
        let mut damaged = whole.clone();
        damaged[at as usize] ^= 1 << rng.below(8);
        fs::write(place.path(), &damaged).expect("damaged");
        match place.open() {
            Ok(opened) => {
                let found = opened.0.load().expect("loads");
                let mut ids: Vec<&str> = found.iter().map(AnyResource::id).collect();
                // Places are in an order that has nothing to do with that of the ids.
                ids.sort_unstable();
                assert_eq!(ids, ["a", "b"], "byte {at}");
            }
            Err(_) => assert!(place.bytes() == damaged, "byte {at}: the file was written to"),
        }
    }
}

#[tokio::test]
async fn a_row_of_another_store_and_one_of_a_newer_program_are_named() {
    let place = with_two().await;
    let at = place.at("b");
    let other = Sealer::new(&Secret::new([7; KEY_BYTES]), Rng::kernel()).expect("a key");
    let of_another = other.seal(&at, b"content").expect("sealed");
    for (value, words) in [
        (of_another, "it came from another store"),
        (vec![9, 9, 9], "start the newer program that wrote it"),
        (vec![2, 9, 9], "restore the store from a backup"),
    ] {
        let (file, database) = place.database();
        tables::put(&database, [(at.as_slice(), Some(value.as_slice()))].into_iter()).expect("written");
        drop((database, file));
        let text = chain(&place.refused());
        assert!(text.contains("conformance/ConformanceThings.corten.dev/"), "{text}");
        assert!(text.contains("cannot be read"), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn a_store_of_the_first_programs_is_brought_forward_and_one_of_a_newer_program_is_refused() {
    let (place, rng) = (Place::new(), Rng::kernel());
    let wrapping = place.key().create(&rng).expect("a key");
    let master = rows::new_master(&rng);
    let sealer = Sealer::new(&master, rng.clone()).expect("a key");
    let pointer = thing("a").pointer();
    let at = format!("{}\0{}\0{}", pointer.namespace, pointer.kind, pointer.id).into_bytes();
    let old = sealer.seal_without_id(&at, &corten_resource::envelope::encode(&thing("a")));
    let wrapped = rows::wrap(&wrapping, &master, &rng).expect("wrapped");
    let (file, database) = place.database();
    tables::testing::old_store(&database, "1", &wrapped, &[(at, old)]);
    drop((database, file));
    for _ in 0..2 {
        assert_eq!(place.ids().await, ["a"]);
    }
    let (file, database) = place.database();
    let head = tables::head(&database).expect("read").expect("a store");
    assert_eq!(head.format, Format::newest().text().as_bytes());
    let first = tables::each_row(&database, |_, value| Ok(value.first().copied()));
    assert_eq!(first.expect("read").expect("read"), [Some(2)]);
    tables::testing::old_store(&database, "3", &wrapped, &[]);
    drop((database, file));
    let text = place.refused().to_string();
    assert!(text.contains("has format \"3\"") && text.contains("use the program that wrote it"), "{text}");
}

#[tokio::test]
async fn what_is_too_large_is_refused_alone_and_with_it_what_was_decided_on_it() {
    let place = Place::new();
    let embedded = place.open().expect("opens");
    let text = "x".repeat(crate::sealer::CONTENT_MAX);
    let large = AnyResource::new("conformance", "b", conformance::ConformanceThing { text });
    let results = embedded.0.keep(&[
        Change::Created(thing("a")),
        Change::Created(large.clone()),
        Change::Updated { old: large, new: thing("b") },
        Change::Created(thing("c")),
    ]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
    let text = results[1].as_ref().expect_err("too large").to_string();
    assert!(text.contains("/b) cannot be kept: it has 6710") && text.contains("make it smaller"), "{text}");
    assert_eq!(results[1], results[2]);
    drop(embedded);
    assert_eq!(place.ids().await, ["a", "c"]);
}

/// Waits until the store keeps what it is given again.
async fn mended(store: &MemoryStore) {
    let healthy = async {
        while store.trouble().is_some() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, healthy).await.expect("it mends itself");
}

async fn goes_on_after(fault: impl Fn(&Embedded) -> &AtomicBool) {
    let place = with_two().await;
    let embedded = Arc::new(place.open().expect("opens"));
    let (store, task) = backed(Arc::clone(&embedded)).await;
    fault(&embedded).store(true, Ordering::Relaxed);
    let text = store.create(thing("c"), "me").await.expect_err("no room").to_string();
    for words in ["store keeps nothing now", "the disk at /", "has no room; make some"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(store.trouble().is_some_and(|trouble| text.contains(&trouble)));
    store.destroy(&thing("a").pointer(), "me").await.expect_err("nothing is kept");
    assert_eq!(list(&store).await.len(), 2, "what is kept is served");
    fault(&embedded).store(false, Ordering::Relaxed);
    mended(&store).await;
    store.create(thing("d"), "me").await.expect("room again");
    drop((store, task, embedded));
    tokio::task::yield_now().await;
    assert_eq!(place.ids().await, ["a", "b", "d"], "what was acknowledged, and nothing else");
}

#[tokio::test]
async fn a_full_disk_is_told_and_the_store_goes_on_by_itself_when_there_is_room() {
    goes_on_after(|embedded| &embedded.0.file.fault.writes).await;
}

#[tokio::test]
async fn what_is_written_and_not_confirmed_is_undone_when_the_disk_works_again() {
    goes_on_after(|embedded| &embedded.0.file.fault.syncs).await;
}

#[test]
fn keys_for_what_is_beside_the_store_differ_by_purpose_and_stay() {
    let place = Place::new();
    let key = |purpose: &str| place.open().expect("opens").key_for(purpose);
    let logs = key("logs");
    assert!(logs == key("logs") && logs != key("audit"));
    assert_ne!(*logs.reveal(), [0; KEY_BYTES]);
}
