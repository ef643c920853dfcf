//! Where calls go, and what comes back byte for byte.

use corten_api::common;
use corten_api::machine::HostnameResponse;
use prost::Message as _;
use tonic::Code;

use super::machined::{framed, hostname_response};
use super::node::Node;

const HOSTNAME: &str = "/machine.MachineService/Hostname";
const DMESG: &str = "/machine.MachineService/Dmesg";

/// `common.Metadata { hostname }` as field 1.
fn tag(hostname: &str) -> Vec<u8> {
    common::Empty { metadata: Some(common::Metadata { hostname: hostname.to_owned(), ..Default::default() }) }
        .encode_to_vec()
}

fn tagged(name: &str, hostname: &str) -> Vec<u8> {
    let mut inner = hostname_response(name)[2..].to_vec();
    inner.extend(tag(hostname));
    let mut whole = vec![0x0a, u8::try_from(inner.len()).expect("short")];
    whole.extend(inner);
    whole
}

#[tokio::test]
async fn one_machine_answers_unchanged() {
    let (a, b) = Node::pair().await;
    let client = a.client(&["os:reader"]).await;
    for (metadata, name) in
        [(vec![], "a"), (vec![("node", "127.0.0.1")], "a"), (vec![("node", "127.0.0.2")], "b")]
    {
        let answer = client.call(HOSTNAME, &metadata, b"").await.expect("answer");
        assert_eq!(answer.body, framed(&hostname_response(name)), "{metadata:?}");
        assert_eq!(answer.headers["seen-roles"], "os:reader", "the caller's roles travel along");
        let from = if name == "b" { a.address.to_string() } else { "-".to_owned() };
        assert_eq!(answer.headers["seen-proxyfrom"], from.as_str());
    }
    drop(b);
}

#[tokio::test]
async fn many_machines_answer_in_the_envelope() {
    let (a, _b) = Node::pair().await;
    let client = a.client(&["os:reader"]).await;
    let nodes = [("nodes", "127.0.0.2"), ("nodes", "127.0.0.1")];
    let answer = client.call(HOSTNAME, &nodes, b"").await.expect("answer");
    let expected = [tagged("b", "127.0.0.2"), tagged("a", "127.0.0.1")].concat();
    assert_eq!((answer.status.code(), answer.body), (Code::Ok, framed(&expected)));
}

#[tokio::test]
async fn a_machine_that_fails_is_part_of_the_answer() {
    let (a, b) = Node::pair().await;
    drop(b);
    let client = a.client(&["os:reader"]).await;
    let nodes = [("nodes", "127.0.0.2"), ("nodes", "127.0.0.1")];
    let answer = client.call(HOSTNAME, &nodes, b"").await.expect("answer");
    assert_eq!(answer.status.code(), Code::Ok);
    let messages = HostnameResponse::decode(&answer.body[5..]).expect("decodes").messages;
    let failed = messages[0].metadata.clone().expect("metadata");
    assert_eq!(
        (failed.hostname.as_str(), failed.status.expect("status").code),
        ("127.0.0.2", Code::Unavailable as i32)
    );
    assert!(
        failed.error.starts_with("rpc error: code = Unavailable desc = connection error"),
        "{}",
        failed.error
    );
    assert_eq!(messages[1].hostname, "a");
}

#[tokio::test]
async fn streams_of_many_machines_are_merged_and_end_well() {
    let (a, _b) = Node::pair().await;
    let client = a.client(&["os:reader"]).await;
    let nodes = [("nodes", "127.0.0.2"), ("nodes", "127.0.0.1")];
    let answer = client.call(DMESG, &nodes, b"").await.expect("answer");
    assert_eq!(answer.status.code(), Code::Ok, "errors are messages");
    let mut rest = &answer.body[..];
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[1..5].try_into().expect("four bytes")) as usize;
        let data = common::Data::decode(&rest[5..5 + length]).expect("decodes");
        let metadata = data.metadata.expect("metadata");
        seen.push((metadata.hostname, data.bytes.to_vec(), metadata.status.map_or(0, |status| status.code)));
        rest = &rest[5 + length..];
    }
    for node in ["127.0.0.1", "127.0.0.2"] {
        let of: Vec<_> = seen
            .iter()
            .filter(|(from, ..)| from == node)
            .map(|(_, bytes, code)| (&bytes[..], *code))
            .collect();
        assert_eq!(of, [(&b"one"[..], 0), (b"two", 0), (b"", Code::NotFound as i32)], "{node}");
    }
}

#[tokio::test]
async fn a_worker_forwards_nothing() {
    let node = Node::single().await;
    node.change(|identity| identity.client = None);
    let client = node.client(&["os:admin"]).await;
    for key in ["node", "nodes"] {
        let answer = client.call(HOSTNAME, &[(key, "127.0.0.2")], b"").await.expect("answer");
        assert_eq!(
            (answer.status.code(), answer.status.message()),
            (Code::PermissionDenied, "no request forwarding")
        );
    }
    let own = client.call(HOSTNAME, &[("node", "127.0.0.1")], b"").await.expect("answer");
    assert_eq!(own.status.code(), Code::Ok);
}
