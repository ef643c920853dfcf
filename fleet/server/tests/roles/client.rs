//! A client that knows bytes only: the same call over each transport, whoever signs it, whatever it says.
//!
//! ```text
//! method, headers, message ─┬▶ gRPC       HTTP/2, status in trailers
//!                           ├▶ gRPC-Web   HTTP/1.1, status in the body            ─▶ Answer
//!                           └▶ HTTP       HTTP/1.1, JSON to /api/SERVICE/METHOD
//! ```

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;
use tonic::Code;

/// Longest time that an answer takes.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Headers of plain HTTP that become those of a call.
const GATEWAY: &str = "Grpc-Metadata-";
/// Begin of a frame with a message: what follows is not compressed.
const MESSAGE: u8 = 0;
/// Bit of a frame that has trailers.
const TRAILERS: u8 = 0x80;
/// Bytes in front of the content of a frame: what it is, and how long.
const FRAME_HEAD: usize = 5;

/// How a call comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// As tools call.
    Grpc,
    /// As browsers call.
    Web,
    /// As scripts would call.
    Http,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Grpc, Self::Web, Self::Http];

    /// Its name, which may stand in ids.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Web => "web",
            Self::Http => "http",
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The status of a call, with its text. A first message is as good as the status that comes after it.
    Status(Code, String),
    /// A page of HTTP.
    Page(u16),
    /// Nothing in all the time: it was let in, and waits for something.
    Nothing,
}

/// Calls one manager.
pub struct Client {
    address: String,
    one: Http<HttpConnector, Full<Bytes>>,
    two: Http<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// A client of the API at this address.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            one: Http::builder(TokioExecutor::new()).build_http(),
            two: Http::builder(TokioExecutor::new()).http2_only(true).build_http(),
        }
    }

    /// Makes a call with these headers.
    pub async fn call(
        &self,
        transport: Transport,
        method: &str,
        headers: &[(String, String)],
        message: &[u8],
    ) -> Answer {
        let asked = self.ask(transport, method, headers, message);
        timeout(ANSWER_MAX, asked).await.unwrap_or(Answer::Nothing)
    }

    async fn ask(
        &self,
        transport: Transport,
        method: &str,
        headers: &[(String, String)],
        message: &[u8],
    ) -> Answer {
        let request = self.request(transport, method, headers, message);
        let http = if transport == Transport::Grpc { &self.two } else { &self.one };
        let (head, mut body) = http.request(request).await.expect(method).into_parts();
        if head.status != 200 || transport == Transport::Http {
            return Answer::Page(head.status.as_u16());
        }
        if let Some(answer) = status(&head.headers) {
            return answer;
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.expect(method);
            if let Some(answer) = frame.trailers_ref().and_then(status) {
                return answer;
            }
            bytes.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
            if let Some(answer) = first_frame(&bytes) {
                return answer;
            }
        }
        panic!("{method} ended without a status: {bytes:?}")
    }

    fn request(
        &self,
        transport: Transport,
        method: &str,
        headers: &[(String, String)],
        message: &[u8],
    ) -> Request<Full<Bytes>> {
        let (content, path, prefix) = match transport {
            Transport::Grpc => ("application/grpc", "", ""),
            Transport::Web => ("application/grpc-web+proto", "", ""),
            Transport::Http => ("application/json", "/api", GATEWAY),
        };
        let uri = format!("http://{}{path}{method}", self.address);
        let mut request = Request::post(uri).header("content-type", content).header("te", "trailers");
        for (name, value) in headers {
            request = request.header(format!("{prefix}{name}"), value);
        }
        let body = if transport == Transport::Http { b"{}".to_vec() } else { framed(message) };
        request.body(Full::new(Bytes::from(body))).expect("a request")
    }
}

/// A message in its frame.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a message of a test").to_be_bytes();
    [&[MESSAGE][..], &length[..], message].concat()
}

/// What the first frame says, once it is there.
fn first_frame(bytes: &[u8]) -> Option<Answer> {
    if (bytes.first()? & TRAILERS) == 0 {
        return Some(Answer::Status(Code::Ok, String::new()));
    }
    let length = u32::from_be_bytes(bytes.get(1..FRAME_HEAD)?.try_into().ok()?);
    let text = bytes.get(FRAME_HEAD..)?.get(..usize::try_from(length).ok()?)?;
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(text).lines() {
        let (name, value) = line.split_once(':')?;
        let name = http::HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        headers.insert(name, value.trim().parse().ok()?);
    }
    status(&headers)
}

/// The status in headers or trailers.
fn status(headers: &HeaderMap) -> Option<Answer> {
    let text = |name: &str| Some(String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned());
    let code = text("grpc-status")?.parse().ok()?;
    Some(Answer::Status(Code::from_i32(code), text("grpc-message").unwrap_or_default()))
}
