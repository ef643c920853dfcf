//! A read-only OCI registry (distribution specification v2) over OCI layouts on this machine.
//!
//! containerd asks it as a mirror of every registry (`?ns=registry.k8s.io`). A layout's `index.json` names images by
//! `org.opencontainers.image.ref.name` = whole reference; content is found by digest. Paths are built from checked
//! digests only, so a request cannot leave a layout.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::files::{ImageCache, ImageCacheStatus, write_atomic};
use crate::http::{self, Body};
use crate::net::listen_tcp;

/// Longest `index.json` or manifest.
const DOCUMENT_MAX: u64 = 4 << 20;
/// Bytes read from a blob at once.
const CHUNK: usize = 64 << 10;
/// Annotation with the name of an image.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    #[serde(default, rename = "mediaType")]
    media_type: String,
    digest: String,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// What a request path asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/v2/`: is this a registry?
    Version,
    /// A manifest of a repository by tag or digest.
    Manifest {
        /// `registry.k8s.io/pause`, with the registry from `ns` when given.
        repository: String,
        /// Tag or digest.
        reference: String,
    },
    /// A blob by digest.
    Blob(Digest),
}

/// A SHA-256 digest: `sha256:` and 64 hexadecimal digits, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// Parses the only form that is served.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:")?;
        let valid = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(hex.to_owned()))
    }

    fn path(&self, layout: &Path) -> PathBuf {
        layout.join("blobs/sha256").join(&self.0)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// Parses path and query of a request.
#[must_use]
pub fn target(path: &str, query: &str) -> Option<Target> {
    let rest = path.strip_prefix("/v2")?.trim_start_matches('/');
    if rest.is_empty() {
        return Some(Target::Version);
    }
    let mut parts = rest.rsplitn(3, '/');
    let (last, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
    match kind {
        "blobs" => Digest::parse(last).map(Target::Blob),
        "manifests" => {
            let registry =
                query.split('&').find_map(|pair| pair.strip_prefix("ns=")).filter(|ns| !ns.is_empty());
            let registry = registry.map(|registry| registry.replace("%3A", ":").replace("%3a", ":"));
            let repository =
                registry.map_or_else(|| name.to_owned(), |registry| format!("{registry}/{name}"));
            Some(Target::Manifest { repository, reference: last.to_owned() })
        }
        _ => None,
    }
}

/// Serves for as long as it is polled, wherever the document says.
pub async fn serve(mut wanted: watch::Receiver<ImageCache>, folder: &Path) {
    loop {
        let cache = wanted.borrow_and_update().clone();
        let failed = async {
            if let Err(error) = listen(cache, folder).await {
                tracing::warn!(error = corten_base::chain(&error), "the image cache is not served");
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = failed => {}
        }
    }
}

async fn listen(cache: ImageCache, folder: &Path) -> io::Result<()> {
    let Some(address) = cache.listen else {
        write_atomic(folder, &ImageCacheStatus::default())?;
        return std::future::pending().await;
    };
    let socket = TcpListener::from_std(listen_tcp(address)?)?;
    let listening: SocketAddr = socket.local_addr()?;
    write_atomic(folder, &ImageCacheStatus { listening: Some(listening) })?;
    http::serve(socket, move |request| {
        let layouts = cache.layouts.clone();
        async move { answer(&layouts, &request).await }
    })
    .await
}

async fn answer(layouts: &[PathBuf], request: &Request<Incoming>) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED");
    }
    let uri = request.uri();
    match target(uri.path(), uri.query().unwrap_or_default()) {
        Some(Target::Version) => http::json(StatusCode::OK, &json!({})),
        Some(Target::Blob(digest)) => {
            blob(layouts, &digest, "application/octet-stream", request.method()).await
        }
        Some(Target::Manifest { repository, reference }) => {
            let found = layouts.iter().find_map(|layout| manifest(layout, &repository, &reference));
            match found {
                Some((digest, media_type)) => blob(layouts, &digest, &media_type, request.method()).await,
                None => refuse(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            }
        }
        None => refuse(StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
    }
}

fn refuse(status: StatusCode, code: &str) -> Response<Body> {
    http::json(status, &json!({ "errors": [{ "code": code, "message": "not in the image cache" }] }))
}

fn small_file(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).ok()?.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes).ok()?;
    (u64::try_from(read).ok()? <= DOCUMENT_MAX).then_some(bytes)
}

/// Digest and media type of a manifest in this layout.
fn manifest(layout: &Path, repository: &str, reference: &str) -> Option<(Digest, String)> {
    if let Some(digest) = Digest::parse(reference) {
        let document = small_file(&digest.path(layout))?;
        let media_type = serde_json::from_slice::<serde_json::Value>(&document)
            .ok()
            .and_then(|value| value.get("mediaType")?.as_str().map(str::to_owned));
        return Some((digest, media_type.unwrap_or_else(|| MANIFEST.to_owned())));
    }
    let index: Index = serde_json::from_slice(&small_file(&layout.join("index.json"))?).ok()?;
    let wanted = format!("{repository}:{reference}");
    let named =
        |descriptor: &&Descriptor| descriptor.annotations.get(REF_NAME).is_some_and(|name| *name == wanted);
    let descriptor = index.manifests.iter().find(named)?;
    let media_type = if descriptor.media_type.is_empty() { MANIFEST } else { &descriptor.media_type };
    Some((Digest::parse(&descriptor.digest)?, media_type.to_owned()))
}

async fn blob(layouts: &[PathBuf], digest: &Digest, media_type: &str, method: &Method) -> Response<Body> {
    for layout in layouts {
        let Ok(file) = tokio::fs::File::open(digest.path(layout)).await else { continue };
        let Ok(metadata) = file.metadata().await else { continue };
        let body = if *method == Method::HEAD { http::body(Bytes::new()) } else { stream_file(file) };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, metadata.len().into());
        if let Ok(value) = HeaderValue::from_str(media_type) {
            headers.insert(CONTENT_TYPE, value);
        }
        if let Ok(value) = HeaderValue::from_str(&digest.to_string()) {
            headers.insert(HeaderName::from_static("docker-content-digest"), value);
        }
        return response;
    }
    refuse(StatusCode::NOT_FOUND, "BLOB_UNKNOWN")
}

/// A file in chunks; the next one is read when the client took the last.
fn stream_file(file: tokio::fs::File) -> Body {
    let chunks = stream::try_unfold(file, |mut file| async move {
        let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
        let read = tokio::io::AsyncReadExt::read_buf(&mut file, &mut chunk).await?;
        Ok::<_, io::Error>((read > 0).then(|| (Frame::data(chunk.freeze()), file)))
    });
    StreamBody::new(Box::pin(chunks)).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use corten_base::spawn;
    use sha2::{Digest as _, Sha256};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::files::read;

    fn store(layout: &Path, content: &[u8]) -> String {
        let hex = hex::encode(Sha256::digest(content));
        std::fs::create_dir_all(layout.join("blobs/sha256")).expect("mkdir");
        std::fs::write(layout.join("blobs/sha256").join(&hex), content).expect("write");
        format!("sha256:{hex}")
    }

    async fn get(address: SocketAddr, method: &str, path: &str) -> (String, Vec<u8>) {
        let mut client = TcpStream::connect(address).await.expect("connect");
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("write");
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.expect("read");
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
        (String::from_utf8_lossy(&bytes[..split]).to_lowercase(), bytes[split + 4..].to_vec())
    }

    #[tokio::test]
    async fn an_image_is_pulled_by_tag_then_by_digest() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = folder.path().join("layout");
        let layer = store(&layout, &vec![7; 3 * CHUNK + 5]);
        let manifest =
            store(&layout, format!(r#"{{"mediaType":"{MANIFEST}","layers":["{layer}"]}}"#).as_bytes());
        let descriptor = json!({ "mediaType": MANIFEST, "digest": manifest, "annotations": { REF_NAME: "registry.k8s.io/pause:3.10" } });
        std::fs::write(layout.join("index.json"), json!({ "manifests": [descriptor] }).to_string())
            .expect("write");
        let listen = Some("127.0.0.1:0".parse().expect("an address"));
        let (_sender, wanted) = watch::channel(ImageCache { listen, layouts: vec![layout] });
        let path = folder.path().to_owned();
        let _server = spawn("registry", async move { serve(wanted, &path).await });
        let address = loop {
            match read::<ImageCacheStatus>(folder.path()).expect("read").and_then(|status| status.listening) {
                Some(address) => break address,
                None => tokio::task::yield_now().await,
            }
        };
        let (head, _) = get(address, "GET", "/v2/").await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let (head, body) = get(address, "HEAD", "/v2/pause/manifests/3.10?ns=registry.k8s.io").await;
        assert!(head.contains(&manifest) && head.contains(MANIFEST) && body.is_empty(), "{head}");
        let (_, body) = get(address, "GET", &format!("/v2/pause/manifests/{manifest}")).await;
        assert!(String::from_utf8_lossy(&body).contains(&layer));
        let (head, body) = get(address, "GET", &format!("/v2/pause/blobs/{layer}?ns=registry.k8s.io")).await;
        assert!(head.contains(&format!("content-length: {}", 3 * CHUNK + 5)), "{head}");
        assert_eq!(body.len(), 3 * CHUNK + 5);
        let (head, _) = get(address, "GET", "/v2/pause/manifests/3.11?ns=registry.k8s.io").await;
        assert!(head.starts_with("http/1.1 404"), "{head}");
        let (head, _) = get(address, "PUT", "/v2/pause/manifests/3.10").await;
        assert!(head.starts_with("http/1.1 405"), "{head}");
    }

    #[test]
    fn paths_are_parsed_and_never_leave_the_layout() {
        let manifest = |repository: &str, reference: &str| {
            Some(Target::Manifest { repository: repository.into(), reference: reference.into() })
        };
        assert_eq!(target("/v2/", ""), Some(Target::Version));
        assert_eq!(target("/v2/a/b/manifests/v1", "ns=reg%3A5000"), manifest("reg:5000/a/b", "v1"));
        assert_eq!(target("/v2/a/manifests/v1", ""), manifest("a", "v1"));
        assert_eq!(target("/v2/a/blobs/sha256:../../../etc/passwd", ""), None);
        assert_eq!(target("/etc/passwd", ""), None);
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let (path, query) = text.split_once('?').unwrap_or((&text, ""));
            if let Some(Target::Blob(digest)) = target(path, query) {
                assert_eq!(digest.path(Path::new("/l")).components().count(), 5);
            }
        });
    }
}
