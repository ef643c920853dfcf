//! Downloads of images over HTTP, which go on where they stopped.
//!
//! ```text
//! URL ─▶ Target ─▶ GET, from what is there already ─▶ judge ─┬─ elsewhere ─▶ the next Target
//!                                                           ├─ whole, rest ─▶ Part ─▶ hash is right? ─▶ the file
//!                                                           └─ refused
//! a connection that breaks ─▶ the same again, after a while
//! ```
//!
//! A part is named after what is downloaded, and goes on only with what the server calls the same (If-Range).

mod part;
mod progress;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corten_base::{Backoff, Task, spawn};
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HOST, IF_RANGE, LOCATION, RANGE, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};

use self::part::Part;
use self::progress::Progress;
use super::address::{Address, Security};
use super::dial::{Dialer, Trust};
use crate::context::Cx;
use crate::failure::Cause;

/// How long nothing may come.
const SILENCE_MAX: Duration = Duration::from_secs(60);
const REDIRECTIONS_MAX: usize = 5;
/// Attempts in a row that bring nothing.
const ATTEMPTS_MAX: u32 = 5;
/// First and longest time between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// What to ask, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    address: Address,
    /// Value of the `host` header.
    authority: String,
    /// Path and query.
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, Cause> {
        let wrong = || Cause::new("it is not at a URL that can be downloaded from");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong());
        }
        let address = url.parse::<Address>().map_err(|_| wrong())?;
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let authority = authority.rsplit('@').next().unwrap_or_default().to_owned();
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Self { address, authority, path })
    }

    /// Where a redirection leads from here; never from a protected connection to an open one.
    fn redirected(&self, location: &str) -> Result<Self, Cause> {
        if location.starts_with('/') && !location.starts_with("//") {
            return Ok(Self { path: location.to_owned(), ..self.clone() });
        }
        let next = Self::parse(location)?;
        if self.address.security == Security::Tls && next.address.security == Security::Plain {
            return Err(Cause::new("the server leads from https to http"));
        }
        Ok(next)
    }
}

/// What a server answers to the wish for all bytes after the first `have`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// All bytes follow.
    Whole,
    /// Those that are missing follow.
    Rest,
    /// None is missing.
    Complete,
    /// Somebody else has it.
    Elsewhere(String),
    /// What is there does not fit; it must be asked for from the start.
    Other,
    /// There is none.
    Refused(StatusCode),
}

/// What of the file is there already.
#[derive(Clone, Debug, Default)]
struct Have {
    bytes: u64,
    /// What the server called that of which it is a part.
    tag: Option<String>,
}

fn judge(status: StatusCode, headers: &HeaderMap, have: &Have) -> Answer {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let range = || text(&CONTENT_RANGE)?.strip_prefix("bytes ");
    // A server that knows nothing of If-Range may tell that it has another one.
    let is_other = have.tag.as_deref().zip(text(&ETAG)).is_some_and(|(known, told)| known != told);
    match status {
        StatusCode::OK => Answer::Whole,
        StatusCode::PARTIAL_CONTENT => {
            let begin = range().and_then(|range| range.split('-').next()?.parse::<u64>().ok());
            if begin == Some(have.bytes) && !is_other { Answer::Rest } else { Answer::Other }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let total = range().and_then(|range| range.strip_prefix("*/")?.parse::<u64>().ok());
            if total == Some(have.bytes) && !is_other { Answer::Complete } else { Answer::Other }
        }
        status if status.is_redirection() => match text(&LOCATION) {
            Some(location) => Answer::Elsewhere(location.to_owned()),
            None => Answer::Refused(status),
        },
        status => Answer::Refused(status),
    }
}

/// Why an attempt ended.
enum Failed {
    /// It is worth trying again.
    Broken(Cause),
    /// It is not.
    Final(Cause),
}

fn broken(error: impl std::error::Error) -> Failed {
    Failed::Broken(Cause::new(corten_base::chain(&error)))
}

/// A file to download.
pub struct Download<'a> {
    /// Where it is.
    pub url: &'a str,
    /// What to send along, to the host of the URL only.
    pub headers: BTreeMap<String, String>,
    /// Names what is downloaded.
    pub key: &'a str,
    /// Where it goes.
    pub path: &'a Path,
}

impl Download<'_> {
    /// Downloads it. Returns its size, bytes.
    pub async fn run(&self, cx: &Cx) -> Result<u64, Cause> {
        self.with_pauses(cx, &Trust::of(cx), PAUSES).await
    }

    async fn with_pauses(&self, cx: &Cx, trust: &Trust, pauses: (Duration, Duration)) -> Result<u64, Cause> {
        let part = Part::of(self.path, self.key);
        if self.key.is_empty() && part.tag().is_none() {
            // Nobody knows what it is a part of.
            part.remove()?;
        }
        let mut backoff = Backoff::new(pauses.0, pauses.1);
        loop {
            let before = part.size();
            match self.attempt(cx, trust, &part).await {
                Ok(()) => break,
                Err(Failed::Final(cause)) => return Err(cause),
                Err(Failed::Broken(cause)) => {
                    if part.size() > before {
                        backoff.reset();
                    }
                    if backoff.attempts() >= ATTEMPTS_MAX {
                        return Err(cause.way_out("do it again: it goes on where it stopped"));
                    }
                    cx.say(format!("the download broke: {}; it goes on", cause.lines.join("; ")));
                    sleep(backoff.next_delay(&cx.rng)).await;
                }
            }
        }
        part.finish(self.path)
    }

    async fn attempt(&self, cx: &Cx, trust: &Trust, part: &Part) -> Result<(), Failed> {
        let mut target = Target::parse(self.url).map_err(Failed::Final)?;
        let host = target.address.host.clone();
        let mut have = Have { bytes: part.size(), tag: part.tag() };
        for _ in 0..=REDIRECTIONS_MAX {
            let is_origin = target.address.host == host;
            let exchange = self.ask(trust, &target, &have, is_origin).await?;
            match judge(exchange.response.status(), exchange.response.headers(), &have) {
                Answer::Whole => return exchange.save(cx, part, Begin::Anew).await,
                Answer::Rest => return exchange.save(cx, part, Begin::AfterWhatIsThere).await,
                Answer::Complete => return Ok(()),
                Answer::Elsewhere(location) => {
                    target = target.redirected(&location).map_err(Failed::Final)?;
                }
                Answer::Other => have = Have::default(),
                Answer::Refused(status) => {
                    let cause = Cause::new(format!("{} answers with {status}", target.authority));
                    return Err(if status.is_server_error() {
                        Failed::Broken(cause)
                    } else {
                        Failed::Final(cause)
                    });
                }
            }
        }
        Err(Failed::Final(Cause::new(format!("there are more than {REDIRECTIONS_MAX} redirections"))))
    }

    async fn ask(
        &self,
        trust: &Trust,
        target: &Target,
        have: &Have,
        is_origin: bool,
    ) -> Result<Exchange, Failed> {
        let dialer = Dialer::new(&target.address, trust, b"http/1.1").map_err(Failed::Final)?;
        let stream = dialer.dial().await.map_err(broken)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = spawn("download", connection);
        let request = self.request(target, have, is_origin).map_err(Failed::Final)?;
        match timeout(SILENCE_MAX, sender.send_request(request)).await {
            Ok(answer) => {
                let response = answer.map_err(broken)?;
                Ok(Exchange { response, _sender: sender, _connection: connection })
            }
            Err(_) => Err(Failed::Broken(Cause::new("no answer"))),
        }
    }

    fn request(&self, target: &Target, have: &Have, is_origin: bool) -> Result<Request<Empty<Bytes>>, Cause> {
        let wrong = |error: http::Error| Cause::new(format!("it cannot be asked for: {error}"));
        let mut request = Request::get(&target.path)
            .header(HOST, &target.authority)
            .header(USER_AGENT, concat!("corten/", env!("CARGO_PKG_VERSION")));
        if have.bytes > 0 {
            request = request.header(RANGE, format!("bytes={}-", have.bytes));
            if let Some(tag) = &have.tag {
                request = request.header(IF_RANGE, tag);
            }
        }
        for (name, value) in self.headers.iter().filter(|_| is_origin) {
            let mut value = HeaderValue::try_from(value).map_err(|error| wrong(error.into()))?;
            value.set_sensitive(name.eq_ignore_ascii_case(AUTHORIZATION.as_str()));
            request = request.header(name, value);
        }
        request.body(Empty::new()).map_err(wrong)
    }
}

/// An answer whose body still comes, over a connection that is held.
struct Exchange {
    response: Response<Incoming>,
    _sender: SendRequest<Empty<Bytes>>,
    _connection: Task<hyper::Result<()>>,
}

/// Where what comes belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// In the place of what is there.
    Anew,
    /// After it.
    AfterWhatIsThere,
}

impl Exchange {
    /// Puts what comes into the part.
    async fn save(self, cx: &Cx, part: &Part, begin: Begin) -> Result<(), Failed> {
        let failed = |error: io::Error| {
            Failed::Final(Cause::new(format!("cannot write `{}`: {error}", part.path().display())))
        };
        let headers = self.response.headers();
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let (tag, length) = (text(&ETAG), text(&CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok()));
        let (mut have, file) = match begin {
            Begin::Anew => (0, part.begin(tag)),
            Begin::AfterWhatIsThere => (part.size(), part.go_on()),
        };
        let mut file = file.map_err(failed)?;
        let mut progress = Progress::new(cx, length.map(|length| have + length), have);
        let mut body = self.response.into_body();
        loop {
            let frame = timeout(SILENCE_MAX, body.frame()).await;
            let frame = frame.map_err(|_| Failed::Broken(Cause::new("nothing comes any more")))?;
            let Some(frame) = frame else { break };
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                file.write_all(&data).map_err(failed)?;
                have += data.len() as u64;
                progress.tell(have);
            }
        }
        file.sync_all().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use corten_base::{Clock, Rng};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const SHORT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(1));

    fn headers(entries: &[(HeaderName, &'static str)]) -> HeaderMap {
        entries.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_is_there_is_continued_only_where_it_ends() {
        let have = Have { bytes: 4, tag: Some("\"a\"".to_owned()) };
        let partial = |range, tag| {
            judge(StatusCode::PARTIAL_CONTENT, &headers(&[(CONTENT_RANGE, range), (ETAG, tag)]), &have)
        };
        assert_eq!(partial("bytes 4-9/10", "\"a\""), Answer::Rest);
        assert_eq!(partial("bytes 4-9/10", "\"b\""), Answer::Other);
        assert_eq!(partial("bytes 0-9/10", "\"a\""), Answer::Other);
        let beyond =
            |range| judge(StatusCode::RANGE_NOT_SATISFIABLE, &headers(&[(CONTENT_RANGE, range)]), &have);
        assert_eq!((beyond("bytes */4"), beyond("bytes */3")), (Answer::Complete, Answer::Other));
        assert_eq!(judge(StatusCode::OK, &HeaderMap::new(), &have), Answer::Whole);
        let nothing = Have::default();
        let found = judge(StatusCode::FOUND, &headers(&[(LOCATION, "/there")]), &nothing);
        assert_eq!(found, Answer::Elsewhere("/there".to_owned()));
        let missing = judge(StatusCode::NOT_FOUND, &HeaderMap::new(), &nothing);
        assert_eq!(missing, Answer::Refused(StatusCode::NOT_FOUND));
    }

    #[test]
    fn any_answer_is_judged_without_panic() {
        bolero::check!().with_type::<(u16, String, String, u64)>().for_each(|(code, range, tag, bytes)| {
            let Ok(status) = StatusCode::from_u16(*code) else { return };
            let mut headers = HeaderMap::new();
            for (name, text) in [(CONTENT_RANGE, range), (ETAG, tag), (LOCATION, tag)] {
                if let Ok(value) = HeaderValue::from_str(text) {
                    headers.insert(name, value);
                }
            }
            let _ = judge(status, &headers, &Have { bytes: *bytes, tag: Some(tag.clone()) });
        });
    }

    #[test]
    fn redirections_never_lose_protection() {
        let target = Target::parse("https://factory/image/a?b=c").expect("a target");
        assert_eq!((target.path.as_str(), target.authority.as_str()), ("/image/a?b=c", "factory"));
        assert_eq!(target.redirected("/b").expect("relative").path, "/b");
        assert_eq!(target.redirected("https://store:8443/b").expect("absolute").address.port, 8443);
        for wrong in ["http://factory/b", "//store/b", "ftp://store/b"] {
            assert!(target.redirected(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_sent_to_the_host_of_the_url_only() {
        let entries = [("Authorization".to_owned(), "Basic eA==".to_owned())];
        let download = Download { url: "", headers: entries.into(), key: "", path: Path::new("a.iso") };
        let target = Target::parse("http://factory/a").expect("a target");
        let have = Have { bytes: 7, tag: Some("\"a\"".to_owned()) };
        let request = |is_origin| download.request(&target, &have, is_origin).expect("a request");
        assert!(request(true).headers().contains_key(AUTHORIZATION));
        assert!(!request(false).headers().contains_key(AUTHORIZATION));
        assert_eq!(request(true).headers().get(RANGE).expect("a range"), "bytes=7-");
        assert_eq!(request(true).headers().get(IF_RANGE).expect("a condition"), "\"a\"");
    }

    /// Answers one connection after the other with these texts; the requests come out.
    async fn serve(listener: TcpListener, answers: &[&str]) -> Vec<String> {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.expect("a request");
            requests.push(String::from_utf8_lossy(&buffer[..length]).to_lowercase());
            stream.write_all(answer.as_bytes()).await.expect("answered");
        }
        requests
    }

    #[tokio::test]
    async fn a_download_that_breaks_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metal.iso");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/a", listener.local_addr().expect("an address"));
        let cx = Cx {
            globals: Default::default(),
            fleet: Default::default(),
            clock: Clock::fixed(0),
            rng: Rng::seeded(1),
        };
        // The tag is the hash of the ten digits.
        const TAG: &str = "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882";
        let elsewhere = "HTTP/1.1 302 Found\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n";
        let tag = format!("etag: \"{TAG}\"\r\n\r\n");
        let begin = format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n{tag}0123");
        let rest = "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 4-9/10\r\ncontent-length: 6\r\n";
        let rest = format!("{rest}{tag}456789");
        let answers = [elsewhere, begin.as_str(), elsewhere, rest.as_str()];
        let download = Download { url: &url, headers: BTreeMap::new(), key: "k", path: &path };
        let trust = Trust::Anyone(Clock::fixed(0));
        let (size, requests) =
            tokio::join!(download.with_pauses(&cx, &trust, SHORT), serve(listener, &answers));
        assert_eq!(size, Ok(10));
        assert_eq!(std::fs::read(&path).expect("the file"), b"0123456789");
        assert!(requests[1].starts_with("get /b ") && !requests[1].contains("range:"), "{requests:?}");
        assert!(requests[3].contains("range: bytes=4-"), "{requests:?}");
        assert!(requests[3].contains(&format!("if-range: \"{TAG}\"")), "{requests:?}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 1, "no part is left");
    }
}
