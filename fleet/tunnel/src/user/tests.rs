//! Two stacks back to back: ours, and one that stands for a machine.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use super::connection::{RECEIVE_BUFFER, SEND_BUFFER};
use super::*;

const OWN: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const MACHINE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 7);
const PORT: u16 = 8090;
/// What both ends hold of bytes that nobody reads, at most.
const HELD: usize = RECEIVE_BUFFER + SEND_BUFFER;
const PATIENCE: Duration = Duration::from_secs(60);

/// Two stacks and the line between them.
struct Ends {
    own: Arc<UserStack>,
    machine: Arc<UserStack>,
    /// Packets so far, both ways.
    packets: Arc<AtomicUsize>,
    /// One packet in so many is lost.
    lost: Arc<AtomicUsize>,
    _carriers: [Task; 2],
}

/// A stack whose packets another one gets, and the task that carries them.
fn stack(
    address: Ipv6Addr,
    other: &Arc<OnceLock<Arc<UserStack>>>,
    packets: &Arc<AtomicUsize>,
    lost: &Arc<AtomicUsize>,
) -> (Arc<UserStack>, Task) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<BytesMut>();
    let (other, packets, lost) = (Arc::clone(other), Arc::clone(packets), Arc::clone(lost));
    let carrier = spawn("line", async move {
        while let Some(packet) = receiver.recv().await {
            let count = packets.fetch_add(1, Ordering::Relaxed) + 1;
            if let Some(other) = other.get().filter(|_| !count.is_multiple_of(lost.load(Ordering::Relaxed))) {
                other.receive(packet);
            }
        }
    });
    let outlet = Box::new(move |packet| drop(sender.send(packet)));
    (Arc::new(UserStack::new(address, Rng::seeded(1), outlet)), carrier)
}

impl Ends {
    fn new() -> Self {
        Self::losing(usize::MAX)
    }

    fn losing(every: usize) -> Self {
        let packets = Arc::<AtomicUsize>::default();
        let lost = Arc::new(AtomicUsize::new(every));
        let (to_machine, to_own) = <(Arc<OnceLock<_>>, Arc<OnceLock<_>>)>::default();
        let (own, first) = stack(OWN, &to_machine, &packets, &lost);
        let (machine, second) = stack(MACHINE, &to_own, &packets, &lost);
        // They hold each other until the test ends.
        assert!(to_machine.set(Arc::clone(&machine)).is_ok() && to_own.set(Arc::clone(&own)).is_ok());
        Self { own, machine, packets, lost, _carriers: [first, second] }
    }

    /// A connection of the machine to a port of ours, both ends of it.
    async fn connected(&self, listener: &mut UserListener) -> (UserStream, UserStream) {
        let (theirs, ours) = tokio::join!(self.machine.connect(at(OWN)), listener.accept());
        let (ours, from) = ours.expect("a connection");
        assert_eq!(from.ip(), MACHINE, "the machine is known by its address");
        (ours, theirs.expect("connected"))
    }

    fn peers(&self) -> usize {
        self.own.core.peers.lock().len()
    }

    fn timers(&self) -> Option<Moment> {
        self.own.core.timers.first()
    }
}

fn at(address: Ipv6Addr) -> SocketAddrV6 {
    SocketAddrV6::new(address, PORT, 0, 0)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index % 251).expect("below 251")).collect()
}

/// Sends `data` both ways at once and closes; each end gets all of it and then the end.
async fn exchange(one: &mut UserStream, two: &mut UserStream, data: &[u8]) {
    async fn side(stream: &mut UserStream, data: &[u8]) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut read = Vec::new();
        let send = async {
            writer.write_all(data).await.expect("written");
            writer.shutdown().await.expect("shut down");
        };
        let (received, ()) = tokio::join!(reader.read_to_end(&mut read), send);
        received.expect("read");
        assert!(read == data, "{} of {} bytes came", read.len(), data.len());
    }
    let both = async { tokio::join!(side(one, data), side(two, data)) };
    timeout(Duration::from_secs(3600), both).await.expect("in time");
}

#[tokio::test(start_paused = true)]
async fn a_mebibyte_goes_both_ways_at_once_whole_and_in_order() {
    let ends = Ends::new();
    let mut listener = ends.own.listen(PORT).expect("a port");
    let (mut ours, mut theirs) = ends.connected(&mut listener).await;
    exchange(&mut ours, &mut theirs, &pattern(1 << 20)).await;
}

#[tokio::test(start_paused = true)]
async fn a_line_that_loses_packets_costs_time_and_nothing_else() {
    let ends = Ends::losing(17);
    let mut listener = ends.own.listen(PORT).expect("a port");
    let (mut ours, mut theirs) = ends.connected(&mut listener).await;
    exchange(&mut ours, &mut theirs, &pattern(200_000)).await;
}

#[tokio::test(start_paused = true)]
async fn both_ends_can_call() {
    let ends = Ends::new();
    let mut api = ends.machine.listen(PORT).expect("a port");
    let (ours, theirs) = tokio::join!(ends.own.connect(at(MACHINE)), api.accept());
    let (mut ours, (mut theirs, from)) = (ours.expect("connected"), theirs.expect("a connection"));
    assert_eq!(from.ip(), OWN);
    exchange(&mut ours, &mut theirs, b"hello").await;
}

#[tokio::test(start_paused = true)]
async fn a_port_that_nobody_listens_on_refuses_at_once() {
    let ends = Ends::new();
    let refused = timeout(Duration::from_millis(100), ends.machine.connect(at(OWN))).await;
    let kind = refused.expect("an answer").expect_err("nobody listens").kind();
    assert_eq!(kind, ErrorKind::ConnectionRefused);
    let listener = ends.own.listen(PORT).expect("a port");
    assert_eq!(ends.own.listen(PORT).expect_err("taken").kind(), ErrorKind::AddrInUse);
    drop(listener);
    assert!(ends.machine.connect(at(OWN)).await.is_err(), "nobody listens any more");
    assert!(ends.own.listen(PORT).is_ok(), "and the port is free");
}

#[tokio::test(start_paused = true)]
async fn one_end_may_close_while_the_other_still_sends() {
    let ends = Ends::new();
    let mut listener = ends.own.listen(PORT).expect("a port");
    let (mut ours, mut theirs) = ends.connected(&mut listener).await;
    ours.write_all(b"question").await.expect("written");
    ours.shutdown().await.expect("shut down");
    let mut text = String::new();
    theirs.read_to_string(&mut text).await.expect("read");
    assert_eq!(text, "question");
    assert_eq!(ours.write(b"more").await.expect_err("shut down").kind(), ErrorKind::BrokenPipe);
    theirs.write_all(&pattern(9000)).await.expect("written");
    drop(theirs);
    // Long after TCP is done with both.
    sleep(PATIENCE).await;
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).await.expect("read");
    assert_eq!(answer, pattern(9000), "what came before the end is still there");
}

/// Writes until nothing is taken any more; how much was.
async fn fill(stream: &mut UserStream) -> usize {
    let mut taken = 0;
    while let Ok(written) = timeout(Duration::from_secs(5), stream.write(&[7; 4096])).await {
        taken += written.expect("written");
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn who_never_reads_is_held_back_and_holds_nobody_else_back() {
    let ends = Ends::new();
    let mut listener = ends.own.listen(PORT).expect("a port");
    let (mut silent, mut sender) = ends.connected(&mut listener).await;
    assert_eq!(fill(&mut sender).await, HELD);
    let (mut ours, mut theirs) = ends.connected(&mut listener).await;
    exchange(&mut ours, &mut theirs, &pattern(100_000)).await;
    // An hour later it still waits, and goes on when somebody reads.
    sleep(Duration::from_secs(3600)).await;
    let mut bytes = vec![0; HELD];
    let read = timeout(Duration::from_secs(5), silent.read_exact(&mut bytes));
    read.await.expect("the machine is told that there is room").expect("read");
    assert_eq!(bytes, [7; HELD]);
    assert_eq!(fill(&mut sender).await, HELD);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_removed_loses_its_connections_and_no_other_does() {
    let ends = Ends::new();
    let mut listener = ends.own.listen(PORT).expect("a port");
    let (mut ours, mut theirs) = ends.connected(&mut listener).await;
    let reader = async {
        let mut byte = [0];
        ours.read(&mut byte).await.expect_err("it waits, and is told").kind()
    };
    let remove = async { ends.own.remove_peer(MACHINE) };
    let (fault, ()) = timeout(PATIENCE, async { tokio::join!(reader, remove) }).await.expect("woken");
    assert_eq!(fault, ErrorKind::ConnectionAborted);
    let mut byte = [0];
    let told = theirs.read(&mut byte).await.expect_err("the machine is told").kind();
    assert_eq!((told, ends.peers(), ends.timers()), (ErrorKind::ConnectionReset, 0, None));
    let (mut ours, mut theirs) = ends.connected(&mut listener).await;
    exchange(&mut ours, &mut theirs, b"it may come again").await;
}

#[tokio::test(start_paused = true)]
async fn a_stack_is_there_while_there_are_connections() {
    let ends = Ends::new();
    let mut listener = ends.own.listen(PORT).expect("a port");
    for _ in 0..3 {
        let (mut ours, mut theirs) = ends.connected(&mut listener).await;
        assert_eq!(ends.peers(), 1);
        exchange(&mut ours, &mut theirs, b"hello").await;
        drop((ours, theirs));
        sleep(PATIENCE).await;
        assert_eq!((ends.peers(), ends.timers()), (0, None));
    }
    drop(ends.machine.connect(SocketAddrV6::new(OWN, 1, 0, 0)).await);
    assert_eq!(ends.peers(), 0, "nothing is left of a refusal");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_says_nothing_any_more_is_given_up() {
    let ends = Ends::new();
    let mut listener = ends.own.listen(PORT).expect("a port");
    let (mut ours, theirs) = ends.connected(&mut listener).await;
    let (mut tuned, tuned_theirs) = ends.connected(&mut listener).await;
    let short = Duration::from_secs(30);
    tuned.set_signs_of_life(short, short).expect("tuned");
    // Both answer for as long as there is somebody, whatever time passes.
    sleep(Duration::from_secs(24 * 3600)).await;
    let at_rest = ends.packets.load(Ordering::Relaxed);
    sleep(Duration::from_secs(3600)).await;
    let an_hour = ends.packets.load(Ordering::Relaxed) - at_rest;
    assert!((240..1000).contains(&an_hour), "{an_hour} packets in an hour at rest");
    // The machine is gone without a word.
    ends.lost.store(1, Ordering::Relaxed);
    drop((theirs, tuned_theirs));
    let mut byte = [0];
    let start = Instant::now();
    assert!(tuned.read(&mut byte).await.is_err());
    assert!(start.elapsed() <= short * 4, "{:?}", start.elapsed());
    assert!(ours.read(&mut byte).await.is_err());
    assert!(start.elapsed() <= Duration::from_secs(16 * 60), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_answer_is_not_waited_for_for_ever() {
    let ends = Ends::losing(1);
    let start = Instant::now();
    let kind = ends.own.connect(at(MACHINE)).await.expect_err("nobody answers").kind();
    assert_eq!(kind, ErrorKind::TimedOut);
    assert!(start.elapsed() <= Duration::from_secs(70), "{:?}", start.elapsed());
    assert_eq!(ends.peers(), 0);
    let started = timeout(Duration::from_secs(3), ends.own.connect(at(MACHINE))).await;
    assert!(started.is_err(), "nobody waits for it any more");
    sleep(PATIENCE).await;
    assert_eq!((ends.peers(), ends.timers()), (0, None), "and nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_machine_opens_so_many_connections_and_no_more() {
    let ends = Ends::new();
    let mut listener = ends.own.listen(PORT).expect("a port");
    let mut held = Vec::new();
    for _ in 0..peer::INCOMING_MAX {
        held.push(ends.connected(&mut listener).await);
    }
    let refused = ends.machine.connect(at(OWN)).await.expect_err("one too many");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    held.pop();
    sleep(PATIENCE).await;
    ends.connected(&mut listener).await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_accepts_waits_up_to_the_backlog() {
    let ends = Ends::new();
    let mut listener = ends.own.listen(PORT).expect("a port");
    let mut theirs = ends.machine.connect(at(OWN)).await.expect("connected before it is accepted");
    theirs.write_all(b"early").await.expect("written");
    let (mut ours, _) = listener.accept().await.expect("it waited");
    let mut text = [0; 5];
    ours.read_exact(&mut text).await.expect("read");
    assert_eq!(&text, b"early");
    let waiting = ends.machine.connect(at(OWN)).await.expect("connected");
    drop(listener);
    sleep(PATIENCE).await;
    drop(waiting);
    sleep(PATIENCE).await;
    assert_eq!(ends.own.core.peers.lock().len(), 1, "the one that was accepted is still there");
}

#[tokio::test(start_paused = true)]
async fn all_connections_end_with_the_tunnel() {
    let (sender, mut packets) = mpsc::unbounded_channel();
    let outlet = Box::new(move |packet| drop(sender.send(packet)));
    let stack = UserStack::new(OWN, Rng::seeded(1), outlet);
    let mut listener = stack.listen(PORT).expect("a port");
    let connecting = stack.connect(at(MACHINE));
    let closing = async {
        packets.recv().await.expect("a call");
    };
    let mut connecting = Box::pin(connecting);
    tokio::select! {
        _ = &mut connecting => panic!("nobody answers"),
        () = closing => {}
    }
    drop(connecting);
    drop(stack);
    assert_eq!(listener.accept().await.expect_err("closed").kind(), ErrorKind::NotConnected);
}

/// A packet of the machine: its header and whatever follows.
fn packet(protocol: u8, payload: &[u8]) -> BytesMut {
    let mut packet = BytesMut::zeroed(40);
    packet[0] = 0x60;
    let length = u16::try_from(payload.len()).expect("short");
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    packet[6] = protocol;
    packet[7] = 64;
    packet[8..24].copy_from_slice(&MACHINE.octets());
    packet[24..40].copy_from_slice(&OWN.octets());
    packet.extend_from_slice(payload);
    packet
}

/// With the checksum that TCP and ICMPv6 have at `at` of their header.
fn summed(protocol: u8, payload: &mut [u8], at: usize) -> BytesMut {
    payload[at..at + 2].fill(0);
    let length = u16::try_from(payload.len()).expect("short");
    let pseudo = [&MACHINE.octets()[..], &OWN.octets()[..], &length.to_be_bytes()[..], &[0, protocol][..]];
    let bytes: Vec<u8> = pseudo.concat().into_iter().chain(payload.iter().copied()).collect();
    let sum = bytes.chunks(2).fold(0_u32, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let checksum = !u16::try_from(folded).expect("folded");
    payload[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    packet(protocol, payload)
}

#[test]
fn a_machine_that_asks_whether_we_are_there_is_answered() {
    let mut peer = Peer::new(OWN, MACHINE, 1, Moment::ZERO);
    let asked = summed(58, &mut [128, 0, 0, 0, 0, 1, 0, 1, 7, 7], 2);
    let (from, kind) = packet::look(&asked, OWN).expect("it concerns us");
    assert_eq!(from, MACHINE);
    peer.receive(asked, kind, false);
    let turn = peer.turn(Moment::ZERO);
    assert_eq!(turn.packets.first().and_then(|answer| answer.get(40)), Some(&129));
    assert!(peer.is_empty());
}

/// Any packets, after each of which some time passes: nothing panics, and nothing grows beyond its bounds.
#[test]
fn fuzz_packets_of_machines_do_not_panic() {
    bolero::check!().with_type::<Vec<(bool, u8, Vec<u8>)>>().for_each(|packets| {
        let mut peer = Peer::new(OWN, MACHINE, 1, Moment::ZERO);
        let mut now = Moment::ZERO;
        let (_, local) = peer.connect(PORT, 50_000).expect("room");
        peer.stir();
        let mut last = peer.turn(now).packets.pop();
        for (is_whole, millis, bytes) in packets {
            now += Duration::from_millis(u64::from(*millis) * 100).into();
            let mut payload = bytes.clone();
            payload.truncate(1200);
            let packet = if *is_whole {
                payload.resize(payload.len().max(20), 0);
                steer(&mut payload, local, last.as_deref());
                summed(6, &mut payload, 16)
            } else {
                BytesMut::from(&bytes[..])
            };
            if let Some((_, kind)) = packet::look(&packet, OWN) {
                peer.receive(packet, kind, true);
                let turn = peer.turn(now);
                assert!(turn.packets.len() <= 64, "{} packets for one", turn.packets.len());
                last = turn.packets.into_iter().next_back().or(last);
                peer.next(now);
            }
        }
        peer.retire(now);
    });
}

/// Turns bytes into a segment that fits a connection, as far as its first byte says so.
fn steer(segment: &mut [u8], local: u16, last: Option<&[u8]>) {
    let choice = segment[0];
    segment[12] = if choice & 1 == 0 { 0x50 } else { segment[12] };
    let (from, to) = if choice & 2 == 0 { (PORT, local) } else { (40_000, PORT) };
    segment[0..2].copy_from_slice(&from.to_be_bytes());
    segment[2..4].copy_from_slice(&to.to_be_bytes());
    // Sequence numbers near those that our last packet had.
    if let Some(last) = last.and_then(|last| last.get(40..60)).filter(|_| choice & 4 == 0) {
        let number = |at: usize| u32::from_be_bytes([last[at], last[at + 1], last[at + 2], last[at + 3]]);
        let near = |at: usize, off: u8| number(at).wrapping_add(u32::from(off)).wrapping_sub(1);
        let (sequence, acknowledged) = (near(8, choice >> 6), near(4, (choice >> 4) & 3));
        segment[4..8].copy_from_slice(&sequence.to_be_bytes());
        segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stack_that_was_given_up_makes_room_for_another_one() {
    let ends = Ends::new();
    let mut listener = ends.own.listen(PORT).expect("a port");
    let (mut ours, _theirs) = ends.connected(&mut listener).await;
    for peer in ends.own.core.peers.lock().values() {
        peer.lock().break_off();
    }
    let mut byte = [0];
    assert_eq!(ours.read(&mut byte).await.expect_err("given up").kind(), ErrorKind::ConnectionAborted);
    let (mut ours, mut theirs) = ends.connected(&mut listener).await;
    exchange(&mut ours, &mut theirs, b"hello").await;
}

/// What the documentation of [`Peer`] says.
#[test]
fn a_machine_and_a_connection_take_as_much_as_is_said() {
    let connection = size_of::<smoltcp::socket::tcp::Socket<'static>>() + size_of::<connection::Connection>();
    assert!(size_of::<Mutex<Peer>>() <= 512, "{}", size_of::<Mutex<Peer>>());
    assert!(connection <= 614, "{connection}");
    assert_eq!((RECEIVE_BUFFER, SEND_BUFFER), (16 << 10, 8 << 10));
}
