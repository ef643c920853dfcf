//! The fields of a stream that matter to gRPC, and those that are sent.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::{Code, Status};

use crate::hpack::{begun, put_field, put_known, put_value};
use crate::table::number;

/// What every message is encoded in.
const CONTENT_TYPE: &[u8] = b"application/grpc";

/// Longest method, bytes.
const PATH_BYTES_MAX: usize = 256;
/// Longest message of a status that is read, bytes as it comes.
const WORDS_BYTES_MAX: usize = 4 * 1024;
/// Longest message of a status that is sent, characters: each takes up to 12 bytes.
const WORDS_MAX: usize = 512;

/// What a peer says at the beginning or the end of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    /// Which method is called; empty when the peer does not say, or at too great length.
    pub path: String,
    /// The status of HTTP.
    pub status: Option<u16>,
    /// The status of gRPC and its message.
    pub grpc: HeaderMap,
}

impl Fields {
    /// Takes a field, or leaves it.
    pub fn take(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":path" if value.len() <= PATH_BYTES_MAX => {
                self.path = String::from_utf8_lossy(value).into_owned()
            }
            b":status" => self.status = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()),
            b"grpc-status" | b"grpc-message" if value.len() <= WORDS_BYTES_MAX => {
                if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
                {
                    self.grpc.insert(name, value);
                }
            }
            _ => {}
        }
    }

    /// Whether something else than the answer comes first (RFC 9110, 15.2).
    pub fn is_informational(&self) -> bool {
        self.status.is_some_and(|status| (100..200).contains(&status))
    }

    /// What an answer of HTTP means that is none of gRPC; nothing when it may become one.
    pub fn failure(&self) -> Option<Status> {
        let status = self.status.unwrap_or(0);
        // The mapping of the gRPC specification, "HTTP to gRPC Status Code Mapping".
        let code = match status {
            200 => return None,
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        };
        Some(Status::new(code, format!("the other side answers with HTTP status {status}")))
    }

    /// How a call ended, by the last fields of its stream.
    pub fn end(&self) -> Status {
        let told = Status::from_header_map(&self.grpc);
        let silent = || Status::internal("the other side ended a call without a status");
        told.or_else(|| self.status.and_then(|_| self.failure())).unwrap_or_else(silent)
    }
}

/// The fields that begin a call.
pub(crate) fn call(authority: &str, path: &str) -> Vec<u8> {
    let mut block = begun();
    put_known(&mut block, number::METHOD_POST);
    put_known(&mut block, number::SCHEME_HTTP);
    put_value(&mut block, number::PATH, path.as_bytes());
    put_value(&mut block, number::AUTHORITY, authority.as_bytes());
    put_field(&mut block, b"te", b"trailers");
    put_value(&mut block, number::CONTENT_TYPE, CONTENT_TYPE);
    block
}

/// The fields that begin an answer.
pub(crate) fn answer() -> Vec<u8> {
    let mut block = begun();
    put_known(&mut block, number::STATUS_200);
    put_value(&mut block, number::CONTENT_TYPE, CONTENT_TYPE);
    block
}

/// The fields that end a call well.
pub(crate) fn done() -> Vec<u8> {
    let mut block = Vec::new();
    put_field(&mut block, b"grpc-status", b"0");
    block
}

/// All fields of an answer that is an error. Of a long message the beginning is sent.
pub(crate) fn refusal(status: &Status) -> Vec<u8> {
    let mut block = answer();
    let words: String = status.message().chars().take(WORDS_MAX).collect();
    let mut fields = HeaderMap::new();
    if Status::new(status.code(), words).add_header(&mut fields).is_err() {
        fields.clear();
        put_field(&mut block, b"grpc-status", (status.code() as i32).to_string().as_bytes());
    }
    for (name, value) in &fields {
        put_field(&mut block, name.as_str().as_bytes(), value.as_bytes());
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PAYLOAD_MAX;
    use crate::hpack::Decoder;

    fn read(block: &[u8]) -> Fields {
        let mut fields = Fields::default();
        Decoder::default().decode(block, |name, value| fields.take(name, value)).unwrap();
        fields
    }

    #[test]
    fn a_refusal_fits_into_a_frame_however_long_its_words_are() {
        let block = refusal(&Status::unavailable("\u{10ffff}".repeat(100_000)));
        assert!(block.len() <= PAYLOAD_MAX, "{}", block.len());
        let short = read(&refusal(&Status::aborted("no: 100 %"))).end();
        assert_eq!((short.code(), short.message()), (Code::Aborted, "no: 100 %"));
    }

    #[test]
    fn what_a_peer_says_of_itself_is_taken_in_part_or_not_at_all() {
        let mut block = begun();
        put_value(&mut block, number::PATH, &[0xff; 1000]);
        put_field(&mut block, b"grpc-status-details-bin", b"!");
        put_field(&mut block, b"grpc-status", b"many");
        put_field(&mut block, b"grpc-message", &[b'x'; 10_000]);
        put_field(&mut block, b":status", b"two hundred");
        let fields = read(&block);
        assert_eq!((fields.path.as_str(), fields.status), ("", None));
        assert_eq!((fields.end().code(), fields.end().message()), (Code::Unknown, ""));
    }

    #[test]
    fn what_is_no_answer_of_grpc_has_the_status_that_the_specification_gives_it() {
        for (status, code) in [
            (200, Code::Internal),
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (429, Code::Unavailable),
            (500, Code::Unknown),
            (503, Code::Unavailable),
        ] {
            let fields = Fields { status: Some(status), ..Fields::default() };
            assert_eq!(fields.end().code(), code, "{status}");
            assert_eq!(fields.failure().is_some(), status != 200);
        }
        assert!(Fields { status: Some(103), ..Fields::default() }.is_informational());
    }
}
