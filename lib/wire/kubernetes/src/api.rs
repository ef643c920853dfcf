//! The verbs on one resource.

use http::Method;
use serde_json::Value;

use crate::client::{Body, Client};
use crate::error::Error;
use crate::object;
use crate::resource::{ApiResource, escape};
use crate::{Object, WatchEvent};

/// Objects asked for at once.
const PAGE: usize = 500;
/// Objects of one list, all pages together.
const OBJECTS: usize = 200_000;

/// One resource, in one namespace or in all.
#[derive(Clone, Debug)]
pub struct Api {
    pub(crate) client: Client,
    pub(crate) resource: ApiResource,
    pub(crate) namespace: Option<String>,
}

/// Which objects to list or watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Label selector, as in `a=b,c`.
    pub labels: String,
    /// Field selector, as in `spec.nodeName=a`.
    pub fields: String,
}

/// A complete list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// The objects; `apiVersion` and `kind` are filled in.
    pub items: Vec<Object>,
    /// Version of the whole, to watch from.
    pub resource_version: String,
}

/// How a patch is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// JSON merge patch (RFC 7386).
    Merge,
    /// Strategic merge patch; only for built-in kinds.
    Strategic,
    /// JSON patch (RFC 6902).
    Json,
}

impl PatchKind {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Json => "application/json-patch+json",
        }
    }
}

impl Api {
    pub(crate) fn new(client: Client, resource: ApiResource, namespace: Option<String>) -> Self {
        Self { client, resource, namespace }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{}", self.resource.path(self.namespace.as_deref()), escape(name))
    }

    /// One object.
    ///
    /// # Errors
    /// When it is absent, or the server refuses or does not answer.
    pub async fn get(&self, name: &str) -> Result<Object, Error> {
        self.client.call(Method::GET, &self.path(name), None).await
    }

    /// One object, or `None` when it is absent.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn find(&self, name: &str) -> Result<Option<Object>, Error> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects, page by page.
    ///
    /// # Errors
    /// When the server refuses or does not answer, or there are too many.
    pub async fn list(&self, options: &ListOptions) -> Result<List, Error> {
        let mut list = List::default();
        let mut next = String::new();
        loop {
            let mut query = options.query();
            query.push(("limit", PAGE.to_string()));
            if !next.is_empty() {
                query.push(("continue", next));
            }
            let path = format!("{}?{}", self.resource.path(self.namespace.as_deref()), encode(&query));
            let mut page = self.client.call(Method::GET, &path, None).await?;
            let text =
                |pointer: &str| page.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            next = text("/metadata/continue");
            list.resource_version = text("/metadata/resourceVersion");
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                list.items.extend(items.into_iter().map(|item| self.complete(item)));
            }
            if list.items.len() > OBJECTS {
                return Err(Error::Answer(format!("more than {OBJECTS} {}", self.resource.plural)));
            }
            if next.is_empty() {
                return Ok(list);
            }
        }
    }

    /// Follows the resource for ever: the whole list first, then every change.
    ///
    /// An error item tells why there is nothing new at present; the stream goes on trying.
    pub fn watch(
        &self,
        options: &ListOptions,
    ) -> impl futures::Stream<Item = Result<WatchEvent, Error>> + Send + Unpin + use<> {
        crate::watch::watch(self.clone(), options.clone())
    }

    /// Makes an object.
    ///
    /// # Errors
    /// When it exists, or the server refuses or does not answer.
    pub async fn create(&self, object: &Object) -> Result<Object, Error> {
        let path = self.resource.path(self.namespace.as_deref());
        self.client.call(Method::POST, &path, Some(Body::json("application/json", object))).await
    }

    /// Makes a part of an object, such as `eviction` of a pod or `approval` of a signing request.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn create_part(&self, name: &str, part: &str, object: &Object) -> Result<Object, Error> {
        let path = format!("{}/{}", self.path(name), escape(part));
        self.client.call(Method::POST, &path, Some(Body::json("application/json", object))).await
    }

    /// Replaces an object; its resource version must be the present one.
    ///
    /// # Errors
    /// When somebody else changed it, or the server refuses or does not answer.
    pub async fn replace(&self, name: &str, object: &Object) -> Result<Object, Error> {
        let body = Body::json("application/json", object);
        self.client.call(Method::PUT, &self.path(name), Some(body)).await
    }

    /// Server-side apply: makes the object, or the fields of it that it names, as they are here.
    ///
    /// `force` takes fields over from other managers.
    ///
    /// # Errors
    /// When other managers own a field, or the server refuses or does not answer.
    pub async fn apply(
        &self,
        object: &Object,
        manager: &str,
        force: bool,
        dry_run: bool,
    ) -> Result<Object, Error> {
        let name = object::name(object);
        if name.is_empty() {
            return Err(Error::Object("metadata.name is missing".to_owned()));
        }
        let mut query = vec![("fieldManager", manager.to_owned()), ("force", force.to_string())];
        if dry_run {
            query.push(("dryRun", "All".to_owned()));
        }
        let path = format!("{}?{}", self.path(name), encode(&query));
        // JSON is YAML.
        let body = Body::json("application/apply-patch+yaml", object);
        self.client.call(Method::PATCH, &path, Some(body)).await
    }

    /// Changes an object.
    ///
    /// # Errors
    /// When it is absent, or the server refuses or does not answer.
    pub async fn patch(&self, name: &str, kind: PatchKind, patch: &Value) -> Result<Object, Error> {
        let body = Body::json(kind.media_type(), patch);
        self.client.call(Method::PATCH, &self.path(name), Some(body)).await
    }

    /// Changes the status of an object by merge patch.
    ///
    /// # Errors
    /// When it is absent, or the server refuses or does not answer.
    pub async fn patch_status(&self, name: &str, patch: &Value) -> Result<Object, Error> {
        let body = Body::json(PatchKind::Merge.media_type(), patch);
        self.client.call(Method::PATCH, &format!("{}/status", self.path(name)), Some(body)).await
    }

    /// Removes an object. Absent is as good as removed.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn delete(&self, name: &str) -> Result<(), Error> {
        match self.client.raw(Method::DELETE, &self.path(name), None).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Asks for a pod to leave its node; `false` when a disruption budget says not now.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub async fn evict(&self, pod: &str, grace_seconds: Option<u32>) -> Result<bool, Error> {
        let mut eviction = serde_json::json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.namespace},
        });
        if let Some(seconds) = grace_seconds {
            eviction["deleteOptions"] = serde_json::json!({"gracePeriodSeconds": seconds});
        }
        match self.create_part(pod, "eviction", &eviction).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) if error.code() == Some(429) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Items of lists carry neither version nor kind.
    fn complete(&self, mut item: Object) -> Object {
        if let Value::Object(map) = &mut item {
            map.entry("apiVersion").or_insert_with(|| Value::from(self.resource.api_version()));
            map.entry("kind").or_insert_with(|| Value::from(self.resource.kind.clone()));
        }
        item
    }
}

impl ListOptions {
    /// Objects with these labels.
    #[must_use]
    pub fn labels(selector: &str) -> Self {
        Self { labels: selector.to_owned(), ..Default::default() }
    }

    /// Objects with these fields.
    #[must_use]
    pub fn fields(selector: &str) -> Self {
        Self { fields: selector.to_owned(), ..Default::default() }
    }

    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        if !self.labels.is_empty() {
            query.push(("labelSelector", self.labels.clone()));
        }
        if !self.fields.is_empty() {
            query.push(("fieldSelector", self.fields.clone()));
        }
        query
    }
}

pub(crate) fn encode(query: &[(&str, String)]) -> String {
    let pairs: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    pairs.join("&")
}
