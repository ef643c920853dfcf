//! Who gets in, and with which roles.

use std::time::Duration;

use corten_apid::Access;
use corten_pki::{LeafRequest, Subject};
use http::HeaderValue;
use tonic::Code;

use super::client::Client;
use super::node::{Node, Setup, authority, issue, with_roles};

const HOSTNAME: &str = "/machine.MachineService/Hostname";
const APPLY: &str = "/machine.MachineService/ApplyConfiguration";

async fn refused(node: &Node, own: Option<&corten_pki::Identity>) {
    let outcome = match Client::connect(node.address, &node.authority, own).await {
        Ok(client) => client.call(HOSTNAME, &[], b"").await.map(|answer| answer.body),
        Err(error) => Err(error),
    };
    assert!(outcome.is_err(), "{outcome:?}");
}

#[tokio::test]
async fn strangers_do_not_get_in() {
    let node = Node::single().await;
    refused(&node, None).await;
    refused(&node, Some(&with_roles(&authority(), &["os:admin"]))).await;
    let admin = || Subject::organizations(["os:admin"]);
    let day = Duration::from_secs(86_400);
    refused(&node, Some(&issue(&node.authority, &LeafRequest::server(admin(), day)))).await;
    refused(&node, Some(&issue(&node.authority, &LeafRequest::peer(admin(), day)))).await;
    let answer = node.client(&["os:admin"]).await.call(HOSTNAME, &[], b"").await.expect("still serving");
    assert_eq!(answer.status.code(), Code::Ok);
}

#[tokio::test]
async fn roles_come_from_the_certificate() {
    let node = Node::single().await;
    let reader = node.client(&["os:reader"]).await;
    let answer = reader.call(HOSTNAME, &[("talos-role", "os:admin")], b"").await.expect("answer");
    assert_eq!(answer.headers["seen-roles"], "os:reader");
    let denied = reader.call(APPLY, &[("talos-role", "os:admin")], b"").await.expect("answer");
    assert_eq!((denied.status.code(), denied.status.message()), (Code::PermissionDenied, "not authorized"));
}

#[tokio::test]
async fn an_impersonator_names_the_roles() {
    let node = Node::single().await;
    let impersonator = node.client(&["os:impersonator"]).await;
    let answer = impersonator.call(APPLY, &[("talos-role", "os:admin")], b"x").await.expect("answer");
    assert_eq!((answer.status.code(), answer.headers["seen-roles"].as_bytes()), (Code::Ok, &b"os:admin"[..]));
    let denied = impersonator.call(HOSTNAME, &[], b"").await.expect("answer");
    assert_eq!(denied.status.code(), Code::PermissionDenied, "without roles an impersonator has none");
}

#[tokio::test]
async fn only_a_client_certificate_of_the_machines_ca_impersonates() {
    let node = Node::single().await;
    let impersonator = || Subject::organizations(["os:impersonator"]);
    let day = Duration::from_secs(86_400);
    refused(&node, Some(&with_roles(&authority(), &["os:impersonator"]))).await;
    refused(&node, Some(&issue(&node.authority, &LeafRequest::server(impersonator(), day)))).await;
    refused(&node, Some(&issue(&node.authority, &LeafRequest::peer(impersonator(), day)))).await;
    // What another apid sends along counts for nothing from anybody else.
    let operator = node.client(&["os:operator"]).await;
    let metadata = [("proxyfrom", "10.5.0.9"), ("talos-role", "os:admin"), ("node", "127.0.0.2")];
    let answer = operator.call(HOSTNAME, &metadata, b"").await.expect("answer");
    assert_eq!(
        (answer.status.code(), &answer.headers["seen-roles"]),
        (Code::Ok, &HeaderValue::from_static("os:operator"))
    );
    let denied = operator.call(APPLY, &metadata, b"").await.expect("answer");
    assert_eq!(denied.status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn certificates_rotate_without_a_restart() {
    let node = Node::single().await;
    let before = node.client(&["os:reader"]).await;
    let next = authority();
    let replaced = super::node::identity(&next, node.address.ip());
    node.change(|identity| {
        identity.server = replaced.server;
        identity.accepted_cas = replaced.accepted_cas;
    });
    let own = with_roles(&next, &["os:reader"]);
    let after = Client::connect(node.address, &next, Some(&own)).await.expect("the new CA is trusted");
    assert_eq!(after.call(HOSTNAME, &[], b"").await.expect("answer").status.code(), Code::Ok);
    refused(&node, Some(&with_roles(&node.authority, &["os:reader"]))).await;
    let kept = before.call(HOSTNAME, &[], b"").await.expect("an open connection goes on");
    assert_eq!(kept.status.code(), Code::Ok);
}

#[tokio::test]
async fn a_bad_certificate_does_not_lock_out() {
    let node = Node::single().await;
    node.change(|identity| identity.server.certificates = b"not a certificate".to_vec());
    let answer = node.client(&["os:reader"]).await.call(HOSTNAME, &[], b"").await.expect("answer");
    assert_eq!(answer.status.code(), Code::Ok);
}

#[tokio::test]
async fn maintenance_reads_without_a_certificate_and_ends_with_the_mode() {
    let setup = Setup {
        change: |identity| {
            identity.access = Access::ReadOnly;
            identity.verify_clients = false;
            identity.routing = false;
        },
        ..Setup::alone()
    };
    let node = Node::start(setup).await;
    let client = Client::connect(node.address, &node.authority, None).await.expect("connected");
    let answer = client.call(HOSTNAME, &[("talos-role", "os:admin")], b"").await.expect("answer");
    assert_eq!(answer.headers["seen-roles"], "os:reader");
    let remote = client.call(HOSTNAME, &[("node", "127.0.0.2")], b"").await.expect("answer");
    assert_eq!(
        (remote.status.code(), remote.status.message()),
        (Code::PermissionDenied, "no request forwarding")
    );
    node.change(|identity| {
        identity.access = Access::Certificate;
        identity.verify_clients = true;
    });
    let outcome = client.call(HOSTNAME, &[], b"").await;
    assert!(
        outcome.as_ref().map_or(true, |answer| answer.status.code() == Code::Unauthenticated),
        "{outcome:?}"
    );
}
