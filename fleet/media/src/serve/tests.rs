//! Tests of what is asked over HTTP.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ETAG, IF_NONE_MATCH, IF_RANGE, RANGE};
use http_body_util::Full;

use super::*;
use crate::factory::testing::factory;

/// The service beside: it says that it was asked.
async fn elsewhere(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(answer::text(StatusCode::IM_A_TEAPOT, TEXT, "elsewhere".to_owned()))
}

struct Asked {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

async fn ask(
    factory: &Factory,
    method: Method,
    path: &str,
    headers: &[(http::HeaderName, &str)],
    body: &str,
) -> Asked {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let body = Body::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    let request = request.body(body).expect("a request");
    let response = factory.beside(service_fn(elsewhere)).oneshot(request).await.expect("an answer");
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Asked { status: head.status, headers: head.headers, body }
}

async fn get(factory: &Factory, path: &str, headers: &[(http::HeaderName, &str)]) -> Asked {
    ask(factory, Method::GET, path, headers, "").await
}

#[tokio::test]
async fn a_posted_schematic_has_media_that_can_be_had_in_parts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (factory, version) = factory(folder.path(), 1 << 30);
    let text = "customization: {extraKernelArgs: [a=b]}";
    let posted = ask(&factory, Method::POST, "/schematics", &[], text).await;
    assert_eq!(posted.status, StatusCode::CREATED);
    let made: serde_json::Value = serde_json::from_slice(&posted.body).expect("JSON");
    let id = made["id"].as_str().expect("an id");
    assert_eq!(get(&factory, &format!("/schematics/{id}"), &[]).await.text(), made["schematic"]);
    let path = format!("/image/{id}/v{version}/metal-amd64.iso");
    let whole = get(&factory, &path, &[]).await;
    assert_eq!(whole.status, StatusCode::OK);
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    let tag = whole.header(ETAG.as_str()).to_owned();
    let head = ask(&factory, Method::HEAD, &path, &[], "").await;
    assert!(head.body.is_empty() && head.header("etag") == tag);
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    let part = get(&factory, &path, &[(RANGE, "bytes=1000-"), (IF_RANGE, tag.as_str())]).await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    let length = whole.body.len();
    assert_eq!(part.header("content-range"), format!("bytes 1000-{}/{length}", length - 1));
    assert!(part.body[..] == whole.body[1000..]);
    let other = get(&factory, &path, &[(RANGE, "bytes=1000-"), (IF_RANGE, "\"other\"")]).await;
    assert!(other.status == StatusCode::OK && other.body == whole.body);
    let beyond = get(&factory, &path, &[(RANGE, "bytes=999999999-")]).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(beyond.header("content-range"), format!("bytes */{length}"));
    let same = get(&factory, &path, &[(IF_NONE_MATCH, tag.as_str())]).await;
    assert!(same.status == StatusCode::NOT_MODIFIED && same.body.is_empty());
}

#[tokio::test]
async fn machines_get_a_script_and_people_what_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (factory, version) = factory(folder.path(), 1 << 30);
    let id = Schematic::default().id();
    factory.post(Schematic::default()).await.expect("posted");
    let script = get(&factory, &format!("/pxe/{id}/v{version}/metal-amd64"), &[]).await.text();
    assert!(script.starts_with("#!ipxe\n"), "{script}");
    assert_eq!(get(&factory, "/versions", &[]).await.text(), format!("[\"v{version}\"]"));
    let official = format!("/version/v{version}/extensions/official");
    assert_eq!(get(&factory, &official, &[]).await.text(), "[]");
}

#[tokio::test]
async fn what_is_wrong_is_told_and_what_is_not_ours_goes_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let (factory, version) = factory(folder.path(), 1 << 30);
    let id = Schematic::default().id();
    let missing = format!("/image/{id}/v{version}/metal-amd64.iso");
    for (method, path, body, status, part) in [
        (Method::GET, missing.as_str(), "", StatusCode::NOT_FOUND, "no such schematic"),
        (Method::GET, "/image/x", "", StatusCode::NOT_FOUND, "there are POST /schematics"),
        (Method::PUT, "/schematics", "", StatusCode::NOT_FOUND, "cannot be asked for so"),
        (Method::POST, "/schematics", "customisation: {}", StatusCode::BAD_REQUEST, "did you mean"),
        (Method::GET, "/version/v9.9.9/overlays/official", "", StatusCode::NOT_FOUND, "there is no image of"),
        (Method::GET, "/healthz", "", StatusCode::IM_A_TEAPOT, "elsewhere"),
        (Method::POST, "/cosi.resource.State/Get", "", StatusCode::IM_A_TEAPOT, "elsewhere"),
    ] {
        let answer = ask(&factory, method, path, &[], body).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(part), "{path}: {}", answer.text());
    }
    let long = "a".repeat(SCHEMATIC_BYTES_MAX + 1);
    let answer = ask(&factory, Method::POST, "/schematics", &[], &long).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}
