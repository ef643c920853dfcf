//! Answers: texts, refusals, and media as a whole or in part.

use std::error::Error;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};

use corten_base::chain;
use futures::TryStreamExt as _;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, IF_RANGE, RANGE, RETRY_AFTER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;
use tonic::body::Body;

use super::TEXT;
use super::range::{Wanted, wanted};
use crate::cache::Found;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 16;
/// When to come again, seconds.
const AGAIN_AFTER: &str = "5";
/// A medium never changes; it is for whoever asked for it alone.
const FOR_EVER: &str = "private, max-age=31536000, immutable";

/// A text.
pub(super) fn text(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, kind);
    set(&mut response, CONTENT_LENGTH, &text.len().to_string());
    *response.body_mut() = Body::new(Full::new(bytes::Bytes::from(text)));
    response
}

/// Why something is refused.
pub(super) fn refusal(status: StatusCode, error: &dyn Error) -> Response<Body> {
    if status.is_server_error() {
        tracing::warn!(status = status.as_u16(), error = chain(error), "cannot serve a medium");
    }
    let mut response = text(status, TEXT, chain(error) + "\n");
    if status == StatusCode::SERVICE_UNAVAILABLE {
        set(&mut response, RETRY_AFTER, AGAIN_AFTER);
    }
    response
}

/// A medium, as these headers want it.
pub(super) fn medium(headers: &HeaderMap, name: &str, found: Found) -> Response<Body> {
    let Found { file, facts } = found;
    let tag = format!("\"{}\"", facts.sha256);
    let header = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let mut response = Response::new(Body::empty());
    set(&mut response, ETAG, &tag);
    set(&mut response, ACCEPT_RANGES, "bytes");
    set(&mut response, CACHE_CONTROL, FOR_EVER);
    if header(&IF_NONE_MATCH).is_some_and(|tags| tags.split(',').any(|known| known.trim() == tag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let length = facts.length;
    let (begin, end) = match wanted(header(&RANGE), header(&IF_RANGE), &tag, length) {
        Wanted::Whole => (0, length),
        Wanted::Part { begin, end } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut response, CONTENT_RANGE, &format!("bytes {begin}-{}/{length}", end.saturating_sub(1)));
            (begin, end)
        }
        Wanted::Beyond => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(&mut response, CONTENT_RANGE, &format!("bytes */{length}"));
            set(&mut response, CONTENT_LENGTH, "0");
            return response;
        }
    };
    set(&mut response, CONTENT_TYPE, kind(name));
    set(&mut response, CONTENT_DISPOSITION, &format!("attachment; filename=\"{name}\""));
    set(&mut response, CONTENT_LENGTH, &end.saturating_sub(begin).to_string());
    match stream(file, begin, end.saturating_sub(begin)) {
        Ok(body) => *response.body_mut() = body,
        Err(error) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
    response
}

/// MIME type of a medium.
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("iso") => "application/x-iso9660-image",
        Some("xz") => "application/x-xz",
        None if name.starts_with("cmdline-") => TEXT,
        _ => "application/octet-stream",
    }
}

/// A part of a file, a little at a time.
fn stream(file: File, begin: u64, length: u64) -> io::Result<Body> {
    let mut file = file;
    file.seek(SeekFrom::Start(begin))?;
    let part = tokio::fs::File::from_std(file).take(length);
    let frames = ReaderStream::with_capacity(part, CHUNK).map_ok(Frame::data);
    Ok(Body::new(StreamBody::new(frames)))
}

/// Sets a header. What it is made of has no line ends.
fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_from_names() {
        for (name, expected) in [
            ("metal-amd64.iso", "application/x-iso9660-image"),
            ("metal-amd64.raw.xz", "application/x-xz"),
            ("cmdline-metal-amd64", TEXT),
            ("kernel-amd64", "application/octet-stream"),
        ] {
            assert_eq!(kind(name), expected);
        }
    }

    #[test]
    fn a_refusal_tells_all_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("no medium")]
        struct Outer(#[source] io::Error);
        let refused = refusal(StatusCode::SERVICE_UNAVAILABLE, &Outer(io::Error::other("the disk is slow")));
        assert_eq!(refused.headers()[RETRY_AFTER], AGAIN_AFTER);
        assert_eq!(refused.headers()[CONTENT_LENGTH], "no medium: the disk is slow\n".len().to_string());
    }
}
