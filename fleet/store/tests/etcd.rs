//! Managers that share a store in a real etcd: the conformance suite, who is faster, who leads, what is missed, what is
//! too much.
//!
//! `CORTEN_ETCD` names the etcd program.

#![expect(clippy::disallowed_methods, reason = "this test starts etcd itself")]

use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use corten_base::{Rng, Secret, Task, chain};
use corten_etcd::{Client, Remote};
use corten_fleet_store::{Candidate, Etcd, EtcdOptions, KeyFile, Looked, OpenError, Sealer, Starting};
use corten_resource::conformance::{self, ConformanceThing};
use corten_resource::{
    AnyResource, Change, ErrorKind, Keeper, MemoryStore, Pointer, Query, State, StateOptions, Store as _,
    UpdateOptions, WatchOptions,
};
use futures::FutureExt as _;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Questions to etcd during which nothing may change; what it had to tell is there by the last one.
const ROUND_TRIPS: u32 = 50;
const NAMESPACE: &str = "conformance";

/// etcd with one member, which can be stopped and started again.
struct Server {
    program: PathBuf,
    folder: TempDir,
    ports: [u16; 2],
    child: Option<Child>,
}

impl Server {
    /// Starts one, or tells that the test is skipped.
    fn new() -> Option<Self> {
        let Some(program) = std::env::var_os("CORTEN_ETCD").map(PathBuf::from) else {
            eprintln!("skipped: store in etcd: CORTEN_ETCD does not name the etcd program");
            return None;
        };
        let port = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Self { program, folder, ports: [port(), port()], child: None };
        server.start();
        Some(server)
    }

    fn start(&mut self) {
        let [client, peer] = self.ports.map(|port| format!("http://127.0.0.1:{port}"));
        let log = std::fs::File::create(self.folder.path().join("etcd.log")).expect("a log");
        let child = Command::new(&self.program)
            .args(["--name", "one", "--initial-cluster", &format!("one={peer}")])
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("etcd"));
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn options(&self, account: &str) -> EtcdOptions {
        EtcdOptions {
            endpoints: vec![format!("http://127.0.0.1:{}", self.ports[0])],
            account: account.to_owned(),
            keep_alive: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(5),
            ca_file: PathBuf::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            lookup: literal,
        }
    }

    /// A client of our own.
    fn client(&self) -> Client {
        let EtcdOptions { endpoints, keep_alive, keep_alive_timeout, lookup, .. } = self.options("");
        let remote = Remote { endpoints, identity: None, keep_alive, keep_alive_timeout, lookup };
        Client::remote(&remote).expect("a client")
    }

    fn key(&self, account: &str) -> KeyFile {
        KeyFile::at(self.folder.path().join(format!("{account}.key")))
    }

    async fn open(&self, account: &str) -> Result<(Etcd, Starting), OpenError> {
        let (options, key) = (self.options(account), self.key(account));
        Etcd::open(&options, &key, conformance::registry(), &Rng::kernel()).await
    }

    async fn manager(&self, account: &str) -> Manager {
        let (etcd, starting) = self.open(account).await.expect("opens");
        let manager = loaded(etcd).await.started();
        starting.done().await;
        manager
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn literal(host: String) -> Looked {
    let found = host.parse::<IpAddr>().map(|ip| vec![ip]).map_err(io::Error::other);
    Box::pin(std::future::ready(found))
}

/// A store, and whoever keeps it from a moment of our choice on.
struct Loaded {
    store: MemoryStore,
    keeper: Keeper,
    candidate: Candidate,
}

struct Manager {
    store: MemoryStore,
    candidate: Candidate,
    _keeper: Task,
}

async fn loaded(etcd: Etcd) -> Loaded {
    let (candidate, registry) = (etcd.candidate(), conformance::registry());
    let is_kept = |namespace: &str| namespace == NAMESPACE;
    let backed = MemoryStore::backed(registry, StateOptions::default(), Arc::new(etcd), is_kept).await;
    let (store, keeper) = backed.expect("loads");
    Loaded { store, keeper, candidate }
}

impl Loaded {
    fn started(self) -> Manager {
        let Self { store, keeper, candidate } = self;
        Manager { store, candidate, _keeper: corten_base::spawn("keeper", keeper.run()) }
    }
}

fn thing(id: &str, text: &str) -> AnyResource {
    AnyResource::new(NAMESPACE, id, ConformanceThing { text: text.to_owned() })
}

fn text(resource: &AnyResource) -> &str {
    resource.spec::<ConformanceThing>().map_or("", |thing| &thing.text)
}

fn kind() -> Pointer {
    Pointer::to_kind(NAMESPACE, "ConformanceThings.corten.dev")
}

async fn ids(store: &MemoryStore) -> Vec<String> {
    let all = store.list(&kind(), &Query::default()).await.expect("a list");
    all.iter().map(|thing| thing.id().to_owned()).collect()
}

/// Waits until `condition` holds.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let held = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("no {what}"));
}

/// One etcd for all stories, each with an account of its own.
#[tokio::test]
async fn managers_share_a_store_in_etcd() {
    let Some(mut server) = Server::new() else { return };
    conforms(&server).await;
    shares(&server).await;
    leads(&server).await;
    takes_much(&server).await;
    finds_what_it_missed(&server).await;
    refuses_other_keys(&server).await;
    brings_forward(&server).await;
    stops_for_a_newer_program(&server).await;
    survives_its_etcd(&mut server).await;
}

async fn conforms(server: &Server) {
    let manager = server.manager("conforms").await;
    timeout(PATIENCE, conformance::run(Arc::new(manager.store.clone()))).await.expect("ends");
}

/// What one writes the other sees, and of two that are as fast one is refused.
async fn shares(server: &Server) {
    let (one, two) = (server.manager("shares").await, server.manager("shares").await);
    let made = one.store.create(thing("a", "nobody may read this"), "me").await.expect("created");
    eventually("change at the other", async || two.store.get(&made.pointer()).await.is_ok()).await;
    assert_eq!(two.store.get(&made.pointer()).await, Ok(made.clone()));
    let (rows, _) = server.client().list(b"/corten-fleet/shares/", 10).await.expect("keys");
    let needle = b"nobody may read this";
    for row in &rows {
        assert!(!row.value.windows(needle.len()).any(|window| window == needle), "in clear");
    }
    assert_eq!(rows.len(), 2, "the head and a row");

    let options = UpdateOptions::any_phase("me");
    let next = |text: &str| thing("a", text).edit(|metadata| metadata.version = 1);
    let both = futures::join!(one.store.update(next("1"), &options), two.store.update(next("2"), &options));
    let (kept, refused) = match both {
        (Ok(kept), Err(refused)) | (Err(refused), Ok(kept)) => (kept, refused),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition, "{refused}");
    for store in [&one.store, &two.store] {
        assert_eq!(text(&store.get(&made.pointer()).await.expect("there")), text(&kept));
    }
    let both = futures::join!(one.store.create(thing("b", "1"), ""), two.store.create(thing("b", "2"), ""));
    assert_ne!(both.0.is_ok(), both.1.is_ok(), "{both:?}");
    let refused = both.0.err().or(both.1.err()).expect("one of them");
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
    let at = made.pointer();
    let both = futures::join!(one.store.destroy(&at, "me"), two.store.destroy(&at, "me"));
    assert!(both.0.is_ok() || both.1.is_ok(), "{both:?}");
    for store in [&one.store, &two.store] {
        eventually("end everywhere", async || ids(store).await == ["b"]).await;
    }
}

/// One leads, and the next one when that one lets go.
async fn leads(server: &Server) {
    let (one, two) = (server.manager("leads").await, server.manager("leads").await);
    let first = timeout(PATIENCE, one.candidate.lead()).await.expect("leads");
    let candidate = two.candidate.clone();
    let second = corten_base::spawn("second", async move { candidate.lead().await });
    let client = server.client();
    let candidates = async || client.list(b"/corten-fleet/leads/locks/leader/", 10).await.expect("keys").0;
    eventually("second candidate", async || candidates().await.len() == 2).await;
    for _ in 0..ROUND_TRIPS {
        assert_eq!(candidates().await.len(), 2);
        assert!(!second.is_finished(), "one at a time");
    }
    first.release().await;
    let second = timeout(PATIENCE, second.join()).await.expect("the next one leads").expect("a lead");
    for _ in 0..ROUND_TRIPS {
        assert_eq!(candidates().await.len(), 1, "the first one is none any more");
        assert!(second.lost().now_or_never().is_none(), "it leads on");
    }
}

/// More changes than go into a transaction, several of one resource, and one that is larger than etcd takes.
async fn takes_much(server: &Server) {
    let (one, two) = (server.manager("much").await, server.manager("much").await);
    let state = State::over(one.store.clone());
    for round in 0..3 {
        for number in 0..150 {
            state.put_any("me", thing(&format!("{number:03}"), &format!("{round}"))).expect("decided");
        }
    }
    state.remove_any("me", &thing("000", "").pointer()).expect("decided");
    one.store.settled().await;
    let all = one.store.list(&kind(), &Query::default()).await.expect("a list");
    assert_eq!(all.len(), 149);
    assert!(all.iter().all(|it| text(it) == "2" && it.metadata().version == 3));
    eventually("all of it at the other", async || ids(&two.store).await.len() == 149).await;

    // What is random does not become smaller.
    let mut bytes = vec![0; 2_000_000];
    Rng::seeded(1).fill(&mut bytes);
    let random: String = bytes.iter().map(|byte| char::from(byte % 94 + 33)).collect();
    let error = one.store.create(thing("large", &random), "me").await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("make it smaller"), "{error}");
    one.store.create(thing("small", "x"), "me").await.expect("the next one is kept");
}

/// A manager whose history is forgotten shows all that it missed, as what it was.
async fn finds_what_it_missed(server: &Server) {
    let one = server.manager("missed").await;
    for id in ["changed", "gone", "made again", "same"] {
        one.store.create(thing(id, "before"), "").await.expect("created");
    }
    let (etcd, starting) = server.open("missed").await.expect("opens");
    let late = loaded(etcd).await;
    starting.done().await;
    let mut watch = late.store.watch_all(&kind(), WatchOptions::default()).await.expect("a watch");

    let options = UpdateOptions::any_phase("");
    let changed = thing("changed", "after").edit(|metadata| metadata.version = 1);
    one.store.update(changed, &options).await.expect("updated");
    for id in ["gone", "made again"] {
        one.store.destroy(&thing(id, "").pointer(), "").await.expect("destroyed");
    }
    for id in ["made again", "new"] {
        one.store.create(thing(id, "after"), "").await.expect("created");
    }
    let client = server.client();
    let (_, now) = client.list(b"/corten-fleet/", 1).await.expect("a revision");
    client.compact(now).await.expect("forgotten");

    let two = late.started();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        let event = timeout(PATIENCE, watch.next()).await.expect("an event").expect("no end");
        seen.push(match event.change {
            Change::Created(new) => format!("+{}", new.id()),
            Change::Updated { new, .. } => format!("~{}", new.id()),
            Change::Destroyed(old) => format!("-{}", old.id()),
            other => panic!("{other:?}"),
        });
    }
    // What is gone comes first. The others come in the order of their places, which shows nothing of their ids.
    assert_eq!(seen.first().map(String::as_str), Some("-gone"), "{seen:?}");
    let at = |what: &str| seen.iter().position(|it| it == what);
    assert!(at("-made again") < at("+made again"), "{seen:?}");
    seen.sort_unstable();
    assert_eq!(seen, ["+made again", "+new", "-gone", "-made again", "~changed"]);
    assert_eq!(ids(&two.store).await, ids(&one.store).await);
    two.store.create(thing("later", ""), "").await.expect("it goes on");
}

async fn refuses_other_keys(server: &Server) {
    drop(server.manager("keys").await);
    let key = server.key("keys");
    let right = std::fs::read(key.path()).expect("the key");
    std::fs::remove_file(key.path()).expect("removed");
    let error = server.open("keys").await.expect_err("no key");
    assert!(matches!(error, OpenError::Key(_)) && !key.path().exists(), "{error}");
    key.create(&Rng::kernel()).expect("another key");
    let text = chain(&server.open("keys").await.expect_err("another key"));
    assert!(text.contains("does not open the store in etcd (http://127.0.0.1:"), "{text}");
    std::fs::write(key.path(), right).expect("the key is back");
    server.open("keys").await.expect("opens").1.done().await;

    let client = server.client();
    client.put("/corten-fleet/keys/store/rows/conformance\0X\0a", "x", 0).await.expect("put");
    client.delete("/corten-fleet/keys/store/head").await.expect("removed");
    let error = server.open("keys").await.expect_err("rows without a head");
    assert!(matches!(error, OpenError::Headless { .. }), "{error}");
}

/// Brings a store with one row back to what the first programs wrote.
async fn make_old(client: &Client, root: &str, key: &KeyFile) {
    let head = client.get(format!("{root}/head")).await.expect("read").expect("a head").value;
    let wrapped = head.strip_prefix(b"2\n").expect("the newest");
    let sealer = |key: &Secret<[u8; 32]>| Sealer::new(key, Rng::kernel()).expect("a key");
    let master = sealer(&key.read().expect("the key")).open(b"master-key", wrapped).expect("opened");
    let sealer = sealer(&Secret::new(master.try_into().expect("a key")));
    client.put(format!("{root}/head"), [b"1\n".as_slice(), wrapped].concat(), 0).await.expect("put");
    let prefix = format!("{root}/rows/").into_bytes();
    for row in client.list(&prefix, 100).await.expect("rows").0 {
        let place = row.key.strip_prefix(prefix.as_slice()).expect("a row");
        let content = sealer.open(place, &row.value).expect("opened");
        let place = format!("{NAMESPACE}\0{}\0a", kind().kind).into_bytes();
        let value = sealer.seal(&place, &content).expect("sealed");
        // Without the id of the key, the rest is the same.
        let value = [[1].as_slice(), &value[5..]].concat();
        client.put([prefix.as_slice(), &place].concat(), value, 0).await.expect("put");
        client.delete(row.key).await.expect("removed");
    }
}

async fn brings_forward(server: &Server) {
    let (client, root, key) = (server.client(), "/corten-fleet/old/store", server.key("old"));
    let one = server.manager("old").await;
    one.store.create(thing("a", "from before"), "").await.expect("created");
    drop(one);
    make_old(&client, root, &key).await;
    let again = server.manager("old").await;
    let found = again.store.get(&thing("a", "").pointer()).await.expect("there");
    assert_eq!(text(&found), "from before");
    let (rows, _) = client.list(format!("{root}/rows/").as_bytes(), 10).await.expect("rows");
    assert!(rows.len() == 1 && rows[0].value[0] == 2 && !rows[0].key.ends_with(b"\0a"));
    // One that was interrupted is done again.
    make_old(&client, root, &key).await;
    let head = client.get(format!("{root}/head")).await.expect("read").expect("a head").value;
    let begun = [b"2 from ".as_slice(), head.as_slice()].concat();
    client.put(format!("{root}/head"), begun, 0).await.expect("put");
    drop(again);
    drop(server.manager("old").await);
    let head = client.get(format!("{root}/head")).await.expect("read").expect("a head").value;
    assert!(head.starts_with(b"2\n"), "{:?}", String::from_utf8_lossy(&head));
}

/// A manager writes nothing once a newer program has brought the store forward.
async fn stops_for_a_newer_program(server: &Server) {
    let (client, key) = (server.client(), "/corten-fleet/newer/store/head");
    let one = server.manager("newer").await;
    let head = client.get(key).await.expect("read").expect("a head").value;
    let newer = [b"3".as_slice(), head.strip_prefix(b"2").expect("the newest")].concat();
    client.put(key, newer, 0).await.expect("put");
    let error = one.store.create(thing("a", ""), "").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let text = chain(&server.open("newer").await.expect_err("a newer store"));
    assert!(text.contains("has format \"3\"") && text.contains("use the program that wrote it"), "{text}");
}

/// etcd stops and comes back: meanwhile it is told, and nothing that was acknowledged is lost.
async fn survives_its_etcd(server: &mut Server) {
    let one = server.manager("outage").await;
    one.store.create(thing("a", ""), "").await.expect("created");
    server.stop();
    eventually("trouble that is told", async || one.store.trouble().is_some()).await;
    let text = one.store.trouble().expect("trouble");
    assert!(text.contains("is out of reach for") && text.contains("look after etcd"), "{text}");
    assert_eq!(ids(&one.store).await, ["a"], "what is kept is served");
    server.start();
    let made = timeout(PATIENCE, one.store.create(thing("b", ""), "")).await.expect("an answer");
    made.expect("kept, as soon as etcd answers");
    eventually("end of the trouble", async || one.store.trouble().is_none()).await;
    assert_eq!(ids(&one.store).await, ["a", "b"]);
}
