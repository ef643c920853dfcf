//! gRPC's framing, and the envelope in which answers of several machines travel together.
//!
//! ```text
//! frame     one byte of flags, four of length, the message
//! unary     the answer is `messages = 1` repeated; the first field of each is `common.Metadata`
//! streamed  each message carries the metadata itself
//! ```
//!
//! Answers are merged without knowing their types: concatenating answers concatenates `messages`, and a metadata field
//! that is appended to a message is merged into it by any decoder. A machine that failed contributes a message that has
//! nothing but metadata. The texts are those of a machine that does the same; clients match them.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use corten_api::MESSAGE_BYTES_MAX;
use corten_api::common::{Empty, EmptyResponse, Metadata};
use corten_api::google;
use corten_api::rules::Kind;
use prost::Message as _;
use prost::encoding::{WireType, decode_varint, encode_key, encode_varint, encoded_len_varint};
use tonic::{Code, Status};

/// Bytes before each message.
const PREFIX_BYTES: usize = 5;
/// Key of `messages = 1` (length-delimited).
const MESSAGES: u64 = 1 << 3 | WireType::LengthDelimited as u64;

/// Cuts bytes into messages; holds at most one message and the chunk that was added last.
#[derive(Debug, Default)]
pub(crate) struct Frames(BytesMut);

impl Frames {
    /// Adds what came next. All messages are taken before more is added.
    pub(crate) fn add(&mut self, chunk: impl Buf) {
        self.0.put(chunk);
    }

    /// The next message; `None` until more bytes are added.
    ///
    /// # Errors
    /// `ResourceExhausted` for one that is too large, `Unimplemented` for a compressed one: nobody asked for it.
    pub(crate) fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(&[flags, a, b, c, d]) = self.0.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        if flags != 0 {
            return Err(Status::unimplemented("compressed messages are not supported"));
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(Status::resource_exhausted(format!(
                "received message larger than max ({length} vs. {MESSAGE_BYTES_MAX})"
            )));
        }
        if self.0.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.0.advance(PREFIX_BYTES);
        Ok(Some(self.0.split_to(length).freeze()))
    }

    /// Whether nothing is left, which is how a stream must end.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message with its prefix.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// The unary answer of a machine with the machine's name in each message.
///
/// # Errors
/// `Internal` for an answer that is no protobuf.
pub(crate) fn tagged(answer: &[u8], name: &str) -> Result<BytesMut, Status> {
    let metadata = metadata(name);
    let mut out = BytesMut::with_capacity(answer.len() + metadata.len() + PREFIX_BYTES);
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

/// A streamed message of a machine with the machine's name in it.
pub(crate) fn tagged_part(message: &[u8], name: &str) -> BytesMut {
    let metadata = metadata(name);
    let mut out = BytesMut::with_capacity(message.len() + metadata.len());
    out.put_slice(message);
    out.put_slice(&metadata);
    out
}

/// What stands for the answer of a machine that failed.
pub(crate) fn failure(name: &str, status: &Status, kind: Kind) -> Vec<u8> {
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

fn metadata(name: &str) -> Vec<u8> {
    let metadata = Metadata { hostname: name.to_owned(), ..Metadata::default() };
    Empty { metadata: Some(metadata) }.encode_to_vec()
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

    use super::*;

    fn answer(names: &[&str]) -> Vec<u8> {
        let message = |name: &&str| Hostname { metadata: None, hostname: (*name).to_owned() };
        HostnameResponse { messages: names.iter().map(message).collect() }.encode_to_vec()
    }

    #[test]
    fn merged_answers_keep_every_message_and_name_its_machine() {
        let mut merged = tagged(&answer(&["a", "b"]), "n1").expect("well-formed");
        merged.extend_from_slice(&tagged(&[], "n2").expect("well-formed"));
        merged.extend_from_slice(&failure("n3", &Status::not_found("gone"), Kind::Unary));
        let merged = HostnameResponse::decode(&merged[..]).expect("decodes");
        let of = |message: &Hostname| message.metadata.clone().expect("metadata");
        let found: Vec<(String, &str)> =
            merged.messages.iter().map(|message| (of(message).hostname, message.hostname.as_str())).collect();
        let expected = [("n1", "a"), ("n1", "b"), ("n2", ""), ("n3", "")];
        assert_eq!(found, expected.map(|(machine, name)| (machine.to_owned(), name)));
        assert_eq!(of(&merged.messages[3]).error, "rpc error: code = NotFound desc = gone");
        assert_eq!(of(&merged.messages[3]).status.expect("a status").code, 5);
    }

    #[test]
    fn the_name_of_a_streamed_message_is_the_callers() {
        let own = Metadata { hostname: "steel".to_owned(), ..Metadata::default() };
        let message = Hostname { metadata: Some(own), hostname: "h".to_owned() };
        let decoded = Hostname::decode(tagged_part(&message.encode_to_vec(), "n1")).expect("decodes");
        let name = decoded.metadata.expect("metadata").hostname;
        assert_eq!((name.as_str(), decoded.hostname.as_str()), ("n1", "h"));
    }

    #[test]
    fn messages_survive_any_chunking_and_bad_frames_are_refused() {
        let stream = [frame(b"one"), frame(b""), frame(b"three")].concat();
        for size in 1..stream.len() {
            let (mut frames, mut taken) = (Frames::default(), Vec::new());
            for chunk in stream.chunks(size) {
                frames.add(chunk);
                while let Some(message) = frames.take().expect("valid") {
                    taken.push(message);
                }
            }
            assert!(frames.is_empty());
            assert_eq!(taken, [&b"one"[..], b"", b"three"]);
        }
        for (bytes, code) in
            [([1_u8, 0, 0, 0, 0], Code::Unimplemented), ([0, 255, 0, 0, 0], Code::ResourceExhausted)]
        {
            let mut frames = Frames::default();
            frames.add(&bytes[..]);
            assert_eq!(frames.take().expect_err("refused").code(), code);
        }
    }

    #[test]
    fn no_bytes_make_the_readers_panic() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = tagged(input, "node");
            let mut frames = Frames::default();
            for chunk in input.chunks(7) {
                frames.add(chunk);
                while let Ok(Some(_)) = frames.take() {}
            }
        });
    }
}
