//! The connection and raw requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use corten_base::Secret;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

use crate::api::Api;
use crate::connect::{Connector, Dialer, Resolver, host_network, no_names};
use crate::error::{Error, ServerStatus};
use crate::resource::ApiResource;
use crate::tls;

/// Limit of a request that is not a watch.
pub(crate) const CALL: Duration = Duration::from_secs(30);
/// Largest answer.
pub(crate) const BODY: usize = 32 << 20;
/// A connection without traffic is asked for life this often.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Who we are to the server.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Nobody.
    #[default]
    None,
    /// A client certificate with its key, both PEM.
    Certificate {
        /// The certificate and its chain.
        certificate: Vec<u8>,
        /// The key.
        key: Secret<Vec<u8>>,
    },
    /// A bearer token.
    Token(Secret<String>),
}

/// Where the server is and how to talk to it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `https://host:port`.
    pub server: String,
    /// Certificate authorities, PEM.
    pub ca: Vec<u8>,
    /// Who we are.
    pub auth: Auth,
    /// Name that the server's certificate must carry, when it is not the host.
    pub server_name: Option<String>,
}

/// A connection to one Kubernetes API.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: HttpClient<Connector, Full<Bytes>>,
    server: String,
    token: Option<HeaderValue>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.0.server).finish_non_exhaustive()
    }
}

impl Client {
    /// A client for a server with an address; it dials when it is first used.
    ///
    /// # Errors
    /// When the URL, a certificate or a key cannot be used.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::with_resolver(config, no_names())
    }

    /// A client for a server with a name.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_resolver(config: &Config, resolver: Resolver) -> Result<Self, Error> {
        Self::build(config, resolver, host_network())
    }

    /// A client for a server that is reached by connections of the caller's making, such as through a tunnel.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_dialer(config: &Config, dialer: Dialer) -> Result<Self, Error> {
        Self::build(config, no_names(), dialer)
    }

    fn build(config: &Config, resolver: Resolver, dialer: Dialer) -> Result<Self, Error> {
        let server = config.server.trim_end_matches('/').to_owned();
        let uri: Uri =
            server.parse().map_err(|error| Error::Config(format!("server `{server}`: {error}")))?;
        if uri.scheme_str() != Some("https") || uri.host().is_none() {
            return Err(Error::Config(format!("server `{server}` is not an https URL")));
        }
        let token = match &config.auth {
            Auth::Token(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal().trim()))
                    .map_err(|_| Error::Config("the token has characters that no token has".to_owned()))?;
                value.set_sensitive(true);
                Some(value)
            }
            Auth::None | Auth::Certificate { .. } => None,
        };
        let connector = Connector {
            tls: tls::client_config(&config.ca, &config.auth)?,
            resolver,
            dialer,
            server_name: config.server_name.clone().filter(|it| !it.is_empty()),
        };
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .http2_keep_alive_while_idle(true)
            .build(connector);
        Ok(Self(Arc::new(Inner { http, server, token })))
    }

    /// URL of the server.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.0.server
    }

    /// One resource, in one namespace or in all.
    #[must_use]
    pub fn api(&self, resource: &ApiResource, namespace: Option<&str>) -> Api {
        Api::new(self.clone(), resource.clone(), namespace.map(str::to_owned))
    }

    /// Version of the server, as in `v1.36.3`.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn version(&self) -> Result<String, Error> {
        let answer = self.call(Method::GET, "/version", None).await?;
        answer
            .get("gitVersion")
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| Error::Answer("a version without gitVersion".to_owned()))
    }

    /// Whether the server says that it is ready to serve.
    ///
    /// # Errors
    /// When the server does not answer; not being ready is no error.
    pub async fn ready(&self) -> Result<bool, Error> {
        match self.raw(Method::GET, "/readyz", None).await {
            Ok(_) => Ok(true),
            Err(Error::Refused { status, .. }) if status.code >= 500 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A request with a JSON answer.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Body>) -> Result<Value, Error> {
        let (_, bytes) = self.raw(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Answer(format!("{path}: {error}")))
    }

    /// A request with any answer that is a success.
    pub(crate) async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let name = method.to_string();
        let exchange = async {
            let (status, incoming) = self.send(method, path, body).await?;
            let bytes = collect(incoming, &name, path).await?;
            if status.is_success() { Ok((status, bytes)) } else { Err(refused(&name, path, status, &bytes)) }
        };
        match tokio::time::timeout(CALL, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Error::Deadline { method: name.clone(), path: path.to_owned(), limit: CALL }),
        }
    }

    /// Sends a request and returns with the head of the answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
    ) -> Result<(StatusCode, Incoming), Error> {
        let name = method.to_string();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.0.server))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("corten/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.0.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if let Some(body) = &body {
            request = request.header(CONTENT_TYPE, body.kind);
        }
        let bytes = body.map(|it| it.bytes).unwrap_or_default();
        let request =
            request.body(Full::new(bytes)).map_err(|error| Error::Config(format!("{path}: {error}")))?;
        let answer = self.0.http.request(request).await.map_err(|error| transport(&name, path, error))?;
        let (head, incoming) = answer.into_parts();
        Ok((head.status, incoming))
    }
}

/// What a request carries.
pub(crate) struct Body {
    pub(crate) kind: &'static str,
    pub(crate) bytes: Bytes,
}

impl Body {
    pub(crate) fn json(kind: &'static str, value: &Value) -> Self {
        Self { kind, bytes: Bytes::from(value.to_string()) }
    }
}

pub(crate) fn transport(
    method: &str,
    path: &str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Transport { method: method.to_owned(), path: path.to_owned(), source: source.into() }
}

pub(crate) fn refused(method: &str, path: &str, status: StatusCode, body: &[u8]) -> Error {
    Error::Refused {
        method: method.to_owned(),
        path: path.to_owned(),
        status: ServerStatus::from_body(status, body),
    }
}

/// The whole body, up to the bound.
pub(crate) async fn collect(mut incoming: Incoming, method: &str, path: &str) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| transport(method, path, error))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > BODY {
                return Err(Error::Answer(format!("{path}: larger than {BODY} bytes")));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}
