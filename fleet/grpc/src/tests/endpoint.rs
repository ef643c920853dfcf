//! Two endpoints that speak with each other, and peers that break the rules.

use std::collections::VecDeque;

use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::fields;
use crate::frame::{ErrorCode, PREFACE, flag, kind, put, put_settings, put_window, setting};
use crate::message::framed;

type Events = VecDeque<Event>;

fn met() -> (Endpoint, Endpoint) {
    let (mut client, mut server) = (Endpoint::client(1024), Endpoint::server(1024, 8));
    assert!(exchange(&mut client, &mut server).is_empty());
    (client, server)
}

/// Takes bytes to and fro until there are none; what the server and the client are told.
fn exchange(client: &mut Endpoint, server: &mut Endpoint) -> Events {
    let mut events = Events::new();
    loop {
        let (to_server, to_client) = (std::mem::take(&mut client.out), std::mem::take(&mut server.out));
        if to_server.is_empty() && to_client.is_empty() {
            return events;
        }
        server.receive(&to_server, &mut events).expect("by the rules");
        client.receive(&to_client, &mut events).expect("by the rules");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, kind, flags, stream, payload);
    bytes
}

#[test]
fn a_connection_on_which_nothing_happens_keeps_nothing() {
    let (mut client, mut server) = met();
    let call = client.open(&fields::call("a", "/b"), framed(&7_u32)).expect("room");
    exchange(&mut client, &mut server);
    server.answer(call, &fields::answer(), framed(&8_u32), fields::done());
    let events = exchange(&mut client, &mut server);
    assert!(matches!(events.back(), Some(Event::Ended { fields: Some(_), is_cut: false, .. })), "{events:?}");
    let kept = format!("{client:?} {server:?}");
    assert_eq!(kept.matches("streams: Streams([])").count(), 2, "{kept}");
    assert_eq!(kept.matches("input: []").count(), 2, "{kept}");
    assert_eq!(kept.matches("entries: [], size: 0").count(), 2, "{kept}");
    assert!(size_of::<Endpoint>() <= 256, "{}", size_of::<Endpoint>());
}

#[test]
fn no_more_is_sent_than_the_peer_takes() {
    let (mut client, mut server) = met();
    // The server takes 10 bytes of every stream.
    let mut settings = Vec::new();
    put_settings(&mut settings, &[(setting::INITIAL_WINDOW_SIZE, 10)]);
    client.receive(&settings, &mut Events::new()).expect("by the rules");
    client.out.clear();
    let block = fields::call("a", "/b");
    let request = framed(&"x".repeat(20));
    let call = client.open(&block, request.clone()).expect("room");
    let sent = |client: &mut Endpoint| std::mem::take(&mut client.out).len().saturating_sub(9);
    assert_eq!(sent(&mut client), block.len() + 9 + 10);
    let mut more = Vec::new();
    put_window(&mut more, call, 7);
    client.receive(&more, &mut Events::new()).expect("by the rules");
    assert_eq!(sent(&mut client), 7);
    let mut settings = Vec::new();
    put_settings(&mut settings, &[(setting::INITIAL_WINDOW_SIZE, 1000)]);
    client.receive(&settings, &mut Events::new()).expect("by the rules");
    assert_eq!(sent(&mut client), 9 + request.len() - 17, "the acknowledgement, and the rest");
    server.out.clear();
}

#[test]
fn a_server_takes_so_many_calls_at_a_time_and_a_client_makes_no_more() {
    let (mut client, mut server) = met();
    let calls: Vec<_> = (0..9).map(|_| client.open(&fields::call("a", "/b"), framed(&1_u32))).collect();
    assert_eq!(calls.iter().flatten().count(), 8, "it was told");
    let mut refused = Endpoint::client(1024);
    let calls: Vec<_> = (0..9).map(|_| refused.open(&fields::call("a", "/b"), framed(&1_u32))).collect();
    assert_eq!(calls.iter().flatten().count(), 9, "it was not told yet");
    let mut server_of_it = Endpoint::server(1024, 8);
    let events = exchange(&mut refused, &mut server_of_it);
    let reset = |event: &Event| matches!(event, Event::Reset { stream: 17, code: ErrorCode::REFUSED_STREAM });
    assert_eq!(events.iter().filter(|event| reset(event)).count(), 1, "{events:?}");
    server.out.clear();
}

#[test]
fn whoever_breaks_the_rules_is_told_which() {
    let settings = frame(kind::SETTINGS, 0, 0, &[]);
    let with = |bytes: Vec<u8>| [settings.clone(), bytes].concat();
    let oversize = vec![0, 0x40, 1, kind::DATA, 0, 0, 0, 0, 1];
    let endless =
        [frame(kind::HEADERS, 0, 1, &[0; 10]), frame(kind::CONTINUATION, 0, 1, &[0; 16_000])].concat();
    let between = [frame(kind::HEADERS, 0, 1, &[]), frame(kind::PING, 0, 0, &[0; 8])].concat();
    let large = [0xff; 4];
    for (what, bytes, code) in [
        ("no settings", frame(kind::PING, 0, 0, &[0; 8]), ErrorCode::PROTOCOL),
        ("a frame too large", with(oversize), ErrorCode::FRAME_SIZE),
        ("data of no stream", with(frame(kind::DATA, 0, 5, b"x")), ErrorCode::PROTOCOL),
        ("data of the connection", with(frame(kind::DATA, 0, 0, b"x")), ErrorCode::PROTOCOL),
        (
            "padding without end",
            with(frame(kind::HEADERS, flag::PADDED | flag::END_HEADERS, 1, &[9])),
            ErrorCode::PROTOCOL,
        ),
        (
            "fields that are none",
            with(frame(kind::HEADERS, flag::END_HEADERS, 1, &[0xff])),
            ErrorCode::COMPRESSION,
        ),
        (
            "fields without end",
            with([endless, frame(kind::CONTINUATION, 0, 1, &[0; 16_000])].concat()),
            ErrorCode::ENHANCE_YOUR_CALM,
        ),
        ("something between", with(between), ErrorCode::PROTOCOL),
        (
            "the server's number",
            with(frame(kind::HEADERS, flag::END_HEADERS, 2, &[0x83])),
            ErrorCode::PROTOCOL,
        ),
        ("a push", with(frame(kind::PUSH_PROMISE, 0, 1, &[0; 4])), ErrorCode::PROTOCOL),
        ("half settings", with(frame(kind::SETTINGS, 0, 0, &[0; 5])), ErrorCode::FRAME_SIZE),
        ("a long sign of life", with(frame(kind::PING, 0, 0, &[0; 9])), ErrorCode::FRAME_SIZE),
        ("no room", with(frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4])), ErrorCode::PROTOCOL),
        ("too much room", with(frame(kind::WINDOW_UPDATE, 0, 0, &large)), ErrorCode::FLOW_CONTROL),
        ("the end of no stream", with(frame(kind::RST_STREAM, 0, 3, &[0; 4])), ErrorCode::PROTOCOL),
        ("continued, not begun", with(frame(kind::CONTINUATION, 0, 1, &[])), ErrorCode::PROTOCOL),
    ] {
        let mut server = Endpoint::server(1024, 8);
        server.out.clear();
        let fault = server.receive(&[PREFACE, &bytes].concat(), &mut Events::new()).expect_err(what);
        assert_eq!(fault.code, code, "{what}: {fault}");
        let told = server.out.split_off(server.out.len() - 17);
        assert_eq!((told[3], &told[13..]), (kind::GOAWAY, &code.0.to_be_bytes()[..]), "{what}");
    }
    let mut server = Endpoint::server(1024, 8);
    let other = server.receive(b"GET / HTTP/1.1\r\n", &mut Events::new()).expect_err("another protocol");
    assert_eq!(other.code, ErrorCode::PROTOCOL);
}

#[test]
fn arbitrary_bytes_keep_within_bounds_on_both_sides() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let greeting = frame(kind::SETTINGS, 0, 0, &[]);
        let mut client = Endpoint::client(1024);
        client.open(&fields::call("a", "/b"), framed(&7_u32)).expect("room");
        let mut server = Endpoint::server(1024, 8);
        server.receive(PREFACE, &mut Events::new()).expect("by the rules");
        for endpoint in [&mut client, &mut server] {
            let mut events = Events::new();
            endpoint.receive(&greeting, &mut events).expect("by the rules");
            for piece in bytes.chunks(64) {
                if endpoint.receive(piece, &mut events).is_err() {
                    break;
                }
            }
            let bound = 1024 + 4 * bytes.len();
            assert!(endpoint.out.len() <= bound, "{} bytes to say to {}", endpoint.out.len(), bytes.len());
            assert!(events.len() <= bytes.len() / 5 + 1, "{} events of {} bytes", events.len(), bytes.len());
        }
    });
}
