//! One side of a connection without the connection: bytes in, events out, and bytes that are to be sent. Pure.
//!
//! ```text
//! receive ─▶ frames ─▶ settings, windows, signs of life: answered here
//!                 ├─▶ blocks of fields ─▶ Decoder ─▶ Event
//!                 └─▶ data ─▶ Partial ─▶ Event
//! open, answer, refuse ─▶ Streams, as far as the peer has room ─▶ out
//! ```
//!
//! The peer is not believed: frames, blocks, messages, streams and what waits to be sent have bounds, and what breaks
//! the rules ends the connection with the code for it.

use std::collections::VecDeque;

use crate::event::{Event, StreamId};
use crate::fields::Fields;
use crate::frame::{
    ErrorCode, HEAD, Head, PAYLOAD_MAX, PREFACE, content, flag, kind, put, put_goaway, put_reset,
    put_settings, put_window, setting,
};
use crate::hpack::Decoder;
use crate::streams::{Streams, Unsent};

/// Room that a side has to begin with (RFC 9113, 6.9.2).
const WINDOW: i64 = 65_535;
/// Most room that it may be given.
const WINDOW_MAX: i64 = 0x7fff_ffff;
/// The highest stream.
const STREAM_MAX: StreamId = 0x7fff_ffff;
/// What may have come before the peer is given room again, bytes.
const UNACKNOWLEDGED_MAX: u32 = 16 * 1024;
/// Largest block of fields, bytes.
const BLOCK_MAX: usize = 16 * 1024;
/// Most frames of one block.
const CONTINUATIONS_MAX: u32 = 8;

/// Which side this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server { streams_max: usize },
}

/// The peer broke the rules, and the connection with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side breaks HTTP/2: {what}")]
pub(crate) struct Fault {
    pub code: ErrorCode,
    pub what: &'static str,
}

const fn fault(code: ErrorCode, what: &'static str) -> Fault {
    Fault { code, what }
}

/// A block of fields that is not complete yet.
#[derive(Debug)]
struct Block {
    stream: StreamId,
    ends: bool,
    bytes: Vec<u8>,
    frames: u32,
}

/// One side of a connection.
#[derive(Debug)]
pub(crate) struct Endpoint {
    side: Side,
    message_max: usize,
    /// Of the client's first words, what has not come yet.
    preface: &'static [u8],
    is_greeted: bool,
    is_leaving: bool,
    input: Vec<u8>,
    decoder: Decoder,
    block: Option<Box<Block>>,
    streams: Streams,
    streams_max: usize,
    /// The highest stream so far.
    last: StreamId,
    window: i64,
    /// What a stream has to begin with.
    window_first: i64,
    /// What came since the peer was given room, bytes.
    received: u32,
    /// What is to be sent.
    pub out: Vec<u8>,
}

impl Endpoint {
    /// The side that calls, and takes messages of so many bytes.
    pub fn client(message_max: usize) -> Self {
        let mut out = PREFACE.to_vec();
        put_settings(&mut out, &[(setting::HEADER_TABLE_SIZE, 0), (setting::ENABLE_PUSH, 0)]);
        Self::new(Side::Client, message_max, &[], out)
    }

    /// The side that is called, so many times at once.
    pub fn server(message_max: usize, streams_max: u32) -> Self {
        let settings = [(setting::HEADER_TABLE_SIZE, 0), (setting::MAX_CONCURRENT_STREAMS, streams_max)];
        let mut out = Vec::new();
        put_settings(&mut out, &settings);
        let side = Side::Server { streams_max: streams_max as usize };
        Self::new(side, message_max, PREFACE, out)
    }

    fn new(side: Side, message_max: usize, preface: &'static [u8], out: Vec<u8>) -> Self {
        Self {
            side,
            message_max,
            preface,
            is_greeted: false,
            is_leaving: false,
            input: Vec::new(),
            decoder: Decoder::default(),
            block: None,
            streams: Streams::default(),
            streams_max: usize::MAX,
            last: 0,
            window: WINDOW,
            window_first: WINDOW,
            received: 0,
            out,
        }
    }

    /// Takes bytes of the peer.
    ///
    /// # Errors
    /// That it broke the rules; it is told so in what is to be sent, and nothing more may be taken.
    pub fn receive(&mut self, bytes: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let taken = self.take(bytes, events);
        if let Err(fault) = taken {
            let last = if self.side == Side::Client { 0 } else { self.last };
            put_goaway(&mut self.out, last, fault.code);
        }
        taken
    }

    /// Begins a call; `None` when the peer takes no further one.
    pub fn open(&mut self, block: &[u8], data: Vec<u8>) -> Option<StreamId> {
        let id = if self.last == 0 { 1 } else { self.last + 2 };
        if self.is_leaving || id > STREAM_MAX || self.streams.len() >= self.streams_max {
            return None;
        }
        self.last = id;
        put(&mut self.out, kind::HEADERS, flag::END_HEADERS, id, block);
        self.streams.add(id, self.window_first).unsent = Some(Box::new(Unsent::new(data, None)));
        self.pump();
        Some(id)
    }

    /// Answers a call with fields, data and fields.
    pub fn answer(&mut self, id: StreamId, block: &[u8], data: Vec<u8>, trailers: Vec<u8>) {
        let Some(stream) = self.streams.get(id) else { return };
        put(&mut self.out, kind::HEADERS, flag::END_HEADERS, id, block);
        stream.unsent = Some(Box::new(Unsent::new(data, Some(trailers))));
        stream.is_deaf = true;
        self.pump();
    }

    /// Answers a call with fields alone.
    pub fn refuse(&mut self, id: StreamId, block: &[u8]) {
        let Some(stream) = self.streams.get(id) else { return };
        put(&mut self.out, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, id, block);
        (stream.is_done_here, stream.is_deaf) = (true, true);
        self.pump();
    }

    /// Gives a call up.
    pub fn cancel(&mut self, id: StreamId) {
        if self.streams.remove(id) {
            put_reset(&mut self.out, id, ErrorCode::CANCEL);
        }
    }

    /// Asks the peer for a sign of life.
    pub fn ping(&mut self) {
        put(&mut self.out, kind::PING, 0, 0, b"standing");
    }

    fn pump(&mut self) {
        self.streams.pump(&mut self.out, &mut self.window);
    }

    fn take(&mut self, bytes: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let bytes = self.greet(bytes)?;
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let taken = self.frames(&input, events)?;
        if taken < input.len() {
            input.drain(..taken);
            self.input = input;
        }
        Ok(())
    }

    /// Takes whole frames; how many bytes they are.
    fn frames(&mut self, input: &[u8], events: &mut VecDeque<Event>) -> Result<usize, Fault> {
        let mut rest = input;
        while let Some(head) = Head::parse(rest) {
            if head.length > PAYLOAD_MAX {
                return Err(fault(ErrorCode::FRAME_SIZE, "a frame is larger than it may be"));
            }
            let Some(payload) = rest.get(HEAD..HEAD + head.length) else { break };
            self.frame(head, payload, events)?;
            rest = rest.get(HEAD + head.length..).unwrap_or_default();
        }
        Ok(input.len() - rest.len())
    }

    /// The client's first words; what comes after them.
    fn greet<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        let (words, rest) = bytes.split_at(bytes.len().min(self.preface.len()));
        let (expected, left) = self.preface.split_at(words.len());
        self.preface = left;
        if words == expected {
            Ok(rest)
        } else {
            Err(fault(ErrorCode::PROTOCOL, "it begins with something else"))
        }
    }

    fn frame(&mut self, head: Head, payload: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        if !self.is_greeted && head.kind != kind::SETTINGS {
            return Err(fault(ErrorCode::PROTOCOL, "it does not begin with settings"));
        }
        let continues = head.kind == kind::CONTINUATION;
        if self.block.as_ref().is_some_and(|block| !continues || block.stream != head.stream) {
            return Err(fault(ErrorCode::PROTOCOL, "something comes between the parts of a block of fields"));
        }
        match head.kind {
            kind::DATA => self.data(head, payload, events),
            kind::HEADERS => self.headers(head, payload, events),
            kind::CONTINUATION => self.continuation(head, payload, events),
            kind::RST_STREAM => self.reset(head, payload, events),
            kind::SETTINGS => self.settings(head, payload),
            kind::PUSH_PROMISE => Err(fault(ErrorCode::PROTOCOL, "it pushes, which it may not")),
            kind::PING => self.pinged(head, payload),
            kind::GOAWAY => {
                self.is_leaving = true;
                let code = payload.get(4..8).map(number).transpose()?;
                events.push_back(Event::Leaving { code: ErrorCode(code.unwrap_or(ErrorCode::PROTOCOL.0)) });
                Ok(())
            }
            kind::WINDOW_UPDATE => self.widened(head, payload),
            _ => Ok(()),
        }
    }

    /// What is said of a stream that is not open is of no interest any more; that it never was breaks the rules.
    fn check_was_open(&self, stream: StreamId) -> Result<(), Fault> {
        if stream == 0 || stream > self.last {
            return Err(fault(ErrorCode::PROTOCOL, "it speaks of a stream that nobody opened"));
        }
        Ok(())
    }

    fn data(&mut self, head: Head, payload: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let id = head.stream;
        let data = content(head, payload);
        let data =
            data.ok_or(fault(ErrorCode::PROTOCOL, "the padding of a frame is longer than the frame"))?;
        let length = u32::try_from(head.length).unwrap_or(u32::MAX);
        self.received = self.received.saturating_add(length);
        if self.received >= UNACKNOWLEDGED_MAX {
            put_window(&mut self.out, 0, std::mem::take(&mut self.received));
        }
        let Some(stream) = self.streams.get(id).filter(|stream| !stream.is_done_there) else {
            return self.check_was_open(id);
        };
        stream.received = stream.received.saturating_add(length);
        if stream.received >= UNACKNOWLEDGED_MAX && !head.has(flag::END_STREAM) && !stream.is_deaf {
            put_window(&mut self.out, id, std::mem::take(&mut stream.received));
        }
        if !stream.is_deaf {
            let whole = |message| events.push_back(Event::Message { stream: id, message });
            if let Err(bad) = stream.partial.push(data, self.message_max, whole) {
                stream.is_deaf = true;
                events.push_back(Event::Bad { stream: id, bad });
            }
        }
        if head.has(flag::END_STREAM) {
            self.ended(id, None, events);
        }
        Ok(())
    }

    fn ended(&mut self, id: StreamId, fields: Option<Fields>, events: &mut VecDeque<Event>) {
        let Some(stream) = self.streams.get(id) else { return };
        stream.is_done_there = true;
        let is_cut = stream.partial.is_begun();
        let is_deaf = stream.is_deaf;
        if self.side == Side::Client {
            // Whatever was not sent yet is wanted by nobody.
            if !stream.is_done_here {
                put_reset(&mut self.out, id, ErrorCode::CANCEL);
            }
            self.streams.remove(id);
        }
        self.pump();
        if !is_deaf {
            events.push_back(Event::Ended { stream: id, fields, is_cut });
        }
    }

    fn headers(&mut self, head: Head, payload: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let bytes = content(head, payload);
        let bytes =
            bytes.ok_or(fault(ErrorCode::PROTOCOL, "the padding of a frame is longer than the frame"))?;
        let ends = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.block(head.stream, ends, bytes, events);
        }
        let block = Block { stream: head.stream, ends, bytes: bytes.to_vec(), frames: 0 };
        self.block = Some(Box::new(block));
        Ok(())
    }

    fn continuation(
        &mut self,
        head: Head,
        payload: &[u8],
        events: &mut VecDeque<Event>,
    ) -> Result<(), Fault> {
        let mut block = self
            .block
            .take()
            .ok_or(fault(ErrorCode::PROTOCOL, "a block of fields goes on that never began"))?;
        block.frames += 1;
        if block.bytes.len() + payload.len() > BLOCK_MAX || block.frames > CONTINUATIONS_MAX {
            return Err(fault(ErrorCode::ENHANCE_YOUR_CALM, "a block of fields is larger than it may be"));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.block(block.stream, block.ends, &block.bytes, events);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole block of fields.
    fn block(
        &mut self,
        id: StreamId,
        ends: bool,
        bytes: &[u8],
        events: &mut VecDeque<Event>,
    ) -> Result<(), Fault> {
        let mut fields = Fields::default();
        let read = self.decoder.decode(bytes, |name, value| fields.take(name, value));
        read.map_err(|_| fault(ErrorCode::COMPRESSION, "its fields cannot be read"))?;
        if let Side::Server { streams_max } = self.side
            && id > self.last
        {
            if id.is_multiple_of(2) {
                return Err(fault(
                    ErrorCode::PROTOCOL,
                    "it opens a stream with a number that is not its own",
                ));
            }
            self.last = id;
            if self.streams.len() >= streams_max {
                put_reset(&mut self.out, id, ErrorCode::REFUSED_STREAM);
                return Ok(());
            }
            self.streams.add(id, self.window_first);
        }
        let Some(stream) = self.streams.get(id).filter(|stream| !stream.is_done_there) else {
            return self.check_was_open(id);
        };
        if stream.is_begun && !ends {
            return Err(fault(ErrorCode::PROTOCOL, "it begins a stream twice"));
        }
        if self.side == Side::Client && fields.is_informational() && !ends {
            return Ok(());
        }
        let is_first = !std::mem::replace(&mut stream.is_begun, true);
        match self.side {
            Side::Client if ends => self.ended(id, Some(fields), events),
            Side::Client => events.push_back(Event::Begun { stream: id, fields }),
            Side::Server { .. } => {
                if is_first {
                    events.push_back(Event::Begun { stream: id, fields });
                }
                if ends {
                    self.ended(id, None, events);
                }
            }
        }
        Ok(())
    }

    fn reset(&mut self, head: Head, payload: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let code = ErrorCode(number(payload)?);
        if self.streams.remove(head.stream) {
            events.push_back(Event::Reset { stream: head.stream, code });
            return Ok(());
        }
        self.check_was_open(head.stream)
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        self.is_greeted = true;
        if head.has(flag::ACK) {
            return Ok(());
        }
        let entries = payload.chunks_exact(6);
        if !entries.remainder().is_empty() {
            return Err(fault(ErrorCode::FRAME_SIZE, "its settings are cut off"));
        }
        for entry in entries {
            let &[a, b, ref value @ ..] = entry else { continue };
            let value = number(value)?;
            match u16::from_be_bytes([a, b]) {
                setting::MAX_CONCURRENT_STREAMS => self.streams_max = value as usize,
                setting::INITIAL_WINDOW_SIZE => {
                    let first = i64::from(value);
                    let more = first - std::mem::replace(&mut self.window_first, first);
                    if first > WINDOW_MAX || !self.streams.widen(more, WINDOW_MAX) {
                        return Err(fault(ErrorCode::FLOW_CONTROL, "it takes more than anybody may send"));
                    }
                }
                _ => {}
            }
        }
        put(&mut self.out, kind::SETTINGS, flag::ACK, 0, &[]);
        self.pump();
        Ok(())
    }

    fn pinged(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 8 {
            return Err(fault(ErrorCode::FRAME_SIZE, "its sign of life has another size"));
        }
        if !head.has(flag::ACK) {
            put(&mut self.out, kind::PING, flag::ACK, 0, payload);
        }
        Ok(())
    }

    fn widened(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let more = i64::from(number(payload)? & 0x7fff_ffff);
        let stream = self.streams.get(head.stream);
        let window = match (head.stream, stream) {
            (0, _) => &mut self.window,
            (_, Some(stream)) => &mut stream.window,
            (id, None) => return self.check_was_open(id),
        };
        *window += more;
        if more == 0 {
            return Err(fault(ErrorCode::PROTOCOL, "it gives no room"));
        }
        if *window > WINDOW_MAX {
            return Err(fault(ErrorCode::FLOW_CONTROL, "it takes more than anybody may send"));
        }
        self.pump();
        Ok(())
    }
}

/// The number that a payload is.
fn number(payload: &[u8]) -> Result<u32, Fault> {
    let bytes = payload.try_into();
    bytes
        .map(u32::from_be_bytes)
        .map_err(|_| fault(ErrorCode::FRAME_SIZE, "a frame has another size than its type"))
}
