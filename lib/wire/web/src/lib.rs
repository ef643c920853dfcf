//! Files from web servers: HTTP/1.1 with or without TLS, redirections followed, sizes and time bounded.
//!
//! Servers are trusted by the authorities that the image ships. Names are looked up by `corten_client::resolve`.

mod target;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_base::{Task, spawn};
use corten_client::resolve;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub use target::{NotATarget, Target};

/// Most redirections that are followed.
pub const REDIRECTIONS_MAX: usize = 5;
/// The authorities that the image ships.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How much an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of a body.
    pub bytes_max: usize,
    /// Time for everything, redirections included.
    pub deadline: Duration,
}

/// What a server says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who said it, after redirections.
    pub target: Target,
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Why there is no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebError {
    /// The address, or that of a redirection, can never work.
    #[error("cannot ask {address}")]
    Address {
        /// The address, without its query.
        address: String,
        /// Why.
        #[source]
        source: NotATarget,
    },
    /// The network or the server's certificate.
    #[error("cannot reach {target}")]
    Reach {
        /// What was asked for.
        target: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The authorities of the image.
    #[error("cannot use the authorities in {ROOTS}")]
    Roots(#[source] io::Error),
    /// The exchange broke, or the answer is too large.
    #[error("cannot read the answer of {target}")]
    Exchange {
        /// What was asked for.
        target: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another status than 200.
    #[error("{target}: the server answered with {status}")]
    Status {
        /// What was asked for.
        target: String,
        /// The status.
        status: StatusCode,
    },
    /// They lead in a circle, or nearly so.
    #[error("{target}: more than {REDIRECTIONS_MAX} redirections")]
    Redirections {
        /// Where the last one led.
        target: String,
    },
    /// Time is over.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
}

impl WebError {
    fn exchange(target: &Target, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Exchange { target: target.to_string(), source: source.into() }
    }
}

impl Answer {
    /// The body of a good answer.
    ///
    /// # Errors
    /// When the status is another one than 200.
    pub fn good(self) -> Result<Bytes, WebError> {
        if self.status == StatusCode::OK {
            Ok(self.body)
        } else {
            Err(WebError::Status { target: self.target.to_string(), status: self.status })
        }
    }

    fn location(&self) -> Option<&str> {
        let location = self.headers.get(header::LOCATION).filter(|_| self.status.is_redirection())?;
        location.to_str().ok()
    }
}

/// Gets what is at an address, wherever redirections lead. The headers are sent to the first server only: they may be
/// secrets of it.
///
/// # Errors
/// Everything but an answer; see [`Answer::good`] for the status.
pub async fn get(address: &str, headers: &HeaderMap, limits: Limits) -> Result<Answer, WebError> {
    let follow = async {
        let shown = address.split('?').next().unwrap_or_default();
        let wrong = |source| WebError::Address { address: shown.to_owned(), source };
        let first = Target::parse(address).map_err(wrong)?;
        let (mut target, none) = (first.clone(), HeaderMap::new());
        for _ in 0..=REDIRECTIONS_MAX {
            let own = if target.is_same_server(&first) { headers } else { &none };
            let answer = ask(&target, own, limits.bytes_max).await?;
            let Some(location) = answer.location() else { return Ok(answer) };
            target = target.redirected(location).map_err(wrong)?;
        }
        Err(WebError::Redirections { target: target.to_string() })
    };
    let answer = tokio::time::timeout(limits.deadline, follow).await;
    answer.map_err(|_| WebError::Deadline(limits.deadline))?
}

/// The status that a server answers with. Redirections are not followed, and no body is read.
///
/// # Errors
/// Everything but an answer.
pub async fn status(address: &str, deadline: Duration) -> Result<StatusCode, WebError> {
    let ask = async {
        let shown = address.split('?').next().unwrap_or_default();
        let wrong = |source| WebError::Address { address: shown.to_owned(), source };
        let target = Target::parse(address).map_err(wrong)?;
        let (response, _connection) = request(connect(&target).await?, &target, &HeaderMap::new()).await?;
        Ok(response.status())
    };
    tokio::time::timeout(deadline, ask).await.map_err(|_| WebError::Deadline(deadline))?
}

async fn ask(target: &Target, headers: &HeaderMap, bytes_max: usize) -> Result<Answer, WebError> {
    let (response, _connection) = request(connect(target).await?, target, headers).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, bytes_max).collect().await;
    let body = body.map_err(|error| WebError::exchange(target, error))?.to_bytes();
    Ok(Answer { target: target.clone(), status: head.status, headers: head.headers, body })
}

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(target: &Target) -> Result<Box<dyn Stream>, WebError> {
    let reach = |source| WebError::Reach { target: target.to_string(), source };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "its host has no address");
    for address in resolve::lookup(&target.host).await.map_err(reach)? {
        match TcpStream::connect(SocketAddr::new(address, target.port)).await {
            Err(error) => failure = error,
            Ok(stream) if target.is_tls => {
                let name = ServerName::try_from(target.host.clone());
                let name = name.map_err(|error| reach(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
                let stream = TlsConnector::from(Arc::new(tls()?)).connect(name, stream).await;
                return Ok(Box::new(stream.map_err(reach)?));
            }
            Ok(stream) => return Ok(Box::new(stream)),
        }
    }
    Err(reach(failure))
}

/// What carries an answer.
type Carrier = Task<Result<(), hyper::Error>>;

/// Asks over a connection; the answer comes as long as what carries it is there.
async fn request(
    stream: Box<dyn Stream>,
    target: &Target,
    headers: &HeaderMap,
) -> Result<(Response<Incoming>, Carrier), WebError> {
    let broken = |error: hyper::Error| WebError::exchange(target, error);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = spawn("web download", connection);
    let mut request = Request::get(&target.path)
        .header(header::HOST, &target.authority)
        .body(Empty::<Bytes>::new())
        .map_err(|error| WebError::exchange(target, error))?;
    request.headers_mut().extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok((sender.send_request(request).await.map_err(broken)?, connection))
}

fn tls() -> Result<ClientConfig, WebError> {
    let invalid = |error: String| WebError::Roots(io::Error::new(io::ErrorKind::InvalidData, error));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ROOTS).map_err(|error| invalid(error.to_string()))?;
    roots.add_parsable_certificates(certificates.flatten());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| invalid(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection after the other with these texts; the requests come out.
    async fn serve(listener: TcpListener, answers: Vec<String>) -> Vec<String> {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.expect("a request");
            requests.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            // A client that refuses the answer hangs up.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        requests
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    fn answer(head: &str, body: &str) -> String {
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    const LIMITS: Limits = Limits { bytes_max: 16, deadline: Duration::from_secs(10) };

    #[tokio::test]
    async fn secrets_stay_with_the_first_server() {
        let ((own, first), (other, second)) = (listener().await, listener().await);
        let mut headers = HeaderMap::new();
        headers.insert("x-token", "hunter2".parse().expect("a value"));
        let there = format!("302 Found\r\nlocation: http://{second}/there");
        let address = format!("http://{first}/a?q=1");
        let (found, asked, led) = tokio::join!(
            get(&address, &headers, LIMITS),
            serve(own, vec![answer("302 Found\r\nlocation: /b", ""), answer(&there, "")]),
            serve(other, vec![answer("200 OK", "content")])
        );
        assert_eq!(found.expect("an answer").good().expect("200"), "content");
        assert!(asked[0].starts_with("GET /a?q=1 HTTP/1.1") && asked[0].contains("x-token: hunter2"));
        assert!(asked[1].starts_with("GET /b HTTP/1.1") && asked[1].contains("x-token: hunter2"));
        assert!(led[0].starts_with("GET /there HTTP/1.1") && !led[0].contains("hunter2"), "{}", led[0]);
    }

    #[tokio::test]
    async fn what_goes_wrong_is_named_without_secrets() {
        let refused = |text: String| async move {
            let (listener, address) = listener().await;
            let address = format!("http://{address}/secret?token=1");
            let headers = HeaderMap::new();
            let (found, _) = tokio::join!(get(&address, &headers, LIMITS), serve(listener, vec![text]));
            corten_base::chain(&found.and_then(Answer::good).expect_err("refused"))
        };
        let missing = refused(answer("404 Not Found", "")).await;
        assert!(missing.contains("404") && !missing.contains("token"), "{missing}");
        let large = refused(answer("200 OK", "more than sixteen bytes")).await;
        assert!(large.contains("cannot read the answer"), "{large}");
        let wrong = get("ftp://h/x?token=1", &HeaderMap::new(), LIMITS).await.expect_err("wrong");
        assert_eq!(corten_base::chain(&wrong), "cannot ask ftp://h/x: not an http or https URL");
    }

    #[tokio::test]
    async fn a_circle_of_redirections_ends() {
        let (listener, address) = listener().await;
        let circle = vec![answer("302 Found\r\nlocation: /", ""); REDIRECTIONS_MAX + 1];
        let address = format!("http://{address}/");
        let headers = HeaderMap::new();
        let (found, _) = tokio::join!(get(&address, &headers, LIMITS), serve(listener, circle));
        assert!(matches!(found, Err(WebError::Redirections { .. })));
    }
}
