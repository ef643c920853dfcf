//! The factory over HTTP (fleet.md 11.2), beside whatever else is served at the same address.
//!
//! ```text
//! POST /schematics                 201 {"id", "schematic"}      GET /schematics/ID               YAML
//! GET, HEAD /image/ID/VERSION/NAME a medium, whole or a range   GET /pxe/ID/VERSION/TARGET       a script of iPXE
//! GET /versions                    ["v1.14.1"]                  GET /version/V/…/official        [] : there are none
//! anything else                    goes to the service beside
//! ```
//!
//! A refusal is a text that names the schematic, the version and the file, and what there is instead.

mod answer;
mod range;

use std::time::Duration;

use corten_fleet_api::serve::HttpService;
use corten_fleet_schematic::{SCHEMATIC_BYTES_MAX, Schematic};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;
use tokio::time::timeout;
use tonic::body::Body;
use tower::{ServiceExt as _, service_fn};

use crate::factory::{Factory, bare};
use crate::trouble::Cause;

/// First parts of the paths that are the factory's.
const OURS: [&str; 5] = ["image", "pxe", "schematics", "version", "versions"];
/// For a schematic to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const TEXT: &str = "text/plain; charset=utf-8";

impl Factory {
    /// This factory over HTTP beside another service.
    #[must_use]
    pub fn beside<S: HttpService>(&self, other: S) -> impl HttpService + use<S> {
        let factory = self.clone();
        service_fn(move |request: Request<Body>| {
            let (factory, other) = (factory.clone(), other.clone());
            async move {
                if is_ours(request.uri().path()) {
                    return Ok(factory.answer(request).await);
                }
                other.oneshot(request).await
            }
        })
    }

    /// The answer to a request whose path is one of the factory's.
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        let mut response = match parts.as_slice() {
            ["schematics"] if head.method == Method::POST => self.posted(body).await,
            ["schematics", id] if is_read => self.shown(id).await,
            ["image", id, version, name] if is_read => self.image(&head, id, version, name).await,
            ["pxe", id, version, target] if is_read => match self.script(id, version, target).await {
                Ok(script) => answer::text(StatusCode::OK, TEXT, script),
                Err(trouble) => answer::refusal(trouble.cause.status(), &trouble),
            },
            ["versions"] if is_read => answer::text(StatusCode::OK, JSON, self.versions()),
            ["version", version, "extensions" | "overlays", "official"] if is_read => {
                match self.bases().check(bare(version)) {
                    Ok(()) => answer::text(StatusCode::OK, JSON, "[]".to_owned()),
                    Err(cause) => answer::refusal(cause.status(), &cause),
                }
            }
            _ => nothing(),
        };
        if head.method == Method::HEAD {
            *response.body_mut() = Body::empty();
        }
        response
    }

    async fn image(&self, head: &Parts, id: &str, version: &str, name: &str) -> Response<Body> {
        match self.medium(id, version, name).await {
            Ok(found) => answer::medium(&head.headers, name, found),
            Err(trouble) => answer::refusal(trouble.cause.status(), &trouble),
        }
    }

    async fn shown(&self, id: &str) -> Response<Body> {
        match self.schematic(id).await {
            Ok(schematic) => answer::text(StatusCode::OK, YAML, schematic.canonical()),
            Err(cause) => answer::refusal(cause.status(), &cause),
        }
    }

    async fn posted(&self, body: Body) -> Response<Body> {
        let wrong = |text: String| answer::text(StatusCode::BAD_REQUEST, TEXT, text + "\n");
        let read = timeout(BODY_DEADLINE, Limited::new(body, SCHEMATIC_BYTES_MAX).collect()).await;
        let Ok(Ok(body)) = read else {
            return wrong(format!("no schematic of at most {SCHEMATIC_BYTES_MAX} bytes arrived"));
        };
        let Ok(text) = String::from_utf8(body.to_bytes().to_vec()) else {
            return wrong("a schematic is a text in UTF-8".to_owned());
        };
        let schematic = match Schematic::parse(&text) {
            Ok(schematic) => schematic,
            Err(problems) => return wrong(format!("this is no schematic: {problems}")),
        };
        let (id, text) = (schematic.id().to_string(), schematic.canonical());
        match self.post(schematic).await {
            Ok(()) => {
                let made = json!({ "id": id, "schematic": text }).to_string();
                answer::text(StatusCode::CREATED, JSON, made)
            }
            Err(cause) => answer::refusal(cause.status(), &cause),
        }
    }

    /// All versions, as JSON.
    fn versions(&self) -> String {
        let versions = self.bases().versions().into_iter().map(|version| format!("v{version}"));
        json!(versions.collect::<Vec<_>>()).to_string()
    }
}

fn nothing() -> Response<Body> {
    let text = "there is no such file here, or it cannot be asked for so; there are POST /schematics, \
                /schematics/ID, /image/ID/VERSION/NAME, /pxe/ID/VERSION/TARGET and /versions";
    answer::refusal(StatusCode::NOT_FOUND, &Cause::Name(text.to_owned()))
}

/// Whether a path is one of the factory's.
fn is_ours(path: &str) -> bool {
    path.split('/').nth(1).is_some_and(|first| OURS.contains(&first))
}

#[cfg(test)]
mod tests;
