//! Calls through the door, with and without a connection.

use bytes::{BufMut as _, Bytes, BytesMut};
use corten_api::machine::MetaWriteRequest;
use corten_api::rules::{self, RULES};
use corten_base::Secret;
use corten_client::{Client, Credentials, Endpoints, Server};
use http::Request as HttpRequest;
use http_body_util::Full;
use prost::Message as _;
use semver::Version;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Code;

use super::caller::Peer;
use super::*;
use crate::link::place::Place;
use crate::profile::Profile;
use crate::testing::{apply, client, control_plane, machine, machine_that_joins, settle, world};

/// A call as it comes over HTTP/2.
fn call(path: &str, message: &[u8]) -> HttpRequest<Full<Bytes>> {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("short"));
    frame.put_slice(message);
    HttpRequest::post(format!("http://machine{path}"))
        .header("content-type", "application/grpc")
        .body(Full::new(frame.freeze()))
        .expect("a request")
}

/// What comes of a call: its status when it fails before it begins to answer.
async fn refused(machine: &Arc<Emulated>, peer: &Peer, path: &str, message: &[u8]) -> Result<(), Status> {
    let response = door::answer(machine, peer, call(path, message)).await?;
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

fn with_roles(roles: Roles) -> Peer {
    Peer { address: None, roles: Some(roles) }
}

fn configured() -> Arc<Emulated> {
    let machine = machine(&world(), 0);
    settle(&machine);
    apply(&machine, &control_plane()).expect("applied");
    settle(&machine);
    machine
}

#[tokio::test]
async fn the_roles_of_every_method_are_those_of_the_table() {
    let machine = configured();
    for rule in RULES {
        for roles in [Roles::READER, Roles::OPERATOR, Roles::META_WRITER, Roles::IMPERSONATOR] {
            // Only refusals are asked for: what is permitted would be done.
            if rule.allows(roles, false) {
                continue;
            }
            let service = rule.method.trim_start_matches('/').split('/').next().unwrap_or_default();
            let refused = refused(&machine, &with_roles(roles), rule.method, b"").await;
            let status = refused.expect_err(rule.method);
            assert!(machine.profile().has_service(service));
            assert_eq!((status.code(), status.message()), (Code::PermissionDenied, rules::NOT_AUTHORIZED));
        }
    }
}

#[tokio::test]
async fn in_maintenance_the_manager_writes_meta_and_others_do_not() {
    let machine = machine(&world(), 0);
    settle(&machine);
    let write = MetaWriteRequest { key: 16, value: b"token".to_vec() }.encode_to_vec();
    let path = "/machine.MachineService/MetaWrite";
    let stranger = Peer { address: "10.0.0.1".parse().ok(), roles: None };
    let denied = refused(&machine, &stranger, path, &write).await.expect_err("denied");
    assert_eq!(denied.code(), Code::PermissionDenied);
    let manager = Peer { address: "fdae:41e4:649b:9303::1".parse().ok(), roles: None };
    refused(&machine, &manager, path, &write).await.expect("written");
    assert_eq!(machine.unique_token(), "token");
    let early = refused(&machine, &manager, "/machine.MachineService/Bootstrap", b"").await;
    assert_eq!(early.expect_err("no configuration").code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn services_of_later_versions_are_unknown() {
    let world = world();
    for (minor, profile) in [(12, Profile::V12), (13, Profile::V13), (14, Profile::V14)] {
        let machine = machine_that_joins(&world, minor, Version::new(1, u64::from(minor), 0), "grpc://m:1");
        settle(&machine);
        let peer = Peer { address: "fdae:41e4:649b:9303::1".parse().ok(), roles: None };
        let path = "/machine.LifecycleService/Install";
        let status = refused(&machine, &peer, path, b"").await.expect_err("no disk is named");
        let expected = if profile < Profile::V13 { Code::Unimplemented } else { Code::InvalidArgument };
        assert_eq!(status.code(), expected, "{}", status.message());
    }
}

#[tokio::test]
async fn a_call_for_another_machine_is_passed_on_by_a_configured_one() {
    let world = world();
    let (own, other) = (machine(&world, 0), machine(&world, 1));
    settle(&own);
    settle(&other);
    let address = "fdae:41e4:649b:9303::9";
    world.enter(address.parse().expect("an address"), &other);
    let to = |node: &str| {
        let mut request = call("/machine.MachineService/Version", b"");
        request.headers_mut().insert("node", node.parse().expect("a value"));
        request
    };
    let peer = with_roles(Roles::ADMIN);
    let early = door::answer(&own, &peer, to(address)).await.expect_err("in maintenance");
    assert_eq!(early.code(), Code::PermissionDenied);
    apply(&own, &control_plane()).expect("applied");
    settle(&own);
    door::answer(&own, &peer, to(address)).await.expect("passed on");
    let nobody = door::answer(&own, &peer, to("fdae:41e4:649b:9303::8")).await.expect_err("nobody");
    assert_eq!(nobody.code(), Code::Unavailable);
}

/// A machine's door on a port of this host.
async fn listen(machine: &Arc<Emulated>) -> (String, corten_base::Task) {
    let place = Arc::new(Place::read(crate::link::place::tests::response()).expect("a place"));
    let door = Arc::new(door::Door::new(Arc::clone(machine), place));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let endpoint = listener.local_addr().expect("an address").to_string();
    let task = corten_base::spawn("door", async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, address) = listener.accept().await.expect("a connection");
            let door = Arc::clone(&door);
            connections.spawn(async move {
                // Some are refused on purpose.
                let _ = listener::connection(&door, stream, address).await;
            });
        }
    });
    (endpoint, task)
}

fn connect(endpoint: &str, roles: Option<&[&str]>) -> Client {
    let own = roles.map(|roles| {
        let identity = client(roles);
        let key = Secret::new(identity.key.to_pem().reveal().clone().into_bytes());
        (identity.certificate.to_pem().into_bytes(), key)
    });
    let credentials =
        Credentials { server: Server::Anyone, own, clock: corten_base::Clock::fixed(1_800_000_000) };
    let endpoints = Endpoints::parse([endpoint], PORT).expect("an endpoint");
    Client::new(endpoints.connect(&credentials).expect("a channel"))
}

#[tokio::test]
async fn without_a_configuration_no_certificate_is_needed_to_read() {
    let machine = machine(&world(), 0);
    settle(&machine);
    let (endpoint, _task) = listen(&machine).await;
    let client = connect(&endpoint, None);
    let version = client.machine().version(()).await.expect("a version").into_inner();
    let tag = version.messages.first().and_then(|message| message.version.as_ref());
    assert_eq!(tag.map(|version| version.tag.as_str()), Some("v1.14.0"));
}

#[tokio::test]
async fn with_a_configuration_the_certificate_decides() {
    let machine = configured();
    let (endpoint, _task) = listen(&machine).await;
    let reader = connect(&endpoint, Some(&["os:reader"]));
    reader.machine().version(()).await.expect("a version");
    let denied = reader.machine().reboot(corten_api::machine::RebootRequest::default()).await;
    assert_eq!(denied.expect_err("denied").code(), Code::PermissionDenied);
    drop(reader);
    let stranger = connect(&endpoint, None);
    stranger.machine().version(()).await.expect_err("no certificate");
}
