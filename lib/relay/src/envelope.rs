//! The envelope in which answers of several machines travel together.
//!
//! ```text
//! unary     the answer is `messages = 1` repeated; the first field of each is `common.Metadata`
//! streamed  each message carries the metadata itself
//! ```
//!
//! So answers are merged without knowing their types: concatenating answers concatenates `messages`, and a metadata
//! field that is appended to a message is merged into it by any decoder. A machine that failed contributes a message
//! that has nothing but metadata. The texts are Talos's; clients match them.

use bytes::{BufMut, BytesMut};
use corten_api::common::{Empty, EmptyResponse, Metadata};
use corten_api::google;
use corten_api::rules::Kind;
use prost::Message as _;
use prost::encoding::{WireType, decode_varint, encode_key, encode_varint, encoded_len_varint};
use tonic::{Code, Status};

/// Key of `messages = 1` (length-delimited).
const MESSAGES: u64 = 1 << 3 | WireType::LengthDelimited as u64;
/// Bytes that are added to an answer besides the metadata, mostly.
const EXTRA_BYTES: usize = 8;

/// The unary answer of a machine with the machine's name in each message.
///
/// # Errors
/// `Internal` for an answer that is no protobuf.
pub fn tagged(answer: &[u8], name: &str) -> Result<BytesMut, Status> {
    let metadata = metadata(name);
    let mut out = BytesMut::with_capacity(answer.len() + metadata.len() + EXTRA_BYTES);
    let (mut rest, mut has_message) = (answer, false);
    while !rest.is_empty() {
        let field = Field::take(&mut rest).ok_or_else(|| Status::internal("unexpected message format"))?;
        if field.key == MESSAGES {
            has_message = true;
            put_message(&mut out, field.value, &metadata);
        } else {
            out.put_slice(field.whole);
        }
    }
    if !has_message {
        put_message(&mut out, &[], &metadata);
    }
    Ok(out)
}

/// What names a machine when it is appended to a message of its.
#[must_use]
pub fn metadata(name: &str) -> Vec<u8> {
    let metadata = Metadata { hostname: name.to_owned(), ..Metadata::default() };
    Empty { metadata: Some(metadata) }.encode_to_vec()
}

/// What stands for the answer of a machine that failed.
#[must_use]
pub fn failure(name: &str, status: &Status, kind: Kind) -> Vec<u8> {
    let metadata = Metadata {
        hostname: name.to_owned(),
        error: format!("rpc error: code = {} desc = {}", go_name(status.code()), status.message()),
        status: Some(proto(status)),
    };
    let empty = Empty { metadata: Some(metadata) };
    match kind {
        Kind::Unary => EmptyResponse { messages: vec![empty] }.encode_to_vec(),
        Kind::ServerStream | Kind::ClientStream | Kind::Bidirectional => empty.encode_to_vec(),
    }
}

fn put_message(out: &mut BytesMut, message: &[u8], metadata: &[u8]) {
    let length = u64::try_from(message.len() + metadata.len()).unwrap_or(u64::MAX);
    out.reserve(1 + encoded_len_varint(length) + message.len() + metadata.len());
    encode_key(1, WireType::LengthDelimited, out);
    encode_varint(length, out);
    out.put_slice(message);
    out.put_slice(metadata);
}

/// One field of a message.
struct Field<'a> {
    key: u64,
    value: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Field<'a> {
    /// Cuts the next field off; `None` if it is not well-formed. Groups do not exist in proto3.
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
        let whole = start.get(..start.len() - after.len())?;
        *rest = after;
        Some(Self { key, value, whole })
    }
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
        let out = tagged(&response(&["a".to_owned()]).encode_to_vec(), "n1").expect("well-formed");
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
        let out = tagged(&[], "n1").expect("empty is well-formed");
        let decoded = HostnameResponse::decode(&out[..]).expect("decodes");
        assert_eq!(decoded.messages[0].metadata.as_ref().expect("metadata").hostname, "n1");
    }

    #[test]
    fn merged_answers_keep_every_message_and_name_its_machine() {
        let names = ["a".to_owned(), "b".to_owned()];
        let mut merged = tagged(&response(&names).encode_to_vec(), "n1").expect("well-formed");
        merged.extend_from_slice(&tagged(&[], "n2").expect("well-formed"));
        merged.extend_from_slice(&failure("n3", &Status::not_found("gone"), Kind::Unary));
        let merged = HostnameResponse::decode(&merged[..]).expect("decodes");
        let of = |message: &Hostname| message.metadata.clone().expect("metadata");
        let found: Vec<(String, &str)> =
            merged.messages.iter().map(|message| (of(message).hostname, message.hostname.as_str())).collect();
        let expected = [("n1", "a"), ("n1", "b"), ("n2", ""), ("n3", "")];
        assert_eq!(found, expected.map(|(machine, name)| (machine.to_owned(), name)));
    }

    proptest! {
        #[test]
        fn merging_keeps_every_message_and_names_its_machine(
            nodes in prop::collection::vec(("[a-z0-9.]{1,12}", prop::collection::vec("[a-z]{0,200}", 1..4)), 1..6),
        ) {
            let mut out = BytesMut::new();
            for (node, names) in &nodes {
                out.extend_from_slice(&tagged(&response(names).encode_to_vec(), node).expect("well-formed"));
            }
            let merged = HostnameResponse::decode(&out[..]).expect("decodes");
            let got: Vec<_> = merged.messages.into_iter().map(|m| (m.metadata.expect("metadata").hostname, m.hostname)).collect();
            let want: Vec<_> = nodes.iter().flat_map(|(node, names)| names.iter().map(move |name| (node.clone(), name.clone()))).collect();
            prop_assert_eq!(got, want);
        }

        #[test]
        fn a_name_in_the_answer_is_overridden_by_the_target(name in "[a-z]{0,20}", target in "[a-z]{1,20}") {
            let own = Hostname { metadata: Some(Metadata { hostname: name, ..Metadata::default() }), hostname: "h".to_owned() };
            let out = [own.encode_to_vec(), metadata(&target)].concat();
            let decoded = Hostname::decode(&out[..]).expect("decodes");
            prop_assert_eq!(decoded.metadata.expect("metadata").hostname, target);
        }
    }

    #[test]
    fn never_panics_and_keeps_its_bounds_on_any_bytes() {
        bolero::check!().for_each(|input: &[u8]| {
            let length = tagged(input, "node").map_or(0, |out| out.len());
            assert!(length <= input.len() * 16 + 16, "the envelope adds a few bytes per message only");
        });
    }
}
