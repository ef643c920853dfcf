//! Streams that misbehave do not hurt others; large messages and half-closed streams pass.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic::body::Body;

use super::client::{PATIENCE, finish};
use super::machined::framed;
use super::node::Node;

const APPLY: &str = "/machine.MachineService/ApplyConfiguration";
const EVENTS: &str = "/machine.MachineService/Events";
const HOSTNAME: &str = "/machine.MachineService/Hostname";
const RUN: &str = "/machine.DebugService/ContainerRun";

#[tokio::test]
async fn readers_that_stop_reading_stop_only_themselves() {
    let (a, _b) = Node::pair().await;
    let slow = a.client(&["os:reader"]).await;
    let mut unread = Vec::new();
    for index in 0..40 {
        let metadata: &[_] = if index % 2 == 0 { &[] } else { &[("node", "127.0.0.2")] };
        unread.push(slow.start(EVENTS, metadata, Body::new(Full::new(framed(b"")))).await.expect("started"));
    }
    let quick = a.client(&["os:reader"]).await;
    for metadata in [&[][..], &[("node", "127.0.0.2")], &[("nodes", "127.0.0.1"), ("nodes", "127.0.0.2")]] {
        assert_eq!(quick.call(HOSTNAME, metadata, b"").await.expect("answer").status.code(), Code::Ok);
    }
    let mut resumed = unread.pop().expect("a stream").into_body();
    for _ in 0..64 {
        let frame = timeout(PATIENCE, resumed.frame()).await.expect("the stream goes on");
        assert!(frame.expect("more").expect("unbroken").is_data());
    }
}

#[tokio::test]
async fn a_half_closed_stream_still_brings_its_answer() {
    let node = Node::single().await;
    let client = node.client(&["os:admin"]).await;
    let (sender, receiver) = mpsc::unbounded_channel::<Result<Frame<Bytes>, std::io::Error>>();
    let body = Body::new(StreamBody::new(UnboundedReceiverStream::new(receiver)));
    let mut response = client.start(RUN, &[], body).await.expect("started");
    sender.send(Ok(Frame::data(framed(b"ping")))).expect("open");
    let echo = timeout(PATIENCE, response.body_mut().frame()).await.expect("an echo before the end");
    assert_eq!(echo.expect("a frame").expect("unbroken").into_data().expect("data"), framed(b"ping"));
    sender.send(Ok(Frame::data(framed(b"last")))).expect("open");
    drop(sender);
    let answer = finish(response).await.expect("an end");
    assert_eq!((answer.body, answer.status.code()), (framed(b"last"), Code::Ok));
}

#[tokio::test]
async fn the_largest_message_passes_both_ways() {
    let node = Node::single().await;
    let client = node.client(&["os:admin"]).await;
    let message = vec![7; corten_api::MESSAGE_BYTES_MAX];
    let answer = client.call(APPLY, &[], &message).await.expect("answer");
    assert_eq!(answer.status.code(), Code::Ok);
    assert!(answer.body == framed(&message), "unchanged");
}

#[tokio::test]
async fn without_machined_calls_are_unavailable() {
    let node = Node::single().await;
    let client = node.client(&["os:reader"]).await;
    assert_eq!(client.call(HOSTNAME, &[], b"").await.expect("answer").status.code(), Code::Ok);
    let response = client.start(EVENTS, &[], Body::new(Full::new(framed(b"")))).await.expect("started");
    node.stop_machined().await;
    let broken = finish(response).await.expect("well-formed to the end");
    assert_eq!(broken.status.code(), Code::Unavailable);
    let answer = client.call(HOSTNAME, &[], b"").await.expect("answer");
    assert_eq!(answer.status.code(), Code::Unavailable);
    assert!(answer.status.message().contains("machine.sock"), "{}", answer.status.message());
}

#[tokio::test]
async fn unknown_methods_reach_machined() {
    let node = Node::single().await;
    let answer = node.client(&["os:admin"]).await.call("/unheard.Of/It", &[], b"").await.expect("answer");
    assert_eq!((answer.status.code(), answer.status.message()), (Code::Unimplemented, "not here"));
}
