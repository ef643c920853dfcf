//! The whole API from outside: every way in, with a client that signs.

use ::http::StatusCode;
use corten_api::cosi::resource::GetRequest;
use corten_api::cosi::resource::state_client::StateClient;
use corten_api::fleet::Role;
use corten_api::management::management_service_client::ManagementServiceClient;
use corten_fleet_resources::cluster::Cluster;
use tonic::{Code, Request as Call};

use super::*;
use crate::caller::RATE;
use crate::management::ManagementOptions;
use crate::management::testing::management;
use crate::testing::{Account, Fleet};
use crate::virtual_resources::NoKubernetes;

const GET: &str = "/cosi.resource.State/Get";
const LIST_USERS: &str = "/management.ManagementService/ListUsers";

fn api(fleet: &Fleet) -> impl HttpService {
    Api::new(Parts {
        management: management(fleet, ManagementOptions::of(&Settings::default())),
        settings: Settings::default(),
        dictionaries: Dictionaries::default(),
        rate: RATE,
        kubernetes: Arc::new(NoKubernetes),
        machines: None,
        others: Routes::default(),
    })
    .into_service()
}

/// A call that is signed for this method.
fn signed<T>(fleet: &Fleet, account: &Account, method: &str, message: T) -> Call<T> {
    let headers = account.sign(method, &[], fleet.clock.now(), 1);
    let mut call = Call::new(message);
    *call.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
    call
}

fn get_cluster() -> GetRequest {
    GetRequest {
        namespace: "default".to_owned(),
        r#type: "Clusters.omni.sidero.dev".to_owned(),
        id: "prod".to_owned(),
        options: None,
    }
}

#[tokio::test]
async fn resources_and_methods_are_reached_by_those_who_sign() {
    let fleet = Fleet::new();
    fleet.put("prod", Cluster::default());
    let (reader, admin) =
        (fleet.account("kim", Role::Reader, Role::Admin), fleet.account("lee", Role::Admin, Role::Admin));
    // gRPC is told by the version, which a client within the program must set itself.
    let api = api(&fleet).map_request(|mut request: Request<Body>| {
        *request.version_mut() = Version::HTTP_2;
        request
    });
    let mut state = StateClient::new(api.clone());
    let found = state.get(signed(&fleet, &reader, GET, get_cluster())).await.expect("found").into_inner();
    let metadata = found.resource.and_then(|resource| resource.metadata).expect("metadata");
    assert_eq!(metadata.id, "prod");
    let status = state.get(get_cluster()).await.expect_err("unsigned");
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut management = ManagementServiceClient::new(api);
    let status =
        management.list_users(signed(&fleet, &reader, LIST_USERS, ())).await.expect_err("too little");
    assert_eq!(status.code(), Code::PermissionDenied);
    management.list_users(signed(&fleet, &admin, LIST_USERS, ())).await.expect("listed");
}

#[tokio::test]
async fn a_browser_is_answered_over_either_version() {
    let fleet = Fleet::new();
    let api = api(&fleet);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let request = Request::builder()
            .method("POST")
            .version(version)
            .uri(LIST_USERS)
            .header(header::CONTENT_TYPE, "application/grpc-web+proto")
            .body(Body::empty())
            .expect("a request");
        let response = api.clone().oneshot(request).await.expect("answered");
        assert_eq!(response.status(), StatusCode::OK, "{version:?}");
        let content = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        assert!(content.is_some_and(|content| content.starts_with("application/grpc-web")), "{content:?}");
    }
}

#[test]
fn a_request_is_known_by_its_content_and_version() {
    for (content, version, kind) in [
        ("application/grpc", Version::HTTP_2, Kind::Grpc),
        ("application/grpc+proto", Version::HTTP_2, Kind::Grpc),
        ("application/grpc", Version::HTTP_11, Kind::Plain),
        ("application/grpc-web", Version::HTTP_11, Kind::Web),
        ("application/grpc-web-text", Version::HTTP_2, Kind::Web),
        ("application/json", Version::HTTP_2, Kind::Plain),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content.parse().expect("a value"));
        assert_eq!(Kind::of(&headers, version), kind, "{content} {version:?}");
    }
}

#[tokio::test]
async fn plain_http_is_answered_beside() {
    let fleet = Fleet::new();
    let request = Request::builder().uri("/healthz").body(Body::empty()).expect("a request");
    assert_eq!(api(&fleet).oneshot(request).await.expect("answered").status(), StatusCode::OK);
}
