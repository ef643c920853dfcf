//! The envelope in which answers of several machines travel together.
//!
//! A unary response is `messages = 1` repeated, and the first field of each message is `common.Metadata`; a streamed
//! message carries the metadata itself. So answers are merged without knowing their types: concatenating responses
//! concatenates `messages`, and a metadata field appended to a message is merged into it by any protobuf decoder.
//! A machine that failed contributes a message that has nothing but metadata.

use bytes::{BufMut, BytesMut};
use corten_api::common::{Empty, EmptyResponse, Metadata};
use corten_api::google;
use corten_api::rules::Kind;
use prost::Message as _;
use prost::encoding::{WireType, decode_varint, encode_key, encode_varint, encoded_len_varint};
use tonic::{Code, Status};

/// Key of `messages = 1` (length-delimited).
const MESSAGES: u64 = 1 << 3 | WireType::LengthDelimited as u64;

/// Appends to `out` the unary `response` of `hostname`, its name in each message.
///
/// # Errors
/// `Internal` if the response is not protobuf.
pub fn tag_unary(response: &[u8], hostname: &str, out: &mut BytesMut) -> Result<(), Status> {
    let metadata = metadata(hostname);
    let mut rest = response;
    let mut found = false;
    while !rest.is_empty() {
        let field = Field::take(&mut rest).ok_or_else(malformed)?;
        if field.key != MESSAGES {
            out.put_slice(field.whole);
            continue;
        }
        found = true;
        put_message(out, field.value, &metadata);
    }
    if !found {
        put_message(out, &[], &metadata);
    }
    Ok(())
}

/// Appends to `out` the streamed `message` of `hostname`, its name in it.
pub fn tag_streamed(message: &[u8], hostname: &str, out: &mut BytesMut) {
    out.put_slice(message);
    out.put_slice(&metadata(hostname));
}

/// What stands for the answer of a machine that failed.
#[must_use]
pub fn failure(hostname: &str, status: &Status, kind: Kind) -> Vec<u8> {
    let metadata = Metadata {
        hostname: hostname.to_owned(),
        error: format!("rpc error: code = {} desc = {}", go_name(status.code()), status.message()),
        status: Some(proto(status)),
    };
    let empty = Empty { metadata: Some(metadata) };
    match kind {
        Kind::Unary => EmptyResponse { messages: vec![empty] }.encode_to_vec(),
        _ => empty.encode_to_vec(),
    }
}

fn metadata(hostname: &str) -> Vec<u8> {
    let metadata = Metadata { hostname: hostname.to_owned(), ..Metadata::default() };
    Empty { metadata: Some(metadata) }.encode_to_vec()
}

fn put_message(out: &mut BytesMut, message: &[u8], metadata: &[u8]) {
    let length = message.len() + metadata.len();
    out.reserve(1 + encoded_len_varint(length as u64) + length);
    encode_key(1, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
    out.put_slice(message);
    out.put_slice(metadata);
}

/// One top-level field of a message.
struct Field<'a> {
    key: u64,
    value: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Field<'a> {
    /// Cuts the next field off `rest`; `None` if it is not well-formed. Groups do not exist in proto3.
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let start = *rest;
        let key = decode_varint(rest).ok()?;
        let length = match key & 7 {
            0 => {
                let mut after = *rest;
                decode_varint(&mut after).ok()?;
                rest.len() - after.len()
            }
            1 => 8,
            2 => usize::try_from(decode_varint(rest).ok()?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, after) = rest.split_at_checked(length)?;
        *rest = after;
        Some(Self { key, value, whole: &start[..start.len() - after.len()] })
    }
}

fn malformed() -> Status {
    Status::internal("unexpected message format")
}

fn proto(status: &Status) -> google::rpc::Status {
    let bare = || google::rpc::Status {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Vec::new(),
    };
    if status.details().is_empty() {
        return bare();
    }
    google::rpc::Status::decode(status.details()).unwrap_or_else(|_| bare())
}

/// Names of codes as Go prints them; they are part of the error text.
const fn go_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use corten_api::machine::{Hostname, HostnameResponse};
    use proptest::prelude::*;

    use super::*;

    fn response(names: &[String]) -> HostnameResponse {
        let messages = names.iter().map(|name| Hostname { metadata: None, hostname: name.clone() }).collect();
        HostnameResponse { messages }
    }

    #[test]
    fn bytes_of_a_tagged_response() {
        let mut out = BytesMut::new();
        tag_unary(&response(&["a".to_owned()]).encode_to_vec(), "n1", &mut out).expect("well-formed");
        // messages { hostname: "a" (field 2), metadata (field 1) { hostname: "n1" } }: the metadata comes last.
        assert_eq!(&out[..], b"\x0a\x09\x12\x01a\x0a\x04\x0a\x02n1");
    }

    #[test]
    fn bytes_of_a_failure() {
        let bytes = failure("n1", &Status::not_found("gone"), Kind::Unary);
        let decoded = EmptyResponse::decode(&bytes[..]).expect("decodes");
        let metadata = decoded.messages[0].metadata.clone().expect("metadata");
        assert_eq!(metadata.error, "rpc error: code = NotFound desc = gone");
        assert_eq!(metadata.status.expect("status").code, 5);
        let streamed = Empty::decode(&failure("n1", &Status::not_found("gone"), Kind::ServerStream)[..]);
        assert_eq!(streamed.expect("decodes").metadata, decoded.messages[0].metadata);
    }

    #[test]
    fn an_empty_response_still_names_its_machine() {
        let mut out = BytesMut::new();
        tag_unary(&[], "n1", &mut out).expect("empty is well-formed");
        let decoded = HostnameResponse::decode(&out[..]).expect("decodes");
        assert_eq!(decoded.messages[0].metadata.as_ref().expect("metadata").hostname, "n1");
    }

    proptest! {
        #[test]
        fn merging_keeps_every_message_and_names_its_machine(
            nodes in prop::collection::vec(("[a-z0-9.]{1,12}", prop::collection::vec("[a-z]{0,200}", 1..4)), 1..6),
        ) {
            let mut out = BytesMut::new();
            for (node, names) in &nodes {
                tag_unary(&response(names).encode_to_vec(), node, &mut out).expect("well-formed");
            }
            let merged = HostnameResponse::decode(&out[..]).expect("decodes");
            let got: Vec<_> = merged.messages.into_iter().map(|m| (m.metadata.expect("metadata").hostname, m.hostname)).collect();
            let want: Vec<_> = nodes.iter().flat_map(|(node, names)| names.iter().map(move |name| (node.clone(), name.clone()))).collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn a_name_in_the_answer_is_overridden_by_the_target(name in "[a-z]{0,20}", target in "[a-z]{1,20}") {
            let own = Hostname { metadata: Some(Metadata { hostname: name, ..Metadata::default() }), hostname: "h".to_owned() };
            let mut out = BytesMut::new();
            tag_streamed(&own.encode_to_vec(), &target, &mut out);
            let decoded = Hostname::decode(&out[..]).expect("decodes");
            prop_assert_eq!(decoded.metadata.expect("metadata").hostname, target);
        }
    }

    #[test]
    fn never_panics_and_keeps_its_bounds_on_any_bytes() {
        bolero::check!().for_each(|input: &[u8]| {
            let mut out = BytesMut::new();
            let _ = tag_unary(input, "node", &mut out);
            assert!(out.len() <= input.len() * 16 + 16, "the envelope adds a few bytes per message only");
        });
    }
}
