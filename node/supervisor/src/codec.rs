//! Messages to packets and back. Pure; both directions are bounded by [`MESSAGE_BYTES_MAX`].

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Frame, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, Request, RequestFrame};

/// A packet that is not a message.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Larger than the bound.
    #[error("a message of {0} bytes is larger than {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
    /// Not JSON of the expected shape.
    #[error("cannot decode the message")]
    Malformed(#[source] serde_json::Error),
    /// Cannot be written as JSON.
    #[error("cannot encode the message")]
    Unencodable(#[source] serde_json::Error),
    /// A name that is empty, too long or not plain.
    #[error("`{0}` is not a name of 1 to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores")]
    Name(String),
}

/// Request to packet.
pub fn encode_request(frame: &RequestFrame) -> Result<Vec<u8>, CodecError> {
    encode(frame)
}

/// Packet to request, with its name checked.
pub fn decode_request(packet: &[u8]) -> Result<RequestFrame, CodecError> {
    let frame: RequestFrame = decode(packet)?;
    match frame.request.name() {
        Some(name) if !is_name(name) => Err(CodecError::Name(name.chars().take(NAME_BYTES_MAX).collect())),
        _ => Ok(frame),
    }
}

/// Reply or event to packet.
pub fn encode_frame(frame: &Frame) -> Result<Vec<u8>, CodecError> {
    encode(frame)
}

/// Packet to reply or event.
pub fn decode_reply(packet: &[u8]) -> Result<Frame, CodecError> {
    decode(packet)
}

impl Request {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Start { name, .. }
            | Self::Stop { name, .. }
            | Self::Signal { name, .. }
            | Self::Status { name }
            | Self::Remove { name }
            | Self::StoreFd { name }
            | Self::TakeFd { name }
            | Self::DropFd { name } => Some(name),
            Self::Hello { .. }
            | Self::List { .. }
            | Self::Subscribe
            | Self::Power { .. }
            | Self::AcceptPower => None,
        }
    }
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let packet = serde_json::to_vec(message).map_err(CodecError::Unencodable)?;
    if packet.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(packet.len()));
    }
    Ok(packet)
}

fn decode<T: DeserializeOwned>(packet: &[u8]) -> Result<T, CodecError> {
    if packet.len() > MESSAGE_BYTES_MAX {
        return Err(CodecError::TooLarge(packet.len()));
    }
    serde_json::from_slice(packet).map_err(CodecError::Malformed)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Exit, ExitStatus, ProcessSpec, ProcessState, ProcessStatus, Reply};

    #[test]
    fn refuses_names_that_are_paths() {
        for name in ["", "a/b", "a b", &"x".repeat(65)] {
            let packet =
                encode_request(&RequestFrame { id: 1, request: Request::Status { name: name.into() } })
                    .unwrap();
            assert!(matches!(decode_request(&packet), Err(CodecError::Name(_))), "{name}");
        }
    }

    #[test]
    fn refuses_large_packets() {
        let mut spec = ProcessSpec::new(["/bin/true"]);
        spec.argv.push("x".repeat(MESSAGE_BYTES_MAX));
        let request = Request::Start { name: "a".into(), spec: Box::new(spec) };
        assert!(matches!(encode_request(&RequestFrame { id: 1, request }), Err(CodecError::TooLarge(_))));
        assert!(matches!(decode_reply(&vec![b' '; MESSAGE_BYTES_MAX + 1]), Err(CodecError::TooLarge(_))));
    }

    #[test]
    fn the_largest_page_fits_in_a_packet() {
        let exit = Exit {
            pid: u32::MAX,
            started_at_ms: u64::MAX,
            exited_at_ms: u64::MAX,
            status: ExitStatus::Code(i32::MIN),
        };
        let status = ProcessStatus {
            name: "n".repeat(NAME_BYTES_MAX),
            revision: "r".repeat(NAME_BYTES_MAX),
            state: ProcessState::Finished,
            pid: Some(u32::MAX),
            started_at_ms: Some(u64::MAX),
            restarts: u64::MAX,
            start_error: Some("e".repeat(512)),
            history: vec![exit; crate::EXIT_HISTORY_MAX],
        };
        let result = Ok(Reply::Processes { processes: vec![status; crate::LIST_PAGE_MAX], more: true });
        encode_frame(&Frame::Reply { id: u64::MAX, result }).unwrap();
    }

    proptest! {
        #[test]
        fn requests_survive_the_wire(id: u64, argv in proptest::collection::vec("[ -~]{1,20}", 1..5), signal: i32) {
            let mut spec = ProcessSpec::new(argv);
            spec.stop_signal = signal;
            let frame = RequestFrame { id, request: Request::Start { name: "etcd".into(), spec: Box::new(spec) } };
            prop_assert_eq!(decode_request(&encode_request(&frame).unwrap()).unwrap(), frame);
        }
    }

    #[test]
    fn no_packet_makes_the_decoder_panic() {
        bolero::check!().for_each(|packet: &[u8]| {
            let _ = decode_request(packet);
            let _ = decode_reply(packet);
        });
    }
}
