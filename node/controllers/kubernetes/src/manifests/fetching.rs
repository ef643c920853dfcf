//! Fetches the manifests that the user gave by URL.
//!
//!     ExtraManifestsConfig ──HTTP──▶ FetchedManifests
//!
//! Each is fetched once for as long as the configuration names it. One that cannot be fetched holds the others back no
//! more than the time that is spent on it, and is tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use corten_base::Secret;
use corten_config::yaml;
use corten_resource::{Driver, Object, Plan, View, controller};
use corten_resources::kubernetes::{ExtraManifest, ExtraManifestsConfig, FetchedManifest, SingleManifest};
use corten_web::Limits;
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

/// What one manifest may take. Those of large operators have a megabyte.
const LIMITS: Limits = Limits { bytes_max: 8 << 20, deadline: Duration::from_secs(30) };
/// When what failed is tried again.
const RETRY: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Default)]
pub struct ManifestFetching {
    outcomes: Outcomes,
}

controller!(ManifestFetching, "k8s.ExtraManifest",
    inputs: [strong ExtraManifestsConfig],
    outputs: [exclusive FetchedManifest]);

/// What became of each, by the id of its resource.
type Outcomes = BTreeMap<String, Outcome>;

/// What became of one.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Its objects.
    Fetched(Vec<Object>),
    /// Why it was not fetched.
    Failed {
        /// The reason.
        reason: String,
        /// Whether nobody was told yet.
        is_news: bool,
    },
}

/// Fetch this one.
#[derive(Clone, Debug)]
pub struct Fetch {
    id: String,
    url: String,
    headers: Secret<BTreeMap<String, String>>,
}

impl Driver for ManifestFetching {
    type Observed = Outcomes;
    type Op = Fetch;

    async fn observe(&mut self, view: &View<Self>) -> anyhow::Result<Outcomes> {
        let wanted: Vec<String> = wanted(view).into_iter().map(id).collect();
        let is_old = |outcome: &Outcome| matches!(outcome, Outcome::Failed { is_news: false, .. });
        self.outcomes.retain(|id, outcome| wanted.contains(id) && !is_old(outcome));
        let seen = self.outcomes.clone();
        for outcome in self.outcomes.values_mut() {
            if let Outcome::Failed { is_news, .. } = outcome {
                *is_news = false;
            }
        }
        Ok(seen)
    }

    fn plan(&self, view: &View<Self>, seen: &Outcomes) -> Plan<Self, Fetch> {
        let mut plan = Plan::new();
        let mut failures = Vec::new();
        for manifest in wanted(view) {
            let id = id(manifest);
            match seen.get(&id) {
                Some(Outcome::Fetched(objects)) => {
                    let items = objects.iter().cloned().map(|object| SingleManifest { object }).collect();
                    plan.put(id, FetchedManifest { url: manifest.url.clone(), items });
                }
                Some(Outcome::Failed { reason, .. }) => failures.push(reason.clone()),
                None => {
                    let headers = Secret::new(manifest.extra_headers.clone());
                    plan.op(Fetch { id, url: manifest.url.clone(), headers });
                }
            }
        }
        if failures.is_empty() { plan } else { plan.failed(failures.join("; ")).again_in(RETRY) }
    }

    async fn apply(&mut self, op: Fetch) -> anyhow::Result<()> {
        let outcome = match fetch(&op).await {
            Ok(objects) => Outcome::Fetched(objects),
            Err(error) => Outcome::Failed { reason: corten_base::chain(error.as_ref()), is_news: true },
        };
        self.outcomes.insert(op.id, outcome);
        Ok(())
    }
}

fn wanted(view: &View<ManifestFetching>) -> Vec<&ExtraManifest> {
    let config = view.get::<ExtraManifestsConfig>(ExtraManifestsConfig::ID);
    config.into_iter().flat_map(|config| &config.extra_manifests).filter(|one| !one.url.is_empty()).collect()
}

/// Id of the resource of a manifest: what is asked for, and how.
#[must_use]
pub fn id(manifest: &ExtraManifest) -> String {
    let mut hash = Sha256::new();
    let headers = manifest.extra_headers.iter().flat_map(|(key, value)| [key, value]);
    for part in std::iter::once(&manifest.url).chain(headers) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8])
}

async fn fetch(op: &Fetch) -> anyhow::Result<Vec<Object>> {
    let mut headers = HeaderMap::new();
    for (name, value) in op.headers.reveal() {
        let name = HeaderName::try_from(name).with_context(|| format!("{name:?} is no header"))?;
        let value =
            HeaderValue::try_from(value).with_context(|| format!("the value of {name} is no header's"))?;
        headers.insert(name, value);
    }
    let body = corten_web::get(&op.url, &headers, LIMITS).await?.good()?;
    let text = std::str::from_utf8(&body).with_context(|| format!("{} is not text", op.url))?;
    objects(text).with_context(|| format!("{} is no manifest", op.url))
}

/// The objects of a manifest; empty documents are nothing.
///
/// # Errors
/// When it is no YAML, or a document is no object.
pub fn objects(text: &str) -> anyhow::Result<Vec<Object>> {
    let mut objects = Vec::new();
    for document in yaml::parse(text).map_err(|problem| anyhow::anyhow!(problem.to_string()))? {
        match document {
            serde_json::Value::Object(object) => objects.push(object),
            serde_json::Value::Null => {}
            _ => anyhow::bail!("a document is not an object"),
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use corten_resource::testing::resource;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn view(urls: &[&str]) -> View<ManifestFetching> {
        let manifest = |url: &&str| ExtraManifest {
            name: "m".into(),
            url: (*url).to_owned(),
            extra_headers: [("x-token".to_owned(), "hunter2".to_owned())].into(),
            ..ExtraManifest::default()
        };
        let extra_manifests = urls.iter().map(manifest).collect();
        let config = resource(ExtraManifestsConfig::ID, ExtraManifestsConfig { extra_manifests });
        View::of([config], SystemTime::UNIX_EPOCH)
    }

    /// One cycle of the runtime: observe, plan, apply until there is nothing to do. The last plan comes out.
    async fn settle(
        controller: &mut ManifestFetching,
        view: &View<ManifestFetching>,
    ) -> Plan<ManifestFetching, Fetch> {
        for _ in 0..3 {
            let seen = controller.observe(view).await.expect("seen");
            let plan = controller.plan(view, &seen);
            if plan.ops().is_empty() {
                return plan;
            }
            for op in plan.ops() {
                assert!(!format!("{op:?}").contains("hunter2"));
                controller.apply(op.clone()).await.expect("applied");
            }
        }
        panic!("it never ends")
    }

    #[tokio::test]
    async fn what_fails_holds_nothing_back_and_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (good, bad) = (format!("http://{address}/good.yaml"), "http://127.0.0.1:1/bad.yaml");
        let view = view(&[&good, bad]);
        let mut controller = ManifestFetching::default();
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.expect("a request");
            let body = "kind: A\n---\n---\nkind: B\n";
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.expect("an answer");
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let (plan, request) = tokio::join!(settle(&mut controller, &view), serve);
        assert!(request.contains("x-token: hunter2"), "{request}");
        let fetched = plan.outputs::<FetchedManifest>();
        assert_eq!((fetched.len(), fetched[0].items.len()), (1, 2));
        let seen = controller.observe(&view).await.expect("seen");
        let again: Vec<String> =
            controller.plan(&view, &seen).ops().iter().map(|op| op.url.clone()).collect();
        assert_eq!(again, [bad]);
    }

    #[test]
    fn only_objects_are_manifests() {
        assert_eq!(objects("kind: A\n---\n---\nkind: B\n").expect("two").len(), 2);
        assert!(objects("- a\n").is_err() && objects("{").is_err());
    }

    #[test]
    fn arbitrary_manifests_are_objects_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let _ = objects(&String::from_utf8_lossy(bytes));
        });
    }
}
