//! What the audit log promises: the lines of the reference, filters, order, and nothing lost.

use corten_base::{Task, spawn};

use super::*;

struct Place {
    folder: tempfile::TempDir,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), clock: Clock::fixed(1) }
    }

    /// Opens the log when the one before has let go of the folder, and writes.
    async fn run(&self) -> (Audit, Task) {
        loop {
            let master = Secret::new([1; 32]);
            let clock = self.clock.clone();
            match Audit::open(self.folder.path(), &master, Retention::default(), clock, Rng::kernel()) {
                Ok((audit, writer)) => return (audit, spawn("audit", writer.run())),
                Err(LogError::Busy(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Notes a record of each event for a cluster, at times of 1000 ms, 2000 ms, …
    async fn fill(&self, audit: &Audit) {
        let changes = [("b", "Ann@example.org"), ("a", "bob@example.org"), ("b", "ann@example.org")];
        for (cluster, actor) in changes {
            audit.append(&record(cluster, actor)).await.expect("noted");
            self.clock.advance(Duration::from_secs(1));
        }
    }
}

fn record(cluster: &str, actor: &str) -> Record {
    Record {
        event: EventType::Update,
        resource_type: "Clusters.omni.sidero.dev".to_owned(),
        resource_id: cluster.to_owned(),
        cluster: cluster.to_owned(),
        details: Map::new(),
        session: Session { email: actor.to_owned(), ..Session::default() },
    }
}

async fn ids(audit: &Audit, query: Query) -> Vec<u64> {
    let mut reader = audit.read(query).await.expect("a reader");
    let mut ids = Vec::new();
    while let Some(lines) = reader.next().await.expect("records") {
        ids.extend(lines.iter().map(|line| line.id));
    }
    ids
}

/// The line of JSON that a record becomes.
fn json_of(record: &Record) -> String {
    let line = line(record, 1_700_000_000_000);
    let json = line.splitn(6, |byte| *byte == 0).last().expect("a column");
    String::from_utf8(json.to_vec()).expect("UTF-8")
}

#[test]
fn a_record_is_the_line_that_clients_of_the_reference_read() {
    let mut record = record("talos-default", "ann@example.org");
    record.details.insert("cluster".to_owned(), json!({ "id": "talos-default" }));
    record.session = Session {
        user_agent: "omnictl".to_owned(),
        user_id: "7".to_owned(),
        role: "Admin".to_owned(),
        email: "ann@example.org".to_owned(),
        fingerprint: "ab12".to_owned(),
        confirmation_type: "oidc".to_owned(),
        public_key_expiration: Some(1_700_000_100),
    };
    let expected = concat!(
        r#"{"event_type":"update","resource_type":"Clusters.omni.sidero.dev","resource_id":"talos-default","#,
        r#""event_ts":1700000000000,"event_data":{"cluster":{"id":"talos-default"},"session":{"#,
        r#""user_agent":"omnictl","user_id":"7","role":"Admin","email":"ann@example.org","#,
        r#""fingerprint":"ab12","confirmation_type":"oidc","public_key_expiration":1700000100}}}"#
    );
    assert_eq!(json_of(&record), expected);
    let record = Record {
        event: EventType::AuditLogAccess,
        resource_type: String::new(),
        resource_id: String::new(),
        session: Session::default(),
        ..record
    };
    let text = json_of(&Record { details: Map::new(), ..record });
    assert_eq!(
        text,
        r#"{"event_type":"audit_log_access","event_ts":1700000000000,"event_data":{"session":{}}}"#
    );
}

#[test]
fn secrets_do_not_get_into_the_audit_log() {
    let mut record = record("c", "a");
    let patch = "machine:\n  token: abcdef.0123456789abcdef\n";
    record.details.insert("patch".to_owned(), json!({ "data": patch, "password": "hunter22" }));
    let text = json_of(&record);
    assert!(text.contains("REDACTED"), "{text}");
    assert!(!text.contains("0123456789") && !text.contains("hunter22"), "{text}");
    serde_json::from_str::<Value>(&text).expect("it is still JSON");
    TOKENS[0].clone_into(&mut record.resource_type);
    "w7uVuW3zbVKIYQuzEcyetAHeYMeo5q2L9RvkAVfCfSCD".clone_into(&mut record.resource_id);
    let kept = line(&record, 1);
    assert!(!String::from_utf8_lossy(&kept).contains("w7uVuW3z"), "neither in the line nor in a column");
}

#[test]
fn a_huge_record_is_noted_without_its_details_and_no_text_ends_a_column() {
    let mut record = record("c", "a\0b");
    record.details.insert("data".to_owned(), json!("x".repeat(LINE_MAX)));
    let text = json_of(&record);
    assert!(text.len() < 1000 && text.contains("omitted_bytes"), "{text}");
    serde_json::from_str::<Value>(&text).expect("it is still JSON");
}

#[tokio::test]
async fn records_are_found_by_each_filter_and_sorted() {
    let place = Place::new();
    let (audit, _task) = place.run().await;
    place.fill(&audit).await;
    let any = Query::default;
    let some = |text: &str| Some(text.to_owned());
    for (query, expected) in [
        (any(), vec![1, 2, 3]),
        (Query { direction: Direction::Descending, ..any() }, vec![3, 2, 1]),
        (Query { from_ms: Some(2000), ..any() }, vec![2, 3]),
        (Query { until_ms: Some(2000), ..any() }, vec![1]),
        (Query { event: Some(EventType::Create), ..any() }, vec![]),
        (Query { event: Some(EventType::Update), cluster: some("b"), ..any() }, vec![1, 3]),
        (Query { resource_type: some("Users.omni.sidero.dev"), ..any() }, vec![]),
        (Query { resource_id: some("a"), ..any() }, vec![2]),
        (Query { actor: some("ann@EXAMPLE.org"), ..any() }, vec![1, 3]),
        (Query { search: some("BOB@"), ..any() }, vec![2]),
        (Query { order: OrderBy::Cluster, ..any() }, vec![2, 1, 3]),
        (Query { order: OrderBy::Cluster, direction: Direction::Descending, ..any() }, vec![1, 3, 2]),
    ] {
        assert_eq!(ids(&audit, query.clone()).await, expected, "{query:?}");
    }
}

#[tokio::test]
async fn a_resource_that_is_named_by_a_hash_is_found_by_its_id() {
    let place = Place::new();
    let (audit, _task) = place.run().await;
    let mut token = record("", "a");
    TOKENS[0].clone_into(&mut token.resource_type);
    "secret-of-all".clone_into(&mut token.resource_id);
    audit.append(&token).await.expect("noted");
    let query = |id: &str| Query { resource_id: Some(id.to_owned()), ..Query::default() };
    assert_eq!(ids(&audit, query("secret-of-all")).await, [1]);
    assert_eq!(ids(&audit, query("another")).await, Vec::<u64>::new());
}

#[tokio::test]
async fn acknowledged_records_survive_the_end_of_the_process_and_followers_go_on() {
    let place = Place::new();
    let (audit, task) = place.run().await;
    place.fill(&audit).await;
    task.abort();
    task.join().await;
    drop(audit);
    let (audit, _task) = place.run().await;
    assert_eq!(ids(&audit, Query::default()).await, [1, 2, 3]);
    let mut follower = audit.follow(Start::Number(2)).expect("a follower");
    assert_eq!(follower.position().await.expect("an id"), 2);
    let old: Vec<u64> = follower.next().await.expect("records").iter().map(|line| line.id).collect();
    assert_eq!(old, [2, 3]);
    assert_eq!(audit.append(&record("c", "d")).await.expect("noted"), 4);
    let new = follower.next().await.expect("records");
    let [new] = new.as_slice() else { panic!("one record: {new:?}") };
    assert!(new.id == 4 && new.json.starts_with(br#"{"event_type":"update""#), "{new:?}");
}
