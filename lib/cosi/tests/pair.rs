//! Server and client together, in one process.

use std::sync::Arc;

use corten_api::cosi::resource as wire;
use corten_api::roles::Roles;
use corten_cosi::{Client, Policy, Restricted, Service, service};
use corten_resource::conformance::{self, ConformanceThing};
use corten_resource::{Pointer, Query, Registry, Resource, Start, State, StateError, Store, WatchOptions};
use tonic::{Code, Request, Status};
use wire::state_client::StateClient;
use wire::state_server::StateServer;

/// A secret.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ConformanceSecrets.corten.dev", namespace = "conformance", sensitive)]
struct Secret {
    #[field(1, "secret")]
    secret: String,
}

/// Nobody's business.
#[derive(Clone, Debug, Default, PartialEq, Resource)]
#[resource(kind = "ConformanceInternals.corten.dev", namespace = "conformance", internal)]
struct Internal {
    #[field(1, "text")]
    text: String,
}

fn registry() -> Registry {
    let mut registry = conformance::registry();
    registry.register::<Secret>().register::<Internal>();
    registry
}

fn serve(state: &State, roles: Option<Roles>) -> StateServer<Service> {
    let store: Arc<dyn Store> = Arc::new(state.store().clone());
    let policy = Arc::new(Policy::new(state.registry()));
    service(registry(), move |_| match roles {
        Some(roles) => Arc::new(Restricted::new(Arc::clone(&store), Arc::clone(&policy), roles)),
        None => Arc::clone(&store),
    })
}

#[tokio::test]
async fn the_pair_conforms() {
    let state = State::new(conformance::registry());
    conformance::run(Arc::new(Client::new(serve(&state, None), conformance::registry()))).await;
}

#[tokio::test]
async fn an_unregistered_type_passes_through_in_both_encodings() {
    let state = State::new(registry());
    state.put("", "a", ConformanceThing { text: "x".to_owned() }).expect("put");
    let client = Client::new(serve(&state, None), Registry::new());
    let found =
        client.get(&Pointer::new("conformance", "ConformanceThings.corten.dev", "a")).await.expect("there");
    assert!(found.spec::<ConformanceThing>().is_none());
    assert_eq!((found.to_proto(), found.to_yaml()), (b"\x0a\x01x".to_vec(), "text: x\n".to_owned()));
}

#[tokio::test]
async fn a_caller_sees_what_its_roles_permit_and_writes_nothing() {
    let state = State::new(registry());
    state.put("", "a", ConformanceThing::default()).expect("put");
    state.put("", "a", Secret::default()).expect("put");
    let client = |roles| Client::new(serve(&state, Some(roles)), registry());
    let (reader, admin) = (client(Roles::READER), client(Roles::ADMIN));
    let at = |namespace: &str, kind: &str| Pointer::new(namespace, kind, "a");
    let thing = at("conformance", "ConformanceThings.corten.dev");
    let secret = at("conformance", "ConformanceSecrets.corten.dev");
    reader.get(&thing).await.expect("readable");
    admin.get(&secret).await.expect("readable for the administrator");
    let denied = |text: &str| StateError::Denied(text.to_owned());
    let refused = [
        (&secret, "not authorized"),
        (&at("conformance", "Others.corten.dev"), "resource type \"Others.corten.dev\" is not supported"),
        (
            &at("conformance", "ConformanceInternals.corten.dev"),
            "resource type \"ConformanceInternals.corten.dev\" is not supported",
        ),
        (&at("elsewhere", "ConformanceThings.corten.dev"), "namespace \"elsewhere\" is not supported"),
    ];
    for (pointer, text) in refused {
        assert_eq!(reader.get(pointer).await, Err(denied(text)));
        assert_eq!(reader.list(pointer, &Query::default()).await, Err(denied(text)));
        assert_eq!(reader.watch(pointer, Start::Contents).await.expect_err("denied"), denied(text));
        assert_eq!(
            reader.watch_all(pointer, WatchOptions::contents()).await.expect_err("denied"),
            denied(text)
        );
    }
    let current = admin.get(&thing).await.expect("there");
    let no_writes = denied("write access is not allowed");
    assert_eq!(admin.create(current.clone(), "").await, Err(no_writes.clone()));
    assert_eq!(admin.update(current, &Default::default()).await, Err(no_writes.clone()));
    assert_eq!(admin.destroy(&thing, "").await, Err(no_writes.clone()));
    assert_eq!(admin.teardown(&thing, "").await, Err(no_writes));
}

fn watch_request(
    id: Option<&str>,
    api_version: i32,
    options: wire::WatchOptions,
) -> Request<wire::WatchRequest> {
    Request::new(wire::WatchRequest {
        namespace: "conformance".to_owned(),
        r#type: "ConformanceThings.corten.dev".to_owned(),
        id: id.map(str::to_owned),
        options: Some(options),
        api_version,
    })
}

#[tokio::test]
async fn a_watch_begins_with_an_empty_message_and_old_clients_see_no_new_events() {
    let state = State::new(registry());
    state.put("", "a", ConformanceThing::default()).expect("put");
    let mut client = StateClient::new(serve(&state, None));
    let contents = wire::WatchOptions { bootstrap_contents: true, ..Default::default() };
    for (api_version, expected) in [(1, vec![0, 3, 1]), (0, vec![0, 1])] {
        let mut stream = client
            .watch(watch_request(None, api_version, contents.clone()))
            .await
            .expect("a watch")
            .into_inner();
        let first = stream.message().await.expect("a message").expect("not the end");
        assert!(first.event.is_empty());
        state.put("", "a", ConformanceThing { text: api_version.to_string() }).expect("put");
        let mut types = Vec::new();
        for _ in &expected {
            let message = stream.message().await.expect("a message").expect("not the end");
            assert_eq!(message.event.len(), 1, "one event each when not aggregated");
            types.extend(message.event.iter().map(|event| event.event_type));
        }
        assert_eq!(types, expected);
    }
}

#[tokio::test]
async fn a_watch_by_id_refuses_what_the_protocol_lacks() {
    let state = State::new(registry());
    let mut client = StateClient::new(serve(&state, None));
    let mut refused = async |options| -> Status {
        client.watch(watch_request(Some("a"), 1, options)).await.expect_err("a refusal")
    };
    let status = refused(wire::WatchOptions { bootstrap_contents: true, ..Default::default() }).await;
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "bootstrap contents is not implemented for resource watch");
    let labels = wire::WatchOptions { label_query: vec![Default::default()], ..Default::default() };
    assert_eq!(refused(labels).await.code(), Code::Unimplemented);
    let stale = wire::WatchOptions { start_from_bookmark: Some(vec![1; 16]), ..Default::default() };
    assert_eq!(refused(stale).await.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_tombstone_has_metadata_and_an_empty_spec_without_which_clients_in_go_refuse_it() {
    let state = State::new(registry());
    let mut client = StateClient::new(serve(&state, None));
    let request = watch_request(Some("absent"), 1, wire::WatchOptions::default());
    let mut stream = client.watch(request).await.expect("a watch").into_inner();
    stream.message().await.expect("the empty message");
    let message = stream.message().await.expect("a message").expect("not the end");
    assert_eq!(message.event[0].event_type(), wire::EventType::Destroyed);
    let resource = message.event[0].resource.as_ref().expect("a tombstone");
    let spec = resource.spec.as_ref().expect("a specification");
    assert!(spec.proto_spec.is_empty() && spec.yaml_spec.is_empty());
    let metadata = resource.metadata.as_ref().expect("metadata");
    assert_eq!(
        (metadata.id.as_str(), metadata.version.as_str(), metadata.phase.as_str()),
        ("absent", "undefined", "running")
    );
}
