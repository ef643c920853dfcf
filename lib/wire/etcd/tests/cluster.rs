//! Against real etcd members on loopback: keys, lock, snapshot, a second member from learner to leader.
//!
//! `CORTEN_ETCD` names the etcd program.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test drives real daemons and fails by panicking"
)]
#![expect(clippy::disallowed_methods, reason = "this test starts the members itself")]

#[path = "member/fixture.rs"]
mod fixture;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use corten_etcd::{Change, Client, Downgrade, Looked, News, Outcome, Remote, Txn};
use fixture::{Pki, Process, eventually};
use futures::StreamExt;
use sha2::{Digest, Sha256};

const TTL: Duration = Duration::from_secs(5);

/// One cluster for all stories: it takes seconds to start.
#[tokio::test]
async fn speaks_to_real_members() {
    let Some(pki) = Pki::new() else { return };
    let first = Process::start(&pki, "first");
    let client = Client::new(&pki.config(&[first.client_port])).unwrap();
    eventually("a serving member", async || client.healthy().await.unwrap_or(false)).await;
    keys(&client).await;
    pages(&client).await;
    watches(&client).await;
    forgets(&client).await;
    goes_to_another_member(&pki, first.client_port).await;
    locks(&client).await;
    maintenance(&client).await;
    strangers(&pki, first.client_port).await;
    grows_and_shrinks(&pki, &first, &client).await;
}

async fn keys(client: &Client) {
    assert_eq!(client.get("a").await.unwrap(), None);
    client.put("a", "1", 0).await.unwrap();
    let pair = client.get("a").await.unwrap().unwrap();
    assert_eq!(pair.value, b"1");
    assert_eq!(client.commit(Txn::new().if_absent("a").put("a", "2", 0)).await.unwrap(), None);
    let change = Txn::new().if_modified_at("a", pair.modified).put("a", "2", 0).put("b", "3", 0);
    assert!(client.commit(change).await.unwrap().is_some());
    let (pairs, revision) = client.list(b"", 10).await.unwrap();
    assert_eq!(pairs.iter().map(|it| it.value.as_slice()).collect::<Vec<_>>(), [b"2", b"3"]);
    assert!(revision >= pairs[0].modified);
    assert!(client.delete("a").await.unwrap());
    assert!(!client.delete("a").await.unwrap());
}

async fn pages(client: &Client) {
    for key in ["p/1", "p/2", "p/3"] {
        client.put(key, key, 0).await.unwrap();
    }
    let first = client.page(b"p/", None, 2, 0).await.unwrap();
    assert!(first.has_more && first.pairs.len() == 2);
    client.put("p/4", "later", 0).await.unwrap();
    let last = &first.pairs[1].key;
    let second = client.page(b"p/", Some(last), 2, first.revision).await.unwrap();
    assert!(!second.has_more, "what came later is not of this revision");
    assert_eq!(second.pairs.iter().map(|it| it.key.as_slice()).collect::<Vec<_>>(), [b"p/3"]);

    let stale = Txn::new().if_absent("p/1").if_absent("p/9").or_tell("p/1").or_tell("p/9").put("p/9", "", 0);
    let Outcome::Refused(told) = client.run(stale).await.unwrap() else { panic!("p/1 is there") };
    assert_eq!(told.iter().map(|it| it.key.as_slice()).collect::<Vec<_>>(), [b"p/1"]);
}

async fn forgets(client: &Client) {
    let (_, before) = client.list(b"", 1).await.unwrap();
    for value in ["1", "2", "3"] {
        client.put("f/1", value, 0).await.unwrap();
    }
    let (_, now) = client.list(b"", 1).await.unwrap();
    client.compact(now).await.unwrap();
    let mut watch = client.follow(b"f/", before + 1).await.unwrap();
    assert!(matches!(watch.news().await.unwrap(), Some(News::Compacted(revision)) if revision == now));
    let mut watch = client.watch(b"f/", before + 1).await.unwrap();
    assert!(watch.next().await.unwrap_err().to_string().contains("is gone"));
}

/// A name, a member that is not there, and one that is.
async fn goes_to_another_member(pki: &Pki, port: u16) {
    let remote = Remote {
        endpoints: vec!["https://nowhere.invalid:1".to_owned(), format!("https://127.0.0.1:{port}")],
        identity: Some(pki.config(&[port]).identity),
        keep_alive: TTL,
        keep_alive_timeout: TTL,
        lookup: literal,
    };
    let client = Client::remote(&remote).unwrap();
    for client in [client.clone(), client.redialled().unwrap()] {
        assert!(client.healthy().await.unwrap());
    }
}

fn literal(host: String) -> Looked {
    let found = host.parse::<IpAddr>().map(|ip| vec![ip]).map_err(io::Error::other);
    Box::pin(std::future::ready(found))
}

async fn watches(client: &Client) {
    let (_, revision) = client.list(b"", 1).await.unwrap();
    client.put("w/1", "x", 0).await.unwrap();
    client.delete("w/1").await.unwrap();
    let mut watch = client.watch(b"w/", revision + 1).await.unwrap();
    let mut changes = Vec::new();
    while changes.len() < 2 {
        changes.extend(watch.next().await.unwrap().unwrap());
    }
    assert!(matches!(&changes[..], [Change::Put(pair), Change::Deleted(_)] if pair.key == b"w/1"));
}

async fn locks(client: &Client) {
    let first = client.lock("mutex", TTL).await.unwrap();
    let waiting = client.clone();
    let second = corten_base::spawn("second", async move { waiting.lock("mutex", TTL).await });
    let candidates = async || client.list(b"mutex/", 10).await.unwrap().0.len() == 2;
    eventually("a second candidate", candidates).await;
    assert!(first.is_held() && !second.is_finished());
    let guarded = first.guard(Txn::new().put("guarded", "1", 0)).await.unwrap();
    assert!(client.commit(guarded.clone()).await.unwrap().is_some());
    first.release().await.unwrap();
    let second = second.join().await.unwrap().unwrap();
    assert_eq!(client.commit(guarded).await.unwrap(), None, "the first holder cannot write any more");

    // Somebody breaks the lock by removing its key: what the holder guards does not happen any more.
    let (pairs, _) = client.list(b"mutex/", 10).await.unwrap();
    client.delete(pairs[0].key.clone()).await.unwrap();
    assert!(second.guard(Txn::new()).await.is_err());
    drop(second);
}

async fn maintenance(client: &Client) {
    let status = client.status().await.unwrap();
    assert!(status.leader == status.member && status.db_size > 0 && status.version.starts_with("3."));
    assert!(client.alarms().await.unwrap().is_empty());
    client.defragment().await.unwrap();
    assert!(client.downgrade(Downgrade::Validate, "9.9").await.is_err());

    let mut pieces = client.snapshot().await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend(piece.unwrap());
    }
    let (database, digest) = bytes.split_at(bytes.len() - 32);
    assert_eq!(Sha256::digest(database).as_slice(), digest);
}

async fn strangers(pki: &Pki, port: u16) {
    let mut config = pki.config(&[port]);
    config.identity = Pki::new().unwrap().config(&[port]).identity;
    let error = Client::new(&config).unwrap().status().await.unwrap_err();
    assert!(error.is_transient(), "{}", corten_base::chain(&error));
}

async fn grows_and_shrinks(pki: &Pki, first: &Process, client: &Client) {
    let ports = Process::ports();
    let (learner, members) = client.add_learner(&[Process::peer_url(&ports)]).await.unwrap();
    assert!(learner.learner && members.len() == 2);
    let joining = [(first.name.clone(), first.peer_url_of_self())];
    let second = Process::join(pki, "second", ports, &joining);
    eventually("a promoted member", async || client.promote(learner.id).await.is_ok()).await;

    let both = Client::new(&pki.config(&[1, second.client_port])).unwrap();
    let members = both.members().await.unwrap();
    assert!(members.iter().all(|it| !it.learner && !it.name.is_empty()), "{members:?}");
    let alone = Client::new(&pki.config(&[second.client_port])).unwrap();
    assert_eq!(alone.local_members().await.unwrap().len(), 2);
    client.move_leader(learner.id).await.unwrap();
    eventually("the new leader", async || {
        alone.status().await.is_ok_and(|it| it.leader == learner.id && it.member == learner.id)
    })
    .await;
    assert!(client.move_leader(learner.id).await.is_err(), "only the leader can move it");
    let old = members.iter().find(|it| it.id != learner.id).unwrap();
    // Right after joining, etcd refuses changes until the member counts as well connected.
    eventually("a removed member", async || alone.remove_member(old.id).await.is_ok()).await;
    assert!(alone.remove_member(old.id).await.unwrap_err().is_not_found());

    let lock = alone.lock("mutex", Duration::from_secs(2)).await.unwrap();
    assert!(lock.is_held());
    drop(second);
    lock.lost().await;
    assert!(!lock.is_held());
}
