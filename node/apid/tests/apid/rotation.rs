//! Certificates and CAs change while streams are open: none breaks, and what comes next is judged by the new ones.

use corten_apid::Identity;
use corten_pki::Authority;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::time::timeout;
use tonic::Code;
use tonic::body::Body;

use super::client::{Client, PATIENCE};
use super::machined::framed;
use super::node::{self, Node, authority, with_roles};

const EVENTS: &str = "/machine.MachineService/Events";
const HOSTNAME: &str = "/machine.MachineService/Hostname";
/// Streams that are open, half of them to another machine.
const STREAMS: usize = 100;

/// Opens streams, every other to the machine behind.
async fn open(client: &Client) -> Vec<Incoming> {
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let metadata: &[_] = if number.is_multiple_of(2) { &[] } else { &[("node", "127.0.0.2")] };
        let response = client.start(EVENTS, metadata, Body::new(Full::new(framed(b"")))).await;
        streams.push(response.expect("started").into_body());
    }
    streams
}

/// Reads more of each stream than can have been on its way.
async fn read(streams: &mut [Incoming]) {
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut received = 0;
        while received < 192 * 1024 {
            let frame = timeout(PATIENCE, stream.frame()).await.expect("the stream goes on");
            let frame = frame.unwrap_or_else(|| panic!("stream {number} has ended")).expect("unbroken");
            received += frame.data_ref().unwrap_or_else(|| panic!("stream {number} has ended")).len();
        }
    }
}

/// What a machine has when this is its CA.
fn renewed(node: &Node, authority: &Authority) -> Identity {
    node::identity(authority, node.address.ip())
}

/// Gives a machine certificates of one CA, and has it accept those of several.
fn rotate(node: &Node, serving: &Authority, accepted: &[&Authority]) {
    let next = renewed(node, serving);
    let pems: Vec<String> = accepted.iter().map(|ca| ca.certificate().to_pem()).collect();
    node.change(|identity| {
        identity.server = next.server;
        identity.client = next.client;
        identity.accepted_cas = pems.concat().into_bytes();
    });
}

async fn answers(client: &Client) {
    for metadata in [&[][..], &[("node", "127.0.0.2")]] {
        let answer = client.call(HOSTNAME, metadata, b"").await.expect("an answer");
        assert_eq!(answer.status.code(), Code::Ok, "{metadata:?}: {:?}", answer.status);
    }
}

#[tokio::test]
async fn a_hundred_streams_outlive_new_certificates_and_a_new_ca() {
    let (a, b) = Node::pair().await;
    let (old, new) = (node::copy(&a.authority), authority());
    let client = a.client(&["os:reader"]).await;
    let mut streams = open(&client).await;
    read(&mut streams).await;
    // As an operator rotates: first both CAs are accepted, then the new one serves, then the old one is forgotten.
    for (serving, accepted) in [(&old, vec![&old, &new]), (&new, vec![&old, &new]), (&new, vec![&new])] {
        for node in [&b, &a] {
            rotate(node, serving, &accepted);
        }
        read(&mut streams).await;
        let own = with_roles(serving, &["os:reader"]);
        let fresh = Client::connect(a.address, serving, Some(&own)).await.expect("connected");
        answers(&fresh).await;
    }
    let stale = with_roles(&old, &["os:reader"]);
    let refused = match Client::connect(a.address, &new, Some(&stale)).await {
        Ok(client) => client.call(HOSTNAME, &[], b"").await.map(|answer| answer.status),
        Err(error) => Err(error),
    };
    assert!(refused.is_err(), "the old CA is forgotten: {refused:?}");
    answers(&client).await;
    read(&mut streams).await;
    assert_eq!(streams.len(), STREAMS);
}

#[tokio::test]
async fn new_names_of_a_machine_leave_its_connections_to_others_alone() {
    let (a, b) = Node::pair().await;
    let client = a.client(&["os:reader"]).await;
    answers(&client).await;
    // What `b` is reached by now is refused; the connection that is there goes on.
    b.change(|identity| identity.accepted_cas = authority().certificate().to_pem().into_bytes());
    a.change(|identity| {
        identity.local.names.insert("another-name".to_owned());
    });
    answers(&client).await;
    a.change(|identity| identity.client = Some(renewed(&a, &a.authority).client.expect("a control plane")));
    let answer = client.call(HOSTNAME, &[("node", "127.0.0.2")], b"").await.expect("an answer");
    assert_eq!(answer.status.code(), Code::Unavailable, "a new certificate makes a new connection");
}
