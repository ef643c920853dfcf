//! What the API port answers to plain HTTP, and the page with the manager's own metrics.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 when the store answers and keeps what it is given, 500 with what helps otherwise |
//! | that of a [`Page`] | what the page says |
//! | `/api/…` | 501: JSON instead of gRPC |
//! | `/image/…` | 410: clients download from the image factory |
//! | anything else | 404 |
//!
//! The metrics are on a listener of their own, since they need no log-in.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_fleet_resources::upgrade::TalosVersion;
use corten_resource::{Pointer, Spec as _, State, StateError, Store as _};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::time::timeout;
use tonic::body::Body;
use tower::service_fn;

use crate::metrics::{Gauges, Metrics, gauges};
use crate::serve::HttpService;

/// How long the store may take to answer.
const HEALTH_DEADLINE: Duration = Duration::from_secs(5);
/// A version that there never is; looking for it is the check.
const NO_VERSION: &str = "health";

/// Something of another crate that is read at one path, without log-in.
pub trait Page: std::fmt::Debug + Send + Sync {
    /// The path, such as `/oidc/keys`.
    fn path(&self) -> &'static str;
    /// What it says now, JSON.
    fn json(&self) -> String;
}

/// Answers to plain HTTP on the API port.
#[derive(Clone, Debug)]
pub struct Http {
    state: State,
    pages: Vec<Arc<dyn Page>>,
}

impl Http {
    /// Answers over a store.
    #[must_use]
    pub const fn new(state: State) -> Self {
        Self { state, pages: Vec::new() }
    }

    /// The same with one more page.
    #[must_use]
    pub fn with_page(mut self, page: Arc<dyn Page>) -> Self {
        self.pages.push(page);
        self
    }

    /// The answer to a request, whose body is not read.
    pub async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path();
        if let Some(page) = self.pages.iter().find(|page| is_read && page.path() == path) {
            let mut response = text(StatusCode::OK, &page.json());
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            return response;
        }
        match path.split('/').nth(1).unwrap_or_default() {
            "healthz" if is_read && path == "/healthz" => self.health().await,
            "api" => text(
                StatusCode::NOT_IMPLEMENTED,
                "JSON instead of gRPC is not implemented yet; call the methods by gRPC or gRPC-Web\n",
            ),
            "image" => text(
                StatusCode::GONE,
                "images are downloaded from the image factory; the method GetBootAssetURL tells where\n",
            ),
            _ => text(
                StatusCode::NOT_FOUND,
                "there is nothing here; gRPC is spoken over HTTP/2, gRPC-Web over both versions of HTTP\n",
            ),
        }
    }

    /// Whether the store answers: nothing is wrong with it, a read, and then all that was decided so far is kept.
    async fn health(&self) -> Response<Body> {
        if let Some(trouble) = self.state.store().trouble() {
            return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{trouble}\n"));
        }
        let at = Pointer::new(TalosVersion::DEFINITION.namespace, TalosVersion::DEFINITION.kind, NO_VERSION);
        let store = self.state.store();
        let check = async {
            let found = store.get(&at).await;
            store.settled().await;
            found
        };
        match timeout(HEALTH_DEADLINE, check).await {
            Ok(Ok(_) | Err(StateError::NotFound(_))) => text(StatusCode::OK, "ok\n"),
            Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("the store fails: {error}\n")),
            Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the store does not answer\n"),
        }
    }
}

/// The page with the metrics.
#[derive(Clone, Debug)]
pub struct MetricsPage {
    metrics: Arc<Metrics>,
    state: State,
    others: Option<Arc<dyn Gauges>>,
}

impl MetricsPage {
    /// The page of these counters, and of the sizes of this store.
    #[must_use]
    pub const fn new(metrics: Arc<Metrics>, state: State) -> Self {
        Self { metrics, state, others: None }
    }

    /// The same with gauges of another crate.
    #[must_use]
    pub fn with_gauges(self, others: Arc<dyn Gauges>) -> Self {
        Self { others: Some(others), ..self }
    }

    /// The page for a listener.
    #[must_use]
    pub fn into_service(self) -> impl HttpService {
        service_fn(move |request: Request<Body>| {
            std::future::ready(Ok::<_, Infallible>(self.answer(&request)))
        })
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/metrics") => {
                let mut content = self.metrics.page(&self.state) + &store_metrics(&self.state);
                if let Some(others) = &self.others {
                    content += &gauges(&others.gauges());
                }
                let mut page = text(StatusCode::OK, &content);
                let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                page.headers_mut().insert(header::CONTENT_TYPE, format);
                page
            }
            _ => text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
        }
    }
}

/// Whether the store keeps what it is given, as the page has it.
fn store_metrics(state: &State) -> String {
    let failing = u8::from(state.store().trouble().is_some());
    format!(
        "# HELP corten_fleet_store_failing Whether the store keeps nothing now, or serves what may be old.\n\
         # TYPE corten_fleet_store_failing gauge\ncorten_fleet_store_failing {failing}\n"
    )
}

/// An answer in plain text.
fn text(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::new(Full::new(Bytes::copy_from_slice(text.as_bytes()))));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

#[cfg(test)]
mod tests {
    use corten_resource::{Answer, AnyResource, Backing, Change, Kept, MemoryStore, StateOptions};
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::testing::Fleet;

    fn request(method: Method, path: &str) -> Request<()> {
        Request::builder().method(method).uri(path).body(()).expect("a request")
    }

    #[tokio::test]
    async fn each_path_has_its_answer() {
        let http = Http::new(Fleet::new().state);
        for (method, path, status) in [
            (Method::GET, "/healthz", StatusCode::OK),
            (Method::POST, "/healthz", StatusCode::NOT_FOUND),
            (Method::GET, "/healthz/more", StatusCode::NOT_FOUND),
            (Method::POST, "/api/omni.resources.ResourceService/Get", StatusCode::NOT_IMPLEMENTED),
            (Method::GET, "/image/x/y", StatusCode::GONE),
            (Method::GET, "/", StatusCode::NOT_FOUND),
        ] {
            assert_eq!(http.answer(&request(method, path)).await.status(), status, "{path}");
        }
    }

    /// A place that takes nothing.
    struct Full;

    impl Backing for Full {
        fn load(&self) -> Answer<'_, Vec<AnyResource>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }

        fn commit(&self, changes: Vec<Change>) -> Kept<'_> {
            let refused: Result<(), _> = Err(StateError::Unavailable("no room".to_owned()));
            Box::pin(std::future::ready(vec![refused; changes.len()]))
        }

        fn trouble(&self) -> Option<String> {
            Some("the store in /srv/fleet.redb keeps nothing now: no room".to_owned())
        }
    }

    #[tokio::test]
    async fn a_store_that_keeps_nothing_is_told_with_what_it_says() {
        let registry = corten_fleet_resources::registry();
        let backed = MemoryStore::backed(registry, StateOptions::default(), Arc::new(Full), |_| true);
        let state = State::over(backed.await.expect("loads").0);
        let response = Http::new(state.clone()).answer(&request(Method::GET, "/healthz")).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, "the store in /srv/fleet.redb keeps nothing now: no room\n");
        let page = MetricsPage::new(Arc::default(), state).answer(&request(Method::GET, "/metrics"));
        let body = page.into_body().collect().await.expect("a body").to_bytes();
        assert!(body.ends_with(b"\ncorten_fleet_store_failing 1\n"), "{body:?}");
    }

    #[derive(Debug)]
    struct Keys;

    impl Page for Keys {
        fn path(&self) -> &'static str {
            "/oidc/keys"
        }

        fn json(&self) -> String {
            "{}".to_owned()
        }
    }

    #[tokio::test]
    async fn a_page_of_another_crate_is_read_at_its_path() {
        let http = Http::new(Fleet::new().state).with_page(Arc::new(Keys));
        for (method, path, status) in [
            (Method::GET, "/oidc/keys", StatusCode::OK),
            (Method::POST, "/oidc/keys", StatusCode::NOT_FOUND),
            (Method::GET, "/oidc/keys/more", StatusCode::NOT_FOUND),
        ] {
            assert_eq!(http.answer(&request(method, path)).await.status(), status, "{path}");
        }
    }

    #[tokio::test]
    async fn the_metrics_are_on_their_page() {
        let page = MetricsPage::new(Arc::default(), Fleet::new().state);
        let response = page.answer(&request(Method::GET, "/metrics"));
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(body.starts_with(b"# HELP corten_fleet_calls_total "));
        assert!(body.ends_with(b"gauge\ncorten_fleet_store_failing 0\n"), "{body:?}");
        assert_eq!(page.answer(&request(Method::GET, "/")).status(), StatusCode::NOT_FOUND);
    }
}
