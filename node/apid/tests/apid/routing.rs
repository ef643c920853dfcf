//! Where calls go, and what comes back byte for byte.

use std::net::SocketAddr;

use corten_api::common;
use corten_api::machine::HostnameResponse;
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::Code;

use super::machined::{framed, hostname_response};
use super::node::Node;

const HOSTNAME: &str = "/machine.MachineService/Hostname";
const APPLY: &str = "/machine.MachineService/ApplyConfiguration";
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

#[tokio::test]
async fn every_machine_forwards_to_every_other_byte_for_byte() {
    let nodes = Node::three().await;
    let names = ["a", "b", "c"];
    let kinds =
        [(HOSTNAME, &b""[..]), (DMESG, b""), (APPLY, &[0, 0xff, 0x80, 7][..]), ("/unheard.Of/It", b"x")];
    let mut direct = Vec::new();
    for node in &nodes {
        let (client, mut answers) = (node.client(&["os:admin"]).await, Vec::new());
        for (method, message) in kinds {
            let answer = client.call(method, &[], message).await.expect("an answer");
            answers.push((answer.body, answer.status.code(), answer.status.message().to_owned()));
        }
        direct.push(answers);
    }
    for from in &nodes {
        let client = from.client(&["os:admin"]).await;
        for (to, expected) in nodes.iter().zip(&direct) {
            let target = to.address.ip().to_string();
            for ((method, message), expected) in kinds.into_iter().zip(expected) {
                let answer = client.call(method, &[("node", &target)], message).await.expect("an answer");
                let found = (answer.body, answer.status.code(), answer.status.message().to_owned());
                assert_eq!(&found, expected, "{method} from {} to {target}", from.address);
            }
        }
        let addresses = ["127.0.0.4", "127.0.0.2", "127.0.0.3"];
        let metadata = addresses.map(|address| ("nodes", address));
        let answer = client.call(HOSTNAME, &metadata, b"").await.expect("an answer");
        let parts: Vec<u8> =
            [2, 0, 1].into_iter().flat_map(|at| tagged(names[at], addresses_of(at))).collect();
        assert_eq!((answer.status.code(), answer.body), (Code::Ok, framed(&parts)), "from {}", from.address);
    }
}

/// The address of one of three machines.
fn addresses_of(number: usize) -> &'static str {
    ["127.0.0.2", "127.0.0.3", "127.0.0.4"][number]
}

#[tokio::test]
async fn more_machines_than_are_asked_at_a_time_keep_their_order() {
    let nodes = Node::three().await;
    let client = nodes[0].client(&["os:reader"]).await;
    let order: Vec<usize> = (0..100).map(|number| number * 7 % 3).collect();
    let metadata: Vec<(&str, &str)> = order.iter().map(|number| ("nodes", addresses_of(*number))).collect();
    let answer = client.call(HOSTNAME, &metadata, b"").await.expect("an answer");
    let messages = HostnameResponse::decode(&answer.body[5..]).expect("decodes").messages;
    let names: Vec<&str> = messages.iter().map(|message| message.hostname.as_str()).collect();
    let expected: Vec<&str> = order.iter().map(|number| ["a", "b", "c"][*number]).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_machine_that_does_not_shake_hands_fails_alone_and_in_time() {
    let nodes = Node::three().await;
    let [a, b, c] = nodes;
    drop(c);
    // A machine that hangs: the kernel takes connections, and nobody answers.
    let place = SocketAddr::from(([127, 0, 0, 4], b.address.port()));
    let silent = loop {
        match TcpListener::bind(place).await {
            Ok(listener) => break listener,
            // The machine that had it is about to go.
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let client = a.client(&["os:reader"]).await;
    let quick = a.client(&["os:reader"]).await;
    let metadata = ["127.0.0.4", "127.0.0.3", "127.0.0.2"].map(|address| ("nodes", address));
    let asked = client.call(HOSTNAME, &metadata, b"");
    let others = async {
        for target in ["127.0.0.2", "127.0.0.3"] {
            let answer = quick.call(HOSTNAME, &[("node", target)], b"").await.expect("an answer");
            assert_eq!(answer.status.code(), Code::Ok, "{target} while another is asked in vain");
        }
    };
    let (answer, ()) = tokio::join!(asked, others);
    let messages = HostnameResponse::decode(&answer.expect("in time").body[5..]).expect("decodes").messages;
    let failed = messages[0].metadata.clone().expect("metadata");
    assert_eq!((failed.hostname.as_str(), failed.status.expect("a status").code), ("127.0.0.4", 14));
    assert_eq!([messages[1].hostname.as_str(), messages[2].hostname.as_str()], ["b", "a"]);
    drop(silent);
}
